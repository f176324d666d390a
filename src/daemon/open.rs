//! Opening a recording: the one way from a question to a readable descriptor.
//!
//! In order: who asks, beside it what of · would the policy allow it, perhaps once he has authenticated again · object opened, key unwrapped, inode made (nothing
//! readable) · decided again in the writer's order and recorded, beside it the descriptor opened · armed · session on the
//! bus. The commit point is the entry; what fails after it is `access.closed` with outcome `failed`. Invariant 1 is in the
//! types: arming takes the `Recorded<Permit>`, and until then the descriptor reads nothing.

mod prepare;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::task::JoinHandle;

use prepare::PrepareError;

use super::errors;
use super::facts::facts_for;
use super::ledger::{Desk, Proposal};
use super::person::{Person, allowed, unknown};
use super::reauth;
use super::reviews::{REVIEW_AFTER, after_emergency};
use super::service::Service;
use super::sessions::Live;
use crate::core::access::Recorded;
use crate::core::event::{Detail, Draft, Event, Nothing, Opened, Outcome, Subject};
use crate::core::format::slot::SlotKind;
use crate::core::ids::{RecordingId, RuleId, SessionId, SourceId};
use crate::core::policy::{
    AccessRequest, DayUse, Decision, Denial, DenialKind, Facts, Permit, Target, Used, Verb, decide,
    refuse_caller, start_of_day,
};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::state::Damage;
use crate::shell::bus::archive::{OpenRequest, OpenedRecording};
use crate::shell::disk::object::SealedReader;
use crate::shell::fuse::{FuseMount, Plaintext, Serving};
use crate::shell::{entropy, journal, message_id};

/// Sessions of one user that may run at the same time: each holds a descriptor of the daemon.
const SESSIONS_PER_USER: usize = 64;

/// The clear bytes of a sealed recording, for the private mount.
struct Opening(SealedReader);

impl Plaintext for Opening {
    fn len_bytes(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, buf).map_err(std::io::Error::other)
    }
}

/// What is known of a recording before anything is decided.
struct Found {
    id: RecordingId,
    source: SourceId,
    media: String,
    damage: Option<Damage>,
}

/// The question as it is decided, twice: once to know whether preparing is worth it, once for the record.
#[derive(Clone)]
struct Question {
    person: Person,
    id: RecordingId,
    source: SourceId,
    request: OpenRequest,
    /// There is no FUSE device.
    pipes: bool,
}

impl Question {
    fn request(&self) -> AccessRequest {
        let target = Target::Recording { id: self.id, source: self.source.clone() };
        AccessRequest {
            purpose: self.request.purpose.as_ref().and_then(|purpose| purpose.parse().ok()),
            reason: self.request.reason.parse().ok(),
            case_given: self.request.case.is_some(),
            until: self.request.until,
            mandate: self.request.mandate.clone(),
            approval: self.request.approval,
            emergency: self.request.emergency,
            ..self.person.asks(Verb::View, target, None)
        }
    }

    fn decide(&self, desk: &Desk<'_>, used: Used<'_>) -> Decision {
        let request = self.request();
        let decision = match refuse_caller(desk.house, &request.who) {
            Some(denial) => Decision::Deny(denial),
            None => {
                let reauthenticated = self.person.reauth.is_done();
                let own = self.person.owns(&request);
                let facts = Facts { used, reauthenticated, ..facts_for(desk, &request, own) };
                decide(desk.policy, desk.house, &request, &facts, desk.now.time)
            }
        };
        // Last: a slip in the request is told only to who may know of the recording.
        let no_purpose = self.request.purpose.is_some() && request.purpose.is_none();
        match decision {
            Decision::Allow(_) if no_purpose => {
                let sentence = "Refused by rule builtin.request: purpose: it is not a purpose id.".into();
                let kind = DenialKind::InvalidArgument("purpose");
                Decision::Deny(Denial::new(RuleId::builtin("request"), kind, sentence))
            }
            decision => decision,
        }
    }

    fn mode(&self) -> String {
        match (self.request.stream, self.pipes) {
            (false, _) => "seek",
            (true, false) => "stream",
            // Bound to nobody.
            (true, true) => "pipe",
        }
        .into()
    }

    fn said(&self, rule: &RuleId) -> Detail {
        let OpenRequest { case, text, reason, .. } = self.request.clone();
        // The reason as typed: the leaf holds it only when it is a code of the policy.
        Detail { case, text, asked: Some(reason).filter(|it| !it.is_empty()), ..self.person.detail(rule) }
    }

