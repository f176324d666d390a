//! Registers: state machines folded from events; and what the details of their entries tell, read back at a start.
//!
//! Who holds a grant, for whom a mandate is, who asked and who answered stands only in details. The fold never needs them:
//! it counts ids, days and entries, and `told` knows the persons for as long as their details are there.

pub mod approvals;
pub mod charter;
pub mod grants;
pub mod heartbeat;
pub mod holds;
pub mod judge;
pub mod mandates;
pub mod reviews;
pub mod secrets;
pub mod standing;
pub mod told;
pub mod upkeep;
pub mod uses;

use crate::core::time::Timestamp;

/// Grants, mandates, approvals and the charter, as the ledger tells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    /// Grants proposed or given, and grants of the policy that were suspended or reviewed.
    pub grants: grants::Grants,
    /// Mandates, withdrawn ones too.
    pub mandates: mandates::Mandates,
    /// Approvals asked for, until some time after they can no longer be used.
    pub approvals: approvals::Approvals,
    /// Who acknowledged the charter: entries, not persons.
    pub charter: charter::Charter,
}

impl Registers {
    /// The entries whose details a decision to come may need at `now`: they must not be destroyed.
    pub fn needed_entries(&self, now: Timestamp) -> impl Iterator<Item = u64> {
        let grants = self.grants.iter().map(|(_, grant)| grant.entry);
        let mandates = self.mandates.iter().filter(|(_, mandate)| mandate.withdrawn.is_none());
        let approvals = self.approvals.iter().filter(move |(_, approval)| approval.stands_at(now));
        grants
            .chain(mandates.map(|(_, mandate)| mandate.entry))
            .chain(approvals.flat_map(|(_, approval)| approval.entries()))
            .chain(self.charter.iter().map(|(entry, _)| entry))
    }

    /// The entries whose details are told for as long as they are there: those needed, and those of what has just ended.
    pub fn remembered_entries(&self) -> impl Iterator<Item = u64> {
        let grants = self.grants.iter().map(|(_, grant)| grant.entry);
        grants
            .chain(self.mandates.iter().map(|(_, mandate)| mandate.entry))
            .chain(self.approvals.iter().flat_map(|(_, approval)| approval.entries()))
            .chain(self.charter.iter().map(|(entry, _)| entry))
    }
}

/// An event that does not fit what a register says so far, in words without the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Of which register.
    pub of: FaultOf,
    /// What does not fit.
    pub sentence: String,
}

/// The registers that can be contradicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultOf {
    /// Grants.
    Grants,
    /// Mandates.
    Mandates,
    /// Approvals.
    Approvals,
    /// The charter.
    Charter,
    /// None of them: the entry lacks what its event needs.
    Incomplete,
}

impl Fault {
    /// The entry lacks a key of `data` that its event needs when it takes effect.
    pub(in crate::core) fn lacks(key: &'static str) -> Self {
        Self { of: FaultOf::Incomplete, sentence: format!("the entry names no {key}") }
    }
}
