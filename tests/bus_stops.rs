//! How the service stops, is replaced and starts again: what runs ends with an entry that says so, nothing is half done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod ends_support;
mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ends_support::{INCIDENT, end, ends, errno, session};
use rustix::process::Signal;
use support::durable::Entry;
use support::user::Opened;
use support::{House, files_below, noise, until};

#[test]
fn a_stop_ends_every_session_with_its_entry_at_once_and_a_second_signal_changes_nothing() {
    const SESSIONS: usize = 64;
    let mut house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(7, 100_000));
    let games = house.user("games");
    let opened: Vec<Opened> = (0..SESSIONS).map(|_| games.open(&id, &INCIDENT).unwrap()).collect();
    for (number, one) in opened.iter().enumerate() {
        games.read(&one.file, 0, 100 + number).unwrap();
    }
    let watch = || rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let told = watch();
    house.signal(Signal::TERM);
    house.signal(Signal::TERM);
    house.ended();
    let ended = watch();
    assert!(opened.iter().all(|one| games.read(&one.file, 0, 16).is_err()));
    house.verify();
    let found = ends(&house);
    for (number, one) in opened.iter().enumerate() {
        assert_eq!(found[&session(one)], end("access.closed", "service-stopped", 100 + number as u64));
    }
    assert_eq!(house.durable().last().unwrap().event(), "ledger.stopped");
    drop(games);
    let again = watch();
    house.serve();
    eprintln!("with {SESSIONS} sessions: stopped in {:?}, back in {:?}", ended - told, watch() - again);
    assert_eq!(ends(&house).len(), SESSIONS);
    let games = house.user("games");
    games.open(&id, &INCIDENT).unwrap();
    house.finish();
}

#[test]
fn inv6_a_seal_that_the_stop_cuts_leaves_nothing_half_done() {
    let mut house = House::open();
    house.seal("entrance", "small.mp4", &noise(8, 1000));
    let objects = || files_below(&house.state.join("objects")).len();
    let before = objects();
    let folder = house.path("spool/entrance");
    let large = File::create(folder.join(".large.mp4")).unwrap();
    large.set_len(1 << 30).unwrap();
    drop(large);
    fs::rename(folder.join(".large.mp4"), folder.join("large.mp4")).unwrap();
    let taken = || house.spool_files().iter().any(|path| path.to_string_lossy().contains(".taking"));
    until("it is being sealed", || taken().then_some(()));
    house.signal(Signal::TERM);
    house.stopped();
    assert_eq!(house.of_event("recording.sealed").len(), 1);
    assert!(house.of_event("recording.rejected").is_empty());
    let left: Vec<PathBuf> = house.spool_files();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(files_below(&house.state.join("objects")).len(), before);
    // It is still there to be sealed; here it makes room for the start.
    File::options().write(true).open(&left[0]).unwrap().set_len(10_000).unwrap();
    house.start();
    until("it is sealed", || house.spool_files().is_empty().then_some(()));
    assert_eq!(house.of_event("recording.sealed").len(), 2);
    house.finish();
}

#[test]
fn inv7_a_stop_while_purges_run_leaves_each_recording_whole_or_destroyed() {
    const MOMENTS: usize = 12;
    let mut house = House::open();
    let sys = house.user("sys");
    let ids: Vec<String> = (0..MOMENTS as u64)
        .map(|n| {
            let id = house.seal("doorbell", &format!("{n}.mp4"), &noise(n, 20_000));
            sys.hold(&[("recording", &id), ("kind", "incident"), ("ground", "broken window")]).unwrap();
            id
        })
        .collect();
    until("all are due", || {
        let status = sys.run(|client| client.status()).unwrap();
        (support::user::number(&status, "due") == MOMENTS as u64).then_some(())
    });
    let holds: Vec<Entry> = house.of_event("hold.placed");
    for hold in &holds {
        sys.lift(&format!("/org/greffier/Archive1/hold/{}", hold.data("hold")), &[("ground", "settled")])
            .unwrap();
    }
    house.signal(Signal::TERM);
    drop(sys);
    house.stopped();
    let of = |event: &str| house.of_event(event).iter().map(|it| it.get("recording")).collect::<Vec<_>>();
    let (planned, done) = (of("purge.planned"), of("purge.done"));
    assert_eq!(planned, done, "what was decided was done");
    for id in &ids {
        let object = house.state.join("objects").join(&id[..2]).join(id);
        assert_eq!(object.exists(), !done.contains(id), "{id}");
    }
    eprintln!("{} of {MOMENTS} were destroyed before the stop", done.len());
    house.start();
    until("the others are destroyed", || (house.of_event("purge.done").len() == MOMENTS).then_some(()));
    house.finish();
}

