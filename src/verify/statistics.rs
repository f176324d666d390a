//! What the ledger tells in numbers: the period, who was let in and who not, what was destroyed and when, where the service
//! was away.
//!
//! One fold over the entries, fed by `conduct`. Its memory is bounded whatever the ledger says: days, purposes and lists have
//! an upper number, and what lies beyond is counted, never dropped in silence. Must never judge.

use std::collections::BTreeMap;

use crate::core::event::{Event, Outcome, Record};
use crate::core::ids::{Digest, PurposeId, SourceId};
use crate::core::time::Timestamp;

/// Days told apart: more than 27 years.
const MAX_DAYS: usize = 10_000;
/// Purposes and sources told apart.
const MAX_NAMES: usize = 64;
/// Gaps and changes of the policy kept one by one.
const MAX_LISTED: usize = 500;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// How often an event happened, by its outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// It was done.
    pub done: u64,
    /// It was granted.
    pub granted: u64,
    /// It was denied.
    pub denied: u64,
    /// It was tried and failed.
    pub failed: u64,
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Granted => &mut self.granted,
            Outcome::Denied => &mut self.denied,
            Outcome::Failed => &mut self.failed,
        } += 1;
    }
    /// All of them.
    pub const fn all(&self) -> u64 {
        self.done + self.granted + self.denied + self.failed
    }
}

/// One day, UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
    /// Sessions granted, by purpose: places in [`Statistics::purposes`].
    pub opened: BTreeMap<usize, u64>,
    /// Refusals, those that were only counted included.
    pub refused: u64,
    /// Recordings sealed.
    pub sealed: u64,
    /// Recordings purged.
    pub purged: u64,
}

/// Why nothing was written for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapKind {
    /// The service had stopped in order.
    Stopped,
    /// The service ended without a stop.
    Crashed,
    /// The service ran and could not write; it served nothing.
    Unwritable,
    /// The service ran, as far as the ledger tells, and wrote nothing for longer than it had announced.
    Silent,
}

impl GapKind {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Unwritable => "unwritable",
            Self::Silent => "silent",
        }
    }
}

/// A time in which the service was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub kind: GapKind,
    /// The last entry before.
    pub from: Timestamp,
    /// The first entry after.
    pub to: Timestamp,
    /// The entry that shows it; `None` at the end of the ledger.
    pub entry: Option<u64>,
}

/// What became of the policy or of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAct {
    /// This policy came into force.
    Loaded(Option<Digest>),
    /// A policy, or an order to load one, was refused.
    Refused,
    /// A source appeared.
    Registered(Option<SourceId>),
    /// A source is described otherwise.
    Changed(Option<SourceId>),
    /// A source left.
    Retired(Option<SourceId>),
}

/// One change of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Which entry.
    pub entry: u64,
    /// When.
    pub time: Timestamp,
    /// What.
    pub act: PolicyAct,
}

/// Recordings and sessions of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfSource {
    /// Recordings sealed.
    pub sealed: u64,
    /// Sessions granted.
    pub opened: u64,
    /// Refusals that name it.
    pub refused: u64,
    /// Recordings purged.
    pub purged: u64,
}

/// Everything counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Time of the first entry.
    pub first: Option<Timestamp>,
    /// Time of the last entry.
    pub last: Option<Timestamp>,
    /// Each event.
    pub events: BTreeMap<&'static str, Tally>,
    /// Entries whose event could not be read.
    pub unknown_events: u64,
    /// Purposes in the order met; the last place is shared by all beyond the bound.
    pub purposes: Vec<Option<PurposeId>>,
    /// Days with anything, counted from 1970-01-01.
    pub days: BTreeMap<i64, Day>,
    /// Acts on days beyond the bound.
    pub beyond_days: u64,
    /// Sources with anything.
    pub sources: BTreeMap<SourceId, OfSource>,
    /// Sessions that ended, whatever the way.
    pub sessions_ended: u64,
    /// Sessions cut by a crash: their whole recording counts as seen.
    pub sessions_interrupted: u64,
    /// Sessions open at the last entry.
    pub sessions_open: u64,
    /// Bytes handed out by the sessions that ended, repeated reads included.
    pub bytes_read: u64,
    /// Refusals that were counted instead of written one by one.
    pub refusals_counted: u64,
    /// Purges done within a day of the latest time, or before it.
    pub purges_on_time: u64,
    /// Purges done later.
    pub purges_late: u64,
    /// The most that one was late, in microseconds.
    pub latest_purge_micros: i64,
    /// Recordings more than a day past their latest time at the end, not held and not purged.
    pub overdue: u64,
    /// Recordings past their latest time at the end that a hold keeps.
    pub kept_by_holds: u64,
    /// Recordings in the archive at the end.
    pub recordings: u64,
    /// Holds standing at the end.
    pub holds: u64,
    /// The gaps, in order.
    pub gaps: Vec<Gap>,
    /// Gaps beyond those listed.
    pub more_gaps: u64,
    /// How long all gaps lasted, in microseconds.
    pub gap_micros: i64,
    /// Longest time between two entries of one run, in microseconds.
    pub longest_quiet_micros: i64,
    /// Requests turned away while the ledger could not be written.
    pub turned_away: u64,
    /// Changes of the policy, in order.
    pub policy: Vec<PolicyChange>,
    /// Changes beyond those listed.
    pub more_policy: u64,
    /// The policy in force at the end.
    pub policy_in_force: Option<Digest>,
    /// Who is responsible, as the last policy says whose text is here in clear and matches its entry.
    pub controller: Option<String>,
    /// The time that lateness was judged at.
    pub judged_at: Option<Timestamp>,
}

