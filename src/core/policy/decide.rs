//! The one place where access is decided (design §8): deny by default, a deny wins over a grant, every answer names
//! its rule.
//!
//! Order of the questions: who asks; may he know of it; is the reason good; does a deny forbid it; does a grant cover
//! it; does the grant miss something; is the rest of the request good. Must never allow what it cannot name a grant for.

use super::Policy;
use super::answer::{Decision, Denial, DenialKind, Need};
use super::ask::{Ask, Held, Question, Standing};
use super::conditions::{self, Act, Missing};
use super::error::listed;
use super::facts::Facts;
use super::names::Verb;
use super::permit::Permit;
use super::refuse::{caller, refused};
use super::request::{AccessRequest, House, Target};
use crate::core::ids::{PurposeId, ReasonCode, RuleId, SourceId};
use crate::core::time::Timestamp;

/// Decides one request. The same arguments give the same answer.
///
/// A `Search` on one recording without a reason is `Describe`, which the bus gives none: it asks whether the caller
/// may know of the recording at all. A `Search` on the service is allowed when some source can be searched for its
/// reason; [`super::searchable_sources`] says which. Only `View` needs the case reference.
pub fn decide(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Decision {
    let when = When { now, begins: now };
    permit(policy, house, request, facts, when, None).map_or_else(Decision::Deny, Decision::Allow)
}

/// What a session that runs goes on from.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The grant that carries it.
    pub rule: &'a RuleId,
    /// When it was opened.
    pub opened: Timestamp,
}

/// Decides a session that runs once more, under a policy and facts that may be others: whether it may go on, and until
/// when, counted from when it was opened. The grant that carries it goes on carrying it while it covers the question, and what
/// was used of its limits does not speak against that; else the best other one that has room on the day of the opening. What
/// was asked for once, at the opening (the charter, to authenticate again, an approval in its time), is not asked for again. An
/// end that lies in the past is an answer too: then it is over.
pub fn reconsider(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    running: Running<'_>,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Decision {
    let when = When { now, begins: running.opened };
    permit(policy, house, request, facts, when, Some(running.rule))
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
    facts: &Facts<'_>,
    When { now, begins }: When,
    carried_by: Option<&RuleId>,
) -> Result<Permit, Denial> {
    let hide = |denial: Denial| match request.target {
        // Such a caller may search nothing, so a recording that exists answers like one that does not.
        Target::Recording { .. } => Denial { kind: DenialKind::NotKnown, ..denial },
        Target::Source(_) | Target::Service => denial,
    };
    let user = caller(house, &request.who).map_err(hide)?;
    let standing = Standing::of(policy, house, user, facts, now);
    let ask = Ask::new(policy, house, &standing, facts, request, (now, begins));
    let case = Case { ask, request, carried_by };
    case.is_known()?;
    case.is_no_administrator()?;
    match (request.verb, &request.target) {
        (Verb::View, Target::Service) => Err(case.invalid("recording", "view needs one recording")),
        (Verb::Search, Target::Service) => case.search_everywhere(),
        (Verb::Search, Target::Recording { .. }) if request.reason.is_none() => case.describe(),
        (Verb::Search | Verb::View, Target::Recording { source, .. } | Target::Source(source)) => {
            let reason = case.reason()?;
            let purpose = case.purpose(source, reason)?;
            let question = Question { reason: Some(reason), ..case.question() };
            match purpose {
                Some(purpose) => {
                    let question = Question { purpose: Some(purpose), ..question };
                    case.grant(&[question], Some(purpose), Some(reason))
                }
                None => case.grant(&ask.for_each_purpose(question), None, Some(reason)),
            }
        }
        // The other verbs take no reason. One that the policy does not know must not reach the ledger by a permit.
        _ => {
            let reason = request.reason.as_ref().filter(|code| policy.reason(code).is_some());
            case.grant(&[Question { reason, ..case.question() }], None, reason)
        }
    }
}

/// A request of a caller who may ask.
struct Case<'a> {
    ask: Ask<'a>,
    request: &'a AccessRequest,
    /// The grant that carries the session already.
    carried_by: Option<&'a RuleId>,
}

