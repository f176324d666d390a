//! The catalogue follows the ledger: a thread applies each committed batch, so that no commit waits for it.
//!
//! The catalogue is never the truth (invariant 5): at start it is compared with the ledger and, when it is behind, brought
//! up to date; when it is damaged, ahead or beside it, or could not be written for a while, rebuilt from the state. A search
//! waits until its own entry is in.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::health::{Health, Part};
use super::ledger::{Committed, Ledger};
use crate::core::event::{Event, Outcome, Record};
use crate::core::ids::RecordingId;
use crate::core::state::{Recording, State};
use crate::shell::clock::SystemClock;
use crate::shell::disk::catalogue::{Catalogue, CatalogueError, Change, Page, Query, Row};

/// The catalogue, kept up to date.
pub struct Projection {
    catalogue: Arc<RwLock<Option<Catalogue>>>,
    reached: watch::Receiver<u64>,
}

/// Rows that are built in one batch.
const BATCH_ROWS: usize = 1000;
/// How long after a failure it is tried to make the catalogue anew.
const RETRY: Duration = Duration::from_secs(2);

/// The row of a recording.
pub fn row(id: RecordingId, recording: &Recording, held: bool) -> Row {
    Row {
        id,
        source: recording.source.clone(),
        kind: recording.kind,
        start: recording.start,
        end: recording.end,
        sealed: recording.sealed,
        bytes: recording.bytes,
        media: recording.media.to_string(),
        sha256: recording.sha256,
        class: recording.class.clone(),
        latest: recording.latest,
        held,
        subject: None,
    }
}

/// What a batch of entries changes. `holds` counts per recording: only the first placed and the last lifted show.
fn changes(records: &[Record], holds: &mut Holds) -> Vec<Change> {
    let mut changes = Vec::new();
    for record in records.iter().filter(|record| matches!(record.outcome, Outcome::Done | Outcome::Granted)) {
        let Some(id) = record.subject.recording else { continue };
        match &record.event {
            Event::RecordingSealed(sealed) => {
                if let Some(source) = &record.subject.source {
                    changes.push(Change::Put(Row {
                        id,
                        source: source.clone(),
                        kind: sealed.kind,
                        start: sealed.start,
                        end: sealed.end,
                        sealed: record.time,
                        bytes: sealed.bytes,
                        media: sealed.media.clone(),
                        sha256: sealed.sha256,
                        class: sealed.class.clone(),
                        latest: sealed.latest,
                        held: false,
                        subject: None,
                    }));
                }
            }
            Event::PurgeDone(_) => changes.push(Change::Remove(id)),
            Event::HoldPlaced(_) if holds.add(id) => changes.push(Change::SetHeld(id, true)),
            Event::HoldLifted(_) if holds.take(id) => changes.push(Change::SetHeld(id, false)),
            _ => {}
        }
    }
    changes
}

/// What the entries since a catalogue was written change. How many holds stood then is not known, so rows take theirs
/// from the state as it is now.
fn missed(records: &[Record], state: &State) -> Vec<Change> {
    let mut missed = changes(records, &mut Holds::default());
    missed.retain(|change| !matches!(change, Change::SetHeld(..)));
    let of_holds = |event: &Event| matches!(event, Event::HoldPlaced(_) | Event::HoldLifted(_));
    let held =
        records.iter().filter(|record| of_holds(&record.event)).filter_map(|record| record.subject.recording);
    missed.extend(held.map(|id| Change::SetHeld(id, state.holds().on(&id).is_some())));
    missed
}

/// How many holds stand on each recording.
#[derive(Default)]
struct Holds(std::collections::HashMap<RecordingId, u32>);

impl Holds {
    /// Whether this is the first.
    fn add(&mut self, id: RecordingId) -> bool {
        let count = self.0.entry(id).or_default();
        *count += 1;
        *count == 1
    }
    /// Whether that was the last.
    fn take(&mut self, id: RecordingId) -> bool {
        let Some(count) = self.0.get_mut(&id) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.0.remove(&id);
        }
        last
    }
}

/// What the catalogue follows, and whom it tells when it cannot.
pub struct Follow {
    /// To read the state again when the catalogue has to be made anew.
    pub ledger: Ledger,
    /// Every batch from the position on.
    pub committed: mpsc::Receiver<Committed>,
    /// What everybody reads.
    pub health: Arc<Health>,
    /// For the time between two attempts.
    pub clock: Arc<SystemClock>,
}

impl Projection {
    /// Brings the catalogue to the state of the ledger and follows it from there on a thread of its own.
    ///
    /// `stood`: where it stood when the ledger was opened; `behind`: the entries it lacks since, `None` to rebuild it.
    pub fn start(
        dir: PathBuf,
        stood: Option<(u64, [u8; 32])>,
        behind: Option<&[Record]>,
        state: &State,
        position: (u64, [u8; 32]),
        from: Follow,
    ) -> Result<Self, CatalogueError> {
        let known = stood.filter(|_| behind.is_some());
        let opened = Catalogue::open(&dir, |position| known == Some(position))?;
        if let Some(why) = &opened.rebuilt {
            log::warn!("the catalogue is made anew: {}", super::errors::chain(why));
        }
        let mut holds = Holds::default();
        for (_, hold) in state.holds().iter() {
            holds.add(hold.recording);
        }
        let usable = behind.filter(|_| opened.rebuilt.is_none() && known.is_some());
        let caught_up = usable.map(|records| opened.catalogue.apply(&missed(records, state), position));
        let catalogue = match caught_up {
            Some(Ok(())) => opened.catalogue,
            _ => {
                drop(opened.catalogue);
                rebuild(&dir, state, position)?
            }
        };
        let (reached_tx, reached) = watch::channel(position.0);
        let catalogue = Arc::new(RwLock::new(Some(catalogue)));
        let follower =
            Follower { dir: dir.clone(), catalogue: catalogue.clone(), holds, reached: reached_tx, from };
        std::thread::Builder::new()
            .name("catalogue".into())
            .spawn(move || follower.run())
            .map_err(|source| CatalogueError::Io { path: dir, source })?;
        Ok(Self { catalogue, reached })
    }

