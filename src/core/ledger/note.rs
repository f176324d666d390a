//! Signed notes (C2SP signed-note): a text, and lines that sign it. Only Ed25519 (type 0x01) is checked.
//!
//! Must never hold a private key: a text goes out to be signed, 64 bytes come in. Unknown signatures are kept, not
//! trusted: witnesses add them.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::hash::decode_base64;

/// Longest note read, in bytes.
pub const MAX_NOTE_BYTES: usize = 128 * 1024;
/// Most signature lines read (the specification asks for at least 16).
pub const MAX_SIGNATURES: usize = 64;
/// Longest key name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Signature type of an Ed25519 note signature.
pub const ED25519: u8 = 1;

/// A note or a key that is not what signed-note says it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not `name+hex8+base64`, or its parts do not belong together.
    #[error("a verifier key must be name+8 hexadecimal digits+base64 of an Ed25519 key: {0}")]
    Key(&'static str),
    /// The text or its signature lines break the format.
    #[error("not a signed note: {0}")]
    Format(&'static str),
    /// No line of this key.
    #[error("no signature of {0}")]
    Missing(String),
    /// A line of this key that does not verify.
    #[error("the signature of {0} does not match the text")]
    Bad(String),
}

/// A public key and its name, written as a vkey: `name+hex(key id)+base64(0x01 ‖ public key)`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: Box<str>,
    key_id: [u8; 4],
    public: VerifyingKey,
}

impl VerifierKey {
    /// From a name and 32 bytes. Refuses names that signed-note forbids, and weak keys.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<Self, NoteError> {
        let key = ed25519_key(name, public).map_err(NoteError::Key)?;
        Ok(Self { name: name.into(), key_id: key_id_of(name, ED25519, public), public: key })
    }

    /// The name in the signature line: here always the origin.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// First four bytes of SHA-256(name ‖ `\n` ‖ 0x01 ‖ public key).
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }
    /// The 32 bytes of the public key (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }
    /// Whether `signature` signs `message`, in the strict sense: no malleable and no small-order parts.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.public.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey_text(&self.name, self.key_id, ED25519, self.public()))
    }
}
impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}
impl FromStr for VerifierKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        // The base64 may hold a plus, the name and the id may not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it has three parts"));
        };
        if key.len() != 44 {
            return Err(NoteError::Key("its last part has 44 characters"));
        }
        let key = BASE64.decode(key.as_bytes()).map_err(|_| NoteError::Key("its last part is not base64"))?;
        let Some((&ED25519, public)) = key.split_first() else {
            return Err(NoteError::Key("not of type 1, Ed25519"));
        };
        let public = public.try_into().map_err(|_| NoteError::Key("the public key has 32 bytes"))?;
        let this = Self::new(name, public)?;
        if HEXLOWER.encode(&this.key_id) == id {
            Ok(this)
        } else {
            Err(NoteError::Key("the id is not that of the key"))
        }
    }
}

/// One line `— name base64(key id ‖ signature)`; the signature is of any type, so of any length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key that claims to have signed.
    pub name: String,
    /// Its key id.
    pub key_id: [u8; 4],
    /// What follows the key id.
    pub signature: Vec<u8>,
}

/// A text that ends in a newline, with at least one signature line. Parsing proves nothing: `verify` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Reads a note of at most `MAX_NOTE_BYTES` and `MAX_SIGNATURES`.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Format("it is too long"));
        }
        if note.bytes().any(|b| b < b' ' && b != b'\n') {
            return Err(NoteError::Format("it holds control characters"));
        }
        let (text, lines) =
            note.rsplit_once("\n\n").ok_or(NoteError::Format("no empty line before the signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Format("the last line does not end"))?;
        let signatures = lines
            .split('\n')
            .take(MAX_SIGNATURES + 1)
            .map(|line| parse_signature(line).ok_or(NoteError::Format("a signature line that is not one")))
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Format("too many signatures"));
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// What is signed: with its last newline, without the empty line.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// All signature lines in order, known or not, verified or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// At least one line of `key`, and every line under its name and id verifies.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let mut lines = self
            .signatures
            .iter()
            .filter(|line| line.name == key.name() && line.key_id == key.key_id)
            .peekable();
        if lines.peek().is_none() {
            return Err(NoteError::Missing(key.to_string()));
        }
        let verifies = |line: &NoteSignature| {
            line.signature.as_slice().try_into().is_ok_and(|bytes| key.verifies(self.text.as_bytes(), bytes))
        };
        if lines.all(verifies) { Ok(()) } else { Err(NoteError::Bad(key.to_string())) }
    }
}
impl fmt::Display for SignedNote {
    /// The note as it stands in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            f.write_str(&line_text(&line.name, line.key_id, &line.signature))?;
        }
        Ok(())
    }
}

