//! Where each chunk of a sealed recording stands, and under which nonce.
//!
//! Owns offsets, lengths, nonces and the footer. Must never overflow: a plaintext length read from disk is checked
//! against the file size before an offset is computed from it.

use std::ops::Range;

use super::header::HEADER_BYTES;
use super::{FormatError, put, take};

/// Plaintext bytes of a full chunk.
pub const CHUNK_BYTES: usize = 1 << 16;
/// Bytes of an AES-256-GCM tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a full chunk with its tag, as it stands in the file.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// Bytes of the footer, at the end of the file.
pub const FOOTER_BYTES: usize = 24;
/// The longest recording, in plaintext bytes (16 TiB): far from every overflow below.
pub const MAX_PLAIN_BYTES: u64 = 1 << 44;
/// The longest trailer, in plaintext bytes.
pub const MAX_TRAILER_BYTES: usize = 1 << 16;

const FOOTER_MAGIC: [u8; 8] = *b"GREFTRLR";

/// The nonce of chunk `index`: 000000 ‖ u64be(index) ‖ flag, flag 1 on the last chunk.
pub fn chunk_nonce(index: u64, last: bool) -> [u8; 12] {
    nonce(index, u8::from(last))
}

/// The nonce of the trailer: 000000 ‖ u64be(number of chunks) ‖ 0xFF.
pub fn trailer_nonce(chunks: u64) -> [u8; 12] {
    nonce(chunks, 0xFF)
}

fn nonce(counter: u64, flag: u8) -> [u8; 12] {
    let mut nonce = [0; 12];
    put(&mut nonce, 3, &counter.to_be_bytes());
    put(&mut nonce, 11, &[flag]);
    nonce
}

/// Offset in the file of the ciphertext of chunk `index`, however long the recording is.
pub fn chunk_offset(index: u64) -> u64 {
    (HEADER_BYTES as u64).saturating_add(index.saturating_mul(SEALED_CHUNK_BYTES as u64))
}

/// The shape of a sealed recording; follows from the length of its plaintext alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    plain_bytes: u64,
}

impl Layout {
    /// The layout of `plain_bytes` of plaintext, 0 to [`MAX_PLAIN_BYTES`].
    pub fn new(plain_bytes: u64) -> Result<Self, FormatError> {
        if plain_bytes > MAX_PLAIN_BYTES {
            return Err(FormatError::new("a recording is longer than 16 TiB", 0));
        }
        Ok(Self { plain_bytes })
    }

    /// Length of the recording, in bytes.
    pub fn plain_bytes(self) -> u64 {
        self.plain_bytes
    }

    /// Number of chunks, at least 1: an empty recording is one empty chunk.
    pub fn chunks(self) -> u64 {
        self.plain_bytes.div_ceil(CHUNK_BYTES as u64).max(1)
    }

    /// Whether `index` is the last chunk.
    pub fn is_last(self, index: u64) -> bool {
        index.checked_add(1) == Some(self.chunks())
    }

    /// The plaintext bytes that chunk `index` holds, as offsets in the recording. Empty past the end.
    pub fn plain_range(self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(CHUNK_BYTES as u64).min(self.plain_bytes);
        start..start.saturating_add(CHUNK_BYTES as u64).min(self.plain_bytes)
    }

    /// Offset in the file of the ciphertext of chunk `index`, which must be below [`Layout::chunks`] or equal to it:
    /// then it is the offset of the trailer (when the last chunk is full).
    pub fn chunk_offset(self, index: u64) -> u64 {
        chunk_offset(index)
    }

    /// Offset in the file of the trailer's ciphertext.
    pub fn trailer_offset(self) -> u64 {
        HEADER_BYTES as u64 + self.plain_bytes + self.chunks() * TAG_BYTES as u64
    }

    /// Size of the whole file with a trailer of `trailer_bytes`.
    pub fn file_bytes(self, trailer_bytes: u32) -> u64 {
        self.trailer_offset() + u64::from(trailer_bytes) + TAG_BYTES as u64 + FOOTER_BYTES as u64
    }
}

