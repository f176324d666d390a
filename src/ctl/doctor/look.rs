//! The head of a ledger as its files give it, and what stands outside it. Changes nothing.
//!
//! Reads what a start reads, without its judgement of conduct: bundles in order, the tail up to its last valid checkpoint.

use std::io;
use std::path::Path;

use crate::core::event::Record;
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::entry::{Entry, EntryError};
use crate::core::ledger::epoch::{EpochError, EpochKeys};
use crate::core::ledger::hash::leaf_hash;
use crate::core::ledger::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::core::ledger::restore::{KnownHead, Outside};
use crate::core::ledger::tail::{self, TailError, TailHeader};
use crate::core::ledger::tile::{MAX_BUNDLE_BYTES, TileError, entries_path, parse_bundle};
use crate::core::ledger::tree::Frontier;
use crate::core::state::State;
use crate::core::time::Timestamp;
use crate::shell::disk::ledger_files::{LedgerDir, read_bounded};

/// Entries in a bundle.
const BUNDLE: u64 = 256;

/// What is there.
pub struct Found {
    /// The ledger itself.
    pub here: KnownHead,
    /// What tells of it from outside.
    pub outside: Outside,
    /// The entry that contradicts those before it, in words: no service starts on it.
    pub contradiction: Option<String>,
    /// Whether its clock is suspect, as the entries say.
    pub clock_suspect: bool,
    /// Recordings that the entries say are damaged.
    pub damaged: u64,
    /// When its last entry was written.
    pub last: Option<Timestamp>,
    /// Entries that the second copy of the checkpoint knows.
    pub second_entries: Option<u64>,
    /// Sizes in `checkpoints/` beyond the ledger.
    pub kept_beyond: Vec<u64>,
}

/// A ledger that cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A file.
    #[error("{0} cannot be read; run this as root")]
    File(String, #[source] io::Error),
    /// A file that must be there.
    #[error("{0} is missing or unusable; restore it from a backup")]
    Missing(String),
    /// The tail.
    #[error("the ledger is damaged; restore it from a backup")]
    Tail(#[from] TailError),
    /// A bundle.
    #[error("{0} is damaged; restore it from a backup")]
    Bundle(String, #[source] TileError),
    /// An entry.
    #[error("{0} is damaged; restore it from a backup")]
    Entry(String, #[source] EntryError),
    /// An announcement of a key.
    #[error("{0} is damaged; restore it from a backup")]
    Epoch(String, #[source] EpochError),
}

/// Reads the ledger in `dir` and the head in `second_place`.
pub fn look(dir: &Path, second_place: &Path) -> Result<Found, LookError> {
    let files = LedgerDir::new(dir.to_owned());
    let failed = |name: &str| {
        let name = name.to_owned();
        move |error| LookError::File(name, error)
    };
    let missing = |name: &str| LookError::Missing(name.to_owned());
    let vkey = files.read("vkey", 4096).map_err(failed("vkey"))?.ok_or_else(|| missing("vkey"))?;
    let vkey = String::from_utf8(vkey).ok().and_then(|text| text.trim_end().parse::<VerifierKey>().ok());
    let log_key = vkey.ok_or_else(|| missing("vkey"))?;

    let place = second_place.display().to_string();
    let second = signed_head(second_place, &log_key).map_err(failed(&place))?.map(head);
    let kept = files.list("checkpoints").map_err(failed("checkpoints"))?;
    let mut kept: Vec<u64> = kept.iter().filter_map(|name| name.parse().ok()).collect();
    kept.sort_unstable();
    let largest = match kept.last() {
        None => None,
        Some(size) => {
            let name = format!("checkpoints/{size}");
            signed_head(&files.path(&name), &log_key).map_err(failed(&name))?.map(head)
        }
    };

    let bytes = files.read_tail().map_err(failed("tail"))?.ok_or_else(|| missing("tail"))?;
    let header = TailHeader::decode(&bytes).map_err(TailError::Header)?;
    let mut walk = Walk {
        tree: Frontier::new(),
        second,
        had_second: second.is_some_and(|it| it.size == 0),
        state: State::default(),
        contradiction: None,
    };
    let mut epochs = EpochKeys::new(log_key);
    for n in 0..header.base.size() / BUNDLE {
        let name = entries_path(n, None);
        let bytes = files.read(&name, MAX_BUNDLE_BYTES as u64).map_err(failed(&name))?;
        let bytes = bytes.ok_or_else(|| missing(&name))?;
        for line in parse_bundle(&bytes).map_err(|error| LookError::Bundle(name.clone(), error))? {
            let entry = Entry::parse(line).map_err(|error| LookError::Entry(name.clone(), error))?;
            epochs.note_entry(&entry).map_err(|error| LookError::Epoch(name.clone(), error))?;
            walk.push(line);
            walk.fold(entry);
        }
    }
    // Nothing counts as acknowledged here: what is known from outside is what this is to judge.
    let recovered = tail::recover(&bytes, &epochs, 0)?;
    let mut last = None;
    for entry in &recovered.entries {
        walk.push(entry.line);
        let entry = Entry::parse(entry.line).map_err(|error| LookError::Entry("tail".into(), error))?;
        last = Some(entry.time);
        walk.fold(entry);
    }
    let here = KnownHead { size: walk.tree.size(), root: walk.tree.root() };
    let mut bundles = header.base.size() / BUNDLE;
    while files.path(&entries_path(bundles, None)).try_exists().map_err(failed("tile/entries"))? {
        bundles += 1;
    }
    Ok(Found {
        here,
        contradiction: walk.contradiction,
        clock_suspect: walk.state.clock_suspect(),
        damaged: walk.state.damaged().len() as u64,
        last,
        second_entries: second.map(|second| second.size),
        outside: Outside {
            second: second.map(|second| (second, walk.had_second)),
            kept: largest,
            bundles_beyond: bundles * BUNDLE > here.size,
        },
        kept_beyond: kept.into_iter().filter(|size| *size > here.size).collect(),
    })
}

struct Walk {
    tree: Frontier,
    second: Option<KnownHead>,
    had_second: bool,
    state: State,
    contradiction: Option<String>,
}

impl Walk {
    fn push(&mut self, line: &[u8]) {
        self.tree.push(leaf_hash(line));
        let size = self.tree.size();
        if self.second.is_some_and(|it| it.size == size) {
            self.had_second = self.second == Some(KnownHead { size, root: self.tree.root() });
        }
    }
}

impl Walk {
    /// Folds an entry as a start does. After the first contradiction nothing more is folded.
    fn fold(&mut self, entry: Entry<'_>) {
        if self.contradiction.is_some() {
            return;
        }
        let seq = entry.seq;
        let folded = match Record::of(entry) {
            Ok(record) => self.state.apply(&record).map_err(|violation| violation.to_string()),
            Err(error) => Err(format!("entry {seq}: {error}")),
        };
        self.contradiction = folded.err();
    }
}

fn head(checkpoint: Checkpoint) -> KnownHead {
    KnownHead { size: checkpoint.size, root: checkpoint.root }
}

fn signed_head(path: &Path, log_key: &VerifierKey) -> io::Result<Option<Checkpoint>> {
    let text = read_bounded(path, MAX_NOTE_BYTES as u64)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let read = text.and_then(|text| SignedCheckpoint::read(&text).ok());
    Ok(read.filter(|(_, note)| note.verify(log_key).is_ok()).map(|(checkpoint, _)| checkpoint))
}
