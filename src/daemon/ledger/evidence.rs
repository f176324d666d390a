//! What stands outside the tail and proves that entries were acknowledged: the second place, the checkpoints kept for ever,
//! a bundle whose tail was not yet replaced. Each is written only after the sync of what it tells of.
//!
//! A ledger that has fewer entries was rolled back or damaged, and is never taken up (invariant 4).

use std::io;
use std::path::{Path, PathBuf};

use super::writer::BUNDLE;
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::note::VerifierKey;
use crate::core::ledger::tile::entries_path;
use crate::shell::disk::ledger_files::{LedgerDir, read_bounded};

/// So many entries were acknowledged, as this file tells.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) size: u64,
    pub(super) path: PathBuf,
}

/// Longest file that is read as a checkpoint.
const MAX_BYTES: u64 = 64 * 1024;

/// The most that a kept checkpoint or a bundle beyond `base` tells of.
pub(super) fn acknowledged(files: &LedgerDir, log_key: &VerifierKey, base: u64) -> io::Result<Acknowledged> {
    let mut known = Acknowledged::default();
    // Bundles are written in order, while the tail goes on.
    for n in base / BUNDLE.. {
        let path = files.path(&entries_path(n, None));
        if !path.try_exists()? {
            break;
        }
        known = Acknowledged { size: (n + 1) * BUNDLE, path };
    }
    let kept = files.list("checkpoints")?;
    if let Some(last) = kept.iter().filter_map(|name| name.parse::<u64>().ok()).max() {
        let path = files.path(&format!("checkpoints/{last}"));
        let size = signed_head(&path, log_key)?.map_or(0, |head| head.size);
        if size > known.size {
            known = Acknowledged { size, path };
        }
    }
    Ok(known)
}

/// The checkpoint at `path`, if one is there and the log key signed it.
pub(super) fn signed_head(path: &Path, log_key: &VerifierKey) -> io::Result<Option<Checkpoint>> {
    let text = read_bounded(path, MAX_BYTES)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let read = text.and_then(|text| SignedCheckpoint::read(&text).ok());
    Ok(read.filter(|(_, note)| note.verify(log_key).is_ok()).map(|(checkpoint, _)| checkpoint))
}
