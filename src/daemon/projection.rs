//! The catalogue follows the ledger: a thread applies each committed batch, so that no commit waits for it.
//!
//! The catalogue is never the truth (invariant 5): at start it is compared with the ledger and, when it is behind, brought
//! up to date; when it is damaged, ahead or beside it, or could not be written for a while, rebuilt from the state. A search
//! waits until its own entry is in.

mod follower;
mod whose;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, mpsc};

use tokio::sync::watch;

use super::health::Health;
use super::ledger::{Committed, Ledger};
use crate::core::event::{Event, Outcome, Record};
use crate::core::ids::{Digest, RecordingId};
use crate::core::state::{Recording, State};
use crate::shell::clock::SystemClock;
use crate::shell::disk::catalogue::{Catalogue, CatalogueError, Change, Page, Query, Row};
use follower::{Follower, Shared};
use whose::Subjects;

pub use whose::Whose;

/// The catalogue, kept up to date.
pub struct Projection {
    shared: Arc<Shared>,
    reached: watch::Receiver<u64>,
}

/// The row of a recording; `subject` is a hash of whose it is.
pub fn row(id: RecordingId, recording: &Recording, held: bool, subject: Option<Digest>) -> Row {
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
        subject,
    }
}

/// What a batch of entries changes. `holds` counts per recording: only the first placed and the last lifted show.
fn changes(records: &[Record], subjects: &Subjects, holds: &mut Holds) -> Vec<Change> {
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
                        subject: subjects.get(&id).copied(),
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
fn missed(records: &[Record], subjects: &Subjects, state: &State) -> Vec<Change> {
    let mut missed = changes(records, subjects, &mut Holds::default());
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
    /// What only details tell.
    pub whose: Arc<Whose>,
}

/// The recordings that entries sealed, with the number of the entry.
fn sealed(records: &[Record]) -> Vec<(u64, RecordingId)> {
    let took_effect = |record: &&Record| {
        record.outcome == Outcome::Done && matches!(record.event, Event::RecordingSealed(_))
    };
    let sealed = records.iter().filter(took_effect);
    sealed.filter_map(|record| Some((record.seq, record.subject.recording?))).collect()
}

impl Projection {
    /// Brings the catalogue to the state of the ledger and follows it from there on a thread of its own. Nothing must have
    /// been recorded since the ledger was opened. Blocks on the disk.
    ///
    /// `found`: the catalogue as the run before left it; `behind`: the entries it lacks since. Without one of the two it is
    /// made anew.
    pub fn start(
        dir: PathBuf,
        found: Option<Catalogue>,
        behind: Option<Vec<Record>>,
        position: (u64, [u8; 32]),
        from: Follow,
    ) -> Result<Self, CatalogueError> {
        let subjects = match &behind {
            Some(records) if found.is_some() => from.whose.of(sealed(records))?,
            _ => Subjects::new(),
        };
        let look = from.ledger.look_blocking(move |desk| {
            let mut holds = Holds::default();
            for (_, hold) in desk.state.holds().iter() {
                holds.add(hold.recording);
            }
            (holds, behind.map(|records| missed(&records, &subjects, desk.state)))
        });
        let (holds, missed) = look.map_err(|_| CatalogueError::LedgerStopped)?;
        let found = found.zip(missed).and_then(|(catalogue, changes)| {
            let caught_up = catalogue.apply(&changes, position);
            caught_up
                .map(|()| catalogue)
                .inspect_err(|error| log::warn!("{}", super::errors::chain(error)))
                .ok()
        });
        let (reached_tx, reached) = watch::channel(position.0);
        let shared = Arc::new(Shared::new(dir.clone(), &from, holds, position));
        let usable = match found {
            Some(catalogue) => catalogue,
            None => shared.rebuild_in_place()?,
        };
        shared.put(Some(usable));
        // What a rebuild left that was cut short.
        let _best_effort = Catalogue::discard(&Catalogue::beside(&dir));
        let follower = Follower { shared: shared.clone(), reached: reached_tx, from };
        std::thread::Builder::new()
            .name("catalogue".into())
            .spawn(move || follower.run())
            .map_err(|source| CatalogueError::Io { path: dir, source })?;
        Ok(Self { shared, reached })
    }

    /// Makes the catalogue anew from the ledger, beside the one in use, and puts it in its place. `false` when that is under
    /// way already. Blocks on the disk.
    pub fn rebuild(&self) -> Result<bool, CatalogueError> {
        self.shared.rebuild()
    }

    /// Recordings that stand in the catalogue that is being made, and how many there are; `None` while none is made.
    pub fn rebuilding(&self) -> Option<(u64, u64)> {
        self.shared.progress()
    }

    /// Waits until the entries before `size` are in.
    pub async fn wait_for(&self, size: u64) {
        // An error means that the thread ended with the ledger: nothing more will come.
        let mut reached = self.reached.clone();
        let _ended = reached.wait_for(|reached| *reached >= size).await;
    }

    /// One page. Blocks on the disk. `None`: the catalogue cannot be used. Damage that shows only now has the catalogue made
    /// anew, and the page is read from that.
    /// `shows`: what is left out.
    pub fn search(
        &self,
        query: &Query<'_>,
        shows: &dyn Fn(&Row) -> bool,
    ) -> Option<Result<Page, CatalogueError>> {
        let read = || {
            let slot = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().map(|catalogue| catalogue.search(query, shows))
        };
        match read() {
            Some(Err(error)) => {
                log::warn!("the catalogue is made anew: {}", super::errors::chain(&error));
                match self.shared.rebuild() {
                    Ok(true) => read(),
                    // Somebody else found it out first.
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                }
            }
            page => page,
        }
    }

    /// The hash under which the catalogue knows somebody.
    pub fn hash(&self, subject: &str) -> Digest {
        self.shared.whose.hash(subject)
    }

    /// Whether a recording is `subject`'s own; `None`: the catalogue cannot tell. Blocks on the disk.
    pub fn is_own(&self, id: RecordingId, subject: &str) -> Option<bool> {
        let slot = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        let row = slot.as_ref()?.get(id).inspect_err(|error| log::warn!("{}", super::errors::chain(error)));
        Some(row.ok()??.subject == Some(self.hash(subject)))
    }
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
        let missed = missed(&[lifted], &Subjects::new(), &State::default());
        assert!(matches!(missed.as_slice(), [Change::SetHeld(same, false)] if *same == id));
    }
}
