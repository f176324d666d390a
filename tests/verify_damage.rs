//! Exhaustive damage: in a ledger of more than 600 entries every bit of the tail's frames, of the head and of the tiles is
//! flipped, 20,000 bits elsewhere as a seed says, every end cut off, every entry removed, every two neighbours
//! exchanged; the verifier must find each.
//!
//! `GREFFIER_SEED` replays a run. `GREFFIER_SOAK=1` flips every bit of everything and cuts at every byte.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a seed from the clock, a soak by the environment, and how long it took"
)]
#![allow(clippy::cast_possible_truncation, reason = "a few hundred entries")]

mod ledger_support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use greffier::core::ledger::entry::Outcome;
use greffier::core::ledger::tail::{FrameKind, HEADER_BYTES, scan};
use greffier::core::ledger::tile::{encode_bundle, parse_bundle};
use greffier::verify::{Code, Files, Options, Source, Verdict, verify_ledger};
use ledger_support::story::{confirm, open, seal, session_event, story};
use ledger_support::{Site, append, files_of};

/// Flips elsewhere than in tail, head and tiles.
const SEEDED_FLIPS: usize = 20_000;
const TAIL: &str = "tail";
const TAIL_NUMBER: u64 = 5;

fn soak() -> bool {
    std::env::var_os("GREFFIER_SOAK").is_some()
}

/// One change to the files of a ledger. What stays untouched is shared.
#[derive(Debug, Clone)]
enum Damage {
    Flip { path: Arc<str>, bit: usize },
    Cut { path: Arc<str>, length: usize },
    Replace { path: Arc<str>, what: String, bytes: Arc<[u8]> },
}

impl Damage {
    fn of(&self, files: &Files) -> Files {
        let mut files = files.clone();
        let (path, bytes) = match self {
            Self::Flip { path, bit } => {
                let mut bytes = files[path.as_ref()].to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                (path, bytes.into())
            }
            Self::Cut { path, length } => (path, files[path.as_ref()][..*length].into()),
            Self::Replace { path, bytes, .. } => (path, Arc::clone(bytes)),
        };
        files.insert(path.to_string(), bytes);
        files
    }

    fn in_words(&self) -> String {
        match self {
            Self::Flip { path, bit } => format!("{path}: bit {bit} flipped"),
            Self::Cut { path, length } => format!("{path}: cut to {length} bytes"),
            Self::Replace { path, what, .. } => format!("{path}: {what}"),
        }
    }
}

/// A ledger, and who checks it.
struct Ledger {
    options: Options,
    files: Files,
}

impl Ledger {
    fn new(site: &Site, files: Files, pinned: &[String]) -> Self {
        let pinned = pinned.iter().map(|text| ("pinned".to_owned(), text.clone())).collect();
        let options = Options {
            pinned,
            // The variants run beside each other; each needs no more than one thread.
            threads: NonZeroUsize::new(1),
            ..Options::new(Source::Memory(Arc::default()), site.log.public.clone())
        };
        let this = Self { options, files };
        assert_eq!(
            this.verify(this.files.clone()).map(|verdict| verdict.exit_code()),
            Some(0),
            "it is sound"
        );
        this
    }

    fn verify(&self, files: Files) -> Option<Verdict> {
        verify_ledger(&Options { source: Source::Memory(Arc::new(files)), ..self.options.clone() }).ok()
    }

    /// Whether a verdict other than sound is given. A ledger that cannot be read at all is no sound one.
    fn finds(&self, damage: &Damage) -> bool {
        self.verify(damage.of(&self.files)).is_none_or(|verdict| verdict.exit_code() != 0)
    }

    fn bytes(&self, path: &str) -> usize {
        self.files[path].len()
    }

    fn flips(&self, path: &str, bits: impl IntoIterator<Item = usize>) -> Vec<Damage> {
        let path: Arc<str> = path.into();
        bits.into_iter().map(|bit| Damage::Flip { path: Arc::clone(&path), bit }).collect()
    }

