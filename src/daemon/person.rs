//! Who asks, and how a refusal is recorded and told.
//!
//! Owns the one path that every refusal takes: bounded (design §5 "Flooding"), recorded, then told with the number of its
//! entry. What does not exist and what the caller may not know of take it alike.

use std::io;

use super::facts::{completed, facts_for};
use super::ledger::{Desk, Proposal};
use super::reauth::Reauth;
use crate::core::access::Recorded;
use crate::core::event::{Detail, Draft, Outcome, Process, Who};
use crate::core::ids::{ReasonCode, RecordingId, RuleId};
use crate::core::policy::{
    AccessRequest, Decision, Denial, DenialKind, Facts, FloodVerdict, Principal, RefusalKey, Scope, Target,
    Verb, decide, may, refuse_caller,
};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::bus::caller::Caller;
use crate::shell::{journal, message_id, users};

/// A caller with the name of the account.
#[derive(Debug, Clone)]
pub struct Person {
    /// What decides.
    pub principal: Principal,
    /// What is recorded.
    pub who: Who,
    /// Unique name on the bus.
    pub bus_name: String,
    /// Whether he has authenticated again for this call.
    pub reauth: Reauth,
    /// The recording that the call is about, and whether it is his own; absent when no rule asks, or nobody can tell.
    pub own: Option<(RecordingId, bool)>,
}

impl Person {
    /// Looks the account up. Blocks on the name service, so it runs on a thread that may.
    pub async fn of(caller: Caller) -> Result<Self, Refusal> {
        let uid = caller.uid;
        let looked_up = tokio::task::spawn_blocking(move || users::name_of(uid)).await;
        let name = looked_up.map_err(io::Error::other).and_then(|name| name).map_err(|error| {
            log::error!("the account of uid {uid} could not be looked up: {error}");
            Refusal::internal()
        })?;
        let process = if caller.confirmed { Process::Confirmed } else { Process::Unconfirmed };
        Ok(Self {
            principal: Principal {
                uid,
                user: name.as_ref().and_then(|name| name.parse().ok()),
                login_uid: caller.login_uid,
            },
            bus_name: caller.bus_name.clone(),
            reauth: Reauth::NotAsked,
            own: None,
            who: Who {
                uid,
                user: name,
                pid: caller.pid,
                exe: caller.exe,
                login_uid: caller.login_uid,
                login_session: caller.login_session,
                unit: caller.unit,
                bus_name: Some(caller.bus_name),
                process: Some(process),
            },
        })
    }

    /// A detail that says who, and by which rule.
    pub fn detail(&self, rule: &RuleId) -> Detail {
        Detail { rule: Some(rule.to_string()), ..Detail::by(self.who.clone()) }
    }

    /// A request without purpose, case or end.
    pub fn asks(&self, verb: Verb, target: Target, reason: Option<ReasonCode>) -> AccessRequest {
        let who = self.principal.clone();
        AccessRequest { reason, ..AccessRequest::new(who, verb, target) }
    }

    /// Whether the recording of a request is his own.
    pub fn owns(&self, request: &AccessRequest) -> Option<bool> {
        match (&request.target, self.own) {
            (Target::Recording { id, .. }, Some((known, own))) if known == *id => Some(own),
            _ => None,
        }
    }

    /// The proposal that records a refusal. `draft` is what would have been recorded had it been allowed.
    pub fn refused<T>(
        &self,
        desk: &mut Desk<'_>,
        verb: Verb,
        denial: Denial,
        draft: Draft,
    ) -> Result<Proposal<Result<T, Denial>>, Refusal> {
        let denial = self.reauth.told(denial);
        // What the caller may not know of is counted as what does not exist: the bound must not tell them apart.
        let rule = if denial.kind == DenialKind::NotKnown {
            RuleId::builtin("unknown")
        } else {
            denial.rule.clone()
        };
        let key = RefusalKey { verb, rule };
        match desk.flood.on_refusal(self.principal.uid, &key, desk.now.up_micros) {
            FloodVerdict::Count => Err(Refusal::new(
                RefusalKind::LimitReached,
                "You were refused the same more than 10 times in a minute; wait a minute. The refusals are counted in the ledger.",
            )),
            FloodVerdict::Record => {
                let said = draft.detail.clone().unwrap_or_default();
                let detail =
                    Detail { who: Some(self.who.clone()), rule: Some(denial.rule.to_string()), ..said };
                Ok(Proposal::new(draft.outcome(Outcome::Denied).with_detail(detail), Err(denial)))
            }
        }
    }
}

/// The denial for what is not there: the same as for what the caller may not know of, unless he may ask nothing at all.
pub fn unknown(desk: &Desk<'_>, person: &Person) -> Denial {
    refuse_caller(desk.house, &person.principal).unwrap_or_else(|| {
        let sentence = "Refused by rule builtin.unknown: there is no such recording.".into();
        Denial::new(RuleId::builtin("unknown"), DenialKind::NotKnown, sentence)
    })
}

/// `decide`, after the question whether this caller may ask anything: that refusal tells nothing of any recording.
pub fn decide_for(desk: &Desk<'_>, person: &Person, request: &AccessRequest) -> Decision {
    match refuse_caller(desk.house, &request.who) {
        Some(denial) => Decision::Deny(denial),
        None => {
            let request = completed(desk, request);
            let facts = facts_for(desk, &request, person.owns(&request));
            let facts = Facts { reauthenticated: person.reauth.is_done(), ..facts };
            decide(desk.policy, desk.house, &request, &facts, desk.now.time)
        }
    }
}

/// Where the caller may do `verb`, whatever the source.
pub fn may_for(desk: &Desk<'_>, person: &Person, verb: Verb) -> Result<Scope, Denial> {
    let asked = person.asks(verb, Target::Service, None);
    let request = completed(desk, &asked);
    let facts = Facts { reauthenticated: person.reauth.is_done(), ..facts_for(desk, &request, None) };
    may(desk.policy, desk.house, &request, &facts, desk.now.time)
}

/// What was recorded as allowed, or the refusal as the caller is told it.
pub fn allowed<T>(recorded: Recorded<Result<T, Denial>>) -> Result<Recorded<T>, Refusal> {
    recorded.transpose().map_err(|(denial, entry)| {
        let kind = match denial.kind {
            DenialKind::NotKnown => RefusalKind::NotFound,
            DenialKind::Denied => RefusalKind::Denied,
            DenialKind::ReasonRequired { .. } => RefusalKind::ReasonRequired,
            DenialKind::InvalidArgument(_) => RefusalKind::InvalidArgument,
            DenialKind::Conflict => RefusalKind::Conflict,
            DenialKind::ApprovalRequired => RefusalKind::ApprovalRequired,
            DenialKind::LimitReached => RefusalKind::LimitReached,
        };
        journal::record(
            log::Level::Info,
            message_id::ACCESS_DENIED,
            &format!("a request was refused: {kind:?}"),
            &[("entry", &entry.to_string())],
        );
        Refusal::new(kind, format!("{} Recorded as entry {entry}. {}", denial.answer(), denial.advice()))
    })
}
