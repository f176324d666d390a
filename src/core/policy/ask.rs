//! One caller against one policy: which grants cover a question, which deny forbids it, which reasons remain.
//!
//! The one principle of matching: what a question leaves open counts against the caller. A grant limited to some
//! sources does not cover a question about no source in particular; a deny limited to some does.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Policy;
use super::names::{UserName, Verb};
use super::request::House;
use super::rules::{Deny, Grant};
use crate::core::ids::{ReasonCode, RuleId, SourceId};
use crate::core::time::Timestamp;

/// A named caller, a policy, a moment.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) policy: &'a Policy,
    pub(super) house: &'a House,
    pub(super) user: &'a UserName,
    pub(super) now: Timestamp,
    /// When the session that is asked for begins: now, or when it began.
    pub(super) begins: Timestamp,
}

/// A question: may the caller do this, there, for that reason?
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) verb: Verb,
    pub(super) source: Option<&'a SourceId>,
    pub(super) reason: Option<&'a ReasonCode>,
}

impl<'a> Ask<'a> {
    /// The caller's grants in force that cover the question.
    pub(super) fn grants(self, question: Question<'a>) -> impl Iterator<Item = (&'a RuleId, &'a Grant)> {
        self.all_grants(question).filter(move |(_, grant)| self.in_force(grant))
    }

    /// The grant that covered the question last, when all that did have ended.
    pub(super) fn ended_grant(self, question: Question<'a>) -> Option<(&'a RuleId, Date)> {
        let ended = self.all_grants(question).filter(|(_, grant)| !self.in_force(grant));
        ended.filter_map(|(id, grant)| Some((id, grant.until?))).max_by_key(|&(_, until)| until)
    }

    fn all_grants(self, question: Question<'a>) -> impl Iterator<Item = (&'a RuleId, &'a Grant)> {
        self.policy.grants().filter(move |(_, grant)| {
            grant.user == *self.user
                && self.policy.role(&grant.role).is_some_and(|role| role.verbs.contains(&question.verb))
                && covers(grant.sources.as_ref(), question.source)
                && covers(grant.reasons.as_ref(), question.reason)
        })
    }

