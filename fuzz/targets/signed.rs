//! A small signed ledger, made once for a target: what it alters must never be accepted.

use std::borrow::Cow;

use ed25519_dalek::{Signer as _, SigningKey};
use greffier::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use greffier::core::ledger::entry::{Entry, Outcome};
use greffier::core::ledger::hash::{empty_hash, leaf_hash};
use greffier::core::ledger::note::VerifierKey;
use greffier::core::ledger::tree::Frontier;
use greffier::core::time::{BootId, Timestamp};
use serde_json::value::RawValue;

/// Keys, entries, and the head that both keys sign.
#[allow(dead_code, reason = "each target uses its own part")]
pub struct Signed {
    pub log_key: VerifierKey,
    pub epoch_key: VerifierKey,
    pub lines: Vec<Vec<u8>>,
    pub tree: Frontier,
    pub head: String,
}

/// Three entries and their head.
pub fn ledger() -> Signed {
    let [log, epoch] = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let key = |private: &SigningKey| {
        VerifierKey::new("fuzz.example/greffier", private.verifying_key().as_bytes()).expect("a good name")
    };
    let (log_key, epoch_key) = (key(&log), key(&epoch));
    let created = format!(
        r#"{{"origin":"{}","log_key":"{log_key}","epoch_key":"{epoch_key}"}}"#,
        log_key.name()
    );
    let (mut tree, mut prev, mut lines) = (Frontier::new(), empty_hash(), Vec::new());
    let facts = [
        ("ledger.created", created),
        ("ledger.started", r#"{"version":"1"}"#.into()),
        ("ledger.stopped", r#"{"why":"service-stopped"}"#.into()),
    ];
    for (seq, (event, data)) in (0..).zip(facts) {
        let line = Entry {
            seq,
            time: Timestamp::from_micros(1_778_580_000_000_000).expect("in range"),
            boot: BootId::from_bytes([7; 16]),
            up_micros: 1,
            prev,
            event: event.into(),
            outcome: Outcome::Done,
            recording: None,
            source: None,
            session: None,
            purpose: None,
            reason: None,
            policy: None,
            data: Some(Cow::Owned(RawValue::from_string(data).expect("JSON"))),
            detail: None,
        };
        let line = line.to_line().expect("an entry");
        prev = leaf_hash(&line);
        tree.push(prev);
        lines.push(line);
    }
    let head = Checkpoint { origin: log_key.name().into(), size: tree.size(), root: tree.root() };
    let sign = |private: &SigningKey| private.sign(head.body().as_bytes()).to_bytes();
    let head = SignedCheckpoint::assemble(&head, &log_key, &sign(&log), &epoch_key, &sign(&epoch));
    Signed { log_key, epoch_key, lines, tree, head }
}
