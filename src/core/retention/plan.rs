//! The purge plan (design §9): what goes, what stays and why, as a value that can be printed before anything happens.
//!
//! Keeps invariants 11 and 12 by what it hands out: [`PurgePlan::purges`] is empty while the clock is suspect or the
//! plan awaits confirmation, and never names a held recording. The executor decides each purge again in the writer's
//! order (design §6).

use std::fmt;

use super::clock::{ClockDoubt, ClockVerdict};
use crate::core::ids::{ClassId, HoldId, RecordingId, SourceId};
use crate::core::time::Timestamp;

/// How many times the usual daily number a plan may purge without being asked about.
const USUAL_TIMES: u64 = 3;
/// A plan of no more purges than this is never asked about, so small and new houses are not held up.
const NEVER_ASKED_BELOW: u64 = 100;
/// The days ahead from which a plan tells what is usual.
const AHEAD_DAYS: u64 = 7;
const AHEAD_DAYS_MICROS: i64 = 7 * 86_400_000_000;

/// What the ledger says of one recording that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeFact {
    /// Which.
    pub recording: RecordingId,
    /// Where it comes from.
    pub source: SourceId,
    /// Its class.
    pub class: ClassId,
    /// Not before this, even on request.
    pub earliest: Timestamp,
    /// At this, by itself.
    pub latest: Timestamp,
    /// A hold in force.
    pub held: Option<HoldId>,
}

/// What purging was like until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgeHistory {
    /// The days looked back on, from the first purge on and at most 30; 0: nothing was ever purged.
    pub days: u32,
    /// The purges in those days.
    pub purges: u64,
}

/// What a plan does with one recording. The words stand on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Its period has ended: destroy it.
    Purge,
    /// Its period has not ended.
    Keep,
    /// A hold keeps it, whatever its period.
    Held,
}

impl Action {
    /// `purge`, `keep` or `held`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purge => "purge",
            Self::Keep => "keep",
            Self::Held => "held",
        }
    }
}
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a line says what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The period of the class has ended.
    Ended(ClassId),
    /// The period of the class runs.
    Runs(ClassId),
    /// This hold keeps it.
    Held(HoldId),
}
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(class) => write!(f, "the period of class {class} has ended"),
            Self::Runs(class) => write!(f, "the period of class {class} has not ended"),
            Self::Held(hold) => write!(f, "hold {hold} keeps it"),
        }
    }
}

/// One recording in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeLine {
    /// Which.
    pub recording: RecordingId,
    /// Where it comes from.
    pub source: SourceId,
    /// What happens to it.
    pub action: Action,
    /// When its period ends or ended.
    pub due: Timestamp,
    /// Why.
    pub why: Why,
}
impl fmt::Display for PurgeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recording, source, action, due, why } = self;
        write!(f, "{recording}  {source}  {action}  {due}  {why}")
    }
}

/// Why a plan may not be carried out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The clock is suspect (invariant 11). Ends when it is synchronised or confirmed.
    Clock(ClockDoubt),
    /// Far more purges than plan and history predict. Ends with [`PurgePlan::confirmed`].
    TooMany {
        /// The purges due.
        due: u64,
        /// What would have passed.
        limit: u64,
    },
}
impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(doubt) => write!(
                f,
                "nothing is purged: {doubt}; synchronise the clock, or confirm it with `greffierctl retention confirm-clock`"
            ),
            Self::TooMany { due, limit } => write!(
                f,
                "nothing is purged: {due} purges are due and at most {limit} are usual; read the plan and confirm it with `greffierctl retention run`"
            ),
        }
    }
}

/// What would happen now, line by line.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgePlan {
    lines: Vec<PurgeLine>,
    blocked: Option<Blocked>,
    next_due: Option<Timestamp>,
}

/// Plans the purges at `now`. The lines are in the order of their due times, then of their ids.
pub fn plan_purge(
    facts: impl Iterator<Item = PurgeFact>,
    clock: &ClockVerdict,
    history: &PurgeHistory,
    now: Timestamp,
) -> PurgePlan {
    let mut lines: Vec<PurgeLine> = facts.map(|fact| line(fact, now)).collect();
    lines.sort_by_key(|line| (line.due, line.recording));
    let due = count(&lines, |line| line.action == Action::Purge);
    let limit = limit(&lines, history, now);
    let blocked = match *clock {
        ClockVerdict::Suspect { why } => Some(Blocked::Clock(why)),
        ClockVerdict::Sound => (due > limit).then_some(Blocked::TooMany { due, limit }),
    };
    let next_due = lines.iter().find(|line| line.action == Action::Keep).map(|line| line.due);
    PurgePlan { lines, blocked, next_due }
}

fn line(fact: PurgeFact, now: Timestamp) -> PurgeLine {
    let PurgeFact { recording, source, class, earliest, latest, held } = fact;
    // Facts are read back from a ledger: should they contradict each other, the longer duty to keep wins.
    let due = latest.max(earliest);
    let (action, why) = match held {
        Some(hold) => (Action::Held, Why::Held(hold)),
        None if due <= now => (Action::Purge, Why::Ended(class)),
        None => (Action::Keep, Why::Runs(class)),
    };
    PurgeLine { recording, source, action, due, why }
}

/// The most purges that need no confirmation: three times the usual daily number, by the past or by the days ahead,
/// whichever is more. A clock that jumped ahead makes both too small.
fn limit(lines: &[PurgeLine], history: &PurgeHistory, now: Timestamp) -> u64 {
    let before = history.purges.div_ceil(u64::from(history.days.max(1)));
    let horizon = now.saturating_add_micros(AHEAD_DAYS_MICROS);
    let ahead = count(lines, |line| line.action == Action::Keep && line.due <= horizon).div_ceil(AHEAD_DAYS);
    before.max(ahead).saturating_mul(USUAL_TIMES).max(NEVER_ASKED_BELOW)
}

fn count(lines: &[PurgeLine], what: impl Fn(&PurgeLine) -> bool) -> u64 {
    u64::try_from(lines.iter().filter(|line| what(line)).count()).unwrap_or(u64::MAX)
}

impl PurgePlan {
    /// How far ahead a plan looks to tell what is usual: facts that fall due later change no purge.
    pub const AHEAD_MICROS: i64 = AHEAD_DAYS_MICROS;

    /// Every recording.
    pub fn lines(&self) -> &[PurgeLine] {
        &self.lines
    }
    /// Why nothing may be purged now.
    pub const fn blocked(&self) -> Option<Blocked> {
        self.blocked
    }
    /// What the executor may purge, oldest first: nothing while the plan is blocked.
    pub fn purges(&self) -> impl Iterator<Item = &PurgeLine> {
        let free = self.blocked.is_none();
        self.lines.iter().filter(move |line| free && line.action == Action::Purge)
    }
    /// When the next period ends that has not ended: time to plan again.
    pub const fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }
    /// The same plan after a person has read it and said yes. Lifts `TooMany` and nothing else: a suspect clock is
    /// confirmed as a clock, not plan by plan.
    pub fn confirmed(self) -> Self {
        let blocked = self.blocked.filter(|blocked| matches!(blocked, Blocked::Clock(_)));
        Self { blocked, ..self }
    }
}
impl fmt::Display for PurgePlan {
    /// One line a recording, then what blocks the plan, if anything does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        self.blocked.as_ref().map_or(Ok(()), |blocked| writeln!(f, "{blocked}"))
    }
}
