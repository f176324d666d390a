//! Registers: what cannot have become of a grant, a mandate, an approval or the charter, whoever the persons were.

use super::*;

const GRANT: &str = "eaaaaaaaaaaaaaaaaaaaaaaaaa";
const APPROVAL: &str = "faaaaaaaaaaaaaaaaaaaaaaaaa";

fn act(site: &mut Site, event: &str, outcome: Outcome, data: &str) -> u64 {
    site.add_with_detail(event, "who", |entry| {
        entry.outcome = outcome;
        entry.data = raw(data);
    })
}

fn grant(site: &mut Site, event: &str, more: &str) -> u64 {
    let outcome = if event == "grant.given" { Outcome::Granted } else { Outcome::Done };
    act(site, event, outcome, &format!(r#"{{"grant":"{GRANT}"{more}}}"#))
}

const UNTIL: &str = r#","until":"2027-05-11""#;

#[test]
fn inv8_a_grant_that_nobody_proposed_or_that_does_not_stand_is_found() {
    let life = [
        ("grant.proposed", UNTIL),
        ("grant.given", UNTIL),
        ("grant.suspended", r#","why":"account-locked""#),
        ("grant.reviewed", ""),
        ("grant.ended", r#","why":"ended""#),
    ];
    let mut site = Site::new();
    begin(&mut site);
    for (event, more) in life {
        grant(&mut site, event, more);
    }
    assert_eq!(found_in(&site), []);
    for (event, more) in &life[1..] {
        let mut site = Site::new();
        begin(&mut site);
        let seq = grant(&mut site, event, more);
        assert_eq!(found_in(&site), [("grant-contradiction", Some(seq))], "{event}");
    }
    // Given for longer than was proposed.
    let mut site = Site::new();
    begin(&mut site);
    grant(&mut site, "grant.proposed", UNTIL);
    let seq = grant(&mut site, "grant.given", "");
    assert_eq!(found_in(&site), [("grant-contradiction", Some(seq))]);
    let seq = act(&mut site, "grant.proposed", Outcome::Done, "{}");
    assert_eq!(found_in(&site).last(), Some(&("event-incomplete", Some(seq))));
    let seq = act(&mut site, "grant.given", Outcome::Done, &format!(r#"{{"grant":"{GRANT}"{UNTIL}}}"#));
    assert!(found_in(&site).contains(&("outcome-wrong", Some(seq))), "given is granted, not done");
}

fn mandate(site: &mut Site, event: &str, version: u64) -> u64 {
    let data = match event {
        "mandate.withdrawn" => r#"{"mandate":"may","why":"withdrawn"}"#.to_owned(),
        _ => format!(
            r#"{{"mandate":"may","version":{version},"from":"2026-05-01","until":"2026-05-31","tasks":["theft"],"sources":["entrance"]}}"#
        ),
    };
    act(site, event, Outcome::Done, &data)
}

/// An opening under the mandate.
fn open_under(site: &mut Site, reason: &str) -> u64 {
    site.add_with_detail("access.opened", "who", |entry| {
        entry.outcome = Outcome::Granted;
        entry.recording = RECORDING.parse().ok();
        entry.source = "entrance".parse().ok();
        entry.session = SESSION.parse().ok();
        entry.reason = reason.parse().ok();
        entry.purpose = "safety".parse().ok();
        entry.data = raw(r#"{"mode":"seek","until":"2026-05-12T20:00:00.000000Z","mandate":"may"}"#);
    })
}

#[test]
fn a_use_outside_a_mandate_or_after_its_withdrawal_is_found() {
    let given = |changed: bool| {
        let mut site = Site::new();
        seal(&mut site);
        mandate(&mut site, "mandate.given", 1);
        if changed {
            mandate(&mut site, "mandate.changed", 2);
        }
        site
    };
    let mut site = given(true);
    open_under(&mut site, "theft");
    assert_eq!(found_in(&site), []);
    let mut site = given(false);
    let seq = open_under(&mut site, "curiosity");
    assert_eq!(found_in(&site), [("mandate-contradiction", Some(seq))]);
    let mut site = given(false);
    mandate(&mut site, "mandate.withdrawn", 0);
    let seq = open_under(&mut site, "theft");
    assert_eq!(found_in(&site), [("mandate-contradiction", Some(seq))]);
    let mut site = given(false);
    let seq = mandate(&mut site, "mandate.changed", 3);
    assert_eq!(found_in(&site), [("mandate-contradiction", Some(seq))]);
}

#[test]
fn a_session_that_outlives_its_mandate_is_found() {
    let withdrawn_after = |minutes: i64, close: bool| {
        let mut site = Site::new();
        seal(&mut site);
        mandate(&mut site, "mandate.given", 1);
        open_under(&mut site, "theft");
        mandate(&mut site, "mandate.withdrawn", 0);
        if close {
            usage(&mut site, "access.revoked", r#"{"why":"mandate-withdrawn","bytes":1,"duration_us":2}"#);
        }
        site.time_micros += minutes * 60_000_000;
        let seq = confirm(&mut site);
        (found_in(&site), seq)
    };
    assert_eq!(withdrawn_after(10, true).0, []);
    assert_eq!(withdrawn_after(1, false).0, []);
    let (found, seq) = withdrawn_after(10, false);
    assert_eq!(found, [("session-not-ended", Some(seq))]);
}

fn approval(site: &mut Site, event: &str, recording: &str) -> u64 {
    site.add_with_detail(event, "who", |entry| {
        if event == "approval.given" {
            entry.outcome = Outcome::Granted;
        }
        let mut more = "";
        if ["approval.asked", "approval.used"].contains(&event) {
            entry.recording = recording.parse().ok();
            entry.purpose = "safety".parse().ok();
        }
        if event == "approval.asked" {
            more = r#","verb":"view","expires":"2026-05-12T12:00:00.000000Z""#;
        }
        entry.data = raw(&format!(r#"{{"approval":"{APPROVAL}"{more}}}"#));
    })
}

#[test]
fn an_approval_is_used_once_in_time_and_for_what_was_approved() {
    let after = |events: &[&str], hours_between: i64| {
        let mut site = Site::new();
        seal(&mut site);
        for event in events {
            approval(&mut site, event, RECORDING);
        }
        hours(&mut site, hours_between);
        site
    };
    let asked_and_given = ["approval.asked", "approval.given"];
    let mut site = after(&asked_and_given, 0);
    approval(&mut site, "approval.used", RECORDING);
    assert_eq!(found_in(&site), []);
    let seq = approval(&mut site, "approval.used", RECORDING);
    assert_eq!(found_in(&site), [("approval-contradiction", Some(seq))], "twice");

    for (events, hours_between, event) in [
        (&[][..], 0, "approval.given"),
        (&["approval.asked"], 0, "approval.used"),
        (&["approval.asked", "approval.refused"], 0, "approval.used"),
        (&["approval.asked", "approval.refused"], 0, "approval.given"),
        (&asked_and_given, 3, "approval.used"),
        (&["approval.asked"], 3, "approval.given"),
    ] {
        let mut site = after(events, hours_between);
        let seq = approval(&mut site, event, RECORDING);
        let found = found_in(&site);
        assert_eq!(found, [("approval-contradiction", Some(seq))], "{events:?} {hours_between} {event}");
    }
    let mut site = after(&asked_and_given, 0);
    let seq = approval(&mut site, "approval.used", "daaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(found_in(&site), [("approval-contradiction", Some(seq))], "for another recording");
}

#[test]
fn a_charter_that_nobody_acknowledged_cannot_lapse() {
    let mut site = Site::new();
    begin(&mut site);
    let first = act(&mut site, "charter.acknowledged", Outcome::Done, r#"{"version":"2026"}"#);
    let again = format!(r#"{{"version":"2027","replaces":{first}}}"#);
    act(&mut site, "charter.acknowledged", Outcome::Done, &again);
    assert_eq!(found_in(&site), []);
    let seq = fact(&mut site, "charter.lapsed", &format!(r#"{{"entry":{first}}}"#));
    assert_eq!(found_in(&site), [("event-out-of-place", Some(seq))]);
}
