//! Every call of each procedure fails, in turn, in each way; or the process ends before, within or after it.
//!
//! A procedure is a line of [`PROCEDURES`]: what is prepared without faults, and what is done under them. In a check each
//! call fails, or the process ends at it, in one way, by the seed; with `GREFFIER_SOAK=1` in all. `GREFFIER_SEED` repeats a choice,
//! `GREFFIER_PROCEDURE` tries one procedure alone, in all ways.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::told::END;
use super::*;
use crate::core::event::KeyRotation;
use crate::shell::disk::fault::tests::image::Choice;
use crate::shell::disk::master_place::Which as Key;

const FAILS: [Mode; 5] = [Mode::Refused, Mode::Full, Mode::Short, Mode::DoneButFailed, Mode::Lost];
const DIES: [Mode; 3] = [Mode::DiesBefore, Mode::DiesWithin, Mode::DiesAfter];

/// One procedure under test.
struct Procedure {
    name: &'static str,
    house: House,
    /// Without faults.
    before: fn(&mut Days<'_>),
    /// Under them: every step may fail.
    run: fn(&mut Days<'_>),
    /// Calls that must be met, by a part of their paths.
    meets: &'static [(Op, &'static str)],
}

/// In which house.
#[derive(Clone, Copy, PartialEq)]
enum House {
    /// One recording of each source, a hold.
    Furnished,
    /// Two entries before the end of a bundle.
    NearlyFull,
    /// With a bundle of details that stand in their file.
    Settled,
}

