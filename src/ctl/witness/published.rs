//! The published directory as the witnesses' client reads it: the head, and proofs from its tiles alone.
//!
//! Must never send a proof that does not verify here: a witness would take the ledger for a changed one.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::core::ledger::hash::Hash;
use crate::core::ledger::note::{MAX_NOTE_BYTES, SignedNote};
use crate::core::ledger::proof::{AssembleError, Plan, ProofError, TileAt, verify_consistency};
use crate::core::ledger::tile::{FULL, TileError, parse_tile, partial_width, tile_path};
use crate::ctl::replace::read;

/// A directory without a head that can be sent, or without the tiles that it needs.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// No head.
    #[error("{0} cannot be read; publish the ledger first")]
    Head(PathBuf, #[source] io::Error),
    /// A head that is none.
    #[error("{0} is not a checkpoint")]
    Checkpoint(PathBuf, #[source] CheckpointError),
    /// A proof cannot be made of the tiles that are there.
    #[error("the tiles do not give a proof; publish the ledger again")]
    Tiles(#[from] AssembleError<TileFault>),
    /// The tiles are not those of the head.
    #[error("the tiles are not those of the checkpoint; publish the ledger again")]
    Proof(#[from] ProofError),
}

/// A tile that is missing or is none.
#[derive(Debug, thiserror::Error)]
pub enum TileFault {
    /// Not there, or not readable.
    #[error("{0} cannot be read")]
    Io(PathBuf, #[source] io::Error),
    /// Not a tile.
    #[error("{0} is damaged")]
    Damaged(PathBuf, #[source] TileError),
}

/// The directory and its head.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    /// The head as it stands in its file.
    pub text: String,
    /// The same, read.
    pub note: SignedNote,
    /// What it says.
    pub head: Checkpoint,
}

impl Directory {
    /// Reads the head, and checks that the tiles give its root.
    pub fn open(dir: &Path) -> Result<Self, DirError> {
        let path = dir.join("checkpoint");
        let text = read(&path, MAX_NOTE_BYTES)
            .and_then(|bytes| bytes.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
            .map_err(|error| DirError::Head(path.clone(), error))?;
        let (head, note) =
            SignedCheckpoint::read(&text).map_err(|error| DirError::Checkpoint(path, error))?;
        let this = Self { dir: dir.to_owned(), text, note, head };
        if this.root(this.head.size)? == Some(this.head.root) {
            Ok(this)
        } else {
            Err(ProofError::NewRoot.into())
        }
    }

    /// The proof that the head goes on from the first `old` entries, 0 to the size of the head.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, DirError> {
        let size = self.head.size;
        let proof = Plan::consistency(old, size)?.assemble(|tile| self.tile(tile))?;
        if let Some(root) = self.root(old)? {
            verify_consistency(old, &root, size, &self.head.root, &proof)?;
        }
        Ok(proof)
    }

    /// The root of the first `size` entries.
    fn root(&self, size: u64) -> Result<Option<Hash>, DirError> {
        Ok(Plan::root(size)?.assemble(|tile| self.tile(tile))?.pop())
    }

    /// A tile at least as wide as asked for: the partial file of just that width, of the head, or the full one.
    fn tile(&self, tile: TileAt) -> Result<Vec<Hash>, TileFault> {
        let of_head =
            partial_width(tile.level, self.head.size).filter(|width| usize::from(*width) > tile.width);
        let mut fault = None;
        for width in [tile.partial(), None, of_head] {
            let path = self.dir.join(tile_path(tile.level, tile.n, width));
            match read(&path, FULL * 32) {
                Ok(Some(bytes)) => {
                    return parse_tile(&bytes).map_err(|error| TileFault::Damaged(path, error));
                }
                Ok(None) => fault = fault.or(Some(TileFault::Io(path, io::ErrorKind::NotFound.into()))),
                Err(error) => return Err(TileFault::Io(path, error)),
            }
        }
        let missing = || TileFault::Io(self.dir.clone(), io::ErrorKind::NotFound.into());
        Err(fault.unwrap_or_else(missing))
    }
}
