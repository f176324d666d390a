//! Purges and holds: nothing destroyed too early or unproven, nothing kept too long.
//!
//! A recording is due at its latest time, or when the last hold on it was lifted if that is later. Time in which the clock
//! was suspect, when nothing may be purged, does not count. A day is allowed: a house that is dark at night is not late.

use std::collections::{HashMap, VecDeque};

use super::{Findings, Seen, duration, when};
use crate::core::event::{Event, PurgeDone};
use crate::core::ids::{HoldId, RecordingId};
use crate::core::state::{Recording, State};
use crate::core::time::Timestamp;
use crate::verify::findings::{Code, Report};
use crate::verify::statistics::Statistics;

/// How much later than due a purge may be.
const GRACE_MICROS: i64 = 86_400_000_000;
/// Suspicions of the clock that are remembered.
const MAX_PAUSES: usize = 256;

/// What is known of recordings that live, beyond the fold.
#[derive(Debug, Default)]
pub(super) struct Retention {
    lives: HashMap<RecordingId, Life>,
    /// Standing holds → the entries that placed them.
    holds: HashMap<HoldId, u64>,
    /// When the clock was suspect, between two entries that are not.
    pauses: VecDeque<(Timestamp, Timestamp)>,
    /// The last time before the clock became suspect.
    suspect_since: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// A recording in the archive.
#[derive(Debug, Clone, Copy)]
struct Life {
    sealed_by_entry: u64,
    /// When the last hold on it was lifted.
    lifted: Option<Timestamp>,
}

impl Retention {
    pub(super) fn judge(&mut self, seen: &Seen<'_>, statistics: &mut Statistics, found: &mut Findings) {
        let time = seen.time();
        if seen.took_effect() {
            self.judge_event(seen, statistics, found);
        }
        if self.suspect_since.is_none() {
            self.last = Some(time);
        }
    }

    fn judge_event(&mut self, seen: &Seen<'_>, statistics: &mut Statistics, found: &mut Findings) {
        let state = seen.state;
        let of_recording = seen.record.subject.recording.and_then(|id| Some((id, state.recording(&id)?)));
        match (&seen.record.event, of_recording) {
            (Event::LedgerClockSuspect(_), _) => {
                self.suspect_since = self.suspect_since.or(self.last).or(Some(seen.time()));
            }
            (Event::LedgerClockConfirmed(_), _) => {
                if let Some(since) = self.suspect_since.take() {
                    if self.pauses.len() == MAX_PAUSES {
                        self.pauses.pop_front();
                    }
                    self.pauses.push_back((since, seen.time()));
                }
            }
            (Event::RecordingSealed(sealed), None) => {
                if sealed.end < sealed.start {
                    found.push((Code::DataImplausible, "the recording ends before it starts".into()));
                }
                if sealed.latest < sealed.earliest {
                    let sentence = "the latest time of its purge lies before the earliest";
                    found.push((Code::DataImplausible, sentence.into()));
                }
                if let Some(id) = seen.record.subject.recording {
                    self.lives.insert(id, Life { sealed_by_entry: seen.seq, lifted: None });
                }
            }
            (Event::HoldPlaced(placed), Some(_)) => {
                self.holds.entry(placed.hold).or_insert(seen.seq);
            }
            (Event::HoldLifted(lifted), _) => {
                if let Some(hold) = state.holds().get(&lifted.hold) {
                    if let Some(named) = seen.record.subject.recording.filter(|id| *id != hold.recording) {
                        let sentence = format!(
                            "hold {} is on recording {}, not on {named}",
                            lifted.hold, hold.recording
                        );
                        found.push((Code::SubjectDiffers, sentence));
                    }
                    if let Some(life) = self.lives.get_mut(&hold.recording) {
                        life.lifted = Some(seen.time());
                    }
                    self.holds.remove(&lifted.hold);
                }
            }
            // A purge that a crash cut short after its key was gone is finished whatever the clock says.
            (Event::PurgePlanned(_), Some((id, recording)))
                if state.clock_suspect() && !recording.purging =>
            {
                found.push((Code::PurgeWhileSuspect, format!("the purge of recording {id} was decided")));
            }
            (Event::PurgeFailed(_), Some((id, recording))) if !recording.purging => {
                let sentence = format!("purge.failed: no entry decides the purge of recording {id}");
                found.push((Code::PurgeWithoutPlan, sentence));
            }
            (Event::PurgeDone(done), Some((id, recording))) => {
                self.judge_purge(seen, (id, recording), done, statistics, found);
                self.lives.remove(&id);
            }
            (Event::StoreDamaged(damaged), _) => {
                let id = seen.record.subject.recording.map_or_else(|| "unknown".into(), |id| id.to_string());
                let what: String = damaged.what.chars().take(64).collect();
                found.push((Code::StoreDamage, format!("recording {id}: {what}")));
            }
            _ => {}
        }
    }

