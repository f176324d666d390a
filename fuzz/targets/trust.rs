//! What comes from outside about witnesses: a trust policy with a checkpoint to judge, and the answer of a witness.
#![no_main]

use greffier::core::ledger::cosignature::Vkey;
use greffier::core::ledger::note::SignedNote;
use greffier::core::ledger::trust::TrustPolicy;
use greffier::core::ledger::witness::{SIZE_TYPE, read_answer};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let note = std::str::from_utf8(second).ok().and_then(|text| SignedNote::parse(text).ok());
    if let (Ok(policy), Some(note)) = (TrustPolicy::parse(first), note) {
        let verdict = policy.judge(&note);
        assert_eq!(verdict.signed().count() + verdict.missing().count(), policy.witnesses().len());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _key = text.parse::<Vkey>();
    }
    for status in [200, 409] {
        let _answer = read_answer(status, Some(SIZE_TYPE), bytes);
    }
});
