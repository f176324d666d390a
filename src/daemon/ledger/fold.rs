//! The fold of what is durable, while a start reads it: bundles, then the tail, each entry chained, folded and counted.
//!
//! Must never change a file: what contradicts itself is named by file and entry, and left as it is (invariant 10).

use super::ahead::{Bundle, Parsed, each_bundle};
use super::batch::Stored;
use super::open::OpenError;
use super::writer::BUNDLE;
use crate::core::event::{EventError, Record};
use crate::core::ledger::entry::EntryError;
use crate::core::ledger::epoch::{EpochError, EpochKeys};
use crate::core::ledger::hash::{Hash, empty_hash};
use crate::core::ledger::note::VerifierKey;
use crate::core::ledger::tail::{self, TailHeader};
use crate::core::ledger::tile::{TileError, entries_path};
use crate::core::ledger::tree::Frontier;
use crate::core::retention::DetailFacts;
use crate::core::state::{State, Violation};
use crate::shell::disk::ledger_files::LedgerDir;

/// What is wrong with an entry in a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The frame of the bundle.
    #[error("the bundle cannot be read")]
    Tile(#[from] TileError),
    /// The line.
    #[error("the line cannot be read")]
    Entry(#[from] EntryError),
    /// The event.
    #[error("the event cannot be read")]
    Event(#[from] EventError),
    /// The announcement of a key.
    #[error("the announcement of a key cannot be read")]
    Epoch(#[from] EpochError),
    /// The fold.
    #[error("it contradicts the entries before it")]
    Violation(#[from] Violation),
    /// The chain.
    #[error("it does not follow the entry before it")]
    Chain,
    /// The tail rests on other entries.
    #[error("the tail rests on other entries than these")]
    Base,
}

/// What the entries read so far make.
pub(super) struct Fold {
    pub(super) state: State,
    /// The details that are there.
    pub(super) details: DetailFacts,
    pub(super) frontier: Frontier,
    pub(super) prev: Hash,
    pub(super) epochs: EpochKeys,
    /// Size and root of which it is asked whether this ledger had them: of the second place, of the catalogue.
    second: Option<(u64, Hash)>,
    pub(super) second_matches: bool,
    catalogue: Option<(u64, Hash)>,
    /// Entries after the size of the catalogue, once its root was met.
    pub(super) behind: Option<Vec<Record>>,
}

/// What the tail holds.
pub(super) struct Tail {
    pub(super) stored: Vec<Stored>,
    /// The last signed checkpoint.
    pub(super) checkpoint: String,
    /// Where the next frame goes.
    pub(super) end: u64,
    pub(super) dropped_bytes: u64,
}

impl Fold {
    /// Before entry 0.
    pub(super) fn new(
        log_key: VerifierKey,
        second: Option<(u64, Hash)>,
        catalogue: Option<(u64, Hash)>,
    ) -> Self {
        let mut fold = Self {
            state: State::default(),
            details: DetailFacts::default(),
            frontier: Frontier::new(),
            prev: empty_hash(),
            epochs: EpochKeys::new(log_key),
            second,
            second_matches: false,
            catalogue,
            behind: None,
        };
        fold.reached();
        fold
    }

    /// What rests on the entries before. The tree is the caller's.
    fn follow(&mut self, entry: Parsed) -> Result<(), BundleError> {
        if entry.prev != self.prev || entry.record.seq != self.state.size() {
            return Err(BundleError::Chain);
        }
        if let Some(about_keys) = &entry.about_keys {
            self.epochs.note_entry(about_keys)?;
        }
        self.state.apply(&entry.record)?;
        self.details.note(&entry.record, entry.detailed);
        if let Some(behind) = &mut self.behind {
            behind.push(entry.record);
        }
        self.prev = entry.leaf;
        Ok(())
    }

    fn entry(&mut self, line: &[u8]) -> Result<(), BundleError> {
        self.follow(Parsed::of(line)?)?;
        self.frontier.push(self.prev);
        self.reached();
        Ok(())
    }

    /// Folds a bundle. Where no root is wanted within it, its own root is all that the tree needs.
    fn bundle(&mut self, bundle: Bundle) -> Result<(), (u64, BundleError)> {
        let first = bundle.n * BUNDLE;
        let within = |wanted: Option<(u64, Hash)>| {
            wanted.is_some_and(|(at, _)| at > first && at < first.saturating_add(BUNDLE))
        };
        let whole = bundle.root.filter(|_| !within(self.second) && !within(self.catalogue));
        for (entry, seq) in bundle.entries.into_iter().zip(first..) {
            self.follow(entry).map_err(|error| (seq, error))?;
            if whole.is_none() {
                self.frontier.push(self.prev);
                self.reached();
            }
        }
        if let Some(root) = whole {
            if !self.frontier.push_subtree(BUNDLE.trailing_zeros(), root) {
                return Err((first, BundleError::Chain));
            }
            self.reached();
        }
        bundle.unread.map_or(Ok(()), Err)
    }

    /// Compares roots where one is wanted.
    fn reached(&mut self) {
        let size = self.frontier.size();
        let here = |wanted: Option<(u64, Hash)>| wanted.is_some_and(|(at, _)| at == size);
        if here(self.second) || here(self.catalogue) {
            let root = self.frontier.root();
            self.second_matches |= self.second == Some((size, root));
            if self.catalogue == Some((size, root)) {
                self.behind = Some(Vec::new());
            }
        }
    }

    /// Folds the bundles that the header says are full.
    pub(super) fn bundles(&mut self, files: &LedgerDir, header: &TailHeader) -> Result<(), OpenError> {
        each_bundle(files, header.base.size() / BUNDLE, |bundle| {
            let file = entries_path(bundle.n, None);
            self.bundle(bundle).map_err(|(entry, source)| OpenError::Bundle { file, entry, source })
        })?;
        if header.base != self.frontier || header.prev != self.prev {
            let file = "tail".to_owned();
            return Err(OpenError::Bundle { file, entry: header.base.size(), source: BundleError::Base });
        }
        Ok(())
    }

    /// Folds what the tail holds up to its last valid checkpoint. `acknowledged`: so many entries are known to have been.
    pub(super) fn tail(&mut self, bytes: &[u8], acknowledged: u64) -> Result<Tail, OpenError> {
        let recovered = tail::recover(bytes, &self.epochs, acknowledged).map_err(OpenError::Tail)?;
        for entry in &recovered.entries {
            self.entry(entry.line).map_err(|source| OpenError::Bundle {
                file: "tail".into(),
                entry: entry.seq,
                source,
            })?;
        }
        // A tail takes its place with a whole batch in it; no crash can undo that.
        let (_, checkpoint) = recovered.head.ok_or(OpenError::NoBatch)?;
        let stored = recovered.entries.iter();
        Ok(Tail {
            stored: stored
                .map(|it| Stored { line: it.line.into(), detail: it.detail.map(Into::into), leaf: it.leaf })
                .collect(),
            checkpoint: checkpoint.to_owned(),
            end: recovered.end_offset,
            dropped_bytes: recovered.dropped_bytes,
        })
    }
}
