//! What stands in the registers, in the words of the policy: grants, suspensions, mandates and approvals as `decide` takes them.
//!
//! Made of the fold and of what details tell, again whenever one of them or the policy changes. Must never hold a grant that the
//! policy in force cannot read, nor anything whose detail is gone: what nobody can tell any more allows nothing.

use std::collections::BTreeMap;

use super::approvals::{About, Asked};
use super::grants::Stage;
use super::mandates::Mandated;
use super::told::Told;
use crate::core::event::SuspendedWhy;
use crate::core::ids::{ApprovalId, Digest, GrantId, MandateId, RuleId};
use crate::core::policy::{
    Approval, ApprovalAnswer, ApprovalScope, Mandate, Policy, RegisteredGrants, Suspension,
};
use crate::core::state::State;

/// What stands, for decisions.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    registered: RegisteredGrants,
    suspended: BTreeMap<RuleId, Suspension>,
    mandates: BTreeMap<MandateId, Mandate>,
    approvals: BTreeMap<ApprovalId, Approval>,
    /// Grants that were given and that the policy in force cannot read, and why.
    unreadable: BTreeMap<GrantId, String>,
    /// What the grants are made of: policy and version; and the version of the rest.
    grants_of: Option<(Digest, u64)>,
    others_of: Option<u64>,
}

impl Standing {
    /// Grants of the register that were given, suspended ones too.
    pub const fn registered(&self) -> &RegisteredGrants {
        &self.registered
    }
    /// Rules that allow nothing for now, of the policy too.
    pub const fn suspended(&self) -> &BTreeMap<RuleId, Suspension> {
        &self.suspended
    }
    /// A mandate, also one that is over.
    pub fn mandate(&self, id: &MandateId) -> Option<&Mandate> {
        self.mandates.get(id)
    }
    /// An approval, also one that is over.
    pub fn approval(&self, id: &ApprovalId) -> Option<&Approval> {
        self.approvals.get(id)
    }
    /// All approvals that are remembered.
    pub fn approvals(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.values()
    }
    /// Why a grant that was given allows nothing under the policy in force: it names what that does not know.
    pub fn unreadable(&self, id: &GrantId) -> Option<&str> {
        self.unreadable.get(id).map(String::as_str)
    }

    /// Makes anew what has changed since.
    pub fn refresh(&mut self, policy: &Policy, state: &State, told: &Told) {
        let grants_of = (policy.digest(), told.grants_version());
        if self.grants_of != Some(grants_of) {
            // Under the same policy a grant reads as before.
            let same_policy = self.grants_of.is_some_and(|(digest, _)| digest == policy.digest());
            self.read_grants(policy, state, told, same_policy);
            self.grants_of = Some(grants_of);
        }
        if self.others_of != Some(told.others_version()) {
            let registers = state.registers();
            let mandates = registers.mandates.iter();
            self.mandates =
                mandates.filter_map(|(id, it)| Some((id.clone(), mandate(id, it, told)?))).collect();
            let approvals = registers.approvals.iter();
            self.approvals = approvals.filter_map(|(id, it)| Some((*id, approval(*id, it, told)?))).collect();
            self.others_of = Some(told.others_version());
        }
    }

    fn read_grants(&mut self, policy: &Policy, state: &State, told: &Told, same_policy: bool) {
        let mut before = std::mem::take(&mut self.registered);
        self.suspended.clear();
        self.unreadable.clear();
        for (id, grant) in state.registers().grants.iter() {
            let detail = told.detail(grant.entry);
            let rule = match grant.stage {
                Stage::Proposed => continue,
                Stage::Given => Some(id.rule()),
                Stage::Policy => {
                    detail.and_then(|it| it.grant_rule.as_ref()).and_then(|rule| rule.parse().ok())
                }
            };
            let Some(rule) = rule else { continue };
            if let Some(why) = grant.suspended {
                self.suspended.insert(rule.clone(), suspension(why));
            }
            if grant.stage != Stage::Given {
                continue;
            }
            if let Some(known) = before.remove(&rule).filter(|_| same_policy) {
                self.registered.insert(rule, known);
                continue;
            }
            let Some(text) = detail.and_then(|it| it.grant.as_ref()) else { continue };
            match policy.read_grant(&rule, text) {
                Ok(grant) => self.registered.insert(rule, grant),
                Err(errors) => drop(self.unreadable.insert(*id, errors.to_string())),
            }
        }
    }
}

const fn suspension(why: SuspendedWhy) -> Suspension {
    match why {
        SuspendedWhy::AccountGone => Suspension::AccountGone,
        SuspendedWhy::AccountLocked => Suspension::AccountLocked,
        SuspendedWhy::ReviewOverdue => Suspension::ReviewOverdue,
        SuspendedWhy::ByHand => Suspension::ByHand,
    }
}

fn mandate(id: &MandateId, it: &Mandated, told: &Told) -> Option<Mandate> {
    let detail = told.detail(it.entry)?;
    Some(Mandate {
        id: id.clone(),
        user: detail.user.as_ref()?.parse().ok()?,
        client: detail.client.clone()?,
        tasks: it.tasks.clone(),
        sources: it.sources.clone(),
        from: it.from,
        until: it.until,
        version: u32::try_from(it.version).unwrap_or(u32::MAX),
        withdrawn: it.withdrawn.map(|(at, _)| at),
    })
}

fn approval(id: ApprovalId, it: &Asked, told: &Told) -> Option<Approval> {
    let scope = match &it.about {
        About::Recording(id) => ApprovalScope::Recording(*id),
        About::Interval { source, from, to } => {
            ApprovalScope::Interval { source: source.clone(), from: *from, to: *to }
        }
        About::Service => ApprovalScope::Service,
    };
    let answer = match it.answer {
        None => None,
        // Who answered is part of the answer: without it there is none.
        Some(answer) => Some(ApprovalAnswer {
            by: told.party(answer.entry)?.uid,
            accepted: answer.accepted,
            at: answer.at,
        }),
    };
    Some(Approval {
        id,
        asked_by: told.party(it.entry)?.uid,
        verb: it.verb,
        scope,
        purpose: it.purpose.clone(),
        expires: it.expires,
        duration: it.duration,
        answer,
        used: it.used.is_some(),
    })
}
