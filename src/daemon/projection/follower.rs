//! The thread that follows the ledger, and the making of a new catalogue while it does.
//!
//! A new catalogue is made beside the one in use, which goes on answering. Its rows are taken from the state some at a time; a
//! batch that is committed meanwhile is applied to both. Rows are taken and written under the same lock as batches are
//! applied: so no batch falls between the two, and one that is in the rows already changes nothing when it is applied again,
//! because it puts or removes whole rows in their order. Must never keep a commit waiting for the disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Follow, Holds, Subjects, Whose, changes, row};
use crate::core::ids::RecordingId;
use crate::core::time::Timestamp;
use crate::daemon::errors::chain;
use crate::daemon::health::Part;
use crate::daemon::ledger::{Committed, Ledger};
use crate::shell::disk::catalogue::{Catalogue, CatalogueError, Position};

/// Rows that are made at once: the writer of the ledger waits no longer than it takes to copy them.
const CHUNK_ROWS: usize = 1000;
/// How long after a failure it is tried to make the catalogue anew.
const RETRY: Duration = Duration::from_secs(2);
/// Until all rows are in: what is cut short is begun again.
const NOWHERE: Position = (0, [0; 32]);

/// What the follower and a rebuild share.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) ledger: Ledger,
    pub(super) whose: Arc<Whose>,
    /// `None` from a failure until it could be made anew.
    pub(super) catalogue: RwLock<Option<Catalogue>>,
    feed: Mutex<Feed>,
    running: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

/// Where the batches go.
struct Feed {
    holds: Holds,
    /// After the last batch.
    position: Position,
    /// The catalogue that is being made.
    new: Option<Catalogue>,
    /// Why it is not any more.
    failed: Option<CatalogueError>,
}

impl Feed {
    fn why(&mut self) -> CatalogueError {
        self.failed.take().unwrap_or(CatalogueError::LedgerStopped)
    }
}

