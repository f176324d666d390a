//! The state directory: its layout, its format number, its lock.
//!
//! Owns the names of the folders in it. Must never change a directory of another format, nor work beside another
//! process (design §13).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::durable::{DiskError, create_new_durable, make_dir};
use super::lock::{DirLock, LockError};

/// The format that this program reads and writes.
pub const FORMAT: u32 = 1;

const FOLDERS: [&str; 4] = ["ledger", "objects", "keys", "catalogue"];
/// `f_type` of file systems that write changed blocks elsewhere: Btrfs, ZFS, F2FS, overlay, bcachefs, NILFS.
const NOT_IN_PLACE: [u64; 6] = [0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x794C_7630, 0xCA45_1A4E, 0x3434];

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// `init` was not run.
    #[error("{} is not a state directory: run \"greffierctl init\"", .0.display())]
    NotInitialised(PathBuf),
    /// `init` was run before.
    #[error("{} is a state directory already: nothing was changed", .0.display())]
    AlreadyInitialised(PathBuf),
    /// Made by a newer program.
    #[error(
        "{} has format {found}, this program knows format {FORMAT}: install the newer greffier, or restore a backup \
         made with format {FORMAT}",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file `format` holds something else.
    #[error("{} does not hold a format number: restore it from a backup", .0.display())]
    BadFormat(PathBuf),
    /// Others than its owner can enter it.
    #[error("others can enter {}: run \"chmod 0700\" on it, and check who did so", .0.display())]
    Exposed(PathBuf),
    /// Another process works on it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A state directory, locked while this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    in_place: bool,
    _lock: DirLock,
}

impl StateDir {
    /// Makes the layout, for `init`. An interrupted creation can be repeated; a finished one is refused.
    pub fn create(path: &Path) -> Result<Self, StateDirError> {
        if path.join("format").exists() {
            return Err(StateDirError::AlreadyInitialised(path.to_owned()));
        }
        let (parent, name) = path
            .parent()
            .zip(path.file_name().and_then(|name| name.to_str()))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            .map_err(DiskError::when("make", path))?;
        make_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name)?;
        refuse_exposed(path)?;
        let lock = DirLock::take(path)?;
        for folder in FOLDERS {
            make_dir(path, folder)?;
        }
        // Last: the number says that all before it is there.
        create_new_durable(path, "format", format!("{FORMAT}\n").as_bytes())?;
        Ok(Self { in_place: overwrites_in_place(path)?, path: path.to_owned(), _lock: lock })
    }

    /// Locks and opens an existing state directory, once its format is known. A folder that is missing is made:
    /// whether its content is missed, the ledger knows.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        check_format(path)?;
        refuse_exposed(path)?;
        let lock = DirLock::take(path)?;
        for folder in FOLDERS {
            make_dir(path, folder)?;
        }
        Ok(Self { in_place: overwrites_in_place(path)?, path: path.to_owned(), _lock: lock })
    }

    /// Whether the file system writes changed blocks over the old ones, as destroying a key needs. What lies below
    /// (a drive that remaps, a snapshot of the volume) cannot be seen from here.
    pub fn overwrites_in_place(&self) -> bool {
        self.in_place
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `ledger/`.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// `objects/`.
    pub fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// `keys/`.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// `catalogue/`.
    pub fn catalogue(&self) -> PathBuf {
        self.path.join("catalogue")
    }
}

fn check_format(path: &Path) -> Result<(), StateDirError> {
    let file = path.join("format");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StateDirError::NotInitialised(path.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(StateDirError::BadFormat(file));
        }
        Err(error) => return Err(DiskError::when("read", &file)(error).into()),
    };
    match text.strip_suffix('\n').and_then(|number| number.parse::<u32>().ok()) {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(StateDirError::Newer { path: path.to_owned(), found }),
        _ => Err(StateDirError::BadFormat(file)),
    }
}

fn refuse_exposed(path: &Path) -> Result<(), StateDirError> {
    let mode = fs::metadata(path).map_err(DiskError::when("look at", path))?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(StateDirError::Exposed(path.to_owned())) }
}

/// What `statfs` calls the file system of `path`.
pub fn magic_of(path: &Path) -> Result<u64, DiskError> {
    let magic = rustix::fs::statfs(path).map_err(DiskError::when("ask for the file system of", path))?.f_type;
    // Magic numbers are 32 bits; the kernel's word is signed and may be wider.
    Ok((i128::from(magic) & 0xFFFF_FFFF) as u64)
}

/// Whether the file system of `path` writes changed blocks over the old ones.
pub fn overwrites_in_place(path: &Path) -> Result<bool, DiskError> {
    Ok(!NOT_IN_PLACE.contains(&magic_of(path)?) && !journals_data(path)?)
}

/// Whether ext4 writes data through its journal (`data=journal`), where old blocks stay for a while.
fn journals_data(path: &Path) -> Result<bool, DiskError> {
    let device = fs::metadata(path).map_err(DiskError::when("look at", path))?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // Without /proc the mount options cannot be known; the answer is then about the file system alone.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(mounts.lines().any(|line| line.split(' ').nth(2) == Some(&device) && line.contains("data=journal")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        (dir, path)
    }

    #[test]
    fn a_state_directory_is_made_once_and_closed_to_others() {
        let (_dir, path) = state();
        drop(StateDir::create(&path).unwrap());
        for folder in ["", "ledger", "objects", "keys", "catalogue"] {
            assert_eq!(fs::metadata(path.join(folder)).unwrap().mode() & 0o777, 0o700, "{folder}");
        }
        assert!(matches!(StateDir::create(&path), Err(StateDirError::AlreadyInitialised(_))));
        let opened = StateDir::open(&path).unwrap();
        assert!(matches!(StateDir::open(&path), Err(StateDirError::Lock(LockError::Taken(_)))));
        drop(opened);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(StateDir::open(&path), Err(StateDirError::Exposed(_))));
    }

    #[test]
    fn a_newer_format_is_refused_naming_both() {
        let (_dir, path) = state();
        assert!(matches!(StateDir::open(&path), Err(StateDirError::NotInitialised(_))));
        drop(StateDir::create(&path).unwrap());
        fs::write(path.join("format"), "7\n").unwrap();
        let text = StateDir::open(&path).unwrap_err().to_string();
        assert!(text.contains("format 7") && text.contains("format 1"), "{text}");
        for bad in ["", "x\n", "1", "0\n"] {
            fs::write(path.join("format"), bad).unwrap();
            assert!(matches!(StateDir::open(&path), Err(StateDirError::BadFormat(_))), "{bad:?}");
        }
    }
}