/// The footer: `GREFTRLR`, plaintext length u64, trailer length u32, zero u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The shape of the file.
    pub layout: Layout,
    /// Length of the trailer's plaintext, 1 to [`MAX_TRAILER_BYTES`]; its tag is not counted.
    pub trailer_bytes: u32,
}

impl Footer {
    /// The bytes, as they stand at the end of the file and in the trailer's associated data.
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        put(&mut bytes, 0, &FOOTER_MAGIC);
        put(&mut bytes, 8, &self.layout.plain_bytes.to_le_bytes());
        put(&mut bytes, 16, &self.trailer_bytes.to_le_bytes());
        bytes
    }

    /// Reads the footer of a file of `file_bytes`. Footer, file size and chunk count must agree.
    pub fn parse(bytes: &[u8; FOOTER_BYTES], file_bytes: u64) -> Result<Self, FormatError> {
        if take::<8>(bytes, 0)? != FOOTER_MAGIC {
            return Err(FormatError::new("the footer is damaged, or the file is cut short", 0));
        }
        let layout = Layout::new(u64::from_le_bytes(take(bytes, 8)?))
            .map_err(|error| FormatError::new(error.what, 8))?;
        let trailer_bytes = u32::from_le_bytes(take(bytes, 16)?);
        if trailer_bytes == 0 || trailer_bytes as usize > MAX_TRAILER_BYTES {
            return Err(FormatError::new("the trailer's length is out of range", 16));
        }
        if take(bytes, 20)? != [0; 4] {
            return Err(FormatError::new("reserved bytes of the footer are not zero", 20));
        }
        if layout.file_bytes(trailer_bytes) != file_bytes {
            return Err(FormatError::new("the footer and the file size do not agree", 8));
        }
        Ok(Self { layout, trailer_bytes })
    }
}

/// Size of the smallest sealed recording: header, one empty chunk, a trailer of one byte, footer.
pub const MIN_FILE_BYTES: u64 = (HEADER_BYTES + TAG_BYTES + 1 + TAG_BYTES + FOOTER_BYTES) as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nonces_are_as_the_format_says() {
        assert_eq!(chunk_nonce(0x0102, true), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
        assert_eq!(chunk_nonce(0, false), [0; 12]);
        assert_eq!(trailer_nonce(3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0xFF]);
    }

    #[test]
    fn an_empty_recording_is_one_empty_chunk() {
        let layout = Layout::new(0).unwrap();
        assert_eq!((layout.chunks(), layout.plain_range(0)), (1, 0..0));
        assert_eq!(layout.file_bytes(1), MIN_FILE_BYTES);
        assert_eq!(Layout::new(65_536).unwrap().chunks(), 1);
        assert_eq!(Layout::new(65_537).unwrap().chunks(), 2);
    }

    #[test]
    fn inv10_a_footer_must_agree_with_the_file_size() {
        let footer = Footer { layout: Layout::new(70_000).unwrap(), trailer_bytes: 300 };
        let size = footer.layout.file_bytes(300);
        let bytes = footer.encode();
        assert_eq!(Footer::parse(&bytes, size), Ok(footer));
        for wrong in [0, size - 1, size + 1, u64::MAX] {
            assert!(Footer::parse(&bytes, wrong).is_err());
        }
        for i in 0..FOOTER_BYTES {
            for bit in 0..8 {
                let mut changed = bytes;
                changed[i] ^= 1 << bit;
                assert!(Footer::parse(&changed, size).is_err(), "byte {i} bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn chunks_tile_the_recording_and_the_file(plain in 0..=MAX_PLAIN_BYTES) {
            let layout = Layout::new(plain).unwrap();
            let last = layout.chunks() - 1;
            prop_assert!(layout.is_last(last) && (last == 0 || !layout.is_last(last - 1)));
            prop_assert_eq!(layout.plain_range(last).end, plain);
            let held = layout.plain_range(last);
            let end = layout.chunk_offset(last) + (held.end - held.start) + TAG_BYTES as u64;
            prop_assert_eq!(end, layout.trailer_offset());
            prop_assert!(plain == 0 || !held.is_empty());
        }
    }
}
