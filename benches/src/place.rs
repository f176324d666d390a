//! Where to measure: folders on the disk and in memory, removed at the end.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Outcome;

const TMPFS: u64 = 0x0102_1994;

/// The two folders.
pub struct Places {
    disk: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Places {
    /// Below `TMPDIR` (default `/var/tmp`) and `/dev/shm`. Other users may pass through, to reach a bus below.
    pub fn make() -> Outcome<Self> {
        let disk = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        if is_tmpfs(&disk)? {
            return Err(format!("{} is in memory: set TMPDIR to a folder on a disk", disk.display()).into());
        }
        if !is_tmpfs(Path::new("/dev/shm"))? {
            return Err("/dev/shm is no tmpfs".into());
        }
        let make = |base: &Path| -> Outcome<tempfile::TempDir> {
            let dir = tempfile::Builder::new().prefix("greffier-bench.").tempdir_in(base)?;
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
            Ok(dir)
        };
        Ok(Self { disk: make(&disk)?, memory: make(Path::new("/dev/shm"))? })
    }

    /// A new folder on the disk.
    pub fn on_disk(&self, name: &str) -> Outcome<PathBuf> {
        below(self.disk.path(), name)
    }

    /// A new folder in memory.
    pub fn in_memory(&self, name: &str) -> Outcome<PathBuf> {
        below(self.memory.path(), name)
    }
}

fn below(base: &Path, name: &str) -> Outcome<PathBuf> {
    let dir = base.join(name);
    std::fs::create_dir(&dir)?;
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711))?;
    Ok(dir)
}

fn is_tmpfs(path: &Path) -> Outcome<bool> {
    Ok(u64::try_from(rustix::fs::statfs(path)?.f_type)? == TMPFS)
}
