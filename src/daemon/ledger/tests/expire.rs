//! Destroying details (design §5): what goes is gone, what stays opens, and no call that fails or is the last one of the process
//! loses a detail that stays, or leaves a key that the ledger says is destroyed.

use super::*;
use crate::core::format::slot::SlotKind;
use crate::core::retention::BundlePlan;
use crate::core::state::State;
use crate::daemon::ledger::{DetailFiles, detail_slot_in_force};
use crate::shell::disk::fault::{Mode, Op};

const MODES: [Mode; 6] =
    [Mode::Refused, Mode::DoneButFailed, Mode::Short, Mode::DiesBefore, Mode::DiesAfter, Mode::DiesWithin];

/// A ledger whose first bundle is full, below the tail, and all details but that of entry 0.
fn full_bundle() -> (Site, PathBuf) {
    let mut site = Site::new();
    let keys = site.dir.path().join("keys");
    // Keys that can be opened anew, as a start does it.
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::create_dir(&keys).unwrap();
    let master = site.dir.path().join("master");
    MasterKey::generate().unwrap().write_to(&mut std::fs::File::create(&master).unwrap()).unwrap();
    KeySlots::init(&keys, 1).unwrap();
    site.reopen_keys();
    let run = site.open();
    run.record((1..256).map(|n| detailed(format!("Mrs Example {n}"))));
    run.record([plain("next bundle")]);
    run.stop();
    site.open().stop();
    (site, master)
}

impl Site {
    fn reopen_keys(&mut self) {
        let mut master = std::fs::File::open(self.dir.path().join("master")).unwrap();
        let master = MasterKey::read_from(&mut master).unwrap();
        self.slots = Arc::new(KeySlots::open(&self.dir.path().join("keys"), master, 1).unwrap());
    }
    /// What a start does to slots and files (`reconcile`).
    fn settle(&self, run: &Run) {
        let state = run.state();
        for half in self.slots.half() {
            if detail_slot_in_force(&state, &half.id) {
                self.slots.repair(&half).unwrap();
            } else {
                self.slots.destroy(half.kind, &half.id).unwrap();
            }
        }
        self.slots.wipe_remains().unwrap();
        run.details().settle_all(&run.ledger).unwrap();
    }
    fn detail_slots(&self) -> usize {
        self.slots.list(SlotKind::Detail).len()
    }
    fn detail_names(&self) -> Vec<String> {
        // A temporary file that a crash left holds nothing that a key opens.
        let mut names = self.files.list("details").unwrap();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }
}

impl Run {
    fn details(&self) -> DetailFiles {
        self.opened.reader.detail_files()
    }
    fn state(&self) -> State {
        self.ledger.look_blocking(|desk| desk.state.clone()).unwrap()
    }
    fn destroy(&self, plan: &BundlePlan) -> Result<u64, crate::daemon::ledger::ExpireError> {
        self.details().destroy(&self.ledger, plan, |_| Ok(()))
    }
    fn texts(&self) -> BTreeMap<u64, Option<String>> {
        let text = |line: &Line| {
            let detail = self.opened.reader.detail(line).unwrap();
            detail.map(|detail| Detail::parse(&detail).unwrap().text.unwrap())
        };
        self.lines().iter().filter(|line| line.seq < 256).map(|line| (line.seq, text(line))).collect()
    }
    /// Exactly the details of these entries open, and say what they said.
    fn assert_open(&self, open: impl Fn(u64) -> bool, why: &str) {
        for (seq, text) in self.texts() {
            let expected = (seq > 0 && open(seq)).then(|| format!("Mrs Example {seq}"));
            assert_eq!(text, expected, "{why}: entry {seq}");
        }
    }
}

fn plan(destroy: &[(u64, u64)], keep: &[(u64, u64)]) -> BundlePlan {
    BundlePlan { bundle: 0, destroy: destroy.to_vec(), keep: keep.to_vec() }
}

/// What the entries alone give, without any detail.
fn folded(run: &Run) -> State {
    let mut state = State::default();
    run.records().iter().for_each(|record| state.apply(record).unwrap());
    state
}

#[test]
fn what_goes_is_gone_and_what_stays_is_encrypted_anew() {
    let (site, _) = full_bundle();
    let run = site.open();
    assert_eq!(run.details().below_tail().unwrap(), 256);
    let (before, old_line) = (run.bytes(), run.lines()[200].clone());
    run.assert_open(|_| true, "before");
    let first = site.snapshot();
    let secret_before = site.slots.list(SlotKind::Detail);

    let entry = run.destroy(&plan(&[(1, 200)], &[(200, 256)])).unwrap();
    assert_eq!(run.names()[usize::try_from(entry).unwrap()], "ledger.details-destroyed");
    run.assert_open(|seq| seq >= 200, "once");
    assert!(run.opened.reader.detail(&old_line).unwrap().is_some(), "a line read before is read again");
    assert_eq!(run.bytes()[..before.len()], before[..], "no entry changed");
    assert_ne!(
        first.get(&site.ledger_dir().join("details/000")),
        site.snapshot().get(&site.ledger_dir().join("details/000"))
    );
    assert!(
        !secret_before
            .iter()
            .any(|id| id[7] == 0 && id[15] == 0 && site.slots.contains(SlotKind::Detail, id)),
        "the old key is destroyed"
    );

    run.destroy(&plan(&[(200, 255)], &[(255, 256)])).unwrap();
    run.assert_open(|seq| seq == 255, "twice");
    assert_eq!(folded(&run), run.state());
    run.destroy(&plan(&[(255, 256)], &[])).unwrap();
    run.assert_open(|_| false, "all");
    assert!(site.detail_names().is_empty(), "{:?}", site.detail_names());
    assert!(run.opened.reader.detail(&old_line).unwrap().is_none());
    assert!(run.destroy(&plan(&[(255, 256)], &[])).is_err(), "nothing is left");
    site.verify(run.size());
    let state = run.state();
    run.stop();
    let run = site.open();
    assert_eq!((folded(&run), run.state()), (state.clone(), state));
    run.record([detailed("goes on"), plain("and on")]);
    site.verify(run.size());
    run.stop();
}

