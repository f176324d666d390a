//! Reading a whole object from the medium, to know whether it still is what was sealed.
//!
//! Owns the walk over header, chunks, trailer and footer past the page cache, and what of a failed read is the medium's
//! fault. Must never give plaintext to anybody, nor keep any: one chunk at a time is in memory, and wiped.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::read::{damaged, open_file};
use super::{ObjectError, ObjectStore};
use crate::core::format::FormatError;
use crate::core::format::header::{HEADER_BYTES, Header};
use crate::core::format::layout::{CHUNK_BYTES, FOOTER_BYTES, Footer, MIN_FILE_BYTES, TAG_BYTES};
use crate::core::format::trailer::Trailer;
use crate::core::ids::{Digest, RecordingId};
use crate::shell::crypt::{BulkSha256, ChunkOpener, Secret};
use crate::shell::disk::direct::{AlignedBuffer, BLOCK_BYTES, DirectFile};
use crate::shell::disk::durable::DiskError;

/// An object in which everything opens.
pub struct Whole {
    /// What was known of the recording when it was sealed.
    pub trailer: Trailer,
    /// SHA-256 of all plaintext.
    pub sha256: Digest,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// Why an object is not whole, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Missing or damaged, or it could not be looked at.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The medium does not give what was written to it.
    #[error("{} cannot be read from the medium at offset {offset}", path.display())]
    Unreadable {
        /// The object.
        path: std::path::PathBuf,
        /// Bytes from its start, a multiple of the block.
        offset: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The caller wanted no more.
    #[error("the reading was stopped")]
    Stopped,
}

impl ObjectStore {
    /// Reads the whole object of `id` from the medium and opens everything in it. `pace` is told how many bytes will be read
    /// next, waits as long as it likes, and says whether to go on.
    pub fn check(
        &self,
        id: RecordingId,
        secret: &Secret,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Whole, CheckError> {
        let path = self.path(id);
        let file = open_file(&path)?;
        let meta = file.metadata().map_err(|error| disk("look at", &path, error))?;
        let file_bytes = meta.len();
        let wrong = |at, error| CheckError::from(damaged(&path, at, error));
        if !meta.is_file() || file_bytes < MIN_FILE_BYTES {
            return Err(wrong(0, FormatError::new("too short for a sealed recording", file_bytes)));
        }
        let mut stretch = Stretch::new(DirectFile::from_file(file), &path, file_bytes);

        let footer_at = file_bytes - FOOTER_BYTES as u64;
        let footer: [u8; FOOTER_BYTES] = stretch.array(footer_at, pace)?;
        let header: [u8; HEADER_BYTES] = stretch.array(0, pace)?;
        let header = Header::parse(&header).map_err(|error| wrong(0, error))?;
        if header.id != id {
            return Err(wrong(0, FormatError::new("the header names another recording", 12)));
        }
        let footer = Footer::parse(&footer, file_bytes).map_err(|error| wrong(footer_at, error))?;
        let (layout, opener) = (footer.layout, ChunkOpener::new(secret, header));

        let mut sha256 = BulkSha256::new();
        let mut plain = Zeroizing::new(vec![0; CHUNK_BYTES]);
        for index in 0..layout.chunks() {
            let (at, held) = (layout.chunk_offset(index), layout.plain_range(index));
            let length = usize::try_from(held.end - held.start).unwrap_or(0).min(CHUNK_BYTES);
            let sealed = stretch.read(at, length + TAG_BYTES, pace)?;
            let out = plain.get_mut(..length).unwrap_or_default();
            opener
                .open_chunk(index, layout.is_last(index), sealed, out)
                .map_err(|_| wrong(at, FormatError::new("a chunk does not open under the data key", 0)))?;
            sha256.update(out);
        }

        let at = layout.trailer_offset();
        let sealed = stretch.read(at, footer.trailer_bytes as usize + TAG_BYTES, pace)?;
        let mut text = Zeroizing::new(vec![0; footer.trailer_bytes as usize]);
        opener
            .open_trailer(layout.chunks(), &footer.encode(), sealed, &mut text)
            .map_err(|_| wrong(at, FormatError::new("the trailer does not open under the data key", 0)))?;
        let bytes = layout.plain_bytes();
        let trailer = Trailer::parse(&text, id, bytes).map_err(|error| wrong(at, error))?;
        Ok(Whole { trailer, sha256: sha256.finish(), bytes })
    }

    /// When the object of `id` got its name, in microseconds since 1970 by the clock of the file system; `None` when it is
    /// not there.
    pub fn named_at_micros(&self, id: RecordingId) -> Result<Option<i64>, DiskError> {
        let path = self.path(id);
        match fs::symlink_metadata(&path) {
            Ok(meta) => {
                Ok(Some(meta.ctime().saturating_mul(1_000_000).saturating_add(meta.ctime_nsec() / 1000)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DiskError::when("look at", &path)(error)),
        }
    }
}

fn disk(doing: &'static str, path: &Path, error: io::Error) -> CheckError {
    ObjectError::from(DiskError::when(doing, path)(error)).into()
}

/// Whether the kernel says that the medium is at fault, and not memory, descriptors or permissions.
fn of_the_medium(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let medium =
        [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::BADMSG, Errno::UCLEAN, Errno::REMOTEIO, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|errno| medium.contains(&errno))
}

/// The part of the file that was read last, from the medium.
struct Stretch<'a> {
    file: DirectFile,
    path: &'a Path,
    file_bytes: u64,
    buffer: AlignedBuffer,
    start: u64,
    len: usize,
}

impl<'a> Stretch<'a> {
    /// 1 MiB: far more than the longest chunk or trailer with its tag, wherever it starts.
    const BYTES: usize = 1 << 20;

    fn new(file: DirectFile, path: &'a Path, file_bytes: u64) -> Self {
        let small = usize::try_from(file_bytes).unwrap_or(Self::BYTES).next_multiple_of(BLOCK_BYTES);
        let buffer = AlignedBuffer::zeroed(small.saturating_add(BLOCK_BYTES).min(Self::BYTES));
        Self { file, path, file_bytes, buffer, start: 0, len: 0 }
    }

    /// Exactly `length` bytes at `offset`; less is a file that was cut short meanwhile.
    fn read(
        &mut self,
        offset: u64,
        length: usize,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<&[u8], CheckError> {
        if offset < self.start || offset + length as u64 > self.start + self.len as u64 {
            let start = offset - offset % BLOCK_BYTES as u64;
            let most = self.buffer.as_slice().len() as u64;
            if !pace(self.file_bytes.saturating_sub(start).min(most)) {
                return Err(CheckError::Stopped);
            }
            self.len = 0;
            self.start = start;
            self.len = self.file.read_at(&mut self.buffer, start).map_err(|source| {
                if of_the_medium(&source) {
                    CheckError::Unreadable { path: self.path.to_owned(), offset: start, source }
                } else {
                    disk("read", self.path, source)
                }
            })?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let held = self.buffer.as_slice().get(..self.len).unwrap_or_default();
        let cut = || damaged(self.path, offset, FormatError::new("the file is cut short", 0));
        Ok(held.get(from..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?)
    }

    fn array<const N: usize>(
        &mut self,
        offset: u64,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<[u8; N], CheckError> {
        let mut array = [0; N];
        array.copy_from_slice(self.read(offset, N, pace)?);
        Ok(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_medium_that_fails_is_told_from_a_machine_that_does() {
        // Nothing is mapped at address 0, and the kernel says so with EIO.
        let path = Path::new("/proc/self/mem");
        let mut stretch = Stretch::new(DirectFile::from_file(File::open(path).unwrap()), path, 8192);
        let error = stretch.read(100, 10, &mut |_| true).unwrap_err();
        assert!(matches!(error, CheckError::Unreadable { offset: 0, .. }), "{error}");
        let machine = rustix::io::Errno::MFILE.into();
        assert!(!of_the_medium(&machine));
        let stopped = stretch.read(5000, 10, &mut |_| false).unwrap_err();
        assert!(matches!(stopped, CheckError::Stopped), "{stopped}");
    }
}
