//! The register of approvals: one person asks, another answers, once, in time, for exactly one use.
//!
//! Owns what was asked, how it was answered and whether it is used up. Who asked and who answered stands in details; that they
//! differ is checked where the persons are known. Must never let one be used twice, late, or for anything else.

use std::collections::BTreeMap;

use super::{Fault, FaultOf};
use crate::core::event::{ApprovalAsked, Subject};
use crate::core::ids::{ApprovalId, PurposeId, ReasonCode, RecordingId, SourceId};
use crate::core::policy::Verb;
use crate::core::time::{Period, Timestamp};

/// What an approval is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// One recording.
    Recording(RecordingId),
    /// One recording of a source, any that lies in the interval.
    Interval {
        /// The source.
        source: SourceId,
        /// It does not start before this.
        from: Timestamp,
        /// It does not end after this.
        to: Timestamp,
    },
    /// The service, or the archive as a whole.
    Service,
}

/// The answer of the second person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Whether he approved.
    pub accepted: bool,
    /// When.
    pub at: Timestamp,
    /// The entry whose detail tells who.
    pub entry: u64,
}

/// One approval, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What shall be done.
    pub verb: Verb,
    /// On what.
    pub about: About,
    /// For which purpose.
    pub purpose: Option<PurposeId>,
    /// For which reason.
    pub reason: Option<ReasonCode>,
    /// Neither answered nor used later.
    pub expires: Timestamp,
    /// No session under it lasts longer.
    pub duration: Option<Period>,
    /// The entry whose detail tells who asked.
    pub entry: u64,
    /// The answer.
    pub answer: Option<Answered>,
    /// The entry that used it up.
    pub used: Option<u64>,
}

impl Asked {
    /// Whether something can still become of it.
    pub fn stands_at(&self, now: Timestamp) -> bool {
        self.used.is_none() && self.expires >= now && self.answer.is_none_or(|answer| answer.accepted)
    }
    /// The entries whose details tell the persons.
    pub fn entries(&self) -> impl Iterator<Item = u64> + use<> {
        std::iter::once(self.entry).chain(self.answer.map(|answer| answer.entry))
    }
    /// `asked`, `given`, `refused`, `used` or `expired`.
    pub fn word(&self, now: Timestamp) -> &'static str {
        match (self.used, self.answer) {
            (Some(_), _) => "used",
            (None, Some(Answered { accepted: false, .. })) => "refused",
            (None, _) if self.expires < now => "expired",
            (None, Some(_)) => "given",
            (None, None) => "asked",
        }
    }
}

/// The approvals that may still be used, and for a while those that are over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approvals(BTreeMap<ApprovalId, Asked>);

/// So long those are remembered that are over: for answers in words, never for a decision.
const REMEMBERED_MICROS: i64 = 31 * 24 * 3600 * 1_000_000;

fn fault(id: ApprovalId, what: &str) -> Fault {
    Fault { of: FaultOf::Approvals, sentence: format!("approval {id} {what}") }
}

impl Approvals {
    /// An approval.
    pub fn get(&self, id: &ApprovalId) -> Option<&Asked> {
        self.0.get(id)
    }
    /// All that are remembered, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ApprovalId, &Asked)> {
        self.0.iter()
    }

    /// `approval.asked`.
    pub(in crate::core) fn ask(
        &mut self,
        asked: &ApprovalAsked,
        subject: &Subject,
        time: Timestamp,
        entry: u64,
    ) -> Result<(), Fault> {
        let id = asked.approval.ok_or(Fault::lacks("approval"))?;
        let expires = asked.expires.ok_or(Fault::lacks("expires"))?;
        if self.0.contains_key(&id) {
            return Err(fault(id, "was asked for before"));
        }
        let about = match (subject.recording, &subject.source, asked.from, asked.to) {
            (Some(recording), ..) => About::Recording(recording),
            (None, Some(source), Some(from), Some(to)) => {
                About::Interval { source: source.clone(), from, to }
            }
            (None, Some(_), ..) => return Err(Fault::lacks("interval")),
            (None, None, ..) => About::Service,
        };
        let forgotten = time.saturating_add_micros(-REMEMBERED_MICROS);
        self.0.retain(|_, known| known.expires >= forgotten);
        self.0.insert(
            id,
            Asked {
                verb: asked.verb,
                about,
                purpose: subject.purpose.clone(),
                reason: subject.reason.clone(),
                expires,
                duration: asked.duration,
                entry,
                answer: None,
                used: None,
            },
        );
        Ok(())
    }

    /// `approval.given`, `approval.refused`.
    pub(in crate::core) fn answer(
        &mut self,
        id: Option<ApprovalId>,
        accepted: bool,
        at: Timestamp,
        entry: u64,
    ) -> Result<(), Fault> {
        let id = id.ok_or(Fault::lacks("approval"))?;
        let known = self.0.get_mut(&id).ok_or_else(|| fault(id, "was not asked for"))?;
        if known.answer.is_some() {
            return Err(fault(id, "was answered before"));
        }
        if known.expires < at {
            return Err(fault(id, "is answered after its time"));
        }
        known.answer = Some(Answered { accepted, at, entry });
        Ok(())
    }

    /// `approval.used`. `interval`: of the recording that the entry names, start and end.
    pub(in crate::core) fn spend(
        &mut self,
        id: Option<ApprovalId>,
        subject: &Subject,
        interval: Option<(Timestamp, Timestamp)>,
        at: Timestamp,
        entry: u64,
    ) -> Result<(), Fault> {
        let id = id.ok_or(Fault::lacks("approval"))?;
        let known = self.0.get_mut(&id).ok_or_else(|| fault(id, "was not asked for"))?;
        if !known.answer.is_some_and(|answer| answer.accepted) {
            return Err(fault(id, "is used without having been given"));
        }
        if known.used.is_some() {
            return Err(fault(id, "is used twice"));
        }
        if known.expires < at {
            return Err(fault(id, "is used after its time"));
        }
        let same = match &known.about {
            About::Recording(recording) => subject.recording == Some(*recording),
            About::Interval { source, from, to } => {
                let inside = |(start, end): (Timestamp, Timestamp)| *from <= start && end <= *to;
                subject.source.as_ref() == Some(source) && interval.is_some_and(inside)
            }
            About::Service => subject.recording.is_none(),
        };
        if !same {
            return Err(fault(id, "is used for something else than was approved"));
        }
        if known.purpose.is_some() && known.purpose != subject.purpose {
            return Err(fault(id, "is used for another purpose than was approved"));
        }
        known.used = Some(entry);
        Ok(())
    }
}

#[cfg(test)]
#[path = "approvals_tests.rs"]
mod tests;
