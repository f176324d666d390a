//! How far a scrub has come: one line of JSON and its check sum, to go on after a stop or a crash.
//!
//! It is no part of the truth: lost or damaged, the reading begins anew, and nothing that was found is lost, because findings
//! are entries. So it needs no entry itself.

use serde::{Deserialize, Serialize};

use crate::core::ids::RecordingId;
use crate::core::time::Timestamp;

/// What was read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Recordings read to their end, or found damaged.
    pub recordings: u64,
    /// Bytes of objects read.
    pub bytes: u64,
    /// Key slots read, both copies.
    pub keys: u64,
    /// Recordings that are damaged, and names in the store that do not belong there.
    pub damaged: u64,
    /// Copies of key slots written again from the good one.
    pub repaired: u64,
    /// Recordings that could not be looked at, for a reason that is not the medium's.
    pub unread: u64,
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Format of this line.
    pub v: u32,
    /// When the scrub began.
    pub since: Timestamp,
    /// The last recording done with, in order of ids; `None` before the first.
    pub after: Option<RecordingId>,
    /// What was read so far.
    pub counts: Counts,
}

/// A place that cannot be used: the scrub begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the place of the last scrub is damaged or of another version")]
pub struct PlaceError;

impl Place {
    /// The version of this program.
    pub const VERSION: u32 = 1;
    /// The longest line.
    pub const MAX_BYTES: usize = 4096;

    /// Before the first recording.
    pub fn start(since: Timestamp) -> Self {
        Self { v: Self::VERSION, since, after: None, counts: Counts::default() }
    }

    /// The line: CRC-32C in hexadecimal, a space, JSON, a newline.
    pub fn encode(&self) -> Result<Vec<u8>, PlaceError> {
        let json = serde_json::to_string(self).map_err(|_| PlaceError)?;
        Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
    }

    /// Reads a line.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlaceError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(PlaceError);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PlaceError)?;
        let (crc, json) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or(PlaceError)?;
        if crc != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
            return Err(PlaceError);
        }
        let place: Self = serde_json::from_str(json).map_err(|_| PlaceError)?;
        if place.v == Self::VERSION { Ok(place) } else { Err(PlaceError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let since = "2026-05-12T10:00:00Z".parse().unwrap();
        let counts = Counts { recordings: 7, bytes: 1 << 40, ..Counts::default() };
        Place { after: Some(RecordingId::from_bytes([9; 16])), counts, ..Place::start(since) }
    }

    #[test]
    fn a_place_reads_back() {
        assert_eq!(Place::parse(&place().encode().unwrap()), Ok(place()));
    }

    #[test]
    fn inv10_a_place_with_any_bit_changed_or_cut_is_none() {
        let line = place().encode().unwrap();
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(Place::parse(&changed), Err(PlaceError), "byte {at} bit {bit}");
            }
            assert_eq!(Place::parse(&line[..at]), Err(PlaceError));
        }
        assert_eq!(Place::parse(&vec![b' '; Place::MAX_BYTES + 1]), Err(PlaceError));
        let later = Place { v: 2, ..place() };
        assert_eq!(Place::parse(&later.encode().unwrap()), Err(PlaceError));
    }
}
