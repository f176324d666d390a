//! Receipts and consistency proofs while the ledger grows, over the edge of the tail, and after a start.

use super::*;
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::proof::verify_consistency;
use crate::core::ledger::receipt::Receipt;

fn many(run: &Run, count: u64) {
    run.record((0..count).map(|n| plain(n.to_string())));
}

fn head(run: &Run) -> Checkpoint {
    SignedCheckpoint::read(&run.ledger.head().checkpoint).unwrap().0
}

/// The receipt of each of these entries proves the line that is stored, under the durable head.
fn receipts_hold(site: &Site, run: &Run, entries: impl IntoIterator<Item = u64>) {
    let durable = run.ledger.head();
    for entry in entries {
        let text = run.opened.reader.receipt(entry, &durable).unwrap();
        let receipt: Receipt = text.parse().unwrap();
        assert_eq!((receipt.index(), receipt.checkpoint()), (entry, durable.checkpoint.as_ref()));
        let stored = run.opened.reader.entries(entry, 1, usize::MAX).unwrap();
        assert_eq!(receipt.entry(), stored[0].line.as_ref());
        assert_eq!(receipt.detail(), None);
        receipt.verify_inclusion().unwrap();
        receipt.head().1.verify(&site.log_key).unwrap();
    }
}

/// Every head of `heads` goes on from each earlier one.
fn consistency_holds(run: &Run, heads: &[Checkpoint]) {
    for (place, new) in heads.iter().enumerate() {
        for old in &heads[..=place] {
            let path = run.opened.reader.consistency(old.size, new.size).unwrap();
            verify_consistency(old.size, &old.root, new.size, &new.root, &path).unwrap();
        }
    }
}

#[test]
fn proofs_hold_while_the_ledger_grows_and_after_a_start() {
    let site = Site::new();
    let run = site.open();
    let mut heads = vec![head(&run)];
    for more in [1, 3, 250, 1, 1, 200, 60, 300] {
        many(&run, more);
        heads.push(head(&run));
        let size = run.size();
        receipts_hold(&site, &run, [0, size / 3, size / 2, size.saturating_sub(257), size - 1]);
    }
    receipts_hold(&site, &run, (0..run.size()).step_by(13));
    consistency_holds(&run, &heads);
    run.stop();

    let run = site.open();
    receipts_hold(&site, &run, (0..run.size()).step_by(17));
    many(&run, 2);
    heads.push(head(&run));
    receipts_hold(&site, &run, (0..run.size()).rev().step_by(41));
    consistency_holds(&run, &heads);
    run.stop();
}

#[test]
fn proofs_reach_over_full_and_unfinished_tiles_of_higher_levels() {
    let site = Site::new();
    let run = site.open();
    let mut heads = Vec::new();
    // Before, at and behind the entry that completes the first tile of level 1.
    for more in [256 * 200, 256 * 55, 254, 1, 1, 700] {
        many(&run, more);
        heads.push(head(&run));
        receipts_hold(&site, &run, [0, 255, 256, 30_000, run.size() / 2, run.size() - 1]);
    }
    assert!(run.size() > 65_536);
    consistency_holds(&run, &heads);
    run.stop();
    let run = site.open();
    consistency_holds(&run, &heads);
    receipts_hold(&site, &run, (0..run.size()).step_by(4001));
    run.stop();
}

#[test]
fn inv10_from_a_damaged_or_missing_tile_no_proof_comes() {
    let site = Site::new();
    let run = site.open();
    many(&run, 700);
    let old = head(&run);
    // Until both bundles have left the tail.
    while run.ledger.shared.recent().base < 512 {
        many(&run, 1);
    }
    let durable = run.ledger.head();
    site.damage("tile/0/001", |bytes| bytes[32 * 7] ^= 1);
    let error = run.opened.reader.receipt(256 + 8, &durable).unwrap_err();
    assert!(error.to_string().contains("the tiles"), "{error}");
    // An entry of another bundle needs the root of that tile.
    assert!(run.opened.reader.receipt(3, &durable).is_err());
    assert!(run.opened.reader.consistency(old.size - 300, durable.size).is_err());
    run.stop();

    let run = site.open();
    for (bytes, expected) in
        [(Some(vec![0; 255 * 32]), "not full"), (Some(vec![0; 31]), "cut off"), (None, "missing")]
    {
        match bytes {
            Some(bytes) => site.damage("tile/0/001", |tile| *tile = bytes),
            None => std::fs::remove_file(site.ledger_dir().join("tile/0/001")).unwrap(),
        }
        let error = run.opened.reader.receipt(300, &durable).unwrap_err();
        let text = crate::daemon::errors::chain(&error);
        assert!(text.contains("tile/0/001") && text.contains(expected), "{text}");
    }
    run.stop();
}
