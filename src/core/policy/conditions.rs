//! What a grant asks for beside itself: training, charter, mandate, limits of the day, a second person, the person again.
//!
//! Owns which of them are missing, and the words for it. A grant that covers an act and misses one of these allows nothing.

use super::answer::{Denial, DenialKind, Need};
use super::ask::{Ask, Held, Question};
use super::ends::Bounds;
use super::facts::{Approval, ApprovalScope, Mandate};
use super::limits::{exceeded, start_of_day};
use super::names::Verb;
use super::request::{AccessRequest, Target};
use crate::core::ids::RuleId;

/// What is missing, in the order in which it is to be put right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    Training(String),
    Charter(String),
    Mandate(String),
    Limit(String),
    Approval(String),
    Reauthentication,
}

impl Missing {
    fn rule(&self) -> RuleId {
        RuleId::builtin(match self {
            Self::Training(_) => "training",
            Self::Charter(_) => "charter",
            Self::Mandate(_) => "mandate",
            Self::Limit(_) => "limit",
            Self::Approval(_) => "approval",
            Self::Reauthentication => "reauth",
        })
    }
    const fn kind(&self) -> DenialKind {
        match self {
            Self::Approval(_) => DenialKind::ApprovalRequired,
            Self::Limit(_) => DenialKind::LimitReached,
            _ => DenialKind::Denied,
        }
    }
    const fn need(&self) -> Option<Need> {
        match self {
            Self::Training(_) => Some(Need::Training),
            Self::Charter(_) => Some(Need::Charter),
            Self::Mandate(_) => Some(Need::Mandate),
            Self::Limit(_) => None,
            Self::Approval(_) => Some(Need::Approval),
            Self::Reauthentication => Some(Need::Reauthentication),
        }
    }
    /// What the grant says, for "grant x …".
    fn words(&self) -> &str {
        match self {
            Self::Training(why)
            | Self::Charter(why)
            | Self::Mandate(why)
            | Self::Limit(why)
            | Self::Approval(why) => why,
            Self::Reauthentication => "asks you to authenticate again",
        }
    }
}

/// The refusal by a grant that covers the act and misses something.
pub(super) fn refused(held: &Held<'_>, missing: &[Missing]) -> Option<Denial> {
    let first = missing.iter().min()?;
    let failed: Vec<String> =
        missing.iter().map(|missing| format!("grant {} {}", held.id, missing.words())).collect();
    let words: Vec<&str> = missing.iter().map(Missing::words).collect();
    let sentence = format!("Refused by rule {}: grant {} {}.", first.rule(), held.id, words.join("; it "));
    let needed = missing.iter().filter_map(Missing::need).collect();
    Some(Denial { rule: first.rule(), kind: first.kind(), sentence, failed, needed })
}

/// A request on its way to a grant.
#[derive(Clone, Copy)]
pub(super) struct Act<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) request: &'a AccessRequest,
    pub(super) question: Question<'a>,
    /// The grant that carries the session already; then it was opened, and what opening asks for is not asked again.
    pub(super) carried_by: Option<&'a RuleId>,
}

