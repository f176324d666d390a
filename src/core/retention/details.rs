//! When the detail of an entry must go (design §5): what is folded from each has ended, and its period has passed since.
//!
//! Owns the rule for each event, and the plan as a value that can be printed before anything happens. Must never see a
//! detail: entries alone tell what ended. Keeps invariant 11: no plan hands out anything while the clock is suspect.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::clock::{ClockDoubt, ClockVerdict};
use crate::core::event::{Event, GrantReviewed, GrantSuspended, Outcome, Record};
use crate::core::ids::{ApprovalId, GrantId, HoldId, MandateId, RecordingId, SessionId};
use crate::core::time::{Period, Timestamp};

/// Entries in a bundle, whose details share a key.
const BUNDLE: u64 = 256;

/// How long details are kept after what they tell of has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepDetails {
    /// Of every event that is not named below.
    pub keep: Period,
    /// Of single events, by name.
    pub keep_for: BTreeMap<String, Period>,
}

impl KeepDetails {
    /// The period of an event.
    pub fn of(&self, event: &str) -> &Period {
        self.keep_for.get(event).unwrap_or(&self.keep)
    }
    /// Every period that is used.
    pub fn periods(&self) -> impl Iterator<Item = &Period> {
        std::iter::once(&self.keep).chain(self.keep_for.values())
    }
}

/// What has not ended and keeps a detail, whatever its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Waits {
    /// The policy in force.
    Policy,
    /// A standing hold.
    Hold,
    /// A running session.
    Session,
    /// A recording in the archive.
    Recording,
    /// A purge that was decided and has not ended.
    Purge,
    /// A grant that was proposed or given, or one of the policy that was suspended or reviewed.
    Grant,
    /// A mandate in force.
    Mandate,
    /// An acknowledgement of the charter.
    Charter,
    /// A review that is open.
    Review,
}

/// One detail that is not destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fact {
    event: &'static str,
    state: Result<Timestamp, Waits>,
}

/// The details that are there, and what became of all that they tell of: a fold of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetailFacts {
    size: u64,
    facts: BTreeMap<u64, Fact>,
    policy: Option<u64>,
    holds: HashMap<HoldId, u64>,
    sessions: HashMap<SessionId, u64>,
    recordings: HashMap<RecordingId, u64>,
    purges: HashMap<RecordingId, Vec<u64>>,
    grants: HashMap<GrantId, u64>,
    mandates: HashMap<MandateId, u64>,
    /// Until when an approval may be answered or used, and the entries that tell of it.
    approvals: HashMap<ApprovalId, (Timestamp, Vec<u64>)>,
}

