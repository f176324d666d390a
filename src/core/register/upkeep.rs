//! What the registers need by themselves: grants and mandates end with their last day, a grant is suspended when its account
//! is gone or locked or its yearly review is overdue (R65, R66), an acknowledgement lapses with its account.
//!
//! Pure: the day, the accounts and the policy come in as arguments; the plan is a list of events. Must never end anything by the
//! clock while that is suspect (invariant 11).

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::grants::{Granted, Stage};
use super::judge::AccountIs;
use super::told::Told;
use crate::core::event::{
    CharterLapsed, Event, GrantEnd, GrantEnded, GrantSuspended, MandateEnd, MandateWithdrawn, SuspendedWhy,
};
use crate::core::ids::{GrantId, MandateId, RuleId};
use crate::core::policy::{Grant, Policy};
use crate::core::state::State;
use crate::core::time::Timestamp;

/// One thing to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A grant or a proposal of the register ends.
    End(GrantId, GrantEnd),
    /// A grant of the register is suspended.
    Suspend(GrantId, SuspendedWhy),
    /// A grant of the policy is suspended; under its id, when the register knows it already.
    SuspendRule(RuleId, Option<GrantId>, SuspendedWhy),
    /// A mandate ends.
    EndMandate(MandateId),
    /// An acknowledgement lapses.
    Lapse(u64),
}

impl Task {
    /// The event; `new` is a random id for a grant of the policy that the register does not know yet.
    pub fn event(&self, new: GrantId) -> Event {
        match self {
            Self::End(id, why) => Event::GrantEnded(GrantEnded { grant: Some(*id), why: *why }),
            Self::Suspend(id, why) => {
                Event::GrantSuspended(GrantSuspended { grant: Some(*id), why: *why, policy: false })
            }
            Self::SuspendRule(_, known, why) => Event::GrantSuspended(GrantSuspended {
                grant: Some(known.unwrap_or(new)),
                why: *why,
                policy: true,
            }),
            Self::EndMandate(id) => Event::MandateWithdrawn(MandateWithdrawn {
                mandate: Some(id.clone()),
                why: MandateEnd::Expired,
            }),
            Self::Lapse(entry) => Event::CharterLapsed(CharterLapsed { entry: *entry }),
        }
    }
}

/// What is known when a plan is made.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The fold.
    pub state: &'a State,
    /// The persons.
    pub told: &'a Told,
    /// The policy in force.
    pub policy: &'a Policy,
    /// Accounts by name; one that could not be looked up is absent, and nothing follows from that.
    pub accounts: &'a BTreeMap<String, AccountIs>,
    /// Local time.
    pub zone: &'a TimeZone,
    /// The wall clock.
    pub now: Timestamp,
}

/// The accounts that a plan needs to know of.
pub fn accounts_named(state: &State, told: &Told, policy: &Policy) -> BTreeSet<String> {
    let registers = state.registers();
    let granted = registers.grants.iter().filter_map(|(_, grant)| told.detail(grant.entry)?.user.clone());
    let of_policy = policy.grants().map(|(_, grant)| grant.user.as_str().to_owned());
    let acknowledged = registers.charter.iter().filter_map(|(entry, _)| told.party(entry)?.user);
    granted.chain(of_policy).chain(acknowledged).collect()
}

/// The id under which the register knows a rule of the policy.
pub fn known_rule(state: &State, told: &Told, rule: &RuleId) -> Option<GrantId> {
    let of_policy = state.registers().grants.iter().filter(|(_, grant)| grant.stage == Stage::Policy);
    let mut same = of_policy.filter(|(_, grant)| {
        told.detail(grant.entry).and_then(|it| it.grant_rule.as_deref()) == Some(rule.as_str())
    });
    same.next().map(|(id, _)| *id)
}

