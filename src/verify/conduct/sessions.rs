//! Sessions: granted on what may be opened, reading what is there, ended when they must.
//!
//! A session past its end is given a few minutes of the ledger's own time, counted by the clock since boot from the first
//! entry that shows it: a machine that slept, or a ledger that could not be written, is no misconduct.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Findings, Seen};
use crate::core::event::{Event, Outcome, Usage};
use crate::core::ids::SessionId;
use crate::core::state::OpenSession;
use crate::core::time::{BootId, Timestamp};
use crate::verify::findings::Code;
use crate::verify::statistics::Statistics;

/// How long a running service may take to end a session that is over.
const GRACE_MICROS: u64 = 5 * 60 * 1_000_000;

/// What is known of running sessions beyond the fold. Whatever has ended there is forgotten here.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// How often the service started.
    run: u64,
    running: HashMap<SessionId, Running>,
    by_until: BTreeSet<(Timestamp, SessionId)>,
    /// Sessions that should have ended, since when: boot and time since boot.
    due: BTreeMap<SessionId, (BootId, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    run: u64,
    until: Timestamp,
    size_bytes: u64,
    bytes_read: u64,
    /// Said once.
    told: bool,
}

impl Sessions {
    /// What any entry shows about the sessions that run.
    pub(super) fn watch(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        match &seen.record.event {
            Event::LedgerStarted(_) if seen.took_effect() => {
                self.run += 1;
                for id in seen.state.sessions().keys() {
                    if self.due.contains_key(id) {
                        self.tell(id, "was left over at a start and at the next one", found);
                    }
                    self.due.insert(*id, (seen.record.boot, seen.record.up_micros));
                }
            }
            Event::MandateWithdrawn(it) if seen.took_effect() => {
                let under = |(_, session): &(&SessionId, &OpenSession)| {
                    session.mandate.is_some() && session.mandate == it.mandate
                };
                for (id, _) in seen.state.sessions().iter().filter(under) {
                    self.due.entry(*id).or_insert((seen.record.boot, seen.record.up_micros));
                }
            }
            Event::LedgerStopped(_) if seen.took_effect() => {
                for id in seen.state.sessions().keys() {
                    self.tell(id, "was open when the service stopped", found);
                }
            }
            _ => {}
        }
        while let Some((until, id)) = self.by_until.first().copied().filter(|(until, _)| *until < seen.time())
        {
            self.by_until.remove(&(until, id));
            if seen.state.sessions().contains_key(&id) {
                self.due.entry(id).or_insert((seen.record.boot, seen.record.up_micros));
            }
        }
        let (boot, up_micros) = (seen.record.boot, seen.record.up_micros);
        let over = |(since_boot, since): &(BootId, u64)| {
            *since_boot == boot && up_micros.saturating_sub(*since) > GRACE_MICROS
        };
        let over: Vec<SessionId> =
            self.due.iter().filter(|(_, since)| over(since)).map(|(id, _)| *id).collect();
        for id in over {
            self.due.remove(&id);
            self.tell(&id, "is still open although it was over minutes before", found);
        }
    }

    /// What an entry about a session shows.
    pub(super) fn judge(&mut self, seen: &Seen<'_>, statistics: &mut Statistics, found: &mut Findings) {
        let record = seen.record;
        match &record.event {
            Event::AccessOpened(opened) if record.outcome == Outcome::Granted => {
                self.judge_opening(seen, opened.until, found);
            }
            Event::AccessProgress(usage) => drop(self.judge_usage(seen, usage, found)),
            Event::AccessClosed(usage) | Event::AccessRevoked(usage) | Event::AccessExpired(usage) => {
                if self.judge_usage(seen, usage, found).is_some() {
                    statistics.sessions_ended += 1;
                    statistics.bytes_read = statistics.bytes_read.saturating_add(usage.bytes);
                }
                self.forget(seen);
            }
            Event::AccessInterrupted(_) => {
                if let Some((_, session)) = open_session(seen) {
                    judge_recording(seen, session, found);
                    statistics.sessions_ended += 1;
                    statistics.sessions_interrupted += 1;
                }
                self.forget(seen);
            }
            _ => {}
        }
    }

    fn judge_opening(&mut self, seen: &Seen<'_>, until: Option<Timestamp>, found: &mut Findings) {
        let subject = &seen.record.subject;
        let (Some(session), Some(id)) = (subject.session, subject.recording) else { return };
        let (Some(recording), Some(until)) = (seen.state.recording(&id), until) else { return };
        if recording.purging {
            found.push((Code::AccessDuringPurge, format!("the purge of recording {id} was already decided")));
        }
        if seen.state.holds().restricts(&id) {
            found.push((Code::AccessUnderRestriction, format!("a hold restricts the use of recording {id}")));
        }
        if until <= seen.time() {
            found.push((Code::DataImplausible, format!("session {session} ends before it begins")));
        }
        if seen.state.sessions().contains_key(&session) {
            return;
        }
        let running =
            Running { run: self.run, until, size_bytes: recording.bytes, bytes_read: 0, told: false };
        self.running.insert(session, running);
        self.by_until.insert((until, session));
    }

    /// `None` when no such session runs: the fold says so.
    fn judge_usage(&mut self, seen: &Seen<'_>, usage: &Usage, found: &mut Findings) -> Option<()> {
        let (id, session) = open_session(seen)?;
        judge_recording(seen, session, found);
        let running = self.running.get_mut(&id)?;
        let mut from = 0;
        let ordered = usage.ranges.iter().all(|(first, end)| {
            let ordered = *first >= from && first < end;
            from = *end;
            ordered
        });
        if !ordered {
            found.push((
                Code::DataImplausible,
                format!("the ranges read by session {id} are empty or out of order"),
            ));
        }
        let end = usage.ranges.iter().map(|(_, end)| *end).max().unwrap_or(0);
        if end > running.size_bytes {
            let size = running.size_bytes;
            found.push((
                Code::ReadPastEnd,
                format!("session {id} read up to byte {end} of a recording of {size}"),
            ));
        }
        if usage.bytes < running.bytes_read {
            found.push((
                Code::DataImplausible,
                format!("session {id} has read less than its entry before says"),
            ));
        }
        running.bytes_read = usage.bytes;
        if running.run != self.run {
            self.tell(&id, "goes on although the service had started anew since", found);
        }
        Some(())
    }

    fn tell(&mut self, id: &SessionId, what: &str, found: &mut Findings) {
        let Some(running) = self.running.get_mut(id).filter(|running| !running.told) else { return };
        running.told = true;
        found.push((Code::SessionNotEnded, format!("session {id} {what}")));
    }

    fn forget(&mut self, seen: &Seen<'_>) {
        let Some(id) = seen.record.subject.session else { return };
        self.due.remove(&id);
        if let Some(running) = self.running.remove(&id) {
            self.by_until.remove(&(running.until, id));
        }
    }
}

fn open_session<'a>(seen: &Seen<'a>) -> Option<(SessionId, &'a OpenSession)> {
    let id = seen.record.subject.session?;
    Some((id, seen.state.sessions().get(&id)?))
}

fn judge_recording(seen: &Seen<'_>, session: &OpenSession, found: &mut Findings) {
    if let Some(id) = seen.record.subject.recording.filter(|id| *id != session.recording) {
        let sentence = format!("the session was opened on recording {}, not on {id}", session.recording);
        found.push((Code::SubjectDiffers, sentence));
    }
}
