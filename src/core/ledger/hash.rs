//! SHA-256 as the ledger uses it: one prefix byte for each kind of content (RFC 6962 §2.1; 0x02 is our own).
//!
//! Must never hash a thing without its prefix, or a leaf could pass for a node.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// A SHA-256 of the ledger, written in standard base64: leaf hash, tree node, commitment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// Text that is not the base64 of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash must be the base64 of 32 bytes, 44 characters")]
pub struct HashError;

/// Hash of an entry as a leaf of the tree, SHA-256(0x00 ‖ entry): also the `prev` of the entry after it.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// Hash of an inner node, SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// SHA-256 of nothing: root of the empty tree, and `prev` of entry 0.
pub fn empty_hash() -> Hash {
    Hash(Sha256::digest(b"").into())
}

/// What an entry's `detail` holds: SHA-256(0x02 ‖ detail line). The line carries a random salt, so the hash tells nothing.
pub fn detail_commitment(line: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([2]).chain_update(line).finalize().into())
}

/// Set in what [`sextet`] gives for a byte that is no letter of base64.
const NOT_BASE64: u8 = 0x80;

/// The value of a letter of base64, 0 to 63.
fn sextet(letter: u8) -> u8 {
    #[expect(clippy::indexing_slicing, reason = "in a constant: an index out of range does not compile")]
    const VALUES: [u8; 256] = {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut values = [NOT_BASE64; 256];
        let mut value = 0;
        while value < 64 {
            values[letters[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    VALUES.get(usize::from(letter)).copied().unwrap_or(NOT_BASE64)
}

/// The bytes of a base64 text that is written in its one form: padding stands at the end only, though the decoder takes pieces
/// that are each padded.
pub(crate) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let padding = text.get(end..).unwrap_or_default();
    if padding.iter().all(|byte| *byte == b'=') { BASE64.decode(text).ok() } else { None }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}
impl FromStr for Hash {
    type Err = HashError;
    fn from_str(text: &str) -> Result<Self, HashError> {
        text.as_bytes().try_into().ok().and_then(Self::from_text).ok_or(HashError)
    }
}
impl Hash {
    /// Its text, in ASCII.
    pub fn text(&self) -> [u8; 44] {
        let mut text = [0; 44];
        BASE64.encode_mut(&self.0, &mut text);
        text
    }
    /// From its text; `None` when that is not the base64 of 32 bytes.
    pub fn from_text(text: &[u8; 44]) -> Option<Self> {
        // Ten groups of four letters are 30 bytes; the last is two bytes and one sign of padding. Written out because each
        // entry has two or three of them. A hash has one text: the bits that the last group does not need are zero.
        let (groups, _) = text.as_chunks::<4>();
        let (&[a, b, c, b'='], groups) = groups.split_last()? else { return None };
        let mut bytes = [0; 32];
        let (triples, rest) = bytes.as_chunks_mut::<3>();
        let mut wrong = 0;
        for (triple, group) in triples.iter_mut().zip(groups) {
            let [a, b, c, d] = group.map(sextet);
            wrong |= a | b | c | d;
            *triple = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
        }
        let [a, b, c] = [a, b, c].map(sextet);
        rest.copy_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]);
        ((wrong | a | b | c) & NOT_BASE64 == 0 && c & 3 == 0).then_some(Self(bytes))
    }
}
impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn known_values_of_rfc_6962() {
        let hex = |hash: Hash| HEXLOWER.encode(&hash.0);
        assert_eq!(hex(empty_hash()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(
            hex(node_hash(&leaf_hash(b""), &leaf_hash(&[0]))),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn a_hash_has_exactly_one_text() {
        let text = leaf_hash(b"x").to_string();
        assert_eq!(text.parse::<Hash>(), Ok(leaf_hash(b"x")));
        // 43 characters hold 258 bits: the last two must be zero.
        let mut other = text.clone();
        other.replace_range(42..43, "/");
        assert!(other.parse::<Hash>().is_err());
        assert!(text.trim_end_matches('=').parse::<Hash>().is_err());
        // Two pieces of base64, each padded as it should be, that together have the same bytes and 44 characters.
        let hash = leaf_hash(b"x").0;
        let pieces = BASE64.encode(&hash[..2]) + &BASE64.encode(&hash[2..]);
        assert_eq!((pieces.len(), BASE64.decode(pieces.as_bytes()).unwrap().as_slice()), (44, &hash[..]));
        assert!(pieces.parse::<Hash>().is_err());
        assert!(serde_json::from_str::<Hash>(&format!("\"{pieces}\"")).is_err());
    }

    #[test]
    fn base64_has_exactly_one_form() {
        for good in ["", "AA==", "AAA=", "AAAA", "AAAAAA=="] {
            assert_eq!(
                decode_base64(good.as_bytes()).map(|bytes| BASE64.encode(&bytes)).as_deref(),
                Some(good)
            );
        }
        for bad in ["AA==AA==", "AA==AAAA", "AAA=AAA=", "AB==", "AAAA=", "=", "AA=A", "A", "AA"] {
            assert!(decode_base64(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