    fn judge_purge(
        &self,
        seen: &Seen<'_>,
        (id, recording): (RecordingId, &Recording),
        done: &PurgeDone,
        statistics: &mut Statistics,
        found: &mut Findings,
    ) {
        let time = seen.time();
        if time < recording.earliest {
            let sentence =
                format!("recording {id} was purged before {}, its earliest time", when(recording.earliest));
            found.push((Code::PurgeEarly, sentence));
        }
        let differs = [
            ("size", done.bytes != recording.bytes),
            ("SHA-256", done.sha256 != recording.sha256),
            ("time of sealing", done.sealed != recording.sealed),
            ("due time", done.due != recording.latest.max(recording.earliest)),
            ("key", done.key != "destroyed"),
            ("object", done.object != "removed"),
        ];
        let differs: Vec<&str> =
            differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        if !differs.is_empty() {
            let sentence = format!("the certificate of recording {id} has another {}", differs.join(", "));
            found.push((Code::CertificateDiffers, sentence));
        }
        if let Some((session, _)) = seen.state.sessions().iter().find(|(_, session)| session.recording == id)
        {
            found.push((
                Code::PurgeDuringSession,
                format!("session {session} on recording {id} had not ended"),
            ));
        }
        let late_micros = self.late_micros(id, recording, time);
        statistics.latest_purge_micros = statistics.latest_purge_micros.max(late_micros);
        if late_micros > GRACE_MICROS {
            statistics.purges_late += 1;
            let sentence = format!("recording {id} was purged {} after it was due", duration(late_micros));
            found.push((Code::PurgedLate, sentence));
        } else {
            statistics.purges_on_time += 1;
        }
    }

    /// After the last entry, at the time of the visit.
    pub(super) fn finish(
        &self,
        state: &State,
        at: Timestamp,
        statistics: &mut Statistics,
        report: &mut Report,
    ) {
        let mut paused = 0;
        for (_, id) in state.due().take_while(|(latest, _)| *latest < at) {
            let Some(recording) = state.recording(id) else { continue };
            if state.holds().on(id).is_some() {
                statistics.kept_by_holds += 1;
                continue;
            }
            let late_micros = self.late_micros(*id, recording, at);
            if late_micros > GRACE_MICROS {
                statistics.overdue += 1;
                let sentence = format!(
                    "recording {id} was due {} before {} and is not purged",
                    duration(late_micros),
                    when(at)
                );
                report.add(Code::PurgeLate, self.lives.get(id).map(|life| life.sealed_by_entry), sentence);
            } else if state.clock_suspect() {
                paused += 1;
            }
        }
        if paused > 0 {
            let sentence = format!(
                "{paused} recordings are past their latest time; nothing is purged while the clock is suspect"
            );
            report.add(Code::PurgesPaused, None, sentence);
        }
        for (id, hold) in state.holds().iter() {
            if let Some(review) = hold.review.filter(|review| *review < at) {
                let sentence = format!(
                    "hold {id} on recording {} was to be reviewed by {}",
                    hold.recording,
                    when(review)
                );
                report.add(Code::HoldReviewDue, self.holds.get(id).copied(), sentence);
            }
        }
    }

    /// How long after it was due, without the time in which nothing could be purged.
    fn late_micros(&self, id: RecordingId, recording: &Recording, at: Timestamp) -> i64 {
        let mut due = recording.latest.max(recording.earliest);
        if let Some(lifted) = self.lives.get(&id).and_then(|life| life.lifted) {
            due = due.max(lifted);
        }
        let running = self.suspect_since.map(|since| (since, at));
        let pauses = self.pauses.iter().copied().chain(running);
        let paused = pauses.map(|(from, to)| to.min(at).micros_since(from.max(due)).max(0));
        at.micros_since(due).saturating_sub(paused.fold(0, i64::saturating_add))
    }
}
