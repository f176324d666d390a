//! One caller against one policy: which grants cover a question, which deny forbids it, which reasons remain.
//!
//! What matching is stands in `cover`.

use std::collections::BTreeSet;

use jiff::civil::DateTime;

use super::Policy;
use super::cover::Touch;
use super::facts::{Facts, RecordingFacts};
use super::names::{UserName, Verb};
use super::request::{AccessRequest, House, Target};
use super::rules::{Deny, Grant, Role};
use crate::core::ids::{PurposeId, ReasonCode, RoleId, RuleId, SourceId};
use crate::core::time::Timestamp;

/// A grant that a person holds, in the policy or in the register, with its role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) id: &'a RuleId,
    pub(super) grant: &'a Grant,
    pub(super) role: &'a Role,
}

/// What the rules say about one person, whatever he asks.
pub(super) struct Standing<'a> {
    user: &'a UserName,
    grants: Vec<Held<'a>>,
    /// Places of the denies that name him.
    denies: Vec<usize>,
    local: DateTime,
}

impl<'a> Standing<'a> {
    pub(super) fn of(
        policy: &'a Policy,
        house: &House,
        user: &'a UserName,
        facts: &Facts<'a>,
        now: Timestamp,
    ) -> Self {
        let local = now.local(&house.time_zone);
        let of_policy =
            policy.index.grants_of(user).iter().filter_map(|id| Some((id, &policy.grants.get(id)?.value)));
        // An id of the policy cannot be taken by the register.
        let registered = facts.registered.of_user(user).filter(|(id, _)| !policy.grants.contains_key(*id));
        let held = of_policy.chain(registered);
        let mut grants: Vec<Held<'a>> = held
            .filter_map(|(id, grant)| Some(Held { id, grant, role: policy.role(&grant.role)? }))
            .collect();
        grants.sort_by_key(|held| held.id);
        let not_over = |held: &&Held<'a>| held.grant.until.is_none_or(|until| local.date() <= until);
        let roles: BTreeSet<&RoleId> = grants.iter().filter(not_over).map(|held| &held.grant.role).collect();
        let denies = policy.index.denies_naming(user, &roles);
        Self { user, grants, denies, local }
    }
}

/// A named caller, a policy, a moment.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) policy: &'a Policy,
    pub(super) house: &'a House,
    pub(super) facts: &'a Facts<'a>,
    pub(super) user: &'a UserName,
    pub(super) now: Timestamp,
    /// What the clock on the wall shows.
    pub(super) local: DateTime,
    /// When the session that is asked for begins: now, or when it began.
    pub(super) begins: Timestamp,
    /// Whether the caller says that there is an emergency.
    pub(super) emergency: bool,
    held: &'a [Held<'a>],
    named_by: &'a [usize],
}

/// A question: may the caller do this, there, for that reason?
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) verb: Verb,
    pub(super) source: Option<&'a SourceId>,
    pub(super) reason: Option<&'a ReasonCode>,
    pub(super) purpose: Option<&'a PurposeId>,
    /// The recording that it is about, when it is about one.
    pub(super) recording: Option<RecordingFacts>,
    /// Whether it is about many recordings, of which some may be left out: a search.
    pub(super) rows: bool,
}

impl<'a> Question<'a> {
    /// With nothing said but the verb.
    pub(super) const fn new(verb: Verb) -> Self {
        Self { verb, source: None, reason: None, purpose: None, recording: None, rows: false }
    }
    /// About one source: of its recordings, a search may show some.
    pub(super) fn at(verb: Verb, source: &'a SourceId) -> Self {
        Self { source: Some(source), rows: verb == Verb::Search, ..Self::new(verb) }
    }
    /// About the target of a request.
    pub(super) fn on(verb: Verb, target: &'a Target, facts: &Facts<'_>) -> Self {
        match target {
            Target::Recording { source, .. } => {
                Self { source: Some(source), recording: facts.recording, ..Self::new(verb) }
            }
            Target::Source(source) => Self::at(verb, source),
            Target::Service => Self { rows: verb == Verb::Search, ..Self::new(verb) },
        }
    }
}

