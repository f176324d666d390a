//! Reading a sealed recording at any offset.
//!
//! Owns the open file, its key, and the chunks that were last read in part. Dropping the reader wipes key and chunks.
//! Every byte given out has been authenticated. Invariant 10: damage is an error that names file and offset.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{ObjectError, ObjectStore};
use crate::core::format::FormatError;
use crate::core::format::header::{HEADER_BYTES, Header};
use crate::core::format::layout::{
    CHUNK_BYTES, FOOTER_BYTES, Footer, Layout, MIN_FILE_BYTES, SEALED_CHUNK_BYTES, TAG_BYTES,
};
use crate::core::format::trailer::Trailer;
use crate::core::ids::RecordingId;
use crate::shell::crypt::{ChunkOpener, Secret};
use crate::shell::disk::durable::DiskError;

/// One sealed recording, open for reading from any thread.
pub struct SealedReader {
    path: PathBuf,
    file: File,
    layout: Layout,
    opener: ChunkOpener,
    trailer: Trailer,
    kept: Mutex<Kept>,
    buffers: Buffers,
}

/// Chunks kept for further small reads: a player goes back and forth between picture, sound and index.
const KEPT_CHUNKS: usize = 4;

/// The chunks that were last read in part, the latest at the end: small reads decrypt a chunk once.
type Kept = VecDeque<(u64, Zeroizing<Vec<u8>>)>;

/// Buffers used again, at most two for each thread that reads at the same time: making and wiping 64 KiB for every
/// small read would cost as much as decrypting it.
#[derive(Default)]
struct Buffers(Mutex<Vec<Zeroizing<Vec<u8>>>>);