fn nothing(_: &mut Days<'_>) {}
fn some_recording(days: &Days<'_>, source: &str) -> RecordingId {
    let (state, source) = (days.life.state(), source.parse::<SourceId>().unwrap());
    let free = state.recordings().find(|(id, it)| it.source == source && state.holds().on(id).is_none());
    free.map(|(id, _)| *id).unwrap()
}

const PROCEDURES: [Procedure; 12] = [
    Procedure {
        name: "seal-spool",
        house: House::Furnished,
        before: |days| drop(days.leave("entrance")),
        run: |days| {
            let spool = Spool::open(&days.dir.join("spool")).unwrap();
            let names = spool.scan(&"entrance".parse().unwrap()).unwrap().names;
            names.iter().for_each(|name| days.take("entrance", name.to_str().unwrap()));
        },
        meets: &[
            (Op::MakeDir, "/.taking/"),
            (Op::Rename, "/.taking/"),
            (Op::Write, "keys/1.a"),
            (Op::Sync, "keys/1.b"),
            (Op::Unnamed, "objects"),
            (Op::Write, "objects/"),
            (Op::Sync, "objects/"),
            (Op::ReadBack, "objects/"),
            (Op::Link, "objects/"),
            (Op::SyncDir, "objects/"),
            (Op::TailWrite, "ledger/tail"),
            (Op::TailSync, "ledger/tail"),
            (Op::Remove, "/.taking/"),
            (Op::SyncDir, "/.taking/"),
            (Op::RemoveDir, "/.taking/"),
            (Op::SyncDir, "spool/entrance"),
        ],
    },
    Procedure {
        name: "seal-bus",
        house: House::Furnished,
        before: nothing,
        run: |days| {
            let _may_fail = days.pass("entrance");
        },
        meets: &[(Op::Write, "keys/1.b"), (Op::Link, "objects/"), (Op::TailSync, "ledger/tail")],
    },
    Procedure {
        name: "open",
        house: House::Furnished,
        before: nothing,
        run: |days| {
            let _may_fail = days.open(some_recording(days, "entrance"));
        },
        meets: &[(Op::TailWrite, "ledger/tail"), (Op::TailSync, "ledger/tail")],
    },
    Procedure {
        name: "close",
        house: House::Furnished,
        before: |days| {
            days.open(some_recording(days, "entrance")).unwrap();
        },
        run: |days| {
            days.progress();
            days.close();
        },
        meets: &[(Op::TailWrite, "ledger/tail"), (Op::TailSync, "ledger/tail")],
    },
    Procedure {
        name: "purge",
        house: House::Furnished,
        before: nothing,
        run: |days| days.purge(),
        meets: &[
            (Op::TailSync, "ledger/tail"),
            (Op::Write, "keys/1.a"),
            (Op::Sync, "keys/1.a"),
            (Op::Write, "keys/1.b"),
            (Op::Sync, "keys/1.b"),
            (Op::Remove, "objects/"),
            (Op::SyncDir, "objects/"),
        ],
    },
    // What fails while a file is sealed must not bring it back once it is purged.
    Procedure {
        name: "seal-purge",
        house: House::Furnished,
        before: |days| drop(days.leave("door")),
        run: |days| {
            let spool = Spool::open(&days.dir.join("spool")).unwrap();
            let names = spool.scan(&"door".parse().unwrap()).unwrap().names;
            names.iter().for_each(|name| days.take("door", name.to_str().unwrap()));
            days.purge();
        },
        meets: &[(Op::Remove, "/.taking/"), (Op::Remove, "objects/")],
    },
    Procedure {
        name: "roll-over",
        house: House::NearlyFull,
        before: nothing,
        run: |days| {
            // A full bundle, and a commit after it.
            for count in [4, 1, 1] {
                let _may_fail = days.say(count);
            }
            days.roll_over(1);
        },
        meets: &[
            (Op::Write, "ledger/details/"),
            (Op::Rename, "ledger/tile/entries/"),
            (Op::Rename, "ledger/tile/0/"),
            (Op::MakeDir, "ledger/tile"),
            (Op::Extend, "ledger/tail.new"),
            (Op::Rename, "ledger/tail"),
        ],
    },
    Procedure {
        name: "details",
        house: House::Settled,
        before: nothing,
        run: |days| days.expire(),
        meets: &[
            (Op::Write, "keys/1.a"),
            (Op::Sync, "ledger/details/"),
            (Op::TailSync, "ledger/tail"),
            (Op::Rename, "ledger/details/"),
            (Op::SyncDir, "ledger/details"),
        ],
    },
    Procedure {
        name: "epoch-key",
        house: House::Furnished,
        before: nothing,
        run: |days| days.rekey(),
        meets: &[(Op::Sync, "keys/1.a"), (Op::TailSync, "ledger/tail"), (Op::Rename, "ledger/checkpoints/")],
    },
    Procedure {
        name: "master-key",
        house: House::Furnished,
        before: nothing,
        run: |days| days.rotate(),
        meets: &[
            (Op::TailSync, "ledger/tail"),
            (Op::Link, "key.next"),
            (Op::Write, "keys/2.a.new"),
            (Op::Sync, "keys/2.b.new"),
            (Op::Rename, "keys/2.b"),
            (Op::Rename, "keys/2.a"),
            (Op::SyncDir, "state/keys"),
            (Op::Write, "keys/1.a"),
            (Op::Remove, "keys/1.b"),
            (Op::Remove, "key"),
            (Op::Remove, "key.next"),
        ],
    },
    // A start is tried as a procedure of its own: see `case`.
    Procedure {
        name: "start",
        house: House::Furnished,
        before: |days| {
            // What a crash leaves: a file half way, a session, a purge that has begun.
            let name = days.leave("entrance");
            let spool = Spool::open(&days.dir.join("spool")).unwrap();
            drop(spool.take(&"entrance".parse().unwrap(), name.as_ref()));
            days.open(some_recording(days, "entrance")).unwrap();
            let id = some_recording(days, "door");
            let subject = Subject::recording(id, "door".parse().unwrap());
            days.told.purges.push((days.faults.mark(), [id].into()));
            let draft = Draft::fact(Event::PurgePlanned(PurgePlanned { due: None })).about(subject);
            let service = days.service();
            let planned = service.ledger.record(move |_| Ok(Proposal::new(draft, ())));
            let _planned = days.life.block(planned).unwrap();
            service.slots.destroy(SlotKind::Data, id.as_bytes()).unwrap();
            service.slots.create(SlotKind::Data, [7; 16], &Secret::generate().unwrap()).unwrap();
        },
        run: nothing,
        meets: &[(Op::Remove, "objects/"), (Op::Write, "keys/1.b"), (Op::TailSync, "ledger/tail")],
    },
    Procedure {
        name: "start-master-key",
        house: House::Furnished,
        before: |days| {
            // What a crash leaves between the name of the new generation and the end of the old one.
            let (service, rotation) = (days.service(), KeyRotation { from: 1, to: 2 });
            let draft = Draft::fact(Event::KeyRotationOrdered(rotation)).with_detail(Detail::by(admin().who));
            let ordered = service.ledger.record(move |_| Ok(Proposal::new(draft, ())));
            let _ordered = days.life.block(ordered).unwrap();
            let new = || MasterKey::from_bytes(&[9; 32]);
            service.master_place.create(Key::Next, &new()).unwrap();
            service.slots.rewrap(new()).unwrap();
        },
        run: nothing,
        meets: &[
            (Op::Remove, "keys/1.a"),
            (Op::Remove, "keys/1.b"),
            (Op::Remove, "key"),
            (Op::Link, "key"),
            (Op::Remove, "key.next"),
        ],
    },
];

/// The houses, each furnished once and then copied; with what was told in it.
fn template(house: House) -> &'static (tempfile::TempDir, Told) {
    static FURNISHED: OnceLock<(tempfile::TempDir, Told)> = OnceLock::new();
    static NEARLY_FULL: OnceLock<(tempfile::TempDir, Told)> = OnceLock::new();
    static SETTLED: OnceLock<(tempfile::TempDir, Told)> = OnceLock::new();
    let furnish = || {
        let dir = new_house();
        let watch = watch(dir.path());
        let (faults, mut told) = (watch.faults(), Told::default());
        let mut days = Days::begin(dir.path(), &faults, &mut told).unwrap();
        for source in SOURCES {
            days.pass(source).unwrap();
        }
        let held = days.pass("door").unwrap();
        days.hold(held).unwrap();
        match house {
            House::Furnished => {}
            House::NearlyFull => {
                // A start adds entries of its own, and a start has to come first.
                let entries = days.service().ledger.head().size;
                days.say(usize::try_from(251 - entries).unwrap()).unwrap();
            }
            House::Settled => {
                days.say(300).unwrap();
                days.roll_over(1);
            }
        }
        days.end();
        drop(watch);
        (dir, told)
    };
    match house {
        House::Furnished => FURNISHED.get_or_init(furnish),
        House::NearlyFull => NEARLY_FULL.get_or_init(furnish),
        House::Settled => SETTLED.get_or_init(furnish),
    }
}

