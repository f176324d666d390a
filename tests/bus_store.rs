//! What the disk does to the service, and what the service leaves on the disk: full, damaged, killed, deleted, purged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use data_encoding::Specification;
use rustix::io::Errno;
use support::user::keys;
use support::{House, files_below, flip_bit, noise, pause, sha256, stage, until};

/// A small file system of its own, taken away again at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, megabytes: u32) -> Self {
        fs::create_dir(&at).unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "greffier-test"]).arg(&at).status();
        assert!(mounted.unwrap().success(), "these tests need root");
        Self(at)
    }

    /// Leaves no space at all.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0xAA; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_with_the_machine = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The disk is taken away before the directory that it is mounted in.
fn house_on_a_small_disk() -> (House, SmallDisk) {
    let dir = stage::directory();
    let disk = SmallDisk::mount(dir.path().join("disk"), 16);
    (House::in_dir(dir, Path::new("disk/state")), disk)
}

#[test]
fn inv3_on_a_full_disk_nothing_is_served_and_it_resumes_by_itself() {
    let (mut house, disk) = house_on_a_small_disk();
    house.start();
    let clip = noise(1, 100_000);
    let id = house.seal("entrance", "clip.mp4", &clip);
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    games.read(&opened.file, 0, 4096).unwrap();

    let filler = disk.fill();
    // Nobody is served any more; what was prepared for the ledger, and its reserve, last a while for holds.
    until("nothing is served", || games.describe(&id).err());
    let sys = house.user("sys");
    let refused = until("the ledger is full", || {
        (0..50).find_map(|_| {
            let hold = sys.hold(&[("recording", &id), ("kind", "incident"), ("ground", "to write")]);
            hold.and_then(|hold| sys.lift(&hold, &[("ground", "to write")])).err()
        })
    });
    assert_eq!(refused.name, "LedgerUnavailable", "{refused:?}");
    let size = house.durable().len();
    let (state, why) = games.state();
    assert_eq!(state, "closed");
    assert!(why.contains("resumes by itself") && why.contains("ledger"), "{why}");
    until("the running session is cut", || {
        let read = games.read(&opened.file, 0, 4096);
        (read.err().and_then(|error| Errno::from_io_error(&error)) == Some(Errno::STALE)).then_some(())
    });
    assert_eq!(games.open(&id, &[("reason", "incident")]).unwrap_err().name, "LedgerUnavailable");
    assert_eq!(house.user("news").read_ledger(0, 1).unwrap_err().name, "LedgerUnavailable");
    assert_eq!(house.user("sys").run_retention().unwrap_err().name, "LedgerUnavailable");
    house.drop_file("entrance", "later.mp4", &noise(2, 1000));
    pause(Duration::from_secs(1));
    assert_eq!(house.durable().len(), size, "nothing was recorded meanwhile");
    assert_eq!(house.spool_files().len(), 1, "the file waits");

    fs::remove_file(filler).unwrap();
    until("it serves again", || (games.state().0 != "closed").then_some(()));
    until("the catalogue is made anew by itself", || games.search("incident").ok());
    assert_eq!(games.search("incident").unwrap()[0], id);
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    assert_eq!(games.read(&opened.file, 0, 100_000).unwrap(), clip);
    let recovered = house.of_event("ledger.recovered").pop().unwrap();
    assert_eq!(recovered.data("why"), "write-failed");
    assert!(recovered.number("turned_away") >= Some(4), "{}", recovered.line);
    until("the waiting file is sealed", || house.spool_files().is_empty().then_some(()));
    let ended = house.durable().iter().filter(|entry| !entry.get("session").is_empty()).count();
    assert!(ended >= 3, "the session that was cut has its end in the ledger");
    house.stop();
    drop(disk);
}

