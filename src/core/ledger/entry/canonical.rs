//! The line as the daemon writes it, read in one pass: no escapes, no spaces, nothing copied that need not be.
//!
//! `None` says nothing about the line: the general parser decides then. Must never accept a line that the general parser
//! refuses, nor read another value from it; a property test compares the two.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Entry, Outcome, event_name};
use crate::core::ids::{Digest, PurposeId, ReasonCode, RecordingId, SessionId, SourceId};
use crate::core::ledger::checkpoint::MAX_SIZE;
use crate::core::ledger::hash::Hash;
use crate::core::time::{BootId, Timestamp};

/// Longest text that an entry holds outside `data`.
const MAX_TEXT_BYTES: usize = 64;

/// Reads a line that [`super::check_line`] let pass.
pub fn read(line: &[u8]) -> Option<Entry<'_>> {
    let mut cursor = Cursor { rest: std::str::from_utf8(line).ok()? };
    cursor.literal("{\"v\":1,\"seq\":")?;
    let seq = cursor.number()?;
    cursor.literal(",\"time\":\"")?;
    let time = Timestamp::from_canonical(cursor.chunk()?)?;
    cursor.literal("\",\"boot\":\"")?;
    let boot = BootId::from_text(cursor.chunk()?)?;
    cursor.literal("\",\"up\":")?;
    let up_micros = cursor.number()?;
    cursor.literal(",\"prev\":\"")?;
    let prev = Hash::from_text(cursor.chunk()?)?;
    cursor.literal("\",\"event\":\"")?;
    let event = event_name::<serde_json::Error>(cursor.text()?).ok()?;
    cursor.literal(",\"outcome\":\"")?;
    let outcome = outcome(cursor.text()?)?;
    let recording: Option<RecordingId> = cursor.optional(",\"recording\":\"")?;
    let source: Option<SourceId> = cursor.optional(",\"source\":\"")?;
    let session: Option<SessionId> = cursor.optional(",\"session\":\"")?;
    let purpose: Option<PurposeId> = cursor.optional(",\"purpose\":\"")?;
    let reason: Option<ReasonCode> = cursor.optional(",\"reason\":\"")?;
    let policy: Option<Digest> = cursor.optional(",\"policy\":\"")?;
    let data = cursor.data()?;
    let detail: Option<Hash> = cursor.optional(",\"detail\":\"")?;
    (cursor.rest == "}").then_some(Entry {
        seq,
        time,
        boot,
        up_micros,
        prev,
        event: Cow::Borrowed(event),
        outcome,
        recording,
        source,
        session,
        purpose,
        reason,
        policy,
        data: data.map(Cow::Borrowed),
        detail,
    })
}

fn outcome(text: &str) -> Option<Outcome> {
    match text {
        "done" => Some(Outcome::Done),
        "granted" => Some(Outcome::Granted),
        "denied" => Some(Outcome::Denied),
        "failed" => Some(Outcome::Failed),
        _ => None,
    }
}

/// What of the line is still to be read.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn literal(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.rest.split_at_checked(N)?;
        self.rest = rest;
        chunk.as_bytes().first_chunk()
    }

    /// A number as JSON writes it, below 2^53.
    fn number(&mut self) -> Option<u64> {
        let length = self.rest.bytes().take(17).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        if digits.len() > 1 && digits.starts_with('0') || digits.is_empty() {
            return None;
        }
        // At most 17 digits: no overflow.
        let number = digits.bytes().fold(0, |number: u64, digit| number * 10 + u64::from(digit & 0x0F));
        (number < MAX_SIZE).then_some(number)
    }

    /// The text up to the next quotation mark, which is read too. An escape in it fits no alphabet of an entry.
    fn text(&mut self) -> Option<&'a str> {
        let length = self.rest.bytes().take(MAX_TEXT_BYTES + 1).position(|byte| byte == b'"')?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest.get(1..)?;
        Some(text)
    }

    /// `None` when the value cannot be read, `Some(None)` when the key is not the next one.
    fn optional<T: std::str::FromStr>(&mut self, key: &str) -> Option<Option<T>> {
        let Some(rest) = self.rest.strip_prefix(key) else { return Some(None) };
        self.rest = rest;
        self.text()?.parse().ok().map(Some)
    }

    fn data(&mut self) -> Option<Option<&'a RawValue>> {
        let Some(rest) = self.rest.strip_prefix(",\"data\":") else { return Some(None) };
        if !rest.starts_with('{') {
            return None;
        }
        // Reads one value and leaves what follows it.
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let data = values.next()?.ok()?;
        self.rest = rest.get(data.get().len()..)?;
        Some(Some(data))
    }
}