/// Which call fails.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// By its number.
    Nth(u64),
    /// By its number among those of a kind on a path with this in it.
    Of(Op, &'static str, u64),
}

fn plan(faults: &Faults, which: Which, mode: Mode) {
    match which {
        Which::Nth(nth) => faults.plan(nth, mode),
        Which::Of(op, name, nth) => faults.plan_on(op, name, nth, mode),
    }
}

/// Makes one call of the procedure fail so; gives what it was, or nothing when there is no such call.
fn case(procedure: &Procedure, which: Which, mode: Mode) -> Option<(Op, PathBuf)> {
    let (furnished, told) = template(procedure.house);
    let dir = house_like(furnished.path());
    let (dir, mut told) = (dir.path(), told.after_restart());
    let watch = watch(dir);
    let faults = watch.faults();
    // The second place follows the ledger on a task of its own, and its failures are ignored.
    faults.leave_out(dir.join("run"));
    // Pages can only be lost when it is known what was there before.
    if mode == Mode::Lost {
        faults.record(&IGNORED);
    }
    let mut days = Days::begin(dir, &faults, &mut told).unwrap_or_else(|error| panic!("{error}"));
    (procedure.before)(&mut days);
    let mut met = None;
    if procedure.name.starts_with("start") {
        days.end();
        faults.clear();
        plan(&faults, which, mode);
        // A start that fails has told nothing.
        if let Ok(days) = Days::begin(dir, &faults, &mut told) {
            days.end();
        }
    } else {
        plan(&faults, which, mode);
        (procedure.run)(&mut days);
        if !mode.dies() {
            // It goes on by itself, and what was told by then stands.
            assert!(days.life.is_open_again(), "inv3: the ledger does not open again");
            met = faults.clear();
            days.learn();
            days.pass("entrance").unwrap_or_else(|error| panic!("inv3: {error}"));
        }
        days.end();
    }
    let met = faults.clear().or(met);
    let context = format!("{}: {which:?} {mode:?} {met:?}", procedure.name);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        told.check_keys(dir, END);
        let life = Life::start(dir, &faults).unwrap_or_else(|error| panic!("it does not start: {error}"));
        told.check_keys(dir, END);
        told.check(&life, dir, END);
        life.end(&faults);
        faults.clear();
    }));
    assert!(outcome.is_ok(), "after {context}");
    met
}