/// Every row that the controller finds, in order.
fn answers(house: &House) -> Vec<String> {
    let rows = house.user("sys").run(|client| client.search(&keys(&[("reason", "incident")])).unwrap());
    let row = |fields: support::user::Fields| {
        let mut fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        fields.sort();
        fields.join(" ")
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn inv5_a_catalogue_that_was_deleted_or_damaged_gives_the_same_answers() {
    let mut house = House::open();
    let ids: Vec<String> =
        (0..5).map(|n| house.seal("entrance", &format!("{n}.mp4"), &noise(n, 1000))).collect();
    house
        .user("sys")
        .hold(&[("recording", &ids[3]), ("kind", "judicial"), ("ground", "requisition")])
        .unwrap();
    let before = answers(&house);
    assert_eq!(before.len(), 5);
    assert_eq!(before.iter().filter(|row| row.contains("true")).count(), 1, "{before:?}");
    let catalogue = house.state.join("catalogue");

    house.stop();
    fs::remove_dir_all(&catalogue).unwrap();
    house.start();
    assert_eq!(answers(&house), before, "deleted");

    house.kill();
    for file in files_below(&catalogue) {
        let length = file.metadata().unwrap().len();
        for at in (0..length).step_by(97) {
            flip_bit(&file, at);
        }
    }
    house.start();
    assert_eq!(answers(&house), before, "damaged everywhere");

    for step in [1009, 4099] {
        house.stop();
        for file in files_below(&catalogue) {
            let length = file.metadata().unwrap().len();
            for at in (step / 2..length).step_by(usize::try_from(step).unwrap()) {
                flip_bit(&file, at);
            }
        }
        house.start();
        assert_eq!(answers(&house), before, "one bit in {step} bytes");
    }

    house.stop();
    for file in files_below(&catalogue) {
        let file = File::options().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }
    house.start();
    assert_eq!(answers(&house), before, "cut short");
    house.finish();
}

#[test]
fn inv6_a_file_is_in_the_spool_or_sealed_whenever_the_daemon_is_killed() {
    let mut house = House::open();
    for round in 0..8_u64 {
        let clip = noise(round, 300_000);
        house.drop_file("entrance", &format!("{round}.mp4"), &clip);
        // The settling time is 50 ms; sealing takes some tens of them after it.
        pause(Duration::from_millis(40 + 12 * round));
        house.kill();
        let in_spool = house.spool_files().iter().any(|path| fs::read(path).unwrap() == clip);
        let digest = sha256(&clip);
        let sealed = |house: &House| {
            let sealed = house.of_event("recording.sealed");
            sealed.iter().filter(|entry| entry.data("sha256") == digest).count()
        };
        assert!(in_spool || sealed(&house) == 1, "round {round}: neither in the spool nor sealed");
        house.start();
        until("it is sealed", || (sealed(&house) >= 1).then_some(()));
        until("the spool is empty", || house.spool_files().is_empty().then_some(()));
        assert_eq!(sealed(&house), 1, "round {round}: sealed twice");
    }
    assert_eq!(files_below(&house.state.join("objects")).len(), 8);
    house.finish();
}

/// The 16 bytes of an id.
fn id_bytes(id: &str) -> Vec<u8> {
    let mut lower = Specification::new();
    lower.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    lower.encoding().unwrap().decode(id.as_bytes()).unwrap()
}

#[test]
fn inv7_after_a_purge_neither_plaintext_nor_wrapped_key_is_left() {
    let mut house = House::open();
    let clip = noise(7, 200_000);
    let id = house.seal("doorbell", "clip.mp4", &clip);
    let probe = &clip[100_000..100_064];
    assert!(!house.state_holds(probe), "sealed means encrypted");
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    assert_eq!(games.read(&opened.file, 0, 200_000).unwrap(), clip);
    // The slot of its key: id at 2, wrapped secret from 30 on (greffier-store(5)).
    let slots = fs::read(house.state.join("keys/1.a")).unwrap();
    let slot = slots.chunks(128).find(|slot| slot[2..18] == id_bytes(&id)).expect("its key has a slot");
    let wrapped = slot[30..78].to_vec();
    assert!(house.state_holds(&wrapped));

    until("it is purged", || house.of_event("purge.done").pop());
    let error = games.read(&opened.file, 0, 4096).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE));
    for again in [false, true] {
        assert!(!house.state_holds(&wrapped), "the wrapped key is left");
        assert!(!house.state_holds(probe), "plaintext is left");
        assert!(!house.state.join("objects").join(&id[..2]).join(&id).exists());
        let slots = fs::read(house.state.join("keys/1.a")).unwrap();
        assert!(!support::contains(&slots, &id_bytes(&id)), "its slot is left");
        if !again {
            house.stop();
            house.start();
        }
    }
    let done = house.of_event("purge.done").pop().unwrap();
    assert_eq!((done.get("recording"), done.data("sha256")), (id, sha256(&clip)));
    house.finish();
}

