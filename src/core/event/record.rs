//! The way between a typed event and its ledger entry.

use super::{Detail, DetailRule, Draft, Event, EventError, Record, Subject};
use crate::core::ids::Digest;
use crate::core::ledger::entry::{Columns, Entry};
use crate::core::ledger::hash::Hash;
use crate::core::time::Moment;

/// The place that the writer gives to a draft.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// The clocks, read for its batch.
    pub moment: Moment,
    /// The policy in force, after this entry if it loads one.
    pub policy: Option<Digest>,
}

impl Draft {
    /// Whether the detail is there when it must be, and absent when it must be.
    pub fn check_detail(&self) -> Result<(), EventError> {
        let rule = match (self.event.detail_rule(), &self.detail) {
            (DetailRule::Required, None) => "required",
            (DetailRule::Forbidden, Some(_)) => "forbidden",
            _ => return Ok(()),
        };
        Err(EventError::Detail { event: self.event.name(), rule })
    }

    /// The record of this draft at `place`, and its detail.
    pub fn at(self, place: &Place) -> (Record, Option<Detail>) {
        let Moment { time, boot, up_micros, .. } = place.moment;
        let Self { event, outcome, subject, detail } = self;
        let record =
            Record { seq: place.seq, time, boot, up_micros, event, outcome, subject, policy: place.policy };
        (record, detail)
    }
}

impl Record {
    /// Appends its public line to `out`. `prev` is the leaf hash of the entry before it, `detail` the commitment to its
    /// detail line.
    pub fn write_line(
        &self,
        prev: Hash,
        detail: Option<&Hash>,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let event = self.event.name();
        let mut data = Vec::with_capacity(128);
        let there = self.event.write_data(&mut data).map_err(|source| EventError::Data { event, source })?;
        let columns = Columns {
            seq: self.seq,
            time: self.time,
            boot: self.boot,
            up_micros: self.up_micros,
            prev,
            event,
            outcome: self.outcome,
            recording: self.subject.recording.as_ref(),
            source: self.subject.source.as_ref(),
            session: self.subject.session.as_ref(),
            purpose: self.subject.purpose.as_ref(),
            reason: self.subject.reason.as_ref(),
            policy: self.policy.as_ref(),
            data: there.then_some(&data),
            detail,
        };
        Ok(columns.write(out)?)
    }

    /// Reads an entry. An unknown event, or a detail against the rule, is an error.
    pub fn from_entry(entry: &Entry<'_>) -> Result<Self, EventError> {
        Self::of(entry.clone())
    }

    /// The same, taking the entry apart.
    pub fn of(entry: Entry<'_>) -> Result<Self, EventError> {
        let event = Event::from_data(&entry.event, entry.data.as_deref())?;
        let rule = match (event.detail_rule(), &entry.detail) {
            (DetailRule::Required, None) => Some("required"),
            (DetailRule::Forbidden, Some(_)) => Some("forbidden"),
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(EventError::Detail { event: event.name(), rule });
        }
        Ok(Self {
            seq: entry.seq,
            time: entry.time,
            boot: entry.boot,
            up_micros: entry.up_micros,
            event,
            outcome: entry.outcome,
            subject: Subject {
                recording: entry.recording,
                source: entry.source,
                session: entry.session,
                purpose: entry.purpose,
                reason: entry.reason,
            },
            policy: entry.policy,
        })
    }
}
