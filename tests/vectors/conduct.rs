//! What was signed and yet may not happen: the rules of conduct.

use greffier::core::ledger::entry::{Entry, Outcome};

use super::ledger_support::{START_MICROS, Site, raw};
use super::life::{
    HOLD, OTHER_POLICY, RECORDING, SESSION, a_month_later, about, act, at, confirm, day, days_later, fact,
    hold, life, morning, open, plan, purge, seal, session, start, stop,
};
use super::vector::{Found, Vector};

pub fn all() -> Vec<Vector> {
    let mut all = conduct();
    all.extend(service());
    all.extend(access());
    all.extend(retention());
    all
}

/// A ledger that grows from `begin`, and what must be found in it.
pub fn told(
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
        told(
            "opening-without-grant",
            "a recording is read in a session that no entry grants",
            morning,
            |site| {
                open(site, Outcome::Denied);
                let (read, closed) = (session(site, "access.progress"), session(site, "access.closed"));
                vec![("session-without-grant", Some(read)), ("session-without-grant", Some(closed))]
            },
        ),
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
        told(
            "opening-of-nothing",
            "a recording is opened that was never sealed",
            begin_without_recording,
            |site| {
                let opened = open(site, Outcome::Granted);
                let closed = session(site, "access.closed");
                vec![("recording-unknown", Some(opened)), ("session-without-grant", Some(closed))]
            },
        ),
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
        told(
            "hold-during-purge",
            "a hold is placed on a recording whose purge was decided",
            morning,
            |site| {
                stop(site);
                a_month_later(site);
                start(site);
                plan(site);
                let found = vec![("hold-during-purge", Some(hold(site, "hold.placed")))];
                purge(site);
                stop(site);
                found
            },
        ),
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
            start(site);
            vec![("recording-unknown", Some(purge(site)))]
        }),
        told("time-falls", "the wall clock falls, and no ledger.clock-suspect says so", day, |site| {
            let up = site.time_micros - START_MICROS + 1_000_000;
            site.time_micros -= 3600 * 1_000_000;
            let seq = site.add("ledger.clock-confirmed", |entry| {
                entry.up_micros = up as u64;
                entry.data = raw(r#"{"why":"synchronised"}"#);
            });
            vec![("time-falls", Some(seq))]
        }),
        told("uptime-falls", "the time since boot falls in one boot", day, |site| {
            let seq = site.add("ledger.clock-confirmed", |entry| {
                entry.up_micros = 5;
                entry.data = raw(r#"{"why":"synchronised"}"#);
            });
            vec![("time-falls", Some(seq))]
        }),
    ]
}

