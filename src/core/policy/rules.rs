//! What a policy is made of: reasons, purposes, classes, sources, roles, grants, denies.
//!
//! Plain data. The values here are already read and checked; nothing in this file decides.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

use super::names::{UserName, Verb};
use crate::core::ids::{ClassId, Kind, PurposeId, ReasonCode, RoleId, SourceId, ZoneId};
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
}

/// A set of verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Never empty; never `administer` together with `view` (invariant 8).
    pub verbs: BTreeSet<Verb>,
}

/// A role, for a named person, on a scope, for a time. What is absent does not limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who; never `root`.
    pub user: UserName,
    /// What that person may do.
    pub role: RoleId,
    /// Only on these sources.
    pub sources: Option<BTreeSet<SourceId>>,
    /// Only for these reasons.
    pub reasons: Option<BTreeSet<ReasonCode>>,
    /// No session lasts longer than this.
    pub max_session: Option<Period>,
    /// No more different recordings are opened in a local day; never 0.
    pub max_recordings_a_day: Option<u64>,
    /// No more bytes are handed out in a local day; never 0. A session counts for the day it began on.
    pub max_bytes_a_day: Option<u64>,
    /// Whether a pipe may be given where there is no FUSE device.
    pub pipe: bool,
    /// The last day on which it holds, local time.
    pub until: Option<Date>,
}

/// A rule that wins over every grant. What is absent does not limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// Whom it binds; absent: everybody.
    pub user: Option<UserName>,
    /// What it forbids; never empty.
    pub verbs: BTreeSet<Verb>,
    /// Only on these sources.
    pub sources: Option<BTreeSet<SourceId>>,
    /// Only for these reasons.
    pub reasons: Option<BTreeSet<ReasonCode>>,
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
