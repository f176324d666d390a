//! The life that most vectors begin with: what a small archive does on two days, a month apart, entry by entry.

use greffier::core::ledger::entry::{Entry, Outcome};
use greffier::core::time::Timestamp;

use super::ledger_support::{Site, raw};

pub const RECORDING: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const SESSION: &str = "baaaaaaaaaaaaaaaaaaaaaaaaa";
pub const HOLD: &str = "caaaaaaaaaaaaaaaaaaaaaaaaa";
pub const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
pub const POLICY: &str = "5d41402abc4b2a76b9719d911017c592ae5d41402abc4b2a76b9719d911017c5";
pub const OTHER_POLICY: &str = "7d793037a0760186574b0282f2f435e7ae5d41402abc4b2a76b9719d911017c5";
/// When the recording may and must be purged.
pub const EARLIEST: &str = "2026-06-12T09:10:00.000000Z";
pub const LATEST: &str = "2026-06-13T09:10:00.000000Z";

const DAY: i64 = 24 * 3600 * 1_000_000;

/// The places of the entries of `life`.
pub mod at {
    pub const SEALED: u64 = 5;
    pub const DENIED: u64 = 7;
    pub const OPENED: u64 = 8;
    pub const PROGRESS: u64 = 9;
    pub const CLOSED: u64 = 10;
    pub const STOPPED: u64 = 13;
    pub const REKEYED: u64 = 15;
    pub const PLANNED: u64 = 16;
    pub const PURGED: u64 = 17;
    pub const SIZE: u64 = 19;
}

/// About the recording.
pub fn about(entry: &mut Entry<'_>, recording: &str) {
    entry.recording = recording.parse().ok();
    entry.source = "entrance".parse().ok();
}

pub fn fact(site: &mut Site, event: &str, data: &str) -> u64 {
    site.add(event, |entry| entry.data = raw(data))
}

