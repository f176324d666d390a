//! The whole daemon, without a bus, on a disk that fails: each call of each procedure in turn (`procedures`), and the power
//! at any moment (`cuts`). After each, a start with the real code, and the small model of `told` says what must stand.
//!
//! Owns the house that is tested, and a life in it from start to end. A life ends as a process does: nothing of it
//! reaches the disk any more.

mod cuts;
mod procedures;
mod told;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::core::ids::HoldId;
use crate::core::refusal::Refusal;
use crate::core::state::State;
use crate::daemon::errors::chain;
use crate::daemon::ledger::Availability;
use crate::daemon::run::{open_all, take_up};
use crate::shell::bus::archive::SealRequest;
use crate::shell::disk::fault::{Faults, Mode, Op, watch};
use told::Told;

/// What is sealed from `entrance` stays; what is sealed from `door` is due at once.
const HOUSE: &str = r#"
format = 1
controller = "A shop"
[reasons]
incident = { text = "Theft" }
[purposes]
security = { kinds = ["footage", "call"], reasons = ["incident"] }
[classes]
fortnight = { max = "P15D", from = "sealed" }
moment = { max = "PT0.001S", from = "sealed" }
[sources]
entrance = { kind = "footage", zone = "entrance", purposes = ["security"], class = "fortnight" }
door = { kind = "footage", zone = "entrance", purposes = ["security"], class = "moment" }
[roles]
all = { verbs = ["search", "view", "seal", "hold", "lift", "purge"] }
runs = { verbs = ["administer"] }
[grants]
does = { user = "games", role = "all" }
keeps = { user = "sync", role = "runs" }
"#;
const SOURCES: [&str; 2] = ["entrance", "door"];
/// Not recorded: sled's own files, which the seam does not see.
const IGNORED: [&str; 1] = ["state/catalogue"];

/// The configuration of the house in `dir`.
fn configure(dir: &Path) {
    let path = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "origin = \"test.example/greffier\"\npolicy = {:?}\nstate_dir = {:?}\nspool_dir = {:?}\nrun_dir = {:?}\n\
         [key]\ninsecure_key_file = {:?}\n[limits]\nmin_free_bytes = 0\n[ledger]\ndetails_keep = \"PT0S\"\n",
        path("policy.toml"),
        path("state"),
        path("spool"),
        path("run"),
        path("key"),
    );
    std::fs::write(dir.join("greffier.toml"), config).unwrap();
}

/// A house in which nothing has happened yet.
fn new_house() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(set_up(dir.path()));
    std::fs::write(dir.path().join("policy.toml"), HOUSE).unwrap();
    for name in ["spool", "run"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for source in SOURCES {
        make_folder(&dir.path().join("spool"), &source.parse().unwrap(), None).unwrap();
    }
    configure(dir.path());
    dir
}

/// A copy of a house, with the modes of its folders.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let to = to.join(name);
        if path.is_dir() {
            std::fs::create_dir(&to).unwrap();
            std::fs::set_permissions(&to, path.metadata().unwrap().permissions()).unwrap();
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// A house copied from another.
fn house_like(template: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(template, dir.path());
    configure(dir.path());
    dir
}

/// The daemon, running in a house.
struct Life {
    runtime: tokio::runtime::Runtime,
    assembled: Assembled,
    state_dir: StateDir,
}

impl Life {
    /// Starts it; after an error nothing of it is left.
    fn start(dir: &Path, faults: &Faults) -> Result<Self, String> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = Config::load(&dir.join("greffier.toml")).unwrap();
        let state_dir = StateDir::open(&config.state_dir).map_err(|error| chain(&error))?;
        let (assembled, before) =
            match runtime.block_on(open_all(config, &state_dir, &Environment::default())) {
                Ok(opened) => opened,
                Err(error) => {
                    runtime.shutdown_timeout(Duration::from_secs(20));
                    return Err(chain(&error));
                }
            };
        let taken_up =
            runtime.block_on(take_up(&assembled.service, before, &state_dir)).map_err(|error| chain(&error));
        let life = Self { runtime, assembled, state_dir };
        match taken_up {
            Ok(()) => Ok(life),
            Err(error) => {
                life.end(faults);
                Err(error)
            }
        }
    }

    fn service(&self) -> &Arc<Service> {
        &self.assembled.service
    }
    fn block<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
    fn state(&self) -> State {
        self.service().ledger.look_blocking(|desk| desk.state.clone()).unwrap()
    }

    /// The end of the process. Until the faults are cleared no call does anything.
    fn end(self, faults: &Faults) {
        faults.kill();
        let Self { runtime, assembled: Assembled { service, writer, second_place }, state_dir } = self;
        runtime.block_on(service.ledger.stop());
        writer.join().unwrap();
        drop((service, second_place));
        runtime.shutdown_timeout(Duration::from_secs(20));
        drop(state_dir);
    }

    /// A ledger that failed is writable again by itself (invariant 3). `false`: not in a minute.
    fn is_open_again(&self) -> bool {
        let mut availability = self.service().ledger.availability();
        self.block(async {
            let open = availability.wait_for(|now| *now == Availability::Open);
            tokio::time::timeout(Duration::from_secs(60), open).await.is_ok()
        })
    }
}

