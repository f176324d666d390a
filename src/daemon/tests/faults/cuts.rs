//! The power fails at any moment of a history that has everything in it; what may be left is started again.
//!
//! A history is recorded once: sealing from spool and bus, opening, reading, closing, holds, purges, changes of keys and
//! policy, full bundles, expired details, a crash in the middle. A cut takes the first K calls, a seeded choice of what of them is
//! on the disk (`shell::disk::fault::tests::image` says what may be), and a catalogue as it stood then, or
//! torn, or none. `GREFFIER_POWER_CUTS` says how many (100; 2,000 with `GREFFIER_SOAK=1`), `GREFFIER_SEED` where they begin:
//! seed N is cut N, in history N / 250. A seed repeats every choice; keys, times and the order of threads are the run's own.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::SystemTime;

use super::told::At;
use super::*;
use crate::shell::disk::fault::tests::image::{Choice, Image, after_power_cut};
use crate::shell::disk::fault::tests::record::Change;
use crate::shell::disk::fault::tests::{StandIn, stand_in};

/// Cuts in one history.
const PER_HISTORY: u64 = 250;
/// What happens in it, each at least twice.
const STEPS: [&str; 14] = [
    "spool",
    "spool-door",
    "bus",
    "bus-door",
    "open",
    "progress",
    "close",
    "hold",
    "lift",
    "purge",
    "say",
    "rekey",
    "rotate",
    "policy",
];

struct History {
    changes: Vec<Change>,
    /// Where it begins: what came before was there.
    begins: At,
    told: Told,
    /// sled's files, and since when they stood so.
    catalogues: Vec<(At, BTreeMap<PathBuf, Vec<u8>>)>,
}

fn record_history(seed: u64) -> History {
    let mut choice = Choice::new(seed);
    let house = new_house();
    let dir = house.path();
    let watch = watch(dir);
    let faults = watch.faults();
    faults.record(&IGNORED);
    let begins = faults.mark();
    let (mut told, mut catalogues) = (Told::default(), Vec::new());

    let mut steps: Vec<&str> =
        STEPS.iter().chain(&STEPS).chain(&["say", "say", "restart"]).copied().collect();
    for at in (1..steps.len()).rev() {
        steps.swap(at, choice.below(at + 1));
    }
    // Bundles are full only after some time, and details expire after that.
    steps.extend([
        "spool",
        "bus-door",
        "say",
        "say",
        "roll-over",
        "purge",
        "expire",
        "spool-door",
        "open",
        "rekey",
        "rotate",
    ]);
    let mut days = Days::begin(dir, &faults, &mut told).unwrap();
    let mut holds = Vec::new();
    for step in steps {
        let state = days.life.state();
        let mut ids: Vec<RecordingId> = state.recordings().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let some = (!ids.is_empty()).then(|| ids[choice.below(ids.len())]);
        match (step, some) {
            ("spool" | "spool-door", _) => {
                let source = if step == "spool" { "entrance" } else { "door" };
                let name = days.leave(source);
                days.take(source, &name);
            }
            ("bus", _) => drop(days.pass("entrance").unwrap()),
            ("bus-door", _) => drop(days.pass("door").unwrap()),
            ("open", Some(id)) => drop(days.open(id).unwrap()),
            ("progress", _) => days.progress(),
            ("close", _) => days.close(),
            ("hold", Some(id)) => holds.push(days.hold(id).unwrap()),
            ("lift", _) if !holds.is_empty() => days.lift(holds.swap_remove(choice.below(holds.len()))),
            ("purge", _) => days.purge(),
            ("say", _) => days.say(70).unwrap(),
            ("roll-over", _) => days.roll_over(1),
            ("rekey", _) => days.rekey(),
            ("rotate", _) => days.rotate(),
            ("policy", _) => days.policy(),
            ("expire", _) => days.expire(),
            ("restart", _) => {
                days.end();
                faults.clear();
                days = Days::begin(dir, &faults, &mut told).unwrap();
            }
            _ => {}
        }
        catalogues.push((faults.mark(), files_below(&dir.join("state/catalogue"))));
    }
    days.end();
    let changes = faults.changes();
    History { changes, begins, told, catalogues }
}

fn files_below(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), bytes);
            }
        }
    }
    files
}

fn make_folders(path: &Path) {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
}

