//! Every call of a change of the master key fails in each way, or is the last one of the process. After it every key opens that
//! should, and none that was destroyed; and where the change was reported done, nothing is left of what was before.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::shell::crypt::{Secret, Signer};
use crate::shell::disk::fault::{Mode, Op, watch};

const OLD: [u8; 32] = [5; 32];
const NEW: [u8; 32] = [6; 32];
const MODES: [Mode; 6] =
    [Mode::Refused, Mode::DoneButFailed, Mode::Short, Mode::DiesBefore, Mode::DiesAfter, Mode::DiesWithin];

fn master(key: &[u8; 32]) -> MasterKey {
    MasterKey::from_bytes(key)
}

fn public(secret: &Secret) -> [u8; 32] {
    Signer::new(secret).public()
}

/// The secrets of the slots that are in use.
type Known = BTreeMap<SlotId, [u8; 32]>;

/// Eight slots in two blocks, number 7 and others destroyed, number 9 damaged in copy b. Made once: each slot costs several syncs.
fn slots(dir: &Path) -> (KeySlots, Known) {
    static MADE: std::sync::OnceLock<([Vec<u8>; 2], Known)> = std::sync::OnceLock::new();
    let (files, known) = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        KeySlots::init(dir.path(), 1).unwrap();
        let slots = KeySlots::open(dir.path(), master(&OLD), 1).unwrap();
        let mut known = BTreeMap::new();
        for n in 0..36 {
            let secret = Secret::generate().unwrap();
            slots.create(SlotKind::Data, [n; 16], &secret).unwrap();
            if [0, 1, 3, 9, 12, 31, 32, 35].contains(&n) {
                known.insert([n; 16], public(&secret));
            } else {
                slots.destroy(SlotKind::Data, &[n; 16]).unwrap();
                // Holds the number, so that the next secret gets the one after it.
                slots.create(SlotKind::Epoch, [n; 16], &secret).unwrap();
            }
        }
        for n in slots.list(SlotKind::Epoch) {
            slots.destroy(SlotKind::Epoch, &n).unwrap();
        }
        let mut files = ["1.a", "1.b"].map(|name| fs::read(dir.path().join(name)).unwrap());
        files[1][9 * SLOT_BYTES + 40] ^= 1;
        (files, known)
    });
    for (name, bytes) in ["1.a", "1.b"].iter().zip(files) {
        fs::write(dir.join(name), bytes).unwrap();
    }
    (KeySlots::open(dir, master(&OLD), 1).unwrap(), known.clone())
}

