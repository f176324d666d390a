//! The second stage of sealing: pieces are encrypted in place and written, in whole blocks.
//!
//! Owns the sealer and what begins the next block. Must never write a byte of plaintext: a piece is written when all of it
//! is encrypted.

use std::path::Path;

use super::super::ObjectError;
use super::hashing::{Piece, Totals};
use crate::core::format::header::HEADER_BYTES;
use crate::core::format::layout::{Footer, Layout, TAG_BYTES};
use crate::core::format::trailer::Trailer;
use crate::core::ids::Digest;
use crate::shell::crypt::ChunkSealer;
use crate::shell::disk::direct::{AlignedBuffer, BLOCK_BYTES, DirectFile};
use crate::shell::disk::durable::DiskError;
use crate::shell::disk::fault::{Op, on_file};

/// The stage.
pub(super) struct Sealing<B> {
    sealer: ChunkSealer,
    build_trailer: B,
    /// Sealed, not written yet: the start of a block, which the next piece fills.
    carry: Vec<u8>,
}

/// What the whole object is, once all of it is written.
pub(super) struct Ending {
    pub(super) totals: Totals,
    pub(super) layout: Layout,
    /// Trailer, its tag and the footer, as they stand at the end of the file.
    pub(super) bytes: Vec<u8>,
}

/// What is left of the stage after a piece.
pub(super) enum Sealed<B> {
    /// There are more.
    More(Sealing<B>),
    /// It was the last.
    Ended(Ending),
}

impl<B: FnOnce(Digest, u64) -> Trailer> Sealing<B> {
    /// The header is the start of the first block.
    pub(super) fn new(sealer: ChunkSealer, build_trailer: B) -> Self {
        let mut carry = Vec::with_capacity(BLOCK_BYTES);
        carry.extend_from_slice(&sealer.header().encode());
        Self { sealer, build_trailer, carry }
    }

    /// Encrypts and writes the next piece; after the last one trailer and footer, and cuts the file to its length.
    pub(super) fn step(
        mut self,
        piece: &mut Piece,
        file: &DirectFile,
        path: &Path,
    ) -> Result<Sealed<B>, ObjectError> {
        let lead = piece.lead_bytes();
        let mut end = lead;
        for (index, place, last) in piece.chunks() {
            end = place.end;
            let place = piece.buffer.as_mut_slice().get_mut(place).unwrap_or_default();
            let (text, room) = place
                .split_at_mut_checked(place.len().saturating_sub(TAG_BYTES))
                .ok_or(ObjectError::Cipher)?;
            let tag = self.sealer.seal_chunk(index, last, text).map_err(|_| ObjectError::Cipher)?;
            room.copy_from_slice(&tag);
        }
        let start = piece.offset() - lead as u64;
        let sealed = piece.buffer.as_mut_slice();
        let (begun, carry) = (sealed.get_mut(..lead).unwrap_or_default(), &mut self.carry);
        // Both are what stands in the file before the piece, within its block.
        if begun.len() != carry.len() {
            return Err(ObjectError::Cipher);
        }
        begun.copy_from_slice(carry);
        let whole = end - end % BLOCK_BYTES;
        let blocks = sealed.get(..whole).unwrap_or_default();
        file.write_blocks(path, blocks, start).map_err(DiskError::when("write", path))?;
        carry.clear();
        carry.extend_from_slice(sealed.get(whole..end).unwrap_or_default());
        match piece.totals {
            None => Ok(Sealed::More(self)),
            Some(totals) => self.end(totals, start + whole as u64, file, path).map(Sealed::Ended),
        }
    }

    fn end(self, totals: Totals, offset: u64, file: &DirectFile, path: &Path) -> Result<Ending, ObjectError> {
        let layout = Layout::new(totals.bytes).map_err(|error| ObjectError::TooLong(error.what))?;
        let told = (self.build_trailer)(totals.sha256, totals.bytes);
        let id = self.sealer.header().id;
        let trailer = Trailer { id, sha256: totals.sha256, bytes: totals.bytes, ..told };
        let mut bytes = trailer.encode().map_err(|error| ObjectError::TooLong(error.what))?;
        let trailer_bytes = u32::try_from(bytes.len()).map_err(|_| ObjectError::TooLong("the trailer"))?;
        let footer = Footer { layout, trailer_bytes }.encode();
        let tag = self
            .sealer
            .seal_trailer(layout.chunks(), &footer, &mut bytes)
            .map_err(|_| ObjectError::Cipher)?;
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(&footer);

        let length = self.carry.len() + bytes.len();
        let mut blocks = AlignedBuffer::zeroed(length.next_multiple_of(BLOCK_BYTES));
        let ending = self.carry.iter().chain(&bytes);
        blocks.as_mut_slice().iter_mut().zip(ending).for_each(|(to, from)| *to = *from);
        file.write_blocks(path, blocks.as_slice(), offset).map_err(DiskError::when("write", path))?;
        // Direct writes are whole blocks: what is too long is cut.
        on_file(Op::Extend, path, file.file(), || file.file().set_len(offset + length as u64))
            .map_err(DiskError::when("cut", path))?;
        debug_assert_eq!(layout.file_bytes(trailer_bytes), offset + length as u64);
        Ok(Ending { totals, layout, bytes })
    }
}

const _: () = assert!(HEADER_BYTES < BLOCK_BYTES, "the header begins a block and does not fill it");
