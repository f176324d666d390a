//! The ledger as it stands on the disk at this moment: full bundles, then the tail up to its last signed checkpoint. What
//! the daemon holds in memory does not count here.

use std::fs;
use std::path::Path;

use greffier::core::ledger::entry::Entry as Line;
use greffier::core::ledger::epoch::EpochKeys;
use greffier::core::ledger::tail::{TailHeader, recover};
use greffier::core::ledger::tile::{entries_path, parse_bundle};
use serde_json::Value;

/// One durable entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub line: String,
    value: Value,
}

impl Entry {
    fn new(line: &[u8]) -> Self {
        let line = String::from_utf8(line.to_vec()).unwrap();
        Self { value: serde_json::from_str(&line).unwrap(), line }
    }

    pub fn seq(&self) -> u64 {
        self.value["seq"].as_u64().unwrap()
    }

    pub fn event(&self) -> &str {
        self.value["event"].as_str().unwrap()
    }

    /// A text of the entry, empty when it has none.
    pub fn get(&self, key: &str) -> String {
        self.value[key].as_str().unwrap_or_default().to_owned()
    }

    /// A text of its data, empty when it has none.
    pub fn data(&self, key: &str) -> String {
        self.value["data"][key].as_str().unwrap_or_default().to_owned()
    }

    /// A number of its data.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.value["data"][key].as_u64()
    }
}

/// Reads the folder `ledger/`, also while the daemon writes to it.
pub fn read(ledger: &Path, vkey: &str) -> Vec<Entry> {
    // The tail first: the bundles that its header counts on are there already.
    let tail = fs::read(ledger.join("tail")).unwrap();
    let header = TailHeader::decode(&tail).unwrap();
    let mut epochs = EpochKeys::new(vkey.parse().unwrap());
    let mut entries = Vec::new();
    for n in 0..header.base.size() / 256 {
        let bundle = fs::read(ledger.join(entries_path(n, None))).unwrap();
        for line in parse_bundle(&bundle).unwrap() {
            epochs.note_entry(&Line::parse(line).unwrap()).unwrap();
            entries.push(Entry::new(line));
        }
    }
    let recovered = recover(&tail, &epochs, 0).unwrap();
    entries.extend(recovered.entries.iter().map(|entry| Entry::new(entry.line)));
    entries
}