    /// `permit`: absent when it is refused or could not be.
    fn draft(&self, desk: &Desk<'_>, permit: Option<&Permit>) -> Draft {
        let reason = self.request.reason.parse().ok().filter(|code| desk.policy.reason(code).is_some());
        let subject = Subject { reason, ..Subject::recording(self.id, self.source.clone()) };
        let until = permit.map(Permit::expires);
        let mandate = permit.and_then(Permit::mandate).cloned();
        let mode = self.mode().into();
        let emergency = self.request.emergency;
        Draft::fact(Event::AccessOpened(Opened { mode, until, mandate, emergency })).about(subject)
    }
}

impl Service {
    /// Opens a recording for the person that `asking` names.
    pub(super) async fn open_recording(
        self: &Arc<Self>,
        asking: impl Future<Output = Result<Person, Refusal>> + Send,
        id: String,
        request: OpenRequest,
    ) -> Result<OpenedRecording, Refusal> {
        let (person, found) = tokio::join!(asking, self.lookup(&id));
        let person = person?;
        let Some(Found { id, source, media, damage }) = found? else {
            return Err(self.record_unknown(person, id, request.emergency).await);
        };
        let pipes = self.mount().is_some_and(FuseMount::gives_pipes);
        let mut question = Question { person, id, source, request, pipes };
        let session = SessionId::from_bytes(entropy::array().map_err(|error| {
            log::error!("no randomness for a session id: {error}");
            Refusal::internal()
        })?);
        let crowded = self.sessions.count_of(question.person.principal.uid) >= SESSIONS_PER_USER;
        // Whoever will be refused does not make the daemon open an object; the answer itself is decided below.
        let mut foreseen = self.foresee(&question).await?;
        // Before the writer's turn: nobody waits behind the dialog of another.
        if matches!(&foreseen, Decision::Deny(denial) if denial.lacks_only_reauthentication()) {
            question.person.reauth =
                self.ask_again(reauth::question(&question.person, &question.request())).await;
            if question.person.reauth.is_done() {
                foreseen = self.foresee(&question).await?;
            }
        }
        let prepared = match foreseen {
            Decision::Allow(_) if !crowded && damage.is_some() => {
                damage.map(|it| Err(PrepareError::Known(it)))
            }
            Decision::Allow(permit) if !crowded => {
                Some(self.clone().prepare(session, permit, question.request.stream).await)
            }
            _ => None,
        };
        // Nobody gets it, and nothing can be read through it, before the entry is durable.
        let descriptor = match prepared {
            Some(Ok(())) if !pipes => Some(self.open_descriptor(session)),
            _ => None,
        };
        let found_damaged = matches!(prepared, Some(Err(PrepareError::Damaged { .. })));
        let permit = match self.record_opening(&question, session, prepared, crowded).await {
            Ok(permit) => permit,
            Err(refusal) => {
                self.forget_prepared(session);
                if found_damaged {
                    let service = self.clone();
                    drop(tokio::task::spawn_blocking(move || service.show_damage()));
                }
                return Err(refusal);
            }
        };
        let bytes = self.mount().and_then(|mount| mount.len_bytes(&session)).unwrap_or(0);
        let expires = permit.value().expires();
        let entry = permit.entry();
        if permit.value().emergency() {
            // Beside the way of the descriptor; it is recorded, whatever becomes of the session.
            let service = self.clone();
            tokio::spawn(async move { service.announce_emergency(entry, entry + REVIEW_AFTER).await });
        }
        let descriptor = self.hand_over(session, permit, &question, descriptor).await?;
        journal::record(
            log::Level::Info,
            message_id::ACCESS_GRANTED,
            &format!("recording {id} was opened as session {session}"),
            &[
                ("entry", &entry.to_string()),
                ("recording", &id.to_string()),
                ("session", &session.to_string()),
            ],
        );
        Ok(OpenedRecording { session, descriptor, bytes, media, expires, entry })
    }

    /// What would be decided now, as if nothing had been used today.
    async fn foresee(&self, question: &Question) -> Result<Decision, Refusal> {
        let asked = question.clone();
        self.ledger.look(move |desk| asked.decide(desk, &|_, _| DayUse::default())).await
    }

    /// What is known of the recording; `None` when there is none of that id.
    async fn lookup(&self, id: &str) -> Result<Option<Found>, Refusal> {
        let Ok(id) = id.parse::<RecordingId>() else { return Ok(None) };
        self.ledger
            .look(move |desk| {
                let recording = desk.state.recording(&id)?;
                Some(Found {
                    id,
                    source: recording.source.clone(),
                    media: recording.media.to_string(),
                    damage: desk.state.damaged().get(&id).copied(),
                })
            })
            .await
    }

