//! One process per state directory.
//!
//! Owns the lock file. The lock ends with the process, however it ends; the file stays.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::durable::DiskError;

/// How long a starting process waits for a dying one.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another process works on {}: stop greffierd, or the greffierctl command that is running, and try again",
        .0.display()
    )]
    Taken(std::path::PathBuf),
    /// The lock file cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The exclusive lock of a directory, held while this lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock `lock` in `dir`, waiting up to 2 s: a process just killed may still hold it for a moment.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(DiskError::when("open the lock", &path))?;
        // Nobody sends: receiving with a time limit is the pause between two tries.
        let (_sender, pause) = mpsc::channel::<()>();
        let mut waited = Duration::ZERO;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if waited < PATIENCE => {
                    let _ = pause.recv_timeout(PAUSE);
                    waited += PAUSE;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Taken(dir.to_owned())),
                Err(error) => return Err(DiskError::when("lock", &path)(io::Error::from(error)).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_a_released_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        assert!(matches!(refused, LockError::Taken(_)) && refused.to_string().contains("stop greffierd"));
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