fn assert_open(slots: &KeySlots, known: &Known, case: &str) {
    let ids: Vec<SlotId> = known.keys().copied().collect();
    assert_eq!(slots.list(SlotKind::Data), ids, "{case}");
    for (id, key) in known {
        let secret = slots.open_secret(SlotKind::Data, id).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(public(&secret), *key, "{case}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Makes the Nth call fail so; what it was, or nothing when there are fewer calls.
fn case(nth: u64, mode: Mode) -> Option<(Op, std::path::PathBuf)> {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (slots, mut known) = slots(dir);
    let faults = watch(dir);
    faults.plan(nth, mode);
    let case = format!("call {nth} {mode:?}");
    let rotated = slots.rewrap(master(&NEW)).and_then(|()| slots.remove_old());
    let done = rotated.is_ok();
    let dies = matches!(mode, Mode::DiesBefore | Mode::DiesAfter | Mode::DiesWithin);
    // A process that lives on has its disk back.
    let mut met = if dies { None } else { faults.clear() };
    // What the process does then. When it is dead, nothing of this reaches the disk or is acknowledged.
    let secret = Secret::generate().unwrap();
    if slots.create(SlotKind::Data, [99; 16], &secret).is_ok() {
        known.insert([99; 16], public(&secret));
    }
    if slots.destroy(SlotKind::Data, &[3; 16]).is_ok() {
        known.remove(&[3; 16]);
    }
    if dies {
        met = faults.clear();
    } else {
        assert_open(&slots, &known, &case);
    }
    drop(slots);
    let masters = || vec![master(&OLD), master(&NEW)];
    let (slots, which) = KeySlots::open_in_force(dir, masters()).unwrap();
    assert_eq!(which == 1, slots.generation() == 2, "{case}");
    slots.remove_leftovers().unwrap();
    // What a dead process began to make or destroy may be half there: the ledger decides at a start.
    for half in slots.half() {
        if half.id == [99; 16] || half.id == [3; 16] {
            slots.destroy(half.kind, &half.id).unwrap();
            known.remove(&half.id);
        } else {
            slots.repair(&half).unwrap();
        }
    }
    slots.wipe_remains().unwrap();
    if dies && slots.contains(SlotKind::Data, &[99; 16]) && !known.contains_key(&[99; 16]) {
        slots.destroy(SlotKind::Data, &[99; 16]).unwrap();
    }
    if dies && !slots.contains(SlotKind::Data, &[3; 16]) {
        known.remove(&[3; 16]);
    }
    assert_open(&slots, &known, &case);
    assert!(!slots.contains(SlotKind::Data, &[7; 16]), "{case}: it was destroyed before");
    let generation = slots.generation();
    assert_eq!(names(dir), [format!("{generation}.a"), format!("{generation}.b")], "{case}");
    assert!(!done || generation == 2, "{case}: it was reported done");
    drop(slots);
    let old = KeySlots::open_in_force(dir, vec![master(&OLD)]);
    assert_eq!(old.is_ok(), generation == 1, "{case}");
    // The next change comes to its end.
    let (slots, _) = KeySlots::open_in_force(dir, masters()).unwrap();
    slots.rewrap(master(&[7; 32])).and_then(|()| slots.remove_old()).unwrap();
    assert_eq!(slots.generation(), generation + 1, "{case}");
    assert_open(&slots, &known, &case);
    met
}

#[test]
fn inv7_every_call_of_a_rotation_may_fail() {
    let mut met = Vec::new();
    for mode in MODES {
        met.extend((1..).map_while(|nth| case(nth, mode)));
    }
    for (op, name) in [
        (Op::Open, "2.a.new"),
        (Op::Write, "2.a.new"),
        (Op::Write, "2.b.new"),
        (Op::Rename, "2.b"),
        (Op::Rename, "2.a"),
        (Op::SyncDir, ""),
        (Op::Write, "1.a"),
        (Op::Remove, "1.a"),
        (Op::Remove, "1.b"),
    ] {
        let there = met.iter().any(|(found, path)| *found == op && path.to_string_lossy().ends_with(name));
        assert!(there, "{op:?} of {name} was never met");
    }
}

#[test]
fn inv7_what_is_left_of_the_old_key_file_is_zero() {
    let dir = tempfile::tempdir().unwrap();
    let (slots, known) = slots(dir.path());
    // These descriptors still see the blocks of the removed files.
    let witnesses = ["1.a", "1.b"].map(|name| fs::File::open(dir.path().join(name)).unwrap());
    slots.rewrap(master(&NEW)).unwrap();
    assert_eq!(names(dir.path()), ["1.a", "1.b", "2.a", "2.b"]);
    slots.remove_old().unwrap();
    assert_eq!(names(dir.path()), ["2.a", "2.b"]);
    for mut witness in witnesses {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut witness, &mut bytes).unwrap();
        assert!(bytes.len() >= 36 * SLOT_BYTES && bytes.iter().all(|byte| *byte == 0));
    }
    assert_open(&slots, &known, "after");
    assert!(slots.half().is_empty(), "the damaged copy is whole in the new generation");
}

#[test]
fn while_both_generations_stand_what_is_made_or_destroyed_is_so_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let (slots, mut known) = slots(dir.path());
    slots.rewrap(master(&NEW)).unwrap();
    let secret = Secret::generate().unwrap();
    slots.create(SlotKind::Data, [99; 16], &secret).unwrap();
    known.insert([99; 16], public(&secret));
    slots.destroy(SlotKind::Data, &[3; 16]).unwrap();
    known.remove(&[3; 16]);
    drop(slots);
    for (key, generation) in [(OLD, 1), (NEW, 2)] {
        let slots = KeySlots::open(dir.path(), master(&key), generation).unwrap();
        assert_open(&slots, &known, "either");
    }
}

#[test]
fn readers_go_on_while_the_master_key_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (slots, known) = slots(dir.path());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) || rounds == 0 {
                assert_open(&slots, &known, "while it changes");
                rounds += 1;
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for n in 0..8 {
            slots.rewrap(master(&[10 + n; 32])).and_then(|()| slots.remove_old()).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(slots.generation(), 9);
}

#[test]
fn a_key_that_opens_in_neither_copy_stops_a_rotation_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (slots, _) = slots(dir.path());
    for name in ["1.a", "1.b"] {
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[12 * SLOT_BYTES + 40] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert!(matches!(slots.rewrap(master(&NEW)), Err(SlotError::Damaged { offset: 1536, .. })));
    assert_eq!((slots.generation(), names(dir.path())), (1, vec!["1.a".into(), "1.b".into()]));
}

#[test]
fn a_generation_that_was_put_there_by_hand_stops_a_rotation_and_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (slots, known) = slots(dir.path());
    for (from, to) in [("1.a", "2.a"), ("1.b", "2.b"), ("1.b", "2.b.new")] {
        fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    }
    let files = || names(dir.path()).into_iter().map(|name| fs::read(dir.path().join(name)).unwrap());
    let before: Vec<_> = files().collect();
    let refused = slots.rewrap(master(&NEW));
    assert!(matches!(refused, Err(SlotError::Contradiction { path, .. }) if path.ends_with("2.a")));
    assert_eq!(names(dir.path()), ["1.a", "1.b", "2.a", "2.b", "2.b.new"]);
    assert_eq!(files().collect::<Vec<_>>(), before);
    // A copy b alone is what a failed attempt left.
    fs::remove_file(dir.path().join("2.a")).unwrap();
    slots.rewrap(master(&NEW)).and_then(|()| slots.remove_old()).unwrap();
    assert_eq!(names(dir.path()), ["2.a", "2.b"]);
    assert_open(&slots, &known, "after");
}