#[test]
fn inv11_a_check_that_fails_in_the_writers_order_destroys_nothing() {
    let (site, _) = full_bundle();
    let run = site.open();
    let (size, slots, names) = (run.size(), site.detail_slots(), site.detail_names());
    let refused = |_: &mut crate::daemon::ledger::Desk<'_>| Err(Refusal::new(RefusalKind::Conflict, "no"));
    assert!(run.details().destroy(&run.ledger, &plan(&[(1, 200)], &[(200, 256)]), refused).is_err());
    assert_eq!((run.size(), site.detail_slots(), site.detail_names()), (size, slots, names));
    run.assert_open(|_| true, "refused");
    run.stop();
}

#[test]
fn a_detail_that_must_stay_and_is_damaged_stops_the_destruction() {
    let (site, _) = full_bundle();
    let run = site.open();
    let (size, slots) = (run.size(), site.detail_slots());
    site.damage("details/000", |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert!(run.destroy(&plan(&[(1, 200)], &[(200, 256)])).is_err());
    assert_eq!((run.size(), site.detail_slots(), site.detail_names().len()), (size, slots, 1));
    run.stop();
}

/// Makes the Nth call of a destruction fail so; gives what it was, or nothing when there are fewer calls.
fn case(nth: u64, mode: Mode, plan: &BundlePlan) -> Option<(Op, PathBuf)> {
    let dies = matches!(mode, Mode::DiesBefore | Mode::DiesAfter | Mode::DiesWithin);
    let (mut site, _) = full_bundle();
    let run = site.open();
    let why = format!("call {nth} {mode:?}");
    let goes = |seq: u64| plan.destroy.iter().any(|(first, end)| *first <= seq && seq < *end);
    site.faults().plan(nth, mode);
    let acknowledged = run.destroy(plan).is_ok();
    let mut met = None;
    if !dies {
        met = site.faults().clear();
        run.wait_until_open();
        run.details().settle_all(&run.ledger).unwrap();
        let gone = run.state().destroyed_details().contains(1);
        run.assert_open(|seq| !(gone && goes(seq)), &why);
    }
    run.stop();
    if dies {
        met = site.faults().clear();
    }

    site.reopen_keys();
    let run = site.open();
    site.settle(&run);
    let gone = run.state().destroyed_details().contains(1);
    assert!(gone || !acknowledged, "{why}: an acknowledged destruction was lost");
    run.assert_open(|seq| !(gone && goes(seq)), &why);
    let left = usize::from(!(gone && plan.keep.is_empty()));
    assert_eq!(site.detail_names().len(), left, "{why}: {:?}", site.detail_names());
    let own = site.slots.list(SlotKind::Detail).iter().filter(|id| id[15] == 0).count();
    assert_eq!(own, left, "{why}: keys of the bundle");
    if !gone {
        run.destroy(plan).unwrap();
        run.assert_open(|seq| !goes(seq), &why);
    }
    site.verify(run.size());
    run.stop();
    met
}

#[test]
fn inv7_every_call_of_a_destruction_may_fail() {
    let some = plan(&[(1, 200)], &[(200, 256)]);
    let all = plan(&[(1, 256)], &[]);
    for (plan, expected) in [
        (
            some,
            &[
                (Op::Rename, "details/000.1"),
                (Op::Rename, "details/000"),
                (Op::Write, "keys/1.a"),
                (Op::TailSync, "tail"),
            ][..],
        ),
        (all, &[(Op::Remove, "details/000"), (Op::Write, "keys/1.b"), (Op::TailSync, "tail")]),
    ] {
        let next = std::sync::atomic::AtomicU64::new(0);
        let work = || {
            let mut met = Vec::new();
            loop {
                let number = next.fetch_add(1, SeqCst);
                let mode = MODES[usize::try_from(number).unwrap() % MODES.len()];
                match case(number / MODES.len() as u64 + 1, mode, &plan) {
                    Some(call) => met.push(call),
                    None => return met,
                }
            }
        };
        let met: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for (op, name) in expected {
            let there = met.iter().any(|(found, path)| found == op && path.to_string_lossy().ends_with(name));
            assert!(there, "{op:?} of {name} was never met: {met:?}");
        }
    }
}
