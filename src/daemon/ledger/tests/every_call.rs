//! Every system call of the commit path, one after the other, fails or is the last one of the process: writes, syncs, renames,
//! folders, key slots; a commit, a roll-over, a new tail, a change of keys. After it the ledger opens, the verifier finds
//! nothing, and every acknowledged entry stands unchanged (invariants 3, 4).

use super::*;
use crate::shell::disk::fault::{Mode, Op};

const MODES: [Mode; 6] =
    [Mode::Refused, Mode::DoneButFailed, Mode::Short, Mode::DiesBefore, Mode::DiesAfter, Mode::DiesWithin];

/// What was acknowledged, by number.
type Told = BTreeMap<u64, Arc<[u8]>>;

fn append(run: &Run, told: &mut Told, name: &str) {
    if let Ok(recorded) = run.try_record(vec![plain(name), detailed(name), plain(name)]) {
        let lines = run.opened.reader.entries(recorded.entry(), 3, usize::MAX).unwrap();
        assert_eq!(lines.len(), 3, "readable as soon as it is answered");
        told.extend(lines.into_iter().map(|line| (line.seq, line.line)));
    }
}

/// One life that meets everything: batches, the end of a bundle, a new tail, a new epoch key, an orderly end.
fn live(site: &mut Site, run: Run, dies: bool) -> Told {
    let mut told = Told::new();
    for n in 0..4 {
        append(&run, &mut told, &format!("before {n}"));
    }
    let secret = Secret::generate().unwrap();
    let _may_fail = block_on(run.ledger.rekey(Signer::new(&secret)));
    site.epochs.push(secret);
    for n in 0..3 {
        append(&run, &mut told, &format!("after {n}"));
        if !dies {
            run.wait_until_open();
        }
    }
    run.stop();
    told
}

/// Makes the Nth call fail so; gives what it was, or nothing when there are fewer calls.
fn case(nth: u64, mode: Mode, entries: u64) -> Option<(Op, PathBuf)> {
    let dies = matches!(mode, Mode::DiesBefore | Mode::DiesAfter | Mode::DiesWithin);
    let mut site = Site::new();
    let mut told = Told::new();
    if entries > 0 {
        let run = site.open();
        run.record((1..entries).map(|n| plain(n.to_string())));
        run.stop();
    }
    site.faults().plan(nth, mode);
    // A start that fails has acknowledged nothing.
    if let Ok(run) = site.try_open() {
        told = live(&mut site, run, dies);
    }
    let met = site.faults().clear();

    let run = site.open();
    let bytes = run.bytes();
    for (seq, line) in &told {
        let there = bytes.get(usize::try_from(*seq).unwrap());
        assert_eq!(there, Some(line), "call {nth} ({met:?}) {mode:?}: entry {seq}");
    }
    run.record([detailed("on"), plain("on")]);
    site.verify(run.size());
    run.stop();
    site.verify(site.open_and_stop());
    met
}

impl Site {
    fn open_and_stop(&self) -> u64 {
        let run = self.open();
        let size = run.size();
        run.stop();
        size
    }
}

/// Tries every call in every mode, on several threads; gives what was met.
fn every_call(entries: u64) -> Vec<(Op, PathBuf)> {
    let next = std::sync::atomic::AtomicU64::new(0);
    let work = || {
        let mut met = Vec::new();
        loop {
            let number = next.fetch_add(1, SeqCst);
            let (nth, mode) =
                (number / MODES.len() as u64 + 1, MODES[usize::try_from(number).unwrap() % MODES.len()]);
            match case(nth, mode, entries) {
                Some(call) => met.push(call),
                None => return met,
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn assert_met(met: &[(Op, PathBuf)], op: Op, name: &str) {
    let there = met.iter().any(|(found, path)| *found == op && path.to_string_lossy().contains(name));
    assert!(there, "{op:?} of {name} was never met");
}

#[test]
fn inv4_every_call_of_a_ledgers_birth_may_fail() {
    let met = every_call(0);
    for (op, name) in [
        (Op::Open, "ledger/tail.new"),
        (Op::Write, "ledger/tail.new"),
        (Op::Sync, "ledger/tail.new"),
        (Op::ReadBack, "ledger/tail.new"),
        (Op::Rename, "ledger/tail"),
        (Op::SyncDir, "ledger"),
        (Op::Write, "keys/1.a"),
        (Op::Write, "keys/1.b"),
        (Op::TailWrite, "ledger/tail"),
        (Op::TailSync, "ledger/tail"),
        (Op::Sync, "ledger/checkpoints/"),
        (Op::Rename, "ledger/checkpoints/"),
    ] {
        assert_met(&met, op, name);
    }
}

#[test]
fn inv4_every_call_around_the_end_of_a_bundle_may_fail() {
    let met = every_call(250);
    for name in ["details/", "tile/entries/", "tile/0/"] {
        for op in [Op::Open, Op::Write, Op::Sync, Op::Rename] {
            assert_met(&met, op, name);
        }
    }
    assert_met(&met, Op::MakeDir, "tile/entries");
    assert_met(&met, Op::SyncDir, "tile/entries");
    assert_met(&met, Op::TailSync, "ledger/tail");
    assert_met(&met, Op::Rename, "ledger/tail");
}
