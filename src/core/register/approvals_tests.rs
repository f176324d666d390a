//! Approvals against the simplest model of what must hold: asked, accepted, in time, for the same thing, once.

use proptest::prelude::*;

use super::*;

fn at(hour: u8) -> Timestamp {
    Timestamp::from_micros(i64::from(hour) * 3_600_000_000).unwrap()
}
fn id(n: u8) -> ApprovalId {
    ApprovalId::from_bytes([n; 16])
}

/// What is asked for, and used on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Recording(u8),
    Interval(u8, u8),
    Service,
}

/// Recording `n` of the entrance starts at hour `n` and lasts an hour.
fn subject_of(recording: Option<u8>, purpose: u8) -> Subject {
    let purpose = Some(format!("purpose-{purpose}").parse().unwrap());
    match recording {
        Some(n) => Subject {
            purpose,
            ..Subject::recording(RecordingId::from_bytes([n; 16]), "entrance".parse().unwrap())
        },
        None => Subject { purpose, ..Subject::default() },
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Ask { id: u8, thing: Thing, purpose: u8, expires: u8 },
    Answer { id: u8, accepted: bool },
    Use { id: u8, recording: Option<u8>, purpose: u8 },
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Thing::Recording),
        3 => (0..4_u8, 0..4_u8).prop_map(|(from, to)| Thing::Interval(from, to)),
        1 => Just(Thing::Service),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..3_u8, thing(), 0..2_u8, 0..40_u8)
            .prop_map(|(id, thing, purpose, expires)| Act::Ask { id, thing, purpose, expires }),
        2 => (0..3_u8, prop::bool::weighted(0.8)).prop_map(|(id, accepted)| Act::Answer { id, accepted }),
        3 => (0..3_u8, prop::option::weighted(0.8, 0..3_u8), 0..2_u8)
            .prop_map(|(id, recording, purpose)| Act::Use { id, recording, purpose }),
    ]
}

/// One approval in the model: what, purpose, expires, answer, used.
type Plain = (Thing, u8, u8, Option<bool>, bool);

#[derive(Debug, Default)]
struct Model(BTreeMap<u8, Plain>);

impl Model {
    fn act(&mut self, act: Act, now: u8) -> bool {
        match act {
            Act::Ask { id, thing, purpose, expires } => {
                let free = !self.0.contains_key(&id);
                if free {
                    self.0.insert(id, (thing, purpose, expires, None, false));
                }
                free
            }
            Act::Answer { id, accepted } => match self.0.get_mut(&id) {
                Some((_, _, expires, answer @ None, _)) if now <= *expires => {
                    *answer = Some(accepted);
                    true
                }
                _ => false,
            },
            Act::Use { id, recording, purpose } => match self.0.get_mut(&id) {
                Some((thing, wanted, expires, Some(true), used @ false)) => {
                    let same = match *thing {
                        Thing::Recording(n) => recording == Some(n),
                        Thing::Interval(from, to) => recording.is_some_and(|n| from <= n && n < to),
                        Thing::Service => recording.is_none(),
                    };
                    *used = same && *wanted == purpose && now <= *expires;
                    *used
                }
                _ => false,
            },
        }
    }
}

fn apply(approvals: &mut Approvals, act: Act, now: u8, entry: u64) -> Result<(), Fault> {
    match act {
        Act::Ask { id: n, thing, purpose, expires } => {
            let (mut subject, mut asked) = (
                subject_of(None, purpose),
                ApprovalAsked {
                    approval: Some(id(n)),
                    verb: Verb::View,
                    from: None,
                    to: None,
                    expires: Some(at(expires)),
                    duration: None,
                },
            );
            match thing {
                Thing::Recording(n) => subject = subject_of(Some(n), purpose),
                Thing::Interval(from, to) => {
                    subject.source = Some("entrance".parse().unwrap());
                    (asked.from, asked.to) = (Some(at(from)), Some(at(to)));
                }
                Thing::Service => {}
            }
            approvals.ask(&asked, &subject, at(now), entry)
        }
        Act::Answer { id: n, accepted } => approvals.answer(Some(id(n)), accepted, at(now), entry),
        Act::Use { id: n, recording, purpose } => {
            let interval = recording.map(|n| (at(n), at(n + 1)));
            approvals.spend(Some(id(n)), &subject_of(recording, purpose), interval, at(now), entry)
        }
    }
}

proptest! {
    #[test]
    fn an_approval_serves_one_use_of_what_was_approved_in_time(
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let (mut approvals, mut model) = (Approvals::default(), Model::default());
        for (now, act) in (0_u8..).zip(acts) {
            let before = approvals.clone();
            let expected = model.act(act, now);
            let done = apply(&mut approvals, act, now, now.into());
            prop_assert_eq!(done.is_ok(), expected, "{:?} at {}: {:?}", act, now, done);
            if done.is_err() {
                prop_assert_eq!(&approvals, &before);
            }
            let used = approvals.iter().filter(|(_, asked)| asked.used.is_some()).count();
            prop_assert_eq!(used, model.0.values().filter(|(.., used)| *used).count());
        }
    }
}

#[test]
fn what_is_over_is_forgotten_a_month_later_and_never_before() {
    let mut approvals = Approvals::default();
    let ask = |id| Act::Ask { id, thing: Thing::Service, purpose: 0, expires: 10 };
    apply(&mut approvals, ask(1), 0, 1).unwrap();
    let asked = ApprovalAsked {
        approval: Some(id(2)),
        verb: Verb::Purge,
        from: None,
        to: None,
        expires: Some(at(200)),
        duration: None,
    };
    let month = at(10).saturating_add_micros(REMEMBERED_MICROS);
    let mut later = approvals.clone();
    later.ask(&asked, &Subject::default(), month, 2).unwrap();
    assert_eq!(later.iter().count(), 2);
    approvals.ask(&asked, &Subject::default(), month.saturating_add_micros(1), 2).unwrap();
    assert_eq!(approvals.iter().count(), 1);
    let word = |now| later.get(&id(1)).unwrap().word(now);
    assert_eq!([word(at(10)), word(at(11))], ["asked", "expired"]);
}
