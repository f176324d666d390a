//! Proofs for the last durable head: from the tile files, and from memory for what the tail still holds.
//!
//! Time grows with the logarithm of the ledger: two or three tiles a level. What would cost more, the hashes of a higher
//! tile that has no file yet, is computed once and kept. Must never let out a proof that it has not checked itself.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::Head;
use super::read::{Reader, damaged};
use super::writer::BUNDLE;
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::hash::Hash;
use crate::core::ledger::proof::{Plan, TileAt, verify_consistency};
use crate::core::ledger::receipt::Receipt;
use crate::core::ledger::tile::{
    FULL, FULL_U64, MAX_BUNDLE_BYTES, entries_path, parse_bundle, parse_tile, tile_path,
};
use crate::core::ledger::tree::root_of;

/// Tiles kept in memory: 8 KiB each.
const KEPT_TILES: usize = 64;
/// Bytes of a full tile.
const TILE_BYTES: u64 = FULL_U64 * 32;

type Tile = Arc<[Hash]>;

/// Tiles by level and number; those that are not full hold the durable hashes so far. What they hold never changes.
#[derive(Debug, Default)]
pub(super) struct TileCache(Mutex<HashMap<(u8, u64), Tile>>);

impl TileCache {
    fn get(&self, key: (u8, u64)) -> Option<Tile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn put(&self, key: (u8, u64), tile: Tile) {
        let mut tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tiles.len() >= KEPT_TILES {
            // Dear to compute are only the unfinished tiles above level 0.
            tiles.retain(|(level, _), tile| *level > 0 && tile.len() < FULL);
        }
        if tiles.len() >= KEPT_TILES {
            tiles.clear();
        }
        tiles.insert(key, tile);
    }
}

impl Reader {
    /// The receipt of `entry`, which `head` covers. Reads the disk.
    pub fn receipt(&self, entry: u64, head: &Head) -> io::Result<String> {
        let path = self.prove(Plan::inclusion(entry, head.size))?;
        let line = self.entry_line(entry)?;
        let receipt =
            Receipt::new(entry, line, path, head.checkpoint.to_string()).map_err(io::Error::other)?;
        receipt.verify_inclusion().map_err(|error| damaged("the tiles", error))?;
        Ok(receipt.to_string())
    }

    /// The proof that the ledger of `new` entries, which the durable head covers, begins with that of `old`.
    pub fn consistency(&self, old: u64, new: u64) -> io::Result<Vec<Hash>> {
        let path = self.prove(Plan::consistency(old, new))?;
        let (before, after) = (self.root(old)?, self.root(new)?);
        verify_consistency(old, &before, new, &after, &path).map_err(|error| damaged("the tiles", error))?;
        Ok(path)
    }

    /// The root at `size`: signed where the durable head has this size, else what the tiles give.
    fn root(&self, size: u64) -> io::Result<Hash> {
        let head = self.ledger.head();
        if head.size == size {
            let read = SignedCheckpoint::read(&head.checkpoint).map_err(io::Error::other)?;
            let (Checkpoint { root, .. }, _) = read;
            return Ok(root);
        }
        let root = self.prove(Plan::root(size))?;
        root.first().copied().ok_or_else(|| io::Error::other("a plan without a hash"))
    }

    fn prove<E>(&self, plan: Result<Plan, E>) -> io::Result<Vec<Hash>>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let plan = plan.map_err(io::Error::other)?;
        plan.assemble(|TileAt { level, n, width }| self.tile(level, n, width)).map_err(io::Error::other)
    }

    /// At least the first `width` hashes of a tile. All of them are durable: they belong to a durable head.
    fn tile(&self, level: u8, n: u64, width: usize) -> io::Result<Tile> {
        let key = (level, n);
        let kept = self.tiles.get(key);
        if let Some(tile) = kept.as_ref().filter(|tile| tile.len() >= width) {
            return Ok(tile.clone());
        }
        let tile: Tile = match self.tile_file(level, n)? {
            Some(hashes) => hashes.into(),
            None => {
                let mut hashes = kept.map(|tile| tile.to_vec()).unwrap_or_default();
                self.extend(level, n, width, &mut hashes)?;
                hashes.into()
            }
        };
        self.tiles.put(key, tile.clone());
        Ok(tile)
    }

    /// A full tile whose entries have all left the tail.
    fn tile_file(&self, level: u8, n: u64) -> io::Result<Option<Vec<Hash>>> {
        let end = (n + 1).saturating_mul(FULL_U64.saturating_pow(u32::from(level) + 1));
        if end > self.ledger.shared.recent().base {
            return Ok(None);
        }
        let name = tile_path(level, n, None);
        let bytes = self.files.read(&name, TILE_BYTES)?.ok_or_else(|| damaged(&name, "it is missing"))?;
        let hashes = parse_tile(&bytes).map_err(|error| damaged(&name, error))?;
        if hashes.len() == FULL { Ok(Some(hashes)) } else { Err(damaged(&name, "it is not full")) }
    }

    /// Adds to the hashes of a tile that has no file until there are `width`.
    fn extend(&self, level: u8, n: u64, width: usize, hashes: &mut Vec<Hash>) -> io::Result<()> {
        let missing = (n * FULL_U64 + hashes.len() as u64)..(n * FULL_U64 + width as u64);
        let Some(below) = level.checked_sub(1) else {
            let recent = self.ledger.shared.recent();
            let skip = missing.start.checked_sub(recent.base).and_then(|skip| usize::try_from(skip).ok());
            let Some(skip) = skip else {
                // Its bundle left the tail since we looked.
                drop(recent);
                *hashes = self.tile_file(level, n)?.ok_or_else(|| gone(level, n))?;
                return Ok(());
            };
            hashes
                .extend(recent.stored.iter().skip(skip).map(|stored| stored.leaf).take(width - hashes.len()));
            return if hashes.len() >= width { Ok(()) } else { Err(gone(level, n)) };
        };
        for child in missing {
            // A file is read past the cache: each is needed this one time.
            let tile = match self.tile_file(below, child)? {
                Some(hashes) => hashes.into(),
                None => self.tile(below, child, FULL)?,
            };
            hashes.push(root_of(&tile));
        }
        Ok(())
    }

    /// The public line of one entry.
    fn entry_line(&self, seq: u64) -> io::Result<Vec<u8>> {
        {
            let recent = self.ledger.shared.recent();
            let place = seq.checked_sub(recent.base).and_then(|place| usize::try_from(place).ok());
            if let Some(stored) = place.and_then(|place| recent.stored.get(place)) {
                return Ok(stored.line().to_vec());
            }
        }
        let name = entries_path(seq / BUNDLE, None);
        let bundle = self.files.read(&name, MAX_BUNDLE_BYTES as u64)?;
        let bundle = bundle.ok_or_else(|| damaged(&name, "it is missing"))?;
        let lines = parse_bundle(&bundle).map_err(|error| damaged(&name, error))?;
        let place = usize::try_from(seq % BUNDLE).unwrap_or(usize::MAX);
        lines.get(place).map(|line| line.to_vec()).ok_or_else(|| damaged(&name, "it is not full"))
    }
}

fn gone(level: u8, n: u64) -> io::Error {
    damaged(&tile_path(level, n, None), "neither the tail nor a file has its entries")
}
