//! Keys of the catalogue: their bytes, and the cursor made of them.
//!
//! One sled tree holds everything, so one sled batch changes everything at once. The first byte tells what a key is:
//!
//! | key | value |
//! |---|---|
//! | `P` | format u8; position in the ledger: size u64, root 32 bytes |
//! | `O` lane start id | the row: neighbours in a search are neighbours on disk |
//! | `H` lane start id | nothing; only recordings with a hold |
//! | `R` id | where the row is: the key after its `O` |
//! | `L` lane | longest recording ever in this lane, microseconds u64 |
//!
//! A lane is one kind of one source: source, zero byte, kind byte. Integers are big-endian, times with the sign bit
//! flipped, so that bytes sort as instants do.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

use super::row::Row;
use crate::core::ids::{Kind, RecordingId, SourceId};
use crate::core::time::Timestamp;

pub(super) const POSITION: &[u8] = b"P";
pub(super) const ROW: u8 = b'R';
pub(super) const ORDER: u8 = b'O';
pub(super) const HELD: u8 = b'H';
const LONGEST: u8 = b'L';

/// Start (8 bytes) and id (16 bytes): the end of a key in order, and the whole of a cursor.
pub(super) const PLACE_BYTES: usize = 24;

pub(super) const KINDS: [Kind; 3] = [Kind::Footage, Kind::Call, Kind::Screen];

/// A place in the order by start, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) start: Timestamp,
    pub(super) id: RecordingId,
}

impl Place {
    pub(super) fn of(row: &Row) -> Self {
        Self { start: row.start, id: row.id }
    }
    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        let (start, id) = bytes.split_at_mut(8);
        start.copy_from_slice(&time_bytes(self.start));
        id.copy_from_slice(self.id.as_bytes());
        bytes
    }
    /// From the last 24 bytes of a key; `None` when it is shorter or holds no time.
    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (_, place) = key.split_last_chunk::<PLACE_BYTES>()?;
        let (start, id) = place.split_first_chunk::<8>()?;
        Some(Self { start: time_from(*start)?, id: RecordingId::from_bytes(id.try_into().ok()?) })
    }
}

/// Where a page ended: opaque text for the caller, checked when it comes back.
///
/// It names a place in the order, not a right: a forged one only skips rows of the caller's own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub(super) Place);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0.to_bytes()))
    }
}

/// Text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that Search returned; start again with an empty one")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() != PLACE_BYTES * 2 {
            return Err(CursorError);
        }
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| CursorError)?;
        Place::from_key(&bytes).map(Self).ok_or(CursorError)
    }
}

/// One kind of one source.
pub(super) fn lane(source: &SourceId, kind: Kind) -> Vec<u8> {
    // The alphabet of a source id has no zero byte, so no lane is the beginning of another.
    [source.as_str().as_bytes(), &[0, kind_byte(kind)]].concat()
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Footage => b'f',
        Kind::Call => b'c',
        Kind::Screen => b's',
    }
}

pub(super) fn row_key(id: RecordingId) -> Vec<u8> {
    [&[ROW], id.as_bytes().as_slice()].concat()
}

pub(super) fn longest_key(lane: &[u8]) -> Vec<u8> {
    [&[LONGEST], lane].concat()
}

/// A key in [`ORDER`] or [`HELD`].
pub(super) fn ordered_key(table: u8, lane: &[u8], place: Place) -> Vec<u8> {
    [&[table], lane, &place.to_bytes()].concat()
}

/// The same key in the other table.
pub(super) fn in_table(table: u8, key: &[u8]) -> Vec<u8> {
    [&[table], key.get(1..).unwrap_or_default()].concat()
}

/// Source and kind of a key in [`ORDER`] or [`HELD`]; `None` when it is none.
pub(super) fn lane_of(key: &[u8]) -> Option<(SourceId, Kind)> {
    let (lane, _) = key.get(1..)?.split_last_chunk::<PLACE_BYTES>()?;
    let (source, [0, kind]) = lane.split_last_chunk::<2>()? else { return None };
    let kind = KINDS.into_iter().find(|&known| kind_byte(known) == *kind)?;
    Some((str::from_utf8(source).ok()?.parse().ok()?, kind))
}

/// The first key of `lane` that starts at `start` or later.
pub(super) fn seek_key(table: u8, lane: &[u8], start: Timestamp) -> Vec<u8> {
    [&[table], lane, &time_bytes(start)].concat()
}

pub(super) fn time_bytes(time: Timestamp) -> [u8; 8] {
    (time.as_micros() ^ i64::MIN).to_be_bytes()
}

pub(super) fn time_from(bytes: [u8; 8]) -> Option<Timestamp> {
    Timestamp::from_micros(i64::from_be_bytes(bytes) ^ i64::MIN).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_instants_do() {
        let times =
            ["0001-01-02T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"];
        let bytes: Vec<_> = times.iter().map(|t| time_bytes(t.parse().unwrap())).collect();
        assert!(bytes.is_sorted());
        for (time, bytes) in times.iter().zip(bytes) {
            assert_eq!(time_from(bytes), time.parse().ok());
        }
    }

    #[test]
    fn a_cursor_is_checked_when_it_comes_back() {
        let cursor = Cursor(Place {
            start: Timestamp::from_micros(-5).unwrap(),
            id: RecordingId::from_bytes([9; 16]),
        });
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        let beyond_the_years = format!("{}{}", "f".repeat(16), "0".repeat(32));
        for bad in ["", "zz", &text[1..], &text.to_uppercase().replace('0', "A"), &beyond_the_years] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad:?}");
        }
    }

    #[test]
    fn no_lane_is_the_beginning_of_another() {
        let (a, b): (SourceId, SourceId) = ("door".parse().unwrap(), "door-2".parse().unwrap());
        assert!(!lane(&b, Kind::Call).starts_with(&lane(&a, Kind::Call)));
    }
}
