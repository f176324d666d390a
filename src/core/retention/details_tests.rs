//! The plan of what happens to details: rules for each event, ranges, clock.

use super::*;
use crate::core::event::{
    Because, DetailsDestroyed, Event, HoldKind, HoldLifted, HoldPlaced, Nothing, Opened, Outcome, PurgeDone,
    PurgePlanned, Record, Sealed, Subject, Usage,
};
use crate::core::event::{ReviewDone, ReviewRaised};
use crate::core::ids::{Digest, HoldId, Kind, RecordingId, SessionId};
use crate::core::time::{BootId, Timestamp};
use proptest::prelude::*;

fn at(day: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(day).unwrap() * 86_400_000_000).unwrap()
}

/// A ledger in which each entry is written a day after the one before.
#[derive(Default)]
struct Story {
    facts: DetailFacts,
}

impl Story {
    fn say(&mut self, event: Event, outcome: Outcome, detailed: bool) -> u64 {
        let seq = self.facts.size();
        let subject = Subject {
            recording: Some(RecordingId::from_bytes([1; 16])),
            session: Some(SessionId::from_bytes([2; 16])),
            ..Subject::default()
        };
        let record = Record {
            seq,
            time: at(seq),
            boot: BootId::from_bytes([0; 16]),
            up_micros: 0,
            event,
            outcome,
            subject,
            policy: None,
        };
        self.facts.note(&record, detailed);
        seq
    }
    fn done(&mut self, event: Event) -> u64 {
        self.say(event, Outcome::Done, true)
    }
    fn refused(&mut self) -> u64 {
        self.done(Event::PolicyRefused(Nothing {}))
    }
    fn quiet(&mut self) -> u64 {
        self.say(Event::SourceRetired(Nothing {}), Outcome::Done, false)
    }
    fn plan(&self, keep: &str, below_tail: u64, day: u64) -> DetailPlan {
        let keep = KeepDetails { keep: keep.parse().unwrap(), keep_for: Default::default() };
        plan_details(&self.facts, &keep, below_tail, &ClockVerdict::Sound, at(day))
    }
    /// The fate of the detail of `entry` ten years on, everything below the tail.
    fn fate(&self, entry: u64) -> DetailWhy {
        let plan = self.plan("P1Y", u64::MAX, 4000);
        let line = plan.lines().iter().find(|line| line.first <= entry && entry < line.end).unwrap();
        line.why
    }
}

fn placed() -> Event {
    let hold = HoldId::from_bytes([3; 16]);
    Event::HoldPlaced(HoldPlaced { hold, kind: HoldKind::Judicial, review: None })
}
fn lifted() -> Event {
    Event::HoldLifted(HoldLifted { hold: HoldId::from_bytes([3; 16]) })
}
fn opened() -> Event {
    Event::AccessOpened(Opened {
        mode: "seek".into(),
        until: Some(at(9000)),
        mandate: None,
        emergency: false,
    })
}
fn closed() -> Event {
    Event::AccessClosed(Usage { why: "released".into(), bytes: 0, ranges: Vec::new(), duration_us: 1 })
}
fn sealed() -> Event {
    Event::RecordingSealed(Sealed {
        kind: Kind::Call,
        start: at(0),
        end: at(0),
        class: "short".parse().unwrap(),
        bytes: 9,
        sha256: Digest([7; 32]),
        media: "audio/wav".into(),
        earliest: at(1),
        latest: at(1),
        spool: None,
    })
}
fn purged() -> Event {
    Event::PurgeDone(PurgeDone {
        bytes: 9,
        sha256: Digest([7; 32]),
        sealed: at(0),
        due: at(1),
        key: "destroyed".into(),
        object: "removed".into(),
    })
}