impl DetailFacts {
    /// Entries folded so far.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// How many details are there.
    pub fn len(&self) -> usize {
        self.facts.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Since when the story of one detail has ended, or what it waits for.
    #[cfg(test)]
    pub(super) fn state_of(&self, entry: u64) -> Option<Result<Timestamp, Waits>> {
        self.facts.get(&entry).map(|fact| fact.state)
    }

    /// Takes in the next entry. `detailed`: it commits to a detail.
    pub fn note(&mut self, record: &Record, detailed: bool) {
        self.size = record.seq + 1;
        let took_effect = matches!(record.outcome, Outcome::Done | Outcome::Granted);
        let ended = if took_effect || matches!(record.event, Event::AccessClosed(_)) {
            self.end(record)
        } else {
            Vec::new()
        };
        for entry in ended {
            if let Some(fact) = self.facts.get_mut(&entry) {
                fact.state = Ok(record.time);
            }
        }
        let waits = if took_effect { self.begin(record, detailed) } else { None };
        if detailed {
            let begun = if took_effect { self.approval(record) } else { None };
            let state = waits.map_or(Ok(begun.unwrap_or(record.time)), Err);
            self.facts.insert(record.seq, Fact { event: record.event.name(), state });
        }
    }

    /// The entries whose story this one ends.
    fn end(&mut self, record: &Record) -> Vec<u64> {
        let subject = &record.subject;
        let recording = subject.recording.as_ref();
        match &record.event {
            Event::PolicyLoaded(_) => self.policy.take().into_iter().collect(),
            Event::HoldLifted(lifted) => self.holds.remove(&lifted.hold).into_iter().collect(),
            Event::AccessClosed(_)
            | Event::AccessInterrupted(_)
            | Event::AccessRevoked(_)
            | Event::AccessExpired(_) => {
                subject.session.as_ref().and_then(|id| self.sessions.remove(id)).into_iter().collect()
            }
            Event::ReviewDone(done) => vec![done.entry],
            Event::PurgeFailed(_) => recording.and_then(|id| self.purges.remove(id)).unwrap_or_default(),
            Event::PurgeDone(_) => {
                let mut ended = recording.and_then(|id| self.purges.remove(id)).unwrap_or_default();
                ended.extend(recording.and_then(|id| self.recordings.remove(id)));
                ended
            }
            // What was proposed is told again, with who approved it.
            Event::GrantGiven(term) => {
                term.grant.and_then(|id| self.grants.remove(&id)).into_iter().collect()
            }
            Event::GrantEnded(ended) => {
                ended.grant.and_then(|id| self.grants.remove(&id)).into_iter().collect()
            }
            Event::MandateChanged(term) => {
                term.mandate.as_ref().and_then(|id| self.mandates.remove(id)).into_iter().collect()
            }
            Event::MandateWithdrawn(it) => {
                it.mandate.as_ref().and_then(|id| self.mandates.remove(id)).into_iter().collect()
            }
            Event::ApprovalRefused(it) | Event::ApprovalUsed(it) => {
                let ended = it.approval.and_then(|id| self.approvals.remove(&id));
                ended.map(|(_, entries)| entries).unwrap_or_default()
            }
            Event::CharterAcknowledged(it) => it.replaces.into_iter().collect(),
            Event::CharterLapsed(it) => vec![it.entry],
            Event::LedgerDetailsDestroyed(destroyed) => {
                for (first, end) in &destroyed.destroyed {
                    let gone: Vec<u64> = self.facts.range(*first..*end).map(|(entry, _)| *entry).collect();
                    for entry in gone {
                        self.facts.remove(&entry);
                    }
                }
                Vec::new()
            }
            Event::LedgerCreated(_)
            | Event::LedgerStarted(_)
            | Event::LedgerStopped(_)
            | Event::LedgerHeartbeat(_)
            | Event::LedgerRekeyed(_)
            | Event::LedgerRecovered(_)
            | Event::LedgerRestored(_)
            | Event::LedgerClockSuspect(_)
            | Event::LedgerClockConfirmed(_)
            | Event::LedgerRead(_)
            | Event::LedgerProved(_)
            | Event::PolicyRefused(_)
            | Event::SourceRegistered(_)
            | Event::SourceChanged(_)
            | Event::SourceRetired(_)
            | Event::RecordingSealed(_)
            | Event::RecordingRejected(_)
            | Event::StoreScrubbed(_)
            | Event::AccessSearched(_)
            | Event::AccessOpened(_)
            | Event::AccessProgress(_)
            | Event::AccessRefusedMany(_)
            | Event::AccessEmergency(_)
            | Event::HoldPlaced(_)
            | Event::PurgePlanned(_)
            | Event::ReviewRaised(_)
            | Event::GuardForeignAccess(_)
            | Event::StoreDamaged(_)
            | Event::KeyRotationOrdered(_)
            | Event::KeyRotated(_)
            | Event::KeyRotationFailed(_)
            | Event::KeyBackedUp(_)
            | Event::KeyBackupChecked(_)
            | Event::KeyRestored(_)
            | Event::GrantProposed(_)
            | Event::GrantSuspended(_)
            | Event::GrantReviewed(_)
            | Event::MandateGiven(_)
            | Event::ApprovalAsked(_)
            | Event::ApprovalGiven(_)
            | Event::RegisterRead(_) => Vec::new(),
        }
    }

    /// When the story ends by itself that the question for an approval begins, or its answer goes on with: nobody writes
    /// an entry for an approval that was not used in time.
    fn approval(&mut self, record: &Record) -> Option<Timestamp> {
        match &record.event {
            Event::ApprovalAsked(asked) => {
                self.approvals.retain(|_, (expires, _)| *expires >= record.time);
                let (id, expires) = (asked.approval?, asked.expires?);
                self.approvals.insert(id, (expires, vec![record.seq]));
                Some(expires)
            }
            Event::ApprovalGiven(given) => {
                let (expires, entries) = self.approvals.get_mut(&given.approval?)?;
                entries.push(record.seq);
                Some(*expires)
            }
            _ => None,
        }
    }

    /// What the detail of this entry waits for; `None` when the entry tells of nothing that lasts.
    fn begin(&mut self, record: &Record, detailed: bool) -> Option<Waits> {
        let (seq, subject) = (record.seq, &record.subject);
        let waits = match &record.event {
            Event::PolicyLoaded(_) => {
                self.policy = Some(seq);
                Waits::Policy
            }
            _ if !detailed => return None,
            Event::HoldPlaced(placed) => {
                self.holds.insert(placed.hold, seq);
                Waits::Hold
            }
            Event::AccessOpened(_) => {
                self.sessions.insert(subject.session?, seq);
                Waits::Session
            }
            Event::RecordingSealed(_) => {
                self.recordings.insert(subject.recording?, seq);
                Waits::Recording
            }
            Event::PurgePlanned(_) => {
                self.purges.entry(subject.recording?).or_default().push(seq);
                Waits::Purge
            }
            Event::GrantProposed(term) | Event::GrantGiven(term) => {
                self.grants.insert(term.grant?, seq);
                Waits::Grant
            }
            // The first entry about a grant of the policy tells which it is; the later ones tell nothing that lasts.
            Event::GrantSuspended(GrantSuspended { grant, policy: true, .. })
            | Event::GrantReviewed(GrantReviewed { grant, policy: true })
                if grant.is_some_and(|id| !self.grants.contains_key(&id)) =>
            {
                self.grants.insert((*grant)?, seq);
                Waits::Grant
            }
            Event::MandateGiven(term) | Event::MandateChanged(term) => {
                self.mandates.insert(term.mandate.clone()?, seq);
                Waits::Mandate
            }
            Event::CharterAcknowledged(_) => Waits::Charter,
            Event::ReviewRaised(_) => Waits::Review,
            _ => return None,
        };
        Some(waits)
    }
}

/// What a plan does with details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DetailWhy {
    /// Their period has ended: destroyed.
    Ended,
    /// Their period has ended, but they stand in the tail; they go once their bundle is full.
    InTail,
    /// Their period has not ended.
    Runs,
    /// Something that they tell of has not ended.
    Waits(Waits),
}

