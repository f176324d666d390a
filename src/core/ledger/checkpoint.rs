//! Tree heads (C2SP tlog-checkpoint) with this ledger's two signatures: of the log key and of the epoch key.
//!
//! Must never call a head good that carries one of the two only.

use std::str::FromStr;

use super::hash::Hash;
use super::note::{NoteError, SignedNote, VerifierKey, check_name, signature_line};

/// Sizes and sequence numbers stay below this, so that every JSON reader gets them right.
pub const MAX_SIZE: u64 = 1 << 53;

/// What a tree head says: this ledger had `size` entries with this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the ledger; the name of both keys too.
    pub origin: String,
    /// Number of entries, below 2^53.
    pub size: u64,
    /// Merkle tree hash of these entries.
    pub root: Hash,
}

/// A checkpoint that cannot be read, or that is not signed as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not three lines of origin, size, root.
    #[error("not a checkpoint: {0}")]
    Format(&'static str),
    /// Of another ledger.
    #[error("a checkpoint of {found}, not of {expected}")]
    Origin {
        /// The origin that stands in it.
        found: String,
        /// The name of the pinned key.
        expected: String,
    },
    /// The log key and the epoch key are one key, so two signatures would prove no more than one.
    #[error("log key and epoch key are the same key")]
    SameKey,
    /// Not a signed note, or a signature is missing or wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Checkpoint {
    /// The three lines that are signed.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }
}
impl FromStr for Checkpoint {
    type Err = CheckpointError;
    /// Reads exactly what `body` writes. Extension lines are refused: this ledger writes none.
    fn from_str(body: &str) -> Result<Self, CheckpointError> {
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Format("it has three lines"));
        };
        check_name(origin).map_err(CheckpointError::Format)?;
        let size =
            parse_size(size).ok_or(CheckpointError::Format("the size is a plain number below 2^53"))?;
        let root = root.parse().map_err(|_| CheckpointError::Format("the root is the base64 of 32 bytes"))?;
        Ok(Self { origin: origin.into(), size, root })
    }
}

/// A checkpoint file: the body and its signature lines.
#[derive(Debug, Clone, Copy)]
pub struct SignedCheckpoint;

impl SignedCheckpoint {
    /// The text of the file, from the body and the two signatures over `checkpoint.body()`.
    pub fn assemble(
        checkpoint: &Checkpoint,
        log_key: &VerifierKey,
        log_signature: &[u8; 64],
        epoch_key: &VerifierKey,
        epoch_signature: &[u8; 64],
    ) -> String {
        let log_line = signature_line(log_key, log_signature);
        let epoch_line = signature_line(epoch_key, epoch_signature);
        format!("{}\n{log_line}{epoch_line}", checkpoint.body())
    }

    /// Reads without trusting: for choosing the epoch key, which depends on the size.
    pub fn read(text: &str) -> Result<(Checkpoint, SignedNote), CheckpointError> {
        let note = SignedNote::parse(text)?;
        Ok((note.text().parse()?, note))
    }

    /// Reads and requires both signatures, strictly, and the origin of the log key.
    pub fn verify(
        text: &str,
        log_key: &VerifierKey,
        epoch_key: &VerifierKey,
    ) -> Result<Checkpoint, CheckpointError> {
        let (checkpoint, note) = Self::read(text)?;
        if checkpoint.origin != log_key.name() || epoch_key.name() != log_key.name() {
            let (found, expected) = (checkpoint.origin, log_key.name().into());
            return Err(CheckpointError::Origin { found, expected });
        }
        if log_key.public() == epoch_key.public() {
            return Err(CheckpointError::SameKey);
        }
        note.verify(log_key)?;
        note.verify(epoch_key)?;
        Ok(checkpoint)
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|size| plain && *size < MAX_SIZE)
}

#[cfg(test)]
mod tests {
    use super::super::hash::empty_hash;
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    fn key(seed: u8) -> (SigningKey, VerifierKey) {
        let private = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifierKey::new("example.org/log", private.verifying_key().as_bytes()).unwrap();
        (private, public)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "example.org/log".into(), size: 20_852_163, root: empty_hash() }
    }

    fn assemble(
        checkpoint: &Checkpoint,
        log: &(SigningKey, VerifierKey),
        epoch: &(SigningKey, VerifierKey),
    ) -> String {
        let sign = |key: &SigningKey| key.sign(checkpoint.body().as_bytes()).to_bytes();
        SignedCheckpoint::assemble(checkpoint, &log.1, &sign(&log.0), &epoch.1, &sign(&epoch.0))
    }

    #[test]
    fn both_signatures_are_required() {
        let (log, epoch, other) = (key(1), key(2), key(3));
        let text = assemble(&checkpoint(), &log, &epoch);
        assert_eq!(SignedCheckpoint::verify(&text, &log.1, &epoch.1), Ok(checkpoint()));
        assert!(SignedCheckpoint::verify(&text, &log.1, &other.1).is_err());
        assert!(SignedCheckpoint::verify(&text, &other.1, &epoch.1).is_err());
        for drop in 0..2 {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.remove(4 + drop);
            let text = lines.join("\n") + "\n";
            assert!(SignedCheckpoint::verify(&text, &log.1, &epoch.1).is_err(), "{text}");
        }
        let twice = assemble(&checkpoint(), &log, &log);
        assert_eq!(SignedCheckpoint::verify(&twice, &log.1, &log.1), Err(CheckpointError::SameKey));
    }

    #[test]
    fn another_origin_is_refused_though_signed() {
        let (log, epoch) = (key(1), key(2));
        let other = Checkpoint { origin: "example.org/other".into(), ..checkpoint() };
        let text = assemble(&other, &log, &epoch);
        assert!(matches!(
            SignedCheckpoint::verify(&text, &log.1, &epoch.1),
            Err(CheckpointError::Origin { .. })
        ));
    }

    #[test]
    fn a_body_has_exactly_one_form() {
        let body = checkpoint().body();
        assert_eq!(body.parse(), Ok(checkpoint()));
        let changes = [
            ("\n208", "\n0208"),
            ("\n208", "\n+208"),
            ("20852163", ""),
            ("20852163", "9007199254740992"),
            ("example.org", "example org"),
            ("=\n", "=\nextension\n"),
            ("=\n", "="),
            ("=\n", "\n"),
            ("=\n", "=\n\n"),
        ];
        for (from, to) in changes {
            let changed = body.replace(from, to);
            assert_ne!(changed, body);
            assert!(changed.parse::<Checkpoint>().is_err(), "{changed:?}");
        }
        assert!(Checkpoint { size: 0, ..checkpoint() }.body().parse::<Checkpoint>().is_ok());
    }
}
