//! `policy explain`: could somebody do something now, by which rule, and what is missing. Decides with the service's own function on a
//! policy file; what only the service knows (registers, what was used today) is taken as the options say.
//!
//! Must never be taken for a decision: nothing is opened and, without a recording, nothing is asked.

use std::collections::BTreeSet;

use serde_json::json;
use zbus::Connection;

use super::{clock, print, read_policy};
use crate::core::ids::{ApprovalId, Kind, MandateId, RecordingId, SourceId};
use crate::core::policy::{
    AccessRequest, Approval, ApprovalAnswer, ApprovalScope, Decision, Facts, House, Mandate, Policy,
    Principal, RecordingFacts, Target, decide,
};
use crate::core::time::{Period, Timestamp};
use crate::ctl::args::policy::{ExplainArgs, With};

use crate::shell::bus::client::{Failure, RecordingsProxy, fields};
use crate::shell::terminal::{self, Form};
use crate::shell::users;

/// What a session lasts at most where the configuration says nothing.
const SESSION_MAX_SECONDS: u32 = 3600;
/// The uid of somebody without an account: no rule asks for it.
const NOBODY: u32 = u32::MAX - 1;

/// A recording that is asked about.
#[derive(Debug, Clone)]
pub struct About {
    id: RecordingId,
    source: SourceId,
    kind: Kind,
    start: Timestamp,
    end: Timestamp,
}

/// Asks the service what the recording is, then explains.
pub async fn explain_recording(bus: &Connection, form: Form, args: &ExplainArgs) -> Result<u8, Failure> {
    let Some(id) = args.recording else { return explain(args, None, form) };
    let facts = RecordingsProxy::new(bus).await?.describe(&id.to_string()).await?;
    let facts = fields::to_json(&facts);
    let text = |key: &str| facts.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let odd = || {
        Failure::Refused("The answer of the service cannot be read; both are of different versions.".into())
    };
    let about = About {
        id,
        source: text("source").parse().map_err(|_| odd())?,
        kind: text("kind").parse().map_err(|_| odd())?,
        start: text("start").parse().map_err(|_| odd())?,
        end: text("end").parse().map_err(|_| odd())?,
    };
    explain(args, Some(about), form)
}

/// Prints the answer. Exit code 0 when it would be allowed, 1 when not.
pub fn explain(args: &ExplainArgs, about: Option<About>, form: Form) -> Result<u8, Failure> {
    let policy = read_policy(&args.policy)?;
    let clock = clock()?;
    let now = args.at.unwrap_or_else(|| clock.now().time);
    let about = about.or_else(|| imagined(args, &policy, now));
    let house = House {
        time_zone: clock.local_time_zone().clone(),
        session_max: Period::seconds(SESSION_MAX_SECONDS),
        allow_switched_user: false,
    };
    let answer = answer(args, &policy, &house, about.as_ref(), now);
    let (allowed, text) = match &answer {
        Decision::Allow(permit) => {
            (true, format!("Allowed by rule {}, until {}.", permit.rule(), permit.expires()))
        }
        Decision::Deny(denial) => {
            let failed: Vec<String> = denial.failed.iter().map(|why| format!("\n  - {why}")).collect();
            let needed: Vec<String> =
                denial.needed.iter().map(|need| format!("\n  {}", need.advice())).collect();
            let hidden = if denial.answer() == denial.sentence {
                ""
            } else {
                "\nTold to nobody who may not search it: he gets NotFound."
            };
            (false, format!("{}{}{}{hidden}", denial.sentence, failed.concat(), needed.concat()))
        }
    };
    if form == Form::Json {
        let object = match &answer {
            Decision::Allow(permit) => {
                json!({ "allowed": true, "rule": permit.rule().as_str(), "until": permit.expires().to_string() })
            }
            Decision::Deny(denial) => {
                let needed: Vec<&str> = denial.needed.iter().map(|need| need.advice()).collect();
                json!({ "allowed": false, "rule": denial.rule.as_str(), "sentence": denial.sentence, "failed": denial.failed, "needed": needed })
            }
        };
        print(&terminal::rows(form, &[], &object.as_object().cloned().into_iter().collect::<Vec<_>>()))?;
    } else {
        let lines: Vec<String> = text.lines().map(terminal::clean).collect();
        print(&(lines.join("\n") + "\n"))?;
    }
    Ok(u8::from(!allowed))
}

