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
use crate::core::medium::{Medium, MediumFacts, judge_medium};

/// The format that this program reads and writes.
pub const FORMAT: u32 = 1;

const FOLDERS: [&str; 4] = ["ledger", "objects", "keys", "catalogue"];

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
    medium: Medium,
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
        Ok(Self { medium: medium_of(path)?, path: path.to_owned(), _lock: lock })
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
        Ok(Self { medium: medium_of(path)?, path: path.to_owned(), _lock: lock })
    }

    /// The file system that holds the keys, and whether it writes changed blocks over the old ones, as destroying a key
    /// needs. What lies below (a drive that remaps, a snapshot of the volume) cannot be seen from here.
    pub fn medium(&self) -> &Medium {
        &self.medium
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

/// The file system that holds the keys of the state directory `path`, judged.
pub fn medium_of(path: &Path) -> Result<Medium, DiskError> {
    let keys = path.join("keys");
    let magic = magic_of(&keys)?;
    let options = mount_options(&keys)?;
    Ok(judge_medium(&MediumFacts { magic, options, journalled_file: journals_a_key(&keys) }))
}

/// The options that are in force where `folder` stands. Without /proc they cannot be known; the answer is then about the
/// file system alone.
fn mount_options(folder: &Path) -> Result<String, DiskError> {
    let device = fs::metadata(folder).map_err(DiskError::when("look at", folder))?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut options = String::new();
    for line in mounts.lines().filter(|line| line.split(' ').nth(2) == Some(&device)) {
        let Some((_, after)) = line.split_once(" - ") else { continue };
        let mut words = after.split(' ');
        let (kind, source) = (words.next(), words.next().unwrap_or_default());
        options.extend(words.chain([","]));
        // Only here a default that stands in the super block is shown.
        let (Some("ext4"), Some(disk)) = (kind, Path::new(source).file_name()) else { continue };
        let of_ext4 = Path::new("/proc/fs/ext4").join(disk).join("options");
        options.push_str(&fs::read_to_string(of_ext4).unwrap_or_default());
    }
    Ok(options)
}

/// Whether a file of the keys carries the mark that sends its data through the journal.
fn journals_a_key(keys: &Path) -> bool {
    let marked = |path: &Path| {
        let flags = fs::File::open(path).and_then(|file| Ok(rustix::fs::ioctl_getflags(file)?));
        flags.is_ok_and(|flags| flags.contains(rustix::fs::IFlags::JOURNALING))
    };
    let files = fs::read_dir(keys).into_iter().flatten().flatten();
    marked(keys) || files.into_iter().any(|file| marked(&file.path()))
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