    fn every_bit(&self, path: &str) -> Vec<Damage> {
        self.flips(path, 0..self.bytes(path) * 8)
    }

    fn cuts(&self, path: &str, lengths: impl IntoIterator<Item = usize>) -> Vec<Damage> {
        let path: Arc<str> = path.into();
        lengths.into_iter().map(|length| Damage::Cut { path: Arc::clone(&path), length }).collect()
    }
}

/// On all cores; gives what was not found.
fn missed(ledger: &Ledger, all: &[Damage]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut missed = Vec::new();
        while let Some(damage) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !ledger.finds(damage) {
                missed.push(damage.in_words());
            }
        }
        missed
    };
    let threads = thread::available_parallelism().map_or(2, NonZeroUsize::get);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn assert_all_found(what: &str, ledger: &Ledger, all: &[Damage]) {
    let began = std::time::Instant::now();
    let missed = missed(ledger, all);
    println!("{what}: {} variants in {:.1} s", all.len(), began.elapsed().as_secs_f32());
    assert!(!all.is_empty(), "{what}: nothing was tried");
    let some: Vec<_> = missed.iter().take(10).collect();
    assert!(missed.is_empty(), "{what}: {} of {} not found: {some:?}", missed.len(), all.len());
}

/// One recording's life and one change of keys, then `size` entries in all. The last of them are of several kinds and carry
/// details.
fn site(size: u64) -> Site {
    let mut site = story();
    while site.size() < size - 4 {
        confirm(&mut site);
    }
    seal(&mut site);
    open(&mut site, Outcome::Denied);
    open(&mut site, Outcome::Granted);
    session_event(&mut site, "access.closed");
    site
}

/// 620 entries as an export, with details in clear.
fn exported() -> (Site, Ledger) {
    let site = site(620);
    let ledger = Ledger::new(&site, files_of(ledger_support::story::exported(&site).path()), &[]);
    (site, ledger)
}

/// 771 entries as a folder in service: three full bundles, and a tail of two batches: a refusal; a grant and its end.
fn live() -> (Site, Ledger) {
    let site = site(771);
    let dir = tempfile::tempdir().unwrap();
    site.live(dir.path());
    let mut files = files_of(dir.path());
    let mut tail = site.tail_header(768, TAIL_NUMBER);
    for (from, to) in [(768, 769), (769, 771)] {
        let mut batch = self::site(771);
        batch.lines.truncate(to);
        batch.leaves.truncate(to);
        batch.append_batch(&mut tail, TAIL_NUMBER, from);
    }
    files.insert(TAIL.into(), tail.into());
    // Bits of the last batch may look like a batch cut off by a power failure; then the head that was seen tells.
    let ledger = Ledger::new(&site, files, &[site.head()]);
    (site, ledger)
}

#[test]
fn inv10_every_flipped_bit_of_the_tail_is_found() {
    let (_, ledger) = live();
    let frames = HEADER_BYTES * 8..ledger.bytes(TAIL) * 8;
    assert_all_found("bits of the tail's frames", &ledger, &ledger.flips(TAIL, frames));
    // All of the header's bits are flipped in the test of its code; here one in each eighth byte, and all in a soak.
    let step = if soak() { 1 } else { 65 };
    assert_all_found(
        "bits of the tail's header",
        &ledger,
        &ledger.flips(TAIL, (0..HEADER_BYTES * 8).step_by(step)),
    );
}

#[test]
fn inv10_every_flipped_bit_of_heads_is_found() {
    let (_, ledger) = exported();
    assert_all_found("bits of the head", &ledger, &ledger.every_bit("checkpoint"));
}

