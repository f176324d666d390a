//! What each event does to the state. Checks first, changes after: a refused event leaves no trace.

use super::violation::{Contradiction, Violation};
use super::{Damage, OpenSession, Recording, State};
use crate::core::event::{
    DetailsDestroyed, Event, HoldPlaced, Opened, Outcome, PurgePlanned, Record, Sealed, StoreDamaged,
    Subject, Usage,
};
use crate::core::ids::{RecordingId, SessionId, SourceId};
use crate::core::register::holds::Hold;
use crate::core::register::uses::Use;
use crate::core::retention::LastSeen;
use crate::core::scrub::Harm;
use crate::core::time::Timestamp;

pub(super) type Step = Result<(), Contradiction>;

impl State {
    /// Folds one entry. On error nothing has changed.
    pub fn apply(&mut self, record: &Record) -> Result<(), Violation> {
        let place =
            if record.seq == self.size { Ok(()) } else { Err(Contradiction::OutOfPlace(OUT_OF_ORDER)) };
        place.and_then(|()| self.step(record)).map_err(|it| it.at(record.seq, record.event.name()))?;
        self.size = record.seq + 1;
        self.last = Some(LastSeen { time: record.time, up_micros: record.up_micros, boot: record.boot });
        Ok(())
    }

    fn step(&mut self, record: &Record) -> Step {
        let took_effect = matches!(record.outcome, Outcome::Done | Outcome::Granted);
        let subject = &record.subject;
        match &record.event {
            Event::LedgerCreated(_) if record.seq != 0 => {
                Err(Contradiction::OutOfPlace("the ledger is created twice"))
            }
            Event::LedgerCreated(_) => Ok(()),
            _ if record.seq == 0 => Err(Contradiction::OutOfPlace("the first entry is not ledger.created")),
            // A session that could not begin after its grant ends with outcome failed: it ends all the same.
            Event::AccessClosed(usage) => self.end_session(record.time, subject, Some(usage)),
            _ if !took_effect => Ok(()),
            Event::LedgerStarted(_) => self.set(|state| state.running = true),
            Event::LedgerStopped(_) => self.set(|state| state.running = false),
            Event::LedgerClockSuspect(_) => self.set(|state| state.clock_suspect = true),
            Event::LedgerClockConfirmed(_) => self.set(|state| state.clock_suspect = false),
            Event::LedgerRestored(restored) if restored.size > record.seq => {
                Err(Contradiction::OutOfPlace("it names more entries than there are"))
            }
            Event::LedgerRestored(restored) => self.set(|state| state.restored = Some(restored.clone())),
            Event::LedgerDetailsDestroyed(destroyed) => self.destroy_details(record, destroyed),
            Event::PolicyLoaded(_) => {
                self.set(|state| state.policy = record.policy.map(|digest| (digest, record.seq, record.time)))
            }
            Event::SourceRegistered(facts) | Event::SourceChanged(facts) => {
                let source = needed(&subject.source, "source")?.clone();
                self.set(|state| {
                    state.sources.insert(source, Some(facts.clone()));
                })
            }
            Event::SourceRetired(_) => {
                let source = needed(&subject.source, "source")?.clone();
                self.set(|state| {
                    state.sources.insert(source, None);
                })
            }
            Event::RecordingSealed(sealed) => self.seal(record, subject, sealed),
            Event::AccessOpened(opened) => self.open(record, subject, opened),
            Event::AccessProgress(usage) => {
                let id = self.session(subject)?;
                self.set(|state| state.note_bytes(&id, Some(usage)))
            }
            Event::AccessRevoked(usage) | Event::AccessExpired(usage) => {
                self.end_session(record.time, subject, Some(usage))
            }
            Event::AccessInterrupted(_) => self.end_session(record.time, subject, None),
            Event::AccessEmergency(_) => self.session(subject).map(|_| ()),
            Event::ReviewRaised(raised) => {
                self.set(|state| state.reviews.raise(record.seq, record.time, raised, subject))
            }
            Event::ReviewDone(done) if self.reviews.end(done.entry) => Ok(()),
            Event::ReviewDone(_) => Err(Contradiction::OutOfPlace("it ends a review that is not open")),
            Event::HoldPlaced(placed) => self.place_hold(record.seq, subject, placed),
            Event::HoldLifted(lifted) => match self.holds.lift(&lifted.hold) {
                Some(_) => Ok(()),
                None => Err(Contradiction::HoldUnknown(lifted.hold)),
            },
            Event::PurgePlanned(planned) => self.plan_purge(subject, planned),
            Event::PurgeFailed(_) => self.unplan_purge(subject),
            Event::PurgeDone(_) => self.finish_purge(record.time, subject),
            Event::KeyRotationOrdered(rotation) => self.set(|state| state.rotation = Some(rotation.clone())),
            // The end of an earlier order leaves a later one open.
            Event::KeyRotated(done) => self.set(|state| {
                state.rotation.take_if(|ordered| ordered.to <= done.to);
            }),
            Event::KeyRotationFailed(_) => self.set(|state| state.rotation = None),
            // What these say is for readers; no later decision rests on it.
            Event::LedgerRekeyed(_)
            | Event::LedgerHeartbeat(_)
            | Event::LedgerRecovered(_)
            | Event::LedgerRead(_)
            | Event::LedgerProved(_)
            | Event::PolicyRefused(_)
            | Event::RecordingRejected(_)
            | Event::AccessSearched(_)
            | Event::AccessRefusedMany(_)
            | Event::RegisterRead(_)
            | Event::GuardForeignAccess(_)
            | Event::KeyBackedUp(_)
            | Event::KeyBackupChecked(_)
            | Event::KeyRestored(_) => Ok(()),
            Event::StoreDamaged(damaged) => {
                self.set(|state| state.mark_damaged(record.seq, subject, damaged))
            }
            // Read whole and sound: what was put back from a backup can be used again.
            Event::StoreScrubbed(scrubbed) if scrubbed.found_sound() => self.set(|state| {
                if let Some(id) = subject.recording {
                    state.damaged.remove(&id);
                }
            }),
            Event::StoreScrubbed(_) => Ok(()),
            Event::GrantProposed(_)
            | Event::GrantGiven(_)
            | Event::GrantEnded(_)
            | Event::GrantSuspended(_)
            | Event::GrantReviewed(_)
            | Event::MandateGiven(_)
            | Event::MandateChanged(_)
            | Event::MandateWithdrawn(_)
            | Event::ApprovalAsked(_)
            | Event::ApprovalGiven(_)
            | Event::ApprovalRefused(_)
            | Event::ApprovalUsed(_)
            | Event::CharterAcknowledged(_)
            | Event::CharterLapsed(_) => self.step_register(record),
        }
    }

