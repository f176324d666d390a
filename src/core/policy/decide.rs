//! The one place where access is decided (design §8): deny by default, a deny wins over a grant, every answer names
//! its rule.
//!
//! Order of the questions: who asks; may he know of it; is the reason good; does a deny forbid it; does a grant cover
//! it; is the rest of the request good. Must never allow what it cannot name a grant for.

use super::Policy;
use super::answer::{Decision, Denial, DenialKind};
use super::ask::{Ask, Question};
use super::error::listed;
use super::limits::{self, DayUse, Used, start_of_day};
use super::names::{UserName, Verb};
use super::refuse::{caller, refused};
use super::request::{AccessRequest, House, Target};
use super::rules::Grant;
use crate::core::ids::{PurposeId, ReasonCode, RuleId, SourceId};
use crate::core::time::Timestamp;

/// Proof that the policy allows one act to one user until a time. Its fields are private and it has no constructor:
/// only [`decide`] makes one, and serving needs one that the ledger has recorded (design §4).
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    verb: Verb,
    uid: u32,
    user: UserName,
    target: Target,
    rule: RuleId,
    purpose: Option<PurposeId>,
    reason: Option<ReasonCode>,
    expires: Timestamp,
    max_bytes_a_day: Option<u64>,
}

impl Permit {
    /// The act allowed.
    pub const fn verb(&self) -> Verb {
        self.verb
    }
    /// The only user it is for; never 0.
    pub const fn uid(&self) -> u32 {
        self.uid
    }
    /// That user's account.
    pub const fn user(&self) -> &UserName {
        &self.user
    }
    /// What it is about.
    pub const fn target(&self) -> &Target {
        &self.target
    }
    /// The grant that allows it.
    pub const fn rule(&self) -> &RuleId {
        &self.rule
    }
    /// The purpose the access serves; always present for `view`.
    pub const fn purpose(&self) -> Option<&PurposeId> {
        self.purpose.as_ref()
    }
    /// The stated reason; always present for `view`.
    pub const fn reason(&self) -> Option<&ReasonCode> {
        self.reason.as_ref()
    }
    /// The first instant at which it no longer holds.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
    /// How many bytes the grant hands out in a day; absent: without limit.
    pub const fn max_bytes_a_day(&self) -> Option<u64> {
        self.max_bytes_a_day
    }
}

/// Decides one request. The same arguments give the same answer.
///
/// A `Search` on one recording without a reason is `Describe`, which the bus gives none: it asks whether the caller
/// may know of the recording at all. A `Search` on the service is allowed when some source can be searched for its
/// reason; [`super::searchable_sources`] says which. Only `View` needs the case reference.
///
/// As if nothing had been opened today: [`decide_within`] knows better.
pub fn decide(policy: &Policy, house: &House, request: &AccessRequest, now: Timestamp) -> Decision {
    decide_within(policy, house, request, now, &|_, _| DayUse::default())
}

/// The same, within the limits that grants set for a day; `used` tells what the caller has used of each.
pub fn decide_within(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    now: Timestamp,
    used: Used<'_>,
) -> Decision {
    let when = When { now, begins: now };
    permit(policy, house, request, when, None, used).map_or_else(Decision::Deny, Decision::Allow)
}

/// What a session that runs goes on from.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The grant that carries it.
    pub rule: &'a RuleId,
    /// When it was opened.
    pub opened: Timestamp,
}

/// Decides a session that runs once more, under a policy that may be another: whether it may go on, and until when, counted
/// from when it was opened. The grant that carries it goes on carrying it while it covers the question, and what was used of
/// its limits does not speak against that; else the best other one that has room on the day of the opening. An end that lies
/// in the past is an answer too: then it is over.
pub fn reconsider(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    running: Running<'_>,
    now: Timestamp,
    used: Used<'_>,
) -> Decision {
    let when = When { now, begins: running.opened };
    permit(policy, house, request, when, Some(running.rule), used)
        .map_or_else(Decision::Deny, Decision::Allow)
}

/// When it is asked, and when the session begins.
#[derive(Clone, Copy)]
struct When {
    now: Timestamp,
    begins: Timestamp,
}