#[test]
fn a_detail_stays_while_something_that_it_tells_of_has_not_ended() {
    let planned = || Event::PurgePlanned(PurgePlanned { due: None });
    let failed = || Event::PurgeFailed(Because { why: "interrupted".into() });
    for (begins, ends, waits) in [
        (placed(), lifted(), Waits::Hold),
        (opened(), closed(), Waits::Session),
        (sealed(), purged(), Waits::Recording),
        (planned(), failed(), Waits::Purge),
        (planned(), purged(), Waits::Purge),
        (
            Event::ReviewRaised(ReviewRaised { why: "emergency".into(), due: at(9000) }),
            // The first entry of the story.
            Event::ReviewDone(ReviewDone { entry: 0 }),
            Waits::Review,
        ),
        (Event::PolicyLoaded(Nothing {}), Event::PolicyLoaded(Nothing {}), Waits::Policy),
    ] {
        let mut story = Story::default();
        let first = story.done(begins);
        assert_eq!(story.fate(first), DetailWhy::Waits(waits));
        for _ in 0..500 {
            story.quiet();
        }
        // An end that was refused ends nothing; but a session that failed to begin has ended.
        if waits != Waits::Session {
            story.say(ends.clone(), Outcome::Denied, false);
            assert_eq!(story.fate(first), DetailWhy::Waits(waits));
        }
        let end = story.say(ends, Outcome::Done, false);
        assert_eq!(story.fate(first), DetailWhy::Ended);
        // The period counts from the end, not from the entry.
        let why = |day| story.plan("P1Y", u64::MAX, day).lines()[0].why;
        assert_eq!((why(end + 364), why(end + 366)), (DetailWhy::Runs, DetailWhy::Ended));
    }
}

#[test]
fn a_refused_act_tells_of_nothing_that_lasts() {
    for event in [placed(), opened(), sealed(), Event::PolicyLoaded(Nothing {})] {
        let mut story = Story::default();
        let entry = story.say(event, Outcome::Denied, true);
        assert_eq!(story.fate(entry), DetailWhy::Ended);
    }
}

#[test]
fn single_events_have_their_own_period() {
    let mut story = Story::default();
    story.refused();
    story.say(opened(), Outcome::Denied, true);
    let keep = KeepDetails {
        keep: "P1Y".parse().unwrap(),
        keep_for: [("access.opened".to_owned(), "P3Y".parse().unwrap())].into(),
    };
    let plan = plan_details(&story.facts, &keep, 256, &ClockVerdict::Sound, at(400));
    let whys: Vec<_> = plan.lines().iter().map(|line| (line.first, line.why, line.details)).collect();
    assert_eq!(whys, [(0, DetailWhy::Ended, 1), (1, DetailWhy::Runs, 1)]);
    let bundle = BundlePlan { bundle: 0, destroy: vec![(0, 1)], keep: vec![(1, 2)] };
    assert_eq!(plan.bundles().collect::<Vec<_>>(), [&bundle]);
}

#[test]
fn inv11_a_suspect_clock_destroys_no_detail() {
    let mut story = Story::default();
    story.refused();
    let keep = KeepDetails { keep: "PT1S".parse().unwrap(), keep_for: Default::default() };
    let clock = ClockVerdict::Suspect { why: ClockDoubt::Unconfirmed };
    let plan = plan_details(&story.facts, &keep, 256, &clock, at(400));
    assert_eq!((plan.bundles().count(), plan.blocked()), (0, Some(ClockDoubt::Unconfirmed)));
    assert_eq!(plan.lines().len(), 1, "it can be printed all the same");
}

#[test]
fn details_in_the_tail_wait_until_their_bundle_is_full() {
    let mut story = Story::default();
    for _ in 0..300 {
        story.refused();
    }
    let plan = story.plan("P1D", 256, 1000);
    let whys: Vec<_> = plan.lines().iter().map(|line| (line.first, line.end, line.why)).collect();
    assert_eq!(whys, [(0, 256, DetailWhy::Ended), (256, 300, DetailWhy::InTail)]);
    assert_eq!(plan.bundles().map(|it| it.bundle).collect::<Vec<_>>(), [0]);
    assert_eq!(story.plan("P1D", 255, 1000).bundles().count(), 0);
}

