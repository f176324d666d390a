//! Bundles, tiles and files of details: what is read is what is written again. The right edge of a tree of the tile's hashes
//! gives the same root as the tree as a whole.
#![no_main]

use greffier::core::ledger::details::{encode_details, parse_details};
use greffier::core::ledger::tile::{encode_bundle, encode_tile, parse_bundle, parse_tile};
use greffier::core::ledger::tree::{Frontier, root_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(lines) = parse_bundle(bytes) {
        assert_eq!(encode_bundle(&lines).expect("what was read can be written"), bytes);
    }
    if let Ok(hashes) = parse_tile(bytes) {
        assert_eq!(encode_tile(&hashes).expect("what was read can be written"), bytes);
        let mut edge = Frontier::new();
        hashes.iter().for_each(|hash| edge.push(*hash));
        assert_eq!(edge.root(), root_of(&hashes));
        let kept = Frontier::from_parts(edge.size(), edge.hashes().to_vec()).expect("its own parts");
        assert_eq!(kept, edge);
    }
    if let Ok(details) = parse_details(bytes) {
        assert_eq!(encode_details(&details).expect("what was read can be written"), bytes);
    }
});
