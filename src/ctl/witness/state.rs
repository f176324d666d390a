//! What is remembered between two runs: the size that each witness has seen, and the cosigned checkpoint.
//!
//! Owns `witnesses.json` and `checkpoint` in its directory. Must never forget a size that a witness has confirmed, and
//! never hold a lie that could do harm: a wrong size costs one more question.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::ledger::note::{MAX_NOTE_BYTES, SignedNote};
use crate::ctl::replace::{Sync, lock, read, replace};

const SIZES: &str = "witnesses.json";
const CHECKPOINT: &str = "checkpoint";
/// Longest file of sizes read, in bytes: a policy has 256 witnesses.
const MAX_SIZES_BYTES: usize = 1024 * 1024;
const FORMAT: u32 = 1;

/// A directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error("{0} could not be read or written")]
    Io(PathBuf, #[source] io::Error),
    /// Another run is at work.
    #[error("another greffierctl works on {0}; wait for it")]
    Busy(PathBuf),
    /// The state of another ledger.
    #[error("{0} holds the cosignatures of {1}; name another directory")]
    OtherLedger(PathBuf, String),
    /// A file that this program did not write.
    #[error("{0} cannot be understood; remove it, and the witnesses will say again what they have seen")]
    Unknown(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    format: u32,
    origin: String,
    /// By vkey: entries in the last checkpoint that it cosigned.
    witnesses: BTreeMap<String, u64>,
}

/// The directory, locked.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    _lock: File,
    sizes: Sizes,
}

impl State {
    /// Takes the directory, or makes it. Its parent must be there.
    pub fn open(dir: &Path, origin: &str) -> Result<Self, StateError> {
        let io = |error| StateError::Io(dir.to_owned(), error);
        match DirBuilder::new().mode(0o755).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(io)?,
        }
        let lock = lock(dir).map_err(io)?.ok_or_else(|| StateError::Busy(dir.to_owned()))?;
        let path = dir.join(SIZES);
        let found = read(&path, MAX_SIZES_BYTES).map_err(|error| StateError::Io(path.clone(), error))?;
        let sizes = match found {
            None => Sizes { format: FORMAT, origin: origin.to_owned(), witnesses: BTreeMap::new() },
            Some(bytes) => serde_json::from_slice::<Sizes>(&bytes)
                .ok()
                .filter(|sizes| sizes.format == FORMAT)
                .ok_or(StateError::Unknown(path))?,
        };
        if sizes.origin != origin {
            return Err(StateError::OtherLedger(dir.to_owned(), sizes.origin));
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock, sizes })
    }

    /// Entries in the last checkpoint that this witness (its vkey) is known to have cosigned; 0 when none is known.
    pub fn size(&self, witness: &str) -> u64 {
        self.sizes.witnesses.get(witness).copied().unwrap_or(0)
    }

    /// The checkpoint that was cosigned last, if there is one.
    pub fn checkpoint(&self) -> Option<SignedNote> {
        let bytes = read(&self.dir.join(CHECKPOINT), MAX_NOTE_BYTES).ok().flatten()?;
        SignedNote::parse(std::str::from_utf8(&bytes).ok()?).ok()
    }

    /// Keeps the checkpoint with its cosignatures, durably.
    pub fn keep_checkpoint(&self, text: &str) -> Result<(), StateError> {
        self.write(CHECKPOINT, text.as_bytes())
    }

    /// Keeps the size that a witness has now, durably.
    pub fn keep_size(&mut self, witness: &str, size: u64) -> Result<(), StateError> {
        self.sizes.witnesses.insert(witness.to_owned(), size);
        let unknown = |_| StateError::Unknown(self.dir.join(SIZES));
        let text = serde_json::to_vec(&self.sizes).map_err(unknown)?;
        self.write(SIZES, &text)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.dir.join(name);
        let written = replace(&self.dir.join(format!(".{name}.new")), &path, bytes, Sync::Now);
        written.map_err(|error| StateError::Io(path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_again() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let mut state = State::open(&dir, "log.example").unwrap();
        assert!(matches!(State::open(&dir, "log.example"), Err(StateError::Busy(_))));
        assert_eq!((state.size("w"), state.checkpoint()), (0, None));
        state.keep_size("w", 7).unwrap();
        state.keep_checkpoint("text\n\n— a AAAAAAA=\n").unwrap();
        drop(state);
        let state = State::open(&dir, "log.example").unwrap();
        assert_eq!((state.size("w"), state.size("v")), (7, 0));
        assert_eq!(state.checkpoint().unwrap().text(), "text\n");
        drop(state);
        assert!(matches!(State::open(&dir, "other.example"), Err(StateError::OtherLedger(..))));
        std::fs::write(dir.join(SIZES), "{\"format\":1}").unwrap();
        assert!(matches!(State::open(&dir, "log.example"), Err(StateError::Unknown(_))));
    }
}