    async fn record_unknown(&self, person: Person, id: String, emergency: bool) -> Refusal {
        let recorded = self.ledger.record(move |desk| {
            let said = Detail { asked: Some(id.chars().take(64).collect()), ..Detail::default() };
            let event =
                Event::AccessOpened(Opened { mode: "seek".into(), until: None, mandate: None, emergency });
            person.refused::<()>(
                desk,
                Verb::View,
                unknown(desk, &person),
                Draft::fact(event).with_detail(said),
            )
        });
        match recorded.await.and_then(allowed) {
            Err(refusal) => refusal,
            // `refused` records refusals only.
            Ok(_) => Refusal::internal(),
        }
    }

    /// Object opened, key unwrapped, inode made. Nothing can be read through it yet.
    async fn prepare(
        self: Arc<Self>,
        session: SessionId,
        permit: Permit,
        stream: bool,
    ) -> Result<(), PrepareError> {
        let work = move || {
            let Target::Recording { id, .. } = permit.target() else { return Err(PrepareError::NoMount) };
            let mount = self.mount().ok_or(PrepareError::NoMount)?;
            let secret = self.slots.open_secret(SlotKind::Data, id.as_bytes()).map_err(PrepareError::key)?;
            let reader = SealedReader::open(&self.store, *id, &secret).map_err(PrepareError::object)?;
            let now = self.clock.now();
            let left_micros = permit.expires().micros_since(now.time).max(0);
            mount
                .prepare(Serving {
                    session,
                    owner_uid: permit.uid(),
                    until: permit.expires(),
                    until_up_micros: now.up_micros.saturating_add(u64::try_from(left_micros).unwrap_or(0)),
                    seekable: !stream,
                    content: Box::new(Opening(reader)),
                })
                .map_err(|error| PrepareError::Mount(errors::chain(&error)))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(PrepareError::NoMount))
    }

