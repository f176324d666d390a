//! Bytes that are not those that were signed: by a bad disk, or by somebody who holds no key.

use super::ledger_support::{Site, append, write};
use super::life::{at, confirm, life, long_life};
use super::vector::Vector;
use greffier::core::ledger::entry::Entry;
use greffier::core::ledger::hash::leaf_hash;
use greffier::core::ledger::tail::{FrameKind, HEADER_BYTES};

const BUNDLE: &str = "tile/entries/000.p/19";
const TILE: &str = "tile/0/000.p/19";

pub fn all() -> Vec<Vector> {
    let mut all = entries();
    all.extend(tiles());
    all.extend(heads());
    all.extend(details());
    all.extend(tails());
    all
}

fn entries() -> Vec<Vector> {
    let site = life();
    let long = long_life();
    let new = |name, what| Vector::of(name, what, &site);
    let start_of = |seq: u64| site.lines[..seq as usize].iter().map(|line| 2 + line.len()).sum::<usize>();
    vec![
        new("entry-flipped", "one bit of an entry is flipped")
            .flip(BUNDLE, start_of(at::OPENED) + 2 + 300)
            .finds(&[("entry-damaged", Some(at::OPENED))]),
        new("entry-flipped-first", "one bit of the first entry is flipped: the keys are announced there")
            .flip(BUNDLE, 2 + 200)
            .finds(&[("entry-damaged", Some(0))]),
        new("entry-flipped-last", "one bit of the last entry is flipped")
            .flip_near_end(BUNDLE, 4)
            .finds(&[("entry-damaged", Some(at::SIZE - 1))]),
        new("entry-length-flipped", "one bit of the length before an entry is flipped")
            .flip(BUNDLE, start_of(at::OPENED) + 1)
            .finds(&[("entry-damaged", Some(at::OPENED))]),
        Vector::of("entry-flipped-long", "one bit of the last entry of a full bundle is flipped", &long)
            .flip_near_end("tile/entries/000", 1)
            .finds(&[("entry-damaged", Some(255))]),
        new("entry-and-tile-changed", "an entry and its hash in the tile are changed together")
            .bundle(BUNDLE, |lines| lines[at::DENIED as usize] = respell(&lines[at::DENIED as usize]))
            .change(TILE, |bytes| {
                let hash = leaf_hash(&respell(&site.lines[at::DENIED as usize]));
                bytes[at::DENIED as usize * 32..][..32].copy_from_slice(&hash.0);
            })
            .finds(&[
                ("chain-broken", Some(at::OPENED)),
                ("fork", Some(at::REKEYED)),
                ("root-differs", Some(at::SIZE - 1)),
            ]),
        new("entry-removed", "an entry is taken out of its bundle")
            .bundle(BUNDLE, |lines| drop(lines.remove(at::OPENED as usize)))
            .finds(&[
                ("chain-broken", Some(at::OPENED)),
                ("entry-damaged", Some(17)),
                ("entry-order", Some(at::OPENED)),
                ("fork", Some(at::REKEYED)),
                ("root-differs", Some(at::SIZE - 1)),
                ("tile-damaged", Some(at::OPENED)),
            ]),
        new("entry-removed-last", "the last entry is taken out of its bundle")
            .bundle(BUNDLE, |lines| drop(lines.pop()))
            .finds(&[("entry-damaged", Some(at::SIZE - 1))]),
        new("entry-doubled", "an entry stands twice in its bundle")
            .bundle(BUNDLE, |lines| lines.insert(at::OPENED as usize, lines[at::OPENED as usize].clone()))
            .finds(&[
                ("bundle-damaged", Some(at::SIZE - 1)),
                ("chain-broken", Some(at::PROGRESS)),
                ("entry-damaged", Some(at::SIZE - 1)),
                ("entry-order", Some(at::PROGRESS)),
                ("fork", Some(at::REKEYED)),
                ("root-differs", Some(at::SIZE - 1)),
                ("tile-damaged", Some(at::PROGRESS)),
            ]),
        new("entries-swapped", "two neighbours have changed places")
            .bundle(BUNDLE, |lines| lines.swap(at::DENIED as usize, at::OPENED as usize))
            .finds(&[("entry-damaged", Some(at::DENIED))]),
        new("entry-inserted", "an entry that nobody signed is put between two")
            .bundle(BUNDLE, |lines| lines.insert(at::OPENED as usize, respell(&lines[at::OPENED as usize])))
            .finds(&[
                ("bundle-damaged", Some(at::SIZE - 1)),
                ("chain-broken", Some(at::PROGRESS)),
                ("entry-damaged", Some(at::OPENED)),
                ("entry-order", Some(at::PROGRESS)),
                ("fork", Some(at::REKEYED)),
                ("root-differs", Some(at::SIZE - 1)),
                ("tile-damaged", Some(at::PROGRESS)),
            ]),
        new("bundle-longer", "bytes follow the last entry of a bundle")
            .change(BUNDLE, |bytes| bytes.extend([0, 1, b'x']))
            .finds(&[("bundle-damaged", Some(at::SIZE - 1))]),
        new("bundle-cut", "the last byte of a bundle is gone")
            .change(BUNDLE, |bytes| bytes.truncate(bytes.len() - 1))
            .finds(&[("entry-damaged", Some(at::SIZE - 1))]),
        new("bundle-empty", "a bundle of no bytes")
            .change(BUNDLE, Vec::clear)
            .finds(&[("entry-damaged", Some(0))]),
        new("bundle-missing", "a bundle is not there").without(BUNDLE).lacks(&[("bundle-missing", Some(0))]),
        Vector::of("truncated", "the last bundle of a ledger and its tiles are gone, the head is not", &long)
            .without("tile/entries/001.p/44")
            .without("tile/0/001.p/44")
            .lacks(&[("bundle-missing", Some(256))]),
        new("bundles-of-another-ledger", "the entries are those of another ledger of the same size")
            .with(BUNDLE, bundle_of(&other()))
            .finds(&[
                ("checkpoint-damaged", Some(at::REKEYED)),
                ("detail-damaged", Some(3)),
                ("entry-damaged", Some(at::SIZE - 1)),
                ("fork", Some(2)),
                ("root-differs", Some(at::SIZE - 1)),
                ("tile-damaged", Some(1)),
            ]),
    ]
}