impl Statistics {
    /// Takes in one entry.
    pub(super) fn add(&mut self, record: &Record, seq: u64) {
        self.first.get_or_insert(record.time);
        self.last = Some(record.time);
        self.events.entry(record.event.name()).or_default().add(record.outcome);
        let denied = record.outcome == Outcome::Denied;
        let granted = record.outcome == Outcome::Granted;
        match &record.event {
            Event::AccessOpened(_) if granted => {
                let purpose = self.purpose(record.subject.purpose.as_ref());
                self.day(record.time, |day| *day.opened.entry(purpose).or_default() += 1);
                self.source(record, |source| source.opened += 1);
            }
            Event::AccessRefusedMany(many) => {
                self.refusals_counted = self.refusals_counted.saturating_add(many.count);
                self.day(record.time, |day| day.refused = day.refused.saturating_add(many.count));
            }
            Event::RecordingSealed(_) if record.outcome == Outcome::Done => {
                self.day(record.time, |day| day.sealed += 1);
                self.source(record, |source| source.sealed += 1);
            }
            Event::PurgeDone(_) => {
                self.day(record.time, |day| day.purged += 1);
                self.source(record, |source| source.purged += 1);
            }
            Event::LedgerRecovered(recovered) => {
                self.turned_away = self.turned_away.saturating_add(recovered.turned_away);
            }
            Event::PolicyLoaded(_) => self.policy_act(record, seq, PolicyAct::Loaded(record.policy)),
            Event::PolicyRefused(_) => self.policy_act(record, seq, PolicyAct::Refused),
            Event::SourceRegistered(_) => {
                self.policy_act(record, seq, PolicyAct::Registered(record.subject.source.clone()));
            }
            Event::SourceChanged(_) => {
                self.policy_act(record, seq, PolicyAct::Changed(record.subject.source.clone()));
            }
            Event::SourceRetired(_) => {
                self.policy_act(record, seq, PolicyAct::Retired(record.subject.source.clone()));
            }
            _ => {}
        }
        if denied && !matches!(record.event, Event::AccessRefusedMany(_)) {
            self.day(record.time, |day| day.refused = day.refused.saturating_add(1));
            self.source(record, |source| source.refused += 1);
        }
    }

    /// Takes in one gap.
    pub(super) fn gap(&mut self, gap: Gap) {
        self.gap_micros = self.gap_micros.saturating_add(gap.to.micros_since(gap.from).max(0));
        if self.gaps.len() < MAX_LISTED {
            self.gaps.push(gap);
        } else {
            self.more_gaps += 1;
        }
    }

    /// How often `event` happened.
    pub fn tally(&self, event: &str) -> Tally {
        self.events.get(event).copied().unwrap_or_default()
    }
    /// Refusals of every kind, those that were only counted included. Attempts on another's descriptor are refusals too.
    pub fn refusals(&self) -> u64 {
        let counted = "access.refused-many";
        let single = self.events.iter().filter(|(name, _)| **name != counted).map(|(_, tally)| tally.denied);
        single.sum::<u64>().saturating_add(self.refusals_counted)
    }

    fn policy_act(&mut self, record: &Record, seq: u64, act: PolicyAct) {
        if self.policy.len() < MAX_LISTED {
            self.policy.push(PolicyChange { entry: seq, time: record.time, act });
        } else {
            self.more_policy += 1;
        }
    }

    fn day(&mut self, time: Timestamp, add: impl FnOnce(&mut Day)) {
        let day = time.as_micros().div_euclid(MICROS_PER_DAY);
        if self.days.len() < MAX_DAYS || self.days.contains_key(&day) {
            add(self.days.entry(day).or_default());
        } else {
            self.beyond_days += 1;
        }
    }

    fn source(&mut self, record: &Record, add: impl FnOnce(&mut OfSource)) {
        let Some(source) = &record.subject.source else { return };
        if let Some(of) = self.sources.get_mut(source) {
            add(of);
        } else if self.sources.len() < MAX_NAMES {
            add(self.sources.entry(source.clone()).or_default());
        }
    }

    fn purpose(&mut self, purpose: Option<&PurposeId>) -> usize {
        let known = self.purposes.iter().position(|known| known.as_ref() == purpose);
        known.unwrap_or_else(|| {
            if self.purposes.len() < MAX_NAMES {
                self.purposes.push(purpose.cloned());
            }
            self.purposes.len() - 1
        })
    }
}
