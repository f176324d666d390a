//! What a witness says of a tree head (C2SP tlog-cosignature): the Ed25519 form, `cosignature/v1`, vkey type 0x04.
//!
//! Owns the message that a witness signs and its strict check. Must never hold a private key, and must never take a
//! line for a cosignature whose message does not hold its own time. ML-DSA-44 (type 0x06) is known and said not to be
//! supported: such a line counts as absent.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey};

use super::hash::decode_base64;
pub use super::note::ED25519;
use super::note::{
    self, MAX_NOTE_BYTES, MAX_SIGNATURES, NoteSignature, SignedNote, VerifierKey, check_name, ed25519_key,
    key_id_of, vkey_text,
};

/// Signature type of an Ed25519 cosignature.
pub const COSIGNATURE_V1: u8 = 0x04;
/// Signature type of an ML-DSA-44 cosignature.
pub const ML_DSA_44: u8 = 0x06;
/// Bytes of an ML-DSA-44 public key (FIPS 204).
const ML_DSA_44_KEY_BYTES: usize = 1312;
/// Longest vkey read, in bytes: a name of 255, and a key well beyond that of ML-DSA-44.
pub const MAX_VKEY_BYTES: usize = 8 * 1024;
/// Bytes after the key id: a time of 8, a signature of 64.
const TIMED_BYTES: usize = 8 + 64;

/// A verifier key or a cosignature that is not what the specification says it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// Not `name+hex8+base64`, or its parts do not belong together.
    #[error("not a verifier key: {0}")]
    Key(&'static str),
    /// A type of key that this program knows and cannot check.
    #[error("a key of type {kind:#04x} ({name}), which this program cannot check", name = kind_name(*.kind))]
    NotSupported {
        /// The signature type byte.
        kind: u8,
    },
    /// A type of key that does not sign what it is wanted for.
    #[error("a key of type {kind:#04x} ({name}) does not sign {what}", name = kind_name(*.kind))]
    WrongKind {
        /// The signature type byte.
        kind: u8,
        /// What it would have to sign.
        what: &'static str,
    },
    /// A line of this key that does not verify. The note is worth nothing then (signed-note).
    #[error("the cosignature of {0} does not match the checkpoint")]
    Bad(String),
    /// Its time is not below 2^63 seconds.
    #[error("the cosignature of {0} has a time that no clock has")]
    Time(String),
    /// Lines were to be added to a note that has no room for them.
    #[error("the checkpoint would have more than {MAX_SIGNATURES} signature lines")]
    TooMany,
}

/// What a type byte stands for.
fn kind_name(kind: u8) -> &'static str {
    match kind {
        ED25519 => "Ed25519",
        0x02 => "ECDSA",
        COSIGNATURE_V1 => "Ed25519 cosignature",
        0x05 => "RFC 6962 tree head",
        ML_DSA_44 => "ML-DSA-44 cosignature",
        _ => "unknown",
    }
}

/// A vkey of any type, taken apart: `name+hex(key id)+base64(type ‖ public key)`. Where the specification says how the
/// key id is made for the type, it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vkey {
    /// Key name.
    pub name: Box<str>,
    /// Key id.
    pub key_id: [u8; 4],
    /// Signature type byte.
    pub kind: u8,
    /// Public key, in the encoding of its type.
    pub public: Vec<u8>,
}

impl FromStr for Vkey {
    type Err = CosignatureError;
    fn from_str(text: &str) -> Result<Self, CosignatureError> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(CosignatureError::Key("it is too long"));
        }
        // The base64 may hold a plus, the name and the id may not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CosignatureError::Key("it has three parts, name+key id+key"));
        };
        check_name(name).map_err(CosignatureError::Key)?;
        let id = HEXLOWER.decode(id.as_bytes()).ok().and_then(|id| <[u8; 4]>::try_from(id).ok());
        let key_id = id.ok_or(CosignatureError::Key("its key id has 8 hexadecimal digits, in lower case"))?;
        let key =
            decode_base64(key.as_bytes()).ok_or(CosignatureError::Key("its last part is not base64"))?;
        let Some((&kind, public)) = key.split_first() else {
            return Err(CosignatureError::Key("it holds no key"));
        };
        let length = match kind {
            ED25519 | COSIGNATURE_V1 => Some(32),
            ML_DSA_44 => Some(ML_DSA_44_KEY_BYTES),
            _ => None,
        };
        if length.is_some_and(|length| length != public.len()) {
            return Err(CosignatureError::Key("the public key has another length than its type asks for"));
        }
        if length.is_some() && key_id_of(name, kind, public) != key_id {
            return Err(CosignatureError::Key("the key id is not that of the key"));
        }
        Ok(Self { name: name.into(), key_id, kind, public: public.to_vec() })
    }
}

/// The key of a witness that signs `cosignature/v1`.
#[derive(Clone, PartialEq, Eq)]
pub struct CosignatureKey {
    name: Box<str>,
    key_id: [u8; 4],
    public: VerifyingKey,
}

