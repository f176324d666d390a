//! The fold against a model of three short lists: what is archived, held and open.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::core::event::{
    Because, Event, HoldKind, HoldLifted, HoldPlaced, LedgerCreated, Opened, Outcome, PurgeDone,
    PurgePlanned, Record, Sealed, Subject, Usage,
};
use crate::core::ids::HoldId;
use crate::core::time::BootId;

#[derive(Debug, Clone, Copy)]
enum Act {
    Seal,
    Open { session: u8, granted: bool },
    Read { session: u8 },
    Close { session: u8, failed: bool },
    Interrupt { session: u8 },
    Hold { hold: u8 },
    Lift { hold: u8 },
    Plan,
    Unplan,
    Purge,
}

fn act() -> impl Strategy<Value = Act> {
    let id = || 0..3_u8;
    prop_oneof![
        3 => Just(Act::Seal),
        3 => (id(), any::<bool>()).prop_map(|(session, granted)| Act::Open { session, granted }),
        1 => id().prop_map(|session| Act::Read { session }),
        1 => (id(), any::<bool>()).prop_map(|(session, failed)| Act::Close { session, failed }),
        1 => id().prop_map(|session| Act::Interrupt { session }),
        2 => id().prop_map(|hold| Act::Hold { hold }),
        2 => id().prop_map(|hold| Act::Lift { hold }),
        3 => Just(Act::Plan),
        1 => Just(Act::Unplan),
        3 => Just(Act::Purge),
    ]
}

/// What the rules of conduct say, in the plainest way.
#[derive(Debug, Default, PartialEq)]
struct Model {
    archived: BTreeSet<u8>,
    purging: BTreeSet<u8>,
    held: BTreeMap<u8, u8>,
    open: BTreeMap<u8, u8>,
}

impl Model {
    fn act(&mut self, id: u8, act: Act) -> Result<(), Rule> {
        let need = |fine: bool, rule| if fine { Ok(()) } else { Err(rule) };
        let archived = need(self.archived.contains(&id), Rule::UnknownRecording);
        let held = self.held.values().any(|of| *of == id);
        match act {
            Act::Seal => need(self.archived.insert(id), Rule::SealedTwice)?,
            Act::Open { granted: false, .. } => {}
            Act::Open { session, .. } => {
                archived?;
                need(!self.open.contains_key(&session), Rule::SessionTwice)?;
                self.open.insert(session, id);
            }
            Act::Read { session } => need(self.open.contains_key(&session), Rule::SessionWithoutGrant)?,
            Act::Close { session, .. } | Act::Interrupt { session } => {
                need(self.open.remove(&session).is_some(), Rule::SessionWithoutGrant)?;
            }
            Act::Hold { hold } => {
                archived?;
                need(!self.purging.contains(&id), Rule::HoldDuringPurge)?;
                need(!self.held.contains_key(&hold), Rule::HoldUnknown)?;
                self.held.insert(hold, id);
            }
            Act::Lift { hold } => need(self.held.remove(&hold).is_some(), Rule::HoldUnknown)?,
            Act::Plan => {
                archived?;
                need(!held, Rule::PurgeUnderHold)?;
                self.purging.insert(id);
            }
            Act::Unplan => {
                archived?;
                self.purging.remove(&id);
            }
            Act::Purge => {
                archived?;
                need(!held, Rule::PurgeUnderHold)?;
                need(self.purging.remove(&id), Rule::PurgeWithoutPlan)?;
                self.archived.remove(&id);
            }
        }
        Ok(())
    }

    fn of(state: &State) -> Self {
        let first = |id: &RecordingId| id.as_bytes()[0];
        Self {
            archived: state.recordings().map(|(id, _)| first(id)).collect(),
            purging: state.purging().map(first).collect(),
            held: state.holds().iter().map(|(id, hold)| (id.as_bytes()[0], first(&hold.recording))).collect(),
            open: state.sessions().iter().map(|(id, it)| (id.as_bytes()[0], first(&it.recording))).collect(),
        }
    }
}

fn now() -> Timestamp {
    "2026-05-12T10:00:00Z".parse().unwrap()
}

