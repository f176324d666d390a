//! A long day in little time: 64 viewers, sealing and purging on the real daemon. Nothing grows: resident memory, descriptors,
//! threads and files of the private mount are sampled, printed, and held against what the first third of the run showed: a tenth
//! more of each is allowed, and 4 MiB or 64 of them. At the end the ledger is verified.
//!
//! `GREFFIER_SOAK_SECONDS` says how long (900 in `make soak`); ten seconds otherwise, which proves the harness and little
//! more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; figures are printed; its length is a setting, and measured"
)]
#![cfg(test)]

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::user::{User, number};
use support::{House, noise, pause, until};

/// Accounts of every Debian that no other test needs; eight viewers each.
const ACCOUNTS: [&str; 8] = ["games", "lp", "mail", "uucp", "proxy", "www-data", "list", "irc"];
const VIEWERS_EACH: usize = 8;
const CLIP_BYTES: usize = 400_000;

const POLICY: &str = r#"format = 1
controller = "A house for a long test"
[reasons]
incident = { text = "Theft, damage or assault" }
[purposes]
security = { kinds = ["footage"], reasons = ["incident"] }
[classes]
moments = { max = "PT20S", from = "sealed" }
[sources]
entrance = { kind = "footage", zone = "entrance", purposes = ["security"], class = "moments" }
[roles]
viewer     = { verbs = ["search", "view"] }
controller = { verbs = ["search", "hold", "lift", "purge"] }
[grants]
control = { user = "sys", role = "controller" }
"#;

/// What a process has at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at_seconds: u64,
    rss_kib: u64,
    descriptors: u64,
    threads: u64,
    /// Files of the private mount, and sessions.
    served: u64,
    sessions: u64,
    entries: u64,
}

impl Sample {
    fn take(pid: u32, root: &User, began: Instant) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let of = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
        };
        let numbers = root.status();
        Self {
            at_seconds: began.elapsed().as_secs(),
            rss_kib: of("VmRSS"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
            threads: of("Threads"),
            served: number(&numbers, "served"),
            sessions: number(&numbers, "sessions"),
            entries: number(&numbers, "entries"),
        }
    }
}

/// What may be reached, from what the first part of the run reached: a tenth more, a quarter in a run that ends before all has
/// warmed up, and a few.
fn bound(first: &[Sample], figure: impl Fn(&Sample) -> u64, few: u64, long: bool) -> u64 {
    let most = first.iter().map(figure).max().unwrap_or(0);
    most + most / (if long { 10 } else { 4 }) + few
}

struct Shared {
    ids: Mutex<Vec<String>>,
    stop: AtomicBool,
    opened: AtomicU64,
    bytes: AtomicU64,
    turned_away: AtomicU64,
}

/// Opens, reads here and there, closes in one of three ways, searches now and then.
fn view(address: &str, account: &str, seed: u64, shared: &Shared) {
    let user = User::connect(account, address);
    let mut turn = seed;
    while !shared.stop.load(Ordering::Relaxed) {
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = {
            let ids = shared.ids.lock().unwrap();
            // The newest are not purged within the next seconds.
            let newest = &ids[ids.len().saturating_sub(6)..];
            newest.get(usize::try_from(turn >> 33).unwrap() % newest.len().max(1)).cloned()
        };
        let Some(id) = id else { continue };
        let mode = if turn & 0x800 == 0 { "seek" } else { "stream" };
        match user.open(&id, &[("reason", "incident"), ("mode", mode)]) {
            Ok(opened) => {
                shared.opened.fetch_add(1, Ordering::Relaxed);
                let parts = if mode == "seek" { 1 + (turn >> 20) % 6 } else { 0 };
                for part in 0..parts {
                    let offset = turn.wrapping_add(part * 7919) % CLIP_BYTES as u64;
                    // It may be purged meanwhile: that is part of the day.
                    if let Ok(bytes) = user.read(&opened.file, offset, 65_536) {
                        shared.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    }
                }
                if turn & 0x1000 == 0 {
                    let _may_be_over = user.close(&opened.session);
                }
            }
            Err(_) => {
                shared.turned_away.fetch_add(1, Ordering::Relaxed);
            }
        }
        if turn & 0xF000 == 0 {
            let _may_be_refused = user.search("incident");
        }
        pause(Duration::from_millis(20 + (turn >> 40) % 200));
    }
}

