//! The life of the daemon, as a list of steps: start, serve, stop.
//!
//! Start, in order: configuration · state directory locked · keys · ledger recovered · store reconciled · private mount ·
//! policy · bus · ready. Stop: no more calls · sessions closed with an entry · the purge of a recording under way ended ·
//! `ledger.stopped` · writer joined; a seal under way is given up and taken back. Fatal
//! errors end the start with nothing changed and one line that says what to do.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};

use super::config::{Config, ConfigError};
use super::errors::chain;
use super::health::{Health, Part};
use super::keys::OpenedKeys;
use super::ledger::second_place::SecondPlace;
use super::ledger::{OpenError, OpenLedger, Proposal};
use super::projection::{Follow, Projection, Whose};
use super::reauth::Dialogs;
use super::rekey::RekeyError;
use super::service::Service;
use super::sessions::{End, Sessions, account};
use super::space::Space;
use super::{ingest, keys, recover, serve};
use crate::core::event::{Detail, Draft, Event, LedgerStarted, LedgerStopped, Subject};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::ids::{RecordingId, SessionId};
use crate::core::ledger::note::VerifierKey;
use crate::core::policy::{House, Policy};
use crate::core::retention::LastSeen;
use crate::core::state::OpenSession;
use crate::core::time::Moment;
use crate::shell::clock::SystemClock;
use crate::shell::crypt::Signer;
use crate::shell::disk::catalogue::{Catalogue, CatalogueError};
use crate::shell::disk::durable::DiskError;
use crate::shell::disk::ledger_files::read_bounded;
use crate::shell::disk::object::{ObjectError, ObjectStore};
use crate::shell::disk::slots::SlotError;
use crate::shell::disk::statedir::{StateDir, StateDirError};
use crate::shell::fuse::{self, FuseError, FuseMount};
use crate::shell::watch::Spool;
use crate::shell::{journal, message_id, systemd};

