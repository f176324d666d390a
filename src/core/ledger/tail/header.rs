//! The first 4096 bytes of a tail: which ledger, which tail, and the tree it continues.
//!
//! Little-endian: magic `GREFTAIL` · version u16 · number of frontier hashes u16 · block length u32 · log id 32 · tail number
//! u64 · base size u64 · prev 32 · frontier hashes · zeros · CRC-32C of all before it. Must never be more than one block:
//! a block is written whole or not at all.

use crc32c::crc32c;
use sha2::{Digest as _, Sha256};

use super::super::checkpoint::MAX_SIZE;
use super::super::hash::{Hash, empty_hash};
use super::super::note::VerifierKey;
use super::super::tree::Frontier;

/// Length of the header, and offset of the first frame.
pub const HEADER_BYTES: usize = 4096;
const HEADER_LENGTH: u32 = 4096;
const MAGIC: &[u8; 8] = b"GREFTAIL";
const VERSION: u16 = 1;

/// What a tail continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailHeader {
    /// `log_id` of the log key.
    pub log_id: Hash,
    /// Counts the tail files of this ledger; part of every frame's CRC, so that frames of an old tail never pass.
    pub tail_number: u64,
    /// Leaf hash of entry `base_size - 1`; of nothing when the base is 0.
    pub prev: Hash,
    /// The tree of the entries before this tail; its size is the base size, `seq` of the first entry here.
    pub base: Frontier,
}

/// A header that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than one block.
    #[error("the header is cut off")]
    CutOff,
    /// Another kind of file.
    #[error("not a tail of a ledger")]
    Magic,
    /// Written by another version of the program.
    #[error("format version {0} of the tail is unknown; this program knows version 1")]
    Version(u16),
    /// The CRC is wrong.
    #[error("the header is damaged")]
    Damaged,
    /// The CRC is right, the contents contradict themselves.
    #[error("the header contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// Id of a ledger: SHA-256(origin ‖ `\n` ‖ 0x01 ‖ log public key). Its first four bytes are the key id.
pub fn log_id(log_key: &VerifierKey) -> Hash {
    let digest =
        Sha256::new().chain_update(log_key.name()).chain_update(b"\n\x01").chain_update(log_key.public());
    Hash(digest.finalize().into())
}

impl TailHeader {
    /// The block as written.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let hashes = self.base.hashes();
        let count = u16::try_from(hashes.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&HEADER_LENGTH.to_le_bytes());
        bytes.extend_from_slice(&self.log_id.0);
        bytes.extend_from_slice(&self.tail_number.to_le_bytes());
        bytes.extend_from_slice(&self.base.size().to_le_bytes());
        bytes.extend_from_slice(&self.prev.0);
        bytes.extend(hashes.iter().flat_map(|hash| hash.0));
        // At most 64 hashes: 96 + 2048 bytes, so this only ever pads.
        bytes.resize(HEADER_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        let mut block = [0; HEADER_BYTES];
        block.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        block
    }

    /// Reads the block at the start of `file`.
    pub fn decode(file: &[u8]) -> Result<Self, HeaderError> {
        let block = file.first_chunk::<HEADER_BYTES>().ok_or(HeaderError::CutOff)?;
        let (mut rest, crc) = block.split_last_chunk::<4>().ok_or(HeaderError::CutOff)?;
        if take::<8>(&mut rest)? != *MAGIC {
            return Err(HeaderError::Magic);
        }
        let crc_of = block.split_last_chunk::<4>().map(|(all, _)| crc32c(all));
        if crc_of != Some(u32::from_le_bytes(*crc)) {
            return Err(HeaderError::Damaged);
        }
        let version = u16::from_le_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let count = u16::from_le_bytes(take(&mut rest)?);
        if u32::from_le_bytes(take(&mut rest)?) != HEADER_LENGTH {
            return Err(HeaderError::Contradiction("its length is not 4096"));
        }
        let log_id = Hash(take(&mut rest)?);
        let tail_number = u64::from_le_bytes(take(&mut rest)?);
        let base_size = u64::from_le_bytes(take(&mut rest)?);
        let prev = Hash(take(&mut rest)?);
        let hashes = (0..count).map(|_| take(&mut rest).map(Hash)).collect::<Result<Vec<_>, _>>()?;
        if base_size >= MAX_SIZE {
            return Err(HeaderError::Contradiction("its base is not below 2^53"));
        }
        let base = Frontier::from_parts(base_size, hashes)
            .map_err(|_| HeaderError::Contradiction("its hashes do not fit its base"))?;
        if base_size == 0 && prev != empty_hash() {
            return Err(HeaderError::Contradiction("nothing comes before entry 0"));
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Err(HeaderError::Contradiction("it holds more than it says"));
        }
        Ok(Self { log_id, tail_number, prev, base })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], HeaderError> {
    let (head, after) = rest.split_first_chunk::<N>().ok_or(HeaderError::CutOff)?;
    *rest = after;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::super::super::hash::leaf_hash;
    use super::*;

    fn header() -> TailHeader {
        let mut base = Frontier::new();
        (0..300_u32).for_each(|i| base.push(leaf_hash(&i.to_le_bytes())));
        TailHeader { log_id: leaf_hash(b"id"), tail_number: 9, prev: leaf_hash(b"prev"), base }
    }

    #[test]
    fn a_header_reads_back() {
        assert_eq!(TailHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn inv10_every_flipped_bit_is_found() {
        let good = header().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(TailHeader::decode(&bad).is_err(), "bit {bit}");
        }
        for length in [0, 8, 4095] {
            assert_eq!(TailHeader::decode(&good[..length]), Err(HeaderError::CutOff));
        }
    }

    #[test]
    fn the_base_must_fit_the_hashes() {
        let mut bytes = header().encode();
        bytes[56] ^= 1;
        let crc = crc32c(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(TailHeader::decode(&bytes), Err(HeaderError::Contradiction(_))));
    }
}