impl<'a> Case<'a> {
    /// What the request asks, without reason and purpose.
    fn question(&self) -> Question<'a> {
        Question::on(self.request.verb, &self.request.target, self.ask.facts)
    }

    /// Who may not search a recording does not learn that it exists, whatever he wants to do with it.
    fn is_known(&self) -> Result<(), Denial> {
        let question = self.question();
        match &self.request.target {
            Target::Recording { .. } if self.ask.known_by(question).is_none() => {
                let question = Question { reason: self.request.reason.as_ref(), ..question };
                // Whoever holds a grant for the act itself lacks the one for searching.
                let verb = if self.ask.allowed(question) { Verb::Search } else { question.verb };
                Err(Denial { kind: DenialKind::NotKnown, ..self.refused(Question { verb, ..question }) })
            }
            _ => Ok(()),
        }
    }

    /// Invariant 8, where policy and register each say a half: who administers sees no content.
    fn is_no_administrator(&self) -> Result<(), Denial> {
        let administers = |held: &&Held<'_>| held.role.verbs.contains(&Verb::Administer);
        match self.ask.held().find(administers) {
            Some(held) if self.request.verb.shows_content() => {
                let why = format!("{} administers by grant {}, and sees no content", self.ask.user, held.id);
                let rule = RuleId::builtin("administrator");
                Err(Denial::new(rule.clone(), DenialKind::Denied, format!("Refused by rule {rule}: {why}.")))
            }
            _ => Ok(()),
        }
    }

    /// The stated reason, if it is good.
    fn reason(&self) -> Result<&'a ReasonCode, Denial> {
        let allowed = self.ask.reasons(self.question());
        let question = Question { reason: self.request.reason.as_ref(), ..self.question() };
        let Some((code, reason)) =
            self.request.reason.as_ref().and_then(|code| Some((code, self.ask.policy.reason(code)?)))
        else {
            return Err(self.no_reason(question, &allowed));
        };
        // A rule that forbids this reason is told by its name, not as a slip of the caller.
        let each = self.ask.for_each_purpose(question);
        if let Some(first) = each.first()
            && each.iter().all(|question| self.ask.deny(*question).is_some())
        {
            return Err(self.refused(*first));
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
        let at = |source| Question::at(Verb::Search, source);
        let reason = self.request.reason.as_ref().filter(|code| self.ask.policy.reason(code).is_some());
        let found = reason.and_then(|reason| {
            let serving = sources().filter(|source| self.ask.policy.serves(source, reason));
            let mut questions = serving.map(|source| Question { reason: Some(reason), ..at(source) });
            questions.find(|question| self.ask.allowed(*question))
        });
        match found {
            Some(question) => self.grant(&self.ask.for_each_purpose(question), None, reason),
            None => {
                let mut allowed: Vec<&ReasonCode> =
                    sources().flat_map(|source| self.ask.reasons(at(source))).collect();
                allowed.sort();
                allowed.dedup();
                let question = Question { reason: self.request.reason.as_ref(), ..self.question() };
                Err(self.no_reason(question, &allowed))
            }
        }
    }

    /// `Describe`: the caller may know of it for some reason; the permit names none.
    fn describe(&self) -> Result<Permit, Denial> {
        let question = self.question();
        let question = Question { reason: self.ask.known_by(question), ..question };
        self.grant(&self.ask.for_each_purpose(question), None, None)
    }

    /// The last step: no deny, and a grant that misses nothing. Of several questions one is enough.
    fn grant(
        &self,
        questions: &[Question<'a>],
        purpose: Option<&PurposeId>,
        reason: Option<&ReasonCode>,
    ) -> Result<Permit, Denial> {
        let open = questions.iter().filter(|question| self.ask.deny(**question).is_none());
        let acts: Vec<Act<'a>> = open.map(|question| self.act(*question)).collect();
        if acts.is_empty() {
            return Err(self.refused(questions.first().copied().unwrap_or_else(|| self.question())));
        }
        if self.request.until.is_some_and(|until| until <= self.ask.now) {
            return Err(self.invalid("until", "it lies in the past"));
        }
        let mut nearest: Option<(&Held<'_>, Vec<Missing>)> = None;
        let mut best: Option<Candidate<'a>> = None;
        for act in &acts {
            for held in self.ask.grants(act.question) {
                let missing = act.missing(held);
                if missing.is_empty() {
                    let candidate = self.candidate(act, held);
                    if best.as_ref().is_none_or(|best| candidate.is_better(best)) {
                        best = Some(candidate);
                    }
                } else if nearest.as_ref().is_none_or(|(_, fewest)| missing.len() < fewest.len()) {
                    nearest = Some((held, missing));
                }
            }
        }
        match (best, nearest, acts.first()) {
            (Some(best), ..) => {
                let end = match best.act.question.verb {
                    Verb::View => self.ask.until_denied(best.act.question, best.end),
                    _ => best.end,
                };
                Ok(Permit::under(best.held, &best.act, purpose, reason, end))
            }
            (None, Some((held, missing)), act) => Err(conditions::refused(held, &missing)
                .unwrap_or_else(|| self.refused(act.map_or_else(|| self.question(), |act| act.question)))),
            (None, None, act) => Err(self.refused(act.map_or_else(|| self.question(), |act| act.question))),
        }
    }

    fn act(&self, question: Question<'a>) -> Act<'a> {
        Act { ask: self.ask, request: self.request, question, carried_by: self.carried_by }
    }

    fn candidate(&self, act: &Act<'a>, held: &'a Held<'a>) -> Candidate<'a> {
        let end = self.ask.session_end(held, act.question, act.bounds(held));
        let carries = self.carried_by == Some(held.id);
        Candidate { act: *act, held, end, carries }
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
            failed: vec![why],
            needed: vec![Need::Reason],
        }
    }

    fn invalid(&self, key: &'static str, why: &str) -> Denial {
        let sentence = format!("Refused by rule builtin.request: {key}: {why}.");
        Denial::new(RuleId::builtin("request"), DenialKind::InvalidArgument(key), sentence)
    }

    fn refused(&self, question: Question<'a>) -> Denial {
        refused(self.ask, question)
    }
}

/// A grant that allows an act.
struct Candidate<'a> {
    act: Act<'a>,
    held: &'a Held<'a>,
    end: Timestamp,
    carries: bool,
}

impl Candidate<'_> {
    /// Before another: the one that carries the session; one that needs no emergency; the one that lets the caller work
    /// longest; the first by id.
    fn is_better(&self, other: &Self) -> bool {
        let rank = |it: &Self| (it.carries, !it.held.grant.emergency, it.end);
        rank(self) > rank(other) || (rank(self) == rank(other) && self.held.id < other.held.id)
    }
}
