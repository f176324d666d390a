//! What a permit leaves behind: who acted, by which rule, and the approval that it used up.
//!
//! Owns the one way in which an approval is spent: the entry that uses it names both persons, and the next entry of the same batch
//! says that it is used. So no second act can pass under it, not even one decided in the same batch.

use super::ledger::{Desk, Proposal};
use super::person::Person;
use crate::core::event::{ApprovalStep, Detail, Draft, Event, Subject};
use crate::core::ids::{ApprovalId, PurposeId};
use crate::core::policy::{Denial, Permit, Scope, Target, Verb};

/// An approval that an act rests on.
struct Spent {
    approval: ApprovalId,
    target: Target,
    purpose: Option<PurposeId>,
}

impl Person {
    /// The detail of what a permit allows: what the caller said, who he is, and the rule.
    pub fn detail_of(&self, permit: &Permit, said: Detail) -> Detail {
        Detail { who: Some(self.who.clone()), rule: Some(permit.rule().to_string()), ..said }
    }

    /// The proposal of what a permit allows; without one, of what everybody may do for himself.
    pub fn permitted<T>(
        &self,
        desk: &Desk<'_>,
        permit: Option<&Permit>,
        draft: Draft,
        value: T,
    ) -> Proposal<Result<T, Denial>> {
        let spent = permit.and_then(|permit| {
            let (approval, target) = (*permit.approval()?, permit.target().clone());
            Some(Spent { approval, target, purpose: permit.purpose().cloned() })
        });
        self.spending(desk, spent, draft, value)
    }

    /// The same for what a scope allows: an act without one recording in particular.
    pub fn permitted_in<T>(
        &self,
        desk: &Desk<'_>,
        scope: &Scope,
        verb: Verb,
        draft: Draft,
        value: T,
    ) -> Proposal<Result<T, Denial>> {
        let approval = needs_approval(desk, scope, verb).then(|| own_approval(desk, self, verb)).flatten();
        let spent = approval.map(|approval| Spent { approval, target: Target::Service, purpose: None });
        self.spending(desk, spent, draft, value)
    }

    fn spending<T>(
        &self,
        desk: &Desk<'_>,
        spent: Option<Spent>,
        mut draft: Draft,
        value: T,
    ) -> Proposal<Result<T, Denial>> {
        let Some(Spent { approval, target, purpose }) = spent else { return Proposal::new(draft, Ok(value)) };
        let approver = desk.told.answerer(desk.state, &approval);
        if let Some(detail) = &mut draft.detail {
            detail.approver.clone_from(&approver);
        }
        let subject = match target {
            Target::Recording { id, source } => Subject::recording(id, source),
            Target::Source(_) | Target::Service => Subject::default(),
        };
        let subject = Subject { purpose, session: draft.subject.session, ..subject };
        let used = Draft::fact(Event::ApprovalUsed(ApprovalStep { approval: Some(approval) }))
            .about(subject)
            .with_detail(Detail { approver, ..Detail::by(self.who.clone()) });
        Proposal::new(draft, Ok(value)).and(used)
    }
}

/// Whether the grant behind a scope takes a second person.
fn needs_approval(desk: &Desk<'_>, scope: &Scope, verb: Verb) -> bool {
    let of_policy = || desk.policy.grants().find(|(id, _)| *id == scope.rule()).map(|(_, grant)| grant);
    let grant = desk.standing.registered().get(scope.rule()).or_else(of_policy);
    let by_role = |role| desk.policy.role(role).is_some_and(|role| role.second_person);
    verb.takes_approval() && grant.is_some_and(|it| it.needs.second_person || by_role(&it.role))
}

/// The approval of an act on the service that the caller has, when he names none: the one that ends first.
pub fn own_approval(desk: &Desk<'_>, person: &Person, verb: Verb) -> Option<ApprovalId> {
    super::facts::own_approval(desk, &person.asks(verb, Target::Service, None))
}