#[test]
fn inv10_a_damaged_object_gives_an_error_that_names_file_and_offset() {
    let house = House::open();
    let clip = noise(8, 300_000);
    let id = house.seal("entrance", "clip.mp4", &clip);
    let object = house.state.join("objects").join(&id[..2]).join(&id);
    // Header of 64 bytes, then chunks of 64 KiB and 16 bytes: the third is damaged.
    let third = 64 + 2 * (65_536 + 16);
    flip_bit(&object, third + 1000);
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    assert_eq!(games.read(&opened.file, 0, 4096).unwrap(), clip[..4096]);
    let error = games.read(&opened.file, 140_000, 4096).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::IO));
    assert_eq!(games.read(&opened.file, 250_000, 4096).unwrap(), clip[250_000..254_096]);
    let damaged = until("it is recorded", || house.of_event("store.damaged").pop());
    assert_eq!((damaged.get("recording"), damaged.data("what").as_str()), (id.clone(), "object-damaged"));
    let log = house.log();
    let line = log.lines().find(|line| line.contains(&object.display().to_string()));
    assert!(line.is_some_and(|line| line.contains(&format!("offset {third}"))), "{line:?} in {log}");

    // The header: nothing opens at all, and the answer is a sentence.
    flip_bit(&object, 3);
    let refused = games.open(&id, &[("reason", "incident")]).unwrap_err();
    assert!(refused.sentence.contains("damaged"), "{refused:?}");
    assert!(!house.log().contains("panick"));
    house.finish();
}

#[test]
fn inv10_a_damaged_slot_is_repaired_from_its_other_copy_and_without_one_named() {
    let mut house = House::open();
    let clip = noise(9, 1000);
    let id = house.seal("entrance", "clip.mp4", &clip);
    house.stop();
    let copies = [house.state.join("keys/1.a"), house.state.join("keys/1.b")];
    let slots = fs::read(&copies[0]).unwrap();
    let number = slots.chunks(128).position(|slot| slot[2..18] == id_bytes(&id)).unwrap();
    let offset = number as u64 * 128;
    flip_bit(&copies[1], offset + 40);
    house.start();
    let repaired = format!("{} at offset {offset}", copies[1].display());
    assert!(house.log().contains(&repaired), "{repaired}: {}", house.log());
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    assert_eq!(games.read(&opened.file, 0, 1000).unwrap(), clip);
    drop(games);
    house.stop();
    assert_eq!(fs::read(&copies[0]).unwrap(), fs::read(&copies[1]).unwrap());

    for copy in &copies {
        flip_bit(copy, offset + 40);
    }
    house.start();
    let damaged = house.of_event("store.damaged").pop().unwrap();
    assert_eq!((damaged.get("recording"), damaged.data("what").as_str()), (id.clone(), "key-missing"));
    let refused = house.user("games").open(&id, &[("reason", "incident")]).unwrap_err();
    assert!(refused.sentence.contains("damaged"), "{refused:?}");
    assert!(house.user("games").state().1.contains("damaged"));
    house.finish();
}

#[test]
fn inv10_damage_in_the_ledger_stops_the_start_and_names_file_and_place() {
    let mut house = House::open();
    // Enough entries for a full bundle.
    let games = house.user("games");
    for _ in 0..260 {
        games.search("incident").unwrap();
    }
    drop(games);
    house.stop();
    let ledger = house.state.join("ledger");

    let tail = ledger.join("tail");
    let bytes = fs::read(&tail).unwrap();
    let first = bytes.windows(7).position(|window| window == b"{\"v\":1,").unwrap() as u64;
    flip_bit(&tail, first + 20);
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("tail") && said.contains("offset"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    flip_bit(&tail, first + 20);
    assert_eq!(fs::read(&tail).unwrap(), bytes, "nothing was changed");

    let bundle = ledger.join("tile/entries/000");
    flip_bit(&bundle, 5000);
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("tile/entries/000") && said.contains("entry "), "{said}");
    flip_bit(&bundle, 5000);

    let tile = ledger.join("tile/0/000");
    flip_bit(&tile, 100);
    let found = house.verify_dir(&ledger);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(String::from_utf8_lossy(&found.stdout).contains("tile/0/000"), "{found:?}");
    flip_bit(&tile, 100);

    fs::rename(&bundle, ledger.join("aside")).unwrap();
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("tile/entries/000") && said.contains("missing"), "{said}");
    fs::rename(ledger.join("aside"), &bundle).unwrap();
    house.start();
    house.finish();
}

