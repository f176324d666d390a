//! What the fold of the ledger lets pass and the verifier does not: each rule with a ledger that breaks it, signed well.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;
#[path = "verify_rules/registers.rs"]
mod registers;
#[path = "verify_rules/retention.rs"]
mod retention;

use greffier::core::ledger::entry::{Entry, Outcome};
use greffier::core::time::{BootId, Timestamp};
use greffier::verify::{Code, GapKind, Options, Source, Verdict, verify_ledger};
use ledger_support::story::{
    LATEST, RECORDING, SESSION, SHA256, begin, check, confirm, exported, fact, found, found_in, hold, hours,
    load_policy, open, plan, purge, register, seal, seal_until, story,
};
use ledger_support::{Site, raw};

fn checked(site: &Site) -> Verdict {
    check(site, exported(site).path())
}

fn checked_at(site: &Site, visit: &str) -> Verdict {
    let source = Source::Path(exported(site).keep());
    let visit = visit.parse().ok();
    verify_ledger(&Options { visit, ..Options::new(source, site.log.public.clone()) }).unwrap()
}

/// The entries at which `code` was found, notes too.
fn at(verdict: &Verdict, code: Code) -> Vec<Option<u64>> {
    verdict.report.findings().iter().filter(|it| it.code == code).map(|it| it.entry).collect()
}

fn usage(site: &mut Site, event: &str, data: &str) -> u64 {
    site.add(event, |entry| {
        entry.session = SESSION.parse().ok();
        entry.data = raw(data);
    })
}

