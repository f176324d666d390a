//! Which epoch key signs the checkpoint of which size: a small fold over `ledger.created` and `ledger.rekeyed`.
//!
//! Invariant: a rekeyed entry is the last of its batch and its own checkpoint is still signed by the key before, so the key
//! announced by entry `s` signs sizes from `s + 2` on; the key announced by entry 0 signs size 1 too.

use serde::Deserialize;

use super::entry::Entry;
use super::note::VerifierKey;

/// The epoch keys announced so far, and the log key that all of it hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochKeys {
    log_key: VerifierKey,
    announced: Vec<(u64, VerifierKey)>,
}

/// An entry that announces keys wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {why}")]
pub struct EpochError {
    /// The entry.
    pub seq: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

#[derive(Deserialize)]
struct Created<'a> {
    origin: &'a str,
    log_key: &'a str,
    epoch_key: &'a str,
}

#[derive(Deserialize)]
struct Rekeyed<'a> {
    epoch_key: &'a str,
}

impl EpochKeys {
    /// Nothing announced yet: before entry 0.
    pub fn new(log_key: VerifierKey) -> Self {
        Self { log_key, announced: Vec::new() }
    }

    /// The pinned log key.
    pub fn log_key(&self) -> &VerifierKey {
        &self.log_key
    }

    /// Takes in the next entry; all but the two that announce keys change nothing. Entry 0 must be `ledger.created`, with
    /// this origin and log key.
    pub fn note_entry(&mut self, entry: &Entry<'_>) -> Result<(), EpochError> {
        let fail = |why| EpochError { seq: entry.seq, why };
        let key = match (entry.seq, entry.event.as_ref()) {
            (0, "ledger.created") => {
                let data: Created<'_> =
                    entry.data_as().map_err(|_| fail("its data must hold origin, log_key and epoch_key"))?;
                if data.origin != self.log_key.name() || data.log_key != self.log_key.to_string() {
                    return Err(fail("it names another log key than the one given"));
                }
                data.epoch_key.parse::<VerifierKey>()
            }
            (0, _) => return Err(fail("the first entry must be ledger.created")),
            (_, "ledger.created") => return Err(fail("ledger.created can only be the first entry")),
            (_, "ledger.rekeyed") => {
                let data: Rekeyed<'_> = entry.data_as().map_err(|_| fail("its data must hold epoch_key"))?;
                data.epoch_key.parse::<VerifierKey>()
            }
            _ => return Ok(()),
        };
        let key = key.map_err(|_| fail("its epoch_key is not a verifier key"))?;
        let before = self.announced.last().map_or(&self.log_key, |(_, key)| key);
        if key.name() != self.log_key.name() {
            return Err(fail("its epoch_key is not named after the origin"));
        }
        if key.public() == self.log_key.public() || key.public() == before.public() {
            return Err(fail("its epoch_key is not a new key"));
        }
        self.announced.push((entry.seq, key));
        Ok(())
    }

    /// The key whose signature the checkpoint of `size` must carry. `None` while nothing is announced, and for size 0.
    pub fn in_force(&self, size: u64) -> Option<&VerifierKey> {
        let signs = |seq: u64| seq.saturating_add(1) < size || (seq == 0 && size == 1);
        self.announced.iter().rev().find(|(seq, _)| signs(*seq)).map(|(_, key)| key)
    }

    /// The key announced last, with the entry that announced it: what the next checkpoint but one is signed with.
    pub fn latest(&self) -> Option<(u64, &VerifierKey)> {
        self.announced.last().map(|(seq, key)| (*seq, key))
    }

    /// The entries that announced a key, in order: each but the first closed an epoch.
    pub fn announcements(&self) -> impl Iterator<Item = u64> + '_ {
        self.announced.iter().map(|(seq, _)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::empty_hash;
    use super::*;
    use crate::core::ledger::entry::Outcome;
    use crate::core::time::{BootId, Timestamp};
    use ed25519_dalek::SigningKey;
    use serde_json::value::RawValue;
    use std::borrow::Cow;

    fn key(seed: u8) -> VerifierKey {
        VerifierKey::new("a/b", SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes()).unwrap()
    }

    fn entry(seq: u64, event: &'static str, data: String) -> Entry<'static> {
        Entry {
            seq,
            time: Timestamp::from_micros(0).unwrap(),
            boot: BootId::from_bytes([0; 16]),
            up_micros: 0,
            prev: empty_hash(),
            event: event.into(),
            outcome: Outcome::Done,
            recording: None,
            source: None,
            session: None,
            purpose: None,
            reason: None,
            policy: None,
            data: Some(Cow::Owned(RawValue::from_string(data).unwrap())),
            detail: None,
        }
    }

    fn created(log: &VerifierKey, epoch: &VerifierKey) -> Entry<'static> {
        entry(0, "ledger.created", format!(r#"{{"origin":"a/b","log_key":"{log}","epoch_key":"{epoch}"}}"#))
    }

    fn rekeyed(seq: u64, epoch: &VerifierKey) -> Entry<'static> {
        entry(seq, "ledger.rekeyed", format!(r#"{{"epoch_key":"{epoch}","more":1}}"#))
    }

    #[test]
    fn the_checkpoint_of_a_rekeyed_entry_is_still_signed_by_the_old_key() {
        let mut epochs = EpochKeys::new(key(1));
        assert_eq!(epochs.in_force(1), None);
        epochs.note_entry(&created(&key(1), &key(2))).unwrap();
        epochs.note_entry(&entry(1, "ledger.started", "{}".into())).unwrap();
        epochs.note_entry(&rekeyed(5, &key(3))).unwrap();
        let in_force = [0, 1, 2, 5, 6, 7, 8].map(|size| epochs.in_force(size).cloned());
        assert_eq!(
            in_force,
            [None, Some(key(2)), Some(key(2)), Some(key(2)), Some(key(2)), Some(key(3)), Some(key(3))]
        );
        assert_eq!(epochs.latest(), Some((5, &key(3))));
    }

    #[test]
    fn wrong_announcements_are_refused() {
        let fresh = || EpochKeys::new(key(1));
        assert!(fresh().note_entry(&created(&key(9), &key(2))).is_err(), "another log key");
        assert!(fresh().note_entry(&created(&key(1), &key(1))).is_err(), "the log key as epoch key");
        assert!(
            fresh().note_entry(&entry(0, "ledger.started", "{}".into())).is_err(),
            "entry 0 is not created"
        );
        let mut epochs = fresh();
        epochs.note_entry(&created(&key(1), &key(2))).unwrap();
        assert!(epochs.note_entry(&rekeyed(3, &key(2))).is_err(), "the same key again");
        assert!(epochs.note_entry(&entry(3, "ledger.rekeyed", "{}".into())).is_err(), "no key");
        assert!(epochs.note_entry(&entry(3, "ledger.created", "{}".into())).is_err(), "created twice");
    }
}
