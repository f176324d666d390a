//! The public line of one entry (design §5): written in one way, read strictly.
//!
//! Owns the keys and their order. Must never re-serialise a line to hash it: hashes are of the bytes as stored. What an
//! event means, and which keys its `data` has, is the business of `core::event`.

mod canonical;

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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

    /// Writes the line: the bytes that are stored and hashed. The values are checked by reading it back.
    pub fn to_line(&self) -> Result<Vec<u8>, EntryError> {
        let line = serde_json::to_vec(self).map_err(EntryError::Json)?;
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

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("v", &1)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("boot", &self.boot)?;
        map.serialize_entry("up", &self.up_micros)?;
        map.serialize_entry("prev", &self.prev)?;
        map.serialize_entry("event", &self.event)?;
        map.serialize_entry("outcome", &self.outcome)?;
        optional(&mut map, "recording", self.recording.as_ref())?;
        optional(&mut map, "source", self.source.as_ref())?;
        optional(&mut map, "session", self.session.as_ref())?;
        optional(&mut map, "purpose", self.purpose.as_ref())?;
        optional(&mut map, "reason", self.reason.as_ref())?;
        optional(&mut map, "policy", self.policy.as_ref())?;
        optional(&mut map, "data", self.data.as_deref())?;
        optional(&mut map, "detail", self.detail.as_ref())?;
        map.end()
    }
}

