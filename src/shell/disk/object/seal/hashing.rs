//! The first stage of sealing: the recording is read, hashed, and cut into pieces.
//!
//! Owns the source, the running SHA-256 and the shape of a piece. Must never read a byte of the source twice, nor give a
//! piece on before it is known whether it is the last: the last chunk has a nonce of its own.

use std::io::{self, Read};

use super::super::ObjectError;
use crate::core::format::layout::{CHUNK_BYTES, Layout, SEALED_CHUNK_BYTES, TAG_BYTES, chunk_offset};
use crate::core::ids::Digest;
use crate::shell::crypt::BulkSha256;
use crate::shell::disk::direct::{AlignedBuffer, BLOCK_BYTES};

/// Chunks of a piece, which is read, hashed, sealed, written and read back as one. 512 KiB stay in the cache of a core.
const CHUNKS: usize = 8;
/// The same, for counting.
pub(super) const PIECE_CHUNKS: u64 = CHUNKS as u64;
/// What a piece takes in the file, when it is full.
pub(super) const PIECE_BYTES: usize = CHUNKS * SEALED_CHUNK_BYTES;

/// Some chunks in a row. Each stands where its ciphertext will, with room for its tag behind it, and the whole at the same
/// place within a block as in the file: so sealing and writing copy nothing.
pub(super) struct Piece {
    pub(super) buffer: AlignedBuffer,
    first_chunk: u64,
    plain_bytes: usize,
    /// With the last piece: what the whole source was.
    pub(super) totals: Option<Totals>,
}

impl Piece {
    /// A buffer that any piece fits into.
    pub(super) fn new_buffer() -> AlignedBuffer {
        AlignedBuffer::zeroed(PIECE_BYTES.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES)
    }

    /// Where it stands in the file.
    pub(super) fn offset(&self) -> u64 {
        chunk_offset(self.first_chunk)
    }

    /// Bytes of its buffer before it: those of the block in which it begins.
    pub(super) fn lead_bytes(&self) -> usize {
        lead_of(self.first_chunk)
    }

    /// Its chunks: the index, the place in the buffer of text and tag, and whether it is the last of the recording.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u64, std::ops::Range<usize>, bool)> + use<> {
        let empty = self.plain_bytes == 0 && self.first_chunk == 0;
        let count = self.plain_bytes.div_ceil(CHUNK_BYTES).max(usize::from(empty));
        let (lead, plain_bytes, first) = (self.lead_bytes(), self.plain_bytes, self.first_chunk);
        let has_last = self.totals.is_some();
        (0..count).map(move |at| {
            let length = (plain_bytes - at * CHUNK_BYTES).min(CHUNK_BYTES);
            let start = lead + at * SEALED_CHUNK_BYTES;
            (first + at as u64, start..start + length + TAG_BYTES, has_last && at + 1 == count)
        })
    }
}

fn lead_of(first_chunk: u64) -> usize {
    // Below a block, so it fits.
    usize::try_from(chunk_offset(first_chunk) % BLOCK_BYTES as u64).unwrap_or(0)
}

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    /// CRC-32C.
    pub(super) crc: u32,
}

/// The stage.
pub(super) struct Hashing<R> {
    source: R,
    sha256: BulkSha256,
    crc: u32,
    bytes: u64,
    next_chunk: u64,
    /// Read and hashed, but perhaps the last.
    held: Option<Piece>,
    ended: bool,
}

impl<R> Hashing<R> {
    /// Of `source`, from where it stands.
    pub(super) fn new(source: R) -> Self {
        let sha256 = BulkSha256::new();
        Self { source, sha256, crc: 0, bytes: 0, next_chunk: 0, held: None, ended: false }
    }

    /// Whether everything was read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl<R: Read> Hashing<R> {
    /// Reads into `buffer` and hashes. Gives the pieces that may go on, at most two, and `buffer` if nothing came into it.
    pub(super) fn step(
        &mut self,
        buffer: AlignedBuffer,
    ) -> Result<(Vec<Piece>, Option<AlignedBuffer>), ObjectError> {
        let mut piece = Piece { buffer, first_chunk: self.next_chunk, plain_bytes: 0, totals: None };
        for at in 0..CHUNKS {
            let start = piece.lead_bytes() + at * SEALED_CHUNK_BYTES;
            let place = piece.buffer.as_mut_slice().get_mut(start..start + CHUNK_BYTES).unwrap_or_default();
            let length = fill(&mut self.source, place)?;
            // At once, while it is in the cache.
            let plain = place.get(..length).unwrap_or_default();
            self.sha256.update(plain);
            self.crc = crc32c::crc32c_append(self.crc, plain);
            piece.plain_bytes += length;
            if length < CHUNK_BYTES {
                self.ended = true;
                break;
            }
        }
        self.bytes += piece.plain_bytes as u64;
        Layout::new(self.bytes).map_err(|error| ObjectError::TooLong(error.what))?;
        self.next_chunk += PIECE_CHUNKS;

        let mut pieces = Vec::new();
        let mut unused = None;
        let mut before = self.held.take();
        if piece.plain_bytes == 0 && before.is_some() {
            unused = Some(piece.buffer);
        } else {
            pieces.extend(before.take());
            before = Some(piece);
        }
        self.held = before;
        if self.ended {
            let sha256 = std::mem::replace(&mut self.sha256, BulkSha256::new()).finish();
            let totals = Totals { bytes: self.bytes, sha256, crc: self.crc };
            pieces.extend(self.held.take().map(|last| Piece { totals: Some(totals), ..last }));
        }
        Ok((pieces, unused))
    }
}

/// Reads until `place` is full or the source ends.
fn fill(source: &mut impl Read, place: &mut [u8]) -> Result<usize, ObjectError> {
    let mut done = 0;
    while let Some(rest) = place.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ObjectError::Source(error)),
        }
    }
    Ok(done)
}
