//! Recovery of a tail: an earlier checkpoint or an error, never a panic, never an entry that was not written.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;

use greffier::core::ledger::entry::Entry;
use greffier::core::ledger::epoch::EpochKeys;
use greffier::core::ledger::tail::{
    FRAME_OVERHEAD_BYTES, FrameKind, HEADER_BYTES, MAX_CHECKPOINT_BYTES, TailError, encode_frame, recover,
};
use ledger_support::{Site, append};
use proptest::prelude::*;

/// Three batches: created; a search with its detail and a rekey; one more entry under the new key.
fn three_batches() -> (Site, Vec<u8>, Vec<usize>) {
    let mut site = Site::new();
    let mut tail = site.tail_header(0, 5);
    let mut ends = vec![tail.len()];
    site.append_batch(&mut tail, 5, 0);
    ends.push(tail.len());

    site.add_with_detail("access.searched", "who", |_| ());
    site.rekey();
    for (seq, line) in site.lines.iter().enumerate().skip(1) {
        append(&mut tail, 5, FrameKind::Entry, line);
        if seq == 1 {
            append(&mut tail, 5, FrameKind::Detail, b"encrypted");
        }
    }
    append(&mut tail, 5, FrameKind::Checkpoint, site.kept[0].1.as_bytes());
    ends.push(tail.len());

    site.add("ledger.heartbeat", |_| ());
    site.append_batch(&mut tail, 5, 3);
    ends.push(tail.len());
    tail.resize(tail.len() + 512, 0);
    (site, tail, ends)
}

fn nothing_before(site: &Site) -> EpochKeys {
    EpochKeys::new(site.log.public.clone())
}

/// The sizes that a batch ended with, as `three_batches` makes them.
const SIZES: [u64; 4] = [0, 1, 3, 4];

#[test]
fn a_whole_tail_is_kept_whole() {
    let (site, tail, ends) = three_batches();
    let kept = recover(&tail, &nothing_before(&site), 0).unwrap();
    assert_eq!(kept.entries.iter().map(|e| e.line).collect::<Vec<_>>(), site.lines);
    assert_eq!(kept.entries[1].detail, Some(&b"encrypted"[..]));
    assert_eq!((kept.end_offset, kept.dropped_bytes, kept.dropped_frames), (ends[3] as u64, 0, 0));
    assert_eq!(kept.head.unwrap().1, site.head());
    assert_eq!(kept.prev, site.leaves[3]);
    assert_eq!(kept.epochs.latest().unwrap().0, 2);
}

#[test]
fn a_tail_never_written_to_is_empty() {
    let site = Site::new();
    let mut tail = site.tail_header(0, 5);
    tail.resize(3 * HEADER_BYTES, 0);
    let kept = recover(&tail, &nothing_before(&site), 0).unwrap();
    assert_eq!((kept.entries.len(), kept.head, kept.end_offset), (0, None, 4096));
}

#[test]
fn inv4_every_truncation_keeps_the_last_whole_batch() {
    let (site, tail, ends) = three_batches();
    for length in 0..tail.len() {
        let cut = &tail[..length];
        if length < HEADER_BYTES {
            assert!(matches!(recover(cut, &nothing_before(&site), 0), Err(TailError::Header(_))));
            continue;
        }
        let kept = recover(cut, &nothing_before(&site), 0).unwrap();
        let batch = ends.iter().rposition(|end| *end <= length).unwrap();
        assert_eq!(kept.frontier.size(), SIZES[batch], "cut at {length}");
        assert_eq!(kept.end_offset, ends[batch] as u64);
        assert_eq!(kept.frontier.root(), site.root_at(SIZES[batch]));
    }
}