/// The line that says that `key` signed, with its newline.
pub fn signature_line(key: &VerifierKey, signature: &[u8; 64]) -> String {
    line_text(key.name(), key.key_id, signature)
}

/// A signature line of any key and type, with its newline.
pub(super) fn line_text(name: &str, key_id: [u8; 4], signature: &[u8]) -> String {
    let bytes = [key_id.as_slice(), signature].concat();
    format!("— {name} {}\n", BASE64.encode(&bytes))
}

/// The Ed25519 key of these bytes, unless anybody can sign for it or its name is none.
pub(super) fn ed25519_key(name: &str, public: &[u8; 32]) -> Result<VerifyingKey, &'static str> {
    check_name(name)?;
    let key = VerifyingKey::from_bytes(public).map_err(|_| "not a point of the curve")?;
    if key.is_weak() { Err("a weak key, for which anybody can sign") } else { Ok(key) }
}

/// First four bytes of SHA-256(name ‖ `\n` ‖ type ‖ public key), as signed-note makes key ids.
pub(super) fn key_id_of(name: &str, kind: u8, public: &[u8]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(public).finalize();
    let mut id = [0; 4];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    id
}

/// `name+hex(key id)+base64(type ‖ public key)`.
pub(super) fn vkey_text(name: &str, key_id: [u8; 4], kind: u8, public: &[u8]) -> String {
    let key = [&[kind], public].concat();
    format!("{name}+{}+{}", HEXLOWER.encode(&key_id), BASE64.encode(&key))
}

