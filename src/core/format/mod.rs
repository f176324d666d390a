//! Bytes on disk: sealed recording, key slot, spool names.
//!
//! Owns every length, offset and magic number of the store (design §6, `greffier-store(5)`). Must never do I/O, hold a
//! key or trust a length that it read: stored bytes are hostile (invariant 10).

pub mod header;
pub mod layout;
pub mod slot;
pub mod trailer;

/// Stored bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at offset {offset}")]
pub struct FormatError {
    /// What is wrong, in words.
    pub what: &'static str,
    /// Bytes from the start of the header, footer, slot or object that was read.
    pub offset: u64,
}

impl FormatError {
    pub(crate) const fn new(what: &'static str, offset: u64) -> Self {
        Self { what, offset }
    }
}

/// Writes `bytes` into `buffer` at `offset`; only for constant offsets inside a fixed array.
fn put(buffer: &mut [u8], offset: usize, bytes: &[u8]) {
    let slot = buffer.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
    debug_assert!(slot.is_some(), "the caller's offsets are constants");
    if let Some(slot) = slot {
        slot.copy_from_slice(bytes);
    }
}

/// The `N` bytes at `offset`, or an error naming it.
fn take<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], FormatError> {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(FormatError::new("too short", offset as u64))
}
