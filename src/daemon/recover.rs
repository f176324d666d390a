//! What a start finds undone, and how each is brought to an end: by the same code as normal work.
//!
//! In order: sessions that the crash cut are interrupted · half key slots decided by the ledger · purges whose key is gone
//! finished, all others taken back · details of which the ledger says that they are
//! destroyed · objects and slots without an entry removed · entries without object or key recorded as
//! damaged. Everything here is done before anybody can ask for anything. Must never remove what an entry names.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::errors::chain;
use super::health::Part;
use super::ingest::spool_file;
use super::ledger::{Proposal, detail_slot_in_force};
use super::service::Service;
use crate::core::event::{Because, Draft, Event, StoreDamaged, Subject};
use crate::core::format::slot::SlotKind;
use crate::core::ids::RecordingId;
use crate::core::refusal::Refusal;
use crate::core::state::State;
use crate::shell::disk::object::ObjectError;
use crate::shell::disk::slots::HalfSlot;
use crate::shell::watch::Spool;
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
    /// Entries whose object or key is missing.
    pub(super) damaged: Vec<(RecordingId, &'static str)>,
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
        let wanted = match slot.kind {
            // A purge that was planned had begun to destroy this key.
            SlotKind::Data => {
                let id = RecordingId::from_bytes(slot.id);
                state.recording(&id).is_some_and(|recording| !recording.purging)
            }
            SlotKind::Detail => detail_slot_in_force(state, &slot.id),
            SlotKind::Log | SlotKind::Epoch | SlotKind::Subject => true,
        };
        if wanted {
            undone.repair.push(slot.clone());
        } else {
            undone.destroy.push(slot.clone());
        }
    }
    let known = |id: &&RecordingId| state.recording(id).is_some();
    undone.remove = keys.iter().chain(objects).filter(|id| !known(id)).copied().collect();
    for (id, _) in state.recordings().filter(|(_, recording)| !recording.purging) {
        if !objects.contains(id) {
            undone.damaged.push((*id, "object-missing"));
        } else if !keys.contains(id) {
            undone.damaged.push((*id, "key-missing"));
        }
    }
    undone.damaged.sort_unstable();
    undone
}

/// Removes what a crash left in `.taking/` although its entry is durable. To be done before anything is purged: of what
/// is destroyed nobody knows which file it came from, so the file would be sealed anew, with a new period.
pub(super) async fn remove_sealed_leftovers(service: &Arc<Service>) {
    let service = service.clone();
    let removing = tokio::task::spawn_blocking(move || {
        // A spool or a folder that cannot be read is reported when it is watched.
        let Ok(spool) = Spool::open(&service.config.spool_dir) else { return };
        for (source, _) in service.policy_in_force().sources() {
            for leftover in spool.leftovers(source).unwrap_or_default() {
                let Ok(taken) = spool.resume(source, &leftover) else { continue };
                let file = spool_file(taken.facts());
                let sealed = service.ledger.look_blocking(move |desk| desk.state.sealed_from(&file));
                if matches!(sealed, Ok(Some(_)))
                    && let Err(error) = taken.remove()
                {
                    log::error!("a sealed file of {source} stays in .taking: {error}");
                }
            }
        }
    });
    let _done = removing.await;
}

impl Service {
    /// Ends the sessions of the run before.
    pub(super) fn interrupt_sessions(&self) -> Result<(), Refusal> {
        let open = self.ledger.look_blocking(|desk| desk.state.sessions().clone())?;
        for (id, session) in open {
            let subject =
                Subject { session: Some(id), ..Subject::recording(session.recording, session.source) };
            let event = Event::AccessInterrupted(Because { why: "service-crashed".into() });
            let _recorded = self
                .ledger
                .record_blocking(move |_| Ok(Proposal::new(Draft::fact(event).about(subject), ())))?;
        }
        Ok(())
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
        for (id, what) in undone.damaged {
            self.record_damage(id, what)?;
        }
        Ok(())
    }

    fn record_damage(&self, id: RecordingId, what: &'static str) -> Result<(), Refusal> {
        journal::record(
            log::Level::Error,
            message_id::STORE_DAMAGED,
            &format!("recording {id} is damaged: {what}"),
            &[("recording", &id.to_string()), ("what", what)],
        );
        self.health.degrade(
            Part::Store,
            "Recordings are damaged; the journal names them. Restore them from a backup.",
        );
        let recorded = self.ledger.record_blocking(move |desk| {
            let source = desk.state.recording(&id).map(|recording| recording.source.clone());
            let subject = Subject { recording: Some(id), source, ..Subject::default() };
            let event = Event::StoreDamaged(StoreDamaged { what: what.into(), offset: None });
            Ok(Proposal::new(Draft::fact(event).about(subject), ()))
        });
        recorded.map(|_| ())
    }
}
