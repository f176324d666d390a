//! Bundles on all cores: threads read and hash, the caller takes the results in the order of the ledger.
//!
//! Owns the order and the bound on what waits. Must never let a fast thread fill the memory before a slow bundle.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::ledger::Failure;
use super::source::{Feed, Loaded, Reader};

/// Below so many bundles a thread costs more than it saves.
const FEW_BUNDLES: u64 = 8;
/// Bytes of entries and details waiting in memory before no further bundle is begun.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// What reading one bundle gave; `None` where the ledger ends.
type Outcome = Result<Option<Loaded>, Failure>;

/// Gives each bundle of `feed` to `take`, in order, until it answers false.
pub fn run(
    feed: &mut Feed,
    threads: Option<NonZeroUsize>,
    mut take: impl FnMut(Loaded) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let machine = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.map_or_else(machine, NonZeroUsize::get);
    let reader = feed.reader();
    if threads < 2 || feed.bundles() < FEW_BUNDLES {
        while let Some(job) = feed.job()? {
            let Some(loaded) = reader.load(job)? else { break };
            if !take(loaded)? {
                break;
            }
        }
        return Ok(());
    }
    let shared = Shared {
        progress: Mutex::new(Progress { feed, begun: 0, taken: 0, sizes: BTreeMap::new(), stopped: false }),
        room: Condvar::new(),
        window: 2 * threads as u64 + 2,
    };
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        for _ in 0..threads {
            let (reader, shared, sender) = (reader.clone(), &shared, sender.clone());
            scope.spawn(move || shared.work(&reader, &sender));
        }
        drop(sender);
        let mut waiting: BTreeMap<u64, Outcome> = BTreeMap::new();
        let mut result = Ok(());
        let mut next = 0;
        'all: for (n, outcome) in receiver {
            waiting.insert(n, outcome);
            while let Some(outcome) = waiting.remove(&next) {
                next += 1;
                match outcome.and_then(|loaded| loaded.map_or(Ok(false), &mut take)) {
                    Ok(true) => shared.taken(next),
                    Ok(false) => break 'all,
                    Err(error) => {
                        result = Err(error);
                        break 'all;
                    }
                }
            }
        }
        shared.stop();
        result
    })
}

/// A thread that panics leaves a bundle that nobody takes: then nobody may wait for room any more.
struct Leaving<'a, 'b>(&'a Shared<'b>);

impl Drop for Leaving<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// What the threads share.
struct Shared<'a> {
    progress: Mutex<Progress<'a>>,
    room: Condvar,
    /// Most bundles begun and not taken.
    window: u64,
}

struct Progress<'a> {
    feed: &'a mut Feed,
    begun: u64,
    taken: u64,
    /// Bytes that each bundle begun and not taken holds.
    sizes: BTreeMap<u64, usize>,
    stopped: bool,
}

impl Progress<'_> {
    fn has_room(&self, window: u64) -> bool {
        let waiting = self.begun - self.taken;
        waiting == 0 || waiting < window && self.sizes.values().sum::<usize>() < MAX_WAITING_BYTES
    }
}

impl<'a> Shared<'a> {
    /// Until there is nothing more to begin, or nobody listens.
    fn work(&self, reader: &Reader, results: &Sender<(u64, Outcome)>) {
        let _leaving = Leaving(self);
        loop {
            let mut progress = self.lock();
            while !progress.stopped && !progress.has_room(self.window) {
                progress = self.room.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
            if progress.stopped {
                return;
            }
            let n = progress.begun;
            let job = match progress.feed.job() {
                Ok(Some(job)) => job,
                Ok(None) => {
                    progress.stopped = true;
                    self.room.notify_all();
                    return;
                }
                Err(error) => {
                    progress.stopped = true;
                    self.room.notify_all();
                    // Nobody to tell: then nobody waits for it either.
                    let _ = results.send((n, Err(error.into())));
                    return;
                }
            };
            progress.begun += 1;
            progress.sizes.insert(n, job.bytes());
            drop(progress);
            let outcome = reader.load(job).map_err(Failure::from);
            if let Ok(Some(Loaded::Bundle(bundle))) = &outcome {
                self.lock().sizes.insert(n, bundle.held_bytes());
            }
            if results.send((n, outcome)).is_err() {
                return;
            }
        }
    }

    /// The bundles before `next` are done with.
    fn taken(&self, next: u64) {
        let mut progress = self.lock();
        progress.taken = next;
        progress.sizes = progress.sizes.split_off(&next);
        self.room.notify_all();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
    }

    /// A thread that panicked takes the whole verification with it when the scope ends; the numbers are sound till then.
    fn lock(&self) -> MutexGuard<'_, Progress<'a>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