    fn set(&mut self, change: impl FnOnce(&mut Self)) -> Step {
        change(self);
        Ok(())
    }

    fn seal(&mut self, record: &Record, subject: &Subject, sealed: &Sealed) -> Step {
        let id = *needed(&subject.recording, "recording")?;
        let source = needed(&subject.source, "source")?;
        if self.recordings.contains_key(&id) {
            return Err(Contradiction::SealedTwice(id));
        }
        if let Some(file) = &sealed.spool {
            self.spooled.insert((file.device, file.inode), id);
        }
        self.due.insert((sealed.latest, id));
        self.recordings.insert(
            id,
            Box::new(Recording {
                source: source.shared(&mut self.texts),
                kind: sealed.kind,
                start: sealed.start,
                end: sealed.end,
                sealed: record.time,
                entry: record.seq,
                bytes: sealed.bytes,
                sha256: sealed.sha256,
                media: self.texts.shared(&sealed.media),
                class: sealed.class.shared(&mut self.texts),
                earliest: sealed.earliest,
                latest: sealed.latest,
                spool: sealed.spool.clone().map(Box::new),
                purging: false,
            }),
        );
        Ok(())
    }

    fn open(&mut self, record: &Record, subject: &Subject, opened: &Opened) -> Step {
        let id = *needed(&subject.session, "session")?;
        let (recording, source) = self.archived(subject)?;
        let until = *needed(&opened.until, "end of the session")?;
        if self.sessions.contains_key(&id) {
            return Err(Contradiction::SessionTwice(id));
        }
        self.check_mandate(opened.mandate.as_ref(), &source, subject)?;
        let mandate = opened.mandate.clone();
        let opened = record.time;
        let from = opened.saturating_add_micros(-USES_MICROS);
        while self.uses.first_key_value().is_some_and(|(_, first)| first.opened < from) {
            self.uses.pop_first();
        }
        self.uses.insert(record.seq, Use { recording, opened, bytes: 0, until });
        let granted_by_entry = record.seq;
        self.sessions.insert(id, OpenSession { recording, source, granted_by_entry, opened, until, mandate });
        Ok(())
    }

    fn session(&self, subject: &Subject) -> Result<SessionId, Contradiction> {
        let id = *needed(&subject.session, "session")?;
        if self.sessions.contains_key(&id) { Ok(id) } else { Err(Contradiction::SessionWithoutGrant(id)) }
    }

    fn end_session(&mut self, time: Timestamp, subject: &Subject, usage: Option<&Usage>) -> Step {
        let id = self.session(subject)?;
        self.note_bytes(&id, usage);
        let entry = self.sessions.remove(&id).map(|session| session.granted_by_entry);
        if let Some(found) = entry.and_then(|entry| self.uses.get_mut(&entry)) {
            // The clock may have been put back meanwhile.
            found.until = found.until.min(time).max(found.opened);
        }
        Ok(())
    }

