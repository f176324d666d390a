//! `ledger publish DIR --cosigned FILE`: the cosignatures of witnesses, added to the head that is published.
//!
//! Owns what may be added. Must never move the head, and never add a line that claims a key of the ledger: a wrong one
//! would spoil the whole note.

use std::path::Path;

use super::place::{PublishError, Published};
use super::{failed, report};
use crate::core::ledger::checkpoint::SignedCheckpoint;
use crate::core::ledger::cosignature::with_lines;
use crate::core::ledger::note::{MAX_NOTE_BYTES, NoteSignature, SignedNote, VerifierKey};
use crate::core::ledger::trust::{Key, MAX_POLICY_BYTES, TrustPolicy};
use crate::ctl::replace::read;
use crate::shell::bus::client::Failure;
use crate::shell::terminal::Form;

/// Bytes of an Ed25519 cosignature after its key id.
const COSIGNATURE_BYTES: usize = 72;

/// Adds the cosignatures of `file` to the published checkpoint, if both are of the same head; with `policy` only those
/// that verify under it.
pub fn cosigned(form: Form, dir: &Path, file: &Path, policy: Option<&Path>) -> Result<u8, Failure> {
    let policy = policy.map(read_policy).transpose()?;
    let text = bytes(file, MAX_NOTE_BYTES)?;
    let text = String::from_utf8(text).map_err(|_| usage(file, "it is not text"))?;
    let (_, theirs) = SignedCheckpoint::read(&text).map_err(|error| usage(file, &error.to_string()))?;
    let vkey = bytes(&dir.join("vkey"), MAX_NOTE_BYTES)?;
    let key: VerifierKey = String::from_utf8_lossy(&vkey)
        .trim_end()
        .parse()
        .map_err(|_| usage(&dir.join("vkey"), "it is not a verifier key; publish the ledger first"))?;
    let mut place = Published::open(dir, &key).map_err(failed)?;
    let Some((published, head)) = place.head().cloned() else {
        return Err(Failure::Refused(format!("{} publishes no head yet; publish first.", dir.display())));
    };
    let (_, ours) = SignedCheckpoint::read(&published).map_err(|error| usage(dir, &error.to_string()))?;
    let added = merge(&ours, &theirs, key.name(), policy.as_ref()).map_err(failed)?;
    if added != published {
        place.publish_head(&added).map_err(|error| failed(error.into()))?;
    }
    report(form, dir, &head, place.added())?;
    Ok(0)
}

/// The published note with what may be added of the other.
fn merge(
    ours: &SignedNote,
    theirs: &SignedNote,
    origin: &str,
    policy: Option<&TrustPolicy>,
) -> Result<String, PublishError> {
    if ours.text() != theirs.text() {
        let size = |note: &SignedNote| note.text().split('\n').nth(1).unwrap_or_default().to_owned();
        return Err(PublishError::Cosigned(format!(
            "the cosigned checkpoint is of {} entries and the published one of {}; send the published one to the \
             witnesses, then add their cosignatures before publishing again",
            size(theirs),
            size(ours)
        )));
    }
    let may_add = |line: &&NoteSignature| {
        line.name != origin && line.signature.len() == COSIGNATURE_BYTES && confirmed(theirs, line, policy)
    };
    let lines: Vec<NoteSignature> = theirs.signatures().iter().filter(may_add).cloned().collect();
    with_lines(ours, &lines).map_err(|error| PublishError::Cosigned(error.to_string()))
}

/// Whether the policy has a key that confirms this line. Without a policy any line will do: readers ignore unknown keys.
fn confirmed(note: &SignedNote, line: &NoteSignature, policy: Option<&TrustPolicy>) -> bool {
    policy.is_none_or(|policy| {
        policy.witnesses().iter().any(|witness| {
            matches!(&witness.key, Key::Supported(key) if key.verify_line(note.text(), line).is_ok())
        })
    })
}

/// A trust policy from its file.
pub fn read_policy(file: &Path) -> Result<TrustPolicy, Failure> {
    TrustPolicy::parse(&bytes(file, MAX_POLICY_BYTES)?)
        .map_err(|error| Failure::Usage(format!("{}: {error}.", file.display())))
}

fn bytes(file: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let found = read(file, max).map_err(|error| usage(file, &error.to_string()))?;
    found.ok_or_else(|| usage(file, "there is no such file"))
}

fn usage(file: &Path, why: &str) -> Failure {
    Failure::Usage(format!("{} cannot be used: {why}.", file.display()))
}