    /// The deny that forbids it: the first by id.
    pub(super) fn deny(self, question: Question<'a>) -> Option<&'a RuleId> {
        self.denies(question).next().map(|(id, _)| id)
    }

    /// Every deny that forbids it.
    pub(super) fn denies(self, question: Question<'a>) -> impl Iterator<Item = (&'a RuleId, &'a Deny)> {
        self.policy.denies().filter(move |(_, deny)| {
            deny.user.as_ref().is_none_or(|user| user == self.user)
                && deny.verbs.contains(&question.verb)
                && touches(deny.sources.as_ref(), question.source)
                && touches(deny.reasons.as_ref(), question.reason)
        })
    }

    /// The deny to name in a refusal. One that is narrower than the question decides only if it takes away something
    /// that a grant gives; else it is the missing grant that decides.
    pub(super) fn deciding_deny(self, question: Question<'a>) -> Option<&'a RuleId> {
        let reason_is_open = question.reason.is_none() && question.verb.takes_reason();
        let takes_away = |deny: &'a Deny| {
            let sources = narrowed(question.source, deny.sources.as_ref());
            let reasons = narrowed(question.reason, deny.reasons.as_ref().filter(|_| reason_is_open));
            let mut pairs =
                sources.iter().flat_map(|&source| reasons.iter().map(move |&reason| (source, reason)));
            pairs
                .any(|(source, reason)| self.grants(Question { source, reason, ..question }).next().is_some())
        };
        let narrower = |deny: &Deny| {
            (question.source.is_none() && deny.sources.is_some())
                || (reason_is_open && deny.reasons.is_some())
        };
        self.denies(question).find(|(_, deny)| !narrower(deny) || takes_away(deny)).map(|(id, _)| id)
    }

    /// Whether some grant in force covers the question and no deny forbids it.
    pub(super) fn allowed(self, question: Question<'a>) -> bool {
        self.deny(question).is_none() && self.grants(question).next().is_some()
    }

    /// The reasons for which the caller may do this to recordings of `source`: they serve one of its purposes, and
    /// grants and denies leave them.
    pub(super) fn reasons(self, verb: Verb, source: &'a SourceId) -> Vec<&'a ReasonCode> {
        self.reasons_left(verb, source).filter(|reason| self.policy.serves(source, reason)).collect()
    }

    /// The reason by which the caller may know that a recording of `source` exists: one for which he may search it. A
    /// source that is retired serves no purpose any more; its recordings can still be held and purged by those who
    /// could search them.
    pub(super) fn known_by(self, source: &'a SourceId) -> Option<&'a ReasonCode> {
        let retired = self.policy.source(source).is_none();
        self.reasons_left(Verb::Search, source).find(|reason| retired || self.policy.serves(source, reason))
    }

    fn reasons_left(self, verb: Verb, source: &'a SourceId) -> impl Iterator<Item = &'a ReasonCode> {
        let question = move |reason| Question { verb, source: Some(source), reason: Some(reason) };
        self.policy.reasons().map(|(reason, _)| reason).filter(move |reason| self.allowed(question(reason)))
    }

    /// The grant that lets the caller work longest, and until when; the first by id among equals.
    pub(super) fn best_grant(
        self,
        question: Question<'a>,
        until: Option<Timestamp>,
    ) -> Option<(&'a RuleId, Timestamp)> {
        self.best_of(self.grants(question), until).map(|(id, _, end)| (id, end))
    }

    /// The same among some grants.
    pub(super) fn best_of(
        self,
        grants: impl Iterator<Item = (&'a RuleId, &'a Grant)>,
        until: Option<Timestamp>,
    ) -> Option<(&'a RuleId, &'a Grant, Timestamp)> {
        let mut best: Option<(&RuleId, &Grant, Timestamp)> = None;
        for (id, grant) in grants {
            let end = self.session_end(grant, until);
            if best.is_none_or(|(_, _, longest)| end > longest) {
                best = Some((id, grant, end));
            }
        }
        best
    }

    /// The first instant at which a session under `grant` no longer holds.
    fn session_end(self, grant: &Grant, until: Option<Timestamp>) -> Timestamp {
        let periods = [Some(&self.house.session_max), grant.max_session.as_ref()];
        // A period that leads out of the calendar gives no time at all rather than no limit.
        let ends =
            periods.into_iter().flatten().map(|period| self.begins.checked_add(period).unwrap_or(self.now));
        let last_day = grant.until.and_then(|date| end_of_day(date, &self.house.time_zone));
        ends.chain(last_day).chain(until).min().unwrap_or(self.now)
    }

    fn in_force(self, grant: &Grant) -> bool {
        let end = grant.until.and_then(|date| end_of_day(date, &self.house.time_zone));
        end.is_none_or(|end| self.now < end)
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
    ) -> impl Iterator<Item = &'a super::PurposeId> {
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

/// A limit of a grant: an absent one covers all; a present one only what is named in the question.
fn covers<T: Ord>(limit: Option<&BTreeSet<T>>, asked: Option<&T>) -> bool {
    limit.is_none_or(|limit| asked.is_some_and(|asked| limit.contains(asked)))
}

/// A limit of a deny: an absent one touches all; a present one also what the question leaves open.
fn touches<T: Ord>(limit: Option<&BTreeSet<T>>, asked: Option<&T>) -> bool {
    limit.is_none_or(|limit| asked.is_none_or(|asked| limit.contains(asked)))
}

/// The first instant after `date` in `zone`; none after the last day of the calendar.
pub(super) fn end_of_day(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    let next = date.tomorrow().and_then(|next| next.to_zoned(zone.clone())?.start_of_day()).ok()?;
    Timestamp::from_micros(next.timestamp().as_microsecond()).ok()
}
