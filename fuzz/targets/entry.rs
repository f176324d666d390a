//! An entry that is read is written again byte for byte, and its event and detail are read or refused.
#![no_main]

use greffier::core::event::{Detail, Record};
use greffier::core::ledger::entry::Entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::parse(bytes) {
        let _event = Record::from_entry(&entry);
        let line = entry.to_line().expect("what was read can be written");
        assert!(Entry::parse(&line).is_ok());
    }
    let _detail = Detail::parse(bytes);
});