#[test]
fn inv4_a_ledger_put_back_to_an_earlier_state_is_noticed() {
    let mut house = House::open();
    house.stop();
    let ledger = house.state.join("ledger");
    let copy = house.path("earlier");
    let copied = Command::new("cp").arg("-a").arg(&ledger).arg(&copy).status().unwrap();
    assert!(copied.success());
    house.start();
    house.user("games").search("incident").unwrap();
    house.stop();
    let keys_and_all = house.path("later");
    fs::rename(&ledger, &keys_and_all).unwrap();
    fs::rename(&copy, &ledger).unwrap();
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("rolled back") || said.contains("epoch key"), "{said}");
    fs::remove_dir_all(&ledger).unwrap();
    fs::rename(&keys_and_all, &ledger).unwrap();
    house.start();
    house.finish();
}

/// All properties of the scrub that runs, or ran last.
fn scrub_numbers(user: &support::user::User) -> support::user::Fields {
    user.run(|client| {
        let properties = "org.freedesktop.DBus.Properties";
        let path = "/org/greffier/Archive1/scrub";
        client.call(path, properties, "GetAll", &"org.greffier.Archive1.Scrub").unwrap()
    })
}

fn order_scrub(user: &support::user::User, mib_a_second: u64) -> Result<String, support::user::Refused> {
    let request: support::user::Keys = [("rate".to_owned(), zbus::wire::Variant::from(mib_a_second))].into();
    let path: zbus::wire::OwnedObjectPath =
        user.run(move |client| client.ask(support::user::ROOT, "Manager", "Scrub", &request))?;
    Ok(path.to_string())
}

#[test]
fn a_scrub_that_was_killed_goes_on_and_finds_what_the_medium_lost() {
    let mut house = House::open();
    let ids: Vec<String> =
        (0..3).map(|n| house.seal("entrance", &format!("{n}.mp4"), &noise(n, 1 << 20))).collect();
    let technician = house.user("daemon");
    for other in ["root", "games", "sys"] {
        assert_eq!(order_scrub(&house.user(other), 0).unwrap_err().name, "Denied", "{other}");
    }
    assert_eq!(order_scrub(&technician, 1).unwrap(), "/org/greffier/Archive1/scrub");
    let again = order_scrub(&technician, 1).unwrap_err();
    assert_eq!(again.name, "Conflict", "{again:?}");
    let place = house.state.join("scrub");
    until("one recording is read", || place.exists().then_some(()));
    house.kill();
    let place = fs::read_to_string(place).unwrap();
    let unread = ids.iter().find(|id| !place.contains(id.as_str())).unwrap();

    house.start();
    let object = house.state.join("objects").join(&unread[..2]).join(unread);
    flip_bit(&object, 500_000);
    let technician = house.user("daemon");
    order_scrub(&technician, 0).unwrap();
    until("it is read to its end", || {
        let running = scrub_numbers(&technician).get("Running").cloned().unwrap();
        (!bool::try_from(running).unwrap()).then_some(())
    });
    let numbers = scrub_numbers(&technician);
    let number = |name: &str| support::user::number(&numbers, name);
    assert_eq!((number("Recordings"), number("Damaged"), number("Number")), (3, 1, 1));
    let ended = house.of_event("store.scrubbed").pop().unwrap();
    assert_eq!((ended.data("why"), ended.number("recordings")), ("complete".to_owned(), Some(3)));
    assert!(!ended.data("since").is_empty(), "it went on: {}", ended.line);
    assert!(!house.state.join("scrub").exists());

    let damaged = house.of_event("store.damaged").pop().unwrap();
    assert_eq!(
        (damaged.get("recording"), damaged.data("what")),
        (unread.clone(), "object-damaged".to_owned())
    );
    let games = house.user("games");
    let (state, why) = games.state();
    assert!(state == "degraded" && why.contains("1 recording is damaged"), "{why}");
    let refused = games.open(unread, &[("reason", "incident")]).unwrap_err();
    assert!(refused.sentence.contains("store scrub --recording"), "{refused:?}");
    drop((technician, games));
    house.stop();
    // The mark is in the ledger: a start knows it.
    house.start();
    assert!(house.user("games").state().1.contains("1 recording is damaged"));
    house.finish();
}