fn start(site: &mut Site, after_crash: bool) -> u64 {
    let crash = if after_crash { r#","after_crash":true"# } else { "" };
    fact(site, "ledger.started", &format!(r#"{{"version":"0.1.0"{crash}}}"#))
}

fn stop(site: &mut Site) -> u64 {
    fact(site, "ledger.stopped", r#"{"why":"service-stopped"}"#)
}

fn reboot(entry: &mut Entry<'_>) {
    entry.boot = BootId::from_bytes([8; 16]);
    entry.up_micros = 1_000_000;
}

#[test]
fn the_story_of_a_recording_breaks_no_rule() {
    assert_eq!(found_in(&story()), []);
}

#[test]
fn an_outcome_cannot_hide_what_happened() {
    let mut site = story();
    let seq = site.add("purge.done", |entry| {
        entry.outcome = Outcome::Failed;
        entry.recording = RECORDING.parse().ok();
        entry.data = raw(&format!(
            r#"{{"bytes":9,"sha256":"{SHA256}","sealed":"{LATEST}","due":"{LATEST}","key":"destroyed","object":"removed"}}"#
        ));
    });
    assert_eq!(found_in(&site), [("outcome-wrong", Some(seq))]);
    let mut site = Site::new();
    seal(&mut site);
    let seq = open(&mut site, Outcome::Done);
    assert_eq!(at(&checked(&site), Code::OutcomeWrong), [Some(seq)]);
}

#[test]
fn what_cannot_be_is_named() {
    let mut site = Site::new();
    let seq = seal_until(&mut site, LATEST, "2026-05-12T10:00:00.000000Z");
    assert_eq!(found_in(&site), [("data-implausible", Some(seq))]);

    for data in [
        r#"{"bytes":5,"ranges":[[3,3]],"duration_us":2}"#,
        r#"{"bytes":5,"ranges":[[3,5],[0,2]],"duration_us":2}"#,
    ] {
        let mut site = Site::new();
        seal(&mut site);
        open(&mut site, Outcome::Granted);
        let seq = usage(&mut site, "access.progress", data);
        assert_eq!(found_in(&site), [("data-implausible", Some(seq))]);
    }
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    usage(&mut site, "access.progress", r#"{"bytes":5,"duration_us":2}"#);
    let less = usage(&mut site, "access.closed", r#"{"bytes":4,"duration_us":3}"#);
    assert_eq!(found_in(&site), [("data-implausible", Some(less))]);
}

#[test]
fn reading_past_the_end_is_found() {
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    usage(&mut site, "access.progress", r#"{"bytes":9,"ranges":[[0,9]],"duration_us":2}"#);
    let seq = usage(&mut site, "access.closed", r#"{"bytes":10,"ranges":[[0,10]],"duration_us":2}"#);
    assert_eq!(found_in(&site), [("read-past-end", Some(seq))]);
}

#[test]
fn an_entry_about_a_session_a_hold_or_a_recording_names_what_it_is_about() {
    let other = "daaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    let seq = site.add("access.closed", |entry| {
        entry.session = SESSION.parse().ok();
        entry.recording = other.parse().ok();
        entry.data = raw(r#"{"bytes":1,"duration_us":2}"#);
    });
    assert_eq!(found_in(&site), [("subject-differs", Some(seq))]);

    let mut site = Site::new();
    seal(&mut site);
    hold(&mut site, "hold.placed");
    let seq = site.add_with_detail("hold.lifted", "who", |entry| {
        entry.recording = other.parse().ok();
        entry.data = raw(&format!(r#"{{"hold":"{}"}}"#, ledger_support::story::HOLD));
    });
    assert_eq!(found_in(&site), [("subject-differs", Some(seq))]);

    let mut site = Site::new();
    seal(&mut site);
    let seq = site.add("store.damaged", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.source = "elsewhere".parse().ok();
        entry.data = raw(r#"{"what":"object-missing"}"#);
    });
    let verdict = checked(&site);
    assert_eq!(found(&verdict), [("subject-differs", Some(seq))]);
    assert_eq!(at(&verdict, Code::StoreDamage), [Some(seq)]);
}

#[test]
fn nothing_happens_while_the_service_is_stopped_or_in_another_boot() {
    let mut site = Site::new();
    seal(&mut site);
    stop(&mut site);
    let seq = open(&mut site, Outcome::Denied);
    open(&mut site, Outcome::Denied);
    assert_eq!(found_in(&site), [("start-missing", Some(seq))], "said once");

    let mut site = Site::new();
    seal(&mut site);
    let seq = site.add_with_detail("access.searched", "who", |entry| {
        reboot(entry);
        entry.outcome = Outcome::Denied;
        entry.data = raw(r#"{"what":"search"}"#);
    });
    assert_eq!(found_in(&site), [("start-missing", Some(seq))]);
}

#[test]
fn a_start_says_how_the_run_before_ended() {
    for (stopped, says_crash, good) in
        [(true, false, true), (false, true, true), (true, true, false), (false, false, false)]
    {
        let mut site = Site::new();
        seal(&mut site);
        if stopped {
            stop(&mut site);
        }
        let seq = start(&mut site, says_crash);
        let expected = if good { vec![] } else { vec![("start-untrue", Some(seq))] };
        assert_eq!(found_in(&site), expected, "stopped {stopped}, says crash {says_crash}");
    }
}

#[test]
fn a_crash_is_a_note_and_every_gap_a_figure() {
    let mut site = Site::new();
    seal(&mut site);
    hours(&mut site, 3);
    // What the new run writes before it says that it started does not shorten the gap.
    site.rekey();
    let crash = start(&mut site, true);
    stop(&mut site);
    hours(&mut site, 30);
    start(&mut site, false);
    let verdict = checked(&site);
    assert_eq!(found(&verdict), []);
    assert_eq!(at(&verdict, Code::ServiceInterrupted), [Some(crash)]);
    let gaps = &verdict.statistics.gaps;
    let kinds: Vec<_> =
        gaps.iter().map(|gap| (gap.kind, gap.to.micros_since(gap.from) / 3_600_000_000)).collect();
    assert_eq!(kinds, [(GapKind::Crashed, 3), (GapKind::Stopped, 30)]);
}

#[test]
fn what_could_not_be_written_is_a_gap() {
    let mut site = Site::new();
    seal(&mut site);
    hours(&mut site, 2);
    let seq = fact(
        &mut site,
        "ledger.recovered",
        r#"{"why":"write-failed","dropped_bytes":0,"since":"2026-05-12T11:00:00.000000Z","turned_away":7}"#,
    );
    let verdict = checked(&site);
    assert_eq!(found(&verdict), []);
    assert_eq!(at(&verdict, Code::ServiceInterrupted), [Some(seq)]);
    assert_eq!(verdict.statistics.turned_away, 7);
    assert_eq!(verdict.statistics.gaps[0].kind, GapKind::Unwritable);
}

fn beat(site: &mut Site) -> u64 {
    fact(site, "ledger.heartbeat", r#"{"interval_s":3600}"#)
}

#[test]
fn silence_longer_than_announced_is_found() {
    let mut site = Site::new();
    seal(&mut site);
    hours(&mut site, 20);
    assert_eq!(found_in(&site), [], "nothing was announced");
    beat(&mut site);
    hours(&mut site, 1);
    beat(&mut site);
    assert_eq!(found_in(&site), []);
    hours(&mut site, 2);
    let seq = confirm(&mut site);
    assert_eq!(found_in(&site), [("silence", Some(seq))]);
}

#[test]
fn a_gap_with_a_start_is_no_silence_even_if_the_start_rekeys_first() {
    let mut site = Site::new();
    seal(&mut site);
    beat(&mut site);
    hours(&mut site, 20);
    site.rekey();
    start(&mut site, true);
    assert_eq!(found_in(&site), []);
    beat(&mut site);
    hours(&mut site, 20);
    let seq = site.rekey();
    confirm(&mut site);
    // It was no start: the silence stood before the rekey.
    let verdict = checked(&site);
    assert_eq!(found(&verdict).len(), 1);
    let sentence =
        &verdict.report.findings().into_iter().find(|it| it.code == Code::Silence).unwrap().sentence;
    assert!(sentence.contains("(20 h"), "{sentence}, entry {seq}");
}

#[test]
fn silence_up_to_the_visit_is_found_and_a_stop_excuses_it() {
    let mut site = Site::new();
    seal(&mut site);
    beat(&mut site);
    assert_eq!(found(&checked_at(&site, "2026-05-12T10:30:00Z")), []);
    assert_eq!(found(&checked_at(&site, "2026-05-13T10:00:00Z")), [("silence", None)]);
    stop(&mut site);
    assert_eq!(found(&checked_at(&site, "2026-05-13T10:00:00Z")), []);
}

#[test]
fn without_any_start_it_says_that_gaps_are_not_known() {
    let mut site = Site::new();
    site.add_with_detail("recording.rejected", "who", |entry| entry.data = raw(r#"{"why":"link"}"#));
    let verdict = checked(&site);
    assert_eq!((found(&verdict), at(&verdict, Code::ServiceUnknown)), (vec![], vec![None]));
}

#[test]
fn every_change_of_the_policy_is_visible() {
    let mut site = Site::new();
    seal(&mut site);
    let loaded = site.policy;
    site.policy = "11".repeat(32).parse().ok();
    let seq = open(&mut site, Outcome::Denied);
    open(&mut site, Outcome::Denied);
    site.policy = loaded;
    confirm(&mut site);
    assert_eq!(found_in(&site), [("policy-differs", Some(seq))], "said once a change");
    load_policy(&mut site, &"22".repeat(32));
    confirm(&mut site);
    let verdict = checked(&site);
    assert_eq!(found(&verdict).len(), 1);
    assert_eq!(verdict.statistics.policy_in_force, site.policy);
    site.policy = None;
    let unnamed = site.add_with_detail("policy.loaded", "who", |_| {});
    assert!(at(&checked(&site), Code::EventIncomplete).contains(&Some(unnamed)));
}

#[test]
fn a_source_is_registered_once_and_before_anything_else() {
    let mut site = Site::new();
    begin(&mut site);
    let twice = register(&mut site, "source.registered");
    assert_eq!(found_in(&site), [("source-contradiction", Some(twice))]);
    for event in ["source.changed", "source.retired"] {
        let mut site = Site::new();
        let seq = site.add(event, |entry| {
            entry.source = "attic".parse().ok();
            let facts = r#"{"kind":"footage","purposes":[],"class":"short"}"#;
            entry.data = raw(facts).filter(|_| event == "source.changed");
        });
        assert_eq!(found_in(&site), [("source-contradiction", Some(seq))], "{event}");
    }
}

#[test]
fn a_recording_is_of_a_source_and_as_registered() {
    let sealed = |source: &'static str, class: &'static str| {
        move |entry: &mut Entry<'_>| {
            entry.recording = RECORDING.parse().ok();
            entry.source = source.parse().ok();
            entry.data = raw(&format!(
                r#"{{"kind":"footage","start":"{LATEST}","end":"{LATEST}","class":"{class}","bytes":9,"sha256":"{SHA256}","media":"video/mp4","earliest":"{LATEST}","latest":"{LATEST}"}}"#
            ));
        }
    };
    for (source, class) in [("attic", "short"), ("entrance", "for-ever")] {
        let mut site = Site::new();
        begin(&mut site);
        let seq = site.add("recording.sealed", sealed(source, class));
        assert_eq!(found_in(&site), [("source-unregistered", Some(seq))]);
    }
    // Taken under the policy before: the class was changed while the file was sealed.
    let mut site = Site::new();
    begin(&mut site);
    site.add("source.changed", |entry| {
        entry.source = "entrance".parse().ok();
        entry.data = raw(r#"{"kind":"footage","purposes":["safety"],"class":"long"}"#);
    });
    site.add("recording.sealed", sealed("entrance", "short"));
    assert_eq!(found_in(&site), []);
}

fn granted(site: &mut Site, reason: Option<&str>, purpose: Option<&str>) -> u64 {
    site.add_with_detail("access.opened", "who", |entry| {
        entry.outcome = Outcome::Granted;
        entry.recording = RECORDING.parse().ok();
        entry.session = SESSION.parse().ok();
        entry.reason = reason.and_then(|it| it.parse().ok());
        entry.purpose = purpose.and_then(|it| it.parse().ok());
        entry.data = raw(r#"{"mode":"seek","until":"2026-05-12T11:00:00.000000Z"}"#);
    })
}

#[test]
fn access_needs_a_policy_a_reason_and_a_purpose_of_its_source() {
    for (reason, purpose) in
        [(None, Some("safety")), (Some("theft"), None), (Some("theft"), Some("curiosity"))]
    {
        let mut site = Site::new();
        seal(&mut site);
        let seq = granted(&mut site, reason, purpose);
        assert_eq!(found_in(&site), [("access-unfounded", Some(seq))], "{reason:?} {purpose:?}");
    }
    let mut site = Site::new();
    start(&mut site, false);
    register(&mut site, "source.registered");
    site.add("recording.sealed", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.source = "entrance".parse().ok();
        entry.data = raw(&format!(
            r#"{{"kind":"footage","start":"{LATEST}","end":"{LATEST}","class":"short","bytes":9,"sha256":"{SHA256}","media":"video/mp4","earliest":"{LATEST}","latest":"{LATEST}"}}"#
        ));
    });
    let seq = granted(&mut site, Some("theft"), Some("safety"));
    assert_eq!(found_in(&site), [("access-without-policy", Some(seq))]);
}

#[test]
fn what_is_being_purged_or_restricted_is_not_opened() {
    let mut site = Site::new();
    seal(&mut site);
    plan(&mut site);
    let seq = open(&mut site, Outcome::Granted);
    assert_eq!(found_in(&site), [("access-during-purge", Some(seq))]);

    let mut site = Site::new();
    seal(&mut site);
    site.add_with_detail("hold.placed", "who", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.data = raw(&format!(r#"{{"hold":"{}","kind":"restriction"}}"#, ledger_support::story::HOLD));
    });
    let seq = open(&mut site, Outcome::Granted);
    assert_eq!(found_in(&site), [("access-under-restriction", Some(seq))]);
}

#[test]
fn every_session_ends() {
    // Open at the stop.
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    let seq = stop(&mut site);
    assert_eq!(found_in(&site), [("session-not-ended", Some(seq))]);

    // Past its end while the service goes on: the first entry after it gives the grace, the next shows it.
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    hours(&mut site, 2);
    confirm(&mut site);
    assert_eq!(found_in(&site), [], "a machine that slept");
    hours(&mut site, 1);
    let seq = confirm(&mut site);
    confirm(&mut site);
    assert_eq!(found_in(&site), [("session-not-ended", Some(seq))], "said once");

    // Left over at a crash.
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    start(&mut site, true);
    hours(&mut site, 1);
    let seq = confirm(&mut site);
    assert_eq!(found_in(&site), [("session-not-ended", Some(seq))]);
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    start(&mut site, true);
    let again = start(&mut site, true);
    assert_eq!(found_in(&site), [("session-not-ended", Some(again))]);

    // Goes on after a restart as if nothing had been.
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    start(&mut site, true);
    let seq = usage(&mut site, "access.progress", r#"{"bytes":1,"duration_us":2}"#);
    assert_eq!(found_in(&site), [("session-not-ended", Some(seq))]);

    // Interrupted, as it must be.
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    start(&mut site, true);
    usage(&mut site, "access.interrupted", r#"{"why":"service-crashed"}"#);
    hours(&mut site, 5);
    confirm(&mut site);
    let verdict = checked(&site);
    assert_eq!(found(&verdict), []);
    assert_eq!(verdict.statistics.sessions_interrupted, 1);
}
