//! The steps of a scrub.
//!
//! In order: each recording of the ledger, by id: key slot, both copies · object, every chunk, SHA-256 · compared with its
//! entry · finding recorded, in the writer's order, unless the recording is purged or being purged by then · all other key
//! slots · names in the store that no entry explains · `store.scrubbed`: the commit point · place forgotten. The place is
//! kept from time to time and at every end before the last step; after a crash, what came after it is read again.

use std::time::Duration;

use super::control::{End, Turn};
use super::{MIB, Order, event};
use crate::core::event::{Draft, Event, Outcome, StoreDamaged, Subject};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::ids::RecordingId;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::scrub::{Counts, Harm, ObjectFacts, Pace, Place, differs};
use crate::core::time::Timestamp;
use crate::daemon::errors::chain;
use crate::daemon::ledger::Proposal;
use crate::daemon::recover::wanted;
use crate::daemon::service::Service;
use crate::shell::bus::archive::ScrubFinding;
use crate::shell::disk::object::{CheckError, ObjectError};
use crate::shell::disk::scrub_place;
use crate::shell::disk::slots::{SlotCheck, SlotError};
use crate::shell::{journal, message_id};

/// The place is kept at least this often.
const KEEP_PLACE_MICROS: u64 = 30_000_000;
/// A key slot: a block of each copy.
const SLOT_READ_BYTES: u64 = 2 * 4096;
/// Names in the store that are logged one by one.
const NAMES_LOGGED: u64 = 20;

/// What is wrong with one recording, and where.
struct Finding {
    harm: Harm,
    offset: Option<u64>,
    words: String,
}

/// A scrub under way.
struct Run<'a> {
    service: &'a Service,
    pace: Pace,
    counts: Counts,
    /// One recording is read: the entry at the end says of it what there is to say.
    alone: bool,
}

impl Service {
    /// Carries an order out, to its end or until it must stop.
    pub(super) fn scrub(&self, order: &Order, turn: Turn) {
        let going_on = self.place_to_go_on(order);
        let mut place = going_on.clone().unwrap_or_else(|| Place::start(self.clock.now().time));
        let mut run = Run {
            service: self,
            pace: Pace::new(order.bytes_per_s, MIB),
            counts: place.counts,
            alone: order.only.is_some(),
        };
        self.scrubs.show(|shown| {
            shown.counts = run.counts;
            shown.bytes_per_s = order.bytes_per_s;
        });
        let end = match run.everything(order, &mut place) {
            Ok(end) => end,
            Err(refusal) => {
                log::warn!("the scrub ends: {refusal}");
                End::LedgerUnavailable
            }
        };
        place.counts = run.counts;
        if end != End::Complete && order.only.is_none() {
            keep(self, &place);
        }
        let since = going_on.map(|place| place.since);
        let recorded = self.record_scrubbed(order, end, &run.counts, since);
        match recorded {
            Ok(entry) if end == End::Complete && order.only.is_none() => {
                log::info!(entry; "the store was read: {} recordings, {} damaged", run.counts.recordings, run.counts.damaged);
                if let Err(error) = scrub_place::forget(&self.config.state_dir) {
                    log::warn!(
                        "the place of the scrub stays, the next one reads its end again: {}",
                        chain(&error)
                    );
                }
            }
            Ok(_) => {}
            Err(refusal) => log::warn!("the end of the scrub could not be recorded: {refusal}"),
        }
        self.show_damage();
        drop(turn);
    }

    fn record_scrubbed(
        &self,
        order: &Order,
        end: End,
        counts: &Counts,
        since: Option<Timestamp>,
    ) -> Result<u64, Refusal> {
        let outcome = if end == End::Complete { Outcome::Done } else { Outcome::Failed };
        let (event, only) = (event(end.as_str(), counts, since), order.only);
        let detail = order.by.detail(&order.rule);
        let recorded = self.ledger.record_blocking(move |desk| {
            let source = only.and_then(|id| Some(desk.state.recording(&id)?.source.clone()));
            let subject = Subject { recording: only, source, ..Subject::default() };
            Ok(Proposal::new(Draft::fact(event).outcome(outcome).about(subject).with_detail(detail), ()))
        });
        recorded.map(|recorded| recorded.entry())
    }
}

