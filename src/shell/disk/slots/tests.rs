//! The slots against a model, against damage at every byte, and against the raw bytes of the files.

use std::fs;

use super::*;
use proptest::prelude::*;

const KEY: [u8; 32] = [5; 32];

struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        KeySlots::init(dir.path(), 1).unwrap();
        Self { dir }
    }
    fn open(&self) -> KeySlots {
        KeySlots::open(self.dir.path(), MasterKey::from_bytes(&KEY), 1).unwrap()
    }
    fn path(&self, copy: &str) -> PathBuf {
        self.dir.path().join(format!("1.{copy}"))
    }
    fn flip(&self, copy: &str, offset: usize) {
        let mut bytes = fs::read(self.path(copy)).unwrap();
        bytes[offset] ^= 0x10;
        fs::write(self.path(copy), bytes).unwrap();
    }
}

fn id(n: u8) -> SlotId {
    [n; 16]
}

/// Secrets are compared by what they do: the same secret wraps to what opens alike.
fn same(a: &Secret, b: &Secret) -> bool {
    let sign = |secret: &Secret| crate::shell::crypt::Signer::new(secret).public();
    sign(a) == sign(b)
}

#[test]
fn a_secret_survives_reopening_and_grows_the_files() {
    let keys = Keys::new();
    let slots = keys.open();
    let secret = Secret::generate().unwrap();
    slots.create(SlotKind::Log, id(1), &secret).unwrap();
    assert!(matches!(slots.create(SlotKind::Log, id(1), &secret), Err(SlotError::Exists)));
    drop(slots);
    let slots = keys.open();
    assert!(same(&slots.open_secret(SlotKind::Log, &id(1)).unwrap(), &secret));
    assert!(matches!(slots.open_secret(SlotKind::Epoch, &id(1)), Err(SlotError::NotFound)));
    assert_eq!(slots.list(SlotKind::Log), [id(1)]);
    assert_eq!(fs::metadata(keys.path("a")).unwrap().len() % BLOCK_BYTES as u64, 0);
}

#[test]
fn inv7_a_destroyed_slot_is_nowhere_in_either_file() {
    let keys = Keys::new();
    let slots = keys.open();
    for n in 1..=3 {
        slots.create(SlotKind::Data, id(n), &Secret::generate().unwrap()).unwrap();
    }
    let before = fs::read(keys.path("a")).unwrap();
    let wrapped = &before[SLOT_BYTES + 2..SLOT_BYTES + 78];
    assert!(slots.destroy(SlotKind::Data, &id(2)).unwrap());
    assert!(!slots.destroy(SlotKind::Data, &id(2)).unwrap(), "once");
    for copy in ["a", "b"] {
        let after = fs::read(keys.path(copy)).unwrap();
        assert!(wrapped.windows(16).all(|part| !after.windows(16).any(|other| other == part)));
        assert_eq!(after[..SLOT_BYTES], before[..SLOT_BYTES], "its neighbours stay");
    }
    assert!(matches!(slots.open_secret(SlotKind::Data, &id(2)), Err(SlotError::NotFound)));
    drop(slots);
    assert_eq!(keys.open().list(SlotKind::Data), [id(1), id(3)]);
}

#[test]
fn one_copy_damaged_at_any_byte_is_half_opens_and_is_repaired() {
    let keys = Keys::new();
    let secret = Secret::generate().unwrap();
    keys.open().create(SlotKind::Data, id(1), &secret).unwrap();
    let good = fs::read(keys.path("a")).unwrap();
    for offset in 0..SLOT_BYTES {
        let copy = if offset % 2 == 0 { "a" } else { "b" };
        keys.flip(copy, offset);
        let slots = keys.open();
        let half = HalfSlot { kind: SlotKind::Data, id: id(1), path: keys.path(copy), offset: 0 };
        assert_eq!(slots.half(), std::slice::from_ref(&half), "byte {offset}");
        assert!(same(&slots.open_secret(SlotKind::Data, &id(1)).unwrap(), &secret));
        slots.repair(&half).unwrap();
        assert!(slots.half().is_empty());
        assert_eq!(fs::read(keys.path(copy)).unwrap(), good);
    }
}