fn record(seq: u64, id: u8, act: Act) -> Record {
    let usage = || Usage { why: String::new(), bytes: 0, ranges: Vec::new(), duration_us: 0 };
    let why = || Because { why: "test".into() };
    let mut outcome = Outcome::Done;
    let mut session_of = None;
    let event = match act {
        Act::Seal => Event::RecordingSealed(Sealed {
            kind: Kind::Footage,
            start: now(),
            end: now(),
            class: "short".parse().unwrap(),
            bytes: 1,
            sha256: Digest([0; 32]),
            media: "video/mp4".into(),
            earliest: now(),
            latest: now(),
            spool: None,
        }),
        Act::Open { session, granted } => {
            outcome = if granted { Outcome::Granted } else { Outcome::Denied };
            session_of = Some(session);
            Event::AccessOpened(Opened {
                mode: "seek".into(),
                until: Some(now()),
                mandate: None,
                emergency: false,
            })
        }
        Act::Read { session } => {
            session_of = Some(session);
            Event::AccessProgress(usage())
        }
        Act::Close { session, failed } => {
            outcome = if failed { Outcome::Failed } else { Outcome::Done };
            session_of = Some(session);
            Event::AccessClosed(usage())
        }
        Act::Interrupt { session } => {
            session_of = Some(session);
            Event::AccessInterrupted(why())
        }
        Act::Hold { hold } => Event::HoldPlaced(HoldPlaced {
            hold: HoldId::from_bytes([hold; 16]),
            kind: HoldKind::Incident,
            review: None,
        }),
        Act::Lift { hold } => Event::HoldLifted(HoldLifted { hold: HoldId::from_bytes([hold; 16]) }),
        Act::Plan => Event::PurgePlanned(PurgePlanned { due: None }),
        Act::Unplan => Event::PurgeFailed(why()),
        Act::Purge => Event::PurgeDone(PurgeDone {
            bytes: 1,
            sha256: Digest([0; 32]),
            sealed: now(),
            due: now(),
            key: "destroyed".into(),
            object: "removed".into(),
        }),
    };
    let recording = Subject::recording(RecordingId::from_bytes([id; 16]), "entrance".parse().unwrap());
    let subject = Subject { session: session_of.map(|it| SessionId::from_bytes([it; 16])), ..recording };
    Record { subject, outcome, event, ..blank(seq) }
}

fn blank(seq: u64) -> Record {
    let created = LedgerCreated { origin: String::new(), log_key: String::new(), epoch_key: String::new() };
    Record {
        seq,
        time: now(),
        boot: BootId::from_bytes([0; 16]),
        up_micros: seq,
        event: Event::LedgerCreated(created),
        outcome: Outcome::Done,
        subject: Subject::default(),
        policy: None,
    }
}

fn created() -> State {
    let mut state = State::default();
    state.apply(&blank(0)).unwrap();
    state
}

proptest! {
    #[test]
    fn inv5_inv12_the_fold_agrees_with_the_model_and_a_refused_event_leaves_no_trace(
        acts in prop::collection::vec((0..3_u8, act()), 0..80),
    ) {
        let mut state = created();
        let mut model = Model::default();
        let mut accepted = vec![blank(0)];
        for (id, act) in acts {
            let record = record(state.size(), id, act);
            let before = state.clone();
            let expected = model.act(id, act);
            match state.apply(&record) {
                Ok(()) => accepted.push(record),
                Err(violation) => {
                    prop_assert_eq!(&state, &before);
                    prop_assert_eq!((violation.seq, violation.event), (record.seq, record.event.name()));
                    prop_assert_eq!(Err(violation.rule), expected);
                    continue;
                }
            }
            prop_assert_eq!(expected, Ok(()), "{:?}", act);
            prop_assert_eq!(&Model::of(&state), &model);
        }
        let mut again = State::default();
        for record in &accepted {
            again.apply(record).unwrap();
        }
        prop_assert_eq!(again, state);
    }
}

#[test]
fn entries_are_folded_in_order_and_the_first_creates_the_ledger() {
    let out_of_place = |state: &mut State, record: &Record| {
        let before = state.clone();
        let refused = state.apply(record).unwrap_err();
        assert_eq!((refused.rule, &*state), (Rule::OutOfPlace, &before));
    };
    out_of_place(&mut State::default(), &record(0, 1, Act::Seal));
    out_of_place(&mut State::default(), &blank(1));
    let mut state = created();
    out_of_place(&mut state, &blank(1));
    out_of_place(&mut state, &record(2, 1, Act::Seal));
    out_of_place(&mut state, &record(0, 1, Act::Seal));
}

#[test]
fn an_event_without_the_column_it_needs_is_refused() {
    for act in [
        Act::Seal,
        Act::Open { session: 1, granted: true },
        Act::Read { session: 1 },
        Act::Close { session: 1, failed: false },
        Act::Hold { hold: 1 },
        Act::Plan,
        Act::Unplan,
        Act::Purge,
    ] {
        let bare = Record { subject: Subject::default(), ..record(1, 1, act) };
        assert_eq!(created().apply(&bare).unwrap_err().rule, Rule::Incomplete, "{act:?}");
    }
}

