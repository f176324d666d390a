//! The service: what is shared by all that happens, and the bus's view of it.
//!
//! Owns no order of its own: each method identifies the person and calls the file that has the steps.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::config::Config;
use super::health::Health;
use super::ledger::{Availability, Ledger, Reader};
use super::person::Person;
use super::projection::Projection;
use super::reauth::{About, Dialogs};
use super::scrub::Scrubs;
use super::sessions::Sessions;
use super::space::Space;
use crate::core::ids::{HoldId, RecordingId, SessionId};
use crate::core::policy::{House, Policy, RefusedMany, Verb};
use crate::core::refusal::Refusal;
use crate::core::retention::DetailFacts;
use crate::core::time::Moment;
use crate::shell::bus::archive::registers::{RegisterAct, RegisterFilter, RegisterKind, RegisterRow};
use crate::shell::bus::archive::{
    Answer, Archive, DetailPlanRow, Filter, HoldRequest, OpenRequest, OpenedRecording, PlanRow, RecordingRow,
    ReviewRow, RunReport, ScrubFinding, ScrubProgress, ScrubRequest, SealRequest, SessionInfo, Status,
};
use crate::shell::bus::caller::Caller;
use crate::shell::bus::interfaces::Desk;
use crate::shell::clock::SystemClock;
use crate::shell::disk::master_place::MasterPlace;
use crate::shell::disk::object::ObjectStore;
use crate::shell::disk::slots::KeySlots;
use crate::shell::fuse::FuseMount;

/// Everything that a call may need.
pub struct Service {
    pub(super) config: Config,
    pub(super) clock: Arc<SystemClock>,
    pub(super) house: House,
    pub(super) ledger: Ledger,
    pub(super) reader: Arc<Reader>,
    pub(super) slots: Arc<KeySlots>,
    /// Where the master key stands outside the daemon.
    pub(super) master_place: MasterPlace,
    /// Held while the master key changes.
    pub(super) rotating: tokio::sync::Mutex<()>,
    pub(super) store: ObjectStore,
    pub(super) catalogue: Projection,
    pub(super) sessions: Sessions,
    /// Whether the policy in force may ask somebody to authenticate again.
    pub(super) asks_again: AtomicBool,
    /// Dialogs in which people authenticate again.
    pub(super) dialogs: Dialogs,
    pub(super) health: Arc<Health>,
    /// Room on the disk.
    pub(super) space: Space,
    /// The file system of the state directory, by name.
    pub(super) medium: &'static str,
    /// Held while purges run.
    pub(super) purging: tokio::sync::Mutex<()>,
    /// The details that are there, as folded so far; held while some are destroyed.
    pub(super) details: tokio::sync::Mutex<DetailFacts>,
    /// The reading of the whole store.
    pub(super) scrubs: Arc<Scrubs>,
    /// Refusals that were only counted, and whose entry could not be written yet; held while they are recorded.
    pub(super) refusals_owed: tokio::sync::Mutex<Vec<RefusedMany>>,
    /// Held while a policy is loaded.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// When the wall clock was last found sound, or its doubt recorded.
    pub(super) clock_sound: Mutex<Moment>,
    /// Something may have fallen due.
    pub(super) retention_changed: Notify,
    /// A review was raised.
    pub(super) reviews_changed: Notify,
    pub(super) verifier_key: String,
    pub(super) policy: RwLock<Arc<Policy>>,
    pub(super) policy_version: watch::Sender<u64>,
    pub(super) mount: OnceLock<FuseMount>,
    pub(super) bus: OnceLock<Bus>,
    pub(super) published: Mutex<Option<(Instant, String)>>,
    /// The service ends: no call is taken any more.
    pub(super) stopping: watch::Sender<bool>,
    pub(super) me: std::sync::Weak<Service>,
}

/// The service's place on the bus.
pub struct Bus {
    pub(super) connection: zbus::Connection,
    pub(super) desk: Desk<Service>,
}

impl Bus {
    /// Whether a unique name is still on the bus.
    pub(super) async fn has_owner(&self, name: &str) -> bool {
        let Ok(name) = zbus::names::BusName::try_from(name.to_owned()) else { return false };
        let Ok(bus) = zbus::fdo::DBusProxy::new(&self.connection).await else { return false };
        bus.name_has_owner(name).await.unwrap_or(false)
    }
}

/// The last published head is renewed at most this often (design §11).
const PUBLISH_EVERY: Duration = Duration::from_secs(60);

