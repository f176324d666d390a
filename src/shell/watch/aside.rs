//! `.taking` and `.refused`: two directories of ours in each source's folder, with one directory for each entry.
//!
//! Owns moving in and clearing. An entry keeps its own name there, so the name survives a crash whole. Must never trust
//! a directory that a writer made, nor descend into one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, RenameFlags, StatxFlags};
use rustix::io::Errno;

use crate::core::time::Timestamp;
use crate::shell::disk::fault::{Op, call_at};

use super::SpoolError;
use super::entry::{Facts, instant, look, names, open_folder};

/// How many names are tried for one entry.
const MAX_SLOTS: u32 = 10_000;
/// How many entries of a refused directory are removed in one go.
const MAX_CLEARED: u32 = 1_000_000;

/// An entry that stands in `.taking` (left by a crash, or being sealed) or in `.refused`.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// Its place below `.taking` or `.refused`.
    pub slot: OsString,
    /// The name it had.
    pub original_name: OsString,
    /// What it is.
    pub facts: Facts,
    /// When it was moved there.
    pub since: Option<Timestamp>,
}

/// Opens `.taking` or `.refused`, and makes it where it is missing.
pub(super) fn ours(folder: &OwnedFd, name: &'static str) -> Result<OwnedFd, SpoolError> {
    match call_at(Op::MakeDir, folder, name, || rustix::fs::mkdirat(folder, name, Mode::RWXU)) {
        Ok(()) => sync(folder)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let opened = open_folder(folder, OsStr::new(name)).map_err(|_| SpoolError::NotOurs(name))?;
    // Writers may make entries here, so one of them may have made this one first.
    let stat = rustix::fs::fstat(&opened)?;
    let private = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0;
    if private { Ok(opened) } else { Err(SpoolError::NotOurs(name)) }
}

/// Renames `name` into a new directory below `place`, under its own name, so that the name survives a crash whole.
pub(super) fn move_aside(
    folder: &OwnedFd,
    name: &OsStr,
    place: &OwnedFd,
    facts: &Facts,
) -> Result<(String, OwnedFd), SpoolError> {
    let slot = free_slot(place, facts.inode)?;
    let slot_folder = open_folder(place, OsStr::new(&slot))?;
    let abandon = |error: SpoolError| {
        // An empty directory is cleared away at the next start in any case.
        let _ = remove_dir(place, OsStr::new(&slot));
        error
    };
    rename(folder, name, &slot_folder, name).map_err(|errno| abandon(errno.into()))?;
    let (_, moved) = look(&slot_folder, name)?;
    if (moved.device, moved.inode) == (facts.device, facts.inode) {
        return Ok((slot, slot_folder));
    }
    // Between looking and renaming, something else got that name: it goes back and is announced anew.
    rename(&slot_folder, name, folder, name)?;
    Err(abandon(SpoolError::Gone))
}

fn free_slot(place: &OwnedFd, inode: u64) -> Result<String, SpoolError> {
    for attempt in 0..MAX_SLOTS {
        let slot = format!("{inode}-{attempt}");
        match call_at(Op::MakeDir, place, &slot, || rustix::fs::mkdirat(place, &slot, Mode::RWXU)) {
            Ok(()) => return Ok(slot),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(SpoolError::Disk(io::ErrorKind::AlreadyExists.into()))
}

/// Everything that stands in `place`. What goes meanwhile is left out: others take and remove beside this.
pub(super) fn list(place: &OwnedFd) -> Result<Vec<Leftover>, SpoolError> {
    let mut left = Vec::new();
    for slot in names(place)? {
        match list_slot(place, &slot?, &mut left) {
            Ok(()) | Err(SpoolError::Gone) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

fn list_slot(place: &OwnedFd, slot: &OsStr, left: &mut Vec<Leftover>) -> Result<(), SpoolError> {
    let slot_folder = open_folder(place, slot)?;
    let stat = rustix::fs::statx(&slot_folder, "", AtFlags::EMPTY_PATH, StatxFlags::CTIME)?;
    // Only we make entries in a slot, so its last change is when the entry came.
    let since = instant((stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec));
    for name in names(&slot_folder)? {
        let original_name = name?;
        let (_, facts) = look(&slot_folder, &original_name)?;
        left.push(Leftover { slot: slot.to_owned(), original_name, facts, since });
    }
    Ok(())
}

/// Removes the slots in which nothing stands. One that [`move_aside`] has just made is taken with them: for the start.
pub(super) fn remove_empty(place: &OwnedFd) -> Result<(), SpoolError> {
    for slot in names(place)? {
        match remove_dir(place, &slot?) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Removes a slot and all that is in it, durably.
pub(super) fn clear(place: &OwnedFd, slot: &OsStr) -> Result<(), SpoolError> {
    let slot_folder = open_folder(place, slot)?;
    let mut budget = MAX_CLEARED;
    loop {
        let inside = names(&slot_folder)?.collect::<Result<Vec<_>, _>>()?;
        if inside.is_empty() {
            break;
        }
        for name in inside {
            match unlink(&slot_folder, &name) {
                Err(Errno::ISDIR) => flatten(&slot_folder, &name, &mut budget)?,
                done => done?,
            }
        }
    }
    sync(&slot_folder)?;
    remove_dir(place, slot)?;
    Ok(sync(place)?)
}

/// Removes the directory `name` and its files; directories in it move up beside it. So however deep somebody nested
/// them, neither a path nor the stack grows.
fn flatten(slot_folder: &OwnedFd, name: &OsStr, budget: &mut u32) -> Result<(), SpoolError> {
    let directory = open_folder(slot_folder, name)?;
    for inner in names(&directory)? {
        let inner = inner?;
        // Who still has the directory open could add to it for ever.
        *budget = budget.checked_sub(1).ok_or(SpoolError::Disk(io::ErrorKind::ResourceBusy.into()))?;
        match unlink(&directory, &inner) {
            Err(Errno::ISDIR) => lift(&directory, &inner, slot_folder, budget)?,
            done => done?,
        }
    }
    match remove_dir(slot_folder, name) {
        // Added to meanwhile: the next round sees it.
        Err(Errno::NOTEMPTY) => {
            *budget = budget.checked_sub(1).ok_or(SpoolError::Disk(io::ErrorKind::ResourceBusy.into()))?;
            Ok(())
        }
        done => Ok(done?),
    }
}

fn lift(from: &OwnedFd, name: &OsStr, to: &OwnedFd, budget: &mut u32) -> Result<(), SpoolError> {
    loop {
        *budget = budget.checked_sub(1).ok_or(SpoolError::Disk(io::ErrorKind::ResourceBusy.into()))?;
        match rename(from, name, to, OsStr::new(&format!("{budget}"))) {
            Err(Errno::EXIST) => {}
            done => return Ok(done?),
        }
    }
}

/// Makes the names in an open folder durable.
pub(super) fn sync(folder: &OwnedFd) -> Result<(), Errno> {
    call_at(Op::SyncDir, folder, "", || rustix::fs::fsync(folder))
}

/// Renames, and never replaces.
pub(super) fn rename(from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> Result<(), Errno> {
    call_at(Op::Rename, to, new, || rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE))
}

/// Removes the name of what is no folder.
pub(super) fn unlink(folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    call_at(Op::Remove, folder, name, || rustix::fs::unlinkat(folder, name, AtFlags::empty()))
}

/// Removes an empty folder.
pub(super) fn remove_dir(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    call_at(Op::RemoveDir, parent, name, || rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_was_swapped_before_the_rename_goes_back() {
        let root = tempfile::tempdir().unwrap();
        let folder: OwnedFd = File::open(root.path()).unwrap().into();
        std::fs::write(root.path().join("looked-at"), b"1").unwrap();
        std::fs::write(root.path().join("a.wav"), b"2").unwrap();
        let (_, facts) = look(&folder, OsStr::new("looked-at")).unwrap();
        let place = ours(&folder, ".taking").unwrap();
        let moved = move_aside(&folder, OsStr::new("a.wav"), &place, &facts);
        assert!(matches!(moved, Err(SpoolError::Gone)));
        assert_eq!(std::fs::read(root.path().join("a.wav")).unwrap(), b"2");
        assert_eq!(names(&place).unwrap().count(), 0);
    }

    #[test]
    fn inv7_what_goes_while_it_is_listed_hides_nothing_and_a_new_slot_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder: OwnedFd = File::open(root.path()).unwrap().into();
        let place = ours(&folder, ".taking").unwrap();
        let kept = root.path().join(".taking/1-0");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("a.wav"), b"1").unwrap();
        let busy = root.path().join(".taking/2-0");
        let worker = std::thread::spawn(move || {
            for _ in 0..2000 {
                std::fs::create_dir(&busy).unwrap();
                std::fs::write(busy.join("b.wav"), b"2").unwrap();
                std::fs::remove_file(busy.join("b.wav")).unwrap();
                std::fs::remove_dir(&busy).unwrap();
            }
        });
        let mut lists = 0_u32;
        while !worker.is_finished() {
            let left = list(&place).unwrap();
            assert!(left.iter().any(|it| it.original_name == "a.wav"), "list {lists}");
            lists += 1;
        }
        worker.join().unwrap();
        std::fs::create_dir(root.path().join(".taking/3-0")).unwrap();
        assert_eq!(list(&place).unwrap().len(), 1);
        assert_eq!(names(&place).unwrap().count(), 2, "an empty slot may be one that was just made");
        remove_empty(&place).unwrap();
        assert_eq!(names(&place).unwrap().count(), 1);
    }

    #[test]
    fn a_deep_and_crowded_directory_is_cleared_without_following_links() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), b"1").unwrap();
        let mut at = root.path().join("place/slot/top");
        for level in 0..200 {
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("file"), b"2").unwrap();
            std::fs::create_dir(at.join(format!("{}", MAX_CLEARED - level))).unwrap();
            std::os::unix::fs::symlink(&outside, at.join("link")).unwrap();
            at.push("d");
        }
        let place: OwnedFd = File::open(root.path().join("place")).unwrap().into();
        clear(&place, OsStr::new("slot")).unwrap();
        assert_eq!(names(&place).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }
}
