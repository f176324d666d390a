//! Header, footer, trailer and key slot of the store.
#![no_main]

use greffier::core::format::header::Header;
use greffier::core::format::layout::Footer;
use greffier::core::format::slot::SlotBytes;
use greffier::core::format::trailer::Trailer;
use greffier::core::ids::RecordingId;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk() {
        let _header = Header::parse(header);
    }
    if let Some(footer) = bytes.first_chunk() {
        let _footer = Footer::parse(footer, bytes.len() as u64);
    }
    if let Some(slot) = bytes.first_chunk() {
        let _slot = SlotBytes::parse(slot);
    }
    let _trailer = Trailer::parse(bytes, RecordingId::from_bytes([0; 16]), 0);
});