/// A life with what was told in it: the steps of which procedures and histories are made. A step that fails tells nothing.
struct Days<'a> {
    dir: &'a Path,
    faults: &'a Arc<Faults>,
    told: &'a mut Told,
    life: Life,
    /// Descriptors given out.
    open: Vec<(SessionId, OwnedFd)>,
}

impl<'a> Days<'a> {
    fn begin(dir: &'a Path, faults: &'a Arc<Faults>, told: &'a mut Told) -> Result<Self, String> {
        let life = Life::start(dir, faults)?;
        let mut days = Self { dir, faults, told, life, open: Vec::new() };
        days.told.follow(&days.life, faults);
        days.learn();
        Ok(days)
    }
    fn service(&self) -> Arc<Service> {
        self.life.service().clone()
    }
    /// Takes down what the ledger has acknowledged, and which keys are gone.
    fn learn(&mut self) {
        self.told.learn(&self.life, self.dir, self.faults.mark());
    }
    fn end(mut self) {
        self.learn();
        drop(self.open);
        self.life.end(self.faults);
    }

    /// A recorder leaves a file in the spool.
    fn leave(&mut self, source: &str) -> String {
        let content = self.told.new_content();
        let name = format!("{}.mp4", content.len());
        let path = self.dir.join("spool").join(source).join(&name);
        std::fs::write(&path, &content).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        self.faults.import(&path);
        self.told.left.push((self.faults.mark(), content));
        name
    }
    /// The daemon takes a file from the spool and seals it.
    fn take(&mut self, source: &str, name: &str) {
        let spool = Spool::open(&self.dir.join("spool")).unwrap();
        take(self.life.service(), &spool, &source.parse().unwrap(), name.as_ref());
        self.learn();
    }
    /// A file is passed over the bus.
    fn pass(&mut self, source: &str) -> Result<RecordingId, Refusal> {
        let content = self.told.new_content();
        let file = memory_file(&content);
        let request = SealRequest { source: source.into(), ..SealRequest::default() };
        let sealed = self.life.block(self.service().seal_passed(games(), file, request));
        self.learn();
        sealed.map(|(id, _)| id)
    }
    /// A recording is opened, and read to its end.
    fn open(&mut self, id: RecordingId) -> Result<SessionId, Refusal> {
        let request = OpenRequest { reason: "incident".into(), ..OpenRequest::default() };
        let opened = self.life.block(self.service().open_recording(
            std::future::ready(Ok(games())),
            id.to_string(),
            request,
        ))?;
        let bytes = read_as_owner(&opened.descriptor);
        if let Ok(bytes) = bytes {
            assert_eq!(Some(&bytes), self.told.content_of(&id), "what is read is what was sealed");
        }
        // From the first byte on the grant must stand.
        self.told.opened.push((self.faults.mark(), opened.session));
        self.open.push((opened.session, opened.descriptor));
        self.learn();
        Ok(opened.session)
    }
    fn close(&mut self) {
        if let Some((id, descriptor)) = self.open.pop() {
            let _may_fail = self.life.block(self.service().close_session(games(), id));
            drop(descriptor);
        }
        self.learn();
    }
    /// What was read so far becomes an entry.
    fn progress(&mut self) {
        let before = self.service().ledger.head().size;
        let task = self.life.runtime.spawn(self.service().follow_progress());
        self.life.block(async {
            let mut head = self.life.service().ledger.follow_head();
            let more = head.wait_for(|head| head.size > before);
            let _none_is_due = tokio::time::timeout(Duration::from_millis(200), more).await;
        });
        task.abort();
        self.learn();
    }
    fn hold(&mut self, id: RecordingId) -> Result<HoldId, Refusal> {
        let request = HoldRequest {
            recording: id.to_string(),
            kind: HoldKind::Judicial,
            ground: "a letter".into(),
            reference: None,
            review: None,
        };
        let placed = self.life.block(self.service().place_hold(games(), request));
        self.learn();
        placed
    }
    fn lift(&mut self, hold: HoldId) {
        self.told.lifts.push((self.faults.mark(), hold));
        let _may_fail = self.life.block(self.service().lift_hold(games(), hold, None));
        self.learn();
    }
    /// Whatever is due goes.
    fn purge(&mut self) {
        // What was sealed at this moment is due a millisecond later.
        self.life.block(async { tokio::time::sleep(Duration::from_millis(2)).await });
        let state = self.life.service().ledger.look_blocking(|desk| desk.state.clone());
        let Ok(state) = state else { return };
        let door: SourceId = "door".parse().unwrap();
        let due = state.recordings().filter(|(id, it)| it.source == door && state.holds().on(id).is_none());
        let due = due.map(|(id, _)| *id).collect();
        self.told.purges.push((self.faults.mark(), due));
        let _may_fail = self.life.block(self.service().run_for(games()));
        self.learn();
    }
    /// The master key is changed.
    fn rotate(&mut self) {
        let _may_fail = self.life.block(self.service().rotate_keys_for(admin(), None));
        self.learn();
    }
    fn rekey(&mut self) {
        let _may_fail = self.life.block(self.service().rekey());
        self.learn();
    }
    /// Entries with details, in one batch.
    fn say(&mut self, count: usize) -> Result<(), Refusal> {
        let said = self.life.block(say(self.life.service(), count));
        self.learn();
        said
    }
    /// Waits until full bundles stand in their files and the tail is short.
    fn roll_over(&mut self, bundles: u64) {
        for _ in 0..40 {
            let reader = &self.life.service().reader;
            if reader.detail_files().below_tail().is_ok_and(|it| it >= bundles * 256) {
                return;
            }
            if self.say(1).is_err() {
                return;
            }
            self.life.block(async { tokio::time::sleep(Duration::from_millis(10)).await });
        }
    }
    /// Details whose time has come go.
    fn expire(&mut self) {
        let _may_fail = self.life.block(self.service().expire_details());
        self.learn();
    }
    /// Another policy is loaded.
    fn policy(&mut self) {
        let path = self.dir.join("policy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}# again\n")).unwrap();
        self.faults.import(&path);
        let _may_fail = self.life.block(self.service().load_policy(Detail::default()));
        self.learn();
    }
}

