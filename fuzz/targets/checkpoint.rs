//! Signed notes, checkpoints and verifier keys: one form each, and no altered head is accepted.
#![no_main]

mod signed;

use std::sync::LazyLock;

use greffier::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use greffier::core::ledger::note::{SignedNote, VerifierKey};

static GOOD: LazyLock<(signed::Signed, Checkpoint)> = LazyLock::new(|| {
    let ledger = signed::ledger();
    let (head, _) = SignedCheckpoint::read(&ledger.head).expect("a head");
    assert_eq!(head.size, ledger.tree.size());
    assert_eq!(ledger.lines.len() as u64, head.size);
    (ledger, head)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return altered(bytes) };
    if let Ok(note) = SignedNote::parse(text) {
        assert_eq!(note.to_string(), text);
    }
    if let Ok((checkpoint, _)) = SignedCheckpoint::read(text) {
        assert_eq!(checkpoint.body().parse(), Ok(checkpoint));
    }
    verify(text);
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});

/// Input that is no text tells how to alter a good head: 0xFF, then pairs of place and what is added to the byte.
fn altered(bytes: &[u8]) {
    let Some((0xFF, edits)) = bytes.split_first() else { return };
    let mut head = GOOD.0.head.clone().into_bytes();
    for edit in edits.chunks_exact(3).take(8) {
        if let Some(byte) = head.get_mut(usize::from(u16::from_le_bytes([edit[0], edit[1]]))) {
            *byte = byte.wrapping_add(edit[2]);
        }
    }
    if let Ok(text) = str::from_utf8(&head) {
        verify(text);
    }
}

fn verify(text: &str) {
    let (ledger, head) = &*GOOD;
    // Signatures are dear, and of a head that is as it was there is nothing to prove.
    if SignedCheckpoint::read(text).is_ok_and(|(other, _)| other != *head) {
        let verified = SignedCheckpoint::verify(text, &ledger.log_key, &ledger.epoch_key);
        assert!(verified.is_err(), "nobody signed this");
    }
}