impl CosignatureKey {
    /// From a name and 32 bytes. Refuses names that signed-note forbids, and weak keys.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<Self, CosignatureError> {
        let key = ed25519_key(name, public).map_err(CosignatureError::Key)?;
        Ok(Self { name: name.into(), key_id: key_id_of(name, COSIGNATURE_V1, public), public: key })
    }

    /// The name in its signature lines.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// First four bytes of SHA-256(name ‖ `\n` ‖ 0x04 ‖ public key).
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }
    /// The 32 bytes of the public key (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    /// Whether `line` claims to be of this key. It proves nothing.
    #[must_use]
    pub fn claims(&self, line: &NoteSignature) -> bool {
        *line.name == *self.name && line.key_id == self.key_id
    }

    /// The time in `line`, in seconds since 1970, once its signature over `note_text` and that time holds, in the strict
    /// sense. `line` must be one that this key claims.
    pub fn verify_line(&self, note_text: &str, line: &NoteSignature) -> Result<u64, CosignatureError> {
        let bad = || CosignatureError::Bad(self.to_string());
        let timed: &[u8; TIMED_BYTES] = line.signature.as_slice().try_into().map_err(|_| bad())?;
        let (time, signature) = timed.split_first_chunk::<8>().ok_or_else(bad)?;
        let (time, signature) = (u64::from_be_bytes(*time), signature.try_into().map_err(|_| bad())?);
        if i64::try_from(time).is_err() {
            return Err(CosignatureError::Time(self.to_string()));
        }
        let message = signed_message(time, note_text);
        let holds = self.claims(line)
            && self.public.verify_strict(message.as_bytes(), &Signature::from_bytes(signature)).is_ok();
        if holds { Ok(time) } else { Err(bad()) }
    }

    /// The latest time at which this key cosigned `note`, in seconds since 1970; `None` without a line of it. Every line
    /// under its name and id must verify.
    pub fn verify(&self, note: &SignedNote) -> Result<Option<u64>, CosignatureError> {
        let mut latest = None;
        for line in note.signatures().iter().filter(|line| self.claims(line)) {
            latest = latest.max(Some(self.verify_line(note.text(), line)?));
        }
        Ok(latest)
    }
}
impl fmt::Display for CosignatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey_text(&self.name, self.key_id, COSIGNATURE_V1, self.public()))
    }
}
impl fmt::Debug for CosignatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignatureKey({self})")
    }
}
impl TryFrom<&Vkey> for CosignatureKey {
    type Error = CosignatureError;
    fn try_from(vkey: &Vkey) -> Result<Self, CosignatureError> {
        match (vkey.kind, <&[u8; 32]>::try_from(vkey.public.as_slice())) {
            (COSIGNATURE_V1, Ok(public)) => Self::new(&vkey.name, public),
            (kind @ ML_DSA_44, _) => Err(CosignatureError::NotSupported { kind }),
            (kind, _) => Err(CosignatureError::WrongKind { kind, what: "cosignatures" }),
        }
    }
}
impl TryFrom<&Vkey> for VerifierKey {
    type Error = CosignatureError;
    /// The key of a log that signs checkpoints with plain Ed25519.
    fn try_from(vkey: &Vkey) -> Result<Self, CosignatureError> {
        match (vkey.kind, <&[u8; 32]>::try_from(vkey.public.as_slice())) {
            (ED25519, Ok(public)) => Self::new(&vkey.name, public)
                .map_err(|_| CosignatureError::Key("not an Ed25519 key that can be trusted")),
            // A log may sign its checkpoints with any of these.
            (kind @ (0x02 | 0x05 | ML_DSA_44), _) => Err(CosignatureError::NotSupported { kind }),
            (kind, _) => Err(CosignatureError::WrongKind { kind, what: "the checkpoints of a log" }),
        }
    }
}
impl FromStr for CosignatureKey {
    type Err = CosignatureError;
    fn from_str(text: &str) -> Result<Self, CosignatureError> {
        Self::try_from(&text.parse::<Vkey>()?)
    }
}

/// What a witness signs: two lines of its own, then the whole text of the note, extension lines too. `time` in seconds
/// since 1970.
pub fn signed_message(time: u64, note_text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{note_text}")
}

/// The line that says that `key` cosigned at `time` (seconds since 1970), given its signature over `signed_message`.
pub fn cosignature_line(key: &CosignatureKey, time: u64, signature: &[u8; 64]) -> NoteSignature {
    let signature = [time.to_be_bytes().as_slice(), signature].concat();
    NoteSignature { name: key.name.to_string(), key_id: key.key_id, signature }
}

/// A signature line as it stands in a note, with its newline.
pub fn line_text(line: &NoteSignature) -> String {
    note::line_text(&line.name, line.key_id, &line.signature)
}

/// The note with `lines` added: one that claims the same key as a cosignature already there takes its place, one that is
/// there already is not doubled. Lines of `note` that are not replaced keep their order. Proves nothing: verify first.
pub fn with_lines(note: &SignedNote, lines: &[NoteSignature]) -> Result<String, CosignatureError> {
    let same_key = |a: &NoteSignature, b: &NoteSignature| a.name == b.name && a.key_id == b.key_id;
    let kept = note.signatures().iter().filter(|old| !lines.iter().any(|new| same_key(old, new)));
    // Of several new ones by one key the last counts.
    let new = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| !lines.iter().skip(at + 1).any(|later| same_key(line, later)))
        .map(|(_, line)| line);
    let all: Vec<&NoteSignature> = kept.chain(new).collect();
    let signatures: String = all.iter().map(|line| line_text(line)).collect();
    let text = format!("{}\n{signatures}", note.text());
    if all.len() > MAX_SIGNATURES || text.len() > MAX_NOTE_BYTES {
        return Err(CosignatureError::TooMany);
    }
    Ok(text)
}

#[cfg(test)]
#[path = "cosignature_tests.rs"]
mod tests;
