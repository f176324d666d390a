//! Exhaustive damage: in a ledger of more than 600 entries every bit of the tail's frames, of the head and of the tiles is
//! flipped in turn, 20,000 bits elsewhere as a seed says, every end cut off, every entry removed, every two neighbours
//! exchanged; the verifier must find each.
//!
//! `GREFFIER_SEED` replays a run. `GREFFIER_SOAK=1` flips every bit of everything and cuts at every byte.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
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
use greffier::verify::{Files, Options, Source, Verdict, verify_ledger};
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

/// 776 entries as a folder in service: three full bundles, and a tail of two batches with the last eight.
fn live() -> (Site, Ledger) {
    let site = site(776);
    let dir = tempfile::tempdir().unwrap();
    site.live(dir.path());
    let mut files = files_of(dir.path());
    let mut tail = site.tail_header(768, TAIL_NUMBER);
    for (from, to) in [(768, 772), (772, 776)] {
        let mut batch = self::site(776);
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
    // All of the header's bits are flipped beside its code; here one of each byte, and all in a soak.
    let step = if soak() { 1 } else { 9 };
    assert_all_found(
        "bits of the tail's header",
        &ledger,
        &ledger.flips(TAIL, (0..HEADER_BYTES * 8).step_by(step)),
    );
}

#[test]
fn inv10_every_flipped_bit_of_heads_and_tiles_is_found() {
    let (_, ledger) = exported();
    assert_all_found("bits of the head", &ledger, &ledger.every_bit("checkpoint"));
    let tiles: Vec<String> = ledger.files.keys().filter(|path| is_tile(path)).cloned().collect();
    assert_eq!(tiles.len(), 4, "three of level 0 and one of level 1");
    for path in tiles {
        assert_all_found(&format!("bits of {path}"), &ledger, &ledger.every_bit(&path));
    }
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
        let seed = std::env::var("GREFFIER_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
        });
        println!("GREFFIER_SEED={seed} flips the same bits again");
        let total: usize = elsewhere.iter().map(|path| ledger.bytes(path) * 8).sum();
        let mut random = seed;
        (0..SEEDED_FLIPS)
            .flat_map(|_| {
                let mut bit = (split_mix(&mut random) % total as u64) as usize;
                let path = elsewhere.iter().find(|path| {
                    let here = ledger.bytes(path) * 8;
                    let found = bit < here;
                    if !found {
                        bit -= here;
                    }
                    found
                });
                ledger.flips(path.unwrap(), [bit])
            })
            .collect::<Vec<_>>()
    };
    assert_all_found("bits elsewhere", &ledger, &all);
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
    assert_all_found("ends of the tail", &ledger, &ledger.cuts(TAIL, 0..ledger.bytes(TAIL)));
    let unpinned = Ledger::new(&site, ledger.files.clone(), &[]);
    let tail = &ledger.files[TAIL];
    let heads: Vec<usize> = scan(tail, TAIL_NUMBER, HEADER_BYTES)
        .filter(|frame| frame.kind == FrameKind::Checkpoint)
        .map(|frame| frame.offset as usize + 9 + frame.payload.len())
        .collect();
    assert_eq!(heads.len(), 2);
    let cuts = ledger.cuts(TAIL, 0..tail.len());
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
    assert!(frames.len() > 10);
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
