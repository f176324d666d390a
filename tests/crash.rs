//! The daemon is killed (SIGKILL) at random moments under load of sealing, viewing and purging, and started again. After
//! each crash the ledger, the store and the spool must agree with a model of what was dropped, answered and read.
//!
//! `GREFFIER_CRASHES` says how often (20), `GREFFIER_CRASH_SEED` repeats a run; the seed of each run is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greffier::shell::entropy;
use support::durable::Entry;
use support::user::User;
use support::{House, eventually, files_below, noise, pause, sha256, until};

/// Numbers that are the same each time for one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[expect(clippy::disallowed_methods, reason = "the two settings of this test, said at its head")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// What was done to the daemon from outside, and what it said to it.
#[derive(Default)]
struct Model {
    /// Content by SHA-256.
    dropped: BTreeMap<String, Vec<u8>>,
    /// Entry number and session of each answered opening.
    granted: BTreeMap<u64, String>,
    /// Entry number of each answered refusal.
    refused: BTreeSet<u64>,
    /// The ledger as it stood after the crash before.
    known: Vec<Entry>,
}

#[test]
fn inv1_inv4_inv5_inv6_hold_after_every_crash() {
    let crashes = setting("GREFFIER_CRASHES").unwrap_or(20);
    let seed =
        setting("GREFFIER_CRASH_SEED").unwrap_or_else(|| u64::from_le_bytes(entropy::array().unwrap()) >> 1);
    println!("GREFFIER_CRASH_SEED={seed} GREFFIER_CRASHES={crashes}");
    let mut dice = Dice(seed | 1);
    let model = Mutex::new(Model::default());
    let mut house = House::open();
    for crash in 0..crashes {
        let life = Duration::from_millis(20 + dice.below(700));
        // Far from the sequence that drew it: else two rounds would drop the same files.
        let load = Dice(dice.below(u64::MAX).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let over = AtomicBool::new(false);
        let (games, sys) = (house.user("games"), house.user("sys"));
        let pid = rustix::process::Pid::from_raw(i32::try_from(house.pid()).unwrap()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                work(&house, &games, &sys, load, &model, &over);
            });
            pause(life);
            // The load goes on for the moment in which the daemon dies.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            over.store(true, Ordering::Relaxed);
        });
        drop((games, sys));
        house.kill();
        println!("crash {crash} after {life:?}: {} files", model.lock().unwrap().dropped.len());
        let half_done = check_what_the_crash_left(&house, &mut model.lock().unwrap());
        if half_done {
            println!("a file is sealed and still in the spool: off until it is due");
            pause(Duration::from_secs(4));
        }
        house.start();
        check_what_the_start_made_of_it(&house, &model.lock().unwrap());
    }
    check_every_byte(&house, &model.lock().unwrap());
    house.finish();
}

/// Drops, views, purges, until told that it is over; then what fails is expected to.
fn work(house: &House, games: &User, sys: &User, mut dice: Dice, model: &Mutex<Model>, over: &AtomicBool) {
    let mut ids = games.search("incident").unwrap_or_default();
    while !over.load(Ordering::Relaxed) {
        match dice.below(8) {
            0..3 => {
                let content = noise(dice.below(u64::MAX), usize::try_from(dice.below(200_000)).unwrap());
                let digest = sha256(&content);
                let source = if dice.below(2) == 0 { "entrance" } else { "doorbell" };
                house.drop_file(source, &format!("{}.mp4", &digest[..12]), &content);
                model.lock().unwrap().dropped.insert(digest, content);
            }
            3..6 if !ids.is_empty() => {
                let id = &ids[usize::try_from(dice.below(ids.len() as u64)).unwrap()];
                match games.open(id, &[("reason", "incident")]) {
                    Ok(opened) => {
                        model.lock().unwrap().granted.insert(opened.entry, opened.session.clone());
                        let _dead_or_purged = games.read(&opened.file, dice.below(100_000), 4096);
                        if dice.below(2) == 0 {
                            let _dead = games.close(&opened.session);
                        } else {
                            // Kept open by the session object: cut by the crash.
                            std::mem::forget(opened);
                        }
                    }
                    Err(refused) => model.lock().unwrap().refused.extend(refused.entry()),
                }
            }
            6 => drop(sys.run_retention()),
            _ => ids = games.search("incident").unwrap_or(ids),
        }
    }
}

/// Sealed and not purged: id and SHA-256.
fn alive(entries: &[Entry]) -> BTreeMap<String, String> {
    let mut alive = BTreeMap::new();
    for entry in entries {
        match entry.event() {
            "recording.sealed" => {
                let before = alive.insert(entry.get("recording"), entry.data("sha256"));
                assert!(before.is_none(), "sealed twice: {}", entry.line);
            }
            "purge.done" => {
                assert!(alive.remove(&entry.get("recording")).is_some(), "purged twice: {}", entry.line);
            }
            _ => {}
        }
    }
    alive
}

