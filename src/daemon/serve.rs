//! Serving: the place on the bus, the tasks that follow what changes, and the wait for the end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::signal::unix::Signal;

use super::health::Part;
use super::ledger::Proposal;
use super::run::{Fatal, Running};
use super::service::{Bus, Service};
use super::sessions::End;
use crate::core::event::{Detail, Draft, Event, Outcome, RefusedMany, Who};
use crate::core::policy;
use crate::shell::bus::caller::Callers;
use crate::shell::bus::interfaces::{
    Desk, LedgerInterface, ManagerInterface, NAME, ROOT, RecordingsInterface, RegistersInterface,
    RetentionInterface, ReviewsInterface, SCRUB, ScrubInterface, announce_state,
};
use crate::shell::bus::polkit;
use crate::shell::sys::memory;
use crate::shell::{journal, message_id, systemd, users};

/// The signals that the daemon listens to.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) reload: Signal,
}

/// Connects and puts the interfaces in place.
pub(super) async fn join_bus(service: &Arc<Service>) -> Result<Bus, Fatal> {
    let address = service.config.bus.address.clone();
    let failed = |source| Fatal::Bus { address: address.clone(), source };
    let builder = match address.as_str() {
        "system" => zbus::connection::Builder::system(),
        address => zbus::connection::Builder::address(address),
    };
    let connection = builder.build().await.map_err(failed)?;
    let callers = Arc::new(Callers::new(&connection).await.map_err(failed)?);
    let desk = Desk::new(service.clone(), callers.clone());
    let server = connection.object_server();
    let placed = async {
        server.at(ROOT, RecordingsInterface(desk.clone())).await?;
        server.at(ROOT, RetentionInterface(desk.clone())).await?;
        server.at(ROOT, LedgerInterface(desk.clone())).await?;
        server.at(ROOT, RegistersInterface(desk.clone())).await?;
        server.at(ROOT, ManagerInterface(desk.clone())).await?;
        server.at(ROOT, ReviewsInterface(desk.clone())).await?;
        server.at(SCRUB, ScrubInterface(desk.clone())).await?;
        let bus = zbus::fdo::DBusProxy::new(&connection).await?;
        // Subscribed before the name is taken: no owner can leave unseen.
        let leaving = bus.receive_name_owner_changed().await?;
        tokio::spawn(follow_names(service.clone(), callers, leaving));
        zbus::Result::Ok(())
    };
    placed.await.map_err(failed)?;
    Ok(Bus { connection, desk })
}

/// Takes the name, when all that it stands for is in place: nobody finds a half of the service.
pub(super) async fn take_name(service: &Service) -> Result<(), Fatal> {
    let Some(bus) = service.bus() else { return Err(Fatal::BusLost) };
    let address = service.config.bus.address.clone();
    bus.connection.request_name(NAME).await.map_err(|source| Fatal::Bus { address, source })
}

/// A session ends when the bus name that opened it vanishes (design §7).
async fn follow_names(
    service: Arc<Service>,
    callers: Arc<Callers>,
    mut leaving: zbus::fdo::NameOwnerChangedStream,
) {
    while let Some(change) = leaving.next().await {
        let Ok(change) = change.args() else { continue };
        if change.name.as_str() == polkit::NAME {
            let service = service.clone();
            tokio::spawn(async move { service.look_for_polkit().await });
        }
        if change.new_owner.is_none() {
            let gone = change.name.to_string();
            callers.forget(&gone);
            service.dialogs.left(&gone);
            // Not awaited: names of the whole bus wait here, and no call is answered once their queue is full.
            for id in service.sessions.which(|live| live.bus_name == gone) {
                service.end_soon(id, End::PeerGone);
            }
        }
    }
}

/// Puts the holds that stand on the bus.
pub(super) async fn show_holds(service: &Arc<Service>) {
    let holds = service.ledger.look(|desk| desk.state.holds().iter().map(|(id, _)| *id).collect::<Vec<_>>());
    for hold in holds.await.unwrap_or_default() {
        service.show_hold(hold).await;
    }
}

/// Starts the tasks that follow ledger, progress, retention, details, registers, keys, heartbeat, clock, space, state and refusals.
pub(super) fn spawn_followers(service: &Arc<Service>) {
    tokio::spawn(service.clone().follow_ledger());
    tokio::spawn(service.clone().follow_progress());
    tokio::spawn(service.clone().follow_expiry());
    tokio::spawn(service.clone().follow_retention());
    tokio::spawn(service.clone().follow_details());
    tokio::spawn(service.clone().follow_registers());
    tokio::spawn(service.clone().follow_rekey());
    tokio::spawn(service.clone().follow_heartbeat());
    tokio::spawn(service.clone().follow_memory());
    tokio::spawn(service.clone().follow_clock());
    tokio::spawn(service.clone().follow_space());
    tokio::spawn(service.clone().follow_reviews());
    tokio::spawn(follow_condition(service.clone()));
    tokio::spawn(follow_refusals(service.clone()));
}

