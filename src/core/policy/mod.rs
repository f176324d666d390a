//! Who may do what, and why (design §8): the policy as types, its reader, `decide`, the linter, the bound on refusals.
//!
//! Owns the shape of `policy.toml`, its digest and every access decision. Must never read a file, a clock or an
//! account database: the texts, the time and the caller come in as arguments. Keeps invariants 2 (every refusal names
//! its rule) and 8 (administrators are bound).

mod answer;
mod ask;
mod check;
mod conditions;
mod cover;
mod decide;
mod diff;
mod digest;
mod ends;
mod error;
mod facts;
mod flood;
mod hours;
mod index;
mod items;
mod limits;
mod lint;
mod names;
mod parse;
mod permit;
mod profile;
mod read;
mod refuse;
mod request;
mod rows;
mod rule_items;
mod rules;
mod scope;
mod terms;

use std::collections::{BTreeMap, BTreeSet};

pub use answer::{Decision, Denial, DenialKind, Need};
pub use decide::{Running, decide, reconsider};
pub use diff::{Change, Difference, diff};
pub use error::{PolicyError, PolicyErrors};
pub use facts::{
    Approval, ApprovalAnswer, ApprovalScope, Facts, Mandate, RecordingFacts, RegisteredGrants, Suspension,
};
pub use flood::{Flood, FloodVerdict, RefusalKey, RefusedMany};
pub use hours::{Day, Hours};
pub use limits::{DayUse, Used, start_of_day};
pub use lint::{LINT_CODES, LintFacts, Warning, lint};
pub use names::{UserName, Verb};
pub use permit::Permit;
pub use profile::{Ask, MAX_PROFILE_BYTES, Profile, ProfileError, ProfileLimit};
pub use refuse::refuse_caller;
pub use request::{AccessRequest, House, Principal, Target};
pub use rows::Rows;
pub use rules::{
    Authorisation, Charter, Class, Deny, Grant, GrantsIn, Limits, Needs, PeriodStart, Purpose, Reason, Role,
    Secrecy, Source, Whose,
};
pub use scope::{Scope, SourceChange, compare_sources, may, searchable_sources};

use super::ids::{ClassId, Digest, ProfileId, PurposeId, ReasonCode, RoleId, RuleId, SourceId};
use super::time::Period;
use index::Index;
use rules::{Placed, Terms};

/// The commented policy, without sources and grants, that `greffierctl init` writes.
pub const TEMPLATE: &str = include_str!("policy.toml.init");

/// One text of a policy, as read from the folder of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The name relative to that folder: `policy.toml` or `policy.d/….toml`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A policy, read whole and checked whole. Every id that a part of it names exists in it.
#[derive(Debug, Clone)]
pub struct Policy {
    digest: Digest,
    terms: Terms,
    reasons: BTreeMap<ReasonCode, Placed<Reason>>,
    purposes: BTreeMap<PurposeId, Placed<Purpose>>,
    classes: BTreeMap<ClassId, Placed<Class>>,
    sources: BTreeMap<SourceId, Placed<Source>>,
    roles: BTreeMap<RoleId, Placed<Role>>,
    grants: BTreeMap<RuleId, Placed<Grant>>,
    denies: BTreeMap<RuleId, Placed<Deny>>,
    incompatible: BTreeMap<RuleId, Placed<BTreeSet<RoleId>>>,
    index: Index,
}

impl Policy {
    /// Reads and checks the files of one policy together; their order does not matter.
    ///
    /// # Errors
    /// Every mistake found, each with file, line and reason. A policy with one mistake is refused whole.
    pub fn parse(files: &[PolicyFile]) -> Result<Self, PolicyErrors> {
        let mut policy = parse::parse(files)?;
        check::check(&policy)?;
        policy.index = Index::of(&policy);
        policy.digest = digest::digest(files);
        Ok(policy)
    }

    /// The digest that a policy of these files has, whether or not it could be loaded.
    pub fn digest_of(files: &[PolicyFile]) -> Digest {
        digest::digest(files)
    }

    /// The policy of a service that has loaded none: it knows nothing and refuses everything. Its digest is that of no
    /// text at all.
    pub fn empty() -> Self {
        Self {
            digest: digest::digest(&[]),
            terms: Terms::none(),
            reasons: BTreeMap::new(),
            purposes: BTreeMap::new(),
            classes: BTreeMap::new(),
            sources: BTreeMap::new(),
            roles: BTreeMap::new(),
            grants: BTreeMap::new(),
            denies: BTreeMap::new(),
            incompatible: BTreeMap::new(),
            index: Index::default(),
        }
    }

