//! The last stage of sealing: what was written and synced is read back from the medium, and must open.
//!
//! Owns the window that is read into and the CRC-32C of what opened. Must never read what is not synced yet: it would
//! prove the memory, not the medium.

use std::path::Path;

use zeroize::Zeroizing;

use super::super::ObjectError;
use super::hashing::{PIECE_BYTES, PIECE_CHUNKS};
use super::sealing::Ending;
use crate::core::format::header::HEADER_BYTES;
use crate::core::format::layout::{
    CHUNK_BYTES, FOOTER_BYTES, MAX_TRAILER_BYTES, SEALED_CHUNK_BYTES, TAG_BYTES, chunk_offset,
};
use crate::shell::crypt::{ChunkOpener, ChunkSealer};
use crate::shell::disk::direct::{AlignedBuffer, BLOCK_BYTES, DirectFile};
use crate::shell::disk::durable::DiskError;
use crate::shell::disk::fault::{Op, call};

/// A piece, the longest ending behind it, and the blocks in which both begin and end.
const WINDOW_BYTES: usize =
    (PIECE_BYTES + MAX_TRAILER_BYTES + TAG_BYTES + FOOTER_BYTES).next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES;

/// The stage.
pub(super) struct Checking {
    opener: ChunkOpener,
    header: [u8; HEADER_BYTES],
    window: AlignedBuffer,
    plain: Zeroizing<Vec<u8>>,
    crc: u32,
    next_piece: u64,
}

impl Checking {
    /// Of what `sealer` seals.
    pub(super) fn new(sealer: &ChunkSealer) -> Self {
        Self {
            opener: sealer.opener(),
            header: sealer.header().encode(),
            window: AlignedBuffer::zeroed(WINDOW_BYTES),
            plain: Zeroizing::new(vec![0; CHUNK_BYTES]),
            crc: 0,
            next_piece: 0,
        }
    }

    /// Pieces that were matched.
    pub(super) fn pieces(&self) -> u64 {
        self.next_piece
    }

    /// CRC-32C of their plaintext.
    pub(super) fn crc(&self) -> u32 {
        self.crc
    }

    /// Reads the next piece back and opens its chunks. `ending` is what follows the last piece, once all is written; before
    /// that the piece is not the last.
    pub(super) fn step(
        &mut self,
        ending: Option<&Ending>,
        file: &DirectFile,
        path: &Path,
    ) -> Result<(), ObjectError> {
        let first = self.next_piece * PIECE_CHUNKS;
        let count = ending.map_or(PIECE_CHUNKS, |it| (it.layout.chunks() - first).min(PIECE_CHUNKS));
        let ending = ending.filter(|ending| first + count == ending.layout.chunks());
        let offset = chunk_offset(first);
        let start = offset - offset % BLOCK_BYTES as u64;
        let end = ending
            .map_or(chunk_offset(first + count), |it| it.layout.trailer_offset() + it.bytes.len() as u64);
        let wanted = usize_of(end - start);
        let blocks =
            self.window.as_mut_slice().get_mut(..wanted.next_multiple_of(BLOCK_BYTES)).unwrap_or_default();
        let read = call(Op::ReadBack, path, || file.read_blocks(blocks, start))
            .map_err(DiskError::when("read back", path))?;
        let held = blocks.get(..read.min(wanted)).unwrap_or_default();

        let not_kept = || ObjectError::NotKept(path.to_owned());
        let place = |from: u64, length: usize| {
            let from = usize_of(from - start);
            held.get(from..from + length).ok_or_else(not_kept)
        };
        if first == 0 && place(0, HEADER_BYTES)? != self.header {
            return Err(not_kept());
        }
        for index in first..first + count {
            let is_last = ending.is_some_and(|ending| ending.layout.is_last(index));
            let length = ending.map_or(CHUNK_BYTES, |ending| {
                let held = ending.layout.plain_range(index);
                usize_of(held.end - held.start)
            });
            let sealed = place(chunk_offset(index), length + TAG_BYTES)?;
            let out = self.plain.get_mut(..length).ok_or_else(not_kept)?;
            self.opener.open_chunk(index, is_last, sealed, out).map_err(|_| not_kept())?;
            self.crc = crc32c::crc32c_append(self.crc, out);
        }
        if let Some(ending) = ending
            && place(ending.layout.trailer_offset(), ending.bytes.len())? != ending.bytes
        {
            return Err(not_kept());
        }
        self.next_piece += 1;
        Ok(())
    }
}

/// For lengths within a window.
fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const _: () = assert!(SEALED_CHUNK_BYTES == CHUNK_BYTES + TAG_BYTES);
