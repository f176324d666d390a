//! Mandates in the register (R68, R69): given and changed by one person for another, withdrawn at once.
//!
//! A withdrawal cuts the sessions that run under it, each with an entry that says why.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;

use super::{Allowed, clashes, not_there, permit, shortened};
use crate::core::event::{Detail, Draft, Event, MandateEnd, MandateTerm, MandateWithdrawn};
use crate::core::ids::{MandateId, ReasonCode, SourceId};
use crate::core::policy::{Denial, DenialKind, Policy, Target, UserName, Verb};
use crate::core::refusal::Refusal;
use crate::core::register::judge::{AccountIs, denied, is_user, judge_account};
use crate::core::register::mandates::Mandated;
use crate::daemon::ledger::Desk;
use crate::daemon::person::Person;
use crate::daemon::service::Service;
use crate::daemon::sessions::End;
use crate::shell::bus::archive::registers::MandateRequest;

/// A request that reads well.
struct Read {
    id: MandateId,
    user: UserName,
    tasks: BTreeSet<ReasonCode>,
    sources: Option<BTreeSet<SourceId>>,
    from: Date,
    until: Date,
}

fn invalid(key: &'static str, why: &dyn Display) -> Denial {
    denied("request", DenialKind::InvalidArgument(key), &format!("{key}: {why}"))
}

fn parsed<T: FromStr<Err: Display>>(key: &'static str, text: &str) -> Result<T, Denial> {
    text.parse().map_err(|error| invalid(key, &error))
}

fn day(key: &'static str, text: &str) -> Result<Date, Denial> {
    text.parse().map_err(|_| invalid(key, &"write a day like 2026-05-31"))
}

/// Reads what was typed; every id must be one that the policy knows.
fn read(policy: &Policy, request: &MandateRequest, today: Date) -> Result<Read, Denial> {
    let tasks = request.tasks.iter().map(|text| {
        let code: ReasonCode = parsed("tasks", text)?;
        match policy.reason(&code) {
            Some(_) => Ok(code),
            None => Err(invalid("tasks", &format!("the policy has no reason {code}"))),
        }
    });
    let tasks: BTreeSet<ReasonCode> = tasks.collect::<Result<_, _>>()?;
    if tasks.is_empty() {
        return Err(invalid("tasks", &"name at least one: a mandate is limited to the tasks that it lists"));
    }
    let source = |text: &String| {
        let id: SourceId = parsed("sources", text)?;
        match policy.source(&id) {
            Some(_) => Ok(id),
            None => Err(invalid("sources", &format!("the policy has no source {id}"))),
        }
    };
    let sources = request.sources.as_ref().map(|ids| ids.iter().map(source).collect::<Result<_, _>>());
    let (from, until) = (day("from", &request.from)?, day("until", &request.until)?);
    if until < from {
        return Err(invalid("until", &format!("{until} comes before {from}")));
    }
    if until < today {
        return Err(invalid("until", &format!("{until} is over")));
    }
    let informed = day("informed_on", &request.informed_on)?;
    if informed > today {
        return Err(invalid("informed_on", &"the person must be informed before the mandate is given"));
    }
    Ok(Read {
        id: parsed("id", &request.id)?,
        user: parsed("user", &request.user)?,
        tasks,
        sources: sources.transpose()?,
        from,
        until,
    })
}

/// The version that a mandate gets, or why it cannot be given or changed.
fn version(known: Option<&Mandated>, id: &MandateId, change: bool) -> Result<u64, Denial> {
    match known {
        None if change => Err(not_there("mandate")),
        None => Ok(1),
        Some(known) if known.withdrawn.is_some() => {
            Err(clashes("mandate", &format!("mandate {id} is over; give a new one under another id")))
        }
        Some(_) if !change => Err(clashes("mandate", &format!("mandate {id} stands already; change it"))),
        Some(known) => Ok(known.version.saturating_add(1)),
    }
}

