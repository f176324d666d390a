//! What a start finds undone, and how each is brought to an end: by the same code as normal work.
//!
//! In order: sessions that the crash cut are interrupted · half key slots decided by the ledger · purges whose key is gone
//! finished, all others taken back · details of which the ledger says that they are
//! destroyed · objects and slots without an entry removed · entries without object or key recorded as
//! damaged. Everything here is done before anybody can ask for anything. Must never remove what an entry names.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::errors::chain;
use super::ingest::{sha256_of, spool_file};
use super::ledger::{Proposal, detail_slot_in_force};
use super::service::Service;
use crate::core::event::{Because, Draft, Event, StoreDamaged, Subject};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::ids::RecordingId;
use crate::core::refusal::Refusal;
use crate::core::scrub::Harm;
use crate::core::state::State;
use crate::shell::disk::object::ObjectError;
use crate::shell::disk::slots::HalfSlot;
use crate::shell::watch::{Facts, Spool, SpoolError, Taken};
use crate::shell::{journal, message_id};

/// What a start must bring to an end, decided from the ledger and from what the disk holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// Half slots that the ledger wants kept.
    pub(super) repair: Vec<HalfSlot>,
    /// Half slots that the ledger does not know, or wants destroyed.
    pub(super) destroy: Vec<HalfSlot>,
    /// Objects and keys that no entry names.
    pub(super) remove: BTreeSet<RecordingId>,
    /// Entries whose object or key is missing, as far as the ledger does not say so yet.
    pub(super) damaged: Vec<(RecordingId, Harm)>,
}

/// Whether the ledger wants the key in this slot kept.
pub(super) fn wanted(state: &State, kind: SlotKind, id: &SlotId) -> bool {
    match kind {
        // A purge that was planned had begun to destroy this key.
        SlotKind::Data => {
            let id = RecordingId::from_bytes(*id);
            state.recording(&id).is_some_and(|recording| !recording.purging)
        }
        SlotKind::Detail => detail_slot_in_force(state, id),
        SlotKind::Log | SlotKind::Epoch | SlotKind::Subject => true,
    }
}

/// Decides from facts alone. `keys`: ids of the data keys that open in at least one copy.
pub(super) fn plan(
    state: &State,
    keys: &HashSet<RecordingId>,
    half: &[HalfSlot],
    objects: &HashSet<RecordingId>,
) -> Undone {
    let mut undone = Undone::default();
    for slot in half {
        if wanted(state, slot.kind, &slot.id) {
            undone.repair.push(slot.clone());
        } else {
            undone.destroy.push(slot.clone());
        }
    }
    let known = |id: &&RecordingId| state.recording(id).is_some();
    undone.remove = keys.iter().chain(objects).filter(|id| !known(id)).copied().collect();
    for (id, _) in state.recordings().filter(|(_, recording)| !recording.purging) {
        let harm = match (objects.contains(id), keys.contains(id)) {
            (false, _) => Harm::ObjectMissing,
            (true, false) => Harm::KeyMissing,
            (true, true) => continue,
        };
        // What the ledger says already is not said again at each start.
        if state.damaged().get(id).is_none_or(|known| known.harm != harm) {
            undone.damaged.push((*id, harm));
        }
    }
    undone.damaged.sort_unstable();
    undone
}

/// Removes what stands in the spool although its entry is durable: in `.taking/` after a crash or an unlink that failed,
/// in the folder when a commit was in doubt; of `only` these recordings, if it is given. To be done before anything is
/// purged: of what is destroyed nobody knows which file it came from, so the file would be sealed anew, with a new period.
/// Gives the recordings whose file is still there.
pub(super) async fn remove_sealed_leftovers(
    service: &Arc<Service>,
    only: Option<BTreeSet<RecordingId>>,
) -> BTreeSet<RecordingId> {
    let service = service.clone();
    let removing = tokio::task::spawn_blocking(move || {
        let mut left = BTreeSet::new();
        // A spool or a folder that cannot be read is reported when it is watched.
        let Ok(spool) = Spool::open(&service.config.spool_dir) else { return left };
        let sealed = |facts: &Facts| {
            let id = service.sealed_from(facts)?;
            only.as_ref().is_none_or(|only| only.contains(&id)).then_some(id)
        };
        let mut settle = |id: RecordingId, taken: Result<Taken, SpoolError>| {
            let removed =
                taken.map_err(|error| chain(&error)).and_then(|taken| service.remove_if_sealed(id, taken));
            if let Err(error) = removed {
                log::error!("the file of recording {id}, which is sealed, stays in the spool: {error}");
                left.insert(id);
            }
        };
        for (source, _) in service.policy_in_force().sources() {
            for leftover in spool.leftovers(source).unwrap_or_default() {
                if let Some(id) = sealed(&leftover.facts) {
                    settle(id, spool.resume(source, &leftover));
                }
            }
            for name in spool.scan(source).unwrap_or_default().names {
                if let Some(id) = spool.facts(source, &name).ok().and_then(|facts| sealed(&facts)) {
                    settle(id, spool.take(source, &name));
                }
            }
        }
        left
    });
    removing.await.unwrap_or_default()
}

