//! Reading below one folder, which may be hostile: no link is followed, no device opened, no file read past its bound.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The folder that was given.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// A file that is there and was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A link, a device, a folder where a file belongs, or too large.
    #[error("{path} {why}")]
    Refused {
        /// Below the folder.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system could not read it.
    #[error("cannot read {path}")]
    Io {
        /// Below the folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Folder {
    /// The folder itself may be reached through links: the user named it.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if !fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root })
    }

    /// The bytes of a file of at most `max_bytes`; `None` if there is none.
    pub fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, FileError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(|source| io_error(path, source))?;
        if bytes.len() > max_bytes { Err(refused(path, "is larger than it can be")) } else { Ok(Some(bytes)) }
    }

    /// A regular file, open for reading; `None` if there is none.
    pub fn open(&self, path: &str) -> Result<Option<File>, FileError> {
        let Some((full, before)) = self.look(path)? else { return Ok(None) };
        if !before.is_file() {
            return Err(refused(path, "is not a regular file"));
        }
        let file = File::open(full).map_err(|source| io_error(path, source))?;
        let after = file.metadata().map_err(|source| io_error(path, source))?;
        // Exchanged between the look and the opening: what was opened may be anything.
        if (before.dev(), before.ino()) != (after.dev(), after.ino()) {
            return Err(refused(path, "changed while it was opened"));
        }
        Ok(Some(file))
    }

    /// The files of a folder whose names are plain numbers, in order; `None` if there is no such folder.
    pub fn numbers(&self, path: &str, max_files: usize) -> Result<Option<Vec<u64>>, FileError> {
        let Some((full, metadata)) = self.look(path)? else { return Ok(None) };
        if !metadata.is_dir() {
            return Err(refused(path, "is not a folder"));
        }
        let mut numbers = Vec::new();
        for entry in fs::read_dir(full).map_err(|source| io_error(path, source))? {
            let name = entry.map_err(|source| io_error(path, source))?.file_name();
            // Temporary files of an interrupted write have other names.
            let number =
                name.to_str().and_then(|name| name.parse().ok().filter(|n: &u64| n.to_string() == name));
            numbers.extend(number);
            if numbers.len() > max_files {
                return Err(refused(path, "holds too many files"));
            }
        }
        numbers.sort_unstable();
        Ok(Some(numbers))
    }

    /// The full path and what stands there, if every folder on the way is a folder and no link.
    fn look(&self, path: &str) -> Result<Option<(PathBuf, Metadata)>, FileError> {
        let mut full = self.root.clone();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            full.push(part);
            let metadata = match fs::symlink_metadata(&full) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(io_error(path, source)),
            };
            if parts.peek().is_none() {
                return Ok(Some((full, metadata)));
            }
            if !metadata.is_dir() {
                return Err(refused(path, "lies behind something that is not a folder"));
            }
        }
        Ok(None)
    }
}

fn refused(path: &str, why: &'static str) -> FileError {
    FileError::Refused { path: path.to_owned(), why }
}

fn io_error(path: &str, source: io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), source }
}
