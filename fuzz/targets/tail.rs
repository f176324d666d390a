//! A tail of any bytes: header, frames, recovery. Never a panic, never an entry that is not covered by a checkpoint.
#![no_main]

use greffier::core::ledger::epoch::EpochKeys;
use greffier::core::ledger::note::VerifierKey;
use greffier::core::ledger::tail::{HEADER_BYTES, TailHeader, log_id, recover, scan};
use greffier::core::ledger::{hash::empty_hash, tree::Frontier};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let key = VerifierKey::new("fuzz.example/greffier", &[7; 32]).expect("a name of this form is allowed");
    let _header = TailHeader::decode(bytes);
    let _recovered = recover(bytes, &EpochKeys::new(key.clone()), 0);
    // With a right header, so that frames are reached.
    let header = TailHeader { log_id: log_id(&key), tail_number: 1, prev: empty_hash(), base: Frontier::new() };
    let mut file = header.encode().to_vec();
    file.extend_from_slice(bytes);
    for _frame in scan(&file, 1, HEADER_BYTES) {}
    if let Ok(recovered) = recover(&file, &EpochKeys::new(key), 0) {
        assert!(recovered.entries.is_empty(), "no key signed anything");
    }
});
