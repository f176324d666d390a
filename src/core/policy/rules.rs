//! What a policy is made of: reasons, purposes, classes, sources, roles, grants, denies, and what it says once for all.
//!
//! Plain data. The values here are already read and checked; nothing in this file decides.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;

use super::hours::{Day, Hours};
use super::names::{UserName, Verb};
use crate::core::ids::{ClassId, Kind, ProfileId, PurposeId, ReasonCode, RoleId, SourceId, ZoneId};
use crate::core::time::Period;

/// Why an access may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// One sentence for people.
    pub text: String,
    /// Whether a case reference must be given with it.
    pub case: bool,
}

/// Why recordings of a source exist, and which reasons for access serve that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// The kinds of recording that may exist for this purpose; never empty.
    pub kinds: BTreeSet<Kind>,
    /// The reasons that serve it; never empty.
    pub reasons: BTreeSet<ReasonCode>,
}

/// From when the periods of a class count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodStart {
    /// From sealing: the archive's own clock.
    Sealed,
    /// From the start of the recording, which a recorder's clock gave.
    Recorded {
        /// How far before sealing that start may lie; beyond it, or after sealing, the period counts from sealing.
        within: Period,
    },
}

/// How long recordings stay (design §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Not destroyed before, not even on request; absent: no lower bound.
    pub min: Option<Period>,
    /// Destroyed at the end of this.
    pub max: Period,
    /// From when both count.
    pub from: PeriodStart,
}

/// Which secrecy of profession covers what a source records (R71).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Of health professions.
    Medical,
    /// Of lawyers.
    Legal,
    /// Of social work.
    Social,
}

/// Text that is no secrecy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secrecy must be medical, legal or social")]
pub struct SecrecyError;

impl FromStr for Secrecy {
    type Err = SecrecyError;
    fn from_str(text: &str) -> Result<Self, SecrecyError> {
        match text {
            "medical" => Ok(Self::Medical),
            "legal" => Ok(Self::Legal),
            "social" => Ok(Self::Social),
            _ => Err(SecrecyError),
        }
    }
}

/// The authorisation of a public authority to film a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorisation {
    /// The number of the decision.
    pub reference: String,
    /// Its last day, local time.
    pub until: Date,
}

/// A camera, a line, a workstation. Equal sources need no `source.changed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it records.
    pub kind: Kind,
    /// The place it films.
    pub zone: Option<ZoneId>,
    /// Why it records; never empty, and each allows `kind`.
    pub purposes: BTreeSet<PurposeId>,
    /// How long its recordings stay.
    pub class: ClassId,
    /// The account that fills its spool folder.
    pub writer: Option<UserName>,
    /// Whether nobody can be recognised in its recordings (R30).
    pub anonymised: bool,
    /// Which secrecy covers it.
    pub secrecy: Option<Secrecy>,
    /// How the people recorded are told: where the notice hangs, what the announcement says.
    pub notice: Option<String>,
    /// The authorisation that it needs, if it needs one.
    pub authorisation: Option<Authorisation>,
}

/// A set of verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Never empty; never `administer` together with `view` (invariant 8).
    pub verbs: BTreeSet<Verb>,
    /// Whether only trained persons may act in it.
    pub trained: bool,
    /// Whether each of its grants needs a second person.
    pub second_person: bool,
    /// Whether each of its grants needs the person to authenticate again.
    pub reauth: bool,
}

/// The scope of a rule. What is absent does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Only on these sources.
    pub sources: Option<BTreeSet<SourceId>>,
    /// Only on sources that film these places.
    pub zones: Option<BTreeSet<ZoneId>>,
    /// Only on recordings of these kinds.
    pub kinds: Option<BTreeSet<Kind>>,
    /// Only for these reasons.
    pub reasons: Option<BTreeSet<ReasonCode>>,
    /// Only for these purposes.
    pub purposes: Option<BTreeSet<PurposeId>>,
    /// Only on these days of the week, local time.
    pub days: Option<BTreeSet<Day>>,
    /// Only in these hours, local time; those over midnight belong to the day they begin on.
    pub hours: Option<BTreeSet<Hours>>,
    /// Only on recordings that began at least so long ago.
    pub age_min: Option<Period>,
    /// Only on recordings that began less than so long ago.
    pub age_max: Option<Period>,
}