impl Service {
    /// The policy in force.
    pub(super) fn policy_in_force(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(super) fn set_policy(&self, policy: Arc<Policy>) {
        self.asks_again.store(policy.may_ask_again(), Ordering::Relaxed);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        self.policy_version.send_modify(|version| *version += 1);
        self.retention_changed.notify_one();
    }
    /// Follows changes of the policy.
    pub(super) fn policy_changed(&self) -> watch::Receiver<u64> {
        self.policy_version.subscribe()
    }
    /// The private mount; absent when there can be none.
    pub(super) fn mount(&self) -> Option<&FuseMount> {
        self.mount.get()
    }
    /// The place on the bus; absent while starting.
    pub(super) fn bus(&self) -> Option<&Bus> {
        self.bus.get()
    }
    /// Whether the ledger cannot be written now.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.ledger.availability().borrow(), Availability::Closed(_))
    }

    /// The caller as a person, unless the service ends.
    async fn person(&self, caller: Caller) -> Result<(Arc<Self>, Person), Refusal> {
        let me = self.serving()?;
        Ok((me, Person::of(caller).await?))
    }

    /// The caller, who has authenticated again where the policy lets only such a person do it.
    async fn person_to(
        &self,
        caller: Caller,
        verb: Verb,
        about: About,
    ) -> Result<(Arc<Self>, Person), Refusal> {
        let (me, person) = self.person(caller).await?;
        let person = me.knowing_whose(person, &about).await?;
        let person = me.authenticated(person, verb, about).await?;
        Ok((me, person))
    }

    /// The service, unless it ends.
    fn serving(&self) -> Result<Arc<Self>, Refusal> {
        let stopped = || {
            Refusal::new(
                crate::core::refusal::RefusalKind::Closed,
                "The service is stopping; try again in a moment.",
            )
        };
        if *self.stopping.borrow() {
            return Err(stopped());
        }
        self.me.upgrade().ok_or_else(stopped)
    }
}

