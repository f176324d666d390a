//! Roll-over: at each multiple of 256 entries the tail gives up a full bundle (design §5).
//!
//! In order: details · bundle · tiles, each by temporary file, `fsync`, `rename`, directory `fsync`; then a new tail with
//! what remains and the last checkpoint. A crash anywhere leaves files that the next attempt finds equal byte for byte,
//! and a tail that still holds everything: recovery is the same code.

use std::io;

use super::writer::{BUNDLE, Writer};
use crate::core::ledger::details::encode_details;
use crate::core::ledger::hash::{Hash, leaf_hash};
use crate::core::ledger::tile::{
    details_path, encode_bundle, encode_tile, entries_path, parse_tile, tile_path, tiles_completed_by,
};
use crate::core::ledger::tree::{Frontier, root_of};

/// Bytes of a full tile.
const TILE_BYTES: u64 = BUNDLE * 32;

impl Writer {
    /// Writes every full bundle out of the tail. Does nothing below 256 entries.
    pub(super) fn roll_over(&mut self) -> io::Result<()> {
        while self.frontier.size() - self.base.0.size() >= BUNDLE {
            self.write_bundle()?;
            self.replace_tail(None)?;
        }
        Ok(())
    }

    /// Writes the first 256 entries since the base and moves the base behind them.
    fn write_bundle(&mut self) -> io::Result<()> {
        let n = self.base.0.size() / BUNDLE;
        let full: Vec<_> =
            self.shared.recent().stored.iter().take(crate::core::ledger::tile::FULL).cloned().collect();
        let leaves: Vec<Hash> = full.iter().map(|stored| leaf_hash(&stored.line)).collect();
        let lines: Vec<_> = full.iter().map(|stored| &stored.line).collect();
        let details: Vec<_> = full.iter().map(|stored| stored.detail.as_deref()).collect();

        self.files.write_once(&details_path(n), &encode_details(&details).map_err(io::Error::other)?)?;
        self.files.write_once(&entries_path(n, None), &encode_bundle(&lines).map_err(io::Error::other)?)?;
        for (level, tile) in tiles_completed_by(n) {
            let hashes = if level == 0 { leaves.clone() } else { self.roots_below(level, tile)? };
            let bytes = encode_tile(&hashes).map_err(io::Error::other)?;
            self.files.write_once(&tile_path(level, tile, None), &bytes)?;
        }

        let mut base: Frontier = self.base.0.clone();
        leaves.iter().for_each(|leaf| base.push(*leaf));
        let prev = leaves.last().copied().unwrap_or(self.base.1);
        self.base = (base, prev);
        self.shared.recent.write().unwrap_or_else(std::sync::PoisonError::into_inner).drop_bundle();
        Ok(())
    }

    /// The hashes of a tile above level 0: the roots of the 256 tiles below it.
    fn roots_below(&self, level: u8, tile: u64) -> io::Result<Vec<Hash>> {
        (tile * BUNDLE..(tile + 1) * BUNDLE)
            .map(|below| {
                let name = tile_path(level - 1, below, None);
                let bytes = self.files.read(&name, TILE_BYTES)?.ok_or_else(|| missing(&name))?;
                Ok(root_of(&parse_tile(&bytes).map_err(io::Error::other)?))
            })
            .collect()
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing"))
}
