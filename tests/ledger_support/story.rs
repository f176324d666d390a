//! The life of one recording, event by event, and what the verifier says of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use greffier::core::ledger::entry::Outcome;
use greffier::core::time::Timestamp;
use greffier::verify::{Class, Failure, Options, Source, Verdict, verify_ledger};

use super::{Site, raw};

pub const RECORDING: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const SESSION: &str = "baaaaaaaaaaaaaaaaaaaaaaaaa";
pub const HOLD: &str = "caaaaaaaaaaaaaaaaaaaaaaaaa";
pub const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// 32 bytes of hexadecimal digits: what the test ledgers call their policy.
pub const POLICY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// What a service writes before anything else happens: it started, a policy is in force, a source is known. Once a ledger.
pub fn begin(site: &mut Site) {
    if site.policy.is_some() {
        return;
    }
    site.add("ledger.started", |entry| entry.data = raw(r#"{"version":"0.1.0"}"#));
    load_policy(site, POLICY);
    register(site, "source.registered");
}

/// A policy comes into force; the entries after it name it.
pub fn load_policy(site: &mut Site, digest: &str) -> u64 {
    site.policy = digest.parse().ok();
    site.add_with_detail("policy.loaded", "who", |_| {})
}

/// `source.registered` or `source.changed`.
pub fn register(site: &mut Site, event: &str) -> u64 {
    site.add(event, |entry| {
        entry.source = "entrance".parse().ok();
        entry.data = raw(r#"{"kind":"footage","purposes":["safety","training"],"class":"short"}"#);
    })
}

pub fn seal(site: &mut Site) -> u64 {
    seal_until(site, "2026-05-12T10:00:00.000000Z", LATEST)
}

/// Latest time of the recording that [`seal`] seals: a month after the start.
pub const LATEST: &str = "2026-06-12T10:00:00.000000Z";

pub fn seal_until(site: &mut Site, earliest: &str, latest: &str) -> u64 {
    begin(site);
    site.sealed_micros = site.time_micros + 1_000_000;
    site.add("recording.sealed", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.source = "entrance".parse().ok();
        entry.data = raw(&format!(
            r#"{{"kind":"footage","start":"2026-05-12T09:00:00.000000Z","end":"2026-05-12T09:10:00.000000Z","class":"short","bytes":9,"sha256":"{SHA256}","media":"video/mp4","earliest":"{earliest}","latest":"{latest}"}}"#
        ));
    })
}

pub fn open(site: &mut Site, outcome: Outcome) -> u64 {
    open_for(site, "safety", outcome)
}

/// An opening for an hour.
pub fn open_for(site: &mut Site, purpose: &str, outcome: Outcome) -> u64 {
    begin(site);
    let until = Timestamp::from_micros(site.time_micros + 3_600_000_000).unwrap();
    site.add_with_detail("access.opened", "who", |entry| {
        entry.outcome = outcome;
        entry.recording = RECORDING.parse().ok();
        entry.source = "entrance".parse().ok();
        entry.session = SESSION.parse().ok().filter(|_| outcome == Outcome::Granted);
        entry.reason = "theft".parse().ok();
        entry.purpose = purpose.parse().ok().filter(|_| outcome == Outcome::Granted);
        entry.data = match outcome {
            Outcome::Granted => raw(&format!(r#"{{"mode":"seek","until":"{until}"}}"#)),
            _ => raw(r#"{"mode":"seek"}"#),
        };
    })
}

pub fn session_event(site: &mut Site, event: &str) -> u64 {
    site.add(event, |entry| {
        entry.session = SESSION.parse().ok();
        entry.data = raw(r#"{"bytes":1,"duration_us":2}"#);
    })
}

pub fn hold(site: &mut Site, event: &str) -> u64 {
    site.add_with_detail(event, "who", |entry| {
        entry.recording = RECORDING.parse().ok();
        let kind = if event == "hold.placed" { r#","kind":"judicial""# } else { "" };
        entry.data = raw(&format!(r#"{{"hold":"{HOLD}"{kind}}}"#));
    })
}

/// Lets whole hours pass without an entry.
pub fn hours(site: &mut Site, hours: i64) {
    site.time_micros += hours * 3_600_000_000;
}

/// An event of the service itself, with its data.
pub fn fact(site: &mut Site, event: &str, data: &str) -> u64 {
    site.add(event, |entry| entry.data = raw(data).filter(|_| data != "{}"))
}

pub fn plan(site: &mut Site) -> u64 {
    site.add("purge.planned", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.data = raw(r#"{"due":"2026-06-12T10:00:00.000000Z"}"#);
    })
}

pub fn purge(site: &mut Site) -> u64 {
    let sealed = Timestamp::from_micros(site.sealed_micros).unwrap();
    site.add("purge.done", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.data = raw(&format!(
            r#"{{"bytes":9,"sha256":"{SHA256}","sealed":"{sealed}","due":"2026-06-12T10:00:00.000000Z","key":"destroyed","object":"removed"}}"#
        ));
    })
}

pub fn confirm(site: &mut Site) -> u64 {
    site.add("ledger.clock-confirmed", |entry| entry.data = raw(r#"{"why":"test"}"#))
}

/// A life: sealed, refused, opened, read, closed, held, lifted, purged; with a new epoch key at the beginning.
pub fn story() -> Site {
    let mut site = Site::new();
    site.rekey();
    seal(&mut site);
    open(&mut site, Outcome::Denied);
    open(&mut site, Outcome::Granted);
    session_event(&mut site, "access.progress");
    session_event(&mut site, "access.closed");
    hold(&mut site, "hold.placed");
    hold(&mut site, "hold.lifted");
    plan(&mut site);
    purge(&mut site);
    site
}

/// The story, and after it enough entries for two full bundles and a partial one, with two more epochs.
pub fn long_story() -> Site {
    let mut site = story();
    while site.size() < 600 {
        if site.size().is_multiple_of(250) {
            site.rekey()
        } else {
            confirm(&mut site)
        };
    }
    site
}

pub fn check_with(site: &Site, dir: &Path, pinned: &[String]) -> Result<Verdict, Failure> {
    let pinned = pinned.iter().map(|text| ("pinned".to_owned(), text.clone())).collect();
    verify_ledger(&Options { pinned, ..Options::new(Source::Path(dir.to_owned()), site.log.public.clone()) })
}

pub fn check(site: &Site, dir: &Path) -> Verdict {
    check_with(site, dir, &[]).unwrap()
}

/// What was found, without notes.
pub fn found(verdict: &Verdict) -> Vec<(&'static str, Option<u64>)> {
    let findings = verdict.report.findings();
    findings.iter().filter(|it| it.code.class() != Class::Note).map(|it| (it.code.name(), it.entry)).collect()
}

pub fn exported(site: &Site) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    site.export(dir.path(), true);
    dir
}

pub fn found_in(site: &Site) -> Vec<(&'static str, Option<u64>)> {
    found(&check(site, exported(site).path()))
}
