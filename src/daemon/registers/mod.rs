//! Registers on the bus: who lists them, and what is recorded in them.
//!
//! Each act, in order: accounts looked up · decided in the writer's order, against the state that everything before has made ·
//! recorded · what follows from it carried out (sessions cut). Every question is an entry, refused or not.

mod approvals;
mod charter;
mod grants;
mod list;
mod mandates;
mod upkeep;

use std::io;
use std::sync::Arc;

use super::ledger::{Desk, Proposal};
use super::person::{Person, allowed, decide_for};
use super::reauth::{About, Reauth};
use super::service::Service;
use crate::core::event::Draft;
use crate::core::policy::{Decision, Denial, DenialKind, Permit, Target, Verb};
use crate::core::refusal::Refusal;
use crate::core::register::judge::{AccountIs, denied};
use crate::core::time::Timestamp;
use crate::shell::bus::archive::registers::{ApprovalRequest, GrantStep, RegisterAct};
use crate::shell::{entropy, users};

/// What a proposal of a register answers: the entry, or the refusal.
type Judged<T> = Result<Proposal<Result<T, Denial>>, Refusal>;

/// What may be recorded.
struct Allowed<T> {
    draft: Draft,
    /// By which permit; absent for what everybody may do for himself.
    permit: Option<Permit>,
    value: T,
}

/// The verbs of which one is needed for an act; none for what everybody may do for himself.
fn verbs(act: &RegisterAct) -> &'static [Verb] {
    match act {
        RegisterAct::ProposeGrant { .. }
        | RegisterAct::Grant { step: GrantStep::End | GrantStep::Suspend, .. } => {
            &[Verb::Register, Verb::Administer]
        }
        RegisterAct::Grant { step: GrantStep::Review, .. } => &[Verb::Review],
        RegisterAct::Grant { step: GrantStep::Approve | GrantStep::Refuse, .. }
        | RegisterAct::AnswerApproval { .. } => &[Verb::Approve],
        RegisterAct::SetMandate { .. } | RegisterAct::EndMandate { .. } => &[Verb::Mandate],
        RegisterAct::AskApproval(_) | RegisterAct::AcknowledgeCharter { .. } => &[],
    }
}

impl Service {
    /// `Registers.Record`: the id of what it is about, and the entry.
    pub(super) async fn record_act_for(
        self: &Arc<Self>,
        mut person: Person,
        act: RegisterAct,
    ) -> Result<(String, u64), Refusal> {
        if let RegisterAct::AskApproval(ApprovalRequest { recording: Some(recording), .. }) = &act {
            person = self.knowing_whose(person, &About::Recording(recording.clone())).await?;
        }
        for verb in verbs(&act) {
            if person.reauth == Reauth::NotAsked {
                person = self.authenticated(person, *verb, About::Nothing).await?;
            }
        }
        match act {
            RegisterAct::ProposeGrant { text, ground } => self.propose_grant(person, text, ground).await,
            RegisterAct::Grant { step, id, ground } => self.step_grant(person, step, id, ground).await,
            RegisterAct::SetMandate { change, mandate } => self.set_mandate(person, change, mandate).await,
            RegisterAct::EndMandate { id, done, ground } => self.end_mandate(person, id, done, ground).await,
            RegisterAct::AskApproval(request) => self.ask_approval(person, request).await,
            RegisterAct::AnswerApproval { id, accepted, ground } => {
                self.answer_approval(person, id, accepted, ground).await
            }
            RegisterAct::AcknowledgeCharter { version } => self.acknowledge_charter(person, version).await,
        }
    }

    /// Records what `judge` allows, or why not. `bare` is the draft of a refusal.
    async fn record_judged<T: Send + 'static>(
        &self,
        person: Person,
        verb: Verb,
        bare: Draft,
        judge: impl FnOnce(&mut Desk<'_>, &Person) -> Result<Allowed<T>, Denial> + Send + 'static,
    ) -> Result<(T, u64), Refusal> {
        let recorded = self.ledger.record(move |desk| -> Judged<T> {
            match judge(desk, &person) {
                Ok(Allowed { draft, permit, value }) => {
                    Ok(person.permitted(desk, permit.as_ref(), draft, value))
                }
                Err(denial) => person.refused(desk, verb, denial, bare),
            }
        });
        let recorded = allowed(recorded.await?)?;
        let entry = recorded.entry();
        Ok((recorded.into_value(), entry))
    }

    /// Looks accounts up; one that the name service cannot tell of now refuses the call.
    async fn account_of(&self, user: Option<String>) -> Result<Option<AccountIs>, Refusal> {
        let Some(user) = user else { return Ok(None) };
        let today = today(self.clock.now().time);
        let looked_up = tokio::task::spawn_blocking(move || users::account(&user, today)).await;
        looked_up.map_err(io::Error::other).and_then(|account| account).map(Some).map_err(|error| {
            log::error!("an account could not be looked up: {error}");
            Refusal::internal()
        })
    }
}

/// Days since 1970, UTC: how the shadow database counts.
fn today(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(24 * 3600 * 1_000_000)
}

/// The permit for a verb of registers.
fn permit(desk: &Desk<'_>, person: &Person, verb: Verb, target: Target) -> Result<Permit, Denial> {
    match decide_for(desk, person, &person.asks(verb, target, None)) {
        Decision::Allow(permit) => Ok(permit),
        Decision::Deny(denial) => Err(denial),
    }
}

/// The permit for proposing, ending and suspending grants: for whoever registers, and for the administrator, who alone can begin
/// where the policy leaves the grants to the register. What he proposes allows nothing before another person approves it.
fn permit_register(desk: &Desk<'_>, person: &Person) -> Result<Permit, Denial> {
    permit(desk, person, Verb::Register, Target::Service)
        .or_else(|denial| permit(desk, person, Verb::Administer, Target::Service).map_err(|_| denial))
}

/// What is not there: said by the same words whatever it is.
fn not_there(what: &str) -> Denial {
    denied("unknown", DenialKind::Denied, &format!("there is no such {what}"))
}

/// Something that does not go together with what stands.
fn clashes(rule: &'static str, why: &str) -> Denial {
    denied(rule, DenialKind::Conflict, why)
}

/// 16 random bytes for an id.
fn random_id() -> Result<[u8; 16], Refusal> {
    entropy::array().map_err(|error| {
        log::error!("no randomness for an id: {error}");
        Refusal::internal()
    })
}

/// What was typed, for the detail.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
