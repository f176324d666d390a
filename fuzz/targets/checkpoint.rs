//! Signed notes, checkpoints and verifier keys.
#![no_main]

use greffier::core::ledger::checkpoint::SignedCheckpoint;
use greffier::core::ledger::note::{SignedNote, VerifierKey};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _note = SignedNote::parse(text);
    if let Ok((checkpoint, _)) = SignedCheckpoint::read(text) {
        assert_eq!(checkpoint.body().parse(), Ok(checkpoint));
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});
