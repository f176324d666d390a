//! Reading a ledger that may be hostile, wherever it lies: a folder, an archive, or memory.
//!
//! No link is followed, no device opened, no file read past its bound.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Archive, ArchiveError, Unpacking};

/// The files of a ledger held in memory, by their paths below its folder.
pub type Files = BTreeMap<String, Arc<[u8]>>;

/// Where the ledger is.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder, or a `.tar` or `.tar.zst`: told by what stands there.
    Path(PathBuf),
    /// A `.tar` or `.tar.zst` on standard input.
    Stdin,
    /// Nothing but memory.
    Memory(Arc<Files>),
}

/// The files of the ledger that was given. Cheap to clone; clones read at the same time.
#[derive(Debug, Clone)]
pub struct Folder {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Disk(PathBuf),
    Archive(Arc<Archive>),
    Memory(Arc<Files>),
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
    /// Opens the source. What the user names may be reached through links; nothing below it may.
    pub fn open_source(source: &Source, unpacking: Unpacking<'_>) -> Result<Self, ArchiveError> {
        let place = match source {
            Source::Path(path) => Self::open_path(path, unpacking)?,
            Source::Stdin => Place::Archive(Arc::new(Archive::of_stream(io::stdin().lock(), unpacking)?)),
            Source::Memory(files) => Place::Memory(Arc::clone(files)),
        };
        Ok(Self { place })
    }

    fn open_path(path: &Path, unpacking: Unpacking<'_>) -> Result<Place, ArchiveError> {
        let path = fs::canonicalize(path)?;
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() {
            return Ok(Place::Disk(path));
        }
        // Opening a pipe or a device may wait for ever.
        if !metadata.is_file() {
            return Err(ArchiveError::Whole(
                "it is neither a folder nor a file; an archive in a pipe is read with -",
            ));
        }
        Ok(Place::Archive(Arc::new(Archive::of_file(File::open(path)?, unpacking)?)))
    }

    /// The bytes of a file of at most `max_bytes`; `None` if there is none.
    pub fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, FileError> {
        let Some(stream) = self.open(path)? else { return Ok(None) };
        let length = stream.length();
        if length > max_bytes as u64 {
            return Err(refused(path, "is larger than it can be"));
        }
        // The file may grow meanwhile, and a length is not believed.
        let mut bytes =
            Vec::with_capacity(usize::try_from(length).map_or(0, |length| length.saturating_add(1)));
        stream.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(|source| io_error(path, source))?;
        if bytes.len() > max_bytes { Err(refused(path, "is larger than it can be")) } else { Ok(Some(bytes)) }
    }

    /// A regular file, open for reading; `None` if there is none.
    pub fn open(&self, path: &str) -> Result<Option<Stream>, FileError> {
        match &self.place {
            Place::Disk(root) => open_on_disk(root, path),
            Place::Archive(archive) => match archive.find(path) {
                Some((offset, length)) => {
                    Ok(Some(Stream::Member { archive: Arc::clone(archive), offset, end: offset + length }))
                }
                None if archive.is_folder(path) => Err(refused(path, "is not a regular file")),
                None => Ok(None),
            },
            Place::Memory(files) => {
                Ok(files.get(path).map(|bytes| Stream::Memory { bytes: Arc::clone(bytes), at: 0 }))
            }
        }
    }

    /// The files of a folder whose names are plain numbers, in order; `None` if there is no such folder.
    pub fn numbers(&self, path: &str, max_files: usize) -> Result<Option<Vec<u64>>, FileError> {
        let mut numbers = Vec::new();
        // Temporary files of an interrupted write have other names.
        let mut add = |name: &str| {
            numbers.extend(name.parse().ok().filter(|n: &u64| n.to_string() == name));
            if numbers.len() > max_files { Err(refused(path, "holds too many files")) } else { Ok(()) }
        };
        match &self.place {
            Place::Disk(root) => {
                let Some((full, metadata)) = look(root, path)? else { return Ok(None) };
                if !metadata.is_dir() {
                    return Err(refused(path, "is not a folder"));
                }
                for entry in fs::read_dir(full).map_err(|source| io_error(path, source))? {
                    let name = entry.map_err(|source| io_error(path, source))?.file_name();
                    name.to_str().map_or(Ok(()), &mut add)?;
                }
            }
            Place::Archive(archive) if archive.find(path).is_some() => {
                return Err(refused(path, "is not a folder"));
            }
            Place::Archive(archive) if !archive.is_folder(path) => return Ok(None),
            Place::Archive(archive) => archive.names(path).try_for_each(add)?,
            Place::Memory(files) => {
                let prefix = format!("{path}/");
                let below = files.range(prefix.clone()..).map_while(|(path, _)| path.strip_prefix(&prefix));
                let mut any = false;
                for name in below {
                    any = true;
                    add(name)?;
                }
                if !any {
                    return Ok(None);
                }
            }
        }
        numbers.sort_unstable();
        Ok(Some(numbers))
    }
}

/// A file being read from its start.
#[derive(Debug)]
pub enum Stream {
    /// On disk.
    Disk(File),
    /// Within an archive, from `offset` to `end`.
    Member {
        /// Of this one.
        archive: Arc<Archive>,
        /// Where the next byte is.
        offset: u64,
        /// Where it ends.
        end: u64,
    },
    /// In memory, from `at` on.
    Memory {
        /// The whole file.
        bytes: Arc<[u8]>,
        /// Where the next byte is.
        at: usize,
    },
}

impl Stream {
    /// How many bytes it seems to have.
    fn length(&self) -> u64 {
        match self {
            Self::Disk(file) => file.metadata().map_or(0, |metadata| metadata.len()),
            Self::Member { offset, end, .. } => end - offset,
            Self::Memory { bytes, .. } => bytes.len() as u64,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk(file) => file.read(buffer),
            Self::Member { archive, offset, end } => {
                let left = usize::try_from(*end - *offset).unwrap_or(usize::MAX);
                let wanted = left.min(buffer.len());
                let read = archive.read_at(buffer.get_mut(..wanted).unwrap_or_default(), *offset)?;
                if read == 0 && wanted > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *offset += read as u64;
                Ok(read)
            }
            Self::Memory { bytes, at } => {
                let read = bytes.get(*at..).unwrap_or_default().read(buffer)?;
                *at += read;
                Ok(read)
            }
        }
    }
}

fn open_on_disk(root: &Path, path: &str) -> Result<Option<Stream>, FileError> {
    let Some((full, before)) = look(root, path)? else { return Ok(None) };
    if !before.is_file() {
        return Err(refused(path, "is not a regular file"));
    }
    let file = File::open(full).map_err(|source| io_error(path, source))?;
    let after = file.metadata().map_err(|source| io_error(path, source))?;
    // Exchanged between the look and the opening: what was opened may be anything.
    if (before.dev(), before.ino()) != (after.dev(), after.ino()) {
        return Err(refused(path, "changed while it was opened"));
    }
    Ok(Some(Stream::Disk(file)))
}

/// The full path and what stands there, if every folder on the way is a folder and no link.
fn look(root: &Path, path: &str) -> Result<Option<(PathBuf, Metadata)>, FileError> {
    let mut full = root.to_owned();
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

fn refused(path: &str, why: &'static str) -> FileError {
    FileError::Refused { path: path.to_owned(), why }
}

fn io_error(path: &str, source: io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), source }
}