impl DetailWhy {
    /// `destroy` or `keep`: the word on the bus.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Ended => "destroy",
            Self::InTail | Self::Runs | Self::Waits(_) => "keep",
        }
    }
}
impl fmt::Display for DetailWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the period has ended",
            Self::InTail => "the period has ended, but the bundle is not full yet",
            Self::Runs => "the period has not ended",
            Self::Waits(Waits::Policy) => "the policy is in force",
            Self::Waits(Waits::Hold) => "the hold stands",
            Self::Waits(Waits::Session) => "the session runs",
            Self::Waits(Waits::Recording) => "the recording is in the archive",
            Self::Waits(Waits::Purge) => "the purge has not ended",
            Self::Waits(Waits::Grant) => "the grant stands",
            Self::Waits(Waits::Mandate) => "the mandate is in force",
            Self::Waits(Waits::Charter) => "the charter is acknowledged",
            Self::Waits(Waits::Review) => "the review is open",
        })
    }
}

/// Details with one fate, in bundles that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailLine {
    /// The first entry among them.
    pub first: u64,
    /// The entry after the last among them.
    pub end: u64,
    /// How many.
    pub details: u64,
    /// What happens to them, and why.
    pub why: DetailWhy,
    /// When the first of them is or was due; absent while that cannot be said.
    pub due: Option<Timestamp>,
}