    /// SHA-256 of what `sha256sum policy.toml policy.d/*.toml` prints in the policy's folder (design §8).
    pub const fn digest(&self) -> Digest {
        self.digest
    }
    /// The organisation that answers for the recordings.
    pub fn controller(&self) -> &str {
        &self.terms.controller
    }
    /// What everybody acknowledges before the first opening.
    pub const fn charter(&self) -> Option<&Charter> {
        self.terms.charter.as_ref()
    }
    /// Where grants stand.
    pub const fn grants_in(&self) -> GrantsIn {
        self.terms.grants_in
    }
    /// How often a grant is to be confirmed, and how long after that it still holds unconfirmed (R66).
    pub const fn review_periods(&self) -> (Period, Period) {
        (self.terms.review_every, self.terms.review_grace)
    }
    /// The profiles that the policy wants to be measured by.
    pub fn profiles(&self) -> impl Iterator<Item = &ProfileId> {
        self.terms.profiles.iter()
    }
    /// Roles that exclude each other, by the id of the line that says so.
    pub fn incompatible(&self) -> impl Iterator<Item = (&RuleId, &BTreeSet<RoleId>)> {
        values(&self.incompatible)
    }
    /// Whether somebody may have to authenticate again for something. Of the register's grants nothing is known here.
    pub fn may_ask_again(&self) -> bool {
        let roles = self.roles.values().any(|role| role.value.reauth);
        roles || self.grants().any(|(_, grant)| grant.needs.reauth) || self.grants_in() == GrantsIn::Register
    }
    /// Whether a rule asks whose a recording is. Of the register's grants nothing is known here.
    pub fn asks_whose(&self) -> bool {
        self.grants().any(|(_, grant)| grant.only.own)
            || self.denies().any(|(_, deny)| deny.unless.own)
            || self.grants_in() == GrantsIn::Register
    }
    /// Whether nobody is granted anything: a service with such a policy is degraded.
    pub fn grants_nothing(&self) -> bool {
        self.grants.is_empty()
    }
    /// The closed list of reasons, by code.
    pub fn reasons(&self) -> impl Iterator<Item = (&ReasonCode, &Reason)> {
        values(&self.reasons)
    }
    /// A reason, if the list has it.
    pub fn reason(&self, code: &ReasonCode) -> Option<&Reason> {
        self.reasons.get(code).map(|placed| &placed.value)
    }
    /// The purposes, by id.
    pub fn purposes(&self) -> impl Iterator<Item = (&PurposeId, &Purpose)> {
        values(&self.purposes)
    }
    /// A purpose.
    pub fn purpose(&self, id: &PurposeId) -> Option<&Purpose> {
        self.purposes.get(id).map(|placed| &placed.value)
    }
    /// The retention classes, by id.
    pub fn classes(&self) -> impl Iterator<Item = (&ClassId, &Class)> {
        values(&self.classes)
    }
    /// A retention class.
    pub fn class(&self, id: &ClassId) -> Option<&Class> {
        self.classes.get(id).map(|placed| &placed.value)
    }
    /// The sources, by id.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceId, &Source)> {
        values(&self.sources)
    }
    /// A source, if it is registered now. A retired source may still have recordings.
    pub fn source(&self, id: &SourceId) -> Option<&Source> {
        self.sources.get(id).map(|placed| &placed.value)
    }
    /// The roles, by id.
    pub fn roles(&self) -> impl Iterator<Item = (&RoleId, &Role)> {
        values(&self.roles)
    }
    /// A role.
    pub fn role(&self, id: &RoleId) -> Option<&Role> {
        self.roles.get(id).map(|placed| &placed.value)
    }
    /// The grants, by rule id; those that have ended too.
    pub fn grants(&self) -> impl Iterator<Item = (&RuleId, &Grant)> {
        values(&self.grants)
    }
    /// Every account that the policy names: of grants and who gave them, denies and spool folders.
    pub fn users(&self) -> BTreeSet<&UserName> {
        let granted = self.grants().map(|(_, grant)| &grant.user);
        let granters = self.grants().filter_map(|(_, grant)| grant.granted_by.as_ref());
        let denied = self.denies().flat_map(|(_, deny)| deny.users.iter().flatten());
        let writers = self.sources().filter_map(|(_, source)| source.writer.as_ref());
        granted.chain(granters).chain(denied).chain(writers).collect()
    }
    /// The denies, by rule id.
    pub fn denies(&self) -> impl Iterator<Item = (&RuleId, &Deny)> {
        values(&self.denies)
    }
}

fn values<K, V>(map: &BTreeMap<K, Placed<V>>) -> impl Iterator<Item = (&K, &V)> {
    map.iter().map(|(id, placed)| (id, &placed.value))
}
