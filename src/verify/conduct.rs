//! The rules of conduct: what may not happen although it was signed.
//!
//! The one place where the verifier meets the fold that writer and recovery use (`core::state`), so that they cannot
//! disagree; what the fold lets pass is judged by the watchers below. Goes on after a violation, as if the event had not
//! happened. Keeps what lives (recordings, sessions, holds) and never what is over.

mod retention;
mod service;
mod sessions;
mod sources;

use super::findings::{Code, Report, sentence};
use super::statistics::Statistics;
use crate::core::event::{Detail, DetailRule, Event, EventError, Outcome, Record};
use crate::core::policy::{Policy, PolicyFile};
use crate::core::state::{Rule, State};
use crate::core::time::Timestamp;

/// The state of the archive, as the entries tell it, and what it takes to judge the next one.
#[derive(Debug, Default)]
pub struct Conduct {
    state: State,
    statistics: Statistics,
    service: service::Service,
    sources: sources::Sources,
    sessions: sessions::Sessions,
    retention: retention::Retention,
}

/// One entry before it is folded: what a watcher looks at.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// Its number in the ledger.
    seq: u64,
    record: &'a Record,
    /// Everything before it.
    state: &'a State,
}

impl Seen<'_> {
    /// Whether the fold takes it as something that happened.
    fn took_effect(&self) -> bool {
        matches!(self.record.outcome, Outcome::Done | Outcome::Granted)
    }
    fn time(&self) -> Timestamp {
        self.record.time
    }
}

/// What a watcher found: code, entry, sentence.
type Findings = Vec<(Code, String)>;

impl Conduct {
    /// Takes in entry `seq`, the next one, and reports what it breaks.
    pub fn judge(&mut self, seq: u64, record: Result<&mut Record, &mut EventError>, report: &mut Report) {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                self.statistics.unknown_events += 1;
                report.add(Code::EventUnknown, seq, sentence(error));
                return;
            }
        };
        // After a violation the state counts one entry less than the ledger.
        record.seq = self.state.size();
        self.statistics.add(record, seq);
        let seen = Seen { seq, record, state: &self.state };
        let mut found = Findings::new();
        judge_outcome(&seen, &mut found);
        self.service.judge(&seen, &mut self.statistics, &mut found);
        self.sources.judge(&seen, &mut found);
        self.sessions.watch(&seen, &mut found);
        let of_every_entry = found.len();
        self.sources.judge_subject(&seen, &mut found);
        self.sessions.judge(&seen, &mut self.statistics, &mut found);
        self.retention.judge(&seen, &mut self.statistics, &mut found);
        if let Err(violation) = self.state.apply(record) {
            // What else the watchers think of an event that did not happen is noise.
            found.truncate(of_every_entry);
            report.add(code(violation.rule), seq, format!("{}: {}", violation.event, violation.sentence));
        }
        for (code, sentence) in found {
            report.add(code, seq, sentence);
        }
    }

    /// The archive as told so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The text of the policy that the entry just judged puts in force, when its detail is here in clear and matches.
    pub fn policy_text(&mut self, detail: &[u8]) {
        let files = Detail::parse(detail).map(|detail| detail.policy).unwrap_or_default();
        let files: Vec<_> = files.into_iter().map(|(name, text)| PolicyFile { name, text }).collect();
        let controller = Policy::parse(&files).map(|policy| policy.controller().to_owned());
        self.statistics.controller = controller.ok().filter(|name| !name.trim().is_empty());
    }

    /// After the last entry: what should have happened by now. `visit` is the time of the visit; without it, the time of
    /// the last entry.
    pub fn finish(mut self, visit: Option<Timestamp>, report: &mut Report) -> Statistics {
        let last = self.statistics.last;
        if let Some(at) = visit.or(last) {
            self.statistics.judged_at = Some(at);
            self.service.finish(visit, &mut self.statistics, report);
            self.retention.finish(&self.state, at, &mut self.statistics, report);
        }
        self.statistics.sessions_open = self.state.sessions().len() as u64;
        self.statistics.recordings = self.state.recording_count() as u64;
        self.statistics.holds = self.state.holds().len() as u64;
        self.statistics.policy_in_force = self.state.policy();
        self.statistics
    }
}

/// An outcome that turns a fact into none would hide it from the fold: a purge that "failed", a grant that was "done".
fn judge_outcome(seen: &Seen<'_>, found: &mut Findings) {
    use Outcome::{Denied, Done, Failed, Granted};
    let event = &seen.record.event;
    let possible: &[Outcome] = match event {
        Event::AccessOpened(_) | Event::AccessSearched(_) | Event::LedgerRead(_) | Event::LedgerProved(_) => {
            &[Granted, Denied, Failed]
        }
        Event::GrantGiven(_) | Event::ApprovalGiven(_) | Event::RegisterRead(_) => &[Granted, Denied],
        Event::GrantProposed(_)
        | Event::GrantEnded(_)
        | Event::GrantSuspended(_)
        | Event::GrantReviewed(_)
        | Event::MandateGiven(_)
        | Event::MandateChanged(_)
        | Event::MandateWithdrawn(_)
        | Event::ApprovalAsked(_)
        | Event::ApprovalRefused(_)
        | Event::CharterAcknowledged(_) => &[Done, Denied],
        Event::ApprovalUsed(_) => &[Done],
        Event::AccessClosed(_) => &[Done, Failed],
        Event::AccessRefusedMany(_) | Event::GuardForeignAccess(_) => &[Denied],
        Event::PolicyRefused(_) => &[Denied, Failed],
        Event::PolicyLoaded(_)
        | Event::RecordingSealed(_)
        | Event::AccessRevoked(_)
        | Event::AccessExpired(_) => &[Done],
        // A fact of the service itself.
        _ if event.detail_rule() == DetailRule::Forbidden => &[Done],
        _ => return,
    };
    if !possible.contains(&seen.record.outcome) {
        let outcome = format!("{:?}", seen.record.outcome).to_lowercase();
        found.push((Code::OutcomeWrong, format!("{}: it cannot be {outcome}", seen.record.event.name())));
    }
}

fn code(rule: Rule) -> Code {
    match rule {
        Rule::Incomplete => Code::EventIncomplete,
        Rule::UnknownRecording => Code::RecordingUnknown,
        Rule::SealedTwice => Code::RecordingTwice,
        Rule::SessionWithoutGrant => Code::SessionWithoutGrant,
        Rule::SessionTwice => Code::SessionTwice,
        Rule::HoldUnknown => Code::HoldUnknown,
        Rule::HoldDuringPurge => Code::HoldDuringPurge,
        Rule::PurgeUnderHold => Code::PurgeUnderHold,
        Rule::PurgeWithoutPlan => Code::PurgeWithoutPlan,
        Rule::GrantContradiction => Code::GrantContradiction,
        Rule::MandateContradiction => Code::MandateContradiction,
        Rule::ApprovalContradiction => Code::ApprovalContradiction,
        Rule::OutOfPlace => Code::EventOutOfPlace,
    }
}

/// A length of time in words, for sentences: the two largest units.
pub(super) fn duration(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let mut words = units.iter().skip_while(|(_, n)| *n == 0).take(2).filter(|(_, n)| *n > 0);
    let first = words.next().map(|(unit, n)| format!("{n} {unit}"));
    match (first, words.next()) {
        (Some(first), Some((unit, n))) => format!("{first} {n} {unit}"),
        (Some(first), None) => first,
        (None, _) => "0 s".into(),
    }
}

/// A time without the fractions that nobody reads, UTC.
pub(super) fn when(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).map_or_else(|| text.clone(), |text| text.replace('T', " "))
}