/// A recording of the source that is named, as if there were one.
fn imagined(args: &ExplainArgs, policy: &Policy, now: Timestamp) -> Option<About> {
    let source = args.source.clone()?;
    let kind = policy.source(&source).map_or(Kind::Footage, |source| source.kind);
    let start = args.start.unwrap_or(now);
    Some(About { id: RecordingId::from_bytes([0; 16]), source, kind, start, end: start })
}

fn answer(
    args: &ExplainArgs,
    policy: &Policy,
    house: &House,
    about: Option<&About>,
    now: Timestamp,
) -> Decision {
    let with = |what| args.with.contains(&what);
    let uid = users::uid_of(args.user.as_str()).ok().flatten().unwrap_or(NOBODY);
    let who = Principal { uid, user: Some(args.user.clone()), login_uid: None };
    let target = match about {
        Some(about) => Target::Recording { id: about.id, source: about.source.clone() },
        None => Target::Service,
    };
    let recording = about.map(|about| RecordingFacts {
        kind: about.kind,
        start: about.start,
        end: about.end,
        own: Some(with(With::Own)),
    });
    let approval = with(With::Approval).then(|| approval(args, policy, about, uid, now));
    let mandate = with(With::Mandate).then(|| mandate(args, policy, house, now)).flatten();
    let request = AccessRequest {
        purpose: args.purpose.clone(),
        reason: args.reason.clone(),
        case_given: with(With::Case),
        emergency: with(With::Emergency),
        approval: approval.as_ref().map(|it| it.id),
        mandate: mandate.as_ref().map(|it| it.id.clone()),
        ..AccessRequest::new(who, args.verb, target)
    };
    let charter = policy.charter().filter(|_| with(With::Charter)).map(|charter| charter.version.as_str());
    let facts = Facts {
        recording,
        charter,
        approval: approval.as_ref(),
        mandate: mandate.as_ref(),
        reauthenticated: with(With::Authentication),
        ..Facts::none()
    };
    decide(policy, house, &request, &facts, now)
}

/// One that somebody else gave for exactly this.
fn approval(
    args: &ExplainArgs,
    policy: &Policy,
    about: Option<&About>,
    uid: u32,
    now: Timestamp,
) -> Approval {
    let scope = about.map_or(ApprovalScope::Service, |about| ApprovalScope::Recording(about.id));
    let source = about.and_then(|about| policy.source(&about.source));
    let serves = |id: &&crate::core::ids::PurposeId| {
        let purpose = policy.purpose(id);
        args.reason.as_ref().is_some_and(|reason| purpose.is_some_and(|it| it.reasons.contains(reason)))
    };
    let served =
        source.and_then(|source| source.purposes.iter().find(serves)).filter(|_| args.verb.takes_reason());
    Approval {
        id: ApprovalId::from_bytes([0; 16]),
        asked_by: uid,
        verb: args.verb,
        scope,
        purpose: args.purpose.clone().or_else(|| served.cloned()),
        expires: now.saturating_add_micros(1_000_000),
        duration: None,
        answer: Some(ApprovalAnswer { by: uid.wrapping_sub(1), accepted: true, at: now }),
        used: false,
    }
}

/// One for every task and source, today.
fn mandate(args: &ExplainArgs, policy: &Policy, house: &House, now: Timestamp) -> Option<Mandate> {
    let today = now.date_in(&house.time_zone);
    let id: MandateId = "imagined".parse().ok()?;
    let tasks: BTreeSet<_> = policy.reasons().map(|(code, _)| code.clone()).collect();
    Some(Mandate {
        id,
        user: args.user.clone(),
        client: String::new(),
        tasks,
        sources: None,
        from: today,
        until: today,
        version: 1,
        withdrawn: None,
    })
}