fn every_call(procedure: &Procedure) {
    let seed = setting("GREFFIER_SEED").unwrap_or(0);
    let all = setting("GREFFIER_SOAK").is_some() || alone().is_some();
    println!("GREFFIER_SEED={seed}: every call of {} in {} ways", procedure.name, if all { 8 } else { 1 });
    let (next, ended) = (AtomicU64::new(1), AtomicBool::new(false));
    let work = || {
        let mut met = Vec::new();
        while !ended.load(SeqCst) {
            let nth = next.fetch_add(1, SeqCst);
            let mut choice = Choice::new(seed ^ nth << 20);
            let modes: Vec<Mode> = if all {
                FAILS.into_iter().chain(DIES).collect()
            } else {
                // In turn, so that of two calls that follow each other one fails and at one the process ends.
                let ways = if (nth ^ seed) & 1 == 0 { &FAILS[..] } else { &DIES[..] };
                vec![ways[choice.below(ways.len())]]
            };
            let calls: Vec<_> =
                modes.iter().map_while(|mode| case(procedure, Which::Nth(nth), *mode)).collect();
            if calls.len() < modes.len() {
                ended.store(true, SeqCst);
            }
            met.extend(calls);
        }
        met
    };
    let met: Vec<(Op, PathBuf)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // Other threads count too (archivist, mount), so a number may be another call in each attempt.
    for &(op, name) in procedure.meets {
        let there = met.iter().any(|(found, path)| *found == op && path.to_string_lossy().contains(name));
        if !there {
            found(procedure.name, (op, name, 1), Mode::Refused);
            found(procedure.name, (op, name, 1), Mode::DiesBefore);
        }
    }
    println!("{}: {} cases", procedure.name, met.len());
}

fn procedure(name: &str) -> &'static Procedure {
    static ALL: [Procedure; 12] = PROCEDURES;
    ALL.iter().find(|procedure| procedure.name == name).unwrap()
}

/// What was found once: the call that failed, and how.
fn found(name: &str, (op, path, nth): (Op, &'static str, u64), mode: Mode) {
    let met = case(procedure(name), Which::Of(op, path, nth), mode);
    assert!(met.is_some(), "{op:?} of {path} was not met in {name}");
}

/// The one procedure to try, when not all are.
fn alone() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test is an edge")]
    std::env::var("GREFFIER_PROCEDURE").ok()
}

fn named(name: &str) {
    if alone().is_none_or(|alone| alone == name) {
        every_call(procedure(name));
    }
}

#[test]
fn inv6_every_call_of_sealing_from_the_spool_may_fail() {
    named("seal-spool");
}
#[test]
fn inv7_every_call_before_a_purge_may_fail_and_nothing_is_sealed_anew() {
    named("seal-purge");
}
#[test]
fn inv7_a_purge_whose_last_sync_failed_is_not_said_to_be_taken_back() {
    found("purge", (Op::Sync, "keys/1.b", 1), Mode::DoneButFailed);
}
#[test]
fn inv7_a_spool_file_that_could_not_be_removed_is_not_sealed_anew_after_the_purge() {
    found("seal-purge", (Op::Remove, "/.taking/", 1), Mode::Refused);
}
#[test]
fn inv7_a_spool_file_whose_entry_was_in_doubt_is_not_sealed_anew_after_the_purge() {
    found("seal-purge", (Op::TailSync, "ledger/tail", 1), Mode::Refused);
}
#[test]
fn a_start_that_was_cut_after_its_entry_has_ended_the_sessions_of_the_run_before() {
    // The first commit of a start changes the epoch key.
    found("start", (Op::TailSync, "ledger/tail", 2), Mode::DiesAfter);
}
#[test]
fn inv6_every_call_of_sealing_from_the_bus_may_fail() {
    named("seal-bus");
}
#[test]
fn inv1_every_call_of_opening_may_fail() {
    named("open");
}
#[test]
fn inv3_every_call_of_closing_may_fail() {
    named("close");
}
#[test]
fn inv7_inv12_every_call_of_purging_may_fail() {
    named("purge");
}
#[test]
fn inv4_every_call_of_a_roll_over_may_fail() {
    named("roll-over");
}
#[test]
fn inv7_every_call_of_destroying_details_may_fail() {
    named("details");
}
#[test]
fn inv4_every_call_of_changing_the_epoch_key_may_fail() {
    named("epoch-key");
}
#[test]
fn inv7_every_call_of_changing_the_master_key_may_fail() {
    named("master-key");
}
#[test]
fn inv7_every_call_of_a_start_that_ends_a_change_of_the_master_key_may_fail() {
    named("start-master-key");
}
#[test]
fn inv4_inv6_inv7_every_call_of_a_start_after_a_crash_may_fail() {
    named("start");
}
