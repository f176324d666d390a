//! The journal's message ids: 128 random bits for each thing worth finding again, fixed for ever.
//!
//! Owns the table; `greffier.catalog` explains each id to the reader of `journalctl -x`. An id is never used again for
//! something else.
#![forbid(unsafe_code)]

/// One kind of message, as `journalctl MESSAGE_ID=…` finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId(&'static str);

impl MessageId {
    /// 32 lower-case hexadecimal digits.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The daemon serves.
pub const SERVICE_STARTED: MessageId = MessageId("bf3f02a2d3225aab6556a834150626c9");
/// The daemon stopped, by order.
pub const SERVICE_STOPPED: MessageId = MessageId("cf23bfcd4cabe369273713d581d7fd92");
/// The ledger cannot be written: nothing is served, sealed or purged (invariant 3).
pub const LEDGER_CLOSED: MessageId = MessageId("4d4ed01eb9e514c8adcd32f9865c5bc9");
/// The ledger can be written again.
pub const LEDGER_RESUMED: MessageId = MessageId("fc2c08a80b8be435c254186cddc5d9fe");
/// `Manager.State` changed: ready, degraded, closed.
pub const STATE_CHANGED: MessageId = MessageId("84873f2d700a7df212bfc016ca390af2");
/// A recording entered the archive.
pub const RECORDING_SEALED: MessageId = MessageId("55c4af546aeba65524f5f2a4427e4303");
/// A file was not taken: it lies in `.refused/`.
pub const RECORDING_REFUSED: MessageId = MessageId("3bf78ca434e4dc94a4f8d4d5d402a0b7");
/// Somebody was let in; the entry is named.
pub const ACCESS_GRANTED: MessageId = MessageId("7ef45e49d281544a42d65d63b953e03d");
/// Somebody was refused; the entry is named.
pub const ACCESS_DENIED: MessageId = MessageId("1c285e76bdc5d8ef771b71362b2c3da4");
/// A recording was destroyed.
pub const PURGE_DONE: MessageId = MessageId("64962387b742a9f6070fc1a3c2bc8868");
/// The clock is not believed: no purge until it is (invariant 11).
pub const CLOCK_SUSPECT: MessageId = MessageId("3b30f6c2d56fe49404d58e9bc041a55d");
/// A policy came into force.
pub const POLICY_LOADED: MessageId = MessageId("3fbaaf23de55ba2b112f7054ce34e871");
/// A policy was refused; the old one stays.
pub const POLICY_REFUSED: MessageId = MessageId("52ee8bd1e4d244281f755a88072eb029");
/// An object, a slot or the catalogue does not hold what it should.
pub const STORE_DAMAGED: MessageId = MessageId("9ee42351170580df41cae7e3bdb8e989");
/// The disk of the state directory has more or less room than before: what that stops.
pub const SPACE_CHANGED: MessageId = MessageId("c74e379779d246c020c21f166d878986");
/// The file system does not overwrite in place: destroyed keys may survive (invariant 7).
pub const MEDIUM_KEEPS: MessageId = MessageId("84e09d165e59475f843105f1b7fe064f");
/// A recording was opened in an emergency: it must be reviewed.
pub const ACCESS_EMERGENCY: MessageId = MessageId("78a91a11c837408f0fbc2bc8a9bd59fb");
/// A review is late.
pub const REVIEW_OVERDUE: MessageId = MessageId("2c2f38a26fcf61c7e280b17a6b3f6ff4");

/// All of them, by name: what the message catalogue must explain.
pub const ALL: [(&str, MessageId); 18] = [
    ("SERVICE_STARTED", SERVICE_STARTED),
    ("SERVICE_STOPPED", SERVICE_STOPPED),
    ("LEDGER_CLOSED", LEDGER_CLOSED),
    ("LEDGER_RESUMED", LEDGER_RESUMED),
    ("STATE_CHANGED", STATE_CHANGED),
    ("RECORDING_SEALED", RECORDING_SEALED),
    ("RECORDING_REFUSED", RECORDING_REFUSED),
    ("ACCESS_GRANTED", ACCESS_GRANTED),
    ("ACCESS_DENIED", ACCESS_DENIED),
    ("PURGE_DONE", PURGE_DONE),
    ("CLOCK_SUSPECT", CLOCK_SUSPECT),
    ("POLICY_LOADED", POLICY_LOADED),
    ("POLICY_REFUSED", POLICY_REFUSED),
    ("STORE_DAMAGED", STORE_DAMAGED),
    ("SPACE_CHANGED", SPACE_CHANGED),
    ("MEDIUM_KEEPS", MEDIUM_KEEPS),
    ("ACCESS_EMERGENCY", ACCESS_EMERGENCY),
    ("REVIEW_OVERDUE", REVIEW_OVERDUE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_128_bits_in_hex_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for (name, id) in ALL {
            assert!(
                id.as_str().len() == 32
                    && id.as_str().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "{name}"
            );
            assert!(seen.insert(id.as_str()), "{name}");
        }
    }
}