#[test]
fn inv3_without_its_bus_the_daemon_ends_every_session_with_an_entry_and_then_itself() {
    let mut house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(9, 100_000));
    let games = house.user("games");
    let opened: Vec<Opened> = (0..3).map(|_| games.open(&id, &INCIDENT).unwrap()).collect();
    opened.iter().for_each(|one| drop(games.read(&one.file, 0, 500).unwrap()));
    assert_eq!(house.lose_bus(), Some(1));
    assert!(opened.iter().all(|one| games.read(&one.file, 0, 16).is_err()));
    let found = ends(&house);
    for one in &opened {
        let (event, why, bytes) = &found[&session(one)];
        assert!(
            event == "access.closed" && ["service-stopped", "peer-gone"].contains(&why.as_str()),
            "{why}"
        );
        assert_eq!(*bytes, 500);
    }
    let last = house.durable().pop().unwrap();
    assert_eq!((last.event(), last.data("why").as_str()), ("ledger.stopped", "bus-lost"));
}

/// A program in the place of an older one, as a package puts it there: beside it, then over its name.
fn install(program: &Path) {
    let beside = program.with_extension("new");
    fs::copy(env!("CARGO_BIN_EXE_greffierd"), &beside).unwrap();
    fs::rename(beside, program).unwrap();
}

#[test]
fn an_upgrade_ends_the_sessions_of_the_old_program_with_an_entry_and_the_new_one_serves() {
    let mut house = House::closed(Path::new("state"));
    let program = house.path("greffierd");
    install(&program);
    // What is said after it, the program of these tests, is left out.
    let exec = format!("shift; exec {} \"$@\"", program.display());
    house.wrapper = ["sh", "-c", exec.as_str(), "sh"].map(String::from).to_vec();
    house.start();
    let running = |house: &House| fs::read_link(format!("/proc/{}/exe", house.pid())).unwrap();
    assert_eq!(running(&house), program);
    let id = house.seal("entrance", "clip.mp4", &noise(10, 100_000));
    let games = house.user("games");
    let [read, unread] = [0, 1].map(|_| games.open(&id, &INCIDENT).unwrap());
    games.read(&read.file, 0, 700).unwrap();

    install(&program);
    assert!(running(&house).to_string_lossy().ends_with(" (deleted)"), "the old one runs on");
    games.read(&read.file, 700, 300).unwrap();
    house.signal(Signal::TERM);
    house.stopped();
    let found = ends(&house);
    assert_eq!(found[&session(&read)], end("access.closed", "service-stopped", 1000));
    assert_eq!(found[&session(&unread)], end("access.closed", "service-stopped", 0));

    house.start();
    assert_eq!(running(&house), program);
    assert!([&read, &unread].iter().all(|old| errno(games.read(&old.file, 0, 16)).is_some()));
    let started = house.of_event("ledger.started");
    assert_eq!(started.len(), 2);
    assert!(!started[1].line.contains("\"after_crash\":true"), "{}", started[1].line);
    assert!(house.of_event("access.interrupted").is_empty());
    let again = house.user("games");
    let opened = again.open(&id, &INCIDENT).unwrap();
    assert_eq!(again.read(&opened.file, 0, 1000).unwrap(), noise(10, 1000));
    assert_eq!(ends(&house).len(), 2, "nothing else ended");
    drop((games, again));
    house.finish();
}