    /// What a running session has read. Without an account the whole recording counts as seen.
    fn note_bytes(&mut self, id: &SessionId, usage: Option<&Usage>) {
        let Some(session) = self.sessions.get(id) else { return };
        let Some(found) = self.uses.get_mut(&session.granted_by_entry) else { return };
        let whole = || self.recordings.get(&session.recording).map_or(0, |recording| recording.bytes);
        found.bytes = found.bytes.max(usage.map_or_else(whole, |usage| usage.bytes));
    }

    fn place_hold(&mut self, seq: u64, subject: &Subject, placed: &HoldPlaced) -> Step {
        let (recording, _) = self.archived(subject)?;
        if self.purging.contains(&recording) {
            return Err(Contradiction::HoldDuringPurge(recording));
        }
        if self.holds.get(&placed.hold).is_some() {
            return Err(Contradiction::HoldTwice(placed.hold));
        }
        let hold = Hold { recording, kind: placed.kind, review: placed.review, placed_by_entry: seq };
        self.holds.place(placed.hold, hold);
        Ok(())
    }

    fn plan_purge(&mut self, subject: &Subject, _: &PurgePlanned) -> Step {
        let (recording, _) = self.archived(subject)?;
        if let Some(hold) = self.holds.on(&recording) {
            return Err(Contradiction::PurgeUnderHold(recording, hold));
        }
        self.mark_purging(recording, true);
        Ok(())
    }

    fn unplan_purge(&mut self, subject: &Subject) -> Step {
        let (recording, _) = self.archived(subject)?;
        self.mark_purging(recording, false);
        Ok(())
    }

    fn finish_purge(&mut self, time: Timestamp, subject: &Subject) -> Step {
        let (id, _) = self.archived(subject)?;
        if let Some(hold) = self.holds.on(&id) {
            return Err(Contradiction::PurgeUnderHold(id, hold));
        }
        if !self.purging.remove(&id) {
            return Err(Contradiction::PurgeWithoutPlan(id));
        }
        self.damaged.remove(&id);
        if let Some(recording) = self.recordings.remove(&id) {
            self.due.remove(&(recording.latest, id));
            if let Some(file) = recording.spool {
                let key = (file.device, file.inode);
                // The inode number may have been used again by a later recording.
                if self.spooled.get(&key) == Some(&id) {
                    self.spooled.remove(&key);
                }
            }
        }
        *self.purges_by_day.entry(time.as_micros().div_euclid(MICROS_PER_DAY)).or_default() += 1;
        while self.purges_by_day.len() > Self::HISTORY_DAYS {
            self.purges_by_day.pop_first();
        }
        Ok(())
    }

    /// What a decision to come may need in clear must not go: the policy in force, standing holds, running sessions, what
    /// stands in registers.
    fn destroy_details(&mut self, record: &Record, destroyed: &DetailsDestroyed) -> Step {
        self.details.check(record.seq, destroyed).map_err(Contradiction::OutOfPlace)?;
        let gone = |entry: u64| destroyed.destroyed.iter().any(|&(first, end)| first <= entry && entry < end);
        let needed = self.policy_entry().is_some_and(gone)
            || self.sessions.values().any(|session| gone(session.granted_by_entry))
            || self.holds.iter().any(|(_, hold)| gone(hold.placed_by_entry))
            || self.registers.needed_entries(record.time).any(gone)
            || self.reviews.iter().any(|(entry, _)| gone(entry));
        if needed {
            return Err(Contradiction::OutOfPlace("it destroys a detail of something that has not ended"));
        }
        self.details.destroy(destroyed);
        Ok(())
    }

    fn mark_damaged(&mut self, seq: u64, subject: &Subject, damaged: &StoreDamaged) {
        let Some(id) = subject.recording.filter(|id| self.recordings.contains_key(id)) else { return };
        if let Some(harm) = Harm::from_word(&damaged.what).filter(|harm| harm.spoils()) {
            self.damaged.insert(id, Damage { harm, offset: damaged.offset, entry: seq });
        }
    }

    fn mark_purging(&mut self, id: RecordingId, purging: bool) {
        if let Some(recording) = self.recordings.get_mut(&id) {
            recording.purging = purging;
        }
        if purging {
            self.purging.insert(id)
        } else {
            self.purging.remove(&id)
        };
    }

    fn archived(&self, subject: &Subject) -> Result<(RecordingId, SourceId), Contradiction> {
        let id = *needed(&subject.recording, "recording")?;
        let recording = self.recordings.get(&id).ok_or(Contradiction::UnknownRecording(id))?;
        Ok((id, recording.source.clone()))
    }
}

fn needed<'a, T>(column: &'a Option<T>, name: &'static str) -> Result<&'a T, Contradiction> {
    column.as_ref().ok_or(Contradiction::Missing(name))
}

/// How long an opening is remembered: a local day has 25 hours at most, and a little more for zones that jump.
const USES_MICROS: i64 = 26 * 3600 * 1_000_000;
const MICROS_PER_DAY: i64 = 24 * 3600 * 1_000_000;
const OUT_OF_ORDER: &str = "the entry is out of order";
