//! Identifiers: parsed once, at the edge, and trusted from then on.
//!
//! Owns their alphabets and their text form. Must never draw a random id: the bytes come from `shell::entropy`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

/// Text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct IdError {
    what: &'static str,
    rule: &'static str,
}

/// Texts of which many equal ones are kept: each stands in memory once. It never grows beyond [`SharedTexts::MOST`]; what
/// comes after that is kept as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedTexts(BTreeSet<Arc<str>>);

impl SharedTexts {
    /// Different texts that are remembered.
    pub const MOST: usize = 4096;

    /// The text itself, shared with the equal ones that came before.
    pub fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        if self.0.len() < Self::MOST {
            self.0.insert(text.clone());
        }
        text
    }
}

/// `Serialize`, `Deserialize`, `Display` and `Debug` of a type that has `as_text` and `FromStr`.
macro_rules! textual {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

/// A name from a closed alphabet: `[a-z0-9-]{1,64}`, as the policy writes it.
macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SmolStr);

        impl $name {
            /// The same name; a long one shares its text with the equal ones that came before.
            pub fn shared(&self, texts: &mut SharedTexts) -> Self {
                if self.0.is_heap_allocated() { Self(texts.shared(&self.0).into()) } else { self.clone() }
            }
            /// The text, as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let ok = (1..=64).contains(&text.len())
                    && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
                if ok { Ok(Self(text.into())) } else { Err(IdError { what: $what, rule: TOKEN_RULE }) }
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        textual!($name);
    };
}
const TOKEN_RULE: &str = "1 to 64 characters of a-z, 0-9 and \"-\"";

token!(
    /// A camera, a line, a workstation. Public in the ledger, so it must not name a person.
    SourceId, "a source id");
token!(
    /// Why recordings of a source exist (R11).
    PurposeId, "a purpose id");
token!(
    /// Why this access (R20, R35).
    ReasonCode, "a reason code");
token!(
    /// A retention class.
    ClassId, "a class id");
token!(
    /// A set of verbs.
    RoleId, "a role id");
token!(
    /// The place a camera films (R10).
    ZoneId, "a zone id");
token!(
    /// A profile of legal limits that a policy is measured by.
    ProfileId, "a profile name");
token!(
    /// One mandate (R69): the name by which the people of the house know it.
    MandateId, "a mandate id");

/// A rule of the policy (the key of a grant or a deny), or a rule of the house, written `builtin.…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(SmolStr);

impl RuleId {
    /// A rule of the house. `name` is a literal of this program, never outside text.
    pub fn builtin(name: &'static str) -> Self {
        Self(format!("builtin.{name}").into())
    }
    /// The text, as it stands in the ledger's detail.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for RuleId {
    type Err = IdError;
    /// Only `[a-z0-9-]{1,64}`: the prefix `builtin.` is reserved, a policy cannot claim it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = IdError { what: "a rule id", rule: TOKEN_RULE };
        SourceId::from_str(text).map(|token| Self(token.0)).map_err(|_| error)
    }
}
impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleId({self})")
    }
}

/// 128 random bits, written as 26 characters of lower-case base32 without padding.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps 16 random bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
            /// Its text, in ASCII.
            pub fn text(&self) -> [u8; 26] {
                let mut text = [0; 26];
                BASE32_NOPAD.encode_mut(&self.0, &mut text);
                text.make_ascii_lowercase();
                text
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { what: $what, rule: "26 characters of a-z and 2-7" };
                random_bytes(text).map(Self).ok_or(error)
            }
        }
        textual!($name);
    };
}

/// The 16 bytes of a random id; read in bulk, so without a copy of the text.
fn random_bytes(text: &str) -> Option<[u8; 16]> {
    let (last, first) = text.as_bytes().split_last().filter(|(_, first)| first.len() == 25)?;
    let value = |byte: u8| match byte {
        b'a'..=b'z' => Some(byte - b'a'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    };
    let bits = first.iter().try_fold(0_u128, |bits, byte| Some(bits << 5 | u128::from(value(*byte)?)))?;
    // 26 characters are 130 bits: the last two must be zero, so that each id has exactly one text.
    let last = value(*last).filter(|last| last & 3 == 0)?;
    Some((bits << 3 | u128::from(last >> 2)).to_be_bytes())
}

random_id!(
    /// One sealed recording. The object file and the data key carry the same id.
    RecordingId, "a recording id");
random_id!(
    /// One opened recording, from permit to close.
    SessionId, "a session id");
random_id!(
    /// One hold.
    HoldId, "a hold id");
random_id!(
    /// One request for the consent of a second person.
    ApprovalId, "an approval id");
random_id!(
    /// One grant that the register knows. Random, because the name of a rule may name a person and this stands in leaves.
    GrantId, "a grant id");

impl GrantId {
    /// The rule that a grant of the register is: its id is an id of a rule too.
    pub fn rule(&self) -> RuleId {
        RuleId(SmolStr::new(self.to_string()))
    }
}

/// A SHA-256 digest, written as 64 hexadecimal digits: of a recording's original bytes, of a policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Its text, in ASCII.
    pub fn text(&self) -> [u8; 64] {
        let mut text = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut text);
        text
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}
impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { what: "a SHA-256", rule: "64 lower-case hexadecimal digits" };
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| error())?;
        let mut bytes = [0; 32];
        HEXLOWER.decode_mut(text, &mut bytes).map_err(|_| error())?;
        Ok(Self(bytes))
    }
}
textual!(Digest);

/// What a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Camera footage.
    Footage,
    /// A telephone call.
    Call,
    /// A video of a screen, recorded during a call.
    Screen,
}

impl Kind {
    /// The word used in policy, ledger and bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Footage => "footage",
            Self::Call => "call",
            Self::Screen => "screen",
        }
    }
}
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Kind {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        [Self::Footage, Self::Call, Self::Screen]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(IdError { what: "a kind", rule: "footage, call or screen" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_exactly_one_text() {
        let id = RecordingId::from_bytes([0xAB; 16]);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(text.parse::<RecordingId>(), Ok(id));
        assert!(text.to_uppercase().parse::<RecordingId>().is_err());
        // 26 characters hold 130 bits: the last two must be zero.
        let mut other = text.clone();
        other.replace_range(25.., "b");
        assert!(other.parse::<RecordingId>().is_err());
    }

    #[test]
    fn equal_texts_stand_in_memory_once() {
        let mut texts = SharedTexts::default();
        // A short name stands within its id and is shared with nobody.
        let name = "the-camera-above-the-entrance";
        let one: SourceId = name.parse().unwrap();
        let (a, b) = (one.shared(&mut texts), name.parse::<SourceId>().unwrap().shared(&mut texts));
        assert!(a == one && std::ptr::eq(a.as_str(), b.as_str()));
        for number in 0..2 * SharedTexts::MOST {
            assert_eq!(&*texts.shared(&number.to_string()), number.to_string());
        }
        assert_eq!(texts.0.len(), SharedTexts::MOST);
    }

    #[test]
    fn a_policy_cannot_claim_a_builtin_rule() {
        assert!("builtin.no-grant".parse::<RuleId>().is_err());
        assert_eq!(RuleId::builtin("no-grant").as_str(), "builtin.no-grant");
    }

    #[test]
    fn tokens_keep_to_their_alphabet() {
        for bad in ["", "A", "a_b", "é", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<SourceId>().is_err(), "{bad:?}");
        }
        assert!("entrance-2".parse::<SourceId>().is_ok());
    }
}