impl Buffers {
    fn take(&self, length: usize) -> Zeroizing<Vec<u8>> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Always made with the full size: growing one would leave its old bytes behind, not wiped.
        let mut buffer = spare.unwrap_or_else(|| Zeroizing::new(Vec::with_capacity(SEALED_CHUNK_BYTES)));
        buffer.resize(length.min(SEALED_CHUNK_BYTES), 0);
        buffer
    }

    fn give(&self, buffer: Zeroizing<Vec<u8>>) {
        if buffer.capacity() >= SEALED_CHUNK_BYTES {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

impl SealedReader {
    /// Opens the object of `id` with its data key: header, footer, file size and trailer are checked here, chunks
    /// when they are read.
    pub fn open(store: &ObjectStore, id: RecordingId, secret: &Secret) -> Result<Self, ObjectError> {
        let path = store.path(id);
        let file = open_file(&path)?;
        let (header, footer) = read_shape(&file, &path)?;
        if header.id != id {
            return Err(damaged(&path, 0, FormatError::new("the header names another recording", 12)));
        }
        let opener = ChunkOpener::new(secret, header);
        let trailer = read_trailer(&file, &path, footer, &opener, id)?;
        let reader = Self {
            path,
            file,
            layout: footer.layout,
            opener,
            trailer,
            kept: Mutex::default(),
            buffers: Buffers::default(),
        };
        if reader.is_empty() {
            // No read touches the one empty chunk, so it is checked here.
            reader.open_chunk(0, &mut [])?;
        }
        Ok(reader)
    }

    /// Length of the recording, in bytes.
    pub fn len(&self) -> u64 {
        self.layout.plain_bytes()
    }

    /// Whether the recording has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was known of the recording when it was sealed.
    pub fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// Reads at `offset` until `out` is full or the recording ends; returns the bytes read, 0 at or past the end.
    /// Touches only the chunks that it needs. On error `out` holds nothing of use.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, ObjectError> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let position = offset.saturating_add(done as u64);
            if position >= self.len() {
                break;
            }
            let index = position / CHUNK_BYTES as u64;
            let held = self.layout.plain_range(index);
            let wanted = usize_of(held.end - position).min(rest.len());
            let Some(part) = rest.get_mut(..wanted) else { break };
            if part.len() == usize_of(held.end - held.start) {
                self.open_chunk(index, part)?;
            } else {
                self.copy_from_chunk(index, usize_of(position - held.start), part)?;
            }
            done += wanted;
        }
        Ok(done)
    }

    fn copy_from_chunk(&self, index: u64, within: usize, out: &mut [u8]) -> Result<(), ObjectError> {
        if copy_kept(&mut self.kept(), index, within, out) {
            return Ok(());
        }
        // Opened without the lock: other threads read other chunks meanwhile.
        let held = self.layout.plain_range(index);
        let mut plain = self.buffers.take(usize_of(held.end - held.start));
        self.open_chunk(index, &mut plain)?;
        if let Some(bytes) = plain.get(within..).and_then(|rest| rest.get(..out.len())) {
            out.copy_from_slice(bytes);
        }
        let mut kept = self.kept();
        // Another thread may have been as quick.
        if !kept.iter().any(|(at, _)| *at == index) {
            kept.push_back((index, plain));
        }
        let oldest = if kept.len() > KEPT_CHUNKS { kept.pop_front() } else { None };
        drop(kept);
        if let Some((_, plain)) = oldest {
            self.buffers.give(plain);
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decrypts the whole chunk `index` into `out`, which has exactly its length.
    fn open_chunk(&self, index: u64, out: &mut [u8]) -> Result<(), ObjectError> {
        let mut sealed = self.buffers.take(out.len() + TAG_BYTES);
        let offset = self.layout.chunk_offset(index);
        read_exact(&self.file, &self.path, &mut sealed, offset)?;
        self.opener.open_chunk(index, self.layout.is_last(index), &sealed, out).map_err(|_| {
            damaged(&self.path, offset, FormatError::new("a chunk does not open under the data key", 0))
        })?;
        self.buffers.give(sealed);
        Ok(())
    }
}

/// Copies from chunk `index` if it is kept.
fn copy_kept(kept: &mut Kept, index: u64, within: usize, out: &mut [u8]) -> bool {
    let Some(at) = kept.iter().rposition(|(kept, _)| *kept == index) else { return false };
    let bytes = kept.get(at).and_then(|(_, plain)| plain.get(within..)?.get(..out.len()));
    let found = bytes.map(|bytes| out.copy_from_slice(bytes)).is_some();
    if let Some(latest) = kept.remove(at) {
        kept.push_back(latest);
    }
    found
}

pub(super) fn open_file(path: &Path) -> Result<File, ObjectError> {
    // Not blocking: were it a FIFO, opening it must not wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ObjectError::Missing(path.to_owned())),
        opened => Ok(opened.map_err(DiskError::when("open", path))?),
    }
}

fn read_shape(file: &File, path: &Path) -> Result<(Header, Footer), ObjectError> {
    let meta = file.metadata().map_err(DiskError::when("look at", path))?;
    if !meta.is_file() || meta.len() < MIN_FILE_BYTES {
        return Err(damaged(path, 0, FormatError::new("too short for a sealed recording", meta.len())));
    }
    let mut header = [0; HEADER_BYTES];
    read_exact(file, path, &mut header, 0)?;
    let header = Header::parse(&header).map_err(|error| damaged(path, 0, error))?;
    let at = meta.len() - FOOTER_BYTES as u64;
    let mut footer = [0; FOOTER_BYTES];
    read_exact(file, path, &mut footer, at)?;
    let footer = Footer::parse(&footer, meta.len()).map_err(|error| damaged(path, at, error))?;
    Ok((header, footer))
}

fn read_trailer(
    file: &File,
    path: &Path,
    footer: Footer,
    opener: &ChunkOpener,
    id: RecordingId,
) -> Result<Trailer, ObjectError> {
    let at = footer.layout.trailer_offset();
    let mut sealed = vec![0; footer.trailer_bytes as usize + TAG_BYTES];
    read_exact(file, path, &mut sealed, at)?;
    let mut text = Zeroizing::new(vec![0; footer.trailer_bytes as usize]);
    opener.open_trailer(footer.layout.chunks(), &footer.encode(), &sealed, &mut text).map_err(|_| {
        damaged(path, at, FormatError::new("the trailer does not open under the data key", 0))
    })?;
    Trailer::parse(&text, id, footer.layout.plain_bytes()).map_err(|error| damaged(path, at, error))
}

fn read_exact(file: &File, path: &Path, buffer: &mut [u8], offset: u64) -> Result<(), ObjectError> {
    match file.read_exact_at(buffer, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged(path, offset, FormatError::new("the file is cut short", 0)))
        }
        read => Ok(read.map_err(DiskError::when("read", path))?),
    }
}

pub(super) fn damaged(path: &Path, base: u64, error: FormatError) -> ObjectError {
    ObjectError::Damaged {
        path: path.to_owned(),
        offset: base.saturating_add(error.offset),
        what: error.what,
    }
}

/// For lengths within one chunk.
fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