#[test]
fn inv4_every_flipped_bit_before_a_later_checkpoint_is_fatal() {
    let (site, tail, ends) = three_batches();
    // Where the frame of the last checkpoint begins: from there on, no signed checkpoint follows.
    let last = ends[3] - FRAME_OVERHEAD_BYTES - site.head().len();
    // One bit of every byte: a CRC finds each single bit alike, and the signatures take their time.
    for place in 0..tail.len() {
        let mut bad = tail.clone();
        bad[place] ^= 1 << (place % 8);
        match recover(&bad, &nothing_before(&site), 0) {
            Err(error) => {
                assert!(place < last, "byte {place} is a torn end: {error}");
                if place >= HEADER_BYTES {
                    assert!(matches!(error, TailError::DamagedBefore { .. }), "{error}");
                }
            }
            Ok(kept) => {
                assert!(place >= last, "byte {place} lies before a signed checkpoint");
                // A flip in the zeros after the last batch loses nothing but that byte.
                let size = if place < ends[3] { 3 } else { 4 };
                assert_eq!(kept.frontier.size(), size);
                assert!(kept.dropped_bytes > 0);
            }
        }
    }
}

#[test]
fn frames_of_another_tail_or_place_do_not_count() {
    let (site, tail, ends) = three_batches();
    let mut other = site.tail_header(0, 6);
    other.extend_from_slice(&tail[HEADER_BYTES..]);
    let kept = recover(&other, &nothing_before(&site), 0).unwrap();
    assert_eq!(kept.frontier.size(), 0);

    let mut moved = tail[..ends[3]].to_vec();
    moved.extend_from_slice(&tail[ends[2]..ends[3]]);
    let kept = recover(&moved, &nothing_before(&site), 0).unwrap();
    assert_eq!((kept.frontier.size(), kept.dropped_bytes), (4, (ends[3] - ends[2]) as u64));
}

#[test]
fn whole_frames_that_contradict_the_ledger_are_fatal() {
    let (mut site, tail, ends) = three_batches();
    let good = &tail[..ends[3]];
    let fails = |kind, payload: &[u8]| {
        let mut bad = good.to_vec();
        append(&mut bad, 5, kind, payload);
        recover(&bad, &nothing_before(&three_batches().0), 0).unwrap_err()
    };
    assert!(matches!(fails(FrameKind::Entry, b"{}"), TailError::EntryFormat { .. }));
    assert!(matches!(fails(FrameKind::Entry, &site.lines[3]), TailError::Entry { .. }));
    assert!(matches!(fails(FrameKind::Detail, b"x"), TailError::Detail { .. }));
    assert!(matches!(fails(FrameKind::Checkpoint, site.kept[0].1.as_bytes()), TailError::Signature { .. }));
    assert!(matches!(fails(FrameKind::Checkpoint, site.head_at(3).as_bytes()), TailError::Checkpoint { .. }));
    assert!(matches!(fails(FrameKind::Checkpoint, &[0xFF]), TailError::Checkpoint { .. }));

    let mut next = Entry::parse(&site.lines[3]).unwrap().into_owned();
    next.seq = 4;
    let forked = next.to_line().unwrap();
    assert!(matches!(fails(FrameKind::Entry, &forked), TailError::Entry { .. }), "prev is of entry 3");
    site.add("ledger.created", |_| ());
    assert!(matches!(fails(FrameKind::Entry, &site.lines[4]), TailError::Epoch { .. }));
}

#[test]
fn a_tail_of_another_ledger_is_refused() {
    let (_, tail, _) = three_batches();
    let other = EpochKeys::new(ledger_support::Key::new(9).public);
    assert!(matches!(recover(&tail, &other, 0), Err(TailError::OtherLedger)));
}

#[test]
fn a_tail_after_a_roll_over_holds_the_last_checkpoint_and_no_entry() {
    let mut site = Site::new();
    while site.size() < 256 {
        site.add("ledger.heartbeat", |_| ());
    }
    let mut epochs = nothing_before(&site);
    for line in &site.lines {
        epochs.note_entry(&Entry::parse(line).unwrap()).unwrap();
    }
    let mut tail = site.tail_header(256, 6);
    site.append_batch(&mut tail, 6, 256);
    let kept = recover(&tail, &epochs, 0).unwrap();
    assert_eq!((kept.entries.len(), kept.frontier.size(), kept.prev), (0, 256, site.leaves[255]));
    assert_eq!(kept.head.unwrap().0.size, 256);
}