/// Another archive's life: as many entries, other contents, the same keys.
fn other() -> Site {
    let mut site = Site::new();
    while site.size() < at::SIZE {
        confirm(&mut site);
    }
    site
}

fn bundle_of(site: &Site) -> Vec<u8> {
    greffier::core::ledger::tile::encode_bundle(&site.lines).unwrap()
}

/// The same entry with another reason, as an entry that a reader understands.
fn respell(line: &[u8]) -> Vec<u8> {
    let mut entry = Entry::parse(line).unwrap().into_owned();
    entry.reason = "accident".parse().ok();
    entry.to_line().unwrap()
}

fn tiles() -> Vec<Vector> {
    let site = life();
    let long = long_life();
    let new = |name, what| Vector::of(name, what, &site);
    vec![
        new("tile-flipped", "one bit of a hash in a tile is flipped")
            .flip(TILE, 32 * 7)
            .finds(&[("tile-damaged", Some(7))]),
        Vector::of("tile-flipped-full", "one bit of the last hash of a full tile is flipped", &long)
            .flip("tile/0/000", 32 * 255)
            .finds(&[("tile-damaged", Some(255))]),
        Vector::of("tile-flipped-level-1", "one bit of a tile of level 1 is flipped", &long)
            .flip("tile/1/000.p/1", 5)
            .finds(&[("tile-damaged", None)]),
        new("tile-cut", "a tile ends in the middle of a hash")
            .change(TILE, |bytes| bytes.truncate(bytes.len() - 1))
            .finds(&[("tile-damaged", Some(0))]),
        new("tile-short", "a tile holds one hash too few")
            .change(TILE, |bytes| bytes.truncate(bytes.len() - 32))
            .finds(&[("tile-damaged", Some(0))]),
        new("tile-swapped", "two hashes of a tile have changed places")
            .change(TILE, |bytes| {
                let (left, right) = bytes.split_at_mut(32 * 6);
                left[32 * 5..].swap_with_slice(&mut right[..32]);
            })
            .finds(&[("tile-damaged", Some(5))]),
        new("tile-missing", "a tile is not there").without(TILE).lacks(&[("tile-missing", None)]),
        new("tile-missing-entry-flipped", "a tile is not there, and one bit of an entry is flipped")
            .without(TILE)
            .replace(BUNDLE, "theft", "thett")
            .finds(&[
                ("chain-broken", Some(at::DENIED)),
                ("fork", Some(at::REKEYED)),
                ("root-differs", Some(at::SIZE - 1)),
                ("tile-missing", None),
            ]),
    ]
}

