//! Grants in the register: proposed by one person, approved by another, ended, suspended, reviewed.
//!
//! Nobody for himself: who proposes, who approves and who is granted are three persons, by number and by name. What was decided
//! when it was proposed is decided again when it is approved.

use std::sync::Arc;

use super::{Allowed, clashes, not_there, permit, permit_register, random_id, shortened};
use crate::core::event::{
    Detail, Draft, Event, GrantEnd, GrantEnded, GrantReviewed, GrantSuspended, GrantTerm, Outcome, Party,
    SuspendedWhy,
};
use crate::core::ids::{GrantId, RuleId};
use crate::core::policy::{Denial, DenialKind, Grant, GrantsIn, Permit, Target, UserName, Verb};
use crate::core::refusal::Refusal;
use crate::core::register::grants::Stage;
use crate::core::register::judge::{
    AccountIs, denied, is_user, judge_account, judge_beside, judge_until, same_person,
};
use crate::core::register::upkeep::known_rule;
use crate::daemon::ledger::Desk;
use crate::daemon::person::Person;
use crate::daemon::service::Service;
use crate::daemon::sessions::End;
use crate::shell::bus::archive::registers::GrantStep;

/// A grant that a caller means.
struct Meant {
    id: GrantId,
    stage: Stage,
    /// The rule of the policy, where it stands there.
    rule: Option<RuleId>,
    /// For whom it is.
    user: Option<UserName>,
}

/// The grant of the register with this id, or the grant of the policy with this rule. `new`: the id of one that the register
/// does not know yet.
fn meant(desk: &Desk<'_>, typed: &str, new: GrantId) -> Option<Meant> {
    let grants = &desk.state.registers().grants;
    let user_of =
        |rule: &RuleId| desk.policy.grants().find(|(id, _)| *id == rule).map(|(_, grant)| grant.user.clone());
    if let Some((id, grant)) = typed.parse().ok().and_then(|id| Some((id, grants.get(&id)?))) {
        let detail = desk.told.detail(grant.entry);
        let rule: Option<RuleId> = detail.and_then(|it| it.grant_rule.as_ref()?.parse().ok());
        let granted = detail.and_then(|it| it.user.as_ref()?.parse().ok());
        let user = granted.or_else(|| rule.as_ref().and_then(user_of));
        return Some(Meant { id, stage: grant.stage, rule, user });
    }
    let rule: RuleId = typed.parse().ok()?;
    let user = user_of(&rule)?;
    let id = known_rule(desk.state, desk.told, &rule).unwrap_or(new);
    Some(Meant { id, stage: Stage::Policy, rule: Some(rule), user: Some(user) })
}

/// What must hold of a grant when it is proposed, and again when it is approved.
fn judge(desk: &Desk<'_>, id: &RuleId, text: &str, account: Option<AccountIs>) -> Result<Grant, Denial> {
    if desk.policy.grants_in() != GrantsIn::Register {
        let why = "the policy keeps its grants in its files: grants_in is not \"register\"";
        return Err(clashes("grants-in", why));
    }
    let grant = desk.policy.read_grant(id, text).map_err(|errors| {
        denied("request", DenialKind::InvalidArgument("grant"), &errors.to_string().replace('\n', "; "))
    })?;
    // The account was looked up by the name that the text had under the policy of that moment: the same.
    judge_account(&grant.user, account.unwrap_or(AccountIs::Gone))?;
    judge_until(&grant, desk.now.time.date_in(&desk.house.time_zone))?;
    judge_beside(desk.policy, &grant, desk.standing.registered())?;
    Ok(grant)
}

fn for_himself(what: &str) -> Denial {
    denied("self", DenialKind::Denied, &format!("nobody {what} for himself; another person must"))
}

