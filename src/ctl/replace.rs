//! A file that everybody may read, put at its name whole or not at all.
//!
//! Owns the order write, sync, rename. Must never leave a part of a file under its name while the machine stays up.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};

/// Whether a file must be on the disk before its name stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// `fsync` of the file before the rename, and of its folder after it.
    Now,
    /// The caller syncs the file system before anything relies on the file.
    Later,
}

/// Puts `bytes` at `path`, mode 0644, over what stands there. `temporary` is a name on the same file system that nobody
/// else uses; what a crash left there is written over.
pub fn replace(temporary: &Path, path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(bytes)?;
    // Whatever the umask of the caller is.
    file.set_permissions(Permissions::from_mode(0o644))?;
    if sync == Sync::Now {
        file.sync_all()?;
    }
    fs::rename(temporary, path)?;
    match (sync, path.parent()) {
        (Sync::Now, Some(folder)) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Makes a folder that everybody may enter, and those above it below `top`.
pub fn folders(top: &Path, below: &Path) -> io::Result<()> {
    let mut path = top.to_owned();
    for part in below {
        path.push(part);
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => fs::set_permissions(&path, Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes of a regular file of at most `max_bytes`; `None` if there is none. A link is not followed.
pub fn read(path: &Path, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    // Without NONBLOCK, opening a FIFO would wait for its writer.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than it can be"));
    }
    Ok(Some(bytes))
}

/// The lock of a folder, held while the file lives; `None` while another process has it.
pub fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_everybody_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, path) = (dir.path().join(".new"), dir.path().join("a/b/file"));
        fs::write(&temporary, "left by a crash, and longer").unwrap();
        folders(dir.path(), Path::new("a/b")).unwrap();
        for (bytes, sync) in [(b"first", Sync::Later), (b"other", Sync::Now)] {
            replace(&temporary, &path, bytes, sync).unwrap();
            assert_eq!(read(&path, 5).unwrap().unwrap(), bytes);
        }
        assert!(!temporary.exists() && read(&temporary, 5).unwrap().is_none());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o644, 0o755));
    }

    #[test]
    fn inv10_links_folders_pipes_and_long_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("long"), "123456").unwrap();
        std::os::unix::fs::symlink(at("long"), at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
        for name in ["long", "link", "pipe", "."] {
            assert!(read(&at(name), 5).is_err(), "{name}");
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(held.is_some() && lock(dir.path()).unwrap().is_none());
        drop(held);
        assert!(lock(dir.path()).unwrap().is_some());
    }
}
