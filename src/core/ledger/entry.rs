//! The public line of one entry (design §5): written in one way, read strictly.
//!
//! Owns the keys and their order. Must never re-serialise a line to hash it: hashes are of the bytes as stored. What an
//! event means, and which keys its `data` has, is the business of `core::event`.

mod canonical;
mod write;

pub use write::Columns;

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::checkpoint::MAX_SIZE;
use super::hash::Hash;
use super::tile::MAX_ENTRY_BYTES;
use crate::core::ids::{Digest, PurposeId, ReasonCode, RecordingId, SessionId, SourceId};
use crate::core::time::{BootId, Timestamp};

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// Access was granted.
    Granted,
    /// Access was denied.
    Denied,
    /// It was tried and failed.
    Failed,
}

impl Outcome {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// One entry, without its personal part. It borrows from the line it was read from.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Place in the ledger, from 0, below 2^53.
    pub seq: u64,
    /// The wall clock, as read.
    pub time: Timestamp,
    /// Which boot `up_micros` counts from.
    pub boot: BootId,
    /// Microseconds since boot, below 2^53. Written `up`.
    pub up_micros: u64,
    /// Leaf hash of the entry before; of nothing for entry 0.
    pub prev: Hash,
    /// Name of the event, `group.word`.
    pub event: Cow<'a, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The recording concerned.
    pub recording: Option<RecordingId>,
    /// The source concerned.
    pub source: Option<SourceId>,
    /// The session concerned.
    pub session: Option<SessionId>,
    /// The purpose stated.
    pub purpose: Option<PurposeId>,
    /// The reason stated: a code, never free text.
    pub reason: Option<ReasonCode>,
    /// SHA-256 of the policy in force.
    pub policy: Option<Digest>,
    /// Facts that identify no person: a JSON object whose keys depend on the event.
    pub data: Option<Cow<'a, RawValue>>,
    /// Commitment to the detail line.
    pub detail: Option<Hash>,
}

/// A line that is not an entry, or an entry that cannot become a line.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Longer than 65,535 bytes.
    #[error("an entry of {0} bytes; it has at most 65535")]
    TooLong(usize),
    /// A line break or another control character.
    #[error("an entry is one line; it holds a control character")]
    NotOneLine,
    /// A value that no line may hold.
    #[error("an entry cannot hold {0}")]
    OutOfRange(&'static str),
    /// Not JSON, or not with exactly the keys of an entry in their order.
    #[error("not an entry")]
    Json(#[source] serde_json::Error),
}

/// The keys of a line in their order (design §5).
const KEYS: [&str; 16] = [
    "v",
    "seq",
    "time",
    "boot",
    "up",
    "prev",
    "event",
    "outcome",
    "recording",
    "source",
    "session",
    "purpose",
    "reason",
    "policy",
    "data",
    "detail",
];

impl<'a> Entry<'a> {
    /// Reads one line: known keys only, each once, in their order, none `null`.
    pub fn parse(line: &'a [u8]) -> Result<Self, EntryError> {
        check_line(line)?;
        match canonical::read(line) {
            Some(entry) => Ok(entry),
            None => Self::parse_any_form(line),
        }
    }

    /// The rule: what this accepts is an entry, whatever its form. [`canonical::read`] only gets there sooner.
    fn parse_any_form(line: &'a [u8]) -> Result<Self, EntryError> {
        serde_json::from_slice(line).map_err(EntryError::Json)
    }

    /// Writes the line: the bytes that are stored and hashed. Data that came from elsewhere is checked by reading it back.
    pub fn to_line(&self) -> Result<Vec<u8>, EntryError> {
        let mut line = Vec::new();
        Columns {
            seq: self.seq,
            time: self.time,
            boot: self.boot,
            up_micros: self.up_micros,
            prev: self.prev,
            event: &self.event,
            outcome: self.outcome,
            recording: self.recording.as_ref(),
            source: self.source.as_ref(),
            session: self.session.as_ref(),
            purpose: self.purpose.as_ref(),
            reason: self.reason.as_ref(),
            policy: self.policy.as_ref(),
            data: self.data.as_ref().map(|data| data.get().as_bytes()),
            detail: self.detail.as_ref(),
        }
        .write(&mut line)?;
        Entry::parse(&line)?;
        Ok(line)
    }

    /// `data` as one type; absent `data` reads like `{}`.
    pub fn data_as<'b, T: Deserialize<'b>>(&'b self) -> Result<T, EntryError> {
        let text = self.data.as_ref().map_or("{}", |data| data.get());
        serde_json::from_str(text).map_err(EntryError::Json)
    }

    /// The same entry, independent of the line it was read from.
    pub fn into_owned(self) -> Entry<'static> {
        Entry {
            event: Cow::Owned(self.event.into_owned()),
            data: self.data.map(|data| Cow::Owned(data.into_owned())),
            ..self
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl<'de> Visitor<'de> for Line {
            type Value = Entry<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry of the ledger")
            }
            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Entry<'de>, M::Error> {
                read_line(Keys { map, next: None, place: 0 })
            }
        }
        deserializer.deserialize_map(Line)
    }
}

