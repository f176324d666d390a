//! Every event as a type: its public part, its personal part, and the way between typed events and ledger entries.
//!
//! Owns the closed list of events of this version (design §5, `greffier-ledger(5)`), the keys of their `data`, and
//! whether each carries a detail. Must never put into a public part what a caller typed or what names a person.

#[macro_use]
mod text;
mod data;
mod detail;
mod list;
mod record;
mod registers;

pub use data::*;
pub use detail::{Detail, DetailError, Party, Process, Who};
pub use list::{DetailRule, Event, EventError};
pub use record::Place;
pub use registers::*;

use crate::core::ids::{PurposeId, ReasonCode, RecordingId, SessionId, SourceId};
pub use crate::core::ledger::entry::Outcome;

/// What an entry is about, in identifiers that name no person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The recording.
    pub recording: Option<RecordingId>,
    /// Its source.
    pub source: Option<SourceId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The purpose that the access serves.
    pub purpose: Option<PurposeId>,
    /// The reason code given; only one that the policy lists.
    pub reason: Option<ReasonCode>,
}

impl Subject {
    /// About one recording.
    pub fn recording(recording: RecordingId, source: SourceId) -> Self {
        Self { recording: Some(recording), source: Some(source), ..Self::default() }
    }
    /// About one source.
    pub fn source(source: SourceId) -> Self {
        Self { source: Some(source), ..Self::default() }
    }
}

/// An event before it has a place in the ledger: what the writer is asked to append.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// What it is about.
    pub subject: Subject,
    /// The personal part. Required, optional or forbidden as [`Event::detail_rule`] says.
    pub detail: Option<Detail>,
}

impl Draft {
    /// A fact of the service itself: done, about nothing and nobody in particular.
    pub fn fact(event: Event) -> Self {
        Self { event, outcome: Outcome::Done, subject: Subject::default(), detail: None }
    }
    /// The same with another outcome.
    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
    /// The same about `subject`.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }
    /// The same with a personal part.
    #[must_use]
    pub fn with_detail(self, detail: Detail) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

/// An event that stands in the ledger, as the fold sees it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// The wall clock when it was written, as read.
    pub time: crate::core::time::Timestamp,
    /// Which boot `up_micros` counts from.
    pub boot: crate::core::time::BootId,
    /// Microseconds since boot.
    pub up_micros: u64,
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// What it is about.
    pub subject: Subject,
    /// SHA-256 of the policy in force.
    pub policy: Option<crate::core::ids::Digest>,
}