impl Service {
    /// Gives back the memory that a start, a run of the retention or many sessions needed for a while and nobody uses.
    async fn follow_memory(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        let mut wait = MEMORY_AFTER_START;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.changed() => return,
            }
            let _done = tokio::task::spawn_blocking(memory::give_back_free_pages).await;
            wait = MEMORY_EVERY;
        }
    }
}

/// What a start leaves to do is done by then.
const MEMORY_AFTER_START: Duration = Duration::from_secs(1);
const MEMORY_EVERY: Duration = Duration::from_secs(600);

/// Tells everybody when the state changes.
async fn follow_condition(service: Arc<Service>) {
    let mut condition = service.health.follow();
    let mut was_closed = false;
    while condition.changed().await.is_ok() {
        let now = condition.borrow_and_update().clone();
        let closed = now.state == "closed";
        let id = match (was_closed, closed) {
            (_, true) => message_id::LEDGER_CLOSED,
            (true, false) => message_id::LEDGER_RESUMED,
            (false, false) => message_id::STATE_CHANGED,
        };
        was_closed = closed;
        let level = if now.state == "ready" { log::Level::Info } else { log::Level::Warn };
        let message = format!("state {}{}{}", now.state, if now.why.is_empty() { "" } else { ": " }, now.why);
        journal::record(level, id, &message, &[("state", now.state)]);
        let _no_manager = systemd::status(&message);
        if let Some(bus) = service.bus() {
            announce_state(&bus.connection, now.state, &now.why).await;
        }
    }
}

/// Once a minute, one entry for the refusals of each user that were only counted.
async fn follow_refusals(service: Arc<Service>) {
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tick.tick().await;
        // Held until they are recorded: the stop finds what is owed, and nothing is on its way past it.
        let mut owed = service.refusals_owed.lock().await;
        owed.extend(service.ledger.look(|desk| desk.flood.due(desk.now.up_micros)).await.unwrap_or_default());
        *owed = record_refusals(&service, std::mem::take(&mut *owed)).await;
    }
}

/// What was counted and not yet written: before the service stops.
pub(super) async fn record_last_refusals(service: &Service) {
    let mut owed = service.refusals_owed.lock().await;
    owed.extend(service.ledger.look(|desk| desk.flood.drain(desk.now.up_micros)).await.unwrap_or_default());
    for lost in record_refusals(service, std::mem::take(&mut *owed)).await {
        log::error!("{} refusals of uid {} were counted and could not be recorded", lost.count, lost.uid);
    }
}

/// Records counts; returns those that could not be recorded now.
async fn record_refusals(service: &Service, counted: Vec<policy::RefusedMany>) -> Vec<policy::RefusedMany> {
    let mut owed = Vec::new();
    for many in counted {
        let user = tokio::task::spawn_blocking(move || users::name_of(many.uid).ok().flatten());
        let who = Who { uid: many.uid, user: user.await.ok().flatten(), ..Who::default() };
        let recorded = service.ledger.record(move |desk| {
            let ago = desk.now.up_micros.saturating_sub(many.since_up_micros);
            let ago = i64::try_from(ago).unwrap_or(i64::MAX);
            let since = desk.now.time.saturating_add_micros(ago.saturating_neg());
            let draft = Draft::fact(Event::AccessRefusedMany(RefusedMany { count: many.count, since }));
            Ok(Proposal::new(draft.outcome(Outcome::Denied).with_detail(Detail::by(who)), ()))
        });
        if recorded.await.is_err() {
            owed.push(many);
        }
    }
    owed
}

/// Serves until a signal, or until the bus goes away.
pub(super) async fn until_stopped(running: &mut Running) -> Result<(), Fatal> {
    let service = running.service.clone();
    service.health.refresh();
    let condition = service.health.condition();
    let message = format!("greffierd serves, state {}", condition.state);
    journal::record(log::Level::Info, message_id::SERVICE_STARTED, &message, &[("state", condition.state)]);
    let _no_manager = systemd::ready(&message);
    if let Some(period) = systemd::watchdog_period() {
        tokio::spawn(feed_watchdog(service.clone(), period));
    }
    let Some(bus) = service.bus() else { return Err(Fatal::BusLost) };
    let mut closed = std::pin::pin!(bus.connection.closed());
    loop {
        tokio::select! {
            _ = running.signals.terminate.recv() => return Ok(()),
            _ = running.signals.interrupt.recv() => return Ok(()),
            _ = running.signals.reload.recv() => {
                // A bad policy is recorded, logged and shown in the state.
                let _shown = service.load_policy(Detail::default()).await;
            }
            () = &mut closed => {
                service.health.degrade(Part::Descriptors, "The message bus is gone.");
                return Err(Fatal::BusLost);
            }
        }
    }
}

/// The watchdog is fed by the writer: a daemon whose writer hangs is started again.
async fn feed_watchdog(service: Arc<Service>, period: Duration) {
    let mut tick = tokio::time::interval(period);
    loop {
        tick.tick().await;
        // Turned away while the ledger is closed is an answer too.
        let _answer = service.ledger.look(|_| ()).await;
        let _no_manager = systemd::watchdog();
    }
}
