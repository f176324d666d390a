//! The 64-byte header of a sealed recording.
//!
//! Owns its fields and their offsets. It holds nothing that a key rotation changes, because it is associated data of
//! every chunk.

use super::{FormatError, put, take};
use crate::core::ids::RecordingId;

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"GREFSEAL";
const VERSION: u16 = 1;
const SUITE_AES_256_GCM: u8 = 1;
const CHUNK_LOG2: u8 = 16;
const RESERVED: usize = 28;

/// The header: little-endian, magic `GREFSEAL`, version u16, suite u8, log2 of the chunk size u8, id, reserved zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The recording; the object file and its data key carry the same id.
    pub id: RecordingId,
}

impl Header {
    /// The bytes, as they stand in the file and in the associated data.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &[SUITE_AES_256_GCM, CHUNK_LOG2]);
        put(&mut bytes, 12, self.id.as_bytes());
        bytes
    }

    /// Reads a header. Every byte is checked, so a header has exactly one encoding.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FormatError> {
        if take::<8>(bytes, 0)? != MAGIC {
            return Err(FormatError::new("not a sealed recording", 0));
        }
        if u16::from_le_bytes(take(bytes, 8)?) != VERSION {
            return Err(FormatError::new("unknown version of the sealed recording", 8));
        }
        if take(bytes, 10)? != [SUITE_AES_256_GCM] {
            return Err(FormatError::new("unknown cipher suite", 10));
        }
        if take(bytes, 11)? != [CHUNK_LOG2] {
            return Err(FormatError::new("unknown chunk size", 11));
        }
        let id = RecordingId::from_bytes(take(bytes, 12)?);
        if bytes.iter().skip(RESERVED).any(|&byte| byte != 0) {
            return Err(FormatError::new("reserved bytes of the header are not zero", RESERVED as u64));
        }
        Ok(Self { id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv10_every_changed_byte_of_a_header_is_refused_or_changes_the_id() {
        let header = Header { id: RecordingId::from_bytes(*b"0123456789abcdef") };
        let bytes = header.encode();
        assert_eq!(Header::parse(&bytes), Ok(header));
        for i in 0..HEADER_BYTES {
            let mut changed = bytes;
            changed[i] ^= 0x40;
            match Header::parse(&changed) {
                Ok(other) => assert!((12..28).contains(&i) && other.id != header.id, "byte {i}"),
                Err(error) => assert!(error.offset <= i as u64, "byte {i}: {error}"),
            }
        }
    }
}
