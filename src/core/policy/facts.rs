//! What `decide` needs to know beside the policy and the request: the facts of the moment.
//!
//! Plain data, filled by the daemon from the fold of the ledger, the account database and the conversation with polkit.
//! Nothing in this file decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;

use super::limits::{DayUse, Used};
use super::names::{UserName, Verb};
use super::rules::Grant;
use crate::core::ids::{ApprovalId, Kind, MandateId, PurposeId, ReasonCode, RecordingId, RuleId, SourceId};
use crate::core::time::{Period, Timestamp};

/// The facts of one request. What is absent is not known, and counts against the caller.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Of the recording that the request is about.
    pub recording: Option<RecordingFacts>,
    /// The grants of the register.
    pub registered: &'a RegisteredGrants,
    /// Rules that are suspended, of the policy and of the register.
    pub suspended: &'a BTreeMap<RuleId, Suspension>,
    /// The mandate that the request names, if there is one of that id; a withdrawn one too.
    pub mandate: Option<&'a Mandate>,
    /// The approval that the request names, if there is one of that id.
    pub approval: Option<&'a Approval>,
    /// The version of the charter that the caller acknowledged last.
    pub charter: Option<&'a str>,
    /// Whether the caller has authenticated again for this request.
    pub reauthenticated: bool,
    /// What the caller has used of the limits for a day.
    pub used: Used<'a>,
}

static NO_GRANTS: RegisteredGrants = RegisteredGrants { by_id: BTreeMap::new(), by_user: BTreeMap::new() };
static NO_SUSPENSIONS: BTreeMap<RuleId, Suspension> = BTreeMap::new();

fn nothing_used(_: &RuleId, _: Timestamp) -> DayUse {
    DayUse::default()
}

impl Facts<'static> {
    /// Nothing is known: no register, nobody re-authenticated, nothing used today.
    pub fn none() -> Self {
        Self {
            recording: None,
            registered: &NO_GRANTS,
            suspended: &NO_SUSPENSIONS,
            mandate: None,
            approval: None,
            charter: None,
            reauthenticated: false,
            used: &nothing_used,
        }
    }
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("recording", &self.recording)
            .field("mandate", &self.mandate)
            .field("approval", &self.approval)
            .field("charter", &self.charter)
            .field("reauthenticated", &self.reauthenticated)
            .finish_non_exhaustive()
    }
}

/// Of one recording, what rules ask for. Its source stands in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingFacts {
    /// What it is.
    pub kind: Kind,
    /// Its first instant: its age counts from there.
    pub start: Timestamp,
    /// Its last instant.
    pub end: Timestamp,
    /// Whether it is the caller's own: its `subject` is the caller's account. Absent: not known.
    pub own: Option<bool>,
}

/// The grants of the register, found by user as fast as by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisteredGrants {
    by_id: BTreeMap<RuleId, Grant>,
    by_user: BTreeMap<UserName, BTreeSet<RuleId>>,
}

impl RegisteredGrants {
    /// None.
    pub const fn new() -> Self {
        Self { by_id: BTreeMap::new(), by_user: BTreeMap::new() }
    }
    /// Adds a grant; one of the same id is replaced.
    pub fn insert(&mut self, id: RuleId, grant: Grant) {
        drop(self.remove(&id));
        self.by_user.entry(grant.user.clone()).or_default().insert(id.clone());
        self.by_id.insert(id, grant);
    }
    /// Takes a grant out.
    pub fn remove(&mut self, id: &RuleId) -> Option<Grant> {
        let grant = self.by_id.remove(id)?;
        if let Some(ids) = self.by_user.get_mut(&grant.user) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_user.remove(&grant.user);
            }
        }
        Some(grant)
    }
    /// A grant.
    pub fn get(&self, id: &RuleId) -> Option<&Grant> {
        self.by_id.get(id)
    }
    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&RuleId, &Grant)> {
        self.by_id.iter()
    }
    /// Those of one person, by id.
    pub fn of_user(&self, user: &UserName) -> impl Iterator<Item = (&RuleId, &Grant)> {
        self.by_user.get(user).into_iter().flatten().filter_map(|id| self.by_id.get_key_value(id))
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl FromIterator<(RuleId, Grant)> for RegisteredGrants {
    fn from_iter<I: IntoIterator<Item = (RuleId, Grant)>>(grants: I) -> Self {
        let mut all = Self::new();
        grants.into_iter().for_each(|(id, grant)| all.insert(id, grant));
        all
    }
}

/// Why a grant gives nothing for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspension {
    /// The account does not exist any more.
    AccountGone,
    /// The account is locked.
    AccountLocked,
    /// It was not confirmed at its yearly review (R66).
    ReviewOverdue,
    /// Somebody suspended it.
    ByHand,
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccountGone => "the account is gone",
            Self::AccountLocked => "the account is locked",
            Self::ReviewOverdue => "its review is overdue",
            Self::ByHand => "somebody suspended it",
        })
    }
}

/// A written delegation (R69), as far as it decides: who may act, for what, on what, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    /// Its name.
    pub id: MandateId,
    /// Who may act.
    pub user: UserName,
    /// Whose recordings they are, in words.
    pub client: String,
    /// The tasks: only for these reasons.
    pub tasks: BTreeSet<ReasonCode>,
    /// Only on these sources; absent: on all.
    pub sources: Option<BTreeSet<SourceId>>,
    /// The first day on which it holds, local time.
    pub from: Date,
    /// The last day on which it holds, local time.
    pub until: Date,
    /// Counted from 1; each change makes the next.
    pub version: u32,
    /// When it was withdrawn; from then on it gives nothing.
    pub withdrawn: Option<Timestamp>,
}

/// The consent of a second person to one act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The uid that asked for it; only that person can use it.
    pub asked_by: u32,
    /// The act.
    pub verb: Verb,
    /// On what.
    pub scope: ApprovalScope,
    /// For which purpose; absent for acts that serve none.
    pub purpose: Option<PurposeId>,
    /// From when on it cannot be used any more.
    pub expires: Timestamp,
    /// No session under it lasts longer.
    pub duration: Option<Period>,
    /// What the second person said.
    pub answer: Option<ApprovalAnswer>,
    /// Whether it was used: it serves once.
    pub used: bool,
}

/// What an approval is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalScope {
    /// One recording.
    Recording(RecordingId),
    /// One recording of an interval of a source: it must lie in it.
    Interval {
        /// The source.
        source: SourceId,
        /// The first instant.
        from: Timestamp,
        /// The last instant.
        to: Timestamp,
    },
    /// The service: an administrator's act.
    Service,
}

/// The answer of a second person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalAnswer {
    /// The uid that gave it.
    pub by: u32,
    /// Yes or no.
    pub accepted: bool,
    /// When.
    pub at: Timestamp,
}