#[test]
fn what_is_destroyed_is_planned_no_more() {
    let mut story = Story::default();
    for _ in 0..256 {
        story.refused();
    }
    let plan = story.plan("P1D", 256, 10);
    let BundlePlan { bundle, destroy, keep } = plan.bundles().next().unwrap().clone();
    assert_eq!((destroy.as_slice(), keep.as_slice()), (&[(0, 10)][..], &[(10, 256)][..]));
    let said = DetailsDestroyed { bundle, destroyed: destroy, kept: keep, generation: 1 };
    story.say(Event::LedgerDetailsDestroyed(said), Outcome::Done, false);
    assert_eq!(story.plan("P1D", 256, 10).bundles().count(), 0);
    assert_eq!(story.facts.len(), 246);
}

/// What stays on both sides of a detail that an earlier run destroyed is never named as one range over it.
#[test]
fn a_second_run_in_a_bundle_keeps_no_detail_that_the_first_destroyed() {
    let mut story = Story::default();
    let waits = story.done(placed());
    let gone_first = story.refused();
    let also_waits = story.done(opened());
    let gone_second = story.refused();
    let said = |destroyed| {
        let (bundle, kept, generation) = (0, Vec::new(), 1);
        Event::LedgerDetailsDestroyed(DetailsDestroyed { bundle, destroyed, kept, generation })
    };
    story.say(said(vec![(gone_first, gone_first + 1)]), Outcome::Done, false);
    let plan = story.plan("P1Y", u64::MAX, 4000);
    let bundle = plan.bundles().next().unwrap();
    assert_eq!(bundle.destroy, [(gone_second, gone_second + 1)]);
    assert_eq!(bundle.keep, [(waits, waits + 1), (also_waits, also_waits + 1)]);
}

proptest! {
    #[test]
    fn a_plan_covers_each_detail_exactly_once(details in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..600)) {
        let mut story = Story::default();
        for (detailed, long) in &details {
            // `access.opened` is kept long here, the other not at all.
            let event = if *long { opened() } else { Event::PolicyRefused(Nothing {}) };
            story.say(event, Outcome::Denied, *detailed);
        }
        let keep = KeepDetails {
            keep: "PT0S".parse().unwrap(),
            keep_for: [("access.opened".to_owned(), "P100Y".parse().unwrap())].into(),
        };
        let full = details.len() as u64 / 256 * 256;
        let plan = plan_details(&story.facts, &keep, full, &ClockVerdict::Sound, at(9000));
        let within = |ranges: &[(u64, u64)], seq: u64| ranges.iter().filter(|(a, b)| *a <= seq && seq < *b).count();
        for (seq, (detailed, long)) in (0..).zip(&details) {
            let bundle = plan.bundles().find(|it| it.bundle == seq / 256);
            let (gone, kept) = bundle.map_or((0, 0), |it| (within(&it.destroy, seq), within(&it.keep, seq)));
            prop_assert!(gone + kept <= 1);
            if *detailed && seq < full {
                prop_assert_eq!(gone == 1, !*long);
                if bundle.is_some() { prop_assert_eq!(kept == 1, *long); }
            }
        }
        let all: u64 = plan.lines().iter().map(|line| line.details).sum();
        prop_assert_eq!(all, details.iter().filter(|(detailed, _)| *detailed).count() as u64);
        // What the fold would say of the entry that carries it out.
        for it in plan.bundles() {
            for ranges in [&it.destroy, &it.keep] {
                prop_assert!(ranges.windows(2).all(|two| two[0].1 <= two[1].0));
                prop_assert!(ranges.iter().all(|(a, b)| a < b && *a >= it.bundle * 256 && *b <= it.bundle * 256 + 256));
            }
        }
    }
}

