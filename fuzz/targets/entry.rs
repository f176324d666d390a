//! An entry that is read is written again and read as the same; its event and detail are read or refused, and what is read is
//! written as the same event.
#![no_main]

use greffier::core::event::{Detail, Event, Record};
use greffier::core::ledger::entry::Entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::parse(bytes) {
        let line = entry.to_line().expect("what was read can be written");
        let again = Entry::parse(&line).expect("what was written can be read");
        // One form only: whatever blanks or escapes the bytes had, the entry has one text.
        assert_eq!(again.to_line().expect("and written"), line);
        assert_eq!((again.seq, again.prev, again.detail), (entry.seq, entry.prev, entry.detail));
        if let Ok(record) = Record::from_entry(&entry) {
            let data = record.event.to_data().expect("data that was read can be written");
            let event = Event::from_data(record.event.name(), data.as_deref()).expect("and read");
            assert_eq!(event, record.event);
        }
    }
    if let Ok(detail) = Detail::parse(bytes) {
        let line = serde_json::to_vec(&detail).expect("what was read can be written");
        assert_eq!(Detail::parse(&line).expect("and read"), detail);
    }
});