impl Shared {
    pub(super) fn new(dir: PathBuf, from: &Follow, holds: Holds, position: Position) -> Self {
        Self {
            dir,
            ledger: from.ledger.clone(),
            whose: from.whose.clone(),
            catalogue: RwLock::new(None),
            feed: Mutex::new(Feed { holds, position, new: None, failed: None }),
            running: AtomicBool::new(false),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    /// Recordings that the catalogue that is being made has, and how many there are; `None` while none is made.
    pub(super) fn progress(&self) -> Option<(u64, u64)> {
        let running = self.running.load(Ordering::Acquire);
        running.then(|| (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed)))
    }

    /// Makes the catalogue anew beside the one in use, and puts it into its place. `false` when another rebuild runs.
    pub(super) fn rebuild(&self) -> Result<bool, CatalogueError> {
        if self.running.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let beside = Catalogue::beside(&self.dir);
        if !self.is_usable() {
            // It answers nothing any more, and the disk may be full.
            let _removed_when_replaced = Catalogue::discard(&self.dir);
        }
        let made = self.fill(&beside).and_then(|()| self.replace(&beside));
        if made.is_err() {
            self.feed().new = None;
            let _left_for_the_next_start = Catalogue::discard(&beside);
        }
        self.running.store(false, Ordering::Release);
        made.map(|()| true)
    }

    /// Makes it in its place, while nothing follows and nobody searches.
    pub(super) fn rebuild_in_place(&self) -> Result<Catalogue, CatalogueError> {
        self.fill(&self.dir)?;
        let mut feed = self.feed();
        let Some(new) = feed.new.take() else { return Err(feed.why()) };
        new.apply(&[], feed.position)?;
        // Opened again with the cache of every day.
        drop(new);
        Catalogue::open_at(&self.dir, feed.position)
    }

    /// Puts a row for each recording into a new catalogue, which is `feed.new` afterwards.
    fn fill(&self, dir: &std::path::Path) -> Result<(), CatalogueError> {
        log::info!("the catalogue is made anew from the ledger");
        self.done.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
        // Before the recordings are listed: from here on every batch reaches it, and what was applied before stands in the list.
        let made = Catalogue::destroy_and_recreate(dir)?;
        let mut feed = self.feed();
        (feed.new, feed.failed) = (Some(made), None);
        drop(feed);
        let listed = self.ledger.look_blocking(|desk| {
            let recordings = desk.state.recordings();
            recordings.map(|(id, recording)| (recording.start, recording.entry, *id)).collect::<Vec<_>>()
        });
        let mut places: Vec<(Timestamp, u64, RecordingId)> =
            listed.map_err(|_| CatalogueError::LedgerStopped)?;
        // As they stand in the catalogue: neighbours are written together.
        places.sort_unstable();
        self.total.store(places.len() as u64, Ordering::Relaxed);
        for chunk in places.chunks(CHUNK_ROWS) {
            // Whose they are never changes, so it is read before anything waits.
            let subjects = self.whose.of(chunk.iter().map(|(_, entry, id)| (*entry, *id)).collect())?;
            let ids: Vec<RecordingId> = chunk.iter().map(|(.., id)| *id).collect();
            let mut feed = self.feed();
            let rows = self.ledger.look_blocking(move |desk| {
                let row_of = |id: &RecordingId| {
                    let held = desk.state.holds().on(id).is_some();
                    let recording = desk.state.recording(id)?;
                    Some(row(*id, recording, held, subjects.get(id).copied()))
                };
                ids.iter().filter_map(row_of).collect::<Vec<_>>()
            });
            let rows = rows.map_err(|_| CatalogueError::LedgerStopped)?;
            match &feed.new {
                Some(new) => new.add_new(&rows, NOWHERE)?,
                None => return Err(feed.why()),
            }
            self.done.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts what was made into its place: searches wait so long, batches too.
    fn replace(&self, beside: &std::path::Path) -> Result<(), CatalogueError> {
        let mut feed = self.feed();
        let Some(new) = feed.new.take() else { return Err(feed.why()) };
        new.apply(&[], feed.position)?;
        drop(new);
        let mut in_use = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        *in_use = None;
        *in_use = Some(Catalogue::replace_by(&self.dir, beside, feed.position)?);
        Ok(())
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        // A panic of sled's is caught where it happens; what it leaves behind is thrown away.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self) -> bool {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn put(&self, catalogue: Option<Catalogue>) {
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
    }
}

/// The thread.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) reached: watch::Sender<u64>,
    pub(super) from: Follow,
}

impl Follower {
    pub(super) fn run(self) {
        let mut retry_at = None;
        let mut broken = false;
        loop {
            let now = self.from.clock.monotonic();
            let wait = retry_at.map_or(Duration::MAX, |at: Instant| at.saturating_duration_since(now));
            match self.from.committed.recv_timeout(wait) {
                Ok(batch) => self.apply(&batch),
                Err(RecvTimeoutError::Timeout) => {
                    // Somebody may have ordered it meanwhile.
                    if !self.shared.is_usable() {
                        self.make_anew();
                    }
                    retry_at = None;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let usable = self.shared.is_usable();
            if usable && broken {
                self.from.health.mend(Part::Catalogue);
            }
            if !usable && !broken {
                let why = "Searching is off: the catalogue cannot be used; it is made anew when it can be.";
                self.from.health.degrade(Part::Catalogue, why);
            }
            broken = !usable;
            if broken {
                retry_at = retry_at.or_else(|| self.from.clock.monotonic().checked_add(RETRY));
            }
        }
        // Best effort: what is lost is replayed from the ledger.
        let in_use = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        let _lost = in_use.as_ref().map(Catalogue::flush);
    }

    fn apply(&self, batch: &Committed) {
        let hashes = batch.subjects.iter().map(|(id, subject)| (*id, self.shared.whose.hash(subject)));
        let subjects: Subjects = hashes.collect();
        let mut feed = self.shared.feed();
        let changes = changes(&batch.records, &subjects, &mut feed.holds);
        feed.position = (batch.size, batch.root);
        if let Some(Err(error)) = feed.new.as_ref().map(|new| new.apply(&changes, NOWHERE)) {
            // The rebuild finds it gone, and ends.
            (feed.new, feed.failed) = (None, Some(error));
        }
        let applied = {
            let in_use = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
            in_use.as_ref().map(|catalogue| catalogue.apply(&changes, feed.position))
        };
        drop(feed);
        if let Some(Err(error)) = applied {
            log::error!("the catalogue cannot be used, searches are refused until it is made anew: {error}");
            self.shared.put(None);
        }
        self.reached.send_replace(batch.size);
    }

    fn make_anew(&self) {
        match self.shared.rebuild() {
            // The ledger itself says so.
            Ok(_) | Err(CatalogueError::LedgerStopped) => {}
            Err(error) => log::warn!("the catalogue cannot be made anew yet: {}", chain(&error)),
        }
    }
}
