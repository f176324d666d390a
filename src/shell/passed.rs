//! Descriptors that callers pass over the bus: which are taken, and whether they change while they are read.
//!
//! Taken are regular files on local file systems and memfds sealed against change. A file on FUSE or a network could
//! block the daemon or change its answer, so it is refused (design §6). Must never read the content.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{OFlags, SealFlags};

use crate::core::time::Timestamp;

/// A descriptor that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Not a regular file.
    #[error("Pass a regular file: pipes, devices, sockets and directories are not sealed.")]
    NotRegular,
    /// Not open for reading.
    #[error("Pass a descriptor that is open for reading.")]
    NotReadable,
    /// FUSE or network.
    #[error("Pass a file on a local file system: copy it there first.")]
    NotLocal,
    /// A memfd that can still change.
    #[error("Seal the memfd against writing, growing and shrinking before passing it.")]
    NotSealed,
    /// The kernel does not say.
    #[error("The file cannot be looked at.")]
    Io(#[from] io::Error),
}

/// What must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    identity: Identity,
    /// When its content last changed.
    pub modified: Option<Timestamp>,
    /// When it was made, where the file system knows it.
    pub born: Option<Timestamp>,
    /// A sealed memfd: it cannot change.
    pub immutable: bool,
}

/// Device, inode, size; modification and change time in seconds and nanoseconds.
type Identity = ([u64; 3], [i64; 4]);

/// Magic numbers of the file systems that are not taken from (`statfs(2)`): FUSE, NFS, SMB, CIFS, 9p, Ceph, AFS, Coda; and
/// those whose files the kernel makes up at each read, for whoever reads: proc, sysfs, debugfs, tracefs, cgroup2.
const NOT_LOCAL: [u64; 14] = [
    0x9FA0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x6367_7270,
    0x6573_5546,
    0x6969,
    0x517B,
    0xFE53_4D42,
    0xFF53_4D42,
    0x0102_1997,
    0x00C3_6400,
    0x5346_414F,
    0x7375_7245,
];
/// tmpfs, where memfds live too.
const TMPFS: u64 = 0x0102_1994;

/// Whether the descriptor is taken, and what it is now.
pub fn accept(file: &File) -> Result<Before, NotTaken> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(NotTaken::NotRegular);
    }
    let flags = rustix::fs::fcntl_getfl(file).map_err(io::Error::from)?;
    if flags.contains(OFlags::PATH) || flags & OFlags::RWMODE == OFlags::WRONLY {
        return Err(NotTaken::NotReadable);
    }
    let kind = rustix::fs::fstatfs(file).map_err(io::Error::from)?.f_type;
    // The type of the field differs between architectures; the magic numbers have 32 bits.
    let kind = u64::from(u32::try_from(kind & 0xFFFF_FFFF).unwrap_or(0));
    if NOT_LOCAL.contains(&kind) {
        return Err(NotTaken::NotLocal);
    }
    let anonymous = kind == TMPFS && metadata.nlink() == 0;
    let immutable = anonymous && {
        let needed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(needed))
    };
    if anonymous && !immutable {
        return Err(NotTaken::NotSealed);
    }
    let time = |time: io::Result<std::time::SystemTime>| {
        let since = time.ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?).ok()
    };
    let (modified, born) = (time(metadata.modified()), time(metadata.created()));
    Ok(Before { identity: identity(&metadata), modified, born, immutable })
}

/// Whether it still is what it was.
pub fn unchanged(file: &File, before: &Before) -> io::Result<bool> {
    Ok(identity(&file.metadata()?) == before.identity)
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    ([metadata.dev(), metadata.ino(), metadata.size()], times)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pipes_directories_and_write_only_files_are_refused() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(matches!(accept(&File::from(reader)), Err(NotTaken::NotRegular)));
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(accept(&File::open(dir.path()).unwrap()), Err(NotTaken::NotRegular)));
        let write_only = File::create(dir.path().join("a")).unwrap();
        assert!(matches!(accept(&write_only), Err(NotTaken::NotReadable)));
    }

    #[test]
    fn what_the_kernel_makes_up_for_its_reader_is_refused() {
        assert!(matches!(accept(&File::open("/proc/self/environ").unwrap()), Err(NotTaken::NotLocal)));
    }

    #[test]
    fn a_memfd_is_taken_only_when_sealed() {
        let flags = rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::memfd_create("t", flags).unwrap());
        file.write_all(b"abc").unwrap();
        assert!(matches!(accept(&file), Err(NotTaken::NotSealed)));
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        assert!(accept(&file).unwrap().immutable);
    }

    #[test]
    fn a_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"one").unwrap();
        let file = File::open(&path).unwrap();
        let before = accept(&file).unwrap();
        assert!(unchanged(&file, &before).unwrap());
        std::fs::write(&path, b"three").unwrap();
        assert!(!unchanged(&file, &before).unwrap());
    }
}