/// What is to be done to one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePlan {
    /// Its number.
    pub bundle: u64,
    /// Entries whose details go, `[first, end)`, merged over entries that have none.
    pub destroy: Vec<(u64, u64)>,
    /// Entries whose details stay, neighbours merged.
    pub keep: Vec<(u64, u64)>,
}

/// What would happen now.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailPlan {
    lines: Vec<DetailLine>,
    bundles: Vec<BundlePlan>,
    blocked: Option<ClockDoubt>,
}

/// Plans at `now`. `below_tail`: entries that stand in full bundles on the disk; no other detail is touched.
pub fn plan_details(
    facts: &DetailFacts,
    keep: &KeepDetails,
    below_tail: u64,
    clock: &ClockVerdict,
    now: Timestamp,
) -> DetailPlan {
    let mut lines: Vec<DetailLine> = Vec::new();
    let mut open: HashMap<DetailWhy, (u64, usize)> = HashMap::new();
    let mut bundles: Vec<BundlePlan> = Vec::new();
    for (&entry, fact) in &facts.facts {
        // A time that no calendar has is never reached.
        let due = fact.state.ok().and_then(|ended| ended.checked_add(keep.of(fact.event)).ok());
        let bundle = entry / BUNDLE;
        let why = match (fact.state, due) {
            (Err(waits), _) => DetailWhy::Waits(waits),
            (Ok(_), Some(due)) if due > now => DetailWhy::Runs,
            (Ok(_), None) => DetailWhy::Runs,
            (Ok(_), Some(_)) if bundle.saturating_add(1).saturating_mul(BUNDLE) > below_tail => {
                DetailWhy::InTail
            }
            (Ok(_), Some(_)) => DetailWhy::Ended,
        };
        let near = open.get(&why).filter(|(last, _)| last + 1 >= bundle).map(|(_, at)| *at);
        let at = near.unwrap_or(lines.len());
        match lines.get_mut(at) {
            Some(line) => {
                line.end = entry + 1;
                line.details += 1;
                line.due = line.due.into_iter().chain(due).min();
            }
            None => lines.push(DetailLine { first: entry, end: entry + 1, details: 1, why, due }),
        }
        open.insert(why, (bundle, at));
        if bundles.last().is_none_or(|last| last.bundle != bundle) {
            bundles.push(BundlePlan { bundle, destroy: Vec::new(), keep: Vec::new() });
        }
        if let Some(last) = bundles.last_mut() {
            last.add(entry, why == DetailWhy::Ended);
        }
    }
    bundles.retain(|bundle| !bundle.destroy.is_empty());
    let blocked = match *clock {
        ClockVerdict::Suspect { why } => Some(why),
        ClockVerdict::Sound => None,
    };
    DetailPlan { lines, bundles, blocked }
}

impl BundlePlan {
    /// Adds an entry behind those added before. What goes is merged when no entry that stays lies between; what stays only with
    /// its neighbour, because between two may lie what was destroyed before, which nothing here remembers.
    fn add(&mut self, entry: u64, destroy: bool) {
        let kept_end = self.keep.last().map_or(0, |(_, end)| *end);
        let same = if destroy { &mut self.destroy } else { &mut self.keep };
        match same.last_mut() {
            Some((_, end)) if destroy && *end >= kept_end || *end == entry => *end = entry + 1,
            _ => same.push((entry, entry + 1)),
        }
    }
}

impl DetailPlan {
    /// What happens to which details, in the order of their first entries.
    pub fn lines(&self) -> &[DetailLine] {
        &self.lines
    }
    /// Why nothing may be destroyed now.
    pub const fn blocked(&self) -> Option<ClockDoubt> {
        self.blocked
    }
    /// What the executor may do, lowest bundle first: nothing while the plan is blocked.
    pub fn bundles(&self) -> impl Iterator<Item = &BundlePlan> {
        let free = self.blocked.is_none();
        self.bundles.iter().filter(move |_| free)
    }
}