#[test]
fn both_copies_damaged_is_destroyed_and_the_remains_are_wiped() {
    let keys = Keys::new();
    let slots = keys.open();
    slots.create(SlotKind::Data, id(1), &Secret::generate().unwrap()).unwrap();
    slots.create(SlotKind::Data, id(2), &Secret::generate().unwrap()).unwrap();
    drop(slots);
    keys.flip("a", 40);
    keys.flip("b", 41);
    let slots = keys.open();
    assert!(matches!(slots.open_secret(SlotKind::Data, &id(1)), Err(SlotError::NotFound)));
    assert_eq!((slots.list(SlotKind::Data), slots.remains()), (vec![id(2)], vec![0]));
    assert_eq!(slots.wipe_remains().unwrap(), 1);
    for copy in ["a", "b"] {
        assert_eq!(fs::read(keys.path(copy)).unwrap()[..SLOT_BYTES], [0; SLOT_BYTES]);
    }
    assert!(keys.open().remains().is_empty());
}

#[test]
fn a_cut_short_destruction_is_half_until_it_is_finished() {
    let keys = Keys::new();
    keys.open().create(SlotKind::Data, id(1), &Secret::generate().unwrap()).unwrap();
    let mut bytes = fs::read(keys.path("a")).unwrap();
    bytes[..SLOT_BYTES].fill(0);
    fs::write(keys.path("a"), bytes).unwrap();
    let slots = keys.open();
    assert_eq!(slots.half().len(), 1);
    assert!(slots.destroy(SlotKind::Data, &id(1)).unwrap());
    assert!(slots.half().is_empty());
    assert!(fs::read(keys.path("b")).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn a_lost_or_shortened_copy_is_made_again_from_the_other() {
    for length in [None, Some(0), Some(5000)] {
        let keys = Keys::new();
        let slots = keys.open();
        for n in 0..40 {
            slots.create(SlotKind::Data, id(n), &Secret::generate().unwrap()).unwrap();
        }
        drop(slots);
        let whole = fs::read(keys.path("a")).unwrap();
        match length {
            None => fs::remove_file(keys.path("a")).unwrap(),
            Some(length) => fs::write(keys.path("a"), &whole[..length]).unwrap(),
        }
        let slots = keys.open();
        for half in slots.half() {
            slots.repair(&half).unwrap();
        }
        assert_eq!(fs::read(keys.path("a")).unwrap(), whole);
    }
}

#[test]
fn inv10_a_wrong_master_key_changes_nothing_and_is_named() {
    let keys = Keys::new();
    keys.open().create(SlotKind::Log, id(1), &Secret::generate().unwrap()).unwrap();
    let before = fs::read(keys.path("a")).unwrap();
    let wrong = KeySlots::open(keys.dir.path(), MasterKey::generate().unwrap(), 1);
    assert!(matches!(wrong, Err(SlotError::WrongMasterKey(_))));
    assert_eq!(fs::read(keys.path("a")).unwrap(), before);
    let none = KeySlots::open(keys.dir.path(), MasterKey::generate().unwrap(), 2);
    assert!(matches!(none, Err(SlotError::Disk(_))));
}

#[test]
fn inv10_two_copies_that_both_open_but_differ_are_a_contradiction() {
    let (one, two) = (Keys::new(), Keys::new());
    one.open().create(SlotKind::Data, id(1), &Secret::generate().unwrap()).unwrap();
    two.open().create(SlotKind::Data, id(2), &Secret::generate().unwrap()).unwrap();
    fs::copy(one.path("a"), two.path("a")).unwrap();
    let opened = KeySlots::open(two.dir.path(), MasterKey::from_bytes(&KEY), 1);
    assert!(matches!(opened, Err(SlotError::Contradiction { offset: 0, .. })));
}

#[test]
fn a_slot_moved_to_another_number_does_not_open() {
    let keys = Keys::new();
    keys.open().create(SlotKind::Data, id(1), &Secret::generate().unwrap()).unwrap();
    for copy in ["a", "b"] {
        let mut bytes = fs::read(keys.path(copy)).unwrap();
        bytes.copy_within(..SLOT_BYTES, SLOT_BYTES);
        fs::write(keys.path(copy), bytes).unwrap();
    }
    let slots = keys.open();
    assert_eq!((slots.list(SlotKind::Data).len(), slots.remains()), (1, vec![SLOT_BYTES as u64]));
}

#[test]
fn inv10_damage_after_the_start_names_file_and_offset_and_one_good_copy_suffices() {
    let keys = Keys::new();
    let slots = keys.open();
    let secret = Secret::generate().unwrap();
    slots.create(SlotKind::Data, id(1), &secret).unwrap();
    keys.flip("a", 30);
    assert!(same(&slots.open_secret(SlotKind::Data, &id(1)).unwrap(), &secret));
    keys.flip("b", 30);
    let lost = slots.open_secret(SlotKind::Data, &id(1));
    assert!(matches!(lost, Err(SlotError::Damaged { path, offset: 0 }) if path == keys.path("a")));
}

#[test]
fn a_half_slot_that_reads_sound_again_is_read_from_both_copies() {
    let keys = Keys::new();
    let slots = keys.open();
    let secret = Secret::generate().unwrap();
    slots.create(SlotKind::Data, id(1), &secret).unwrap();
    keys.flip("a", 30);
    assert!(matches!(slots.check(SlotKind::Data, &id(1)), Ok(SlotCheck::Half(_))));
    assert_eq!(slots.half().len(), 1);
    keys.flip("a", 30);
    assert!(matches!(slots.check(SlotKind::Data, &id(1)), Ok(SlotCheck::Sound)));
    assert!(slots.half().is_empty());
    keys.flip("b", 30);
    assert!(same(&slots.open_secret(SlotKind::Data, &id(1)).unwrap(), &secret));
}

#[test]
fn what_a_look_without_the_lock_finds_wrong_is_looked_at_again_with_it() {
    let keys = Keys::new();
    let slots = keys.open();
    slots.create(SlotKind::Data, id(1), &Secret::generate().unwrap()).unwrap();
    let before = fs::read(keys.path("b")).unwrap();
    // As when the slot is made again between the reading of its copies: both open and differ.
    let other = Keys::new();
    other.open().create(SlotKind::Data, id(1), &Secret::generate().unwrap()).unwrap();
    let writing = slots.writing();
    fs::copy(other.path("b"), keys.path("b")).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let slots = &slots;
    std::thread::scope(|scope| {
        scope.spawn(move || tell.send(slots.check(SlotKind::Data, &id(1))).unwrap());
        // Long enough for the first look. Were it not, the test would see less, and not fail.
        let early = told.recv_timeout(std::time::Duration::from_millis(100));
        fs::write(keys.path("b"), &before).unwrap();
        drop(writing);
        let found = early.unwrap_or_else(|_| told.recv().unwrap());
        assert!(matches!(found, Ok(SlotCheck::Sound)));
    });
    fs::copy(other.path("b"), keys.path("b")).unwrap();
    let contradicts = slots.check(SlotKind::Data, &id(1));
    assert!(matches!(contradicts, Err(SlotError::Contradiction { .. })), "one that stays is told");
}

#[test]
fn many_threads_create_open_and_destroy() {
    let keys = Keys::new();
    let slots = keys.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let slots = &slots;
            scope.spawn(move || {
                for n in 0..20 {
                    let id = id(thread * 20 + n);
                    let secret = Secret::generate().unwrap();
                    slots.create(SlotKind::Data, id, &secret).unwrap();
                    assert!(same(&slots.open_secret(SlotKind::Data, &id).unwrap(), &secret));
                    if n % 2 == 0 {
                        assert!(slots.destroy(SlotKind::Data, &id).unwrap());
                    }
                }
            });
        }
    });
    assert_eq!(slots.list(SlotKind::Data).len(), 40);
    drop(slots);
    assert_eq!(keys.open().list(SlotKind::Data).len(), 40);
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Destroy(u8),
    Reopen,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn slots_behave_like_a_map(steps in prop::collection::vec(
        prop_oneof![
            4 => (0u8..12).prop_map(Step::Create),
            3 => (0u8..12).prop_map(Step::Destroy),
            1 => Just(Step::Reopen),
        ],
        1..40,
    )) {
        let keys = Keys::new();
        let mut slots = keys.open();
        let mut model: HashMap<u8, Secret> = HashMap::new();
        for step in steps {
            match step {
                Step::Create(n) => {
                    let secret = Secret::generate().unwrap();
                    let made = slots.create(SlotKind::Data, id(n), &secret);
                    prop_assert_eq!(made.is_ok(), !model.contains_key(&n));
                    model.entry(n).or_insert(secret);
                }
                Step::Destroy(n) => {
                    prop_assert_eq!(slots.destroy(SlotKind::Data, &id(n)).unwrap(), model.remove(&n).is_some());
                }
                Step::Reopen => {
                    drop(slots);
                    slots = keys.open();
                }
            }
        }
        for n in 0..12 {
            match (slots.open_secret(SlotKind::Data, &id(n)), model.get(&n)) {
                (Ok(found), Some(expected)) => prop_assert!(same(&found, expected)),
                (found, expected) => prop_assert!(found.is_err() && expected.is_none()),
            }
        }
        prop_assert!(fs::metadata(keys.path("a")).unwrap().len() <= 65_536, "free slots are used again");
    }
}