/// A level-0 tile has 65,536 bits. Here bit k of each of its hashes is flipped at once, for each k in turn, and the verifier
/// must count every one of them; some are flipped alone as the seed says, and in a soak every one is.
#[test]
fn inv10_every_flipped_bit_of_the_tiles_is_found() {
    let (site, ledger) = exported();
    let tiles: Vec<&String> = ledger.files.keys().filter(|path| is_tile(path)).collect();
    assert_eq!(tiles.len(), 4, "three of level 0 and one of level 1");
    let (level_0, level_1): (Vec<&String>, Vec<&String>) =
        tiles.iter().partition(|path| path.starts_with("tile/0/"));
    for path in level_1 {
        assert_all_found(&format!("bits of {path}"), &ledger, &ledger.every_bit(path));
    }
    let began = std::time::Instant::now();
    for bit in 0..256 {
        let mut files = ledger.files.clone();
        for path in &level_0 {
            let mut bytes = files[path.as_str()].to_vec();
            bytes.chunks_exact_mut(32).for_each(|hash| hash[bit / 8] ^= 1 << (bit % 8));
            files.insert(path.to_string(), bytes.into());
        }
        let report = ledger.verify(files).unwrap().report;
        let findings: Vec<_> =
            report.findings().into_iter().filter(|it| it.code == Code::TileDamaged).collect();
        // One finding a bundle: its first entry, and how many others.
        let counted: u64 = findings.iter().map(|it| 1 + others(&it.sentence)).sum();
        assert_eq!(
            (findings.len(), counted),
            (level_0.len(), site.size()),
            "bit {bit} of every hash: {findings:?}"
        );
    }
    println!("bits of the tiles of level 0, a row at a time: {:.1} s", began.elapsed().as_secs_f32());
    let alone = if soak() {
        level_0.iter().flat_map(|path| ledger.every_bit(path)).collect()
    } else {
        seeded(&ledger, &level_0, 2_000)
    };
    assert_all_found("bits of the tiles of level 0, alone", &ledger, &alone);
}

