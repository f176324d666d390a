//! The whole life of a recording on a file system of its own, whose raw image is then searched (design §6, invariants 6 and
//! 7). The spool is a tmpfs. The real daemon, on a private bus; root, loop devices and the tools of each file system are
//! needed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use greffier::core::format::slot::{SLOT_BYTES, Slot, SlotBytes, SlotKind};
use support::disk::{Disk, Kind, times};
use support::user::text;
use support::{House, POLICY, noise, stage, until};

/// A word in a file that stays: the search must find it.
const CONTROL: &[u8] = b"Probe-Control-of-the-search";
/// Names and words of persons, as they come with a recording and an access.
const NAMES: [&str; 3] =
    ["Probe-Mr-Example-0612345678.mp4", "Probe-Text-of-Mrs-Example", "Probe-Case-4711-X"];

/// The secrets of one kind: wrapped as they stand in the slots, and in clear.
fn keys_of(house: &House, wanted: SlotKind) -> Vec<([u8; 48], Vec<u8>)> {
    let master = fs::read(house.path("etc/master.key")).unwrap();
    let master = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &master).unwrap());
    let file = fs::read(house.state.join("keys/1.a")).unwrap();
    let slots = file.as_chunks::<SLOT_BYTES>().0;
    let found = (0..).zip(slots).filter_map(|(number, bytes)| {
        let SlotBytes::InUse(slot) = SlotBytes::parse(bytes) else { return None };
        let aad = Aad::from(Slot::associated_data(slot.kind, &slot.id, 1, number));
        let mut clear = slot.wrapped.to_vec();
        let nonce = Nonce::assume_unique_for_key(slot.nonce);
        let clear =
            master.open_in_place(nonce, aad, &mut clear).expect("the master key opens every slot").to_vec();
        (slot.kind == wanted).then_some((slot.wrapped, clear))
    });
    found.collect()
}

/// What the device still holds after a purge, and what the service said of its medium.
struct Left {
    plaintext: usize,
    names: usize,
    clear_keys: usize,
    wrapped_data_key: usize,
    wrapped_detail_key: usize,
    state: (String, String),
    medium: String,
    log: String,
}

/// Sealed, viewed, purged, its details expired, unmounted: then the device is searched.
fn life_on(kind: Kind) -> Left {
    let dir = stage::directory();
    let spool = Disk::tmpfs(dir.path().join("spool"), 16);
    let mut disk = Disk::image(dir.path(), kind);
    let mut house = House::in_dir(dir, Path::new("disk/state"));
    // Time enough to place the hold below, on a busy machine too.
    house.write_policy(&POLICY.replace("PT3S", "PT8S"));
    house.start();

    let clip = noise(11, 300_000);
    let probes: Vec<&[u8]> = [0, 65_500, 150_001, 299_936].iter().map(|&at| &clip[at..at + 64]).collect();
    let sys = house.user("sys");
    // A hold keeps it until the test has looked at its key.
    house.drop_file("doorbell", NAMES[0], &clip);
    let id = until("it is sealed", || house.of_event("recording.sealed").pop()).get("recording");
    let hold = sys.hold(&[("recording", &id), ("kind", "incident"), ("ground", NAMES[1])]).unwrap();
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident"), ("text", NAMES[2])]).unwrap();
    assert_eq!(games.read(&opened.file, 0, clip.len()).unwrap(), clip);
    games.close(&opened.session).unwrap();
    drop(opened);
    let shown = house.user("news").read_ledger(0, 256).unwrap().join("\n");
    assert!(NAMES.iter().all(|name| shown.contains(name)), "they are there, for who may read them: {shown}");

    let (data, detail) = (keys_of(&house, SlotKind::Data), keys_of(&house, SlotKind::Detail));
    assert_eq!(data.len(), 1, "one recording, one key");
    let ((wrapped_data, clear_data), (wrapped_detail, clear_detail)) = (&data[0], &detail[0]);
    fs::write(disk.at.join("control"), CONTROL).unwrap();
    rustix::fs::syncfs(fs::File::open(&disk.at).unwrap()).unwrap();
    let before = disk.raw();
    assert!(times(&before, CONTROL) > 0, "the search finds what is there");
    assert!(times(&before, wrapped_data) >= 2 && times(&before, wrapped_detail) >= 2, "both copies");

    sys.lift(&hold, &[("ground", NAMES[1])]).unwrap();
    until("it is purged", || {
        let _due_or_not = sys.run_retention();
        house.of_event("purge.done").pop()
    });
    // Details go with their bundle.
    while house.durable().len() < 260 {
        for _ in 0..20 {
            games.search("incident").unwrap();
        }
    }
    let status = games.status();
    drop((games, sys));
    house.stop();
    let path = house.path("etc/greffier.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config + "\n[ledger]\ndetails_keep = \"PT1S\"\n").unwrap();
    // Not verified now: details go while the verifier would read.
    house.serve();
    until("the details are destroyed", || house.of_event("ledger.details-destroyed").pop());
    let news = house.user("news");
    until("their key is destroyed", || {
        let shown = news.read_ledger(0, 256).unwrap().join("\n");
        (!NAMES.iter().any(|name| shown.contains(name))).then_some(())
    });
    drop(news);
    house.stop();

    disk.unmount();
    let device = disk.raw();
    assert!(times(&device, CONTROL) > 0, "the search finds what is there");
    let log = house.log();
    drop(spool);
    Left {
        plaintext: probes.iter().map(|probe| times(&device, probe)).sum(),
        names: NAMES.iter().map(|name| times(&device, name.as_bytes())).sum(),
        clear_keys: times(&device, clear_data) + times(&device, clear_detail),
        wrapped_data_key: times(&device, wrapped_data),
        wrapped_detail_key: times(&device, wrapped_detail),
        state: (text(&status, "state"), text(&status, "why")),
        medium: text(&status, "medium"),
        log,
    }
}