fn service() -> Vec<Vector> {
    vec![
        told("policy-change-invisible", "an entry names a policy that no entry loads", day, |site| {
            start(site);
            site.policy = OTHER_POLICY.parse().ok();
            vec![("policy-differs", Some(confirm(site)))]
        }),
        told("start-missing", "the service acts after it had stopped", day, |site| {
            vec![("start-missing", Some(seal(site, OTHER_RECORDING)))]
        }),
        told(
            "crash-denied",
            "a start does not say that the run before it ended without a stop",
            morning,
            |site| vec![("start-untrue", Some(fact(site, "ledger.started", r#"{"version":"0.1.0"}"#)))],
        ),
        told(
            "crash-invented",
            "a start says that the run before it crashed, which had stopped",
            day,
            |site| {
                let data = r#"{"version":"0.1.0","after_crash":true}"#;
                vec![("start-untrue", Some(fact(site, "ledger.started", data)))]
            },
        ),
        told(
            "silence",
            "three hours of silence of a service that announced an entry every hour",
            morning,
            |site| {
                fact(site, "ledger.heartbeat", r#"{"interval_s":3600}"#);
                site.time_micros += 3 * 3600 * 1_000_000;
                vec![("silence", Some(confirm(site)))]
            },
        ),
        told(
            "source-registered-twice",
            "a source is registered that is registered already",
            morning,
            |site| vec![("source-contradiction", Some(source(site, "source.registered", "entrance")))],
        ),
        told("source-changed-unknown", "a source is changed that is not registered", morning, |site| {
            vec![("source-contradiction", Some(source(site, "source.changed", "yard")))]
        }),
        told(
            "source-unregistered",
            "a recording of a source that no entry registers is sealed",
            morning,
            |site| {
                site.add("source.retired", |entry| entry.source = "entrance".parse().ok());
                source(site, "source.registered", "yard");
                let again = site.lines[at::SEALED as usize].clone();
                let again = Entry::parse(&again).unwrap().into_owned();
                let seq = site.add("recording.sealed", |entry| {
                    entry.recording = OTHER_RECORDING.parse().ok();
                    entry.source = "cellar".parse().ok();
                    entry.data = again.data;
                });
                vec![("source-unregistered", Some(seq))]
            },
        ),
        told(
            "details-destroyed-too-soon",
            "details of a bundle are destroyed that is not full",
            day,
            |site| {
                let data = r#"{"bundle":0,"destroyed":[[0,4]],"generation":1}"#;
                vec![("event-out-of-place", Some(fact(site, "ledger.details-destroyed", data)))]
            },
        ),
    ]
}

const OTHER_RECORDING: &str = "aaaaaaaaaaaaaaaaaaaaaaaaba";

fn source(site: &mut Site, event: &str, name: &str) -> u64 {
    site.add(event, |entry| {
        entry.source = name.parse().ok();
        entry.data = raw(r#"{"kind":"footage","zone":"door","purposes":["protection"],"class":"short"}"#);
    })
}

/// A granted opening, changed.
fn grant(site: &mut Site, change: impl FnOnce(&mut Entry<'_>)) -> u64 {
    act(site, "access.opened", Some(r#"{"mode":"seek","until":"2026-05-12T11:00:00.000000Z"}"#), |entry| {
        about(entry, RECORDING);
        entry.outcome = Outcome::Granted;
        entry.session = SESSION.parse().ok();
        entry.purpose = "protection".parse().ok();
        entry.reason = "theft".parse().ok();
        change(entry);
    })
}

fn access() -> Vec<Vector> {
    vec![
        told("outcome-wrong", "a search that was neither granted nor denied", morning, |site| {
            vec![("outcome-wrong", Some(act(site, "access.searched", Some(r#"{"what":"search"}"#), |_| ())))]
        }),
        told(
            "opening-without-policy",
            "a recording is opened before a policy was loaded",
            Site::new,
            |site| {
                fact(site, "ledger.started", r#"{"version":"0.1.0"}"#);
                source(site, "source.registered", "entrance");
                seal(site, RECORDING);
                let seq = open(site, Outcome::Granted);
                session(site, "access.closed");
                vec![("access-without-policy", Some(seq))]
            },
        ),
        told("opening-without-reason", "a recording is opened without a reason", morning, |site| {
            let seq = grant(site, |entry| entry.reason = None);
            session(site, "access.closed");
            vec![("access-unfounded", Some(seq))]
        }),
        told(
            "opening-for-another-purpose",
            "a recording is opened for a purpose that its source has not",
            morning,
            |site| {
                let seq = grant(site, |entry| entry.purpose = "advertising".parse().ok());
                session(site, "access.closed");
                vec![("access-unfounded", Some(seq))]
            },
        ),
        told("opening-during-purge", "a recording is opened whose purge was decided", morning, |site| {
            plan(site);
            let seq = open(site, Outcome::Granted);
            session(site, "access.closed");
            vec![("access-during-purge", Some(seq))]
        }),
        told(
            "opening-under-restriction",
            "a recording is opened under a hold that restricts its use",
            morning,
            |site| {
                let data = format!(r#"{{"hold":"{HOLD}","kind":"restriction"}}"#);
                act(site, "hold.placed", Some(&data), |entry| about(entry, RECORDING));
                let seq = open(site, Outcome::Granted);
                session(site, "access.closed");
                vec![("access-under-restriction", Some(seq))]
            },
        ),
        told("read-past-end", "a session read past the end of its recording", morning, |site| {
            open(site, Outcome::Granted);
            vec![(
                "read-past-end",
                Some(usage(site, RECORDING, r#"{"bytes":10,"ranges":[[0,10]],"duration_us":9}"#)),
            )]
        }),
        told("read-less-than-before", "a session has read less than it had", morning, |site| {
            open(site, Outcome::Granted);
            session(site, "access.progress");
            vec![(
                "data-implausible",
                Some(usage(site, RECORDING, r#"{"bytes":3,"ranges":[[0,3]],"duration_us":9}"#)),
            )]
        }),
        told(
            "session-of-another-recording",
            "a session goes on with another recording than was opened",
            morning,
            |site| {
                seal(site, OTHER_RECORDING);
                open(site, Outcome::Granted);
                let data = r#"{"bytes":3,"ranges":[[0,3]],"duration_us":9}"#;
                vec![("subject-differs", Some(usage(site, OTHER_RECORDING, data)))]
            },
        ),
        told("session-left-open", "the service stops, and a session is open", morning, |site| {
            open(site, Outcome::Granted);
            vec![("session-not-ended", Some(stop(site)))]
        }),
        told("session-past-its-time", "a session is open an hour after its time", morning, |site| {
            open(site, Outcome::Granted);
            site.time_micros += 2 * 3600 * 1_000_000;
            confirm(site);
            site.time_micros += 3600 * 1_000_000;
            vec![("session-not-ended", Some(confirm(site)))]
        }),
    ]
}

fn usage(site: &mut Site, recording: &str, data: &str) -> u64 {
    site.add("access.closed", |entry| {
        about(entry, recording);
        entry.session = SESSION.parse().ok();
        entry.data = raw(data);
    })
}

fn retention() -> Vec<Vector> {
    vec![
        told("purge-late", "a recording is purged two days after its latest time", morning, |site| {
            stop(site);
            days_later(site, 34);
            start(site);
            plan(site);
            vec![("purged-late", Some(purge(site)))]
        }),
        told(
            "purge-never",
            "a recording is there two days after its latest time, and no hold keeps it",
            morning,
            |site| {
                stop(site);
                days_later(site, 34);
                start(site);
                confirm(site);
                vec![("purge-late", Some(at::SEALED))]
            },
        ),
        told("purge-while-suspect", "a purge is decided while the clock is suspect", morning, |site| {
            stop(site);
            a_month_later(site);
            start(site);
            fact(site, "ledger.clock-suspect", r#"{"why":"it jumped"}"#);
            vec![("purge-while-suspect", Some(plan(site)))]
        }),
        told(
            "purge-during-session",
            "a recording is purged while a session on it is open",
            morning,
            |site| {
                open(site, Outcome::Granted);
                a_month_later(site);
                plan(site);
                vec![("purge-during-session", Some(purge(site)))]
            },
        ),
        told(
            "certificate-of-another",
            "a certificate of destruction with another SHA-256 than was sealed",
            morning,
            |site| {
                stop(site);
                a_month_later(site);
                start(site);
                plan(site);
                let seq = purge(site);
                let line = String::from_utf8(site.lines.pop().unwrap()).unwrap();
                site.leaves.pop();
                site.push_line(line.replace("e3b0c442", "e3b0c443").into_bytes());
                vec![("certificate-differs", Some(seq))]
            },
        ),
    ]
}

/// Up to the source, without a recording.
fn begin_without_recording() -> Site {
    let mut site = morning();
    site.lines.pop();
    site.leaves.pop();
    site
}
