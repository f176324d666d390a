//! Sealed recordings, `objects/<first two characters of id>/<id>`.
//!
//! Owns their names and the errors of reading and writing them. Must never hold plaintext on the disk, replace an
//! object, or trust a length in one (invariant 10).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::durable::{DiskError, make_dir, sync_dir};
use crate::core::ids::RecordingId;

mod read;
mod seal;
pub use read::SealedReader;
pub use seal::StagedObject;

/// Why an object cannot be sealed or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no such file.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// The file is not what was sealed.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged {
        /// The object.
        path: PathBuf,
        /// Bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A name in `objects/` that is no object's. Nothing else is wrong: a listing can go on.
    #[error("{} is no object of the store: look at it and move it away", .0.display())]
    Foreign(PathBuf),
    /// The recording to be sealed cannot be read.
    #[error("the recording to be sealed cannot be read")]
    Source(#[source] io::Error),
    /// The recording or what is told of it is too long.
    #[error("the recording cannot be sealed: {0}")]
    TooLong(&'static str),
    /// The cipher library refused.
    #[error("the recording cannot be sealed: the cipher library refused")]
    Cipher,
    /// What was written differs from what was sealed: the medium or the memory changed it.
    #[error("the sealed copy in {} does not read back as it was written: check the disk", .0.display())]
    NotKept(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The folder `objects/`.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    dir: PathBuf,
}

impl ObjectStore {
    /// The store in `objects_dir`, which must exist.
    pub fn open(objects_dir: &Path) -> Result<Self, DiskError> {
        let meta = fs::metadata(objects_dir).map_err(DiskError::when("look at", objects_dir))?;
        if !meta.is_dir() {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(DiskError::when("use", objects_dir)(error));
        }
        Ok(Self { dir: objects_dir.to_owned() })
    }

    /// Bytes that may still be written, as the file system tells an unprivileged user.
    pub fn free_bytes(&self) -> Result<u64, DiskError> {
        let figures =
            rustix::fs::statvfs(&self.dir).map_err(DiskError::when("ask for free space in", &self.dir))?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    /// Where the object of `id` stands, whether or not it is there.
    pub fn path(&self, id: RecordingId) -> PathBuf {
        let name = id.to_string();
        self.dir.join(folder_of(&name)).join(name)
    }

    /// Whether the object of `id` is there.
    pub fn exists(&self, id: RecordingId) -> Result<bool, DiskError> {
        let path = self.path(id);
        path.try_exists().map_err(DiskError::when("look for", &path))
    }

    /// Removes the object of `id`, durably when this returns. `false` when it was not there.
    pub fn remove(&self, id: RecordingId) -> Result<bool, DiskError> {
        let path = self.path(id);
        let removed = match fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(DiskError::when("remove", &path)(error)),
        };
        // Also when it was gone: whoever removed it may have crashed before syncing.
        match path.parent() {
            Some(folder) if folder.exists() => sync_dir(folder)?,
            _ => {}
        }
        Ok(removed)
    }

    /// The ids of all objects, folder by folder, in no order. A name that is no object's comes as
    /// [`ObjectError::Foreign`], and the listing goes on.
    pub fn list(&self) -> impl Iterator<Item = Result<RecordingId, ObjectError>> + use<> {
        let folders = names(&self.dir).into_iter();
        let dir = self.dir.clone();
        folders.flat_map(move |folder| match folder {
            Ok(folder) if dir.join(&folder).is_dir() => {
                let path = dir.join(&folder);
                names(&path).into_iter().map(|name| id_of(&path, &folder, &name?)).collect()
            }
            other => vec![other.and_then(|name| Err(ObjectError::Foreign(dir.join(name))))],
        })
    }

    fn make_folder(&self, id: RecordingId) -> Result<PathBuf, DiskError> {
        make_dir(&self.dir, folder_of(&id.to_string()))
    }
}

fn folder_of(name: &str) -> &str {
    name.get(..2).unwrap_or_default()
}

/// What stands in one folder; at most one folder is in memory at a time.
fn names(dir: &Path) -> Vec<Result<OsString, ObjectError>> {
    let failed = |error| ObjectError::from(DiskError::when("list", dir)(error));
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()).map_err(|error: io::Error| failed(error)))
            .collect(),
        Err(error) => vec![Err(failed(error))],
    }
}

fn id_of(path: &Path, folder: &OsStr, name: &OsStr) -> Result<RecordingId, ObjectError> {
    let text = name.to_str().unwrap_or_default();
    match text.parse() {
        Ok(id) if folder == OsStr::new(folder_of(text)) => Ok(id),
        _ => Err(ObjectError::Foreign(path.join(name))),
    }
}

#[cfg(test)]
mod tests;