impl Service {
    pub(super) async fn set_mandate(
        self: &Arc<Self>,
        person: Person,
        change: bool,
        request: MandateRequest,
    ) -> Result<(String, u64), Refusal> {
        let account = self.account_of(request.user.parse::<UserName>().ok().map(|it| it.to_string())).await?;
        let id = request.id.clone();
        let event = move |term| if change { Event::MandateChanged(term) } else { Event::MandateGiven(term) };
        let nothing = MandateTerm {
            mandate: None,
            version: 0,
            from: None,
            until: None,
            tasks: Vec::new(),
            sources: None,
        };
        let said = Detail {
            user: Some(request.user.clone()),
            client: Some(request.client.clone()),
            necessity: Some(request.necessity.clone()),
            informed_on: Some(request.informed_on.clone()),
            consent: Some(request.consent.clone()),
            ..Detail::default()
        };
        let asked = Detail { asked: Some(shortened(&id)), ..said.clone() };
        let bare = Draft::fact(event(nothing)).with_detail(asked);
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            let permit = permit(desk, person, Verb::Mandate, Target::Service)?;
            let read = read(desk.policy, &request, desk.now.time.date_in(&desk.house.time_zone))?;
            let account = account.unwrap_or(AccountIs::Gone);
            judge_account(&read.user, account)?;
            if is_user(&person.who.party(), &read.user, account) {
                let why = "nobody gives a mandate to himself; another person must";
                return Err(denied("self", DenialKind::Denied, why));
            }
            let known = desk.state.registers().mandates.get(&read.id);
            let version = version(known, &read.id, change)?;
            let term = MandateTerm {
                mandate: Some(read.id),
                version,
                from: Some(read.from),
                until: Some(read.until),
                tasks: read.tasks.into_iter().collect(),
                sources: read.sources.map(|sources| sources.into_iter().collect()),
            };
            let draft = Draft::fact(event(term)).with_detail(person.detail_of(&permit, said));
            Ok(Allowed { draft, permit: Some(permit), value: () })
        };
        let ((), entry) = self.record_judged(person, Verb::Mandate, bare, judge).await?;
        if change {
            self.reconsider_sessions(End::RightsEnded).await;
        }
        Ok((id, entry))
    }

    pub(super) async fn end_mandate(
        self: &Arc<Self>,
        person: Person,
        typed: String,
        done: bool,
        ground: Option<String>,
    ) -> Result<(String, u64), Refusal> {
        let why = if done { MandateEnd::Done } else { MandateEnd::Withdrawn };
        let said = Detail { ground, ..Detail::default() };
        let asked = Detail { asked: Some(shortened(&typed)), ..said.clone() };
        let bare =
            Draft::fact(Event::MandateWithdrawn(MandateWithdrawn { mandate: None, why })).with_detail(asked);
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            let permit = permit(desk, person, Verb::Mandate, Target::Service)?;
            let mandates = &desk.state.registers().mandates;
            let id: Option<MandateId> = typed.parse().ok();
            let Some((id, known)) = id.and_then(|id| mandates.get(&id).map(|known| (id, known))) else {
                return Err(not_there("mandate"));
            };
            if known.withdrawn.is_some() {
                return Err(clashes("mandate", &format!("mandate {id} is over already")));
            }
            let event = Event::MandateWithdrawn(MandateWithdrawn { mandate: Some(id.clone()), why });
            let draft = Draft::fact(event).with_detail(person.detail_of(&permit, said));
            Ok(Allowed { draft, permit: Some(permit), value: id })
        };
        let (id, entry) = self.record_judged(person, Verb::Mandate, bare, judge).await?;
        self.end_sessions_under(&id).await;
        Ok((id.to_string(), entry))
    }

    /// Cuts the sessions that run under a mandate which is over.
    pub(super) async fn end_sessions_under(self: &Arc<Self>, id: &MandateId) {
        let under = self.sessions.which(|live| live.request.mandate.as_ref() == Some(id));
        self.end_sessions(under, End::MandateWithdrawn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::PolicyFile;

    fn request() -> MandateRequest {
        MandateRequest {
            id: "leave-of-may".into(),
            user: "man".into(),
            client: "Cabinet Martin".into(),
            tasks: vec!["incident".into()],
            sources: Some(vec!["entrance".into()]),
            from: "2026-05-01".into(),
            until: "2026-05-31".into(),
            necessity: "leave".into(),
            informed_on: "2026-04-28".into(),
            consent: "letter of 28 April".into(),
        }
    }

    #[test]
    fn a_mandate_says_all_that_it_must_and_only_what_the_policy_knows() {
        let text = include_str!("../../core/register/judge_tests.toml").to_owned();
        let policy = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text }]).unwrap();
        let today: Date = "2026-05-12".parse().unwrap();
        assert_eq!(read(&policy, &request(), today).unwrap().tasks.len(), 1);
        let bad = [
            ("id", MandateRequest { id: "Leave of May".into(), ..request() }),
            ("user", MandateRequest { user: "1000".into(), ..request() }),
            ("tasks", MandateRequest { tasks: vec![], ..request() }),
            ("tasks", MandateRequest { tasks: vec!["curiosity".into()], ..request() }),
            ("sources", MandateRequest { sources: Some(vec!["moon".into()]), ..request() }),
            ("from", MandateRequest { from: "yesterday".into(), ..request() }),
            ("until", MandateRequest { until: "2026-04-01".into(), ..request() }),
            ("until", MandateRequest { from: "2026-04-01".into(), until: "2026-05-11".into(), ..request() }),
            ("informed_on", MandateRequest { informed_on: "2026-05-13".into(), ..request() }),
        ];
        for (key, request) in bad {
            let refused = read(&policy, &request, today).err().unwrap();
            assert_eq!(refused.kind, DenialKind::InvalidArgument(key), "{refused:?}");
        }
    }
}