/// A key name: not empty, without spaces, plus and control characters, at most `MAX_NAME_BYTES`. Origins too.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("a name has 1 to 255 bytes");
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
        return Err("a name has no spaces, plus signs or control characters");
    }
    Ok(())
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, base64) = line.strip_prefix("— ")?.split_once(' ')?;
    check_name(name).ok()?;
    let bytes = decode_base64(base64.as_bytes())?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    if signature.is_empty() {
        return None;
    }
    Some(NoteSignature { name: name.into(), key_id: *key_id, signature: signature.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;
    use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

    fn key(name: &str, seed: u8) -> (SigningKey, VerifierKey) {
        let private = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifierKey::new(name, private.verifying_key().as_bytes()).unwrap();
        (private, public)
    }

    fn sign(text: &str, keys: &[&(SigningKey, VerifierKey)]) -> String {
        let lines: String =
            keys.iter().map(|(s, v)| signature_line(v, &s.sign(text.as_bytes()).to_bytes())).collect();
        format!("{text}\n{lines}")
    }

    /// The key and note that the Go implementation documents.
    #[test]
    fn reads_the_documented_key_and_note() {
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: VerifierKey = vkey.parse().unwrap();
        assert_eq!(key.to_string(), vkey);
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let parsed = SignedNote::parse(note).unwrap();
        assert_eq!(parsed.verify(&key), Ok(()));
        assert_eq!(parsed.to_string(), note);
    }

    #[test]
    fn unknown_signatures_are_kept_and_prove_nothing() {
        let (known, other) = (key("a/b", 1), key("a/b", 2));
        let note = SignedNote::parse(&sign("text\n", &[&other])).unwrap();
        assert!(matches!(note.verify(&known.1), Err(NoteError::Missing(_))));
        let note = SignedNote::parse(&sign("text\n", &[&other, &known])).unwrap();
        assert_eq!((note.verify(&known.1), note.verify(&other.1)), (Ok(()), Ok(())));
        assert_eq!(note.signatures().len(), 2);
    }

    #[test]
    fn one_wrong_line_of_a_known_key_spoils_the_note() {
        let known = key("a/b", 1);
        let forged = signature_line(&known.1, &known.0.sign(b"other\n").to_bytes());
        let note = format!("{}{forged}", sign("text\n", &[&known]));
        assert!(matches!(SignedNote::parse(&note).unwrap().verify(&known.1), Err(NoteError::Bad(_))));
    }

    #[test]
    fn a_signature_line_has_one_form() {
        let known = key("a/b", 1);
        let note = sign("text\n", &[&known]);
        let bytes = [known.1.key_id().as_slice(), &known.0.sign(b"text\n").to_bytes()].concat();
        let pieces = BASE64.encode(&bytes[..1]) + &BASE64.encode(&bytes[1..]);
        let other = note.replace(&BASE64.encode(&bytes), &pieces);
        assert_ne!(note, other);
        assert!(SignedNote::parse(&note).is_ok() && SignedNote::parse(&other).is_err());
    }

    #[test]
    fn inv10_other_forms_of_keys_and_notes_are_refused() {
        let (_, good) = key("a/b", 1);
        let text = good.to_string();
        let (_, tail) = text.split_once('+').unwrap();
        for bad in [
            format!("+{tail}"),
            format!("a c+{tail}"),
            text.to_uppercase(),
            text.replace("a/b", "a/c"),
            format!("{text}="),
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        // The neutral element: every signature of small order would pass.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert!(VerifierKey::new("a/b", &weak).is_err());
        let line = sign("text\n", &[&key("a/b", 1)]);
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\n— a/b AAAAAA==\n",
            &line.replace("text", "te\rxt"),
            line.trim_end(),
        ] {
            assert!(SignedNote::parse(bad).is_err(), "{bad:?}");
        }
        let many = format!("text\n\n{}", "— a AAAAAAA=\n".repeat(MAX_SIGNATURES + 1));
        assert!(SignedNote::parse(&many).is_err());
        assert!(SignedNote::parse(&format!("text\n\n{}", "— a AAAAAAA=\n".repeat(MAX_SIGNATURES))).is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_signed_note(seed in any::<[u8; 32]>(), body in "[a-zé \n]{0,40}", flip in 0..512_usize) {
            let text = format!("{body}x\n");
            let private = SigningKey::from_bytes(&seed);
            let ours = VerifierKey::new("example.org/log", private.verifying_key().as_bytes()).unwrap();
            let vkey = ours.to_string();
            let verifiers = VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);

            let mut signature = private.sign(text.as_bytes()).to_bytes();
            let note = format!("{text}\n{}", signature_line(&ours, &signature));
            prop_assert!(Note::from_bytes(note.as_bytes()).unwrap().verify(&verifiers).is_ok());
            prop_assert_eq!(SignedNote::parse(&note).unwrap().verify(&ours), Ok(()));

            signature[flip / 8] ^= 1 << (flip % 8);
            let note = format!("{text}\n{}", signature_line(&ours, &signature));
            prop_assert!(Note::from_bytes(note.as_bytes()).unwrap().verify(&verifiers).is_err());
            prop_assert!(SignedNote::parse(&note).unwrap().verify(&ours).is_err());

            let (name, rest) = vkey.split_once('+').unwrap();
            let secret = BASE64.encode(&[&[ED25519], seed.as_slice()].concat());
            let skey = format!("PRIVATE+KEY+{name}+{}+{secret}", rest.split_once('+').unwrap().0);
            let mut theirs = Note::new(text.as_bytes(), &[]).unwrap();
            theirs.add_sigs(&[&StandardSigner::new(&skey).unwrap()]).unwrap();
            let theirs = String::from_utf8(theirs.to_bytes()).unwrap();
            prop_assert_eq!(SignedNote::parse(&theirs).unwrap().verify(&ours), Ok(()));
        }

        #[test]
        fn inv10_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            if let Ok(note) = SignedNote::parse(&text) {
                prop_assert_eq!(note.to_string(), text.clone());
            }
            let _ = text.parse::<VerifierKey>();
        }
    }
}
