//! What an event may contradict.

use crate::core::ids::{HoldId, RecordingId, SessionId};
use crate::core::register::{Fault, FaultOf};

/// The rule of conduct that an event breaks (design §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An entry lacks a column that its event needs.
    Incomplete,
    /// Something happened to a recording that is not in the archive.
    UnknownRecording,
    /// A recording was sealed under an id that is taken.
    SealedTwice,
    /// A session event without an opening that was granted.
    SessionWithoutGrant,
    /// A session opened under an id that is taken.
    SessionTwice,
    /// A hold lifted that did not stand, or placed under an id that is taken.
    HoldUnknown,
    /// A hold placed on a recording whose purge was decided.
    HoldDuringPurge,
    /// A recording purged under a hold.
    PurgeUnderHold,
    /// A purge done that nobody decided.
    PurgeWithoutPlan,
    /// A grant given without having been proposed, or ended, suspended or reviewed where it does not stand.
    GrantContradiction,
    /// A mandate changed or withdrawn where it does not stand, or used after its end or outside its tasks.
    MandateContradiction,
    /// An approval answered twice or late, or used without having been given, twice, late or for something else.
    ApprovalContradiction,
    /// An event out of its place: created twice, not first, sequence broken.
    OutOfPlace,
}

/// An event that contradicts what the ledger says so far.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} ({event}): {sentence}")]
pub struct Violation {
    /// Which entry.
    pub seq: u64,
    /// Its event.
    pub event: &'static str,
    /// The rule.
    pub rule: Rule,
    /// In words.
    pub sentence: String,
}

/// What is contradicted, before entry and event are known.
#[derive(Debug)]
pub(super) enum Contradiction {
    Missing(&'static str),
    UnknownRecording(RecordingId),
    SealedTwice(RecordingId),
    SessionWithoutGrant(SessionId),
    SessionTwice(SessionId),
    HoldUnknown(HoldId),
    HoldTwice(HoldId),
    HoldDuringPurge(RecordingId),
    PurgeUnderHold(RecordingId, HoldId),
    PurgeWithoutPlan(RecordingId),
    Register(Fault),
    OutOfPlace(&'static str),
}

impl Contradiction {
    pub(super) fn at(self, seq: u64, event: &'static str) -> Violation {
        let (rule, sentence) = match self {
            Self::Missing(column) => (Rule::Incomplete, format!("the entry names no {column}")),
            Self::UnknownRecording(id) => {
                (Rule::UnknownRecording, format!("recording {id} is not in the archive at this point"))
            }
            Self::SealedTwice(id) => (Rule::SealedTwice, format!("recording {id} is already sealed")),
            Self::SessionWithoutGrant(id) => {
                (Rule::SessionWithoutGrant, format!("no entry grants session {id}, or it had ended"))
            }
            Self::SessionTwice(id) => (Rule::SessionTwice, format!("session {id} is already open")),
            Self::HoldUnknown(id) => (Rule::HoldUnknown, format!("hold {id} does not stand")),
            Self::HoldTwice(id) => (Rule::HoldUnknown, format!("hold {id} is already placed")),
            Self::HoldDuringPurge(id) => {
                (Rule::HoldDuringPurge, format!("the purge of recording {id} was already decided"))
            }
            Self::PurgeUnderHold(id, hold) => {
                (Rule::PurgeUnderHold, format!("recording {id} is under hold {hold}"))
            }
            Self::PurgeWithoutPlan(id) => {
                (Rule::PurgeWithoutPlan, format!("no entry decides the purge of recording {id}"))
            }
            Self::Register(Fault { of, sentence }) => {
                let rule = match of {
                    FaultOf::Grants => Rule::GrantContradiction,
                    FaultOf::Mandates => Rule::MandateContradiction,
                    FaultOf::Approvals => Rule::ApprovalContradiction,
                    FaultOf::Charter => Rule::OutOfPlace,
                    FaultOf::Incomplete => Rule::Incomplete,
                };
                (rule, sentence)
            }
            Self::OutOfPlace(what) => (Rule::OutOfPlace, what.to_owned()),
        };
        Violation { seq, event, rule, sentence }
    }
}