#[test]
fn frames_longer_than_their_type_allows_are_not_written() {
    let mut out = Vec::new();
    assert!(encode_frame(&mut out, 1, 0, FrameKind::Checkpoint, &vec![0; MAX_CHECKPOINT_BYTES]).is_ok());
    assert!(encode_frame(&mut out, 1, 0, FrameKind::Checkpoint, &vec![0; MAX_CHECKPOINT_BYTES + 1]).is_err());
    assert!(encode_frame(&mut out, 1, 0, FrameKind::Entry, &[0; 65_536]).is_err());
}

proptest! {
    #[test]
    fn inv10_any_bytes_after_a_header_are_read_without_panic(
        noise in prop::collection::vec(any::<u8>(), 0..300), keep in 0..4_usize,
    ) {
        let (site, tail, ends) = three_batches();
        let mut bad = tail[..ends[keep]].to_vec();
        bad.extend(noise);
        let kept = recover(&bad, &nothing_before(&site), 0).unwrap();
        prop_assert_eq!(kept.frontier.size(), SIZES[keep]);
    }
}

/// A tail whose last batch spans many sectors, and the same before that batch: the file as prepared.
fn before_and_after_a_long_batch() -> (Site, Vec<u8>, Vec<u8>) {
    let mut site = Site::new();
    let mut before = site.tail_header(0, 5);
    site.append_batch(&mut before, 5, 0);
    site.add("ledger.heartbeat", |_| ());
    site.append_batch(&mut before, 5, 1);
    let mut after = before.clone();
    for _ in 0..10 {
        site.add_with_detail("access.searched", &"x".repeat(200), |_| ());
    }
    site.append_batch(&mut after, 5, 2);
    let length = after.len().next_multiple_of(4096) + 4096;
    before.resize(length, 0);
    after.resize(length, 0);
    (site, before, after)
}

proptest! {
    /// Sectors reach the medium in any order; a power cut keeps any of them.
    #[test]
    fn inv4_a_batch_of_which_any_sectors_are_missing_is_torn_never_fatal(written in any::<[bool; 32]>()) {
        let (site, before, after) = before_and_after_a_long_batch();
        let mut tail = before.clone();
        for (sector, _) in written.iter().enumerate().filter(|(_, written)| **written) {
            let at = HEADER_BYTES + sector * 512;
            if let (Some(to), Some(from)) = (tail.get_mut(at..at + 512), after.get(at..at + 512)) {
                to.copy_from_slice(from);
            }
        }
        let kept = recover(&tail, &nothing_before(&site), 0).unwrap();
        let whole = tail == after;
        prop_assert_eq!(kept.frontier.size(), if whole { 12 } else { 2 });
        prop_assert_eq!(kept.dropped_bytes > 0, !whole && tail != before);
    }
}

#[test]
fn inv4_a_missing_sector_is_fatal_when_the_batch_may_have_been_acknowledged() {
    let (site, _, mut tail) = before_and_after_a_long_batch();
    let end = tail.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let sector = HEADER_BYTES + 4 * 512;
    tail[sector..sector + 512].fill(0);
    let known = nothing_before(&site);
    assert_eq!(recover(&tail, &known, 2).unwrap().frontier.size(), 2);
    assert!(matches!(recover(&tail, &known, 3), Err(TailError::DamagedBefore { .. })), "a witness saw more");

    let mut followed = tail.clone();
    followed[end] = 1;
    assert!(matches!(recover(&followed, &known, 0), Err(TailError::DamagedBefore { .. })), "a batch follows");

    // The first batch of a tail was there before the tail was.
    let mut tail = site.tail_header(0, 5);
    site.append_batch(&mut tail, 5, 0);
    tail[sector..sector + 512].fill(0);
    assert!(matches!(recover(&tail, &known, 0), Err(TailError::DamagedBefore { .. })));
}