impl Service {
    pub(super) async fn propose_grant(
        self: &Arc<Self>,
        person: Person,
        text: String,
        ground: Option<String>,
    ) -> Result<(String, u64), Refusal> {
        let id = GrantId::from_bytes(random_id()?);
        let read = self.policy_in_force().read_grant(&id.rule(), &text);
        let account = self.account_of(read.ok().map(|grant| grant.user.as_str().to_owned())).await?;
        let said = Detail { grant: Some(text.clone()), ground, ..Detail::default() };
        let bare = Draft::fact(Event::GrantProposed(GrantTerm { grant: None, until: None }))
            .with_detail(said.clone());
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            let permit = permit_register(desk, person)?;
            let grant = judge(desk, &id.rule(), &text, account)?;
            if is_user(&person.who.party(), &grant.user, account.unwrap_or(AccountIs::Gone)) {
                return Err(for_himself("proposes a grant"));
            }
            let term = GrantTerm { grant: Some(id), until: grant.until };
            let user = Some(grant.user.as_str().to_owned());
            let detail = Detail { user, ..person.detail_of(&permit, said) };
            let draft = Draft::fact(Event::GrantProposed(term)).with_detail(detail);
            Ok(Allowed { draft, permit: Some(permit), value: () })
        };
        let ((), entry) = self.record_judged(person, Verb::Register, bare, judge).await?;
        Ok((id.to_string(), entry))
    }

    pub(super) async fn step_grant(
        self: &Arc<Self>,
        person: Person,
        step: GrantStep,
        typed: String,
        ground: Option<String>,
    ) -> Result<(String, u64), Refusal> {
        let new = GrantId::from_bytes(random_id()?);
        let (asked, typed_too) = (typed.clone(), typed.clone());
        let user = self.ledger.look(move |desk| meant(desk, &asked, new).and_then(|it| it.user)).await?;
        let account = self.account_of(user.map(|user| user.as_str().to_owned())).await?;
        let (verb, refused_as) = match step {
            GrantStep::Approve => (Verb::Approve, Event::GrantGiven(GrantTerm { grant: None, until: None })),
            GrantStep::Refuse => (Verb::Approve, ended(None, GrantEnd::Refused)),
            GrantStep::End => (Verb::Register, ended(None, GrantEnd::Ended)),
            GrantStep::Suspend => (Verb::Register, suspended(None, false)),
            GrantStep::Review => {
                (Verb::Review, Event::GrantReviewed(GrantReviewed { grant: None, policy: false }))
            }
        };
        let said = Detail { ground, ..Detail::default() };
        let asked = Detail { asked: Some(shortened(&typed)), ..said.clone() };
        let bare = Draft::fact(refused_as).with_detail(asked);
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            let permit = match verb {
                Verb::Register => permit_register(desk, person)?,
                _ => permit(desk, person, verb, Target::Service)?,
            };
            let meant = meant(desk, &typed_too, new).ok_or_else(|| not_there("grant"))?;
            let draft = match step {
                GrantStep::Approve => approve(desk, person, &permit, &meant, account, said)?,
                GrantStep::Refuse | GrantStep::End => end(person, &permit, &meant, step, said)?,
                GrantStep::Suspend => suspend(desk, person, &permit, &meant, said)?,
                GrantStep::Review => review(person, &permit, &meant, account, said)?,
            };
            Ok(Allowed { draft, permit: Some(permit), value: meant.id })
        };
        let (id, entry) = self.record_judged(person, verb, bare, judge).await?;
        log::info!(entry = entry; "grant {id}: {step:?}");
        if matches!(step, GrantStep::End | GrantStep::Suspend) {
            self.reconsider_sessions(End::RightsEnded).await;
        }
        Ok((id.to_string(), entry))
    }
}

fn ended(grant: Option<GrantId>, why: GrantEnd) -> Event {
    Event::GrantEnded(GrantEnded { grant, why })
}
fn suspended(grant: Option<GrantId>, policy: bool) -> Event {
    Event::GrantSuspended(GrantSuspended { grant, why: SuspendedWhy::ByHand, policy })
}

