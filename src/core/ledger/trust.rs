//! Whose word counts (C2SP tlog-policy): the logs, the witnesses, and how many of them make a quorum.
//!
//! Owns the reading of a trust policy and the judgement of a checkpoint by it. Must never guess: what the format does not
//! allow is an error with its line, and a key that cannot be checked never counts as having signed.

mod parse;
mod quorum;

use std::fmt;

use super::cosignature::CosignatureKey;
use super::note::VerifierKey;
pub use quorum::{Lacking, LogStanding, Standing, Verdict, WitnessStanding};

/// Longest policy read, in bytes.
pub const MAX_POLICY_BYTES: usize = 2 * 1024 * 1024;
/// Most logs, most witnesses and most groups read (the specification asks for at least 32 of each).
pub const MAX_ITEMS: usize = 256;

/// A trust policy that is not what tlog-policy says it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct TrustError {
    /// Line in the file, from 1. The line after the last when something is missing.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// A name or URL of a policy: octets, which need not be UTF-8. Shown with what cannot be shown replaced.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Octets(Box<[u8]>);

impl Octets {
    /// As text, where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
    /// The bytes as they stand in the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// A key of a policy: one that this program can check, or the vkey of another known type, which it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<K> {
    /// Checked here.
    Supported(K),
    /// The name in its signature lines, and why it is not checked.
    NotSupported {
        /// Key name.
        name: Box<str>,
        /// What it is.
        why: String,
    },
}

/// A log whose checkpoints count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its key, named after its origin.
    pub key: Key<VerifierKey>,
    /// Where it can be reached.
    pub url: Option<Octets>,
}

/// A witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its name within the policy.
    pub name: Octets,
    /// Its key.
    pub key: Key<CosignatureKey>,
    /// The submission prefix of tlog-witness.
    pub url: Option<Octets>,
}

/// What a name of the quorum or of a group stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// At least `needed` of `members`. All members stand before it in the file, so there is no circle.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: Octets,
    needed: usize,
    members: Vec<Member>,
}

/// A trust policy: parsed once, then asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None`: `quorum none`.
    quorum: Option<Member>,
}

impl TrustPolicy {
    /// The logs, in the order of the file.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }
    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }
}

#[cfg(test)]
#[path = "trust/tests.rs"]
mod tests;
