//! Entries that were signed and are none, or not as their event must be.

use data_encoding::BASE64;
use greffier::core::ledger::entry::{Entry, Outcome};

use super::conduct::told;
use super::ledger_support::{Site, raw};
use super::life::{RECORDING, SESSION, act, at, confirm, day, fact, life, morning};
use super::vector::Vector;

pub fn all() -> Vec<Vector> {
    let mut all = lines();
    all.extend(events());
    all
}

/// The line of an entry that would be good, changed as text; signed all the same.
fn line(name: &'static str, what: &'static str, change: impl FnOnce(&str) -> Vec<u8>) -> Vector {
    let mut site = day();
    confirm(&mut site);
    site.leaves.pop();
    let good = String::from_utf8(site.lines.pop().unwrap()).unwrap();
    let bad = change(&good);
    assert_ne!(bad, good.as_bytes());
    site.push_line(bad);
    Vector::of(name, what, &site).finds(&[("entry-format", Some(at::STOPPED + 1))])
}

fn replaced(from: &'static str, to: &'static str) -> impl FnOnce(&str) -> Vec<u8> {
    move |good| good.replacen(from, to, 1).into_bytes()
}

fn lines() -> Vec<Vector> {
    let mut all = vec![
        line(
            "line-key-order",
            "two keys of an entry have changed places",
            replaced(r#"{"v":1,"seq":14,"#, r#"{"seq":14,"v":1,"#),
        ),
        line(
            "line-key-unknown",
            "an entry has a key that is none",
            replaced(r#""event""#, r#""extra":1,"event""#),
        ),
        line(
            "line-key-doubled",
            "an entry has a key twice",
            replaced(r#""seq":14,"#, r#""seq":14,"seq":14,"#),
        ),
        line("line-key-missing", "an entry lacks a key", replaced(r#""outcome":"done","#, "")),
        line(
            "line-key-null",
            "an absent value is written as null",
            replaced(r#""policy""#, r#""source":null,"policy""#),
        ),
        line("line-version-2", "an entry of a version that is not known", replaced(r#""v":1"#, r#""v":2"#)),
        line("line-time-seconds", "a time without its six digits", |good| {
            let at = good.find(".000000Z").unwrap();
            [&good[..at], &good[at + 7..]].concat().into_bytes()
        }),
        line("line-time-offset", "a time that is not UTC", replaced(".000000Z", ".000000+00:00")),
        line("line-number-too-large", "a number of 2^53", |good| {
            let at = good.find(r#""up":"#).unwrap() + 5;
            let end = at + good[at..].find(',').unwrap();
            [&good[..at], "9007199254740992", &good[end..]].concat().into_bytes()
        }),
        line("line-hash-other-form", "a hash in a base64 with unused bits set", |good| {
            let at = good.find(r#""prev":""#).unwrap() + 8 + 42;
            let letter = char::from(good.as_bytes()[at] + 1);
            [&good[..at], &letter.to_string(), &good[at + 1..]].concat().into_bytes()
        }),
        line("line-hash-in-pieces", "a hash in two pieces of base64, each with its padding", |good| {
            let at = good.find(r#""prev":""#).unwrap() + 8;
            let hash = BASE64.decode(&good.as_bytes()[at..at + 44]).unwrap();
            let pieces = BASE64.encode(&hash[..2]) + &BASE64.encode(&hash[2..]);
            good.replace(&good[at..at + 44], &pieces).into_bytes()
        }),
        line(
            "line-event-escaped",
            "an event name written with an escape",
            replaced("ledger.clock", "ledger.cl\\u006fck"),
        ),
        line("line-break", "an entry of two lines", replaced(r#","event""#, ",\n\"event\"")),
        line("line-not-utf8", "an entry that is no UTF-8", |good| {
            let mut bytes = good.as_bytes().to_vec();
            let at = good.find("synchronised").unwrap();
            bytes[at] = 0xFF;
            bytes
        }),
        line("line-not-json", "an entry that is no JSON", |_| b"entry 14".to_vec()),
        line("line-empty", "an entry of no bytes", |_| Vec::new()),
        line("line-longer", "something follows the object", |good| format!("{good} {{}}").into_bytes()),
    ];
    let mut site = day();
    let seq = site.add("ledger.clock-confirmed", |entry: &mut Entry<'_>| {
        entry.seq += 1;
        entry.data = raw(r#"{"why":"synchronised"}"#);
    });
    all.push(
        Vector::of("line-number-of-another", "an entry calls itself by the number after its own", &site)
            .finds(&[("entry-order", Some(seq))]),
    );
    all
}

fn events() -> Vec<Vector> {
    let unknown = |site: &Site| vec![("event-unknown", Some(site.size() - 1))];
    vec![
        told("event-unknown", "an event that is not in the list", day, |site| {
            fact(site, "access.peeked", "{}");
            unknown(site)
        }),
        told("data-key-unknown", "the data of an event has a key that is none", day, |site| {
            fact(site, "ledger.clock-confirmed", r#"{"why":"synchronised","who":"x"}"#);
            unknown(site)
        }),
        told("data-key-missing", "the data of an event lacks a key", day, |site| {
            fact(site, "ledger.clock-confirmed", "{}");
            unknown(site)
        }),
        told("data-of-depth", "the data of an event is a hundred thousand brackets", day, |site| {
            let depth = 30_000;
            let bomb = format!(r#"{{"why":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            fact(site, "ledger.clock-confirmed", &bomb);
            unknown(site)
        }),
        told("detail-required", "an access without a detail: nobody was there", morning, |site| {
            fact(site, "access.searched", r#"{"what":"search"}"#);
            unknown(site)
        }),
        told("detail-forbidden", "a purge with a detail", life, |site| {
            act(site, "purge.failed", Some(r#"{"why":"interrupted"}"#), |_| ());
            unknown(site)
        }),
        told("column-missing", "an interruption that names no session", morning, |site| {
            let seq = fact(site, "access.interrupted", r#"{"why":"service-crashed"}"#);
            vec![("event-incomplete", Some(seq))]
        }),
        told("session-without-end-time", "a session is granted without end", morning, |site| {
            let seq = act(site, "access.opened", Some(r#"{"mode":"seek"}"#), |entry| {
                entry.outcome = Outcome::Granted;
                entry.recording = RECORDING.parse().ok();
                entry.source = "entrance".parse().ok();
                entry.session = SESSION.parse().ok();
            });
            vec![("event-incomplete", Some(seq))]
        }),
    ]
}
