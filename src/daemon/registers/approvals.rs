//! Approvals: one person asks for one act, another person answers; used up by the act.
//!
//! To ask is to ask whether an approval is all that is missing: whoever would be refused anyway is refused here, by the same rule,
//! and learns nothing more. Nobody answers himself.

use std::sync::Arc;

use super::{Allowed, clashes, not_there, permit, random_id, shortened};
use crate::core::event::{ApprovalAsked, ApprovalStep, Detail, Draft, Event, Outcome, Subject};
use crate::core::ids::{ApprovalId, PurposeId, RecordingId, RuleId, SourceId};
use crate::core::policy::{AccessRequest, Decision, Denial, DenialKind, Policy, Target, Verb};
use crate::core::refusal::Refusal;
use crate::core::register::approvals::About;
use crate::core::register::judge::{denied, same_person};
use crate::core::time::{Period, Timestamp};
use crate::daemon::ledger::Desk;
use crate::daemon::person::{Person, decide_for, unknown};
use crate::daemon::reauth::Reauth;
use crate::daemon::service::Service;
use crate::shell::bus::archive::registers::ApprovalRequest;

/// How long an approval may be answered and used, when nothing else was asked for.
const LASTS_SECONDS: u32 = 24 * 3600;
/// And at most.
const MOST_SECONDS: u32 = 7 * 24 * 3600;
/// Approvals of one person that wait or were not used yet.
const PENDING_PER_USER: usize = 32;

/// What an approval is asked for, found in the archive.
struct Found {
    target: Target,
    subject: Subject,
}

fn invalid(key: &'static str, why: &str) -> Denial {
    denied("request", DenialKind::InvalidArgument(key), &format!("{key}: {why}"))
}

/// What the request is about; the same refusal for what is not there and for what the caller may not know of.
fn found(desk: &Desk<'_>, person: &Person, request: &ApprovalRequest) -> Result<Found, Denial> {
    if let Some(typed) = &request.recording {
        let id = typed.parse::<RecordingId>().ok();
        let recording = id.and_then(|id| Some((id, desk.state.recording(&id)?)));
        let (id, recording) = recording.ok_or_else(|| unknown(desk, person))?;
        let source = recording.source.clone();
        let subject = Subject::recording(id, source.clone());
        return Ok(Found { target: Target::Recording { id, source }, subject });
    }
    let Some(typed) = &request.source else {
        return Ok(Found { target: Target::Service, subject: Subject::default() });
    };
    let source = typed.parse::<SourceId>().ok().filter(|id| desk.policy.source(id).is_some());
    let source =
        source.ok_or_else(|| denied("unknown", DenialKind::Denied, "the policy has no such source"))?;
    Ok(Found { target: Target::Source(source.clone()), subject: Subject::source(source) })
}

/// The purpose that the act would serve: the one named, or the only one that the reason has there.
fn purpose(policy: &Policy, source: Option<&SourceId>, request: &AccessRequest) -> Option<PurposeId> {
    if request.purpose.is_some() || !request.verb.takes_reason() {
        return request.purpose.clone();
    }
    let (source, reason) = (policy.source(source?)?, request.reason.as_ref()?);
    let serves = |id: &&PurposeId| policy.purpose(id).is_some_and(|it| it.reasons.contains(reason));
    let mut serving = source.purposes.iter().filter(serves);
    let only = serving.next()?;
    serving.next().is_none().then(|| only.clone())
}

/// Whether an approval is all that is missing for the act.
fn judge_need(desk: &Desk<'_>, person: &Person, asked: &AccessRequest) -> Result<RuleId, Denial> {
    // Whether he is who he is he proves when he acts; here nothing is done yet.
    let person = Person { reauth: Reauth::Done, ..person.clone() };
    let asked = match (&asked.target, asked.verb) {
        // Of a source nobody views everything at once: whether he may search it is what can be said of an interval.
        (Target::Source(_), Verb::View) => &AccessRequest { verb: Verb::Search, ..asked.clone() },
        _ => asked,
    };
    match decide_for(desk, &person, asked) {
        Decision::Deny(denial) if denial.kind == DenialKind::ApprovalRequired => Ok(denial.rule),
        Decision::Deny(denial) => Err(denial),
        Decision::Allow(permit) if asked.verb == Verb::Search => Ok(permit.rule().clone()),
        Decision::Allow(_) => {
            Err(clashes("approval", "your grant asks for no second person here; go on without one"))
        }
    }
}

/// When it ends: as asked, within a week.
fn expires(request: &ApprovalRequest, now: Timestamp) -> Result<Timestamp, Denial> {
    let after = |seconds| now.checked_add(&Period::seconds(seconds)).unwrap_or(now);
    match request.expires {
        None => Ok(after(LASTS_SECONDS)),
        Some(at) if at <= now => Err(invalid("expires", "it lies in the past")),
        Some(at) if at > after(MOST_SECONDS) => Err(invalid("expires", "it lies more than a week ahead")),
        Some(at) => Ok(at),
    }
}