fn heads() -> Vec<Vector> {
    let site = life();
    let new = |name, what| Vector::of(name, what, &site);
    let head = site.head();
    let line = |place: usize| head.lines().nth(place).unwrap().to_owned() + "\n";
    vec![
        new("checkpoint-size-flipped", "the size in the head is another one")
            .replace("checkpoint", "\n19\n", "\n18\n")
            .rename(BUNDLE, "tile/entries/000.p/18")
            .rename(TILE, "tile/0/000.p/18")
            .finds(&[
                ("bundle-damaged", Some(17)),
                ("tile-damaged", Some(0)),
                ("head-signature", None),
                ("root-differs", Some(17)),
            ]),
        new("checkpoint-root-flipped", "the root in the head is another one")
            .change("checkpoint", |bytes| bytes[25] ^= 3)
            .finds(&[("head-signature", None), ("root-differs", Some(at::SIZE - 1))]),
        new("checkpoint-signature-flipped", "one bit of a signature on the head is flipped")
            .change("checkpoint", |bytes| {
                let at = bytes.len() - 30;
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            })
            .finds(&[("head-signature", None)]),
        new("checkpoint-origin-changed", "the head is that of another origin")
            .replace("checkpoint", "example.org", "example.net")
            .finds(&[("head-signature", None)]),
        new("checkpoint-extension", "the head has a fourth line, which this ledger never writes")
            .replace("checkpoint", "\n\n", "\nmore\n\n")
            .finds(&[("head-damaged", None), ("head-missing", None)]),
        new("checkpoint-zero-before-size", "the size in the head begins with a zero")
            .replace("checkpoint", "\n19\n", "\n019\n")
            .finds(&[("head-damaged", None), ("head-missing", None)]),
        new("checkpoint-cut", "the line feed at the end of the head is gone")
            .change("checkpoint", |bytes| bytes.truncate(bytes.len() - 1))
            .finds(&[("head-damaged", None), ("head-missing", None)]),
        new("checkpoint-unsigned", "the head has no signature line")
            .change("checkpoint", |bytes| bytes.truncate(bytes.len() - line(4).len() - line(5).len()))
            .finds(&[("head-damaged", None), ("head-missing", None)]),
        new("checkpoint-not-text", "the head is no text")
            .with("checkpoint", [0xFF, 0xFE, 0, 1])
            .finds(&[("head-damaged", None), ("head-missing", None)]),
        new("checkpoint-missing", "neither a head nor a tail: it is no ledger")
            .without("checkpoint")
            .unreadable(),
        new("kept-checkpoint-flipped", "one bit of a kept checkpoint is flipped")
            .change("checkpoints/16", |bytes| bytes[30] ^= 1)
            .finds(&[("checkpoint-damaged", Some(at::REKEYED))]),
        new("kept-checkpoint-renamed", "a kept checkpoint stands under the size of another")
            .with("checkpoints/15", site.kept[0].1.as_bytes())
            .finds(&[("checkpoint-damaged", Some(14))]),
        new("kept-checkpoint-missing", "the checkpoint that closes an epoch is not there")
            .without("checkpoints/16")
            .finds(&[("epoch-unclosed", Some(at::REKEYED))]),
        new("kept-checkpoints-missing", "no checkpoint that closes an epoch is there")
            .without_below("checkpoints")
            .lacks(&[("epochs-missing", None)]),
    ]
}

fn details() -> Vec<Vector> {
    let site = life();
    let new = |name, what| Vector::of(name, what, &site);
    let (first, second) = (site.details[0].0, site.details[1].0);
    vec![
        new("detail-flipped", "one bit of a detail is flipped")
            .change("details.jsonl", |bytes| bytes[60] ^= 1)
            .finds(&[("detail-damaged", Some(first))]),
        new("detail-salt-changed", "the salt of a detail is another one")
            .replace("details.jsonl", "AAAA", "BAAA")
            .finds(&[("detail-damaged", Some(first))]),
        new("detail-blank-added", "a blank is added to a detail: the same JSON, other bytes")
            .replace("details.jsonl", "\"salt\"", " \"salt\"")
            .finds(&[("detail-damaged", Some(first))]),
        new("details-swapped", "two details have changed places, each with the number of its entry")
            .change("details.jsonl", |bytes| swap_lines(bytes, |_| ()))
            .finds(&[
                ("detail-missing", Some(first)),
                ("detail-damaged", Some(first)),
                ("detail-damaged", Some(second)),
            ]),
        new("details-exchanged", "two details have changed their numbers and so their entries")
            .change("details.jsonl", |bytes| {
                swap_lines(bytes, |lines| {
                    let (a, b) = (format!("\"seq\":{first},"), format!("\"seq\":{second},"));
                    lines[0] = lines[0].replace(&b, &a);
                    lines[1] = lines[1].replace(&a, &b);
                });
            })
            .finds(&[("detail-damaged", Some(first)), ("detail-damaged", Some(second))]),
        new("detail-doubled", "a detail stands there twice")
            .change("details.jsonl", |bytes| {
                let line = format!("{}\n", site.details[0].1);
                bytes.splice(0..0, line.into_bytes());
            })
            .finds(&[("detail-damaged", Some(first))]),
        new("detail-of-none", "a detail of an entry that commits to none")
            .change("details.jsonl", |bytes| {
                bytes.splice(
                    0..0,
                    *br#"{"seq":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}"#.first_chunk::<43>().unwrap(),
                );
                bytes.insert(43, b'\n');
            })
            .finds(&[("detail-damaged", Some(1))]),
        new("detail-beyond", "a detail of an entry that the ledger does not have")
            .change("details.jsonl", |bytes| {
                bytes.extend(b"{\"seq\":99,\"salt\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}\n")
            })
            .finds(&[("detail-damaged", None)]),
        new("detail-missing", "details are left out, and no entry says that they were destroyed")
            .change("details.jsonl", |bytes| {
                let text = String::from_utf8(bytes.clone()).unwrap();
                *bytes = text.lines().step_by(2).map(|line| format!("{line}\n")).collect::<String>().into();
            })
            .finds(&[("detail-missing", Some(second))]),
        new("detail-cut", "the file of details ends within a line")
            .change("details.jsonl", |bytes| bytes.truncate(bytes.len() - 5))
            .finds(&[("detail-damaged", site.details.last().map(|(seq, _)| *seq))]),
    ]
}