/// Everything that is to be written now.
pub fn plan_upkeep(known: Known<'_>) -> Vec<Task> {
    let timed = !known.state.clock_suspect();
    let registers = known.state.registers();
    let mut tasks = Vec::new();
    let grants = registers.grants.iter();
    tasks.extend(grants.filter_map(|(id, grant)| known.of_register(*id, grant, timed)));
    tasks.extend(known.policy.grants().filter_map(|(rule, grant)| known.of_policy(rule, grant, timed)));
    let today = known.now.date_in(known.zone);
    let over = |until| timed && until < today;
    let mandates = registers.mandates.iter().filter(|(_, it)| it.withdrawn.is_none() && over(it.until));
    tasks.extend(mandates.map(|(id, _)| Task::EndMandate(id.clone())));
    let lapsed = registers.charter.iter().filter(|(entry, _)| known.is_lapsed(*entry));
    tasks.extend(lapsed.map(|(entry, _)| Task::Lapse(entry)));
    tasks
}

impl Known<'_> {
    fn account(&self, user: &str) -> Option<SuspendedWhy> {
        match self.accounts.get(user)? {
            AccountIs::Gone => Some(SuspendedWhy::AccountGone),
            AccountIs::Locked => Some(SuspendedWhy::AccountLocked),
            AccountIs::Usable(_) => None,
        }
    }

    /// Whether what was confirmed last at `since` had to be reviewed by now, the grace included.
    fn overdue(&self, since: Timestamp) -> bool {
        let (every, grace) = self.policy.review_periods();
        let due = since.checked_add(&every).and_then(|due| due.checked_add(&grace));
        due.is_ok_and(|due| due < self.now)
    }

    fn of_register(&self, id: GrantId, grant: &Granted, timed: bool) -> Option<Task> {
        let detail = self.told.detail(grant.entry);
        if grant.stage == Stage::Policy {
            // The policy has no such rule any more; or nobody can tell which rule it was.
            let rule: Option<RuleId> = detail.and_then(|it| it.grant_rule.as_ref()?.parse().ok());
            let there = rule.is_some_and(|rule| self.policy.grants().any(|(id, _)| *id == rule));
            return (!there).then_some(Task::End(id, GrantEnd::RuleGone));
        }
        let over = grant.until.is_some_and(|until| until < self.now.date_in(self.zone));
        if over && timed {
            return Some(Task::End(id, GrantEnd::Expired));
        }
        if grant.stage != Stage::Given || grant.suspended.is_some() {
            return None;
        }
        let user = detail.and_then(|it| it.user.as_deref());
        let gone = user.and_then(|user| self.account(user));
        let overdue = || (timed && self.overdue(grant.confirmed())).then_some(SuspendedWhy::ReviewOverdue);
        gone.or_else(overdue).map(|why| Task::Suspend(id, why))
    }

    /// A grant of the policy counts as confirmed on the day that it names itself, when its review was entered here, and when
    /// the policy was loaded as it is now.
    fn of_policy(&self, rule: &RuleId, grant: &Grant, timed: bool) -> Option<Task> {
        let id = known_rule(self.state, self.told, rule);
        let known = id.and_then(|id| self.state.registers().grants.get(&id));
        if known.is_some_and(|known| known.suspended.is_some()) {
            return None;
        }
        if grant.until.is_some_and(|until| until < self.now.date_in(self.zone)) {
            return None;
        }
        let overdue = || {
            let loaded = self.state.policy_loaded()?;
            let reviewed = grant.reviewed.and_then(|day| day.to_zoned(self.zone.clone()).ok());
            let reviewed =
                reviewed.and_then(|day| Timestamp::from_micros(day.timestamp().as_microsecond()).ok());
            let confirmed = reviewed.unwrap_or(loaded);
            let here = known.and_then(|known| known.reviewed);
            let confirmed = here.map_or(confirmed, |here| here.max(confirmed));
            (timed && self.overdue(confirmed)).then_some(SuspendedWhy::ReviewOverdue)
        };
        let why = self.account(grant.user.as_str()).or_else(overdue)?;
        Some(Task::SuspendRule(rule.clone(), id, why))
    }

    /// The account is gone, or its name belongs to another number by now.
    fn is_lapsed(&self, entry: u64) -> bool {
        let Some(party) = self.told.party(entry) else { return false };
        let account = party.user.as_ref().and_then(|user| self.accounts.get(user));
        match account {
            Some(AccountIs::Gone) => true,
            Some(AccountIs::Usable(uid)) => *uid != party.uid,
            Some(AccountIs::Locked) | None => false,
        }
    }
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
