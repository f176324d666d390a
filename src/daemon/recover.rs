//! What a start finds undone, and how each is brought to an end: by the same code as normal work.
//!
//! In order: sessions that the crash cut are interrupted · half key slots decided by the ledger · purges whose key is gone
//! finished, all others taken back · details of which the ledger says that they are
//! destroyed · objects and slots without an entry removed · entries without object or key recorded as
//! damaged. Everything here is done before anybody can ask for anything. Must never remove what an entry names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::errors::chain;
use super::ingest::{sha256_of, spool_file};
use super::ledger::{Proposal, detail_slot_in_force};
use super::service::Service;
use crate::core::event::{Because, Draft, Event, SpoolFile, StoreDamaged, Subject};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::ids::{Digest, RecordingId, SourceId};
use crate::core::refusal::Refusal;
use crate::core::scrub::Harm;
use crate::core::state::State;
use crate::shell::disk::object::ObjectError;
use crate::shell::disk::slots::HalfSlot;
use crate::shell::watch::{Facts, Leftover, Spool, SpoolError, Taken};
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

/// How many files of a folder are looked up in the ledger in one go.
const LOOKED_UP_TOGETHER: usize = 4096;

/// Removes what stands in the spool although its entry is durable: in `.taking/` after a crash or an unlink that failed,
/// in the folder when a commit was in doubt; of `only` these recordings, if it is given. To be done before anything is
/// purged: of what is destroyed nobody knows which file it came from, so the file would be sealed anew, with a new period.
/// Gives the recordings whose file is still there, or may be: where the spool cannot be searched to its end, all of `only`
/// that were sealed from it.
pub(super) async fn remove_sealed_leftovers(
    service: &Arc<Service>,
    only: Option<BTreeSet<RecordingId>>,
) -> BTreeSet<RecordingId> {
    let sources = match &only {
        None => service.policy_in_force().sources().map(|(id, _)| (id.clone(), BTreeSet::new())).collect(),
        Some(only) => {
            let ids = only.clone();
            let looked = service.ledger.look(move |desk| by_source(desk.state, &ids)).await;
            match looked {
                Ok(sources) => sources,
                Err(_) => return only.clone(),
            }
        }
    };
    let all_of_them = sources.values().flatten().copied().collect();
    let service = service.clone();
    let removing = tokio::task::spawn_blocking(move || {
        let spool = match Spool::open(&service.config.spool_dir) {
            Ok(spool) => spool,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeSet::new(),
            Err(error) => {
                log::error!("the spool cannot be opened, so nothing sealed from it is destroyed: {error}");
                return sources.into_values().flatten().collect();
            }
        };
        let mut left = BTreeSet::new();
        for (source, of_it) in sources {
            let search = Search { service: &service, spool: &spool, source: &source, only: only.as_ref() };
            match search.run(&mut left) {
                // No folder, no file.
                Ok(()) | Err(Unsearched::Spool(SpoolError::Gone)) => {}
                Err(why) => {
                    if let Unsearched::Spool(error) = why {
                        let error = chain(&error);
                        log::error!(
                            "the spool folder of {source} cannot be searched for what is sealed already; until it can, nothing sealed from it is destroyed: {error}"
                        );
                    }
                    left.extend(of_it);
                }
            }
        }
        left
    });
    removing.await.unwrap_or(all_of_them)
}

/// Those of `ids` that were sealed from a file of the spool, by source.
fn by_source(state: &State, ids: &BTreeSet<RecordingId>) -> BTreeMap<SourceId, BTreeSet<RecordingId>> {
    let mut sources: BTreeMap<SourceId, BTreeSet<RecordingId>> = BTreeMap::new();
    for id in ids {
        if let Some(recording) = state.recording(id).filter(|recording| recording.spool.is_some()) {
            sources.entry(recording.source.clone()).or_default().insert(*id);
        }
    }
    sources
}

/// Why a folder was not searched to its end.
enum Unsearched {
    Spool(SpoolError),
    /// The ledger could not be asked, or the service stops; either is said elsewhere.
    Ended,
}

impl From<SpoolError> for Unsearched {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

/// Where a file of the spool stands.
enum Place {
    Taking(Leftover),
    Folder(OsString),
}

/// The search of one source's folder for files that are sealed already. It runs beside ingest.
struct Search<'a> {
    service: &'a Service,
    spool: &'a Spool,
    source: &'a SourceId,
    only: Option<&'a BTreeSet<RecordingId>>,
}

impl Search<'_> {
    fn run(&self, left: &mut BTreeSet<RecordingId>) -> Result<(), Unsearched> {
        self.taking(left)?;
        let (mut found, mut settled) = (Vec::new(), Ok(()));
        self.spool.look_through(self.source, |name, facts| {
            found.push((facts, Place::Folder(name)));
            if found.len() >= LOOKED_UP_TOGETHER {
                settled = self.settle(std::mem::take(&mut found), left);
            }
            if settled.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        settled?;
        self.settle(found, left)?;
        // A worker may have taken it between the two.
        self.taking(left)
    }

    fn taking(&self, left: &mut BTreeSet<RecordingId>) -> Result<(), Unsearched> {
        let found = self.spool.leftovers(self.source)?.into_iter().map(|it| (it.facts, Place::Taking(it)));
        self.settle(found.collect(), left)
    }

    /// Removes those that are sealed; what cannot be removed is added to `left`.
    fn settle(&self, found: Vec<(Facts, Place)>, left: &mut BTreeSet<RecordingId>) -> Result<(), Unsearched> {
        if found.is_empty() {
            return Ok(());
        }
        let files: Vec<SpoolFile> = found.iter().map(|(facts, _)| spool_file(facts)).collect();
        let sealed = self.service.ledger.look_blocking(move |desk| {
            let sealed = |file| {
                let id = desk.state.sealed_from(file)?;
                Some((id, desk.state.recording(&id)?.sha256))
            };
            files.iter().map(sealed).collect::<Vec<_>>()
        });
        let sealed = sealed.map_err(|_| Unsearched::Ended)?;
        for ((_, place), sealed) in found.into_iter().zip(sealed) {
            let Some((id, sha256)) = sealed.filter(|(id, _)| self.only.is_none_or(|only| only.contains(id)))
            else {
                continue;
            };
            if *self.service.stopping.borrow() {
                return Err(Unsearched::Ended);
            }
            let taken = match &place {
                Place::Taking(leftover) => self.spool.resume(self.source, leftover),
                Place::Folder(name) => self.spool.take(self.source, name),
            };
            let taken = taken.map_err(|error| chain(&error));
            if let Err(error) = taken.and_then(|taken| remove_if_sealed(taken, sha256)) {
                log::error!("the file of recording {id}, which is sealed, stays in the spool: {error}");
                left.insert(id);
            }
        }
        if *self.service.stopping.borrow() { Err(Unsearched::Ended) } else { Ok(()) }
    }
}

/// Removes a spool file whose content is the one that was sealed; any other is given back.
fn remove_if_sealed(taken: Taken, sealed: Digest) -> Result<(), String> {
    let here = sha256_of(taken.file()).map_err(|error| chain(&error))?;
    if here == sealed {
        taken.remove().map_err(|error| chain(&error))
    } else {
        taken.put_back().map_err(|error| chain(&error))
    }
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