/// What somebody did: with a detail.
pub fn act(site: &mut Site, event: &str, data: Option<&str>, change: impl FnOnce(&mut Entry<'_>)) -> u64 {
    let text = format!("as {event} at {}", site.size());
    site.add_with_detail(event, &text, |entry| {
        entry.data = data.and_then(raw);
        change(entry);
    })
}

/// A policy comes into force; the entries after it name it.
pub fn load_policy(site: &mut Site, digest: &str) -> u64 {
    site.policy = digest.parse().ok();
    act(site, "policy.loaded", None, |_| ())
}

pub fn seal(site: &mut Site, recording: &str) -> u64 {
    site.add("recording.sealed", |entry| {
        about(entry, recording);
        entry.data = raw(&format!(
            r#"{{"kind":"footage","start":"2026-05-12T09:00:00.000000Z","end":"2026-05-12T09:10:00.000000Z","class":"short","bytes":9,"sha256":"{SHA256}","media":"video/mp4","earliest":"{EARLIEST}","latest":"{LATEST}"}}"#
        ));
    })
}

pub fn open(site: &mut Site, outcome: Outcome) -> u64 {
    let data = match outcome {
        Outcome::Granted => r#"{"mode":"seek","until":"2026-05-12T11:00:00.000000Z"}"#,
        _ => r#"{"mode":"seek"}"#,
    };
    act(site, "access.opened", Some(data), |entry| {
        about(entry, RECORDING);
        entry.outcome = outcome;
        entry.session = SESSION.parse().ok().filter(|_| outcome == Outcome::Granted);
        entry.purpose = "protection".parse().ok();
        entry.reason = "theft".parse().ok();
    })
}

pub fn session(site: &mut Site, event: &str) -> u64 {
    site.add(event, |entry| {
        about(entry, RECORDING);
        entry.session = SESSION.parse().ok();
        entry.data = raw(match event {
            "access.closed" => r#"{"why":"released","bytes":9,"ranges":[[0,9]],"duration_us":2000000}"#,
            _ => r#"{"bytes":4,"ranges":[[0,4]],"duration_us":1000000}"#,
        });
    })
}

pub fn hold(site: &mut Site, event: &str) -> u64 {
    let kind = if event == "hold.placed" { r#","kind":"judicial""# } else { "" };
    act(site, event, Some(&format!(r#"{{"hold":"{HOLD}"{kind}}}"#)), |entry| about(entry, RECORDING))
}

pub fn plan(site: &mut Site) -> u64 {
    site.add("purge.planned", |entry| {
        about(entry, RECORDING);
        entry.data = raw(&format!(r#"{{"due":"{LATEST}"}}"#));
    })
}

pub fn purge(site: &mut Site) -> u64 {
    site.add("purge.done", |entry| {
        about(entry, RECORDING);
        entry.data = raw(&format!(
            r#"{{"bytes":9,"sha256":"{SHA256}","sealed":"2026-05-12T10:00:06.000000Z","due":"{LATEST}","key":"destroyed","object":"removed"}}"#
        ));
    })
}

/// An entry that means nothing further.
pub fn confirm(site: &mut Site) -> u64 {
    fact(site, "ledger.clock-confirmed", r#"{"why":"synchronised"}"#)
}

pub fn start(site: &mut Site) {
    fact(site, "ledger.started", r#"{"version":"0.1.0"}"#);
    site.rekey();
}

pub fn stop(site: &mut Site) -> u64 {
    fact(site, "ledger.stopped", r#"{"why":"service-stopped"}"#)
}

/// As far as the first recording is sealed: 6 entries.
pub fn morning() -> Site {
    let mut site = Site::new();
    site.add("ledger.started", |entry| entry.data = raw(r#"{"version":"0.1.0"}"#));
    site.rekey();
    load_policy(&mut site, POLICY);
    site.add("source.registered", |entry| {
        entry.source = "entrance".parse().ok();
        entry.data = raw(r#"{"kind":"footage","zone":"door","purposes":["protection"],"class":"short"}"#);
    });
    seal(&mut site, RECORDING);
    assert_eq!(site.size(), at::SEALED + 1);
    site
}

/// The first day: searched, refused, opened, read, closed, held and released; 14 entries.
pub fn day() -> Site {
    let mut site = morning();
    act(&mut site, "access.searched", Some(r#"{"what":"search","sources":["entrance"]}"#), |entry| {
        entry.outcome = Outcome::Granted;
        entry.purpose = "protection".parse().ok();
        entry.reason = "theft".parse().ok();
    });
    assert_eq!(open(&mut site, Outcome::Denied), at::DENIED);
    assert_eq!(open(&mut site, Outcome::Granted), at::OPENED);
    assert_eq!(session(&mut site, "access.progress"), at::PROGRESS);
    assert_eq!(session(&mut site, "access.closed"), at::CLOSED);
    hold(&mut site, "hold.placed");
    hold(&mut site, "hold.lifted");
    assert_eq!(stop(&mut site), at::STOPPED);
    site
}

/// Time passes.
pub fn days_later(site: &mut Site, days: i64) {
    site.time_micros += days * DAY;
}

/// To the morning of the day on which the recording must be purged.
pub fn a_month_later(site: &mut Site) {
    days_later(site, 32);
    site.time_micros -= 3600 * 1_000_000;
    assert!(Timestamp::from_micros(site.time_micros).unwrap() < LATEST.parse().unwrap());
}

/// Both days: 19 entries, two of them new epoch keys.
pub fn life() -> Site {
    let mut site = day();
    a_month_later(&mut site);
    start(&mut site);
    assert_eq!(plan(&mut site), at::PLANNED);
    assert_eq!(purge(&mut site), at::PURGED);
    stop(&mut site);
    assert_eq!(site.size(), at::SIZE);
    site
}

/// `life`, and after it a start and enough entries for a full bundle and a partial one: 300 entries.
pub fn long_life() -> Site {
    let mut site = life();
    start(&mut site);
    while site.size() < 299 {
        confirm(&mut site);
    }
    stop(&mut site);
    site
}
