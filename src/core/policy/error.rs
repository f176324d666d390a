//! Mistakes in a policy: file, line, reason.

use std::fmt;

use super::digest::in_order;
use super::rules::Place;

/// How many mistakes are kept: enough to work on, and a bound on memory.
const KEPT: usize = 50;
/// How much of a quoted word is shown, in characters.
const QUOTED_CHARS: usize = 64;

/// One mistake in a policy. Written `policy.toml:12: unknown role "viewr" …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct PolicyError {
    /// The file, relative to the policy's folder.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// What is wrong and what to write instead.
    pub reason: String,
}

impl PolicyError {
    pub(super) fn at(place: &Place, reason: impl Into<String>) -> Self {
        Self { file: place.file.to_string(), line: place.line, reason: reason.into() }
    }
}

/// The mistakes of one policy: at least one, at most 50, in the order of file and line. Written one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyError> {
        self.0.iter()
    }
    /// Only this one.
    pub(super) fn one(error: PolicyError) -> Self {
        Self(vec![error])
    }
    /// `Ok` when `errors` is empty.
    pub(super) fn none_of(mut errors: Vec<PolicyError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by_key(|error| (in_order(&error.file), error.line));
        errors.truncate(KEPT);
        Err(Self(errors))
    }
}
impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
impl std::error::Error for PolicyErrors {}

/// Outside text inside a sentence: quoted, escaped, and not longer than a line.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Ids in a sentence: `a, b, c`.
pub(super) fn listed<T: fmt::Display>(ids: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}
