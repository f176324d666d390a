//! Receipts: what is read is written again byte for byte, and no altered receipt of a signed ledger proves another entry.
#![no_main]

mod signed;

use std::sync::LazyLock;

use greffier::core::ledger::checkpoint::SignedCheckpoint;
use greffier::core::ledger::hash::{leaf_hash, node_hash};
use greffier::core::ledger::receipt::Receipt;

static GOOD: LazyLock<(signed::Signed, String)> = LazyLock::new(|| {
    let ledger = signed::ledger();
    let [first, second, third] = [0, 1, 2].map(|n| leaf_hash(&ledger.lines[n]));
    assert_eq!(ledger.tree.root(), node_hash(&node_hash(&first, &second), &third));
    let receipt = Receipt::new(1, ledger.lines[1].clone(), vec![first, third], ledger.head.clone());
    let receipt = receipt.expect("a receipt");
    assert!(receipt.verify_inclusion().is_ok());
    (ledger, receipt.to_string())
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return altered(bytes) };
    if let Ok(receipt) = text.parse::<Receipt>() {
        assert_eq!(receipt.to_string(), text);
        judge(&receipt);
    }
});

/// Input that is no text tells how to alter a good receipt: 0xFF, then triples of place (u16) and what is added to the byte.
fn altered(bytes: &[u8]) {
    let Some((0xFF, edits)) = bytes.split_first() else { return };
    let mut text = GOOD.1.clone().into_bytes();
    for edit in edits.chunks_exact(3).take(8) {
        if let Some(byte) = text.get_mut(usize::from(u16::from_le_bytes([edit[0], edit[1]]))) {
            *byte = byte.wrapping_add(edit[2]);
        }
    }
    let Ok(text) = String::from_utf8(text) else { return };
    if let Ok(receipt) = text.parse::<Receipt>() {
        assert_eq!(receipt.to_string(), text);
        judge(&receipt);
    }
}

fn judge(receipt: &Receipt) {
    if receipt.verify_inclusion().is_err() {
        return;
    }
    let ledger = &GOOD.0;
    let index = usize::try_from(receipt.index()).expect("below the size");
    // Signatures are dear, and of an entry that is as it was there is nothing to prove.
    if ledger.lines.get(index).map(Vec::as_slice) != Some(receipt.entry()) {
        let verified = SignedCheckpoint::verify(receipt.checkpoint(), &ledger.log_key, &ledger.epoch_key);
        assert!(verified.is_err(), "nobody signed this");
    }
}
