//! Durable replacement and creation of small files, each system call written out.
//!
//! Owns the order write, `fsync`, rename or link, `fsync` of the directory: after a crash a name stands for the old
//! bytes or the new bytes, never for a part. Must never keep a temporary file after an error.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::fault::{Op, call, on_file, open, write_at};

/// A file or directory that the disk or the kernel refused to handle.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb phrase.
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`: names what was tried, and on what.
    pub fn when<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, source: source.into() }
    }
}

/// Makes the names in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    let sync = || File::open(dir).and_then(|dir| dir.sync_all());
    call(Op::SyncDir, dir, sync).map_err(DiskError::when("sync the directory", dir))
}

/// Makes directory `name` in `parent`, mode 0700, durably. An existing one is left as it is.
pub fn make_dir(parent: &Path, name: &str) -> Result<PathBuf, DiskError> {
    let path = parent.join(name);
    let make = || match rustix::fs::mkdir(&path, Mode::RWXU) {
        // Synced as well when it exists: whoever made it may have crashed before syncing.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    };
    call(Op::MakeDir, &path, make).map_err(DiskError::when("make the directory", &path))?;
    sync_dir(parent)?;
    Ok(path)
}

/// Replaces file `name` in `dir` by `bytes`, or makes it; mode 0600. When this returns, the new bytes are durable;
/// after an error the name stands for the old bytes or the new, whole. The temporary name is `.<name>.new`, so one
/// file has one writer at a time.
pub fn write_file_atomic(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let staged = Staged::write(dir, name, bytes)?;
    staged.sync()?;
    staged.into_place()?;
    sync_dir(dir)
}

/// A file that is written under its temporary name and not yet durable: several can be written, then each synced and
/// renamed, then their directories synced once. Dropped before that, it leaves nothing.
pub(super) struct Staged {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    placed: bool,
}

impl Staged {
    /// Writes `bytes` under the temporary name.
    pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<Self, DiskError> {
        let path = dir.join(name);
        let temporary = dir.join(format!(".{name}.new"));
        let file = open_new(&temporary).map_err(DiskError::when("replace", &path))?;
        let staged = Self { file, temporary, path, placed: false };
        write_at(Op::Write, &staged.temporary, &staged.file, bytes, 0)
            .map_err(DiskError::when("replace", &staged.path))?;
        Ok(staged)
    }

    /// Begins to write it out and does not wait, which is what Linux does when told that its pages are not needed: of several
    /// files begun so, the first `fsync` pays for all. What goes wrong is told by that of the file itself.
    pub(super) fn begin_sync(&self) {
        let _hint = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// `fsync`.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        let sync = || self.file.sync_all();
        on_file(Op::Sync, &self.temporary, &self.file, sync).map_err(DiskError::when("sync", &self.path))
    }

    /// `rename`, after `sync`. The caller syncs the directory.
    pub(super) fn into_place(mut self) -> Result<(), DiskError> {
        call(Op::Rename, &self.path, || fs::rename(&self.temporary, &self.path))
            .map_err(DiskError::when("replace", &self.path))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            // The first error tells more than one of this removal would.
            let _ = call(Op::Remove, &self.temporary, || fs::remove_file(&self.temporary));
        }
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    // Left by a crash.
    match call(Op::Remove, path, || fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    open(Op::Open, path, || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
}

/// Makes file `name` in `dir` with `bytes`, mode 0600, durably. Never replaces: an existing name gives
/// `ErrorKind::AlreadyExists`.
pub fn create_new_durable(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let path = dir.join(name);
    unnamed_file(dir)
        .and_then(|file| {
            write_at(Op::Write, &path, &file, bytes, 0)?;
            on_file(Op::Sync, &path, &file, || file.sync_all())?;
            link_unnamed(&file, &path)
        })
        .map_err(DiskError::when("create", &path))?;
    sync_dir(dir)
}

/// A file without a name on the file system of `dir` (`O_TMPFILE`), mode 0600: gone when closed, unless linked.
pub fn unnamed_file(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    open(Op::Unnamed, dir, || Ok(File::from(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?)))
}

/// Gives a file without a name its name. Never replaces. The caller syncs the directory.
pub fn link_unnamed(file: &File, path: &Path) -> io::Result<()> {
    let link = || match rustix::fs::linkat(file, "", CWD, path, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 an empty path needs CAP_DAC_READ_SEARCH; without it the answer is ENOENT.
        Err(rustix::io::Errno::NOENT) => {
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(CWD, link, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        }
        linked => Ok(linked?),
    };
    call(Op::Link, path, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_no_temporary_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".f.new"), "left by a crash").unwrap();
        write_file_atomic(dir.path(), "f", b"one").unwrap();
        write_file_atomic(dir.path(), "f", b"second").unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"second");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file_and_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("f/full")).unwrap();
        let error = write_file_atomic(dir.path(), "f", b"x").unwrap_err();
        assert!(error.to_string().starts_with("cannot replace"));
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn creating_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        create_new_durable(dir.path(), "f", b"first").unwrap();
        let error = create_new_durable(dir.path(), "f", b"second").unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"first");
        assert_eq!(names(dir.path()), ["f"]);
    }
}
