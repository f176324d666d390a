//! The rules of conduct: what may not happen although it was signed.
//!
//! The one place where the verifier meets the fold that writer and recovery use (`core::state`), so that they cannot
//! disagree. Goes on after a violation, as if the event had not happened.

use super::findings::{Code, Report, sentence};
use crate::core::event::{Event, EventError, Record};
use crate::core::ledger::entry::Entry;
use crate::core::state::{Rule, State};

/// The state of the archive, as the entries tell it.
#[derive(Debug, Default)]
pub struct Conduct {
    state: State,
}

impl Conduct {
    /// Takes in the next entry and reports what it breaks.
    pub fn judge(&mut self, entry: &Entry<'_>, report: &mut Report) {
        self.judge_record(entry.seq, Record::from_entry(entry), report);
    }

    /// The same for an entry that was read before.
    pub fn judge_record(&mut self, seq: u64, record: Result<Record, EventError>, report: &mut Report) {
        let mut record = match record {
            Ok(record) => record,
            Err(error) => {
                report.add(Code::EventUnknown, seq, sentence(&error));
                return;
            }
        };
        self.judge_purge_time(&record, report);
        // After a violation the state counts one entry less than the ledger.
        record.seq = self.state.size();
        if let Err(violation) = self.state.apply(&record) {
            report.add(code(violation.rule), seq, format!("{}: {}", violation.event, violation.sentence));
        }
    }

    /// The archive after the last entry.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn judge_purge_time(&self, record: &Record, report: &mut Report) {
        let id = record.subject.recording.filter(|_| matches!(record.event, Event::PurgeDone(_)));
        let Some((id, recording)) = id.and_then(|id| Some((id, self.state.recording(&id)?))) else { return };
        if record.time < recording.earliest {
            let sentence =
                format!("recording {id} was purged before {}, its earliest time", recording.earliest);
            report.add(Code::PurgeEarly, record.seq, sentence);
        }
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
        Rule::OutOfPlace => Code::EventOutOfPlace,
    }
}
