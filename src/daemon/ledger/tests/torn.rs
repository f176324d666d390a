//! A torn end is dropped, said, and the ledger goes on; whatever was acknowledged stays (invariant 4).

use super::*;
use crate::core::ledger::tail::{FRAME_OVERHEAD_BYTES, FrameKind, HEADER_BYTES, TailHeader, scan};

/// Where each frame of a tail ends, and whether it is a checkpoint.
pub(super) fn frames(tail: &[u8]) -> Vec<(usize, bool)> {
    let number = TailHeader::decode(tail).unwrap().tail_number;
    scan(tail, number, HEADER_BYTES)
        .map(|frame| {
            let begin = usize::try_from(frame.offset).unwrap();
            (begin + FRAME_OVERHEAD_BYTES + frame.payload.len(), frame.kind == FrameKind::Checkpoint)
        })
        .collect()
}

/// A ledger of four batches, stopped.
fn four_batches() -> (Site, Vec<Arc<[u8]>>, Files) {
    let site = Site::new();
    let run = site.open();
    run.record([plain("1"), detailed("2")]);
    run.record([detailed("3")]);
    run.record([detailed("4"), plain("5"), detailed("6")]);
    let bytes = run.bytes();
    run.stop();
    let files = site.snapshot();
    (site, bytes, files)
}

/// Opens after damage: `kept` entries are there unchanged, the drop is an entry, and the tail goes on.
fn goes_on_after(site: &Site, bytes: &[Arc<[u8]>], kept: usize, dropped: bool, what: &str) {
    let run = site.open();
    assert_eq!(run.bytes()[..kept], bytes[..kept], "{what}");
    let more = &run.records()[kept..];
    assert_eq!(more.len(), usize::from(dropped), "{what}");
    if let Some(record) = more.first() {
        let Event::LedgerRecovered(recovered) = &record.event else { panic!("{what}: {record:?}") };
        assert!(recovered.why == "torn-tail" && recovered.dropped_bytes > 0, "{what}");
    }
    let size = run.record([detailed("goes on")]);
    site.verify(size + 1);
    let bytes = run.bytes();
    run.stop();
    let run = site.open();
    assert_eq!(run.bytes(), bytes, "{what}: once dropped, nothing more is");
    run.stop();
}

#[test]
fn inv4_a_tail_cut_at_any_frame_keeps_the_batches_before() {
    let (site, bytes, files) = four_batches();
    let tail = &files[&site.tail()];
    let frames = frames(tail);
    let first_batch = frames.iter().find(|(_, checkpoint)| *checkpoint).unwrap().0;
    let mut entries = 0;
    let mut ends = Vec::new();
    let number = TailHeader::decode(tail).unwrap().tail_number;
    for frame in scan(tail, number, HEADER_BYTES) {
        entries += usize::from(frame.kind == FrameKind::Entry);
        if frame.kind == FrameKind::Checkpoint {
            let begin = usize::try_from(frame.offset).unwrap();
            ends.push((begin + FRAME_OVERHEAD_BYTES + frame.payload.len(), entries));
        }
    }
    assert_eq!(ends.len(), 4);
    let cuts = frames.iter().flat_map(|(end, _)| [*end, end - 1, end + 1, end + 5]);
    for cut in cuts.filter(|cut| *cut >= first_batch && *cut <= ends[3].0) {
        site.restore(&files);
        site.damage("tail", |tail| tail[cut..].fill(0));
        let (end, kept) = *ends.iter().rev().find(|(end, _)| *end <= cut).unwrap();
        // What is left of a frame cut after its first byte is what was dropped.
        goes_on_after(
            &site,
            &bytes,
            kept,
            tail[end..cut].iter().any(|byte| *byte != 0),
            &format!("cut at {cut}"),
        );
        site.restore(&files);
        site.damage("tail", |tail| tail.truncate(cut));
        goes_on_after(&site, &bytes, kept, cut > end, &format!("file ends at {cut}"));
    }
}

#[test]
fn inv4_garbage_after_the_last_batch_is_dropped() {
    let (site, bytes, files) = four_batches();
    let end = frames(&files[&site.tail()]).last().unwrap().0;
    for (at, garbage) in
        [(0, &[1_u8, 200, 0, 0, 0, 7][..]), (0, &[0xFF; 700]), (900, b"x"), (3, &[3, 0, 0, 0, 0])]
    {
        site.restore(&files);
        site.damage("tail", |tail| tail[end + at..end + at + garbage.len()].copy_from_slice(garbage));
        goes_on_after(&site, &bytes, bytes.len(), true, &format!("{garbage:?} at {at}"));
    }
}

#[test]
fn inv4_a_batch_that_was_never_acknowledged_but_is_whole_is_kept() {
    // The crash came between the sync and the answer: nothing tells the two apart, and both are recovered.
    let (site, bytes, _) = four_batches();
    goes_on_after(&site, &bytes, bytes.len(), false, "whole");
}

/// Writes zeros over one whole sector in the middle of the last batch, as if it had never reached the medium.
fn lose_a_sector(site: &Site, from: u64) -> (usize, Vec<Arc<[u8]>>) {
    let run = site.open();
    run.record([plain("acknowledged")]);
    site.write_second_place(&run);
    let kept = run.bytes().len();
    let begin = frames(&read(&site.tail())).last().unwrap().0;
    run.record((0..12).map(|n| detailed(format!("{n}{}", "x".repeat(300)))));
    let bytes = run.bytes();
    run.stop();
    let sector = begin.next_multiple_of(512) + usize::try_from(from).unwrap() * 512;
    site.damage("tail", |tail| tail[sector..sector + 512].fill(0));
    (kept, bytes)
}

#[test]
fn inv4_a_batch_written_out_of_order_is_torn_though_its_checkpoint_is_whole() {
    for sector in 0..4 {
        let site = Site::new();
        let (kept, bytes) = lose_a_sector(&site, sector);
        goes_on_after(&site, &bytes, kept, true, &format!("sector {sector}"));
    }
}

#[test]
fn inv4_the_same_damage_is_fatal_once_the_batch_is_known_elsewhere() {
    let site = Site::new();
    let (_, bytes) = lose_a_sector(&site, 1);
    let head = head_of(&read(&site.tail()), bytes.len());
    let lagging = read(&site.second_place());
    std::fs::write(site.second_place(), &head).unwrap();
    assert!(matches!(site.refused(), OpenError::Tail(_)), "its head was published");

    std::fs::write(site.second_place(), lagging).unwrap();
    let kept = site.ledger_dir().join("checkpoints");
    std::fs::create_dir(&kept).unwrap();
    let kept = kept.join(bytes.len().to_string());
    std::fs::write(&kept, &head).unwrap();
    assert!(matches!(site.refused(), OpenError::Tail(_)), "its head was kept");

    std::fs::remove_file(kept).unwrap();
    site.open().stop();
}