impl Limits {
    /// Whether it matters which source a recording is of.
    pub const fn is_about_sources(&self) -> bool {
        self.sources.is_some() || self.zones.is_some() || self.kinds.is_some()
    }
}

/// Recordings told apart by whom they show. Both together: one or the other is enough (R30).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whose {
    /// The caller's own: he is the `subject` of the recording.
    pub own: bool,
    /// Those of sources that are anonymised.
    pub anonymised: bool,
}

impl Whose {
    /// Whether it says anything.
    pub const fn is_set(self) -> bool {
        self.own || self.anonymised
    }
}

/// What a grant asks for beside itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The consent of a second person, for each act.
    pub second_person: bool,
    /// That the person authenticates again, for each act.
    pub reauth: bool,
    /// A mandate in force that covers the act.
    pub mandate: bool,
}

/// A role, for a named person, on a scope, for a time. What is absent does not limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who; never `root`.
    pub user: UserName,
    /// What that person may do.
    pub role: RoleId,
    /// On what, why and when.
    pub limits: Limits,
    /// Only recordings of these persons.
    pub only: Whose,
    /// No session lasts longer than this.
    pub max_session: Option<Period>,
    /// No more different recordings are opened in a local day; never 0.
    pub max_recordings_a_day: Option<u64>,
    /// No more bytes are handed out in a local day; never 0. A session counts for the day it began on.
    pub max_bytes_a_day: Option<u64>,
    /// Sessions begun in a local day last no longer together, in minutes; never 0.
    pub max_minutes_a_day: Option<u64>,
    /// What it asks for beside itself.
    pub needs: Needs,
    /// Break-glass: only for requests that say that there is an emergency.
    pub emergency: bool,
    /// Whether it replaces somebody for a time, at most 30 days (R67).
    pub temporary: bool,
    /// Whether a pipe may be given where there is no FUSE device.
    pub pipe: bool,
    /// The first day on which it holds, local time.
    pub from: Option<Date>,
    /// The last day on which it holds, local time; at most a year after the first (R65).
    pub until: Option<Date>,
    /// The day for which the training of the person is attested.
    pub trained: Option<Date>,
    /// Who gave it; never the person it is for.
    pub granted_by: Option<UserName>,
    /// The day on which it was confirmed last (R66).
    pub reviewed: Option<Date>,
}

impl Grant {
    /// Whether it limits what is done in one day.
    pub const fn has_day_limit(&self) -> bool {
        self.max_recordings_a_day.is_some()
            || self.max_bytes_a_day.is_some()
            || self.max_minutes_a_day.is_some()
    }
}

/// A rule that wins over every grant. What is absent does not limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// The persons it binds. With `roles` too: it binds both. Without either: everybody.
    pub users: Option<BTreeSet<UserName>>,
    /// It binds whoever holds one of these roles by a grant whose days are not over.
    pub roles: Option<BTreeSet<RoleId>>,
    /// What it forbids; never empty.
    pub verbs: BTreeSet<Verb>,
    /// On what, why and when.
    pub limits: Limits,
    /// Not on recordings of these persons.
    pub unless: Whose,
}

/// What everybody acknowledges before the first opening (R43).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// Changes when the text does: then it is acknowledged anew.
    pub version: String,
    /// What is acknowledged.
    pub text: String,
}

/// Where grants stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GrantsIn {
    /// In the policy.
    #[default]
    Policy,
    /// In the register; only `administer` and `approve` are granted by the policy.
    Register,
}

/// What a policy says once for the whole house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The organisation that answers for the recordings.
    pub controller: String,
    /// The charter, if there is one.
    pub charter: Option<Charter>,
    /// Where grants stand.
    pub grants_in: GrantsIn,
    /// How often a grant is to be confirmed (R66).
    pub review_every: Period,
    /// How long after that it still holds unconfirmed.
    pub review_grace: Period,
    /// The profiles that the policy wants to be measured by.
    pub profiles: BTreeSet<ProfileId>,
}

/// A line of a policy file. Written `policy.toml:12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    /// Counted from 1.
    pub(super) line: u32,
}
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A part of a policy and where it stands. The place is kept apart so that moving a line changes no value.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) place: Place,
    pub(super) value: T,
}