#[test]
fn what_stands_in_a_register_keeps_its_detail_until_it_is_over() {
    use crate::core::event::{
        ApprovalAsked, ApprovalStep, CharterAcknowledged, CharterLapsed, GrantEnd, GrantEnded, GrantReviewed,
        GrantSuspended, GrantTerm, MandateEnd, MandateTerm, MandateWithdrawn, SuspendedWhy,
    };
    use crate::core::ids::{ApprovalId, GrantId};
    use crate::core::policy::Verb;

    // Of single entries: lines of a plan may overlap.
    let state = |story: &Story, entry: u64| story.facts.state_of(entry).unwrap();
    let mut story = Story::default();
    let grant = |n: u8| Some(GrantId::from_bytes([n; 16]));
    let term = || GrantTerm { grant: grant(1), until: None };
    let proposed = story.done(Event::GrantProposed(term()));
    assert_eq!(state(&story, proposed), Err(Waits::Grant));
    let given = story.done(Event::GrantGiven(term()));
    let why = SuspendedWhy::ByHand;
    let suspended = story.done(Event::GrantSuspended(GrantSuspended { grant: grant(1), why, policy: false }));
    let of_policy = story.done(Event::GrantSuspended(GrantSuspended { grant: grant(2), why, policy: true }));
    let reviewed = story.done(Event::GrantReviewed(GrantReviewed { grant: grant(2), policy: true }));
    for (entry, waits) in
        [(proposed, false), (given, true), (suspended, false), (of_policy, true), (reviewed, false)]
    {
        assert_eq!(state(&story, entry) == Err(Waits::Grant), waits, "entry {entry}");
    }
    for (id, why) in [(1, GrantEnd::Expired), (2, GrantEnd::RuleGone)] {
        story.say(Event::GrantEnded(GrantEnded { grant: grant(id), why }), Outcome::Done, false);
    }
    assert!([given, of_policy].iter().all(|entry| state(&story, *entry).is_ok()));

    let mandate: crate::core::ids::MandateId = "may".parse().unwrap();
    let term = |version| MandateTerm {
        mandate: Some(mandate.clone()),
        version,
        from: None,
        until: None,
        tasks: Vec::new(),
        sources: None,
    };
    let first = story.done(Event::MandateGiven(term(1)));
    let second = story.done(Event::MandateChanged(term(2)));
    assert_eq!([first, second].map(|it| state(&story, it)), [Ok(at(second)), Err(Waits::Mandate)]);
    let why = MandateEnd::Withdrawn;
    story.done(Event::MandateWithdrawn(MandateWithdrawn { mandate: Some(mandate.clone()), why }));
    assert!(state(&story, second).is_ok());

    let approval = Some(ApprovalId::from_bytes([4; 16]));
    let asked = story.done(Event::ApprovalAsked(ApprovalAsked {
        approval,
        verb: Verb::View,
        from: None,
        to: None,
        expires: Some(at(100)),
        duration: None,
    }));
    let given = story.done(Event::ApprovalGiven(ApprovalStep { approval }));
    // Nobody writes that it was not used: its time itself ends the story.
    assert_eq!([asked, given].map(|it| state(&story, it)), [Ok(at(100)); 2]);
    let used = story.done(Event::ApprovalUsed(ApprovalStep { approval }));
    assert_eq!([asked, given].map(|it| state(&story, it)), [Ok(at(used)); 2]);

    let said = |replaces| Event::CharterAcknowledged(CharterAcknowledged { version: "1".into(), replaces });
    let first = story.done(said(None));
    let second = story.done(said(Some(first)));
    assert_eq!([first, second].map(|it| state(&story, it)), [Ok(at(second)), Err(Waits::Charter)]);
    story.say(Event::CharterLapsed(CharterLapsed { entry: second }), Outcome::Done, false);
    assert!(state(&story, second).is_ok());
}
