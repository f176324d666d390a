//! The way between a typed event and its ledger entry.

use std::borrow::Cow;

use super::{DetailRule, Draft, Event, EventError, Record, Subject};
use crate::core::ids::Digest;
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::Hash;
use crate::core::time::Moment;

/// The place that the writer gives to a draft.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// The clocks, read for its batch.
    pub moment: Moment,
    /// Leaf hash of the entry before.
    pub prev: Hash,
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

    /// The entry and the record of this draft at `place`. `detail` is the commitment to its detail line.
    pub fn at(&self, place: &Place, detail: Option<Hash>) -> Result<(Entry<'static>, Record), EventError> {
        let event = self.event.name();
        let data = self.event.to_data().map_err(|source| EventError::Data { event, source })?;
        let Subject { recording, source, session, purpose, reason } = self.subject.clone();
        let Moment { time, boot, up_micros, .. } = place.moment;
        let entry = Entry {
            seq: place.seq,
            time,
            boot,
            up_micros,
            prev: place.prev,
            event: event.into(),
            outcome: self.outcome,
            recording,
            source,
            session,
            purpose,
            reason,
            policy: place.policy,
            data: data.map(Cow::Owned),
            detail,
        };
        let record = Record {
            seq: place.seq,
            time,
            boot,
            up_micros,
            event: self.event.clone(),
            outcome: self.outcome,
            subject: self.subject.clone(),
            policy: place.policy,
        };
        Ok((entry, record))
    }
}

impl Record {
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