/// Whether a file of the short class stands in the spool although it is sealed.
fn check_what_the_crash_left(house: &House, model: &mut Model) -> bool {
    let durable = house.durable();
    // Invariant 4: what stood there stands there.
    assert!(durable.len() >= model.known.len(), "entries are gone");
    for (before, now) in model.known.iter().zip(&durable) {
        assert_eq!(before.line, now.line);
    }
    // Invariant 1, and 4 again: whatever was answered is there.
    for (entry, session) in &model.granted {
        let granted = durable.get(usize::try_from(*entry).unwrap()).expect("a grant that was answered");
        assert_eq!((granted.event(), granted.get("outcome").as_str()), ("access.opened", "granted"));
        assert!(session.ends_with(&granted.get("session")));
    }
    for entry in &model.refused {
        let refused = durable.get(usize::try_from(*entry).unwrap()).expect("a refusal that was answered");
        assert_eq!(refused.get("outcome"), "denied");
    }
    // Invariant 6: every file is in the spool, or sealed, or was purged with a certificate.
    let in_spool: BTreeSet<String> =
        house.spool_files().iter().filter_map(|path| Some(sha256(&fs::read(path).ok()?))).collect();
    let sealed = durable.iter().filter(|entry| entry.event() == "recording.sealed");
    let mut digests = BTreeMap::new();
    for entry in sealed {
        if let Some(before) = digests.insert(entry.data("sha256"), entry) {
            panic!("a file was sealed twice:\n{}\n{}", before.line, entry.line);
        }
    }
    for (digest, content) in &model.dropped {
        assert!(
            in_spool.contains(digest) || digests.contains_key(digest),
            "a file of {} bytes is neither in the spool nor sealed",
            content.len()
        );
    }
    for (id, digest) in alive(&durable) {
        let object = house.state.join("objects").join(&id[..2]).join(&id);
        let purging = durable
            .iter()
            .rev()
            .find(|entry| entry.get("recording") == id && entry.event().starts_with("purge."));
        let going = purging.is_some_and(|entry| entry.event() == "purge.planned");
        assert!(object.exists() || going, "{id} ({digest}) is in the ledger and not in the store");
    }
    let half_done = durable.iter().any(|entry| {
        entry.event() == "recording.sealed"
            && entry.get("source") == "doorbell"
            && in_spool.contains(&entry.data("sha256"))
    });
    model.known = durable;
    half_done
}

fn check_what_the_start_made_of_it(house: &House, model: &Model) {
    // Every session of the run before has exactly one end, and those that the crash cut have the one that says so.
    let durable = house.durable();
    let ends = ["access.closed", "access.expired", "access.revoked", "access.interrupted"];
    let mut open = BTreeSet::new();
    for (at, entry) in durable.iter().enumerate() {
        let session = entry.get("session");
        if entry.event() == "access.opened" && entry.get("outcome") == "granted" {
            assert!(open.insert(session));
        } else if ends.contains(&entry.event()) {
            assert!(open.remove(&session), "ended twice: {}", entry.line);
            assert!(at < model.known.len() || entry.event() == "access.interrupted", "{}", entry.line);
        }
    }
    assert!(open.is_empty(), "sessions without an end: {open:?}");

    // Nothing is left half done: objects, key slots and answers are what the ledger says.
    let mut differs = String::new();
    let agrees = eventually(|| {
        let wanted: BTreeSet<String> = alive(&house.durable()).into_keys().collect();
        let objects: BTreeSet<String> = files_below(&house.state.join("objects"))
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let keys = ["keys/1.a", "keys/1.b"].map(|copy| data_keys(&fs::read(house.state.join(copy)).unwrap()));
        let found: BTreeSet<String> = house.user("sys").search("incident").unwrap().into_iter().collect();
        let same = objects == wanted && keys[0] == wanted && keys[1] == wanted && found == wanted;
        differs = format!("ledger {wanted:?}\nobjects {objects:?}\nkeys {keys:?}\nfound {found:?}");
        (same && house.spool_files().is_empty()).then_some(())
    });
    assert!(agrees.is_some(), "{differs}\nspool {:?}", house.spool_files());
}

/// Ids of the recordings whose data keys stand in a file of slots (greffier-store(5): state 0, kind 1, id 2).
fn data_keys(slots: &[u8]) -> BTreeSet<String> {
    let mut lower = data_encoding::Specification::new();
    lower.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    let base32 = lower.encoding().unwrap();
    slots.chunks(128).filter(|slot| slot[..2] == [1, 1]).map(|slot| base32.encode(&slot[2..18])).collect()
}

/// What is left can be viewed, byte for byte; what fell due is purged.
fn check_every_byte(house: &House, model: &Model) {
    let digests: BTreeSet<String> = until("all is sealed and the moments are over", || {
        let durable = house.durable();
        let doorbell: BTreeSet<String> = durable
            .iter()
            .filter(|entry| entry.event() == "recording.sealed" && entry.get("source") == "doorbell")
            .map(|entry| entry.get("recording"))
            .collect();
        let alive = alive(&durable);
        (!alive.keys().any(|id| doorbell.contains(id))).then(|| alive.into_values().collect())
    });
    println!("{} of {} files are kept", digests.len(), model.dropped.len());
    let games = house.user("games");
    for (id, digest) in alive(&house.durable()) {
        let content = &model.dropped[&digest];
        let opened = games.open(&id, &[("reason", "incident")]).unwrap();
        assert_eq!(&games.read(&opened.file, 0, content.len().max(1)).unwrap(), content);
        games.close(&opened.session).unwrap();
    }
}
