//! Lines are read strictly and written in one way.

use proptest::option::of;
use proptest::prelude::*;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::hash::empty_hash;
use super::*;

/// The rule of writing: [`Columns`] only gets there sooner.
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
        assert_eq!(format!("{quick:?}"), format!("{:?}", slow.unwrap()), "{}", String::from_utf8_lossy(line));
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

/// Any entry that the types allow.
fn any_entry() -> impl Strategy<Value = Entry<'static>> {
    let token = || "[a-z0-9-]{1,64}";
    let ids = (any::<Option<[u8; 16]>>(), any::<Option<[u8; 16]>>(), any::<Option<[u8; 32]>>());
    let tokens = (of(token()), of(token()), of(token()));
    // From the year 0 on: other readers know it, so it can be read.
    let numbers = (0..MAX_SIZE, 0..MAX_SIZE, -62_167_219_200_000_000..253_402_207_200_000_000_i64);
    let hashes = (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<Option<[u8; 32]>>());
    let words = ("[a-z-]{1,31}", "[a-z-]{1,31}", 0..4_usize, of("\\PC{0,40}"));
    (ids, tokens, numbers, hashes, words).prop_map(|(ids, tokens, numbers, hashes, words)| {
        let outcomes = [Outcome::Done, Outcome::Granted, Outcome::Denied, Outcome::Failed];
        let data =
            words.3.map(|text| serde_json::value::to_raw_value(&[("x", text)].into_iter().collect::<Map>()));
        Entry {
            seq: numbers.0,
            time: Timestamp::from_micros(numbers.2).unwrap(),
            boot: BootId::from_bytes(hashes.0),
            up_micros: numbers.1,
            prev: Hash(hashes.1),
            event: format!("{}.{}", words.0, words.1).into(),
            outcome: outcomes[words.2],
            recording: ids.0.map(RecordingId::from_bytes),
            source: tokens.0.map(|text| text.parse().unwrap()),
            session: ids.1.map(SessionId::from_bytes),
            purpose: tokens.1.map(|text| text.parse().unwrap()),
            reason: tokens.2.map(|text| text.parse().unwrap()),
            policy: ids.2.map(Digest),
            data: data.map(|data| Cow::Owned(data.unwrap())),
            detail: hashes.2.map(Hash),
        }
    })
}

type Map = std::collections::BTreeMap<&'static str, String>;

proptest! {
    #[test]
    fn a_line_is_written_in_one_pass_as_by_the_rule(entry in any_entry()) {
        let line = serde_json::to_vec(&entry).unwrap();
        match entry.to_line() {
            Ok(written) => {
                prop_assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(line.clone()).unwrap());
                prop_assert_eq!(format!("{:?}", Entry::parse(&line).unwrap()), format!("{entry:?}"));
            }
            Err(_) => prop_assert!(Entry::parse(&line).is_err()),
        }
    }
}