fn assert_nothing_readable(left: &Left) {
    assert_eq!((left.plaintext, left.names, left.clear_keys), (0, 0, 0), "plaintext, names, keys in clear");
}

fn assert_gone(left: &Left, medium: &str) {
    assert_nothing_readable(left);
    assert_eq!((left.wrapped_data_key, left.wrapped_detail_key), (0, 0), "the wrapped keys");
    assert_eq!(left.medium, medium);
    assert!(!left.state.1.contains("overwrite"), "{:?}", left.state);
    assert!(!left.log.contains("does not overwrite in place"));
}

/// Where old blocks stay the service says so, in its state and in the log of its start.
fn assert_told(left: &Left, medium: &str) {
    assert_nothing_readable(left);
    assert_eq!((left.medium.as_str(), left.state.0.as_str()), (medium, "degraded"));
    for said in [&left.state.1, &left.log] {
        assert!(said.contains(medium) && said.contains("does not overwrite in place"), "{said}");
    }
    eprintln!(
        "{medium}: after the purge the device holds the wrapped data key {} times, the wrapped detail key {} times",
        left.wrapped_data_key, left.wrapped_detail_key
    );
}

#[test]
fn inv7_on_ext4_nothing_of_a_purged_recording_is_on_the_device() {
    assert_gone(&life_on(Kind::Ext4), "ext4");
}

#[test]
fn inv7_on_xfs_nothing_of_a_purged_recording_is_on_the_device() {
    if Kind::Xfs.is_known_to_the_kernel() {
        assert_gone(&life_on(Kind::Xfs), "XFS");
    }
}

#[test]
fn inv7_btrfs_keeps_wrapped_keys_and_the_service_says_so() {
    if Kind::Btrfs.is_known_to_the_kernel() {
        let left = life_on(Kind::Btrfs);
        assert_told(&left, "Btrfs");
        // This is the limit: what opens with the master key alone is still there. Every change of a block of slots leaves
        // another copy, so of the detail key, which lived long, some always stay; of the data key by chance.
        let kept = left.wrapped_data_key + left.wrapped_detail_key;
        assert!(kept > 0, "no old block was left this time: the test shows nothing");
    }
}

#[test]
fn inv7_f2fs_is_recognised() {
    if Kind::F2fs.is_known_to_the_kernel() {
        assert_told(&life_on(Kind::F2fs), "F2FS");
    }
}

#[test]
fn inv7_ext4_with_data_journalling_is_recognised() {
    assert_told(&life_on(Kind::Ext4Journalled), "ext4 with data journalling");
}
