//! The line written in one pass: the keys in their order, nothing copied twice.
//!
//! Must never write a line that [`super::Entry::parse`] refuses, or reads as another entry: the property tests compare it
//! with the general writer and read everything back.

use super::{EntryError, Outcome, check_line, event_name};
use crate::core::ids::{Digest, PurposeId, ReasonCode, RecordingId, SessionId, SourceId};
use crate::core::ledger::checkpoint::MAX_SIZE;
use crate::core::ledger::hash::Hash;
use crate::core::time::{BootId, Timestamp};

/// What stands in a line, borrowed from wherever it is; see [`super::Entry`].
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Place in the ledger.
    pub seq: u64,
    /// The wall clock.
    pub time: Timestamp,
    /// The boot.
    pub boot: BootId,
    /// Microseconds since boot.
    pub up_micros: u64,
    /// Leaf hash of the entry before.
    pub prev: Hash,
    /// Name of the event.
    pub event: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// The recording.
    pub recording: Option<&'a RecordingId>,
    /// The source.
    pub source: Option<&'a SourceId>,
    /// The session.
    pub session: Option<&'a SessionId>,
    /// The purpose.
    pub purpose: Option<&'a PurposeId>,
    /// The reason.
    pub reason: Option<&'a ReasonCode>,
    /// The policy in force.
    pub policy: Option<&'a Digest>,
    /// The text of a JSON object.
    pub data: Option<&'a [u8]>,
    /// Commitment to the detail line.
    pub detail: Option<&'a Hash>,
}

impl Columns<'_> {
    /// Appends the line to `out`: the bytes that are stored and hashed.
    ///
    /// # Errors
    /// A value that no line may hold. Then `out` holds what could be written, which is no line.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        let begin = out.len();
        if self.seq >= MAX_SIZE || self.up_micros >= MAX_SIZE {
            return Err(EntryError::OutOfRange("a number of 2^53 or more"));
        }
        let event = event_name::<serde_json::Error>(self.event).map_err(EntryError::Json)?;
        let time =
            self.time.canonical().ok_or(EntryError::OutOfRange("a time whose year has not four digits"))?;
        if self.data.is_some_and(|data| data.first() != Some(&b'{')) {
            return Err(EntryError::OutOfRange("data that is not an object"));
        }
        out.extend_from_slice(b"{\"v\":1,\"seq\":");
        number(out, self.seq);
        text(out, b",\"time\":\"", &time);
        text(out, b"\",\"boot\":\"", &self.boot.text());
        out.extend_from_slice(b"\",\"up\":");
        number(out, self.up_micros);
        text(out, b",\"prev\":\"", &self.prev.text());
        text(out, b"\",\"event\":\"", event.as_bytes());
        text(out, b"\",\"outcome\":\"", self.outcome.as_str().as_bytes());
        // The alphabets of what follows hold nothing that JSON would have to escape.
        if let Some(id) = self.recording {
            text(out, b"\",\"recording\":\"", &id.text());
        }
        if let Some(id) = self.source {
            text(out, b"\",\"source\":\"", id.as_str().as_bytes());
        }
        if let Some(id) = self.session {
            text(out, b"\",\"session\":\"", &id.text());
        }
        if let Some(id) = self.purpose {
            text(out, b"\",\"purpose\":\"", id.as_str().as_bytes());
        }
        if let Some(id) = self.reason {
            text(out, b"\",\"reason\":\"", id.as_str().as_bytes());
        }
        if let Some(digest) = self.policy {
            text(out, b"\",\"policy\":\"", &digest.text());
        }
        out.push(b'"');
        if let Some(data) = self.data {
            text(out, b",\"data\":", data);
        }
        if let Some(hash) = self.detail {
            text(out, b",\"detail\":\"", &hash.text());
            out.push(b'"');
        }
        out.push(b'}');
        let line = out.get(begin..).unwrap_or_default();
        check_line(line)?;
        debug_assert!(super::Entry::parse(line).is_ok(), "{}", String::from_utf8_lossy(line));
        Ok(())
    }
}

fn text(out: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    out.extend_from_slice(before);
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, number: u64) {
    // 20 digits are enough for every u64.
    let mut digits = [0; 20];
    let mut rest = number;
    let mut first = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        first = place;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}
