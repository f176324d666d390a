//! Purges, holds, restores and the figures: rules and notes about what is kept, and until when.

use super::*;

fn suspect(site: &mut Site) {
    fact(site, "ledger.clock-suspect", r#"{"why":"test"}"#);
}

#[test]
fn inv11_no_purge_is_decided_while_the_clock_is_suspect() {
    let mut site = Site::new();
    seal(&mut site);
    suspect(&mut site);
    let seq = plan(&mut site);
    assert_eq!(found_in(&site), [("purge-while-suspect", Some(seq))]);
    // One that was decided before may be finished.
    let mut site = Site::new();
    seal(&mut site);
    plan(&mut site);
    suspect(&mut site);
    plan(&mut site);
    purge(&mut site);
    assert_eq!(found_in(&site), []);
}

#[test]
fn sessions_are_cut_before_a_purge_and_the_certificate_is_true() {
    let mut site = Site::new();
    seal(&mut site);
    open(&mut site, Outcome::Granted);
    plan(&mut site);
    let seq = purge(&mut site);
    assert_eq!(found_in(&site), [("purge-during-session", Some(seq))]);

    let mut site = Site::new();
    seal(&mut site);
    plan(&mut site);
    site.sealed_micros -= 1;
    let seq = purge(&mut site);
    assert_eq!(found_in(&site), [("certificate-differs", Some(seq))]);
}

#[test]
fn a_purge_that_nobody_decided_cannot_fail() {
    let mut site = Site::new();
    seal(&mut site);
    let seq = site.add("purge.failed", |entry| {
        entry.recording = RECORDING.parse().ok();
        entry.data = raw(r#"{"why":"interrupted"}"#);
    });
    assert_eq!(found_in(&site), [("purge-without-plan", Some(seq))]);
}

/// A month after the start, as `LATEST`.
const MONTH_HOURS: i64 = 31 * 24;

#[test]
fn what_was_purged_late_is_said() {
    let purged_after = |late_hours| {
        let mut site = Site::new();
        seal(&mut site);
        hours(&mut site, MONTH_HOURS + late_hours);
        plan(&mut site);
        let seq = purge(&mut site);
        (site, seq)
    };
    let (site, _) = purged_after(20);
    assert_eq!(found_in(&site), [], "a house that is dark at night");
    let (site, seq) = purged_after(25);
    let verdict = checked(&site);
    assert_eq!(found(&verdict), [("purged-late", Some(seq))]);
    assert_eq!((verdict.statistics.purges_late, verdict.statistics.purges_on_time), (1, 0));
}

#[test]
fn what_is_not_purged_in_time_is_said_of_its_sealing() {
    let mut site = Site::new();
    let sealed = seal(&mut site);
    hours(&mut site, MONTH_HOURS + 20);
    confirm(&mut site);
    assert_eq!(found_in(&site), []);
    assert_eq!(found(&checked_at(&site, "2026-06-14T10:00:00Z")), [("purge-late", Some(sealed))]);
    hours(&mut site, 24);
    confirm(&mut site);
    let verdict = checked(&site);
    assert_eq!(found(&verdict), [("purge-late", Some(sealed))]);
    assert_eq!(verdict.statistics.overdue, 1);
}

#[test]
fn inv12_a_hold_excuses_and_after_it_is_lifted_a_day_remains() {
    let mut site = Site::new();
    seal(&mut site);
    hold(&mut site, "hold.placed");
    hours(&mut site, MONTH_HOURS + 100);
    confirm(&mut site);
    let verdict = checked(&site);
    assert_eq!((found(&verdict), verdict.statistics.kept_by_holds), (vec![], 1));
    hold(&mut site, "hold.lifted");
    hours(&mut site, 20);
    plan(&mut site);
    purge(&mut site);
    assert_eq!(found_in(&site), []);
}

#[test]
fn inv11_a_suspect_clock_excuses_as_long_as_it_lasts() {
    let mut site = Site::new();
    let sealed = seal(&mut site);
    hours(&mut site, MONTH_HOURS - 1);
    confirm(&mut site);
    suspect(&mut site);
    hours(&mut site, 100);
    site.add_with_detail("policy.refused", "who", |entry| entry.outcome = Outcome::Failed);
    let verdict = checked(&site);
    assert_eq!(found(&verdict), []);
    assert_eq!(at(&verdict, Code::PurgesPaused), [None]);
    confirm(&mut site);
    hours(&mut site, 20);
    confirm(&mut site);
    assert_eq!(found_in(&site), [], "the pause does not count");
    hours(&mut site, 10);
    confirm(&mut site);
    assert_eq!(found_in(&site), [("purge-late", Some(sealed))]);
}

#[test]
fn a_hold_past_its_review_is_a_note() {
    let mut site = Site::new();
    seal(&mut site);
    let seq = site.add_with_detail("hold.placed", "who", |entry| {
        entry.recording = RECORDING.parse().ok();
        let id = ledger_support::story::HOLD;
        entry.data =
            raw(&format!(r#"{{"hold":"{id}","kind":"judicial","review":"2026-05-20T00:00:00.000000Z"}}"#));
    });
    assert_eq!(at(&checked(&site), Code::HoldReviewDue), []);
    let verdict = checked_at(&site, "2026-05-21T00:00:00Z");
    assert_eq!((found(&verdict), at(&verdict, Code::HoldReviewDue)), (vec![], vec![Some(seq)]));
}

#[test]
fn a_restored_ledger_says_so() {
    let mut site = Site::new();
    let root = site.root_at(1);
    let data = format!(r#"{{"why":"behind","size":1,"known_size":9,"known_root":"{root}"}}"#);
    let seq = fact(&mut site, "ledger.restored", &data);
    let verdict = checked(&site);
    assert_eq!((found(&verdict), at(&verdict, Code::LedgerRestored)), (vec![], vec![Some(seq)]));
}

#[test]
fn the_figures_are_those_of_the_entries() {
    let verdict = checked(&story());
    let statistics = &verdict.statistics;
    assert_eq!(statistics.tally("access.opened").granted, 1);
    assert_eq!(statistics.refusals(), 1);
    assert_eq!((statistics.sessions_ended, statistics.sessions_open, statistics.bytes_read), (1, 0, 1));
    assert_eq!((statistics.purges_on_time, statistics.recordings, statistics.holds), (1, 0, 0));
    assert_eq!(statistics.policy.len(), 2);
    let of_source = statistics.sources.values().next().unwrap();
    assert_eq!((of_source.sealed, of_source.opened, of_source.refused, of_source.purged), (1, 1, 1, 0));
    assert_eq!(statistics.events.values().map(|tally| tally.all()).sum::<u64>(), verdict.summary.entries);
}

#[test]
fn inv10_a_ledger_of_all_the_centuries_keeps_the_figures_bounded() {
    let mut site = Site::new();
    begin(&mut site);
    for day in 0..11_000_i64 {
        let time = Timestamp::from_micros(ledger_support::START_MICROS + day * 86_400_000_000).unwrap();
        site.add_with_detail("recording.rejected", "who", |entry| {
            entry.time = time;
            entry.outcome = Outcome::Denied;
            entry.data = raw(r#"{"why":"not-allowed"}"#);
        });
    }
    let statistics = checked(&site).statistics;
    assert_eq!(statistics.days.len(), 10_000);
    assert_eq!(statistics.beyond_days, 1_000);
    assert_eq!(statistics.refusals(), 11_000);
}