impl<'a> Act<'a> {
    /// The approval that the request names.
    pub(super) fn approval(&self) -> Option<&'a Approval> {
        self.ask.facts.approval.filter(|approval| self.request.approval == Some(approval.id))
    }
    /// The mandate that the request names.
    pub(super) fn mandate(&self) -> Option<&'a Mandate> {
        self.ask.facts.mandate.filter(|mandate| self.request.mandate.as_ref() == Some(&mandate.id))
    }
    /// Whether a grant takes a second person for this act.
    pub(super) fn needs_approval(&self, held: &Held<'_>) -> bool {
        // An emergency waits for nobody; somebody else reviews it afterwards.
        (held.grant.needs.second_person || held.role.second_person)
            && self.question.verb.takes_approval()
            && !held.grant.emergency
    }
    /// Whether a mandate decides: the grant asks for one, or the request names one.
    pub(super) fn needs_mandate(&self, held: &Held<'_>) -> bool {
        (held.grant.needs.mandate || self.request.mandate.is_some()) && self.question.verb.takes_conditions()
    }

    /// Everything that a grant misses.
    pub(super) fn missing(&self, held: &Held<'a>) -> Vec<Missing> {
        if !self.question.verb.takes_conditions() {
            return Vec::new();
        }
        [
            self.training(held),
            self.charter(),
            self.mandate_missing(held),
            self.limit(held),
            self.approval_missing(held),
            self.reauthentication(held),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What bounds a session under a grant that misses nothing.
    pub(super) fn bounds(&self, held: &Held<'a>) -> Bounds<'a> {
        let approval = self.approval().filter(|_| self.needs_approval(held));
        let mandate = self.mandate().filter(|_| self.needs_mandate(held));
        Bounds {
            until: self.request.until,
            approved: approval.and_then(|approval| approval.duration.as_ref()),
            mandated: mandate.map(|mandate| mandate.until),
            left_micros: self.left_micros(held),
        }
    }

    fn training(&self, held: &Held<'_>) -> Option<Missing> {
        let attested = held.grant.trained.filter(|day| *day <= self.ask.local.date());
        (held.role.trained && attested.is_none()).then(|| {
            Missing::Training(format!("gives role {}, and your training is not attested", held.grant.role))
        })
    }

    fn charter(&self) -> Option<Missing> {
        let charter = self.ask.policy.charter()?;
        let opens = self.question.verb == Verb::View && self.carried_by.is_none();
        (opens && self.ask.facts.charter != Some(charter.version.as_str())).then(|| {
            let version = &charter.version;
            Missing::Charter(format!("gives nothing before you acknowledge version {version} of the charter"))
        })
    }

    fn mandate_missing(&self, held: &Held<'_>) -> Option<Missing> {
        if !self.needs_mandate(held) {
            return None;
        }
        let why = match (self.mandate(), &self.request.mandate) {
            (Some(mandate), _) => self.mandate_fails(mandate)?,
            (None, Some(named)) => format!("needs a mandate, and there is none called {named}"),
            (None, None) => "needs a mandate, and the request names none".into(),
        };
        Some(Missing::Mandate(why))
    }

    /// Why a mandate does not cover the act.
    fn mandate_fails(&self, mandate: &Mandate) -> Option<String> {
        let (id, today) = (&mandate.id, self.ask.local.date());
        let mut why = Vec::new();
        if mandate.user != *self.ask.user {
            why.push("is somebody else's".to_owned());
        }
        if mandate.withdrawn.is_some() {
            why.push("was withdrawn".into());
        }
        if today < mandate.from {
            why.push(format!("begins on {}", mandate.from));
        }
        if today > mandate.until {
            why.push(format!("ended on {}", mandate.until));
        }
        if let Some(reason) = self.question.reason.filter(|reason| !mandate.tasks.contains(*reason)) {
            why.push(format!("does not name the task {reason}"));
        }
        let at = |sources: &std::collections::BTreeSet<_>| {
            self.question.source.is_some_and(|source| sources.contains(source))
        };
        if !mandate.sources.as_ref().is_none_or(at) {
            why.push("does not name this source".into());
        }
        (!why.is_empty()).then(|| format!("needs a mandate that covers this; {id} {}", why.join(", ")))
    }

    fn approval_missing(&self, held: &Held<'_>) -> Option<Missing> {
        if !self.needs_approval(held) {
            return None;
        }
        let why = match self.approval() {
            Some(approval) => self.approval_fails(approval)?,
            None if self.request.approval.is_some() => {
                "needs a second person, and there is no such approval".into()
            }
            None => "needs a second person: ask for an approval".into(),
        };
        Some(Missing::Approval(why))
    }

    /// Why an approval does not serve for the act.
    fn approval_fails(&self, approval: &Approval) -> Option<String> {
        let mut why = Vec::new();
        let running = self.carried_by.is_some();
        if approval.asked_by != self.request.who.uid {
            why.push("somebody else asked for this one");
        }
        match approval.answer {
            None => why.push("this one is not answered yet"),
            Some(answer) if !answer.accepted => why.push("this one was refused"),
            Some(answer) if answer.by == approval.asked_by => why.push("nobody approves for himself"),
            Some(_) => {}
        }
        // A running session has used it, in time.
        if approval.used && !running {
            why.push("this one was used already");
        }
        if self.ask.now >= approval.expires && !running {
            why.push("this one has expired");
        }
        if approval.verb != self.question.verb || !self.in_scope(&approval.scope) {
            why.push("this one is for something else");
        }
        if approval.purpose.as_ref() != self.question.purpose {
            why.push("this one is for another purpose");
        }
        (!why.is_empty()).then(|| format!("needs a second person, and {}", why.join(", ")))
    }

    fn in_scope(&self, scope: &ApprovalScope) -> bool {
        match (scope, &self.request.target) {
            (ApprovalScope::Recording(approved), Target::Recording { id, .. }) => approved == id,
            (ApprovalScope::Interval { source, from, to }, Target::Recording { source: asked, .. }) => {
                let within = self
                    .question
                    .recording
                    .is_some_and(|recording| *from <= recording.start && recording.end <= *to);
                source == asked && within
            }
            (ApprovalScope::Service, Target::Service) => true,
            _ => false,
        }
    }

    fn reauthentication(&self, held: &Held<'_>) -> Option<Missing> {
        let asked = (held.grant.needs.reauth || held.role.reauth) && self.carried_by.is_none();
        (asked && !self.ask.facts.reauthenticated).then_some(Missing::Reauthentication)
    }

    /// Which limit of a day is reached. Only opening has some, and what a session has used does not speak against itself.
    fn limit(&self, held: &Held<'_>) -> Option<Missing> {
        let Target::Recording { id: recording, .. } = &self.request.target else { return None };
        if !self.limits_apply(held) {
            return None;
        }
        exceeded(held.grant, recording, &self.used(held)).map(Missing::Limit)
    }

    fn left_micros(&self, held: &Held<'_>) -> Option<i64> {
        let most = held.grant.max_minutes_a_day.filter(|_| self.limits_apply(held))?;
        let most = i64::try_from(most.saturating_mul(60_000_000)).unwrap_or(i64::MAX);
        Some(most.saturating_sub_unsigned(self.used(held).micros).max(0))
    }

    fn limits_apply(&self, held: &Held<'_>) -> bool {
        self.question.verb == Verb::View && held.grant.has_day_limit() && self.carried_by != Some(held.id)
    }

    fn used(&self, held: &Held<'_>) -> super::limits::DayUse {
        let since = start_of_day(self.ask.begins, &self.ask.house.time_zone);
        (self.ask.facts.used)(held.id, since)
    }
}
