//! What was signed and yet may not happen: the rules of conduct, and time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_sign_loss, reason = "times after the start")]

mod ledger_support;

use greffier::core::ledger::entry::Outcome;
use ledger_support::story::{
    LATEST, check, confirm, found, found_in, hold, open, plan, purge, seal, seal_until, session_event, story,
};
use ledger_support::{Site, raw};

#[test]
fn inv11_time_falls_only_with_clock_suspect() {
    let mut site = story();
    site.time_micros -= 5_000_000;
    let seq = confirm(&mut site);
    // The uptime of the test ledger is counted from the same clock.
    assert_eq!(found_in(&site), [("time-falls", Some(seq)), ("time-falls", Some(seq))]);

    let mut site = story();
    let up = (site.time_micros - ledger_support::START_MICROS) as u64;
    site.time_micros -= 5_000_000;
    site.add("ledger.clock-suspect", |entry| {
        entry.up_micros = up;
        entry.data = raw(r#"{"why":"test"}"#);
    });
    site.add("ledger.clock-confirmed", |entry| {
        entry.up_micros = up;
        entry.data = raw(r#"{"why":"test"}"#);
    });
    assert_eq!(found_in(&site), []);
}

#[test]
fn inv1_no_session_without_a_grant() {
    for event in ["access.progress", "access.closed", "access.revoked", "access.expired"] {
        let mut site = Site::new();
        seal(&mut site);
        open(&mut site, Outcome::Denied);
        let seq = session_event(&mut site, event);
        assert_eq!(found_in(&site), [("session-without-grant", Some(seq))]);
    }
    let mut site = story();
    let seq = session_event(&mut site, "access.progress");
    assert_eq!(found_in(&site), [("session-without-grant", Some(seq))], "it had ended");
}

#[test]
fn inv12_no_purge_under_a_hold() {
    let mut site = Site::new();
    seal(&mut site);
    plan(&mut site);
    let held = hold(&mut site, "hold.placed");
    assert_eq!(found_in(&site), [("hold-during-purge", Some(held))]);

    let mut site = Site::new();
    seal(&mut site);
    hold(&mut site, "hold.placed");
    let (planned, done) = (plan(&mut site), purge(&mut site));
    assert_eq!(found_in(&site), [("purge-under-hold", Some(planned)), ("purge-under-hold", Some(done))]);
}

#[test]
fn what_was_never_sealed_or_is_gone_cannot_be_opened_or_purged() {
    let mut site = Site::new();
    let opened = open(&mut site, Outcome::Granted);
    let purged = purge(&mut site);
    assert_eq!(found_in(&site), [("recording-unknown", Some(opened)), ("recording-unknown", Some(purged))]);
    let mut site = story();
    let twice = purge(&mut site);
    assert_eq!(found_in(&site), [("recording-unknown", Some(twice))]);
    let mut site = Site::new();
    seal(&mut site);
    let unplanned = purge(&mut site);
    assert_eq!(found_in(&site), [("purge-without-plan", Some(unplanned))]);
}

#[test]
fn no_purge_before_its_earliest_time() {
    let mut site = Site::new();
    seal_until(&mut site, LATEST, LATEST);
    plan(&mut site);
    let seq = purge(&mut site);
    assert_eq!(found_in(&site), [("purge-early", Some(seq))]);
}

#[test]
fn a_session_opens_once() {
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    let twice = open(&mut site, Outcome::Granted);
    assert_eq!(found_in(&site), [("session-twice", Some(twice))]);
}

#[test]
fn a_hold_is_lifted_only_while_it_stands_and_placed_once() {
    let mut site = Site::new();
    seal(&mut site);
    let unknown = hold(&mut site, "hold.lifted");
    hold(&mut site, "hold.placed");
    let twice = hold(&mut site, "hold.placed");
    assert_eq!(found_in(&site), [("hold-unknown", Some(unknown)), ("hold-unknown", Some(twice))]);
}

#[test]
fn an_event_that_lacks_a_column_or_stands_out_of_its_place_is_named() {
    let mut site = Site::new();
    let incomplete = site.add("access.interrupted", |entry| entry.data = raw(r#"{"why":"test"}"#));
    assert_eq!(found_in(&site), [("event-incomplete", Some(incomplete))]);

    let mut site = Site::new();
    let data = site.lines[0].clone();
    let data = greffier::core::ledger::entry::Entry::parse(&data).unwrap().data.unwrap().get().to_owned();
    let again = site.add("ledger.created", |entry| entry.data = raw(&data));
    let found = found_in(&site);
    assert!(found.contains(&("event-out-of-place", Some(again))), "{found:?}");
    assert!(found.contains(&("key-announcement", Some(again))), "{found:?}");
}

#[test]
fn a_live_ledger_whose_tail_holds_no_head_is_incomplete() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let mut tail = site.tail_header(0, 5);
    tail.resize(tail.len() + 4096, 0);
    ledger_support::write(dir.path(), "tail", &tail);
    let verdict = check(&site, dir.path());
    assert_eq!(found(&verdict), [("head-missing", None)]);
    assert_eq!(verdict.exit_code(), 3);
}

#[test]
fn a_recording_is_sealed_once() {
    let mut site = Site::new();
    seal(&mut site);
    let twice = seal(&mut site);
    assert_eq!(found_in(&site), [("recording-twice", Some(twice))]);
}