async fn say(service: &Arc<Service>, count: usize) -> Result<(), Refusal> {
    let draft = |n: usize| {
        let detail = Detail { text: Some(format!("Mrs Example {n}")), ..Detail::default() };
        let event = Event::PolicyRefused(crate::core::event::Nothing {});
        Draft::fact(event).outcome(crate::core::event::Outcome::Denied).with_detail(detail)
    };
    let recorded = service.ledger.record(move |_| {
        let first = Proposal::new(draft(0), ());
        Ok((1..count).map(draft).fold(first, Proposal::and))
    });
    recorded.await.map(|_| ())
}

/// One attempt at a file of the spool, as a worker makes it.
fn take(service: &Arc<Service>, spool: &Spool, source: &SourceId, name: &std::ffi::OsStr) {
    if let Next::Again(Some(taken)) = service.take(spool, source, name) {
        // What cannot be put back stays in `.taking` until the next start.
        let _may_fail = taken.put_back();
    }
}

/// What the daemon does with its spool: what a crash left in `.taking`, then what lies there.
fn drain(life: &Life, dir: &Path) {
    let spool = Spool::open(&dir.join("spool")).unwrap();
    for source in SOURCES {
        let source: SourceId = source.parse().unwrap();
        life.block(ingest::recover(life.service(), &source));
        for name in spool.scan(&source).unwrap().names {
            take(life.service(), &spool, &source, &name);
        }
    }
}

fn memory_file(content: &[u8]) -> OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file = File::from(rustix::fs::memfd_create("passed", MemfdFlags::ALLOW_SEALING).unwrap());
    file.write_all_at(content, 0).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK).unwrap();
    // As a caller passes it.
    file.into()
}

/// Reads a descriptor as the user it was given to, to its end.
fn read_as_owner(descriptor: &OwnedFd) -> std::io::Result<Vec<u8>> {
    let file = File::from(descriptor.try_clone()?);
    let reading = std::thread::spawn(move || {
        let uid = rustix::thread::Uid::from_raw(5);
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        let mut bytes = vec![0; 1 << 20];
        let count = file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    });
    reading.join().unwrap()
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is an edge")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
