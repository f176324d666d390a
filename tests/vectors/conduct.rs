//! What was signed and yet may not happen, or may not be written so.

use greffier::core::ledger::entry::{Entry, Outcome};

use super::ledger_support::{START_MICROS, Site, raw};
use super::life::{
    POLICY, RECORDING, SESSION, SHA256, a_month_later, act, at, confirm, day, fact, hold, life, morning, open, plan,
    purge, seal, session, start, stop,
};
use super::vector::{Found, Vector};

pub fn all() -> Vec<Vector> {
    let mut all = conduct();
    all.extend(lines());
    all.extend(events());
    all
}

/// A ledger that grows from `begin`, and what must be found in it.
fn told(
    name: &'static str,
    what: &'static str,
    begin: fn() -> Site,
    tell: impl FnOnce(&mut Site) -> Vec<Found>,
) -> Vector {
    let mut site = begin();
    let found = tell(&mut site);
    Vector::of(name, what, &site).finds(&found)
}

fn conduct() -> Vec<Vector> {
    vec![
        told("opening-without-grant", "a recording is read in a session that no entry grants", morning, |site| {
            open(site, Outcome::Denied);
            let (read, closed) = (session(site, "access.progress"), session(site, "access.closed"));
            vec![("session-without-grant", Some(read)), ("session-without-grant", Some(closed))]
        }),
        told("session-goes-on", "a session that had ended is read on", morning, |site| {
            open(site, Outcome::Granted);
            session(site, "access.closed");
            vec![("session-without-grant", Some(session(site, "access.progress")))]
        }),
        told("session-twice", "a session is opened a second time while it runs", morning, |site| {
            open(site, Outcome::Granted);
            let twice = open(site, Outcome::Granted);
            session(site, "access.closed");
            vec![("session-twice", Some(twice))]
        }),
        told("opening-of-nothing", "a recording is opened that was never sealed", begin_without_recording, |site| {
            let opened = open(site, Outcome::Granted);
            let closed = session(site, "access.closed");
            vec![("recording-unknown", Some(opened)), ("session-without-grant", Some(closed))]
        }),
        told("opening-of-a-purged-recording", "a recording is opened after its purge", life, |site| {
            start(site);
            let opened = open(site, Outcome::Granted);
            let closed = session(site, "access.closed");
            vec![("recording-unknown", Some(opened)), ("session-without-grant", Some(closed))]
        }),
        told("recording-sealed-twice", "a recording is sealed under an id that is taken", morning, |site| {
            vec![("recording-twice", Some(seal(site, RECORDING)))]
        }),
        told("purge-of-held", "a recording under a hold is purged", morning, |site| {
            hold(site, "hold.placed");
            stop(site);
            a_month_later(site);
            start(site);
            let found = vec![("purge-under-hold", Some(plan(site))), ("purge-under-hold", Some(purge(site)))];
            stop(site);
            found
        }),
        told("hold-during-purge", "a hold is placed on a recording whose purge was decided", morning, |site| {
            stop(site);
            a_month_later(site);
            start(site);
            plan(site);
            let found = vec![("hold-during-purge", Some(hold(site, "hold.placed")))];
            purge(site);
            stop(site);
            found
        }),
        told("hold-lifted-that-stood-not", "a hold is lifted that did not stand", morning, |site| {
            vec![("hold-unknown", Some(hold(site, "hold.lifted")))]
        }),
        told("hold-placed-twice", "a hold is placed under an id that is taken", morning, |site| {
            hold(site, "hold.placed");
            vec![("hold-unknown", Some(hold(site, "hold.placed")))]
        }),
        told("purge-without-plan", "a recording is purged, and no entry decided it", morning, |site| {
            stop(site);
            a_month_later(site);
            start(site);
            let found = vec![("purge-without-plan", Some(purge(site)))];
            found
        }),
        told("purge-early", "a recording is purged before its earliest time", morning, |site| {
            plan(site);
            vec![("purge-early", Some(purge(site)))]
        }),
        told("purge-twice", "a recording is purged a second time", life, |site| {
            vec![("recording-unknown", Some(purge(site)))]
        }),
        told("time-falls", "the wall clock falls, and no ledger.clock-suspect says so", day, |site| {
            let up = site.time_micros - START_MICROS + 1_000_000;
            site.time_micros -= 3600 * 1_000_000;
            let seq = site.add("ledger.clock-confirmed", |entry| {
                entry.policy = POLICY.parse().ok();
                entry.up_micros = up as u64;
                entry.data = raw(r#"{"why":"synchronised"}"#);
            });
            vec![("time-falls", Some(seq))]
        }),
        told("uptime-falls", "the time since boot falls in one boot", day, |site| {
            let seq = site.add("ledger.clock-confirmed", |entry| {
                entry.policy = POLICY.parse().ok();
                entry.up_micros = 5;
                entry.data = raw(r#"{"why":"synchronised"}"#);
            });
            vec![("time-falls", Some(seq))]
        }),
    ]
}

/// Up to the source, without a recording.
fn begin_without_recording() -> Site {
    let mut site = morning();
    site.lines.pop();
    site.leaves.pop();
    site
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
        line("line-key-order", "two keys of an entry have changed places", replaced(r#"{"v":1,"seq":14,"#, r#"{"seq":14,"v":1,"#)),
        line("line-key-unknown", "an entry has a key that is none", replaced(r#""event""#, r#""extra":1,"event""#)),
        line("line-key-doubled", "an entry has a key twice", replaced(r#""seq":14,"#, r#""seq":14,"seq":14,"#)),
        line("line-key-missing", "an entry lacks a key", replaced(r#""outcome":"done","#, "")),
        line("line-key-null", "an absent value is written as null", replaced(r#""policy""#, r#""source":null,"policy""#)),
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
        line("line-event-escaped", "an event name written with an escape", replaced("ledger.clock", "ledger.cl\\u006fck")),
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
        entry.policy = POLICY.parse().ok();
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
        told("column-missing", "an interruption that names no session", day, |site| {
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
            assert!(SHA256.len() == 64);
            vec![("event-incomplete", Some(seq))]
        }),
    ]
}