/// What "and so for N others of its bundle" says.
fn others(sentence: &str) -> u64 {
    let Some((_, rest)) = sentence.split_once("and so for ") else { return 0 };
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn is_tile(path: &str) -> bool {
    path.starts_with("tile/") && !path.starts_with("tile/entries/")
}

#[test]
fn inv10_flipped_bits_elsewhere_are_found() {
    let (_, ledger) = exported();
    let elsewhere: Vec<&String> =
        ledger.files.keys().filter(|path| !is_tile(path) && *path != "checkpoint").collect();
    let all = if soak() {
        elsewhere.iter().flat_map(|path| ledger.every_bit(path)).collect()
    } else {
        seeded(&ledger, &elsewhere, SEEDED_FLIPS)
    };
    assert_all_found("bits elsewhere", &ledger, &all);
}

/// So many bits of these files, as the seed says.
fn seeded(ledger: &Ledger, paths: &[&String], count: usize) -> Vec<Damage> {
    let seed = std::env::var("GREFFIER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = seed.unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    println!("GREFFIER_SEED={seed} flips the same {count} bits again");
    let total: usize = paths.iter().map(|path| ledger.bytes(path) * 8).sum();
    let mut random = seed;
    let mut one = || {
        let mut bit = (split_mix(&mut random) % total as u64) as usize;
        for path in paths {
            let here = ledger.bytes(path) * 8;
            if bit < here {
                return Damage::Flip { path: path.as_str().into(), bit };
            }
            bit -= here;
        }
        panic!("a bit below the total is in one of them")
    };
    (0..count).map(|_| one()).collect()
}

/// SplitMix64: a stream of numbers that a seed gives again.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn inv4_every_truncation_is_found() {
    let (site, ledger) = live();
    // At the end of a batch the tail is whole in itself: only the head that was seen tells.
    let header = (0..HEADER_BYTES).step_by(if soak() { 1 } else { 37 });
    let ends: Vec<usize> = header.chain(HEADER_BYTES..ledger.bytes(TAIL)).collect();
    assert_all_found("ends of the tail", &ledger, &ledger.cuts(TAIL, ends));
    let unpinned = Ledger::new(&site, ledger.files.clone(), &[]);
    let tail = &ledger.files[TAIL];
    let heads: Vec<usize> = scan(tail, TAIL_NUMBER, HEADER_BYTES)
        .filter(|frame| frame.kind == FrameKind::Checkpoint)
        .map(|frame| frame.offset as usize + 9 + frame.payload.len())
        .collect();
    assert_eq!(heads.len(), 2);
    let cuts = ledger.cuts(TAIL, HEADER_BYTES..tail.len());
    let not_found = missed(&unpinned, &cuts);
    assert_eq!(not_found, [format!("tail: cut to {} bytes", heads[0])], "and without it every other one");

    let (_, ledger) = exported();
    let bundles: Vec<&String> =
        ledger.files.keys().filter(|path| path.starts_with("tile/entries/")).collect();
    for path in bundles {
        let step = if soak() { 1 } else { 61 };
        let mut lengths: Vec<usize> = (0..ledger.bytes(path)).step_by(step).collect();
        let mut end = 0;
        for line in parse_bundle(&ledger.files[path.as_str()]).unwrap() {
            end += 2 + line.len();
            lengths.extend([end - 1, end, end + 1].into_iter().filter(|end| *end < ledger.bytes(path)));
        }
        assert_all_found(&format!("ends of {path}"), &ledger, &ledger.cuts(path, lengths));
    }
    for path in ledger.files.keys().filter(|path| is_tile(path) || *path == "checkpoint") {
        let step = if soak() || path == "checkpoint" { 1 } else { 31 };
        let cuts = ledger.cuts(path, (0..ledger.bytes(path)).step_by(step));
        assert_all_found(&format!("ends of {path}"), &ledger, &cuts);
    }
}

#[test]
fn inv4_every_removal_and_every_exchange_of_neighbours_is_found() {
    let (_, ledger) = exported();
    let mut all = Vec::new();
    for path in ledger.files.keys().filter(|path| path.starts_with("tile/entries/")) {
        let lines = parse_bundle(&ledger.files[path]).unwrap();
        let mut replace = |what: String, lines: Vec<&[u8]>| {
            let bytes = encode_bundle(&lines).unwrap().into();
            all.push(Damage::Replace { path: path.as_str().into(), what, bytes });
        };
        for place in 0..lines.len() {
            let mut removed = lines.clone();
            removed.remove(place);
            replace(format!("line {place} removed"), removed);
            if place + 1 < lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(place, place + 1);
                replace(format!("lines {place} and {} exchanged", place + 1), swapped);
            }
        }
    }
    assert_eq!(all.len(), 620 + 617);
    assert_all_found("removals and exchanges in bundles", &ledger, &all);
}

/// In the tail all frames are written anew in their new places, with right checksums.
#[test]
fn inv4_removals_and_exchanges_in_the_tail_are_found() {
    let (_, ledger) = live();
    let tail = &ledger.files[TAIL];
    let frames: Vec<_> =
        scan(tail, TAIL_NUMBER, HEADER_BYTES).map(|frame| (frame.kind, frame.payload)).collect();
    assert_eq!(frames.len(), 7, "three entries, two details, two heads");
    let mut all = Vec::new();
    let mut replace = |what: String, frames: &[(FrameKind, &[u8])]| {
        let mut file = tail[..HEADER_BYTES].to_vec();
        frames.iter().for_each(|(kind, payload)| append(&mut file, TAIL_NUMBER, *kind, payload));
        all.push(Damage::Replace { path: TAIL.into(), what, bytes: file.into() });
    };
    for place in 0..frames.len() {
        let mut removed = frames.clone();
        removed.remove(place);
        // A sealed detail that is gone cannot be told from one that was never there; nor a head within, which is no loss.
        if frames[place].0 == FrameKind::Entry {
            replace(format!("frame {place} removed"), &removed);
        }
        if place + 1 < frames.len() {
            let mut swapped = frames.clone();
            swapped.swap(place, place + 1);
            replace(format!("frames {place} and {} exchanged", place + 1), &swapped);
        }
    }
    assert_all_found("removals and exchanges in the tail", &ledger, &all);
}