fn permit(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    When { now, begins }: When,
    carried_by: Option<&RuleId>,
    used: Used<'_>,
) -> Result<Permit, Denial> {
    let hide = |denial: Denial| match request.target {
        // Such a caller may search nothing, so a recording that exists answers like one that does not.
        Target::Recording { .. } => Denial { kind: DenialKind::NotKnown, ..denial },
        Target::Source(_) | Target::Service => denial,
    };
    let user = caller(house, &request.who).map_err(hide)?;
    let case = Case { ask: Ask { policy, house, user, now, begins }, request, carried_by, used };
    case.is_known()?;
    let (purpose, reason) = match (request.verb, &request.target) {
        (Verb::View, Target::Service) => return Err(case.invalid("recording", "view needs one recording")),
        (Verb::Search, Target::Service) => return case.search_everywhere(),
        (Verb::Search, Target::Recording { source, .. }) if request.reason.is_none() => {
            return case.describe(source);
        }
        (Verb::Search | Verb::View, Target::Recording { source, .. } | Target::Source(source)) => {
            let reason = case.reason(source)?;
            (case.purpose(source, reason)?, Some(reason))
        }
        // The other verbs take no reason. One that the policy does not know must not reach the ledger by a permit.
        _ => (None, request.reason.as_ref().filter(|code| policy.reason(code).is_some())),
    };
    case.grant(request.target.source(), purpose, reason)
}

/// A request of a caller who may ask.
struct Case<'a> {
    ask: Ask<'a>,
    request: &'a AccessRequest,
    /// The grant that carries the session already.
    carried_by: Option<&'a RuleId>,
    used: Used<'a>,
}

