//! Tests of the purge plan.

use proptest::prelude::*;

use super::{Action, Blocked, ClockDoubt, ClockVerdict, PurgeFact, PurgeHistory, PurgePlan, plan_purge};
use crate::core::ids::{HoldId, RecordingId};
use crate::core::time::Timestamp;

const DAY_MICROS: i64 = 86_400_000_000;
const SUSPECT: ClockVerdict = ClockVerdict::Suspect { why: ClockDoubt::Backward { by_micros: 1_000_000 } };

fn now() -> Timestamp {
    "2026-05-12T10:00:00Z".parse().unwrap()
}
/// A recording whose period ends `days` after now.
fn fact(number: u32, days: i64, held: bool) -> PurgeFact {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    PurgeFact {
        recording: RecordingId::from_bytes(id),
        source: "entrance".parse().unwrap(),
        class: "premises".parse().unwrap(),
        earliest: now().saturating_add_micros(-100 * DAY_MICROS),
        latest: now().saturating_add_micros(days * DAY_MICROS),
        held: held.then(|| HoldId::from_bytes(id)),
    }
}
fn plan(facts: Vec<PurgeFact>, clock: &ClockVerdict, history: PurgeHistory) -> PurgePlan {
    plan_purge(facts.into_iter(), clock, &history, now())
}
/// `count` recordings due now.
fn due(count: u32) -> Vec<PurgeFact> {
    (0..count).map(|number| fact(number, 0, false)).collect()
}

#[test]
fn what_has_ended_goes_and_each_line_says_why() {
    let facts = vec![fact(1, 1, false), fact(2, 0, false), fact(3, -5, true)];
    let plan = plan(facts, &ClockVerdict::Sound, PurgeHistory::default());
    let text = plan.to_string();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "aaaaaayaaaaaaaaaaaaaaaaaaa  entrance  held  2026-05-07T10:00:00.000000Z  hold aaaaaayaaaaaaaaaaaaaaaaaaa keeps it",
            "aaaaaaqaaaaaaaaaaaaaaaaaaa  entrance  purge  2026-05-12T10:00:00.000000Z  the period of class premises has ended",
            "aaaaaaiaaaaaaaaaaaaaaaaaaa  entrance  keep  2026-05-13T10:00:00.000000Z  the period of class premises has not ended",
        ]
    );
    assert_eq!(plan.purges().count(), 1);
    assert_eq!(plan.next_due(), Some(now().saturating_add_micros(DAY_MICROS)));
}

#[test]
fn a_period_ends_at_its_last_instant_and_not_before() {
    let mut fact = fact(1, 0, false);
    let action = |fact: &PurgeFact| {
        let plan = plan(vec![fact.clone()], &ClockVerdict::Sound, PurgeHistory::default());
        plan.lines().first().map(|line| line.action)
    };
    assert_eq!(action(&fact), Some(Action::Purge));
    fact.latest = fact.latest.saturating_add_micros(1);
    assert_eq!(action(&fact), Some(Action::Keep));
    // Facts that contradict each other: the duty to keep wins.
    fact.latest = now();
    fact.earliest = now().saturating_add_micros(1);
    assert_eq!(action(&fact), Some(Action::Keep));
}

#[test]
fn inv11_a_suspect_clock_purges_nothing_even_when_confirmed() {
    let plan = plan(due(3), &SUSPECT, PurgeHistory::default()).confirmed();
    assert_eq!(plan.purges().count(), 0);
    assert!(matches!(plan.blocked(), Some(Blocked::Clock(_))));
    assert!(plan.to_string().ends_with("confirm it with `greffierctl retention confirm-clock`\n"));
}

#[test]
fn a_small_or_new_house_is_not_asked() {
    let plan_of = |count| plan(due(count), &ClockVerdict::Sound, PurgeHistory::default());
    assert_eq!(plan_of(100).purges().count(), 100);
    let many = plan_of(101);
    assert_eq!(many.blocked(), Some(Blocked::TooMany { due: 101, limit: 100 }));
    assert_eq!(many.purges().count(), 0);
    assert_eq!(many.confirmed().purges().count(), 101);
}

#[test]
fn three_times_the_usual_number_passes() {
    let history = PurgeHistory { days: 30, purges: 30 * 50 };
    let plan_of = |count| plan(due(count), &ClockVerdict::Sound, history);
    assert_eq!(plan_of(150).blocked(), None);
    assert_eq!(plan_of(151).blocked(), Some(Blocked::TooMany { due: 151, limit: 150 }));
    // On its second day, a house is measured by one day and not by thirty.
    let young = PurgeHistory { days: 1, purges: 60 };
    assert_eq!(plan(due(180), &ClockVerdict::Sound, young).blocked(), None);
}

#[test]
fn the_first_purges_of_a_steady_house_are_predicted_by_the_days_ahead() {
    let steady: Vec<PurgeFact> = (0..15 * 200).map(|i| fact(i, i64::from(i / 200), false)).collect();
    let first_day = plan(steady, &ClockVerdict::Sound, PurgeHistory::default());
    assert_eq!((first_day.blocked(), first_day.purges().count()), (None, 200));
}

#[test]
fn inv11_a_leap_over_a_whole_archive_is_asked_about_even_if_the_clock_is_believed() {
    let leapt: Vec<PurgeFact> = (0..15 * 200).map(|i| fact(i, i64::from(i / 200) - 20, false)).collect();
    let history = PurgeHistory { days: 30, purges: 30 * 200 };
    let plan = plan(leapt, &ClockVerdict::Sound, history);
    assert_eq!(plan.blocked(), Some(Blocked::TooMany { due: 3000, limit: 600 }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn inv12_a_held_recording_is_never_purged(
        facts in proptest::collection::vec((-40..40_i64, any::<bool>()), 0..150), suspect in any::<bool>(),
    ) {
        let facts: Vec<PurgeFact> =
            (0..).zip(&facts).map(|(number, &(days, held))| fact(number, days, held)).collect();
        let clock = if suspect { SUSPECT } else { ClockVerdict::Sound };
        let plan = plan(facts.clone(), &clock, PurgeHistory::default()).confirmed();
        prop_assert_eq!(plan.lines().len(), facts.len());
        let purged: Vec<RecordingId> = plan.purges().map(|line| line.recording).collect();
        for fact in &facts {
            let ended = fact.held.is_none() && fact.latest <= now() && !suspect;
            prop_assert_eq!(purged.contains(&fact.recording), ended);
        }
    }
}