    /// Opens the descriptor of a prepared session, on a thread that may block.
    fn open_descriptor(self: &Arc<Self>, session: SessionId) -> JoinHandle<Result<OwnedFd, String>> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || {
            let mount = service.mount().ok_or_else(|| NO_MOUNT.to_owned())?;
            mount.open_descriptor(&session).map_err(|error| error.to_string())
        })
    }

    /// Decides in the writer's order and records the answer. `prepared` is `None` when a refusal was foreseen.
    async fn record_opening(
        &self,
        question: &Question,
        session: SessionId,
        prepared: Option<Result<(), PrepareError>>,
        crowded: bool,
    ) -> Result<Recorded<Permit>, Refusal> {
        let (question, meters) = (question.clone(), self.sessions.meters.clone());
        let review_within = self.config.limits.emergency_review;
        let recorded = self.ledger.record(move |desk| {
            let uid = question.person.principal.uid;
            let used = |rule: &RuleId, since| meters.used(desk, uid, rule, since);
            let decision = question.decide(desk, &used);
            let purging = desk.state.recording(&question.id).is_none_or(|recording| recording.purging);
            let restricted = desk.state.holds().restricts(&question.id);
            let decision = match decision {
                Decision::Allow(_) if restricted => Decision::Deny(refused_because(
                    "restriction",
                    DenialKind::Denied,
                    "a hold keeps the recording and restricts its use",
                )),
                Decision::Allow(_) if prepared.is_none() => Decision::Deny(if crowded {
                    refused_because("sessions", DenialKind::LimitReached, "you have too many sessions open")
                } else {
                    // Between the two decisions; nothing was prepared.
                    refused_because("policy", DenialKind::Conflict, "the policy changed at this moment")
                }),
                Decision::Allow(permit)
                    if question.pipes && !(question.request.stream && permit.allows_pipe()) =>
                {
                    Decision::Deny(refused_because(
                        "pipe",
                        DenialKind::Denied,
                        "without /dev/fuse only a pipe can be given, for mode=stream and by a grant that says pipe = true",
                    ))
                }
                decision => decision,
            };
            let permit = match decision {
                // Decided between the question and now: to the caller it is gone already.
                _ if purging => {
                    let draft = question.draft(desk, None);
                    return {
                        let denial = unknown(desk, &question.person);
                        question.person.refused(desk, Verb::View, denial, draft)
                    };
                }
                Decision::Deny(denial) => {
                    let draft = question.draft(desk, None).with_detail(question.said(&denial.rule));
                    return question.person.refused(desk, Verb::View, denial, draft);
                }
                Decision::Allow(permit) => permit,
            };
            let detail = question.said(permit.rule());
            match prepared.unwrap_or(Err(PrepareError::NoMount)) {
                Ok(()) => {
                    let since = start_of_day(desk.now.time, &desk.house.time_zone);
                    let so_far = || desk.told.holders.used(desk.state.uses(), uid, permit.rule(), since).bytes;
                    let _begun = meters.of(uid, permit.rule(), since, so_far);
                    let draft = question.draft(desk, Some(&permit));
                    let subject = Subject {
                        session: Some(session),
                        purpose: permit.purpose().cloned(),
                        ..draft.subject.clone()
                    };
                    let granted =
                        draft.outcome(Outcome::Granted).about(subject.clone()).with_detail(detail.clone());
                    let spent = permit.clone();
                    let emergency = permit.emergency();
                    let proposal = question.person.permitted(desk, Some(&spent), granted, permit);
                    Ok(if emergency {
                        let review = after_emergency(subject.clone(), detail, desk.now.time, &review_within);
                        proposal
                            .and(Draft::fact(Event::AccessEmergency(Nothing {})).about(subject))
                            .and(review)
                    } else {
                        proposal
                    })
                }
                Err(error) => {
                    let draft = question.draft(desk, None).outcome(Outcome::Failed).with_detail(detail);
                    let subject = draft.subject.clone();
                    let proposal = Proposal::new(draft, Err(error.denial()));
                    Ok(match error.damage() {
                        Some(damage) => proposal.and(
                            Draft::fact(Event::StoreDamaged(damage))
                                .about(Subject { reason: None, ..subject }),
                        ),
                        None => proposal,
                    })
                }
            }
        });
        allowed(recorded.await?)
    }

    /// Makes the descriptor readable. From here on a failure is recorded as the end of the session.
    async fn hand_over(
        self: &Arc<Self>,
        session: SessionId,
        permit: Recorded<Permit>,
        question: &Question,
        descriptor: Option<JoinHandle<Result<OwnedFd, String>>>,
    ) -> Result<OwnedFd, Refusal> {
        let live = Live {
            recording: question.id,
            source: question.source.clone(),
            request: AccessRequest { until: None, ..question.request() },
            own: question.person.owns(&question.request()),
            rule: permit.value().rule().clone(),
            owner_uid: permit.value().uid(),
            bus_name: question.person.bus_name.clone(),
            opened: self.clock.now(),
            until: permit.value().expires(),
            recorded_bytes: 0,
        };
        // Another grant may have been foreseen than was recorded.
        if let Some(mount) = self.mount() {
            mount.set_end(&session, live.until, live.until_up_micros(live.until));
        }
        self.sessions.insert(session, live.clone());
        let opened = async {
            match descriptor {
                Some(opening) => Some(joined(opening).await),
                None => None,
            }
        };
        let (ended, opened) = tokio::join!(self.ended_meanwhile(session, &live), opened);
        if let Some(end) = ended {
            self.end_session(session, end).await;
            let sentence = format!("The session ended before it began ({}); ask again.", end.as_str());
            return Err(Refusal::new(RefusalKind::Conflict, sentence));
        }
        let mount = self.mount().ok_or_else(|| NO_MOUNT.to_owned());
        let armed =
            mount.and_then(|mount| mount.arm(&session, &permit).map_err(|error| errors::chain(&error)));
        let armed = match (armed, opened) {
            (Ok(()), Some(opened)) => opened,
            // A pipe: it is filled from the moment it is there.
            (Ok(()), None) => joined(self.open_descriptor(session)).await,
            (Err(error), _) => Err(error),
        };
        match armed {
            Ok(descriptor) => {
                self.begin_session(session).await;
                Ok(descriptor)
            }
            Err(error) => {
                log::error!("session {session} was granted and could not begin: {error}");
                self.end_session(session, super::sessions::End::Failed).await;
                Err(Refusal::internal())
            }
        }
    }
}

async fn joined(opening: JoinHandle<Result<OwnedFd, String>>) -> Result<OwnedFd, String> {
    opening.await.unwrap_or_else(|error| Err(error.to_string()))
}

const NO_MOUNT: &str = "the private mount is gone";

fn refused_because(rule: &'static str, kind: DenialKind, why: &str) -> Denial {
    let rule = RuleId::builtin(rule);
    let sentence = format!("Refused by rule {rule}: {why}.");
    Denial::new(rule, kind, sentence)
}