impl<'a> Ask<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        house: &'a House,
        standing: &'a Standing<'a>,
        facts: &'a Facts<'a>,
        request: &AccessRequest,
        (now, begins): (Timestamp, Timestamp),
    ) -> Self {
        Self {
            policy,
            house,
            facts,
            user: standing.user,
            now,
            local: standing.local,
            begins,
            emergency: request.emergency,
            held: &standing.grants,
            named_by: &standing.denies,
        }
    }

    /// Every grant that the caller holds, by id.
    pub(super) fn held(self) -> impl Iterator<Item = &'a Held<'a>> {
        self.held.iter()
    }

    /// The caller's grants in force that cover the question.
    pub(super) fn grants(self, question: Question<'a>) -> impl Iterator<Item = &'a Held<'a>> {
        self.held.iter().filter(move |held| {
            held.role.verbs.contains(&question.verb)
                && self.in_force(held)
                && self.covers(held.grant, question)
        })
    }

    /// The deny that forbids it: the first by id.
    pub(super) fn deny(self, question: Question<'a>) -> Option<&'a RuleId> {
        self.denies(question).next().map(|(id, _)| id)
    }

    /// Every deny that forbids it.
    pub(super) fn denies(self, question: Question<'a>) -> impl Iterator<Item = (&'a RuleId, &'a Deny)> {
        self.candidates(question).filter(move |(_, deny)| self.touches(deny, question))
    }

    /// Every deny that forbids some of the recordings that a search is about.
    pub(super) fn hiding(self, question: Question<'a>) -> impl Iterator<Item = &'a Deny> {
        let hides = move |deny: &&'a Deny| self.touch(deny, question) == Some(Touch::Some);
        self.candidates(question).map(|(_, deny)| deny).filter(hides)
    }

    /// Every deny that binds the caller and speaks of the verb, and perhaps of the source.
    pub(super) fn candidates(self, question: Question<'a>) -> impl Iterator<Item = (&'a RuleId, &'a Deny)> {
        self.policy.index.denies(self.named_by, question.verb, question.source)
    }

    /// The deny to name in a refusal. One that is narrower than the question decides only if it takes away something
    /// that a grant gives; else it is the missing grant that decides.
    pub(super) fn deciding_deny(self, question: Question<'a>) -> Option<&'a RuleId> {
        let reason_is_open = question.reason.is_none() && question.verb.takes_reason();
        let takes_away = |deny: &'a Deny| {
            let sources = narrowed(question.source, deny.limits.sources.as_ref());
            let reasons = narrowed(question.reason, deny.limits.reasons.as_ref().filter(|_| reason_is_open));
            let mut pairs =
                sources.iter().flat_map(|&source| reasons.iter().map(move |&reason| (source, reason)));
            pairs
                .any(|(source, reason)| self.grants(Question { source, reason, ..question }).next().is_some())
        };
        let narrower = |deny: &Deny| {
            (question.source.is_none() && deny.limits.sources.is_some())
                || (reason_is_open && deny.limits.reasons.is_some())
        };
        self.denies(question).find(|(_, deny)| !narrower(deny) || takes_away(deny)).map(|(id, _)| id)
    }

    /// The question once for each purpose that it may serve; as it is where none is served or no reason is stated.
    pub(super) fn for_each_purpose(self, question: Question<'a>) -> Vec<Question<'a>> {
        let served = question.source.zip(question.reason).into_iter();
        let served = served.flat_map(|(source, reason)| self.policy.purposes_served(source, reason));
        let each: Vec<Question<'a>> =
            served.map(|purpose| Question { purpose: Some(purpose), ..question }).collect();
        if each.is_empty() { vec![question] } else { each }
    }

    /// Whether, for some purpose, some grant in force covers the question and no deny forbids it.
    pub(super) fn allowed(self, question: Question<'a>) -> bool {
        self.for_each_purpose(question)
            .into_iter()
            .any(|question| self.grants(question).next().is_some() && self.deny(question).is_none())
    }

    /// The reasons for which the caller may do what `question` asks, whatever reason it states: they serve one of the
    /// purposes of its source, and grants and denies leave them.
    pub(super) fn reasons(self, question: Question<'a>) -> Vec<&'a ReasonCode> {
        let serves =
            |reason: &&ReasonCode| question.source.is_some_and(|source| self.policy.serves(source, reason));
        let reasons = self.policy.reasons().map(|(reason, _)| reason).filter(serves);
        reasons.filter(|reason| self.allowed(Question { reason: Some(reason), ..question })).collect()
    }

    /// The reason by which the caller may know that a recording exists: one for which he may search it. A source that is
    /// retired serves no purpose any more; its recordings can still be held and purged by those who could search them.
    pub(super) fn known_by(self, question: Question<'a>) -> Option<&'a ReasonCode> {
        let source = question.source?;
        let retired = self.policy.source(source).is_none();
        self.policy.reasons().map(|(reason, _)| reason).find(|reason| {
            (retired || self.policy.serves(source, reason))
                && self.allowed(Question { verb: Verb::Search, reason: Some(reason), ..question })
        })
    }
}

impl Policy {
    /// Whether `reason` serves a purpose of `source`. Not for a retired source, which has no purpose.
    pub(super) fn serves(&self, source: &SourceId, reason: &ReasonCode) -> bool {
        self.purposes_served(source, reason).next().is_some()
    }

    /// The purposes of `source` that `reason` serves.
    pub(super) fn purposes_served<'a>(
        &'a self,
        source: &SourceId,
        reason: &ReasonCode,
    ) -> impl Iterator<Item = &'a PurposeId> {
        let purposes = self.source(source).into_iter().flat_map(|source| &source.purposes);
        purposes.filter(move |id| self.purpose(id).is_some_and(|purpose| purpose.reasons.contains(reason)))
    }
}

/// What a question with a limit put on it asks about: its own word, or else each that the limit names.
fn narrowed<'a, T>(asked: Option<&'a T>, limit: Option<&'a BTreeSet<T>>) -> Vec<Option<&'a T>> {
    match (asked, limit) {
        (None, Some(limit)) => limit.iter().map(Some).collect(),
        (asked, _) => vec![asked],
    }
}