impl Run<'_> {
    fn everything(&mut self, order: &Order, place: &mut Place) -> Result<End, Refusal> {
        let service = self.service;
        let only = order.only;
        let (mut ids, bytes): (Vec<RecordingId>, u64) = service.ledger.look_blocking(move |desk| {
            let chosen = || desk.state.recordings().filter(|(id, _)| only.is_none_or(|only| only == **id));
            (chosen().map(|(id, _)| *id).collect(), chosen().map(|(_, recording)| recording.bytes).sum())
        })?;
        ids.sort_unstable();
        service.scrubs.show(|shown| {
            shown.recordings_total = ids.len() as u64;
            shown.bytes_total = bytes;
        });
        let mut kept_at = 0;
        let after = place.after;
        for id in ids.into_iter().filter(|id| after.is_none_or(|after| *id > after)) {
            if let Some(end) = service.scrubs.must_end() {
                return Ok(end);
            }
            // Said before the entry is looked at: a purge decided since then waits, one decided before is seen.
            service.scrubs.reading(Some(id));
            let before = self.counts;
            let done = self.recording(id);
            service.scrubs.reading(None);
            done?;
            if let Some(end) = service.scrubs.must_end() {
                // Read in part: it does not count, and is read again.
                let found =
                    self.counts.damaged > before.damaged || self.counts.recordings > before.recordings;
                if !found {
                    // A copy that was repaired is so for good.
                    self.counts = Counts { repaired: self.counts.repaired, ..before };
                    return Ok(end);
                }
            }
            place.after = Some(id);
            place.counts = self.counts;
            let now = service.clock.boottime_micros();
            if only.is_none() && now.saturating_sub(kept_at) >= KEEP_PLACE_MICROS {
                keep(service, place);
                kept_at = now;
            }
        }
        if only.is_none() {
            if let Some(end) = self.other_keys()? {
                return Ok(end);
            }
            self.strays()?;
        }
        Ok(service.scrubs.must_end().unwrap_or(End::Complete))
    }

    /// Key, object, entry of one recording.
    fn recording(&mut self, id: RecordingId) -> Result<(), Refusal> {
        let service = self.service;
        let look = service.ledger.look_blocking(move |desk| {
            let recording = desk.state.recording(&id).filter(|recording| !recording.purging).cloned();
            Some((recording?, desk.state.damaged().contains_key(&id)))
        });
        let Some((entry, marked)) = look? else { return Ok(()) };
        self.key(SlotKind::Data, id.as_bytes())?;
        let found = match service.slots.open_secret(SlotKind::Data, id.as_bytes()) {
            Ok(secret) => {
                let (pace, counts) = (&mut self.pace, &mut self.counts);
                let mut next = |bytes| {
                    counts.bytes = counts.bytes.saturating_add(bytes);
                    service.scrubs.count(counts);
                    let wait = pace.take(bytes, service.clock.boottime_micros());
                    service.scrubs.wait(Duration::from_micros(wait))
                };
                match service.store.check(id, &secret, &mut next) {
                    Ok(whole) => {
                        let facts =
                            ObjectFacts { trailer: &whole.trailer, sha256: whole.sha256, bytes: whole.bytes };
                        differs(&entry, &facts).map(|what| Finding {
                            harm: Harm::ObjectDiffers,
                            offset: None,
                            words: format!("{}: {what}", service.store.path(id).display()),
                        })
                    }
                    Err(CheckError::Stopped) => return Ok(()),
                    Err(error) => match harm_of(&error) {
                        Some((harm, offset)) => Some(Finding { harm, offset, words: chain(&error) }),
                        None => return self.unread(id, &chain(&error)),
                    },
                }
            }
            Err(error @ (SlotError::NotFound | SlotError::Damaged { .. })) => {
                Some(Finding { harm: Harm::KeyMissing, offset: None, words: chain(&error) })
            }
            Err(error) => return self.unread(id, &chain(&error)),
        };
        match found {
            Some(finding) => {
                if self.record_harm(id, finding)? {
                    self.counts.damaged += 1;
                    self.counts.recordings += 1;
                }
            }
            None => {
                self.counts.recordings += 1;
                if marked && !self.alone {
                    self.record_sound(id)?;
                }
            }
        }
        service.scrubs.count(&self.counts);
        Ok(())
    }

    fn unread(&mut self, id: RecordingId, why: &str) -> Result<(), Refusal> {
        log::error!("recording {id} could not be looked at, look at it again: {why}");
        self.counts.unread += 1;
        Ok(())
    }

    /// Reads both copies of a slot, and repairs one from the other where the ledger wants the key kept.
    fn key(&mut self, kind: SlotKind, id: &SlotId) -> Result<(), Refusal> {
        let service = self.service;
        let wait = self.pace.take(SLOT_READ_BYTES, service.clock.boottime_micros());
        if !service.scrubs.wait(Duration::from_micros(wait)) {
            return Ok(());
        }
        let half = match service.slots.check(kind, id) {
            Ok(SlotCheck::Gone) => return Ok(()),
            // A data key is judged with its recording; another that is lost is said here.
            Ok(SlotCheck::Lost) if kind != SlotKind::Data => {
                log::error!(
                    "a key that is not a recording's ({kind:?}) opens in neither copy: restore keys/ from a backup"
                );
                self.counts.unread += 1;
                return Ok(());
            }
            Ok(SlotCheck::Half(half)) => half,
            Ok(SlotCheck::Sound | SlotCheck::Lost) => {
                self.counts.keys += 1;
                return Ok(());
            }
            Err(error) => {
                log::error!("a key slot could not be looked at: {}", chain(&error));
                self.counts.unread += 1;
                return Ok(());
            }
        };
        self.counts.keys += 1;
        let (slot, recording) = (half.clone(), RecordingId::from_bytes(*id));
        let keep = service.ledger.look_blocking(move |desk| {
            let source = desk.state.recording(&recording).map(|recording| recording.source.clone());
            (wanted(desk.state, slot.kind, &slot.id), source)
        });
        let (true, source) = keep? else { return Ok(()) };
        match service.slots.repair(&half) {
            Ok(()) => {}
            // Destroyed meanwhile.
            Err(SlotError::NotFound) => return Ok(()),
            Err(error) => {
                log::error!("a damaged copy of a key slot could not be repaired: {}", chain(&error));
                self.counts.unread += 1;
                return Ok(());
            }
        }
        self.counts.repaired += 1;
        let subject = match kind {
            SlotKind::Data => Subject { recording: Some(recording), source, ..Subject::default() },
            _ => Subject::default(),
        };
        let words = format!(
            "{} at offset {} did not open; written again from its other copy",
            half.path.display(),
            half.offset
        );
        self.say(subject.recording, Harm::KeyCopy, Some(half.offset), &words);
        let damaged =
            StoreDamaged { what: Harm::KeyCopy.as_str().into(), offset: Some(half.offset), count: None };
        let draft = Draft::fact(Event::StoreDamaged(damaged)).about(subject);
        service.ledger.record_blocking(move |_| Ok(Proposal::new(draft, ()))).map(|_| ())
    }

    /// The keys that are no recording's.
    fn other_keys(&mut self) -> Result<Option<End>, Refusal> {
        for kind in [SlotKind::Log, SlotKind::Epoch, SlotKind::Subject, SlotKind::Detail] {
            for id in self.service.slots.list(kind) {
                if let Some(end) = self.service.scrubs.must_end() {
                    return Ok(Some(end));
                }
                self.key(kind, &id)?;
                self.service.scrubs.count(&self.counts);
            }
        }
        Ok(None)
    }

    /// Names in `objects/` that no entry explains. One entry for all of a sort: a folder full of them must not fill the ledger.
    fn strays(&mut self) -> Result<(), Refusal> {
        let service = self.service;
        let (mut unknown, mut foreign) = (0, 0);
        for found in service.store.list() {
            if service.scrubs.must_end().is_some() {
                return Ok(());
            }
            match found {
                Ok(id) => {
                    let Some(words) = self.stray(id)? else { continue };
                    unknown += 1;
                    self.say_name(Harm::ObjectUnknown, unknown, &words);
                }
                Err(error @ ObjectError::Foreign(_)) => {
                    foreign += 1;
                    self.say_name(Harm::ObjectForeign, foreign, &chain(&error));
                }
                Err(error) => {
                    log::error!("the store could not be listed: {}", chain(&error));
                    self.counts.unread += 1;
                }
            }
        }
        for (harm, count) in [(Harm::ObjectUnknown, unknown), (Harm::ObjectForeign, foreign)] {
            if count > 0 {
                self.counts.damaged = self.counts.damaged.saturating_add(count);
                let damaged = StoreDamaged { what: harm.as_str().into(), offset: None, count: Some(count) };
                let draft = Draft::fact(Event::StoreDamaged(damaged));
                let _recorded = service.ledger.record_blocking(move |_| Ok(Proposal::new(draft, ())))?;
            }
        }
        service.scrubs.count(&self.counts);
        Ok(())
    }

    /// What there is to say of an object of this id, if no entry names it. One that got its name just now is left alone.
    fn stray(&self, id: RecordingId) -> Result<Option<String>, Refusal> {
        let service = self.service;
        let known = move || service.ledger.look_blocking(move |desk| desk.state.recording(&id).is_some());
        if known()? {
            return Ok(None);
        }
        let Ok(Some(named)) = service.store.named_at_micros(id) else { return Ok(None) };
        let age = service.clock.now().time.as_micros().saturating_sub(named);
        let old = i64::try_from(service.scrubs.stray_after().as_micros()).unwrap_or(i64::MAX);
        // Asked again after its age is known: an entry made meanwhile counts.
        if age < old || known()? {
            return Ok(None);
        }
        let path = service.store.path(id);
        Ok(Some(format!("{} has no entry; the next start of the service removes it", path.display())))
    }

    fn say_name(&self, harm: Harm, nth: u64, words: &str) {
        if nth <= NAMES_LOGGED {
            self.say(None, harm, None, words);
        }
    }

    fn say(&self, recording: Option<RecordingId>, harm: Harm, offset: Option<u64>, words: &str) {
        let id = recording.map(|id| id.to_string()).unwrap_or_default();
        let fields = [("recording", id.as_str()), ("what", harm.as_str())];
        let fields = if recording.is_some() { &fields[..] } else { fields.get(1..).unwrap_or_default() };
        let level = if harm.spoils() { log::Level::Error } else { log::Level::Warn };
        journal::record(level, message_id::STORE_DAMAGED, &format!("scrub: {words}"), fields);
        self.service.scrubs.found(ScrubFinding { recording, what: harm.as_str().into(), offset });
    }

    /// Records what was found, unless the recording is purged or being purged by now. `true` when it is a finding.
    fn record_harm(&mut self, id: RecordingId, finding: Finding) -> Result<bool, Refusal> {
        let Finding { harm, offset, words } = finding;
        let recorded = self.service.ledger.record_blocking(move |desk| {
            let refuse = |kind| Err(Refusal::new(kind, ""));
            let Some(recording) = desk.state.recording(&id).filter(|recording| !recording.purging) else {
                return refuse(RefusalKind::NotFound);
            };
            if desk.state.damaged().get(&id).is_some_and(|known| known.harm == harm) {
                return refuse(RefusalKind::Conflict);
            }
            let damaged = StoreDamaged { what: harm.as_str().into(), offset, count: None };
            let subject = Subject::recording(id, recording.source.clone());
            Ok(Proposal::new(Draft::fact(Event::StoreDamaged(damaged)).about(subject), ()))
        });
        match recorded {
            Ok(_) => self.service.show_damage(),
            Err(refusal) if refusal.kind == RefusalKind::NotFound => return Ok(false),
            // Known already: no second entry, but a finding of this scrub.
            Err(refusal) if refusal.kind == RefusalKind::Conflict => {}
            Err(refusal) => return Err(refusal),
        }
        self.say(Some(id), harm, offset, &words);
        Ok(true)
    }

    /// A recording that was marked as damaged reads whole and sound: it may be opened again.
    fn record_sound(&self, id: RecordingId) -> Result<(), Refusal> {
        let recorded = self.service.ledger.record_blocking(move |desk| {
            let Some(recording) = desk.state.recording(&id) else {
                return Err(Refusal::new(RefusalKind::NotFound, ""));
            };
            let counts = Counts { recordings: 1, bytes: recording.bytes, keys: 1, ..Counts::default() };
            let subject = Subject::recording(id, recording.source.clone());
            Ok(Proposal::new(Draft::fact(event("complete", &counts, None)).about(subject), ()))
        });
        match recorded {
            Err(refusal) if refusal.kind != RefusalKind::NotFound => Err(refusal),
            _ => {
                log::info!("recording {id} was damaged and is sound again");
                self.service.show_damage();
                Ok(())
            }
        }
    }
}

/// What a failed reading says of the object; `None` when it says nothing of it.
fn harm_of(error: &CheckError) -> Option<(Harm, Option<u64>)> {
    match error {
        CheckError::Unreadable { offset, .. } => Some((Harm::ObjectUnreadable, Some(*offset))),
        CheckError::Object(ObjectError::Missing(_)) => Some((Harm::ObjectMissing, None)),
        CheckError::Object(ObjectError::Damaged { offset, .. }) => Some((Harm::ObjectDamaged, Some(*offset))),
        CheckError::Object(_) | CheckError::Stopped => None,
    }
}

/// Without a place the next scrub reads more: no reason to end this one.
fn keep(service: &Service, place: &Place) {
    if let Err(error) = scrub_place::save(&service.config.state_dir, place) {
        log::warn!("the place of the scrub could not be kept: {}", chain(&error));
    }
}