fn swap_lines(bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> =
        String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned).collect();
    lines.swap(0, 1);
    change(&mut lines);
    *bytes = lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
}

fn tails() -> Vec<Vector> {
    let site = life();
    let new = |name, what| Vector::live(name, what, &site);
    let details = |seq: u64| site.details.iter().filter(move |(of, _)| *of < seq);
    // Where the frame of an entry begins.
    let frame = |seq: u64| {
        HEADER_BYTES
            + site.lines[..seq as usize].iter().map(|line| 9 + line.len()).sum::<usize>()
            + details(seq).map(|(_, text)| 9 + text.len()).sum::<usize>()
    };
    // The folder with a tail of entries that are not those of the head.
    let tail_of = |entries: &[Vec<u8>]| {
        let mut tail = site.tail_header(0, 5);
        for line in entries {
            append(&mut tail, 5, FrameKind::Entry, line);
        }
        append(&mut tail, 5, FrameKind::Checkpoint, site.head().as_bytes());
        tail
    };
    let mut removed = site.lines.clone();
    removed.remove(at::OPENED as usize);
    let mut swapped = site.lines.clone();
    swapped.swap(at::DENIED as usize, at::OPENED as usize);
    let two_batches = {
        let dir = tempfile::tempdir().unwrap();
        let mut early = super::life::day();
        let mut tail = early.tail_header(0, 5);
        early.append_batch(&mut tail, 5, 0);
        let size = early.size();
        confirm(&mut early);
        early.append_batch(&mut tail, 5, size);
        write(dir.path(), "tail", &tail);
        Vector::live("tail-damaged-before-head", "an early batch is damaged, a later one is not", &early)
            .with("tail", tail)
            .flip("tail", HEADER_BYTES + 100)
            .finds(&[("tail-damaged", Some(0)), ("head-missing", None)])
    };
    vec![
        two_batches,
        new("tail-entry-flipped", "one bit of an entry in the tail is flipped")
            .flip("tail", frame(at::OPENED) + 5 + 100)
            .finds(&[("tail-damaged", Some(at::OPENED)), ("head-missing", None)]),
        new("tail-crc-flipped", "one bit of the checksum of a frame is flipped")
            .flip("tail", frame(at::OPENED) - 1)
            .finds(&[("tail-damaged", Some(at::DENIED)), ("head-missing", None)]),
        new("tail-header-flipped", "one bit of the header of the tail is flipped")
            .flip("tail", 100)
            .finds(&[("tail-damaged", None), ("head-missing", None)]),
        new("tail-entry-removed", "an entry is taken out of the tail, and all frames moved up")
            .with("tail", tail_of(&removed))
            .finds(&[("tail-damaged", Some(at::OPENED)), ("head-missing", None)]),
        new("tail-entries-swapped", "two entries of the tail have changed places")
            .with("tail", tail_of(&swapped))
            .finds(&[("tail-damaged", Some(at::DENIED)), ("head-missing", None)]),
        new("tail-torn", "a batch without a checkpoint follows the last head: a power cut")
            .change("tail", |bytes| {
                bytes.truncate(bytes.len() - 4096);
                bytes.extend([1, 40, 0, 0, 0, b'{']);
            })
            .lacks(&[("tail-torn", Some(at::SIZE))]),
        new("tail-empty", "the tail holds no head")
            .with("tail", site.tail_header(0, 5))
            .without_below("checkpoints")
            .lacks(&[("head-missing", None)]),
        new("tail-cut", "the tail is cut within its header")
            .change("tail", |bytes| bytes.truncate(1000))
            .finds(&[("tail-damaged", None), ("head-missing", None)]),
    ]
}
