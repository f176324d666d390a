//! One entry of a spool folder: what it is, and opening it without being led elsewhere.
//!
//! Owns looking. Must never follow a link, nor open what is no plain file: opening a pipe or a device does something.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::core::time::Timestamp;
use crate::shell::disk::fault::known_inode;
use crate::shell::sys::lease;

use super::SpoolError;

/// What a file is, as far as it must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size.
    pub size_bytes: u64,
    /// Last change of the content, as its writer says; `None` outside the years 1 to 9999.
    pub modified: Option<Timestamp>,
    /// Creation, where the file system knows it.
    pub born: Option<Timestamp>,
    /// Owner.
    pub uid: u32,
    /// As the file system writes it: what must not change is compared to the nanosecond.
    modified_raw: (i64, u32),
    links: u32,
}

/// What is not a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// A symbolic link.
    Link,
    /// A file with a second name, which somebody could use to change it.
    HardLink,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

impl Oddity {
    /// The word used in entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::HardLink => "hard-link",
            Self::Directory => "directory",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
        }
    }
}

pub(super) fn open_folder(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd, SpoolError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

pub(super) fn names(
    folder: &OwnedFd,
) -> Result<impl Iterator<Item = Result<OsString, SpoolError>>, SpoolError> {
    let entries = Dir::read_from(folder)?;
    let named = entries.map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec())));
    Ok(named.filter(|name| !matches!(name, Ok(name) if name == "." || name == "..")))
}

/// What `name` is, itself and not what it may point to.
pub(super) fn look(folder: impl AsFd, name: &OsStr) -> Result<(Statx, Facts), SpoolError> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, mask)?;
    let facts = facts(&stat);
    Ok((stat, facts))
}

fn facts(stat: &Statx) -> Facts {
    let modified_raw = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
    let knows_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    Facts {
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: known_inode(stat.stx_ino, modified_raw),
        size_bytes: stat.stx_size,
        modified: instant(modified_raw),
        born: knows_birth.then(|| instant((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))).flatten(),
        uid: stat.stx_uid,
        modified_raw,
        links: stat.stx_nlink,
    }
}

/// The instant of a file time, which is whatever its owner set: `None` outside the years 1 to 9999.
pub(super) fn instant((seconds, nanos): (i64, u32)) -> Option<Timestamp> {
    let micros = seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000))?;
    Timestamp::from_micros(micros).ok()
}

pub(super) fn oddity(stat: &Statx) -> Option<Oddity> {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile if stat.stx_nlink == 1 => None,
        FileType::RegularFile => Some(Oddity::HardLink),
        FileType::Symlink => Some(Oddity::Link),
        FileType::Directory => Some(Oddity::Directory),
        FileType::Fifo => Some(Oddity::Fifo),
        FileType::Socket => Some(Oddity::Socket),
        _ => Some(Oddity::Device),
    }
}

/// Opens a plain file for reading and takes the lease on it.
pub(super) fn open_leased(folder: &OwnedFd, name: &OsStr) -> Result<(File, Facts), SpoolError> {
    // In two steps, because opening a device or a pipe can do something: first a handle that only names the file.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let stat = rustix::fs::statx(&handle, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    if let Some(oddity) = oddity(&stat) {
        return Err(SpoolError::Odd(oddity));
    }
    let by_handle = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(by_handle, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // Somebody holds a write lease.
        Err(Errno::AGAIN) => return Err(SpoolError::StillWriting),
        Err(errno) => return Err(errno.into()),
    };
    lease::take_read_lease(&file).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => SpoolError::StillWriting,
        _ => SpoolError::Disk(error),
    })?;
    // From here on the content stands still: these are the facts that count.
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, mask)?;
    match oddity(&stat) {
        Some(oddity) => Err(SpoolError::Odd(oddity)),
        None => Ok((file, facts(&stat))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_the_calendar_are_none() {
        assert_eq!(instant((1, 2_999)), Timestamp::from_micros(1_000_002).ok());
        for seconds in [i64::MAX, i64::MIN, 1 << 50] {
            assert_eq!(instant((seconds, 0)), None);
        }
    }
}
