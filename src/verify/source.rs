//! Where the entries come from: the bundles of the folder, one after the other, split and hashed.
//!
//! Splitting is lenient, so that one flipped bit is named and not the whole file: what cannot be split is simply not there.

use super::files::{FileError, Folder};
use super::tiles::{Tile, read_tile};
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::{Hash, leaf_hash};
use crate::core::ledger::tile::{FULL, FULL_U64, MAX_BUNDLE_BYTES, entries_path};

/// Up to 256 consecutive entries.
#[derive(Debug)]
pub struct Bundle {
    /// Number of its first entry.
    pub first: u64,
    /// How many entries belong here.
    pub expected: usize,
    /// The entries that could be split, and their leaf hashes.
    entries: Vec<(std::ops::Range<usize>, Hash)>,
    bytes: Vec<u8>,
    /// Whether bytes follow the last entry.
    pub excess: bool,
    /// The level-0 tile beside it; `None` for entries of a tail, which have none.
    pub tile: Option<Tile>,
}

/// What the next step of reading gave.
#[derive(Debug)]
pub enum Loaded {
    /// A bundle.
    Bundle(Box<Bundle>),
    /// None there.
    Missing(String),
    /// Something that is not read, in one sentence.
    Refused(String),
}

impl Bundle {
    /// From entries that stand elsewhere.
    pub fn of_lines<'a>(first: u64, lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for line in lines {
            let from = bytes.len();
            bytes.extend_from_slice(line);
            entries.push((from..bytes.len(), leaf_hash(line)));
        }
        Self { first, expected: entries.len(), entries, bytes, excess: false, tile: None }
    }

    /// Entry `place` of the bundle and its leaf hash, if it could be split.
    pub fn entry(&self, place: usize) -> Option<(&[u8], Hash)> {
        let (range, leaf) = self.entries.get(place)?;
        Some((self.bytes.get(range.clone())?, *leaf))
    }

    /// What entry `place` says the entry before it is.
    pub fn claimed_prev(&self, place: usize) -> Option<Hash> {
        self.entry(place).and_then(|(line, _)| Entry::parse(line).ok()).map(|entry| entry.prev)
    }

    /// The hash that the tile has for entry `place`.
    pub fn tile_hash(&self, place: usize) -> Option<Hash> {
        match &self.tile {
            Some(Tile::Hashes(hashes)) => hashes.get(place).copied(),
            _ => None,
        }
    }

    /// `exact`: the file is the one of just these entries, not a full bundle that stands in for a partial one.
    fn split(first: u64, expected: usize, bytes: Vec<u8>, exact: bool, tile: Tile) -> Self {
        let mut entries = Vec::with_capacity(expected);
        let mut at = 0;
        while entries.len() < expected {
            let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<2>) else { break };
            let from = at + 2;
            let end = from + usize::from(u16::from_be_bytes(*length));
            let Some(line) = bytes.get(from..end) else { break };
            entries.push((from..end, leaf_hash(line)));
            at = end;
        }
        let excess = exact && entries.len() == expected && at < bytes.len();
        Self { first, expected, entries, bytes, excess, tile: Some(tile) }
    }
}

/// The bundles of the first `size` entries; all that are there when the size is not known.
#[derive(Debug)]
pub struct Bundles {
    folder: Folder,
    size: Option<u64>,
    n: u64,
}

impl Bundles {
    /// From the first one on.
    pub fn new(folder: Folder, size: Option<u64>) -> Self {
        Self { folder, size, n: 0 }
    }

    fn load(&self, n: u64, expected: usize) -> Result<Loaded, FileError> {
        let width = u8::try_from(expected).ok();
        let path = entries_path(n, width);
        let (bytes, exact) = match self.folder.read(&path, MAX_BUNDLE_BYTES) {
            Ok(None) if width.is_some() => {
                (self.folder.read(&entries_path(n, None), MAX_BUNDLE_BYTES), false)
            }
            other => (other, true),
        };
        match bytes {
            Ok(Some(bytes)) => {
                let tile = read_tile(&self.folder, 0, n, width)?;
                Ok(Loaded::Bundle(Box::new(Bundle::split(n * FULL_U64, expected, bytes, exact, tile))))
            }
            Ok(None) => Ok(Loaded::Missing(path)),
            Err(error @ FileError::Refused { .. }) => Ok(Loaded::Refused(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Bundles {
    type Item = Result<Loaded, FileError>;
    fn next(&mut self) -> Option<Self::Item> {
        let left = self.size.unwrap_or(u64::MAX).saturating_sub(self.n.saturating_mul(FULL_U64));
        if left == 0 {
            return None;
        }
        let expected = usize::try_from(left.min(FULL_U64)).unwrap_or(FULL);
        let loaded = self.load(self.n, expected);
        self.n += 1;
        match loaded {
            // With no size known, the ledger ends where the bundles end.
            Ok(Loaded::Missing(_)) if self.size.is_none() => None,
            loaded => Some(loaded),
        }
    }
}
