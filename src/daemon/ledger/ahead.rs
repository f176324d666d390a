//! Bundles read ahead while a start folds: threads read, take apart and hash; the caller takes them in their order.
//!
//! Owns the order and the bound on what waits in memory. All that is said of an entry here rests on the entry alone; what
//! rests on those before it (chain, keys, state) is the fold's. Must never change a file.

use std::num::NonZeroUsize;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::fold::BundleError;
use super::open::OpenError;
use super::writer::BUNDLE;
use crate::core::event::Record;
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::{Hash, leaf_hash};
use crate::core::ledger::tile::{MAX_BUNDLE_BYTES, entries_path, parse_bundle};
use crate::core::ledger::tree::root_of;
use crate::shell::disk::ledger_files::LedgerDir;

/// Below so many bundles threads cost more than they save.
const FEW_BUNDLES: u64 = 8;
/// More threads than these wait for the one that folds.
const MAX_THREADS: usize = 4;
/// Bundles that wait for each thread's turn.
const WAITING: usize = 2;

/// An entry taken apart.
pub(super) struct Parsed {
    pub(super) record: Record,
    pub(super) prev: Hash,
    pub(super) leaf: Hash,
    /// Whether it commits to a detail.
    pub(super) detailed: bool,
    /// The entry itself, where it says something about keys.
    pub(super) about_keys: Option<Box<Entry<'static>>>,
}

impl Parsed {
    pub(super) fn of(line: &[u8]) -> Result<Self, BundleError> {
        let entry = Entry::parse(line)?;
        // The first must announce keys, and these are the two that do.
        let about_keys = entry.seq == 0 || matches!(&*entry.event, "ledger.created" | "ledger.rekeyed");
        let about_keys = about_keys.then(|| Box::new(entry.clone().into_owned()));
        let (prev, detailed) = (entry.prev, entry.detail.is_some());
        Ok(Self { record: Record::of(entry)?, prev, leaf: leaf_hash(line), detailed, about_keys })
    }
}

/// The entries of a bundle up to the first that cannot be read.
pub(super) struct Bundle {
    pub(super) n: u64,
    pub(super) entries: Vec<Parsed>,
    /// The root over them, when there are 256.
    pub(super) root: Option<Hash>,
    pub(super) unread: Option<(u64, BundleError)>,
}

/// Gives the bundles before `end` to `take`, in order, until it fails.
pub(super) fn each_bundle(
    files: &LedgerDir,
    end: u64,
    mut take: impl FnMut(Bundle) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    if threads < 2 || end < FEW_BUNDLES {
        return (0..end).try_for_each(|n| take(load(files, n)?));
    }
    thread::scope(|scope| {
        let queues: Vec<_> = (0..threads as u64)
            .map(|first| {
                let (sender, queue) = sync_channel(WAITING);
                let files = files.clone();
                scope.spawn(move || {
                    // Nobody listens any more: the fold has failed.
                    let unheard = |n| sender.send(load(&files, n)).is_err();
                    let _stopped = (first..end).step_by(threads).find(|n| unheard(*n));
                });
                queue
            })
            .collect();
        for (n, queue) in (0..end).zip(queues.iter().cycle()) {
            // A thread that panicked: the scope passes the panic on when this returns.
            let lost = || OpenError::Missing(entries_path(n, None));
            take(queue.recv().map_err(|_| lost())??)?;
        }
        Ok(())
    })
}

fn load(files: &LedgerDir, n: u64) -> Result<Bundle, OpenError> {
    let file = entries_path(n, None);
    let bytes = files
        .read(&file, MAX_BUNDLE_BYTES as u64)
        .map_err(|error| OpenError::Io(files.path(&file), error))?
        .ok_or_else(|| OpenError::Missing(file.clone()))?;
    let lines = parse_bundle(&bytes).map_err(|error| OpenError::Bundle {
        file: file.clone(),
        entry: n * BUNDLE,
        source: error.into(),
    })?;
    let mut bundle = Bundle { n, entries: Vec::with_capacity(lines.len()), root: None, unread: None };
    for (line, seq) in lines.into_iter().zip(n * BUNDLE..) {
        match Parsed::of(line) {
            Ok(entry) => bundle.entries.push(entry),
            Err(error) => {
                bundle.unread = Some((seq, error));
                return Ok(bundle);
            }
        }
    }
    if bundle.entries.len() as u64 == BUNDLE {
        bundle.root = Some(root_of(&bundle.entries.iter().map(|entry| entry.leaf).collect::<Vec<_>>()));
    }
    Ok(bundle)
}