impl Archive for Service {
    async fn search(
        &self,
        caller: Caller,
        filter: Filter,
        limit: u32,
        cursor: String,
    ) -> Answer<(Vec<RecordingRow>, String)> {
        let (me, person) = self.person(caller).await?;
        me.refuse_when_full(&person).await?;
        me.search_page(person, filter, limit, cursor).await
    }
    async fn describe(&self, caller: Caller, id: String) -> Answer<RecordingRow> {
        let (me, person) = self.person(caller).await?;
        me.refuse_when_full(&person).await?;
        let person = me.knowing_whose(person, &About::Recording(id.clone())).await?;
        me.describe_one(person, id).await
    }
    async fn open(&self, caller: Caller, id: String, request: OpenRequest) -> Answer<OpenedRecording> {
        let me = self.serving()?;
        let asking = async {
            let person = Person::of(caller).await?;
            me.refuse_when_full(&person).await?;
            me.knowing_whose(person, &About::Recording(id.clone())).await
        };
        me.open_recording(asking, id.clone(), request).await
    }
    async fn seal(&self, caller: Caller, file: OwnedFd, request: SealRequest) -> Answer<(RecordingId, u64)> {
        let (me, person) = self.person_to(caller, Verb::Seal, About::Source(request.source.clone())).await?;
        me.refuse_when_full(&person).await?;
        me.seal_passed(person, file, request).await
    }
    async fn close(&self, caller: Caller, session: SessionId) -> Answer<()> {
        let (me, person) = self.person(caller).await?;
        me.close_session(person, session).await
    }
    async fn session_info(&self, caller: Caller, session: SessionId) -> Answer<SessionInfo> {
        let (me, person) = self.person(caller).await?;
        me.session_info_for(person, session).await
    }
    async fn plan(&self, caller: Caller) -> Answer<Vec<PlanRow>> {
        let (me, person) = self.person_to(caller, Verb::Purge, About::Nothing).await?;
        me.plan_for(person).await
    }
    async fn run(&self, caller: Caller) -> Answer<RunReport> {
        let (me, person) = self.person_to(caller, Verb::Purge, About::Nothing).await?;
        me.run_for(person).await
    }
    async fn plan_details(&self, caller: Caller) -> Answer<Vec<DetailPlanRow>> {
        let (me, person) = self.person_to(caller, Verb::Purge, About::Nothing).await?;
        me.plan_details_for(person).await
    }
    async fn confirm_clock(&self, caller: Caller) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.confirm_clock_for(person).await
    }
    async fn hold(&self, caller: Caller, request: HoldRequest) -> Answer<HoldId> {
        let (me, person) =
            self.person_to(caller, Verb::Hold, About::Recording(request.recording.clone())).await?;
        me.place_hold(person, request).await
    }
    async fn lift(&self, caller: Caller, hold: HoldId, ground: Option<String>) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Lift, About::Hold(hold)).await?;
        me.lift_hold(person, hold, ground).await
    }
    async fn reviews(&self, caller: Caller) -> Answer<Vec<ReviewRow>> {
        let (me, person) = self.person_to(caller, Verb::Review, About::Nothing).await?;
        me.reviews_for(person).await
    }
    async fn review_done(&self, caller: Caller, review: u64, text: String) -> Answer<u64> {
        let (me, person) = self.person_to(caller, Verb::Review, About::Nothing).await?;
        me.review_done_for(person, review, text).await
    }
    async fn head(&self, caller: Caller) -> Answer<String> {
        let (me, person) = self.person_to(caller, Verb::ReadLedger, About::Nothing).await?;
        me.refuse_when_full(&person).await?;
        me.head_for(person).await
    }
    async fn read(&self, caller: Caller, from: u64, count: u32, details: bool) -> Answer<Vec<String>> {
        let (me, person) = self.person_to(caller, Verb::ReadLedger, About::Nothing).await?;
        me.refuse_when_full(&person).await?;
        me.read_for(person, from, count, details).await
    }
    async fn epochs(&self, caller: Caller, from: u64, count: u32) -> Answer<Vec<String>> {
        let (me, person) = self.person_to(caller, Verb::ReadLedger, About::Nothing).await?;
        me.refuse_when_full(&person).await?;
        me.epochs_for(person, from, count).await
    }
    async fn receipt(&self, caller: Caller, entry: u64) -> Answer<String> {
        let (me, person) = self.person_to(caller, Verb::ReadLedger, About::Nothing).await?;
        me.refuse_when_full(&person).await?;
        me.receipt_for(person, entry).await
    }
    async fn consistency(&self, caller: Caller, old: u64, new: u64) -> Answer<Vec<String>> {
        let (me, person) = self.person_to(caller, Verb::ReadLedger, About::Nothing).await?;
        me.refuse_when_full(&person).await?;
        me.consistency_for(person, old, new).await
    }
    async fn list_register(
        &self,
        caller: Caller,
        register: RegisterKind,
        filter: RegisterFilter,
    ) -> Answer<Vec<RegisterRow>> {
        let (me, person) = self.person(caller).await?;
        me.refuse_when_full(&person).await?;
        me.list_register_for(person, register, filter).await
    }
    async fn record_act(&self, caller: Caller, act: RegisterAct) -> Answer<(String, u64)> {
        let (me, person) = self.person(caller).await?;
        me.record_act_for(person, act).await
    }
    async fn reload(&self, caller: Caller) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.reload_for(person).await
    }
    async fn rebuild_index(&self, caller: Caller) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.rebuild_index_for(person).await
    }
    async fn scrub(&self, caller: Caller, request: ScrubRequest) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.scrub_for(person, request).await
    }
    async fn cancel_scrub(&self, caller: Caller) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.cancel_scrub_for(person).await
    }
    async fn scrub_findings(&self, caller: Caller) -> Answer<Vec<ScrubFinding>> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.scrub_findings_for(person).await
    }
    fn scrub_progress(&self) -> ScrubProgress {
        self.scrub_numbers()
    }
    async fn rotate_keys(&self, caller: Caller, ground: Option<String>) -> Answer<()> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.rotate_keys_for(person, ground).await
    }
    async fn backup_keys(&self, caller: Caller, to: Vec<String>) -> Answer<(Vec<u8>, u64)> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.backup_keys_for(person, to).await
    }
    async fn check_backup(&self, caller: Caller, generation: u64, answer: String) -> Answer<u64> {
        let (me, person) = self.person_to(caller, Verb::Administer, About::Nothing).await?;
        me.check_backup_for(person, generation, answer).await
    }
    async fn status(&self) -> Status {
        let condition = self.health.condition();
        let look = self.ledger.look(|desk| {
            let due = desk.state.due().take_while(|(due, _)| *due <= desk.now.time).count();
            let reviews = desk.state.reviews();
            let reviews = (reviews.len(), reviews.overdue(desk.now.time));
            (desk.state.recording_count(), desk.state.holds().len(), due, reviews)
        });
        let (recordings, holds, due, reviews) = look.await.unwrap_or_default();
        Status {
            state: condition.state.into(),
            why: condition.why,
            entries: self.ledger.head().size,
            recordings: recordings as u64,
            holds: holds as u64,
            sessions: self.sessions.count() as u64,
            reviews_open: reviews.0 as u64,
            reviews_overdue: reviews.1 as u64,
            due: due as u64,
            space: self.space.level().as_str().into(),
            free: self.space.free_bytes(),
            medium: self.medium.into(),
            served: self.mount().map_or(0, FuseMount::count) as u64,
            rebuilding: self.catalogue.rebuilding(),
        }
    }
    fn published_checkpoint(&self) -> String {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        match &*published {
            Some((since, text)) if now.duration_since(*since) < PUBLISH_EVERY => text.clone(),
            _ => {
                let text = self.ledger.head().checkpoint.to_string();
                *published = Some((now, text.clone()));
                text
            }
        }
    }
    fn origin(&self) -> String {
        self.config.origin.clone()
    }
    fn verifier_key(&self) -> String {
        self.verifier_key.clone()
    }
    fn state(&self) -> (String, String) {
        let condition = self.health.condition();
        (condition.state.into(), condition.why)
    }
}