impl<'a> Case<'a> {
    fn question(&self, source: Option<&'a SourceId>, reason: Option<&'a ReasonCode>) -> Question<'a> {
        Question { verb: self.request.verb, source, reason }
    }

    /// Who may not search a recording does not learn that it exists, whatever he wants to do with it.
    fn is_known(&self) -> Result<(), Denial> {
        match &self.request.target {
            Target::Recording { source, .. } if self.ask.known_by(source).is_none() => {
                let question = self.question(Some(source), self.request.reason.as_ref());
                // Whoever holds a grant for the act itself lacks the one for searching.
                let verb = if self.ask.allowed(question) { Verb::Search } else { question.verb };
                Err(Denial { kind: DenialKind::NotKnown, ..self.refused(Question { verb, ..question }) })
            }
            _ => Ok(()),
        }
    }

    /// The stated reason, if it is good for `source`.
    fn reason(&self, source: &'a SourceId) -> Result<&'a ReasonCode, Denial> {
        let allowed = self.ask.reasons(self.request.verb, source);
        let question = self.question(Some(source), self.request.reason.as_ref());
        let Some((code, reason)) =
            self.request.reason.as_ref().and_then(|code| Some((code, self.ask.policy.reason(code)?)))
        else {
            return Err(self.no_reason(question, &allowed));
        };
        // A rule that forbids this reason is told by its name, not as a slip of the caller.
        if self.ask.deny(question).is_some() {
            return Err(self.refused(question));
        }
        if !allowed.contains(&code) {
            return Err(self.no_reason(question, &allowed));
        }
        if self.request.verb == Verb::View && reason.case && !self.request.case_given {
            let why = format!("reason {code} needs a case reference");
            return Err(self.reason_required(why, &allowed));
        }
        Ok(code)
    }

    /// The purpose that the reason serves: the only one, or the one that the caller named. Searching may serve several.
    fn purpose(&self, source: &SourceId, reason: &ReasonCode) -> Result<Option<&'a PurposeId>, Denial> {
        let served: Vec<&PurposeId> = self.ask.policy.purposes_served(source, reason).collect();
        match (&self.request.purpose, served.as_slice()) {
            (Some(named), _) if served.contains(&named) => Ok(Some(named)),
            (Some(named), _) => {
                let why = format!("reason {reason} serves on {source} not {named} but {}", listed(&served));
                Err(self.invalid("purpose", &why))
            }
            (None, [only]) => Ok(Some(only)),
            (None, _) if self.request.verb == Verb::Search => Ok(None),
            (None, _) => {
                let why = format!(
                    "reason {reason} serves several purposes of {source}: name one of {}",
                    listed(&served)
                );
                Err(self.invalid("purpose", &why))
            }
        }
    }

    /// `Search` over the archive: allowed when at least one source is left.
    fn search_everywhere(&self) -> Result<Permit, Denial> {
        let sources = || self.ask.policy.sources().map(|(source, _)| source);
        let reason = self.request.reason.as_ref();
        let found = reason.and_then(|reason| {
            let left = |source: &&SourceId| self.ask.reasons(Verb::Search, source).contains(&reason);
            sources().find(left).map(|source| (source, reason))
        });
        match found {
            Some((source, reason)) => self.grant(Some(source), None, Some(reason)),
            None => {
                let mut allowed: Vec<&ReasonCode> =
                    sources().flat_map(|source| self.ask.reasons(Verb::Search, source)).collect();
                allowed.sort();
                allowed.dedup();
                Err(self.no_reason(self.question(None, reason), &allowed))
            }
        }
    }

    /// `Describe`: the caller may know of it for some reason; the permit names none.
    fn describe(&self, source: &'a SourceId) -> Result<Permit, Denial> {
        let question = self.question(Some(source), self.ask.known_by(source));
        let end = self.end()?;
        let (rule, expires) = self.ask.best_grant(question, end).ok_or_else(|| self.refused(question))?;
        Ok(self.permit(rule, None, None, expires, None))
    }

    /// The last step: no deny, and a grant.
    fn grant(
        &self,
        source: Option<&'a SourceId>,
        purpose: Option<&PurposeId>,
        reason: Option<&'a ReasonCode>,
    ) -> Result<Permit, Denial> {
        let question = self.question(source, reason);
        if self.ask.deny(question).is_some() {
            return Err(self.refused(question));
        }
        let end = self.end()?;
        let carries = |id: &RuleId| self.carried_by == Some(id);
        let carrying = self.ask.grants(question).filter(|(id, _)| carries(id));
        let left = self.ask.grants(question).filter(|(id, grant)| self.exceeded(id, grant).is_none());
        let best = self.ask.best_of(carrying, end).or_else(|| self.ask.best_of(left, end));
        if let Some((rule, grant, expires)) = best {
            return Ok(self.permit(rule, purpose, reason, expires, grant.max_bytes_a_day));
        }
        let reached = self.ask.grants(question).find_map(|(id, grant)| Some((id, self.exceeded(id, grant)?)));
        Err(reached.map_or_else(|| self.refused(question), |(id, why)| limits::refused(id, &why)))
    }

    /// Which limit of a grant is reached. Only opening has some.
    fn exceeded(&self, id: &RuleId, grant: &Grant) -> Option<String> {
        let limited = grant.max_recordings_a_day.is_some() || grant.max_bytes_a_day.is_some();
        match (&self.request.target, self.request.verb) {
            (Target::Recording { id: recording, .. }, Verb::View) if limited => {
                let since = start_of_day(self.ask.begins, &self.ask.house.time_zone);
                limits::exceeded(grant, recording, &(self.used)(id, since))
            }
            _ => None,
        }
    }

    fn end(&self) -> Result<Option<Timestamp>, Denial> {
        match self.request.until {
            Some(until) if until <= self.ask.now => Err(self.invalid("until", "it lies in the past")),
            until => Ok(until),
        }
    }

    fn permit(
        &self,
        rule: &RuleId,
        purpose: Option<&PurposeId>,
        reason: Option<&ReasonCode>,
        expires: Timestamp,
        max_bytes_a_day: Option<u64>,
    ) -> Permit {
        Permit {
            verb: self.request.verb,
            uid: self.request.who.uid,
            user: self.ask.user.clone(),
            target: self.request.target.clone(),
            rule: rule.clone(),
            purpose: purpose.cloned(),
            reason: reason.cloned(),
            expires,
            max_bytes_a_day,
        }
    }

    /// No reason, or one that is not good here: the allowed ones, or a refusal when there are none.
    fn no_reason(&self, question: Question<'a>, allowed: &[&ReasonCode]) -> Denial {
        if allowed.is_empty() {
            return self.refused(question);
        }
        let why = match &self.request.reason {
            Some(code) => format!("reason {code} does not open this"),
            None => "no reason was stated".to_owned(),
        };
        self.reason_required(why, allowed)
    }

    fn reason_required(&self, why: String, allowed: &[&ReasonCode]) -> Denial {
        Denial {
            rule: RuleId::builtin("reason"),
            sentence: format!(
                "Refused by rule builtin.reason: {why}; the reasons you may state: {}.",
                listed(allowed)
            ),
            kind: DenialKind::ReasonRequired { allowed: allowed.iter().copied().cloned().collect() },
        }
    }

    fn invalid(&self, key: &'static str, why: &str) -> Denial {
        Denial {
            rule: RuleId::builtin("request"),
            sentence: format!("Refused by rule builtin.request: {key}: {why}."),
            kind: DenialKind::InvalidArgument(key),
        }
    }

    fn refused(&self, question: Question<'a>) -> Denial {
        refused(self.ask, question)
    }
}
