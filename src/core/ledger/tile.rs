//! Files of the published tree (C2SP tlog-tiles, height 8): their paths and their bytes.
//!
//! Must never write a tile or a bundle of no entries, and must never read past a length that it has not checked.

use super::hash::Hash;

/// Entries in a full bundle, hashes in a full tile.
pub const FULL: usize = 256;
/// `FULL`, to count entries with.
pub const FULL_U64: u64 = 256;
/// Longest entry: its length is a u16.
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// Most bytes a full bundle can have.
pub const MAX_BUNDLE_BYTES: usize = FULL * (2 + MAX_ENTRY_BYTES);

/// A bundle or tile whose bytes are not what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// More than 256, or none.
    #[error("a tile or bundle holds 1 to 256 of them, not {0}")]
    Count(usize),
    /// An entry longer than 65,535 bytes.
    #[error("an entry of {0} bytes; it has at most 65535")]
    EntryTooLong(usize),
    /// The bytes end in the middle of an entry or hash.
    #[error("cut off at byte {0}")]
    CutOff(usize),
}

/// `tile/<level>/<n>`, with `.p/<width>` when partial (width 1 to 255).
pub fn tile_path(level: u8, n: u64, width: Option<u8>) -> String {
    format!("tile/{level}/{}{}", number_path(n), partial(width))
}

/// `tile/entries/<n>`, with `.p/<width>` when partial (width 1 to 255).
pub fn entries_path(n: u64, width: Option<u8>) -> String {
    format!("tile/entries/{}{}", number_path(n), partial(width))
}

/// `details/<n>`: the encrypted details of bundle `n`. Ours, not of C2SP; never published.
pub fn details_path(n: u64) -> String {
    format!("details/{}", number_path(n))
}

/// The full tiles that come into being with full bundle `bundle_n`, as (level, n), lowest level first.
pub fn tiles_completed_by(bundle_n: u64) -> Vec<(u8, u64)> {
    let mut tiles = vec![(0, bundle_n)];
    let mut n = bundle_n;
    // Sizes stay below 2^53, so no tile above level 6 can be full.
    for level in 1..8 {
        if n % FULL_U64 != FULL_U64 - 1 {
            break;
        }
        n /= FULL_U64;
        tiles.push((level, n));
    }
    tiles
}

/// Width of the rightmost tile at `level` in a tree of `size`, when it is partial.
pub fn partial_width(level: u8, size: u64) -> Option<u8> {
    let hashes = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
    u8::try_from(hashes % FULL_U64).ok().filter(|width| *width > 0)
}

/// An entry bundle: each entry after its length as big-endian u16.
pub fn encode_bundle<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, TileError> {
    if entries.is_empty() || entries.len() > FULL {
        return Err(TileError::Count(entries.len()));
    }
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong(entry.len()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The entries of a bundle, as they were written.
pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut_off = || TileError::CutOff(bytes.len() - rest.len());
        if entries.len() == FULL {
            return Err(TileError::Count(FULL + 1));
        }
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        entries.push(entry);
        rest = after;
    }
    if entries.is_empty() { Err(TileError::Count(0)) } else { Ok(entries) }
}

/// A tile: its hashes, one after the other.
pub fn encode_tile(hashes: &[Hash]) -> Result<Vec<u8>, TileError> {
    if hashes.is_empty() || hashes.len() > FULL {
        return Err(TileError::Count(hashes.len()));
    }
    Ok(hashes.iter().flat_map(|hash| hash.0).collect())
}

/// The hashes of a tile.
pub fn parse_tile(bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(TileError::CutOff(bytes.len() - rest.len()));
    }
    if hashes.is_empty() || hashes.len() > FULL {
        return Err(TileError::Count(hashes.len()));
    }
    Ok(hashes.iter().map(|bytes| Hash(*bytes)).collect())
}

/// Three digits an element, all but the last after an `x`: 1234067 is `x001/x234/067`.
fn number_path(n: u64) -> String {
    let mut path = format!("{:03}", n % 1000);
    let mut rest = n / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn partial(width: Option<u8>) -> String {
    width.map(|width| format!(".p/{width}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::hash::leaf_hash;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        assert_eq!(tile_path(0, 0, None), "tile/0/000");
        assert_eq!(tile_path(0, 1_234_067, None), "tile/0/x001/x234/067");
        assert_eq!(tile_path(1, 999, Some(17)), "tile/1/999.p/17");
        assert_eq!(entries_path(1000, Some(255)), "tile/entries/x001/000.p/255");
        assert_eq!(details_path(1234), "details/x001/234");
    }

    /// The example of the specification: a tree of 70,000.
    #[test]
    fn widths_of_partial_tiles() {
        assert_eq!(
            [0, 1, 2, 3].map(|level| partial_width(level, 70_000)),
            [Some(112), Some(17), Some(1), None]
        );
        assert_eq!([0, 1].map(|level| partial_width(level, 256)), [None, Some(1)]);
        assert_eq!(partial_width(9, u64::MAX), None);
    }

    #[test]
    fn higher_tiles_become_full_with_their_last_bundle() {
        assert_eq!(tiles_completed_by(0), [(0, 0)]);
        assert_eq!(tiles_completed_by(255), [(0, 255), (1, 0)]);
        assert_eq!(tiles_completed_by(256), [(0, 256)]);
        assert_eq!(tiles_completed_by(65_535), [(0, 65_535), (1, 255), (2, 0)]);
    }

    #[test]
    fn inv10_wrong_counts_and_cuts_are_errors() {
        assert_eq!(parse_bundle(b""), Err(TileError::Count(0)));
        assert_eq!(parse_bundle(&[0, 0].repeat(257)), Err(TileError::Count(257)));
        assert_eq!(parse_bundle(&[0, 1, 7, 0]), Err(TileError::CutOff(3)));
        assert_eq!(parse_bundle(&[0, 9, 7]), Err(TileError::CutOff(0)));
        assert_eq!(encode_bundle(&[vec![0; 65_536]]), Err(TileError::EntryTooLong(65_536)));
        assert_eq!(parse_tile(&[0; 33]), Err(TileError::CutOff(32)));
        assert!(parse_tile(&[]).is_err() && parse_tile(&[0; 257 * 32]).is_err());
    }

    proptest! {
        #[test]
        fn bundles_and_tiles_read_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=256)) {
            let bundle = encode_bundle(&entries).unwrap();
            prop_assert_eq!(parse_bundle(&bundle).unwrap(), entries.clone());
            let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            prop_assert_eq!(parse_tile(&encode_tile(&hashes).unwrap()).unwrap(), hashes);
        }
        #[test]
        fn inv10_any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(entries) = parse_bundle(&bytes) {
                prop_assert_eq!(encode_bundle(&entries).unwrap(), bytes);
            }
        }
    }
}
