//! Bundles, tiles and files of details: what is read is what is written again.
#![no_main]

use greffier::core::ledger::details::{encode_details, parse_details};
use greffier::core::ledger::tile::{encode_bundle, encode_tile, parse_bundle, parse_tile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(lines) = parse_bundle(bytes) {
        assert_eq!(encode_bundle(&lines).expect("what was read can be written"), bytes);
    }
    if let Ok(hashes) = parse_tile(bytes) {
        assert_eq!(encode_tile(&hashes).expect("what was read can be written"), bytes);
    }
    if let Ok(details) = parse_details(bytes) {
        assert_eq!(encode_details(&details).expect("what was read can be written"), bytes);
    }
});