    /// Waits until the entries before `size` are in.
    pub async fn wait_for(&self, size: u64) {
        // An error means that the thread ended with the ledger: nothing more will come.
        let mut reached = self.reached.clone();
        let _ended = reached.wait_for(|reached| *reached >= size).await;
    }

    /// One page. Blocks on the disk. `None`: the catalogue cannot be used.
    pub fn search(&self, query: &Query<'_>) -> Option<Result<Page, CatalogueError>> {
        let slot = self.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map(|catalogue| catalogue.search(query))
    }
}

/// The thread that follows.
struct Follower {
    dir: PathBuf,
    /// `None` from a failure until it could be made anew.
    catalogue: Arc<RwLock<Option<Catalogue>>>,
    holds: Holds,
    reached: watch::Sender<u64>,
    from: Follow,
}

impl Follower {
    fn run(mut self) {
        let mut retry_at = None;
        loop {
            let now = self.from.clock.monotonic();
            let wait = retry_at.map_or(Duration::MAX, |at: Instant| at.saturating_duration_since(now));
            match self.from.committed.recv_timeout(wait) {
                Ok(batch) => self.apply(&batch),
                Err(RecvTimeoutError::Timeout) => {
                    self.make_anew();
                    retry_at = None;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.with(|slot| slot.is_none()) {
                retry_at = retry_at.or_else(|| self.from.clock.monotonic().checked_add(RETRY));
            }
        }
        // Best effort: what is lost is replayed from the ledger.
        let _lost = self.with(|slot| slot.as_ref().map(Catalogue::flush));
    }

    fn apply(&mut self, batch: &Committed) {
        let changes = changes(&batch.records, &mut self.holds);
        let position = (batch.size, batch.root);
        let applied = self.with(|slot| slot.as_ref().map(|catalogue| catalogue.apply(&changes, position)));
        if let Some(Err(error)) = applied {
            log::error!("the catalogue cannot be used, searches are refused until it is made anew: {error}");
            self.put(None);
            let why = "Searching is off: the catalogue cannot be written; it is made anew when it can be.";
            self.from.health.degrade(Part::Catalogue, why);
        }
        self.reached.send_replace(batch.size);
    }

    /// Tries to make the catalogue again from the state as it is now. Batches that are still on their way are in that
    /// state already; applied once more they change nothing, because each puts or removes whole rows in their order.
    fn make_anew(&self) {
        let Ok(state) = self.from.ledger.look_blocking(|desk| desk.state.clone()) else { return };
        // No position: until the next batch gives it one, a start makes it anew.
        match rebuild(&self.dir, &state, (0, [0; 32])) {
            Ok(catalogue) => {
                self.put(Some(catalogue));
                self.from.health.mend(Part::Catalogue);
            }
            Err(error) => {
                log::warn!("the catalogue cannot be made anew yet: {}", super::errors::chain(&error))
            }
        }
    }

    /// Searches go on meanwhile.
    fn with<T>(&self, act: impl FnOnce(&Option<Catalogue>) -> T) -> T {
        act(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, catalogue: Option<Catalogue>) {
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
    }
}

fn rebuild(dir: &Path, state: &State, position: (u64, [u8; 32])) -> Result<Catalogue, CatalogueError> {
    log::info!("the catalogue is rebuilt from the ledger");
    let catalogue = Catalogue::destroy_and_recreate(dir)?;
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    for (id, recording) in state.recordings() {
        batch.push(Change::Put(row(*id, recording, state.holds().on(id).is_some())));
        if batch.len() == BATCH_ROWS {
            // Position 0 until all is in: a rebuild cut short is begun again.
            catalogue.apply(&batch, (0, [0; 32]))?;
            batch.clear();
        }
    }
    catalogue.apply(&batch, position)?;
    Ok(catalogue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{HoldLifted, Subject};
    use crate::core::ids::HoldId;

    #[test]
    fn inv5_a_hold_lifted_while_the_catalogue_was_behind_shows_as_lifted() {
        let id = RecordingId::from_bytes([1; 16]);
        let lifted = Record {
            seq: 9,
            time: "2026-05-12T10:00:00Z".parse().unwrap(),
            up_micros: 1,
            boot: crate::core::time::BootId::from_bytes([1; 16]),
            event: Event::HoldLifted(HoldLifted { hold: HoldId::from_bytes([1; 16]) }),
            outcome: Outcome::Done,
            subject: Subject { recording: Some(id), ..Subject::default() },
            policy: None,
        };
        // The catalogue saw the placing; of what it missed, the lifting alone is told.
        let missed = missed(&[lifted], &State::default());
        assert!(matches!(missed.as_slice(), [Change::SetHeld(same, false)] if *same == id));
    }
}