impl Service {
    pub(super) async fn ask_approval(
        self: &Arc<Self>,
        person: Person,
        request: ApprovalRequest,
    ) -> Result<(String, u64), Refusal> {
        let id = ApprovalId::from_bytes(random_id()?);
        let nothing = ApprovalAsked {
            approval: None,
            verb: request.verb,
            from: request.from,
            to: request.to,
            expires: None,
            duration: None,
        };
        let said = Detail {
            case: request.case.clone(),
            text: request.text.clone(),
            asked: request.recording.as_deref().or(request.source.as_deref()).map(shortened),
            ..Detail::default()
        };
        let bare = Draft::fact(Event::ApprovalAsked(nothing.clone())).with_detail(said.clone());
        let verb = request.verb;
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            let Found { target, subject } = found(desk, person, &request)?;
            let named = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
            let asked = AccessRequest {
                purpose: request.purpose.as_ref().and_then(|text| text.parse().ok()),
                reason: request.reason.as_ref().and_then(|text| text.parse().ok()),
                case_given: request.case.is_some(),
                mandate: named(&request.mandate),
                ..person.asks(verb, target, None)
            };
            if !verb.takes_approval() {
                return Err(invalid("verb", &format!("{verb} takes no approval")));
            }
            let rule = judge_need(desk, person, &asked)?;
            let expires = expires(&request, desk.now.time)?;
            let mine = |it: &&crate::core::policy::Approval| {
                it.asked_by == person.who.uid && !it.used && it.expires >= desk.now.time
            };
            if desk.standing.approvals().filter(mine).count() >= PENDING_PER_USER {
                let why = format!("{PENDING_PER_USER} approvals that you asked for are not used yet");
                return Err(denied("approval", DenialKind::LimitReached, &why));
            }
            let reason = asked.reason.clone().filter(|code| desk.policy.reason(code).is_some());
            let purpose = purpose(desk.policy, subject.source.as_ref(), &asked);
            let event = ApprovalAsked {
                approval: Some(id),
                expires: Some(expires),
                duration: request.duration,
                ..nothing
            };
            let detail = Detail { rule: Some(rule.to_string()), ..said };
            let detail = Detail { who: Some(person.who.clone()), ..detail };
            let draft = Draft::fact(Event::ApprovalAsked(event))
                .about(Subject { purpose, reason, ..subject })
                .with_detail(detail);
            Ok(Allowed { draft, permit: None, value: () })
        };
        let ((), entry) = self.record_judged(person, verb, bare, judge).await?;
        Ok((id.to_string(), entry))
    }

    pub(super) async fn answer_approval(
        self: &Arc<Self>,
        person: Person,
        typed: String,
        accepted: bool,
        ground: Option<String>,
    ) -> Result<(String, u64), Refusal> {
        let event = move |approval| {
            let step = ApprovalStep { approval };
            if accepted { Event::ApprovalGiven(step) } else { Event::ApprovalRefused(step) }
        };
        let said = Detail { ground, ..Detail::default() };
        let asked = Detail { asked: Some(shortened(&typed)), ..said.clone() };
        let bare = Draft::fact(event(None)).with_detail(asked);
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            let approvals = &desk.state.registers().approvals;
            let id: Option<ApprovalId> = typed.parse().ok();
            let known = id.and_then(|id| Some((id, approvals.get(&id)?)));
            let target = match known.map(|(_, it)| &it.about) {
                Some(About::Recording(id)) => desk
                    .state
                    .recording(id)
                    .map_or(Target::Service, |recording| Target::Source(recording.source.clone())),
                Some(About::Interval { source, .. }) => Target::Source(source.clone()),
                Some(About::Service) | None => Target::Service,
            };
            let permit = permit(desk, person, Verb::Approve, target)?;
            let (id, known) = known.ok_or_else(|| not_there("approval"))?;
            let asker = desk.told.asker(desk.state, &id);
            let asker = asker.ok_or_else(|| {
                clashes("approval", "nobody can tell any more who asked; it must be asked for anew")
            })?;
            if same_person(&asker, &person.who.party()) {
                return Err(denied(
                    "self",
                    DenialKind::Denied,
                    "you asked for it; another person must answer",
                ));
            }
            if known.answer.is_some() {
                return Err(clashes("approval", "it was answered already"));
            }
            if known.expires < desk.now.time {
                return Err(clashes("approval", "its time is over; it must be asked for anew"));
            }
            let subject = match &known.about {
                About::Recording(id) => Subject { recording: Some(*id), ..Subject::default() },
                About::Interval { source, .. } => Subject::source(source.clone()),
                About::Service => Subject::default(),
            };
            let outcome = if accepted { Outcome::Granted } else { Outcome::Done };
            let detail = Detail { proposer: Some(asker), ..person.detail_of(&permit, said) };
            let draft = Draft::fact(event(Some(id))).outcome(outcome).about(subject).with_detail(detail);
            Ok(Allowed { draft, permit: Some(permit), value: id })
        };
        let (id, entry) = self.record_judged(person, Verb::Approve, bare, judge).await?;
        Ok((id.to_string(), entry))
    }
}