#[test]
fn a_long_day_grows_neither_memory_nor_descriptors() {
    let seconds: u64 =
        std::env::var("GREFFIER_SOAK_SECONDS").ok().map_or(10, |text| text.parse().expect("a number"));
    let mut house = House::closed(std::path::Path::new("state"));
    let mut policy = POLICY.to_owned();
    for account in ACCOUNTS {
        policy += &format!("views-{account} = {{ user = \"{account}\", role = \"viewer\" }}\n");
    }
    house.write_policy(&policy);
    house.start();
    let shared = Arc::new(Shared {
        ids: Mutex::default(),
        stop: AtomicBool::new(false),
        opened: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        turned_away: AtomicU64::new(0),
    });
    let first = house.seal("entrance", "0.mp4", &noise(1, CLIP_BYTES));
    shared.ids.lock().unwrap().push(first);

    let began = Instant::now();
    let viewers: Vec<_> = (0..ACCOUNTS.len() * VIEWERS_EACH)
        .map(|n| {
            let (address, shared) = (house.address.clone(), shared.clone());
            std::thread::spawn(move || view(&address, ACCOUNTS[n % ACCOUNTS.len()], n as u64, &shared))
        })
        .collect();

    let (root, every) = (house.user("root"), (seconds / 60).clamp(1, 15));
    let mut samples = Vec::new();
    let mut sealed = 1_u64;
    println!("   s   RSS MiB  descriptors  threads  served  sessions  entries");
    while began.elapsed() < Duration::from_secs(seconds) {
        // A new recording a second, as a small house has.
        house.drop_file("entrance", &format!("{sealed}.mp4"), &noise(sealed + 1, CLIP_BYTES));
        sealed += 1;
        pause(Duration::from_secs(1));
        let found = house.user("sys").search("incident").unwrap_or_default();
        if !found.is_empty() {
            *shared.ids.lock().unwrap() = found;
        }
        let sample = Sample::take(house.pid(), &root, began);
        if samples.last().is_none_or(|last: &Sample| sample.at_seconds >= last.at_seconds + every) {
            println!(
                "{:4} {:9.1} {:12} {:8} {:7} {:9} {:8}",
                sample.at_seconds,
                sample.rss_kib as f64 / 1024.0,
                sample.descriptors,
                sample.threads,
                sample.served,
                sample.sessions,
                sample.entries
            );
            samples.push(sample);
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    viewers.into_iter().for_each(|viewer| viewer.join().unwrap());

    let opened = shared.opened.load(Ordering::Relaxed);
    let purged = house.of_event("purge.done").len();
    println!(
        "{opened} openings, {} MiB read, {} turned away, {sealed} recordings left in the spool, {purged} purged",
        shared.bytes.load(Ordering::Relaxed) >> 20,
        shared.turned_away.load(Ordering::Relaxed)
    );
    assert!(opened >= 64, "{opened}");
    assert!(seconds < 60 || purged > 0, "nothing fell due");

    // With the viewers gone nothing of them is left.
    until("every session has ended", || {
        let left = Sample::take(house.pid(), &root, began);
        (left.sessions == 0 && left.served == 0).then_some(())
    });
    // The first third of a long run, at most five minutes; warm-up is over before its end.
    let begin = usize::try_from((seconds / 3).min(300) / every).unwrap().max(1).min(samples.len());
    let (first, rest) = samples.split_at(begin);
    type Figure = (&'static str, fn(&Sample) -> u64, u64);
    let long = seconds >= 240;
    let figures: [Figure; 4] = [
        ("resident memory, KiB", |sample| sample.rss_kib, if long { 4 << 10 } else { 16 << 10 }),
        ("descriptors", |sample| sample.descriptors, 64),
        ("threads", |sample| sample.threads, 64),
        ("files of the private mount", |sample| sample.served, 64),
    ];
    for (name, figure, few) in figures {
        let (bound, most) = (bound(first, figure, few, long), rest.iter().map(figure).max().unwrap_or(0));
        println!("{name}: at most {most} after the first part, bound {bound}");
        assert!(most <= bound, "{name} grew to {most}, more than {bound}");
    }
    let last = Sample::take(house.pid(), &root, began);
    println!("idle at the end: {} KiB resident, {} descriptors", last.rss_kib, last.descriptors);
    drop(root);
    house.finish();
}
