//! What needs two persons, what needs trained ones, whose review is late; and what authorities and professions ask of sources.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::super::error::listed;
use super::super::names::{UserName, Verb};
use super::super::rules::{Grant, GrantsIn};
use super::Lint;
use crate::core::ids::{ReasonCode, RuleId, SourceId};
use crate::core::time::Timestamp;

/// An authorisation that ends within so many days is announced: it takes months to renew one (R3).
const RENEW_DAYS: i32 = 90;

impl Lint<'_> {
    pub(super) fn people(&mut self) {
        let policy = self.policy;
        for (id, placed) in &policy.grants {
            let grant = &placed.value;
            if self.is_over(grant) {
                continue;
            }
            let found =
                [self.untrained(id, grant), self.unreviewed(id, grant), self.second_person(id, grant)];
            for (code, sentence) in found.into_iter().flatten().chain(self.secrets(id, grant)) {
                self.warn(&placed.place, code, sentence);
            }
        }
        if policy.grants_in() == GrantsIn::Register {
            let mut persons = self.holders(Verb::Approve);
            persons.extend(self.holders(Verb::Administer));
            if self.holders(Verb::Approve).is_empty() || persons.len() < 2 {
                let why = "grants stand in the register: one person proposes there and another approves";
                let sentence = format!("{why}; give administer to one and approve to another");
                self.warn(&self.top(), "alone", sentence);
            }
        }
        for (id, placed) in &policy.sources {
            let Some(authorisation) = &placed.value.authorisation else { continue };
            let until = authorisation.until;
            let left_days = self.facts.today.until(until).map_or(i32::MAX, |span| span.get_days());
            let verb = if left_days < 0 { "expired on" } else { "ends on" };
            if left_days <= RENEW_DAYS {
                let reference = &authorisation.reference;
                let sentence =
                    format!("authorisation {reference} of source {id} {verb} {until}: have it renewed");
                self.warn(&placed.place, "authorisation-over", sentence);
            }
        }
    }

    fn untrained(&self, id: &RuleId, grant: &Grant) -> Option<(&'static str, String)> {
        let role = self.policy.role(&grant.role).filter(|role| role.trained)?;
        let (user, name) = (&grant.user, &grant.role);
        (role.trained && grant.trained.is_none()).then(|| {
            let why = "write trained = the day when it is";
            (
                "untrained",
                format!(
                    "role {name} is for trained persons, and grant {id} attests no training of {user}: {why}"
                ),
            )
        })
    }

    fn unreviewed(&self, id: &RuleId, grant: &Grant) -> Option<(&'static str, String)> {
        let reviewed = grant.reviewed?;
        let midnight = reviewed.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let confirmed = Timestamp::from_micros(midnight.as_microsecond()).ok()?;
        let due = confirmed.checked_add(&self.policy.terms.review_every).ok()?;
        (due.date_in(&TimeZone::UTC) < self.facts.today).then(|| {
            let why = "confirm it and write reviewed = the day, or take it out";
            ("review-overdue", format!("grant {id} was confirmed last on {reviewed}: {why}"))
        })
    }

    /// What needs an approval needs somebody else who approves.
    fn second_person(&self, id: &RuleId, grant: &Grant) -> Option<(&'static str, String)> {
        let role = self.policy.role(&grant.role)?;
        let verb = *role.verbs.iter().find(|verb| verb.takes_approval())?;
        let asks = grant.needs.second_person || role.second_person;
        let (needed, what) = match (asks, grant.emergency) {
            (_, true) => (Verb::Review, "what is opened in an emergency is reviewed by somebody else"),
            (true, false) => (Verb::Approve, "somebody else has to approve"),
            (false, false) => return None,
        };
        let able = self.holders(needed);
        let others = able.iter().filter(|user| ***user != grant.user).count();
        let user = &grant.user;
        if others == 0 {
            return Some((
                "alone",
                format!(
                    "grant {id}: {what}, and nobody else may: grant {needed} to another person than {user}"
                ),
            ));
        }
        (able.contains(user) && needed == Verb::Approve).then(|| {
            let why = "nobody approves for himself, so it takes yet another person each time";
            (
                "approves-own",
                format!("grant {id} lets {user} {verb} with an approval, and he approves too: {why}"),
            )
        })
    }

    /// A professional secret is opened only where a text allows it: the case reference says which (R71).
    fn secrets(&self, id: &RuleId, grant: &Grant) -> Option<(&'static str, String)> {
        if !self.verbs(grant).contains(&Verb::View) || grant.only.is_set() || grant.needs.mandate {
            return None;
        }
        let secret = |source: &&SourceId| {
            self.policy.source(source).is_some_and(|source| source.secrecy.is_some())
                && self.reaches(grant, source)
        };
        let sources: BTreeSet<&SourceId> = self.policy.sources().map(|(id, _)| id).filter(secret).collect();
        let open = |reason: &&ReasonCode| {
            let without_case = self.policy.reason(reason).is_some_and(|reason| !reason.case);
            let named = grant.limits.reasons.as_ref().is_none_or(|reasons| reasons.contains(*reason));
            without_case && named && sources.iter().any(|source| self.policy.serves(source, reason))
        };
        let reasons: Vec<&ReasonCode> = self.policy.reasons().map(|(id, _)| id).filter(open).collect();
        let user: &UserName = &grant.user;
        (!reasons.is_empty()).then(|| {
            let (reasons, sources) = (listed(reasons), listed(sources));
            let why = "give the reasons case = true, or the grant mandate, own or anonymised";
            ("secret", format!("grant {id} lets {user} open {sources}, under a professional secret, for {reasons} without a case reference: {why}"))
        })
    }
}
