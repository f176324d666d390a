//! Profiles: limits that an authority publishes, as data with their sources. They warn; they forbid nothing.
//!
//! Owns their form. Which limits there are, and where each comes from, stands in the files alone (`policy/profiles`).

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::core::ids::{Kind, ProfileId, PurposeId, ZoneId};
use crate::core::time::Period;

/// The greatest size of a profile's text.
pub const MAX_PROFILE_BYTES: usize = 1 << 16;

/// A set of limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The version of this form: 1.
    format: u8,
    /// Its name, as a policy writes it into `profiles`.
    pub name: ProfileId,
    /// What it is, in one line.
    pub title: String,
    /// The same in French.
    pub title_fr: String,
    /// Its limits; never empty.
    #[serde(rename = "limit")]
    pub limits: Vec<ProfileLimit>,
}

/// One limit. What it asks of is told by `kinds`, and by `purposes` and `zones` where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileLimit {
    /// Sources of these kinds.
    #[serde(deserialize_with = "words")]
    pub kinds: BTreeSet<Kind>,
    /// Where it comes from: a law, an article, a decision, a page of the authority.
    pub source: String,
    /// What it says, in one sentence.
    pub text: String,
    /// The same in French.
    pub text_fr: String,
    /// What it asks.
    #[serde(flatten)]
    pub asks: Ask,
}

/// What a limit asks; one thing each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// No class of such a source keeps longer.
    Max(#[serde(deserialize_with = "period")] Period),
    /// None films these zones.
    ForbiddenZones(#[serde(deserialize_with = "words")] BTreeSet<ZoneId>),
    /// Those that film these zones carry an authorisation. One that names no zone is asked to.
    AuthorisedZones(#[serde(deserialize_with = "words")] BTreeSet<ZoneId>),
    /// People are told of it: `true`.
    Notice(bool),
    /// Its purposes are among these.
    OnlyPurposes(#[serde(deserialize_with = "words")] BTreeSet<PurposeId>),
    /// Who views it sees own or anonymised recordings: `true`.
    OwnOrAnonymised(bool),
    /// Who views it has a limit for the day: `true`.
    DayLimit(bool),
    /// There is a charter: `true`.
    Charter(bool),
}

/// Text that is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

impl Profile {
    /// Reads one.
    ///
    /// # Errors
    /// It is too long, no TOML, of another format, has unknown keys, or no limit.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_PROFILE_BYTES {
            return Err(ProfileError(format!("it is longer than {MAX_PROFILE_BYTES} bytes")));
        }
        let profile: Self = toml::from_str(text).map_err(|error| {
            ProfileError(error.message().split_whitespace().collect::<Vec<_>>().join(" "))
        })?;
        match profile.format {
            1 if !profile.limits.is_empty() => Ok(profile),
            1 => Err(ProfileError("it has no limit".into())),
            other => Err(ProfileError(format!("this version reads format = 1, not {other}"))),
        }
    }
}

fn words<'de, D: serde::Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display> + Ord>(
    from: D,
) -> Result<BTreeSet<T>, D::Error> {
    let words = Vec::<String>::deserialize(from)?;
    words.iter().map(|word| word.parse().map_err(serde::de::Error::custom)).collect()
}

fn period<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Period, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}
