//! Entries turned into the files of a tlog-tiles folder: bundles and tiles, full ones as they fill, partial ones at the end.
//!
//! Owns which file holds what; `export` and `publish` say how a file comes to the disk. Memory stays bounded: at most one
//! bundle and one tile of each level are held. Must never write a partial file before the size is known.

use std::io;
use std::path::PathBuf;

use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::hash::{Hash, leaf_hash};
use crate::core::ledger::tile::{self, FULL};
use crate::core::ledger::tree::{Frontier, root_of};

/// A folder that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder holds something.
    #[error("{0} is not empty; name a new folder")]
    Taken(PathBuf),
    /// A file or folder could not be read or written.
    #[error("{0} could not be read or written; make room or name another folder, then do it again")]
    Io(PathBuf, #[source] io::Error),
    /// An entry or a checkpoint that no ledger has.
    #[error("the service sent {0}; look at: journalctl -u greffierd")]
    Bad(String),
    /// The entries are not those that the checkpoint signs.
    #[error(
        "the {0} entries received do not give the root of the checkpoint; the ledger or the way here is damaged"
    )]
    Root(u64),
    /// A file that was published stands there with other bytes.
    #[error("{0} holds other bytes than the ledger; find out who changed it, remove it, then publish again")]
    Differs(PathBuf),
}

/// Where files go.
pub trait Place {
    /// Puts a file at `name`. `end` is how many entries a ledger must have for this file to stand there: a tile or bundle
    /// ends with entry `end - 1`.
    fn put(&mut self, name: &str, end: u64, bytes: &[u8]) -> Result<(), WriteError>;
}

/// The tree under way.
#[derive(Debug)]
pub struct TreeWriter {
    /// Entries of the bundle that is not full yet.
    bundle: Vec<String>,
    bundles: u64,
    /// For each level, the hashes of its rightmost tile and the number of that tile.
    tiles: Vec<(Vec<Hash>, u64)>,
    tree: Frontier,
}

impl TreeWriter {
    /// Of no entries.
    pub fn new() -> Self {
        Self { bundle: Vec::new(), bundles: 0, tiles: Vec::new(), tree: Frontier::new() }
    }

    /// The tree of the entries so far.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// The next entry, as the bytes that were hashed. Its leaf hash.
    pub fn entry(&mut self, place: &mut impl Place, line: String) -> Result<Hash, WriteError> {
        let hash = leaf_hash(line.as_bytes());
        self.tree.push(hash);
        self.bundle.push(line);
        if self.bundle.len() == FULL {
            self.put_bundle(place, None)?;
            self.bundle.clear();
            self.bundles += 1;
        }
        self.hash(place, hash)?;
        Ok(hash)
    }

    /// Checks that the entries are those of the checkpoint, then writes what is partial.
    pub fn close(&self, place: &mut impl Place, checkpoint: &Checkpoint) -> Result<(), WriteError> {
        if self.tree.size() != checkpoint.size || self.tree.root() != checkpoint.root {
            return Err(WriteError::Root(self.tree.size()));
        }
        self.partial(place)
    }

    /// Writes the partial bundle and tiles of a head of just these entries.
    pub fn partial(&self, place: &mut impl Place) -> Result<(), WriteError> {
        let size = self.tree.size();
        self.put_bundle(place, tile::partial_width(0, size))?;
        for (level, (hashes, n)) in (0_u8..).zip(&self.tiles) {
            if !hashes.is_empty() {
                put_tile(place, (level, *n), hashes, tile::partial_width(level, size))?;
            }
        }
        Ok(())
    }

    /// Adds a hash to the rightmost tile of `level`; a tile that is full gives one hash to the level above.
    fn hash(&mut self, place: &mut impl Place, hash: Hash) -> Result<(), WriteError> {
        let (mut level, mut hash) = (0_u8, hash);
        loop {
            if self.tiles.len() <= usize::from(level) {
                self.tiles.push((Vec::new(), 0));
            }
            let Some((hashes, n)) = self.tiles.get_mut(usize::from(level)) else { return Ok(()) };
            hashes.push(hash);
            if hashes.len() < FULL {
                return Ok(());
            }
            let (full, number) = (std::mem::take(hashes), *n);
            *n += 1;
            put_tile(place, (level, number), &full, None)?;
            hash = root_of(&full);
            level = level.saturating_add(1);
        }
    }

    fn put_bundle(&self, place: &mut impl Place, width: Option<u8>) -> Result<(), WriteError> {
        if self.bundle.is_empty() {
            return Ok(());
        }
        let bytes = tile::encode_bundle(&self.bundle).map_err(|error| WriteError::Bad(error.to_string()))?;
        place.put(&tile::entries_path(self.bundles, width), self.tree.size(), &bytes)
    }
}

fn put_tile(
    place: &mut impl Place,
    (level, n): (u8, u64),
    hashes: &[Hash],
    width: Option<u8>,
) -> Result<(), WriteError> {
    let bytes = tile::encode_tile(hashes).map_err(|error| WriteError::Bad(error.to_string()))?;
    // Sizes stay below 2^53: no tile ends beyond that.
    let end = n.saturating_mul(tile::FULL_U64).saturating_add(hashes.len() as u64) << (u32::from(level) * 8);
    place.put(&tile::tile_path(level, n, width), end, &bytes)
}

/// A checkpoint as the service sent it, read and not yet trusted.
pub fn read_checkpoint(text: &str) -> Result<Checkpoint, WriteError> {
    let read = SignedCheckpoint::read(text);
    read.map(|(checkpoint, _)| checkpoint)
        .map_err(|error| WriteError::Bad(format!("a bad checkpoint ({error})")))
}