/// Why the daemon does not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The master key.
    #[error("the master key cannot be read: {what}")]
    MasterKey {
        /// What to look at.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The keys.
    #[error("the keys cannot be used")]
    Slots(#[from] SlotError),
    /// A file of the keys or of the store.
    #[error("the store cannot be used")]
    Disk(#[from] DiskError),
    /// `origin` or `vkey`.
    #[error("{0}")]
    Identity(String),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The catalogue.
    #[error("the catalogue cannot be made")]
    Catalogue(#[from] CatalogueError),
    /// The clocks, threads, signals.
    #[error("the system does not give what the service needs")]
    System(#[from] std::io::Error),
    /// The bus.
    #[error("the message bus {address} cannot be used")]
    Bus {
        /// Which one.
        address: String,
        /// Why.
        source: zbus::Error,
    },
    /// The epoch key.
    #[error("the key that signs cannot be changed")]
    Rekey(#[source] RekeyError),
    /// Recovery.
    #[error("the store could not be reconciled with the ledger: {0}")]
    Recovery(String),
    /// The bus went away; the service manager starts the daemon again.
    #[error("the message bus closed the connection")]
    BusLost,
}

/// What the environment gives; read at the edge.
#[derive(Debug, Default)]
pub struct Environment {
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

/// How long a stop waits for threads that only work for what can no longer be recorded.
const STOP_WAITS: std::time::Duration = std::time::Duration::from_millis(300);
/// The log key has one slot, this one.
const LOG_KEY: SlotId = [0; 16];

/// Runs the daemon with the configuration at `path` until it is told to stop.
pub fn run(path: &Path, environment: &Environment) -> Result<(), Fatal> {
    let config = Config::load(path)?;
    hide_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let state_dir = StateDir::open(&config.state_dir)?;
    let mut started = runtime.block_on(start(config, &state_dir, environment))?;
    let ended = runtime.block_on(serve::until_stopped(&mut started));
    runtime.block_on(stop(started, ended.is_ok()));
    // What still runs may be cut: a seal that has no entry is taken back by the next start.
    runtime.shutdown_timeout(STOP_WAITS);
    drop(state_dir);
    ended
}

/// No core dump and no other process shall see the keys: not even one with this uid, nor what the kernel hands to a program
/// that collects dumps. The limit is for the programs that it starts: `systemd-creds` holds the master key for a moment.
fn hide_memory() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
    let _best_effort = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _best_effort = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
}

/// The running daemon.
pub(super) struct Running {
    pub(super) service: Arc<Service>,
    pub(super) signals: serve::Signals,
    writer: JoinHandle<()>,
    second_place: SecondPlace,
}

/// All but the bus.
pub(super) struct Assembled {
    pub(super) service: Arc<Service>,
    pub(super) writer: JoinHandle<()>,
    pub(super) second_place: SecondPlace,
}

/// What the run before left, as the opening found it.
pub(super) struct Before {
    /// Its last entry.
    last: Option<LastSeen>,
    /// Whether it ended without saying so.
    after_crash: bool,
    /// Lists the objects of the store.
    objects: JoinHandle<Vec<Result<RecordingId, ObjectError>>>,
    /// Why a change of the master key is not finished.
    unfinished_rotation: Option<String>,
}

async fn start(config: Config, state_dir: &StateDir, environment: &Environment) -> Result<Running, Fatal> {
    let signals = serve::Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        reload: signal(SignalKind::hangup())?,
    };
    let Assembled { service, writer, second_place, .. } = assemble(config, state_dir, environment).await?;
    let bus = serve::join_bus(&service).await?;
    let _first = service.bus.set(bus);
    serve::show_holds(&service).await;
    serve::take_name(&service).await?;
    serve::spawn_followers(&service);
    service.look_for_polkit().await;
    match Spool::open(&service.config.spool_dir) {
        Ok(spool) => drop(tokio::spawn(ingest::run(service.clone(), spool))),
        Err(error) => {
            let dir = service.config.spool_dir.display();
            log::error!("the spool {dir} cannot be opened: {error}");
            service.health.degrade(Part::Spool, format!("The spool {dir} cannot be opened: {error}."));
        }
    }
    Ok(Running { service, signals, writer, second_place })
}

/// Opens all that is served, brings to an end what the run before left undone, and loads the policy.
pub(super) async fn assemble(
    config: Config,
    state_dir: &StateDir,
    environment: &Environment,
) -> Result<Assembled, Fatal> {
    let (assembled, before) = open_all(config, state_dir, environment).await?;
    take_up(&assembled.service, before, state_dir).await?;
    Ok(assembled)
}

/// Opens all that is served. Nothing is decided yet, and nothing of what the run before left undone is touched.
pub(super) async fn open_all(
    config: Config,
    state_dir: &StateDir,
    environment: &Environment,
) -> Result<(Assembled, Before), Fatal> {
    std::fs::create_dir_all(&config.run_dir)?;
    let clock = Arc::new(SystemClock::new()?);
    let house = House {
        time_zone: clock.local_time_zone().clone(),
        session_max: config.limits.session_max,
        allow_switched_user: config.bus.allow_switched_user,
    };
    // Beside the reading of keys and ledger, which take longer.
    let store = ObjectStore::open(&state_dir.objects())?;
    let (listed, dir) = (store.clone(), state_dir.catalogue());
    let objects = std::thread::spawn(move || listed.list().collect::<Vec<_>>());
    let catalogue = std::thread::spawn(move || Catalogue::open_as_it_is(&dir));
    let OpenedKeys { slots, place, unfinished } = keys::open(&config, state_dir, environment)?;
    let slots = Arc::new(slots);
    let log_key = identity(&config, state_dir)?;
    let log = Signer::new(&slots.open_secret(SlotKind::Log, &LOG_KEY)?);
    if log.public() != *log_key.public() {
        let message =
            "ledger/vkey and the log key in keys/ do not belong together; restore both from one backup";
        return Err(Fatal::Identity(message.into()));
    }
    let epochs = slots.list(SlotKind::Epoch);
    let epochs = epochs.iter().map(|id| Ok(Signer::new(&slots.open_secret(SlotKind::Epoch, id)?)));
    let (found, stood) = catalogue.join().map_err(panicked)??.unzip();
    let (mac, is_new) = keys::subject_key(&slots)?;
    // Its hashes are under a key that is gone.
    let found = found.filter(|_| !is_new);

    let opened = OpenLedger {
        dir: state_dir.ledger(),
        second_place: config.second_checkpoint(),
        log,
        log_key: log_key.clone(),
        epochs: epochs.collect::<Result<_, SlotError>>()?,
        slots: slots.clone(),
        clock: clock.clone(),
        house: house.clone(),
        catalogue_at: stood,
    }
    .open()?;
    let ledger = opened.ledger;
    let second_place = SecondPlace::keep(ledger.follow_head(), config.second_checkpoint());
    let health = Arc::new(Health::new(ledger.availability()));
    let (dir, behind, position) =
        (state_dir.catalogue(), opened.catalogue_behind, (ledger.head().size, opened.root));
    let follow = Follow {
        ledger: ledger.clone(),
        committed: opened.committed,
        health: health.clone(),
        clock: clock.clone(),
        whose: Arc::new(Whose { reader: opened.reader.clone(), mac }),
    };
    let catalogue =
        tokio::task::spawn_blocking(move || Projection::start(dir, found, behind, position, follow));
    let catalogue = catalogue.await.map_err(|error| Fatal::Recovery(error.to_string()))??;
    let found_sound = clock.now();
    let service = Arc::new_cyclic(|me| Service {
        clock,
        house,
        ledger,
        reader: opened.reader,
        store,
        slots,
        master_place: place,
        rotating: tokio::sync::Mutex::default(),
        catalogue,
        sessions: Sessions::default(),
        asks_again: AtomicBool::new(false),
        dialogs: Dialogs::default(),
        health,
        space: Space::default(),
        medium: state_dir.medium().name,
        purging: tokio::sync::Mutex::default(),
        scrubs: Arc::default(),
        details: tokio::sync::Mutex::new(opened.details),
        refusals_owed: tokio::sync::Mutex::default(),
        loading: tokio::sync::Mutex::default(),
        clock_sound: Mutex::new(found_sound),
        retention_changed: Notify::new(),
        reviews_changed: Notify::new(),
        verifier_key: log_key.to_string(),
        policy: RwLock::new(Arc::new(Policy::empty())),
        policy_version: watch::Sender::new(0),
        mount: OnceLock::new(),
        bus: OnceLock::new(),
        published: Mutex::new(None),
        stopping: watch::Sender::new(false),
        me: me.clone(),
        config,
    });

    let before = Before {
        last: opened.last,
        after_crash: opened.after_crash,
        objects,
        unfinished_rotation: unfinished,
    };
    Ok((Assembled { service, writer: opened.thread, second_place }, before))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Fatal {
    Fatal::Recovery("a thread that reads the store panicked".into())
}

/// Brings to an end what the run before left undone, and loads the policy.
pub(super) async fn take_up(
    service: &Arc<Service>,
    before: Before,
    state_dir: &StateDir,
) -> Result<(), Fatal> {
    service.rekey().await.map_err(Fatal::Rekey)?;
    record_start(service, before.last, before.after_crash).await?;
    service.record_restored_key(state_dir).await?;
    let reconciling = service.clone();
    let objects = before.objects.join().map_err(panicked)?;
    let reconciled = tokio::task::spawn_blocking(move || reconciling.reconcile(objects));
    reconciled
        .await
        .map_err(|error| Fatal::Recovery(error.to_string()))?
        .map_err(|error| Fatal::Recovery(chain(error.as_ref())))?;
    say_what_is_weak(service, state_dir);
    let looking = service.clone();
    let _looked = tokio::task::spawn_blocking(move || looking.look_at_space()).await;
    if let Some(why) = before.unfinished_rotation {
        service.health.degrade(Part::Rotation, why);
    }
    service.resume_rotation().await;
    mount(service);
    service.learn_told().await.map_err(|refusal| Fatal::Recovery(refusal.to_string()))?;
    load_policy_at_start(service).await;
    let _left = recover::remove_sealed_leftovers(service, None).await;
    Ok(())
}

/// The log key's vkey; its name must be the configured origin.
fn identity(config: &Config, state_dir: &StateDir) -> Result<VerifierKey, Fatal> {
    let path = state_dir.ledger().join("vkey");
    let unusable =
        |why: &str| Fatal::Identity(format!("{}: {why}; restore it from a backup", path.display()));
    let bytes = read_bounded(&path, 4096)?.ok_or_else(|| unusable("it is missing"))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not text"))?;
    let key: VerifierKey = text.trim_end().parse().map_err(|_| unusable("it is not a vkey line"))?;
    if key.name() != config.origin {
        let message = format!(
            "the ledger was created for origin {:?}, the configuration says {:?}; an origin never changes",
            key.name(),
            config.origin
        );
        return Err(Fatal::Identity(message));
    }
    Ok(key)
}

async fn record_start(
    service: &Arc<Service>,
    last: Option<LastSeen>,
    after_crash: bool,
) -> Result<(), Fatal> {
    let failed = |refusal: crate::core::refusal::Refusal| Fatal::Recovery(refusal.to_string());
    service.judge_clock_at_start(last).await.map_err(failed)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let started = Draft::fact(Event::LedgerStarted(LedgerStarted { version, after_crash }));
    let recorded = service.ledger.record(move |desk| {
        Ok(recover::interruptions(desk.state).fold(Proposal::new(started, ()), Proposal::and))
    });
    recorded.await.map(|_| ()).map_err(failed)
}

fn say_what_is_weak(service: &Service, state_dir: &StateDir) {
    service.judge_key_memory();
    if service.config.key.insecure_key_file.is_some() {
        let why = "The master key lies in a plain file (insecure_key_file): use a systemd credential.";
        service.health.degrade(Part::Key, why);
    }
    let medium = state_dir.medium();
    if let Some(why) = medium.sentence() {
        let fields = [("medium", medium.name)];
        journal::record(log::Level::Warn, message_id::MEDIUM_KEEPS, &why, &fields);
        service.health.degrade(Part::Medium, why);
    }
}

fn mount(service: &Arc<Service>) {
    let (tell, events) = mpsc::unbounded_channel();
    let clock = service.clock.clone();
    let teller = || {
        let tell = tell.clone();
        Box::new(move |event| {
            let _stopped = tell.send(event);
        })
    };
    match FuseMount::start(2, teller(), Box::new(move || clock.now())) {
        Ok(mount) => {
            let _first = service.mount.set(mount);
            tokio::spawn(service.clone().follow_mount(events));
        }
        // Told in the state, and given only where a grant says so: a pipe is bound to nobody.
        Err(FuseError::Device(error)) => {
            log::error!("there are only pipes: /dev/fuse cannot be opened: {error}");
            let why = format!(
                "/dev/fuse cannot be opened ({error}): recordings are given as pipes alone, and only by grants that say pipe = true; load the fuse module and restart the service."
            );
            service.health.degrade(Part::Descriptors, why);
            let clock = service.clock.clone();
            let _first =
                service.mount.set(FuseMount::without_device(teller(), Box::new(move || clock.now())));
            tokio::spawn(service.clone().follow_mount(events));
        }
        Err(error) => {
            log::error!("recordings cannot be opened: {}", chain(&error));
            service.health.degrade(Part::Descriptors, format!("Recordings cannot be opened: {error}."));
        }
    }
}

/// The files, or when they are bad the policy that the ledger says is in force.
async fn load_policy_at_start(service: &Arc<Service>) {
    if service.load_policy(Detail::default()).await.is_err() {
        service.policy_from_ledger().await;
    }
}

async fn stop(running: Running, orderly: bool) {
    let Running { service, writer, second_place, .. } = running;
    let _no_manager = systemd::stopping();
    service.stopping.send_replace(true);
    service.end_sessions(service.sessions.which(|_| true), End::ServiceStopped).await;
    // Ends within a piece of reading, with an entry; its place is kept.
    service.scrubs.stop().await;
    // A purge under way ends first: it holds this, and ends sessions itself.
    let _purged = service.purging.lock().await;
    let _rotated = service.rotating.lock().await;
    // Those that were ending by themselves have left the table already; their entries come before the stop too.
    let _ended = service.sessions.all_ended().await;
    serve::record_last_refusals(&service).await;
    service.settle_owed().await;
    // What could not be recorded up to here is told by the entry of the stop itself.
    let owed = std::mem::take(&mut *service.sessions.owed());
    let why = if orderly { "service-stopped" } else { "bus-lost" };
    let stopped = Draft::fact(Event::LedgerStopped(LedgerStopped { why: why.into() }));
    let accounts = service.clone();
    let recorded = service.ledger.record(move |desk| {
        let account = |id: &SessionId| {
            let owed = owed.iter().find(|(owing, ..)| owing == id).map(|(_, _, usage)| usage.clone());
            // Granted while the service stopped: such a session finds that out before anything can be read through it.
            owed.or_else(|| accounts.mount()?.usage(id)).unwrap_or_default()
        };
        let sessions = desk.state.sessions().iter();
        let mut drafts = sessions.map(|(id, session)| last_end(*id, session, &account(id), &desk.now));
        Ok(match drafts.next() {
            Some(first) => drafts.fold(Proposal::new(first, ()), Proposal::and).and(stopped),
            None => Proposal::new(stopped, ()),
        })
    });
    if let Err(refusal) = recorded.await {
        log::error!("the stop could not be recorded: {refusal}");
    }
    service.ledger.stop().await;
    let _joined = tokio::task::spawn_blocking(move || writer.join()).await;
    second_place.finish().await;
    journal::record(log::Level::Info, message_id::SERVICE_STOPPED, "greffierd stopped", &[]);
}

/// The end of a session that the stop still finds open.
fn last_end(id: SessionId, session: &OpenSession, usage: &fuse::Usage, now: &Moment) -> Draft {
    let ran_micros = u64::try_from(now.time.micros_since(session.opened)).unwrap_or(0);
    let usage = account(usage, ran_micros, End::ServiceStopped.as_str());
    let subject = Subject::recording(session.recording, session.source.clone());
    Draft::fact(Event::AccessClosed(usage)).about(Subject { session: Some(id), ..subject })
}
