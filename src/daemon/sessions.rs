//! Running sessions: how each begins on the bus, is accounted for, and ends exactly once.
//!
//! A session ends by whoever takes it out of the table first; that one cuts the descriptor, records the final account and
//! tells the owner. While the ledger is closed the descriptor is cut at once and the account recorded when it opens again
//! (invariant 3). Whatever the disk does, an end waits for it only before a key is destroyed. Must never let a session run on that has no entry to end it.

mod limits;
mod reconsider;
mod table;

pub use table::{End, Live, Sessions, account};

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::errors::chain;
use super::ledger::{Availability, Proposal};
use super::person::{Person, allowed, decide_for, unknown};
use super::reauth::About;
use super::service::Service;
use crate::core::event::{Detail, Draft, Event, Nothing, Outcome, Searched, StoreDamaged, Subject, Who};
use crate::core::ids::SessionId;
use crate::core::policy::{Decision, Denial, DenialKind, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::bus::archive::SessionInfo;
use crate::shell::bus::interfaces::{SessionInterface, announce_end, session_path};
use crate::shell::fuse::{self, FuseEvent};
use crate::shell::{journal, message_id, users};

impl Service {
    /// What ended a session between its entry and its place in the table: whoever ended sessions then (a purge, a hold,
    /// a policy, a closed ledger, the stop) did not find it there. To be asked once it stands there, and before it can be
    /// read: what the policy in force bounds is bounded afterwards.
    pub(super) async fn ended_meanwhile(self: &Arc<Self>, session: SessionId, live: &Live) -> Option<End> {
        if *self.stopping.borrow() {
            return Some(End::ServiceStopped);
        }
        let (id, service) = (live.recording, self.clone());
        let looked = self.ledger.look(move |desk| {
            if desk.state.recording(&id).is_none_or(|recording| recording.purging) {
                return Some(End::Purged);
            }
            if desk.state.holds().restricts(&id) {
                return Some(End::Restricted);
            }
            (!service.goes_on(desk, &session)).then_some(End::PolicyChanged)
        });
        looked.await.unwrap_or(Some(End::LedgerUnavailable))
    }

    /// Puts a session on the bus.
    pub(super) async fn begin_session(self: &Arc<Self>, id: SessionId) {
        let (Some(live), Some(bus)) = (self.sessions.get(&id), self.bus()) else { return };
        if let Ok(path) = session_path(&id) {
            let interface = SessionInterface::new(bus.desk.clone(), id);
            if let Err(error) = bus.connection.object_server().at(&path, interface).await {
                log::warn!("a session could not be shown on the bus, ignoring: {error}");
            }
            // Ended meanwhile: then nobody takes it off the bus any more.
            if self.sessions.get(&id).is_none() {
                let server = bus.connection.object_server();
                let _was_there = server.remove::<SessionInterface<Self>, _>(&path).await;
            }
        }
        // The owner may have left the bus before it was in the table. No answer waits for this: it would reach nobody.
        let service = self.clone();
        tokio::spawn(async move {
            let gone = match service.bus() {
                Some(bus) => !bus.has_owner(&live.bus_name).await,
                None => false,
            };
            if gone {
                service.end_session(id, End::PeerGone).await;
            }
        });
    }

    /// Ends the sessions whose time has passed. A read that begins later fails by itself; one that waits for the disk is
    /// answered here.
    pub(super) async fn follow_expiry(self: Arc<Self>) {
        /// Clocks may jump, and a session may begin meanwhile that ends sooner.
        const AT_LEAST_MICROS: u64 = 1_000_000;
        loop {
            let now = self.clock.now();
            self.end_sessions(self.sessions.which(|live| live.is_over(&now)), End::Expired).await;
            let now = self.clock.now();
            let next = self.sessions.table().values().map(|live| live.left_micros(&now)).min();
            let wait = next.unwrap_or(AT_LEAST_MICROS).clamp(1000, AT_LEAST_MICROS);
            tokio::time::sleep(std::time::Duration::from_micros(wait)).await;
        }
    }

    /// Ends a session, once: cuts the descriptor, records the account, tells the owner.
    pub(super) async fn end_session(self: &Arc<Self>, id: SessionId, end: End) {
        let _ending = self.sessions.ending().await;
        // Before it leaves the table: what is not in the table can read nothing, so a purge need not look further.
        if let Some(mount) = self.mount() {
            mount.stop(&id);
        }
        let Some(live) = self.sessions.take(&id) else { return };
        let usage = self.cut(id, end).await;
        if matches!(*self.ledger.availability().borrow(), Availability::Closed(_)) {
            self.sessions.owed().push((id, live.clone(), usage));
        } else {
            self.record_end(id, &live, &usage, end).await;
        }
        if let Some(bus) = self.bus() {
            announce_end::<Self>(&bus.connection, &id, &live.bus_name, end.as_str()).await;
        }
    }

    /// Ends several sessions at once.
    pub(super) async fn end_sessions(self: &Arc<Self>, ids: Vec<SessionId>, end: End) {
        let ending: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let service = self.clone();
                tokio::spawn(async move { service.end_session(id, end).await })
            })
            .collect();
        for one in ending {
            let _ended = one.await;
        }
    }

    /// The same beside other work: one end does not wait for another's sync.
    pub(super) fn end_soon(self: &Arc<Self>, id: SessionId, end: End) {
        let service = self.clone();
        tokio::spawn(async move { service.end_session(id, end).await });
    }

    async fn cut(self: &Arc<Self>, id: SessionId, end: End) -> fuse::Usage {
        /// A disk that stands still longer keeps the key in memory, and no purge waiting.
        const PURGE_WAITS: std::time::Duration = std::time::Duration::from_secs(2);
        let service = self.clone();
        let cut = tokio::task::spawn_blocking(move || {
            let mount = service.mount()?;
            let usage = mount.revoke(&id);
            if end == End::Purged && !mount.wait_settled(&id, PURGE_WAITS) {
                log::warn!(
                    "a read of session {id} still waits for the disk while its recording is destroyed"
                );
            }
            usage
        });
        cut.await.ok().flatten().unwrap_or_default()
    }

    async fn record_end(&self, id: SessionId, live: &Live, usage: &fuse::Usage, end: End) {
        let outcome = if end == End::Failed { Outcome::Failed } else { Outcome::Done };
        let event = end.event(live.usage(usage, &self.clock.now(), end.as_str()));
        let mut draft = Draft::fact(event).about(live.subject(id)).outcome(outcome);
        let executables: Vec<String> =
            usage.executables.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        if !executables.is_empty() {
            let who = Who { uid: live.owner_uid, ..Who::default() };
            draft = draft.with_detail(Detail { executables, ..Detail::by(who) });
        }
        let recorded = self.ledger.record(move |desk| {
            // The stop, or a ledger that was mended, may have ended it: once is enough.
            match desk.state.sessions().contains_key(&id) {
                true => Ok(Proposal::new(draft, ())),
                false => Err(gone()),
            }
        });
        match recorded.await {
            Ok(recorded) => log::info!(entry = recorded.entry(); "session {id} ended: {}", end.as_str()),
            Err(refusal) if refusal.kind == RefusalKind::Conflict => {}
            Err(_) => self.sessions.owed().push((id, live.clone(), usage.clone())),
        }
        if let Some(mount) = self.mount() {
            mount.forget(&id);
        }
    }

    /// Takes back what was prepared for an opening that was not granted.
    pub(super) fn forget_prepared(&self, id: SessionId) {
        if let Some(mount) = self.mount() {
            mount.forget(&id);
        }
    }

    /// Invariant 3: while the ledger is closed nothing is readable; when it opens, what is owed is recorded.
    pub(super) async fn follow_ledger(self: Arc<Self>) {
        let mut availability = self.ledger.availability();
        loop {
            let closed = matches!(*availability.borrow_and_update(), Availability::Closed(_));
            self.health.refresh();
            if closed {
                self.end_sessions(self.sessions.which(|_| true), End::LedgerUnavailable).await;
            } else {
                self.record_owed().await;
                self.follow_policy().await;
            }
            if availability.changed().await.is_err() {
                return;
            }
        }
    }

    /// Records the ends that could not be recorded when they came.
    pub(super) async fn record_owed(&self) {
        // A stop waits for it.
        let _ending = self.sessions.ending().await;
        self.settle_owed().await;
    }

    /// The same for whoever holds the ends.
    pub(super) async fn settle_owed(&self) {
        let owed = std::mem::take(&mut *self.sessions.owed());
        for (id, live, usage) in owed {
            match self.ledger.look(move |desk| desk.state.sessions().contains_key(&id)).await {
                Ok(true) => self.record_end(id, &live, &usage, End::LedgerUnavailable).await,
                // The writer ended it itself (a grant in doubt), or its end was in doubt and is durable now.
                Ok(false) => self.forget_prepared(id),
                Err(_) => self.sessions.owed().push((id, live, usage)),
            }
        }
    }

    /// Records what running sessions have read since their last entry: at least each minute (design §7).
    pub(super) async fn follow_progress(self: Arc<Self>) {
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(30));
        loop {
            tick.tick().await;
            if !self.is_closed() {
                self.record_owed().await;
            }
            for id in self.sessions.which(|_| true) {
                let (Some(live), Some(usage)) =
                    (self.sessions.get(&id), self.mount().and_then(|it| it.usage(&id)))
                else {
                    continue;
                };
                if usage.bytes_read == live.recorded_bytes {
                    continue;
                }
                let draft = Draft::fact(Event::AccessProgress(live.usage(&usage, &self.clock.now(), "")));
                let draft = draft.about(live.subject(id));
                let recorded = self.ledger.record(move |desk| {
                    // It may have ended since: then its last entry says all.
                    if desk.state.sessions().contains_key(&id) {
                        Ok(Proposal::new(draft, ()))
                    } else {
                        Err(gone())
                    }
                });
                if recorded.await.is_ok()
                    && let Some(live) = self.sessions.table().get_mut(&id)
                {
                    live.recorded_bytes = usage.bytes_read;
                }
            }
        }
    }

    /// `Session.Close`, for its owner alone.
    pub(super) async fn close_session(
        self: &Arc<Self>,
        person: Person,
        id: SessionId,
    ) -> Result<(), Refusal> {
        match self.sessions.get(&id) {
            Some(live) if live.owner_uid == person.principal.uid => {
                self.end_session(id, End::Closed).await;
                Ok(())
            }
            Some(live) => {
                let subject = live.subject(id);
                let recorded = self.ledger.record(move |desk| {
                    let draft = Draft::fact(asked_for_session()).about(subject);
                    let denial = unknown(desk, &person);
                    person.refused::<()>(desk, Verb::View, denial, draft)
                });
                allowed(recorded.await?).map(|_| ())
            }
            None => Err(not_found()),
        }
    }

    /// `Session.Info`: his own for its owner, anybody's for an auditor, which is an access.
    pub(super) async fn session_info_for(
        &self,
        person: Person,
        id: SessionId,
    ) -> Result<SessionInfo, Refusal> {
        let live = self.sessions.get(&id).ok_or_else(not_found)?;
        if live.owner_uid != person.principal.uid {
            let subject = live.subject(id);
            let person = self.authenticated(person, Verb::ReadLedger, About::Nothing).await?;
            let recorded = self.ledger.record(move |desk| {
                let draft = Draft::fact(asked_for_session()).about(subject);
                let request = person.asks(Verb::ReadLedger, Target::Service, None);
                match decide_for(desk, &person, &request) {
                    Decision::Allow(permit) => {
                        let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(permit.rule()));
                        Ok(person.permitted(desk, Some(&permit), draft, ()))
                    }
                    // To anybody else there is no such session.
                    Decision::Deny(denial) => {
                        let hidden = Denial { kind: DenialKind::NotKnown, ..denial };
                        person.refused(desk, Verb::ReadLedger, hidden, draft)
                    }
                }
            });
            let _recorded = allowed(recorded.await?)?;
        }
        let usage = self.mount().and_then(|mount| mount.usage(&id)).unwrap_or_default();
        Ok(SessionInfo {
            recording: live.recording,
            opened: live.opened.time,
            expires: live.until,
            bytes_read: usage.bytes_read,
            ranges: usage.ranges,
        })
    }

    /// What the private mount tells. No session waits for the entry of another.
    pub(super) async fn follow_mount(
        self: Arc<Self>,
        mut events: tokio::sync::mpsc::UnboundedReceiver<FuseEvent>,
    ) {
        // What is being recorded of each session, in the order of its events. The mount bounds how many there are.
        let mut recording: HashMap<SessionId, JoinHandle<()>> = HashMap::new();
        while let Some(event) = events.recv().await {
            recording.retain(|_, one| !one.is_finished());
            match event {
                FuseEvent::LastRelease(id) => self.end_soon(id, End::Released),
                FuseEvent::Expired(id) => self.end_soon(id, End::Expired),
                FuseEvent::OverLimit(id) => self.end_soon(id, End::LimitReached),
                FuseEvent::Failed(id) => {
                    log::error!("what serves session {id} failed inside the program; the session ends");
                    self.end_soon(id, End::Failed);
                }
                FuseEvent::ForeignAccess { session, uid, pid, executable } => {
                    let exe = executable.map(|path| path.to_string_lossy().into_owned());
                    // It may have ended since; the attempt is an entry all the same.
                    let ended = Subject { session: Some(session), ..Subject::default() };
                    let subject = self.sessions.get(&session).map_or(ended, |live| live.subject(session));
                    let who = Who { uid, pid: Some(pid).filter(|pid| *pid != 0), exe, ..Who::default() };
                    let (service, before) = (self.clone(), recording.remove(&session));
                    let one = async move { service.record_foreign(session, subject, who).await };
                    recording.insert(session, tokio::spawn(after(before, one)));
                }
                FuseEvent::DamagedRead { session, offset, error } if fuse::damages_nothing(&error) => {
                    let error = chain(&error);
                    log::error!("session {session} could not read at offset {offset}: {error}");
                }
                FuseEvent::DamagedRead { session, offset, error } => {
                    let message = format!("session {session} read damage at offset {offset}: {error}");
                    let what = [("what", "object-damaged")];
                    journal::record(log::Level::Error, message_id::STORE_DAMAGED, &message, &what);
                    let live = self.sessions.get(&session);
                    let (service, before) = (self.clone(), recording.remove(&session));
                    let one = async move { service.record_damaged_read(live, offset).await };
                    recording.insert(session, tokio::spawn(after(before, one)));
                }
                FuseEvent::Stopped(error) => {
                    let error = error.map_or_else(|| "it ended".to_owned(), |error| error.to_string());
                    log::error!("the private mount does not work any more: {error}");
                    let why = "Recordings cannot be opened: the private mount ended; restart the service.";
                    self.health.degrade(super::health::Part::Descriptors, why);
                }
            }
        }
        for one in recording.into_values() {
            let _recorded = one.await;
        }
    }

    async fn record_damaged_read(self: Arc<Self>, live: Option<Live>, offset: u64) {
        if let Some(live) = live {
            let damage = StoreDamaged { what: "object-damaged".into(), offset: Some(offset), count: None };
            let subject = Subject::recording(live.recording, live.source);
            let draft = Draft::fact(Event::StoreDamaged(damage)).about(subject);
            let _logged = self.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await;
        }
        let _shown = tokio::task::spawn_blocking(move || self.show_damage()).await;
    }

    async fn record_foreign(&self, session: SessionId, subject: Subject, who: Who) {
        let uid = who.uid;
        let user =
            tokio::task::spawn_blocking(move || users::name_of(uid).ok().flatten()).await.ok().flatten();
        let draft = Draft::fact(Event::GuardForeignAccess(Nothing {}))
            .outcome(Outcome::Denied)
            .about(subject)
            .with_detail(Detail::by(Who { user, ..who }));
        match self.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await {
            Ok(recorded) => {
                log::warn!(entry = recorded.entry(); "uid {uid} tried the descriptor of session {session}")
            }
            Err(refusal) => log::error!("an attempt on a descriptor could not be recorded: {refusal}"),
        }
    }
}

/// `one`, once what came before it has ended.
async fn after(before: Option<JoinHandle<()>>, one: impl Future<Output = ()>) {
    if let Some(before) = before {
        let _ended = before.await;
    }
    one.await;
}

fn asked_for_session() -> Event {
    Event::AccessSearched(Searched { what: "session".into(), sources: Vec::new(), from: None, to: None })
}

fn not_found() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "There is no such session, or it has ended.")
}

fn gone() -> Refusal {
    Refusal::new(RefusalKind::Conflict, "The session has ended.")
}