fn approve(
    desk: &Desk<'_>,
    person: &Person,
    permit: &Permit,
    meant: &Meant,
    account: Option<AccountIs>,
    said: Detail,
) -> Result<Draft, Denial> {
    if meant.stage != Stage::Proposed {
        return Err(clashes("stage", "it was given already"));
    }
    let told = desk.told.grant(desk.state, &meant.id);
    let known = told
        .and_then(|detail| Some((detail.grant.clone()?, detail.who.as_ref()?.party(), detail.user.clone()?)));
    let Some((text, proposer, user)) = known else {
        return Err(clashes("stage", "nobody can tell any more what was proposed; propose it anew"));
    };
    let me: Party = person.who.party();
    if same_person(&me, &proposer) {
        return Err(denied("self", DenialKind::Denied, "you proposed it; another person must approve it"));
    }
    let grant = judge(desk, &meant.id.rule(), &text, account)?;
    if is_user(&me, &grant.user, account.unwrap_or(AccountIs::Gone)) {
        return Err(for_himself("approves a grant"));
    }
    let term = GrantTerm { grant: Some(meant.id), until: grant.until };
    let detail = Detail {
        grant: Some(text),
        user: Some(user),
        proposer: Some(proposer),
        ..person.detail_of(permit, said)
    };
    Ok(Draft::fact(Event::GrantGiven(term)).outcome(Outcome::Granted).with_detail(detail))
}

fn end(
    person: &Person,
    permit: &Permit,
    meant: &Meant,
    step: GrantStep,
    said: Detail,
) -> Result<Draft, Denial> {
    let why = match (meant.stage, step) {
        (Stage::Policy, _) => return Err(clashes("stage", "it stands in the policy; take it out there")),
        (Stage::Proposed, GrantStep::Refuse) => GrantEnd::Refused,
        (Stage::Proposed, _) => GrantEnd::TakenBack,
        (Stage::Given, GrantStep::Refuse) => return Err(clashes("stage", "it was given already; end it")),
        (Stage::Given, _) => GrantEnd::Ended,
    };
    Ok(Draft::fact(ended(Some(meant.id), why)).with_detail(person.detail_of(permit, said)))
}

/// The detail of an entry about a grant that stands, which names the rule when it is one of the policy.
fn about(person: &Person, permit: &Permit, meant: &Meant, said: Detail) -> Detail {
    let rule = meant.rule.as_ref().map(ToString::to_string);
    let user = meant.user.as_ref().map(|user| user.as_str().to_owned());
    Detail { grant_rule: rule, user, ..person.detail_of(permit, said) }
}

fn suspend(
    desk: &Desk<'_>,
    person: &Person,
    permit: &Permit,
    meant: &Meant,
    said: Detail,
) -> Result<Draft, Denial> {
    let known = desk.state.registers().grants.get(&meant.id);
    if meant.stage == Stage::Proposed {
        return Err(clashes("stage", "it is only proposed; end it"));
    }
    if known.is_some_and(|known| known.suspended.is_some()) {
        return Err(clashes("stage", "it is suspended already"));
    }
    let event = suspended(Some(meant.id), meant.stage == Stage::Policy);
    Ok(Draft::fact(event).with_detail(about(person, permit, meant, said)))
}

fn review(
    person: &Person,
    permit: &Permit,
    meant: &Meant,
    account: Option<AccountIs>,
    said: Detail,
) -> Result<Draft, Denial> {
    if meant.stage == Stage::Proposed {
        return Err(clashes("stage", "it is only proposed"));
    }
    let Some(user) = &meant.user else {
        return Err(clashes("stage", "nobody can tell any more whose it is; end it and propose it anew"));
    };
    let account = account.unwrap_or(AccountIs::Gone);
    judge_account(user, account)?;
    if is_user(&person.who.party(), user, account) {
        return Err(for_himself("reviews a grant"));
    }
    let policy = meant.stage == Stage::Policy;
    let event = Event::GrantReviewed(GrantReviewed { grant: Some(meant.id), policy });
    Ok(Draft::fact(event).with_detail(about(person, permit, meant, said)))
}