/// Writes an image to the disk. Gives what stands there for the files that it shows.
fn materialise(image: &Image, dir: &Path) -> Vec<StandIn> {
    image.folders.iter().for_each(|folder| make_folders(&dir.join(folder)));
    let mut stand_ins = Vec::new();
    for (path, content) in &image.files {
        let path = dir.join(path);
        let file = File::create(&path).unwrap();
        file.write_all_at(&content.bytes, 0).unwrap();
        file.set_len(content.length).unwrap();
        if let Some(identity) = content.identity {
            let (seconds, nanos) = identity.modified;
            let since = Duration::new(seconds.cast_unsigned(), nanos);
            file.set_modified(SystemTime::UNIX_EPOCH + since).unwrap();
            let inode = file.metadata().unwrap().ino();
            stand_ins.push(StandIn { inode, modified: identity.modified, shows: identity.inode });
        }
    }
    stand_ins
}

/// The catalogue as it may be after the cut: none, of then, older, or with one file cut short.
fn put_catalogue(history: &History, cut: At, dir: &Path, choice: &mut Choice) -> &'static str {
    let known: Vec<_> = history.catalogues.iter().filter(|(at, _)| *at <= cut).collect();
    let (what, which) = match (choice.below(4), known.as_slice()) {
        (_, []) | (0, _) => return "no catalogue",
        (1, known) => ("the last catalogue", known[known.len() - 1]),
        (2, known) => ("an older catalogue", known[choice.below(known.len())]),
        (_, known) => ("a torn catalogue", known[known.len() - 1]),
    };
    let torn = (what == "a torn catalogue").then(|| choice.below(which.1.len().max(1)));
    for (at, (name, bytes)) in which.1.iter().enumerate() {
        let path = dir.join("state/catalogue").join(name);
        make_folders(path.parent().unwrap());
        let length = if torn == Some(at) { choice.below(bytes.len() + 1) } else { bytes.len() };
        std::fs::write(path, &bytes[..length]).unwrap();
    }
    what
}

fn cut(history: &History, seed: u64) {
    let mut choice = Choice::new(seed);
    let cut = history.begins + choice.below(history.changes.len() - history.begins + 1);
    let mut image = after_power_cut(&history.changes[..cut], &mut choice);
    let second_place_is_in_memory = choice.below(2) == 0;
    if second_place_is_in_memory {
        image.files.remove(Path::new("run/checkpoint"));
    }
    let house = tempfile::tempdir().unwrap();
    let dir = house.path();
    let stand_ins = materialise(&image, dir);
    make_folders(&dir.join("state/catalogue"));
    let catalogue = put_catalogue(history, cut, dir, &mut choice);
    configure(dir);
    let _standing = stand_in(stand_ins);
    let watch = watch(dir);
    let tried = catch_unwind(AssertUnwindSafe(|| {
        history.told.check_keys(dir, cut);
        let life = Life::start(dir, &watch).unwrap_or_else(|error| panic!("it does not start: {error}"));
        history.told.check_keys(dir, cut);
        history.told.check(&life, dir, cut);
        life.end(&watch);
    }));
    if tried.is_err() {
        let around = &history.changes[cut.saturating_sub(12)..(cut + 3).min(history.changes.len())];
        let around: Vec<String> = around.iter().map(brief).collect();
        // Kept, to be looked at: the state as it was left.
        let kept = house.keep();
        panic!(
            "GREFFIER_SEED={seed} GREFFIER_POWER_CUTS=1: cut before call {cut} of {}, {catalogue}; the disk is in {}\n{}",
            history.changes.len(),
            kept.display(),
            around.join("\n")
        );
    }
}

fn brief(change: &Change) -> String {
    format!("{change:?}").chars().take(160).collect()
}

#[test]
fn inv1_inv4_inv5_inv6_inv7_inv12_a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    let soak = setting("GREFFIER_SOAK").is_some();
    let first = setting("GREFFIER_SEED").unwrap_or(0);
    let count = setting("GREFFIER_POWER_CUTS").unwrap_or(if soak { 2000 } else { 100 });
    println!("GREFFIER_SEED={first} GREFFIER_POWER_CUTS={count} cuts the power again");
    let mut from = first;
    while from < first + count {
        let group = from / PER_HISTORY;
        let end = ((group + 1) * PER_HISTORY).min(first + count);
        let history = record_history(group);
        println!("history {group}: {} calls, cuts {from} to {}", history.changes.len(), end - 1);
        let next = AtomicU64::new(from);
        let work = || {
            loop {
                let seed = next.fetch_add(1, SeqCst);
                if seed >= end {
                    return;
                }
                cut(&history, seed);
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        from = end;
    }
}
