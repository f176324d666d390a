//! What follows from a policy as a whole: where a caller may act, and what changed between two policies.
//!
//! Matches by `ask`, like `decide`; so both always agree.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use super::answer::Denial;
use super::ask::{Ask, Question, Standing};
use super::conditions::{self, Act};
use super::facts::Facts;
use super::names::Verb;
use super::refuse::{caller, refused};
use super::request::{AccessRequest, House, Target};
use super::rows::Rows;
use crate::core::ids::{RuleId, SourceId};
use crate::core::time::Timestamp;

/// The sources that the caller of `request` may search for its reason now, each with the recordings that he may see. Empty
/// when there is none.
pub fn searchable_sources(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    facts: &Facts<'_>,
    now: Timestamp,
) -> BTreeMap<SourceId, Rows> {
    let (Ok(user), Some(reason)) = (caller(house, &request.who), &request.reason) else {
        return BTreeMap::new();
    };
    let standing = Standing::of(policy, house, user, facts, now);
    let ask = Ask::new(policy, house, &standing, facts, request, (now, now));
    let rows = |source: &SourceId| {
        let question = Question { reason: Some(reason), ..Question::at(Verb::Search, source) };
        policy.serves(source, reason).then(|| Rows::of(ask, question)).flatten()
    };
    policy.sources().filter_map(|(source, _)| Some((source.clone(), rows(source)?))).collect()
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

/// Where the caller of `request` may do its verb now without stating a reason: `hold`, `lift`, `purge`, `seal` honour the
/// sources of grants and denies; `read-ledger` and `administer` know no sources. The target of the request is not looked at.
///
/// # Errors
/// The refusal, when he may nowhere.
pub fn may(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Scope, Denial> {
    let (verb, user) = (request.verb, caller(house, &request.who)?);
    let request = &AccessRequest { target: Target::Service, ..request.clone() };
    let standing = Standing::of(policy, house, user, facts, now);
    let ask = Ask::new(policy, house, &standing, facts, request, (now, now));
    let question = |source| Question { source, ..Question::new(verb) };
    let sound = |source| {
        let act = Act { ask, request, question: question(source), carried_by: None };
        ask.grants(question(source)).find(move |held| act.missing(held).is_empty()).map(|held| held.id)
    };
    // What a grant misses is told only where it would have been enough.
    let missing = |source| {
        let act = Act { ask, request, question: question(source), carried_by: None };
        let mut lacking: Vec<_> =
            ask.grants(question(source)).map(|held| (held, act.missing(held))).collect();
        lacking.sort_by_key(|(_, missing)| missing.len());
        lacking.first().and_then(|(held, missing)| conditions::refused(held, missing))
    };
    let general = sound(None);
    if !verb.takes_source() {
        let rule = general.filter(|_| ask.deny(question(None)).is_none());
        let rule = rule.ok_or_else(|| {
            let denied = ask.deny(question(None)).is_some();
            missing(None).filter(|_| !denied).unwrap_or_else(|| refused(ask, question(None)))
        })?;
        let rule = rule.clone();
        return Ok(Scope { rule, everywhere: true, allowed: BTreeSet::new(), denied: BTreeSet::new() });
    }
    let denied_everywhere = ask.denies(question(None)).any(|(_, deny)| !deny.limits.is_about_sources());
    let everywhere = general.is_some() && !denied_everywhere;
    let (mut allowed, mut denied) = (BTreeSet::new(), BTreeSet::new());
    let (mut first, mut lacking) = (general, missing(None).filter(|_| !denied_everywhere));
    for (source, _) in policy.sources() {
        if ask.deny(question(Some(source))).is_some() {
            denied.insert(source.clone());
        } else if let Some(rule) = sound(Some(source)) {
            first = first.or(Some(rule));
            allowed.insert(source.clone());
        } else {
            lacking = lacking.or_else(|| missing(Some(source)));
        }
    }
    match first {
        Some(rule) if everywhere || !allowed.is_empty() => {
            Ok(Scope { rule: rule.clone(), everywhere, allowed, denied })
        }
        _ => Err(lacking.unwrap_or_else(|| refused(ask, question(None)))),
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
