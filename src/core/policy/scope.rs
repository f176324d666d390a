//! What follows from a policy as a whole: where a caller may act, and what changed between two policies.
//!
//! Matches by `ask`, like `decide`; so both always agree.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use super::answer::Denial;
use super::ask::{Ask, Question};
use super::names::Verb;
use super::refuse::{caller, refused};
use super::request::{House, Principal};
use crate::core::ids::{ReasonCode, RuleId, SourceId};
use crate::core::time::Timestamp;

/// The sources that `who` may search for `reason` now, each with the grant that lets him. Empty when there is none.
pub fn searchable_sources(
    policy: &Policy,
    house: &House,
    who: &Principal,
    reason: &ReasonCode,
    now: Timestamp,
) -> BTreeMap<SourceId, RuleId> {
    let Ok(user) = caller(house, who) else { return BTreeMap::new() };
    let ask = Ask { policy, house, user, now, begins: now };
    let rule = |source: &SourceId| {
        let question = Question { verb: Verb::Search, source: Some(source), reason: Some(reason) };
        let left = policy.serves(source, reason) && ask.allowed(question);
        left.then(|| ask.best_grant(question, None).map(|(rule, _)| rule.clone())).flatten()
    };
    policy.sources().filter_map(|(source, _)| Some((source.clone(), rule(source)?))).collect()
}

/// Where a verb that takes no reason is allowed.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    rule: RuleId,
    everywhere: bool,
    allowed: BTreeSet<SourceId>,
    denied: BTreeSet<SourceId>,
}

impl Scope {
    /// A grant that gives it: the widest, then the first by id.
    pub const fn rule(&self) -> &RuleId {
        &self.rule
    }
    /// Whether recordings of `source` are covered. A retired source is, when a grant names no sources.
    pub fn covers(&self, source: &SourceId) -> bool {
        !self.denied.contains(source) && (self.everywhere || self.allowed.contains(source))
    }
    /// Whether nothing is left out.
    pub fn is_everywhere(&self) -> bool {
        self.everywhere && self.denied.is_empty()
    }
}

/// Where `who` may do `verb` now without stating a reason: `hold`, `lift`, `purge`, `seal` honour the sources of grants
/// and denies; `read-ledger` and `administer` know no sources.
///
/// # Errors
/// The refusal, when he may nowhere.
pub fn may(
    policy: &Policy,
    house: &House,
    who: &Principal,
    verb: Verb,
    now: Timestamp,
) -> Result<Scope, Denial> {
    let ask = Ask { policy, house, user: caller(house, who)?, now, begins: now };
    let question = |source| Question { verb, source, reason: None };
    let general = ask.grants(question(None)).next().map(|(rule, _)| rule);
    if !verb.takes_source() {
        let rule = general.filter(|_| ask.deny(question(None)).is_none());
        let rule = rule.ok_or_else(|| refused(ask, question(None)))?.clone();
        return Ok(Scope { rule, everywhere: true, allowed: BTreeSet::new(), denied: BTreeSet::new() });
    }
    let denied_everywhere = ask.denies(question(None)).any(|(_, deny)| deny.sources.is_none());
    let everywhere = general.is_some() && !denied_everywhere;
    let (mut allowed, mut denied) = (BTreeSet::new(), BTreeSet::new());
    let mut first = general;
    for (source, _) in policy.sources() {
        if ask.deny(question(Some(source))).is_some() {
            denied.insert(source.clone());
        } else if let Some((rule, _)) = ask.grants(question(Some(source))).next() {
            first = first.or(Some(rule));
            allowed.insert(source.clone());
        }
    }
    match first {
        Some(rule) if everywhere || !allowed.is_empty() => {
            Ok(Scope { rule: rule.clone(), everywhere, allowed, denied })
        }
        _ => Err(refused(ask, question(None))),
    }
}

/// How a source differs between two policies: what `source.registered`, `.changed` and `.retired` record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceChange {
    /// Only the new policy has it.
    Registered,
    /// Both have it, with other properties.
    Changed,
    /// Only the old policy has it.
    Retired,
}

/// The sources that differ, by id. That a source stands on another line is no difference.
pub fn compare_sources(old: &Policy, new: &Policy) -> BTreeMap<SourceId, SourceChange> {
    let ids: BTreeSet<&SourceId> = old.sources().chain(new.sources()).map(|(id, _)| id).collect();
    let change = |id: &SourceId| match (old.source(id), new.source(id)) {
        (None, Some(_)) => Some(SourceChange::Registered),
        (Some(_), None) => Some(SourceChange::Retired),
        (old, new) => (old != new).then_some(SourceChange::Changed),
    };
    ids.into_iter().filter_map(|id| Some((id.clone(), change(id)?))).collect()
}