/// The keys of a line as they come, each held back until its turn in `KEYS`.
struct Keys<M> {
    map: M,
    next: Option<&'static str>,
    place: usize,
}

impl<'de, M: MapAccess<'de>> Keys<M> {
    /// The value of `key` if that is the next key of the line.
    fn optional<T: Deserialize<'de>>(&mut self, key: &'static str) -> Result<Option<T>, M::Error> {
        if self.next.is_none() {
            self.next = self.read_key()?;
        }
        if self.next != Some(key) {
            return Ok(None);
        }
        self.next = None;
        self.map.next_value().map(Some)
    }

    fn required<T: Deserialize<'de>>(&mut self, key: &'static str) -> Result<T, M::Error> {
        self.optional(key)?.ok_or_else(|| de::Error::missing_field(key))
    }

    /// Any key must stand further on in `KEYS` than the one before it: so none is unknown, doubled or out of order.
    fn read_key(&mut self) -> Result<Option<&'static str>, M::Error> {
        let Some(found) = self.map.next_key::<Cow<'de, str>>()? else { return Ok(None) };
        let place = KEYS.iter().position(|key| *key == found);
        match place.and_then(|place| Some((place, *KEYS.get(place)?))) {
            Some((place, key)) if place >= self.place => {
                self.place = place + 1;
                Ok(Some(key))
            }
            _ => Err(de::Error::custom(format_args!("key {found:?} is unknown, doubled or out of order"))),
        }
    }
}

fn read_line<'de, M: MapAccess<'de>>(mut keys: Keys<M>) -> Result<Entry<'de>, M::Error> {
    if keys.required::<u64>("v")? != 1 {
        return Err(de::Error::custom("only version 1 is known"));
    }
    let entry = Entry {
        seq: below_2_53(keys.required("seq")?)?,
        time: strict_time(keys.required("time")?)?,
        boot: keys.required("boot")?,
        up_micros: below_2_53(keys.required("up")?)?,
        prev: keys.required("prev")?,
        event: Cow::Borrowed(event_name(keys.required("event")?)?),
        outcome: keys.required("outcome")?,
        recording: keys.optional("recording")?,
        source: keys.optional("source")?,
        session: keys.optional("session")?,
        purpose: keys.optional("purpose")?,
        reason: keys.optional("reason")?,
        policy: keys.optional("policy")?,
        data: keys.optional::<&RawValue>("data")?.map(object).transpose()?,
        detail: keys.optional("detail")?,
    };
    // Every key passed its turn; one still held back came again or too late.
    match keys.next.or(keys.read_key()?) {
        None => Ok(entry),
        Some(key) => Err(de::Error::custom(format_args!("key {key:?} is doubled or out of order"))),
    }
}

fn below_2_53<E: de::Error>(number: u64) -> Result<u64, E> {
    if number < MAX_SIZE { Ok(number) } else { Err(E::custom("a number of 2^53 or more")) }
}

/// One instant has one text: UTC, six digits after the point.
fn strict_time<E: de::Error>(text: &str) -> Result<Timestamp, E> {
    let time: Timestamp = text.parse().map_err(E::custom)?;
    let one_form = text.len() == "2026-05-12T10:00:00.000000Z".len() && text.ends_with('Z');
    if one_form { Ok(time) } else { Err(E::custom("a time has six digits after the point and ends in Z")) }
}

fn event_name<E: de::Error>(name: &str) -> Result<&str, E> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'-'));
    let good =
        name.len() <= 64 && name.split_once('.').is_some_and(|(group, what)| word(group) && word(what));
    if good {
        Ok(name)
    } else {
        Err(E::custom("an event name is two words of a-z and \"-\" with a point between"))
    }
}

fn object<E: de::Error>(data: &RawValue) -> Result<Cow<'_, RawValue>, E> {
    if data.get().starts_with('{') {
        Ok(Cow::Borrowed(data))
    } else {
        Err(E::custom("data is not an object"))
    }
}

fn check_line(line: &[u8]) -> Result<(), EntryError> {
    if line.len() > MAX_ENTRY_BYTES {
        return Err(EntryError::TooLong(line.len()));
    }
    // Without an early end, so that it runs over many bytes at once.
    if line.iter().fold(false, |found, byte| found | (*byte < 0x20) | (*byte == 0x7F)) {
        return Err(EntryError::NotOneLine);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