/// The ends of the sessions of the run before. They belong into one commit with the start: whoever is cut between the two
/// leaves sessions that two starts have found open, which no honest service does.
pub(super) fn interruptions(state: &State) -> impl Iterator<Item = Draft> {
    state.sessions().iter().map(|(id, session)| {
        let about = Subject::recording(session.recording, session.source.clone());
        let event = Event::AccessInterrupted(Because { why: "service-crashed".into() });
        Draft::fact(event).about(Subject { session: Some(*id), ..about })
    })
}

impl Service {
    /// The recording that was sealed from a file like this one.
    fn sealed_from(&self, facts: &Facts) -> Option<RecordingId> {
        let file = spool_file(facts);
        self.ledger.look_blocking(move |desk| desk.state.sealed_from(&file)).ok().flatten()
    }

    /// Removes a spool file whose content is that of this recording; any other is given back.
    fn remove_if_sealed(&self, id: RecordingId, taken: Taken) -> Result<(), String> {
        let known = self.ledger.look_blocking(move |desk| desk.state.recording(&id).map(|it| it.sha256));
        let known = known.map_err(|refusal| refusal.to_string())?;
        let here = sha256_of(taken.file()).map_err(|error| chain(&error))?;
        if known == Some(here) {
            taken.remove().map_err(|error| chain(&error))
        } else {
            taken.put_back().map_err(|error| chain(&error))
        }
    }

    /// Compares store and keys with the ledger and brings to an end what is undone. Blocks on the disk. `listed`: the objects,
    /// listed after the run before ended.
    pub(super) fn reconcile(
        &self,
        listed: Vec<Result<RecordingId, ObjectError>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let keys = self.slots.list(SlotKind::Data).into_iter().map(RecordingId::from_bytes).collect();
        let mut objects = HashSet::new();
        for found in listed {
            match found {
                Ok(id) => drop(objects.insert(id)),
                // Not ours, so it is left alone.
                Err(foreign @ ObjectError::Foreign(_)) => log::warn!("{}", chain(&foreign)),
                Err(error) => return Err(error.into()),
            }
        }
        let half = self.slots.half();
        let undone = self.ledger.look_blocking(move |desk| plan(desk.state, &keys, &half, &objects))?;
        for slot in &undone.repair {
            self.slots.repair(slot)?;
            log::warn!(
                "a key slot in {} at offset {} was damaged and is repaired",
                slot.path.display(),
                slot.offset
            );
        }
        for slot in &undone.destroy {
            self.slots.destroy(slot.kind, &slot.id)?;
        }
        self.slots.wipe_remains()?;
        self.settle_purges()?;
        self.settle_details()?;
        for id in undone.remove {
            log::info!("an unfinished recording {id} is removed; its file is still in the spool");
            self.take_back(id);
        }
        for (id, harm) in undone.damaged {
            self.record_damage(id, harm.as_str())?;
        }
        self.show_damage();
        Ok(())
    }

    fn record_damage(&self, id: RecordingId, what: &'static str) -> Result<(), Refusal> {
        journal::record(
            log::Level::Error,
            message_id::STORE_DAMAGED,
            &format!("recording {id} is damaged: {what}"),
            &[("recording", &id.to_string()), ("what", what)],
        );
        let recorded = self.ledger.record_blocking(move |desk| {
            let source = desk.state.recording(&id).map(|recording| recording.source.clone());
            let subject = Subject { recording: Some(id), source, ..Subject::default() };
            let event = Event::StoreDamaged(StoreDamaged { what: what.into(), offset: None, count: None });
            Ok(Proposal::new(Draft::fact(event).about(subject), ()))
        });
        recorded.map(|_| ())
    }
}