fn optional<M: SerializeMap, T: Serialize + ?Sized>(
    map: &mut M,
    key: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
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
mod tests {
    use super::super::hash::empty_hash;
    use super::*;

    const LINE: &str = concat!(
        r#"{"v":1,"seq":0,"time":"2026-05-12T10:00:00.000000Z","boot":"0f4b2c1d-8a6e-4c3b-9d2f-001122334455","up":7,"#,
        r#""prev":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","event":"ledger.created","outcome":"done","#,
        r#""source":"entrance","data":{"origin":"a/b"},"detail":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}"#
    );

    #[test]
    fn a_line_reads_and_writes_the_same_bytes() {
        let entry = Entry::parse(LINE.as_bytes()).unwrap();
        assert_eq!((entry.seq, entry.up_micros, entry.prev), (0, 7, empty_hash()));
        assert_eq!(entry.data.as_ref().unwrap().get(), r#"{"origin":"a/b"}"#);
        assert_eq!(entry.into_owned().to_line().unwrap(), LINE.as_bytes());
    }

    #[test]
    fn inv10_anything_else_is_refused() {
        let changes = [
            (r#""v":1"#, r#""v":2"#),
            (r#""v":1,"seq":0"#, r#""seq":0,"v":1"#),
            (r#""seq":0"#, r#""seq":0,"seq":0"#),
            (r#""seq":0"#, r#""seq":9007199254740992"#),
            (r#""seq":0"#, r#""seq":-1"#),
            (r#""up":7,"#, ""),
            (r#""source":"entrance","#, r#""source":null,"#),
            (r#""source":"entrance","#, r#""source":"En trance","#),
            (r#""source":"entrance","#, r#""source":"entrance","recording":"aaaaaaaaaaaaaaaaaaaaaaaaaa","#),
            (r#""source""#, r#""sauce""#),
            ("10:00:00.000000Z", "10:00:00Z"),
            ("10:00:00.000000Z", "10:00:00.0000000000Z"),
            ("ledger.created", "created"),
            ("ledger.created", "ledger.cr\\u0065ated"),
            (r#""done""#, r#""maybe""#),
            (r#"{"origin":"a/b"}"#, "7"),
            (r#"{"v""#, " {\n\"v\""),
            (r#"SuFU="}"#, r#"SuFU=","x":1}"#),
            (r#"SuFU="}"#, r#"SuFU="} "x""#),
        ];
        for (from, to) in changes {
            let line = LINE.replace(from, to);
            assert_ne!(line, LINE);
            assert!(Entry::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    /// Equal in every field, or refused by both.
    fn same(line: &[u8]) {
        let quick = canonical::read(line);
        let slow = Entry::parse_any_form(line);
        if check_line(line).is_err() {
            return;
        }
        if let Some(quick) = quick {
            assert_eq!(
                format!("{quick:?}"),
                format!("{:?}", slow.unwrap()),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    fn full_line() -> String {
        LINE.replace(
            r#""source":"entrance","#,
            concat!(
                r#""recording":"aaaaaaaaaaaaaaaaaaaaaaaaaa","source":"entrance","session":"baaaaaaaaaaaaaaaaaaaaaaaaa","#,
                r#""purpose":"safety","reason":"theft","#,
                r#""policy":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","#
            ),
        )
    }

    #[test]
    fn lines_as_the_daemon_writes_them_are_read_in_one_pass() {
        for line in [LINE.to_owned(), full_line(), LINE.replace(r#","data":{"origin":"a/b"}"#, "")] {
            assert!(canonical::read(line.as_bytes()).is_some(), "{line}");
            same(line.as_bytes());
        }
    }

    #[test]
    fn inv10_every_changed_byte_is_read_alike_in_one_pass_and_by_the_rule() {
        let line = full_line().into_bytes();
        for place in 0..line.len() {
            for byte in 0x20..=0x7E_u8 {
                let mut changed = line.clone();
                changed[place] = byte;
                same(&changed);
            }
            let mut shorter = line.clone();
            shorter.remove(place);
            same(&shorter);
        }
    }

    #[test]
    fn inv10_times_at_the_edges_are_read_alike() {
        for time in [
            "0000-01-01T00:00:00.000000Z",
            "0001-01-01T00:00:00.000000Z",
            "1970-01-01T00:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T23:59:59.999999Z",
            "2023-02-29T00:00:00.000000Z",
            "2100-02-29T00:00:00.000000Z",
            "2000-02-29T00:00:00.000000Z",
            "2026-04-31T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-10T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-05-12T24:00:00.000000Z",
            "2026-05-12T10:60:00.000000Z",
            "2026-06-30T23:59:60.000000Z",
            "9999-12-30T21:59:59.999999Z",
            "9999-12-30T22:00:00.000000Z",
            "9999-12-31T23:59:59.999999Z",
            "2026-05-12t10:00:00.000000Z",
            "2026-05-12 10:00:00.000000Z",
        ] {
            same(LINE.replace("2026-05-12T10:00:00.000000Z", time).as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn inv10_changed_lines_are_read_alike(
            edits in proptest::collection::vec((0..700_usize, ".{0,3}", 0..4_usize), 1..4)
        ) {
            let mut line: Vec<char> = full_line().chars().collect();
            for (place, text, cut) in edits {
                let place = place.min(line.len());
                let end = (place + cut).min(line.len());
                line.splice(place..end, text.chars());
            }
            same(line.into_iter().collect::<String>().as_bytes());
        }

        #[test]
        fn inv10_any_time_is_read_alike(micros in -62_135_596_800_000_000..253_402_207_200_000_000_i64) {
            let time = Timestamp::from_micros(micros).unwrap().to_string();
            let line = LINE.replace("2026-05-12T10:00:00.000000Z", &time);
            proptest::prop_assert!(canonical::read(line.as_bytes()).is_some_and(|it| it.time.as_micros() == micros));
            same(line.as_bytes());
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_back_is_not_written() {
        let good = Entry::parse(LINE.as_bytes()).unwrap();
        assert!(Entry { seq: MAX_SIZE, ..good.clone() }.to_line().is_err());
        assert!(Entry { event: "Bad".into(), ..good.clone() }.to_line().is_err());
        let text = format!(r#"{{"x":"{}"}}"#, "y".repeat(MAX_ENTRY_BYTES));
        let data = Some(Cow::Owned(RawValue::from_string(text).unwrap()));
        assert!(matches!(Entry { data, ..good }.to_line(), Err(EntryError::TooLong(_))));
    }
}