#[test]
fn what_was_refused_or_failed_changes_nothing_but_the_count() {
    for act in [Act::Seal, Act::Hold { hold: 1 }, Act::Lift { hold: 1 }, Act::Plan, Act::Unplan, Act::Purge] {
        for outcome in [Outcome::Denied, Outcome::Failed] {
            let mut state = created();
            state.apply(&Record { outcome, ..record(1, 1, act) }).unwrap();
            assert_eq!((state.size(), Model::of(&state)), (2, Model::default()), "{act:?}");
        }
    }
}

#[test]
fn openings_and_their_bytes_are_remembered_for_a_day_and_without_an_account_count_whole() {
    let usage = |seq, session, bytes| {
        let mut record = record(seq, 1, Act::Close { session, failed: false });
        record.event =
            Event::AccessClosed(Usage { why: String::new(), bytes, ranges: vec![], duration_us: 0 });
        record
    };
    let mut state = created();
    state.apply(&record(1, 1, Act::Seal)).unwrap();
    for session in 0..3_u8 {
        state.apply(&record(2 + u64::from(session), 1, Act::Open { session, granted: true })).unwrap();
    }
    let mut progress = usage(5, 0, 70);
    let Event::AccessClosed(read) = progress.event else { unreachable!() };
    progress.event = Event::AccessProgress(read);
    state.apply(&progress).unwrap();
    state.apply(&usage(6, 1, 30)).unwrap();
    state.apply(&record(7, 1, Act::Interrupt { session: 2 })).unwrap();
    let bytes = |state: &State| state.uses().values().map(|it| it.bytes).collect::<Vec<_>>();
    // The recording has one byte.
    assert_eq!(bytes(&state), [70, 30, 1]);
    let later = |hours: i64| now().saturating_add_micros(hours * 3_600_000_000);
    let open = |seq, session| record(seq, 1, Act::Open { session, granted: true });
    state.apply(&Record { time: later(25), ..open(8, 5) }).unwrap();
    assert_eq!(bytes(&state).len(), 4);
    state.apply(&Record { time: later(27), ..open(9, 6) }).unwrap();
    assert_eq!(state.uses().keys().copied().collect::<Vec<_>>(), [8, 9]);
    // What still runs ends as it must, remembered or not.
    state.apply(&usage(10, 0, 90)).unwrap();
    assert_eq!(state.uses().len(), 2);
}

#[test]
fn damage_is_a_fact_until_the_recording_is_read_whole_and_sound_or_purged() {
    use crate::core::event::{StoreDamaged, StoreScrubbed};

    let mut state = created();
    let about = |seq, id, event, outcome| Record { event, outcome, ..record(seq, id, Act::Seal) };
    let damaged =
        |what: &str| Event::StoreDamaged(StoreDamaged { what: what.into(), offset: Some(64), count: None });
    let scrubbed = |why: &str, recordings, damaged, unread| {
        let why = why.into();
        let (bytes, keys, repaired, since) = (0, 0, 0, None);
        Event::StoreScrubbed(StoreScrubbed { why, recordings, bytes, keys, damaged, repaired, unread, since })
    };
    let mut seq = 1;
    let mut then = |state: &mut State, id, event, outcome| {
        state.apply(&about(seq, id, event, outcome)).unwrap();
        seq += 1;
        state.damaged().len()
    };
    let done = Outcome::Done;
    then(&mut state, 1, record(1, 1, Act::Seal).event, done);
    assert_eq!(then(&mut state, 2, damaged("object-damaged"), done), 0, "of no recording in the archive");
    assert_eq!(then(&mut state, 1, damaged("key-copy"), done), 0, "what was repaired spoils nothing");
    assert_eq!(then(&mut state, 1, damaged("object-damaged"), done), 1);
    assert_eq!(state.damaged().values().next().unwrap().entry, 4);
    for (why, recordings, damaged, unread, outcome) in [
        ("complete", 1, 1, 0, done),
        ("complete", 1, 0, 1, done),
        ("complete", 0, 0, 0, done),
        ("cancelled", 1, 0, 0, done),
        ("complete", 1, 0, 0, Outcome::Failed),
    ] {
        let left = then(&mut state, 1, scrubbed(why, recordings, damaged, unread), outcome);
        assert_eq!(left, 1, "{why} {recordings} {damaged} {unread} {outcome:?}");
    }
    assert_eq!(then(&mut state, 1, scrubbed("ordered", 0, 0, 0), Outcome::Granted), 1);
    assert_eq!(then(&mut state, 1, scrubbed("complete", 1, 0, 0), done), 0);
    assert_eq!(then(&mut state, 1, damaged("object-missing"), done), 1);
    then(&mut state, 1, record(1, 1, Act::Plan).event, done);
    assert_eq!(then(&mut state, 1, record(1, 1, Act::Purge).event, done), 0, "gone with the recording");
}
