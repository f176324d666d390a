//! The daemon without a bus: what may cross, and which answers must be alike.

mod faults;
mod keys;
mod leftovers;
mod scrub;
mod space;
mod upkeep;
mod upkeep_support;

use std::fs::File;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use super::config::Config;
use super::ingest::{self, Next};
use super::ledger::Proposal;
use super::person::Person;
use super::run::{Assembled, Environment, assemble};
use super::seal::{Incoming, SealError};
use super::service::Service;
use super::sessions::{End, Live};
use crate::core::access::Recorded;
use crate::core::event::{Detail, Draft, Event, HoldKind, PurgePlanned, Sealed, Subject, Who};
use crate::core::format::slot::SlotKind;
use crate::core::ids::{Digest, Kind, RecordingId, SessionId, SourceId};
use crate::core::ledger::note::VerifierKey;
use crate::core::policy::{Principal, Target, Verb};
use crate::core::refusal::RefusalKind;
use crate::shell::bus::archive::{HoldRequest, OpenRequest};
use crate::shell::crypt::{MasterKey, Secret, Signer};
use crate::shell::disk::slots::KeySlots;
use crate::shell::disk::statedir::StateDir;
use crate::shell::watch::{Spool, make_folder};

const POLICY: &str = r#"
format = 1
controller = "A shop"
[reasons]
incident = { text = "Theft" }
[purposes]
security = { kinds = ["footage", "call"], reasons = ["incident"] }
[classes]
fortnight = { max = "P15D", from = "sealed" }
[sources]
entrance = { kind = "footage", zone = "entrance", purposes = ["security"], class = "fortnight" }
[roles]
viewer = { verbs = ["search", "view"] }
controller = { verbs = ["search", "hold", "lift", "purge"] }
[grants]
views = { user = "games", role = "viewer" }
controls = { user = "games", role = "controller" }
"#;

const VIEWS: &str = "views = { user = \"games\", role = \"viewer\" }\n";
const SESSION: SessionId = SessionId::from_bytes([9; 16]);

struct Archive {
    dir: tempfile::TempDir,
    _state: StateDir,
    service: Arc<Service>,
}

fn person(uid: u32, user: &str) -> Person {
    let user_name = user.parse().ok();
    Person {
        reauth: super::reauth::Reauth::NotAsked,
        own: None,
        principal: Principal { uid, user: user_name, login_uid: None },
        who: Who { uid, user: Some(user.into()), ..Who::default() },
        bus_name: ":1.1".into(),
    }
}
fn games() -> Person {
    person(5, "games")
}
fn stranger() -> Person {
    person(65_534, "nobody")
}

fn admin() -> Person {
    person(4, "sync")
}
/// The names in a folder, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
/// The master key in its file.
fn key(dir: &Path) -> MasterKey {
    MasterKey::read_from(&mut File::open(dir.join("key")).unwrap()).unwrap()
}

fn set_up(dir: &Path) -> (Config, StateDir) {
    let origin = "test.example/greffier";
    let path = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "origin = {origin:?}\npolicy = {:?}\nstate_dir = {:?}\nspool_dir = {:?}\nrun_dir = {:?}\n[key]\n\
         insecure_key_file = {:?}\n[limits]\nmin_free_bytes = 0\nrefused_keep = \"PT1S\"\n",
        path("policy.toml"),
        path("state"),
        path("spool"),
        path("run"),
        path("key"),
    );
    std::fs::write(dir.join("policy.toml"), POLICY).unwrap();
    std::fs::write(dir.join("greffier.toml"), config).unwrap();
    let master = MasterKey::generate().unwrap();
    master.write_to(&mut File::create(dir.join("key")).unwrap()).unwrap();
    let state = StateDir::create(&dir.join("state")).unwrap();
    KeySlots::init(&state.keys(), 1).unwrap();
    let slots = KeySlots::open(&state.keys(), master, 1).unwrap();
    let (log, epoch) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    slots.create(SlotKind::Log, [0; 16], &log).unwrap();
    slots.create(SlotKind::Epoch, [1; 16], &epoch).unwrap();
    let vkey = VerifierKey::new(origin, &Signer::new(&log).public()).unwrap();
    std::fs::write(state.ledger().join("vkey"), format!("{vkey}\n")).unwrap();
    (Config::load(&dir.join("greffier.toml")).unwrap(), state)
}

/// Runs `test` on an archive with one recording of `entrance`.
fn with_archive<F: Future<Output = ()>>(test: impl FnOnce(Archive, RecordingId) -> F) {
    with_archive_of(|_| (), test);
}

/// The same with another configuration.
fn with_archive_of<F: Future<Output = ()>>(
    configure: impl FnOnce(&mut Config),
    test: impl FnOnce(Archive, RecordingId) -> F,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, state) = set_up(dir.path());
        configure(&mut config);
        let Assembled { service, .. } = assemble(config, &state, &Environment::default()).await.unwrap();
        let id = seal(&service, dir.path()).await;
        test(Archive { dir, _state: state, service }, id).await;
    });
    runtime.shutdown_background();
}

async fn seal(service: &Arc<Service>, dir: &Path) -> RecordingId {
    try_to_seal(service, dir, true).await.unwrap()
}

/// The same where it may fail; `unchanged` is what is said of the file once it is read.
async fn try_to_seal(service: &Arc<Service>, dir: &Path, unchanged: bool) -> Result<RecordingId, SealError> {
    std::fs::write(dir.join("a.mp4"), b"moving pictures").unwrap();
    let (service, path) = (service.clone(), dir.join("a.mp4"));
    let sealing = tokio::task::spawn_blocking(move || {
        let file = File::open(path).unwrap();
        let incoming = Incoming {
            file: &file,
            source: "entrance".parse().unwrap(),
            start: None,
            end: None,
            modified: None,
            born: None,
            name: None,
            subject: None,
            spool: None,
            by: None,
            detail: Detail::default(),
        };
        service.seal_blocking(incoming, || Ok(unchanged)).map(Recorded::into_value)
    });
    sealing.await.unwrap()
}

impl Archive {
    fn live(&self, recording: RecordingId) -> Live {
        let opened = self.service.clock.now();
        let source: SourceId = "entrance".parse().unwrap();
        let target = Target::Recording { id: recording, source: source.clone() };
        Live {
            recording,
            source,
            request: games().asks(Verb::View, target, "incident".parse().ok()),
            own: None,
            rule: "views".parse().unwrap(),
            owner_uid: 5,
            bus_name: ":1.1".into(),
            opened,
            until: opened.time.saturating_add_micros(3_600_000_000),
            recorded_bytes: 0,
        }
    }

    /// Puts a session in the table, and asks what ended it before.
    async fn begins(&self, live: &Live) -> Option<End> {
        self.service.sessions.insert(SESSION, live.clone());
        self.service.ended_meanwhile(SESSION, live).await
    }

    async fn load(&self, policy: &str) {
        std::fs::write(self.dir.path().join("policy.toml"), policy).unwrap();
        assert!(self.service.load_policy(Detail::default()).await.is_ok());
    }

    async fn plan_purge(&self, id: RecordingId) {
        let subject = Subject::recording(id, "entrance".parse().unwrap());
        let draft = Draft::fact(Event::PurgePlanned(PurgePlanned { due: None })).about(subject);
        let _planned = self.service.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await.unwrap();
    }

    async fn restrict(&self, id: RecordingId) -> Result<crate::core::ids::HoldId, RefusalKind> {
        let request = HoldRequest {
            recording: id.to_string(),
            kind: HoldKind::Restriction,
            ground: "a complaint".into(),
            reference: None,
            review: None,
        };
        self.service.place_hold(games(), request).await.map_err(|refusal| refusal.kind)
    }

    async fn is_purging(&self, id: RecordingId) -> bool {
        let purging = self.service.ledger.look(move |desk| desk.state.recording(&id).map(|it| it.purging));
        purging.await.unwrap().unwrap()
    }

    fn entries(&self) -> u64 {
        self.service.ledger.head().size
    }
}

#[test]
fn inv7_a_session_that_a_purge_did_not_find_yet_does_not_begin() {
    with_archive(async |archive, id| {
        let live = archive.live(id);
        assert_eq!(archive.begins(&live).await, None);
        archive.plan_purge(id).await;
        assert_eq!(archive.begins(&live).await, Some(End::Purged));
    });
}

#[test]
fn a_session_that_a_new_policy_did_not_find_yet_does_not_begin() {
    with_archive(async |archive, id| {
        let live = archive.live(id);
        archive.load(&POLICY.replace(VIEWS, "")).await;
        assert_eq!(archive.begins(&live).await, Some(End::PolicyChanged));
    });
}

#[test]
fn a_session_that_a_new_policy_did_not_find_yet_begins_with_its_bounds() {
    with_archive(async |archive, id| {
        let live = archive.live(id);
        let brief = "views = { user = \"games\", role = \"viewer\", max_session = \"PT5M\" }\n";
        let long = VIEWS.replace("views", "long");
        archive.load(&POLICY.replace(VIEWS, &format!("{brief}{long}"))).await;
        assert_eq!(archive.begins(&live).await, None);
        let bounded = archive.service.sessions.get(&SESSION).unwrap();
        assert_eq!(bounded.until, live.opened.time.saturating_add_micros(300_000_000));
        assert_eq!(bounded.rule.as_str(), "views", "a longer grant is no reason to move it");

        // Its grant is gone: the other one carries it, for no longer than it had.
        archive.load(&POLICY.replace(VIEWS, &long)).await;
        let moved = archive.service.sessions.get(&SESSION).unwrap();
        assert_eq!((moved.until, moved.rule.as_str()), (bounded.until, "long"));
    });
}

#[test]
fn a_restricted_recording_is_kept_and_not_opened() {
    with_archive(async |archive, id| {
        archive.restrict(id).await.unwrap();
        assert_eq!(archive.begins(&archive.live(id)).await, Some(End::Restricted));
        let request = OpenRequest { reason: "incident".into(), ..OpenRequest::default() };
        let refused =
            archive.service.open_recording(ready(Ok(games())), id.to_string(), request).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Denied);
        assert!(refused.sentence.contains("builtin.restriction"), "{refused}");
    });
}

#[test]
fn inv2_the_bound_on_refusals_does_not_tell_what_exists() {
    with_archive(async |archive, id| {
        let missing = RecordingId::from_bytes([9; 16]).to_string();
        for asked in 0..15 {
            let mut kinds = Vec::new();
            // Ten of what is not there, then one that is.
            let which = if asked == 10 { id.to_string() } else { missing.clone() };
            let refused = archive.service.describe_one(stranger(), which).await.unwrap_err();
            kinds.push(refused.kind);
            let expected = if asked < 10 { RefusalKind::NotFound } else { RefusalKind::LimitReached };
            assert_eq!(kinds, [expected], "question {asked}");
        }
    });
}

#[test]
fn a_slip_in_the_request_does_not_tell_what_exists() {
    with_archive(async |archive, id| {
        for asked in [id, RecordingId::from_bytes([9; 16])] {
            let request = OpenRequest { purpose: Some("No Purpose!".into()), ..OpenRequest::default() };
            let asking = ready(Ok(stranger()));
            let refused = archive.service.open_recording(asking, asked.to_string(), request).await;
            assert_eq!(refused.unwrap_err().kind, RefusalKind::NotFound);
        }
    });
}

#[test]
fn a_purge_that_a_closed_ledger_left_undone_is_taken_back_or_finished_by_the_next_run() {
    with_archive(async |archive, id| {
        archive.plan_purge(id).await;
        let service = archive.service.clone();
        service.run_plan(None).await.unwrap();
        assert!(!archive.is_purging(id).await, "its key still opens: it is decided anew, and is not due");

        archive.plan_purge(id).await;
        service.slots.destroy(SlotKind::Data, id.as_bytes()).unwrap();
        service.run_plan(None).await.unwrap();
        let there = service.ledger.look(move |desk| desk.state.recording(&id).is_some()).await.unwrap();
        assert!(!there && !service.store.exists(id).unwrap());
    });
}

#[test]
fn inv2_orders_and_refusals_that_change_nothing_are_entries() {
    with_archive(async |archive, id| {
        let service = archive.service.clone();
        let mut before = archive.entries();
        let mut one_more = |archive: &Archive| {
            before += 1;
            assert_eq!(archive.entries(), before);
        };
        service.run_for(games()).await.unwrap();
        one_more(&archive);

        let session = SessionId::from_bytes([3; 16]);
        service.sessions.insert(session, archive.live(id));
        let refused = service.close_session(stranger(), session).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::NotFound);
        assert_eq!(service.sessions.count(), 1, "it runs on");
        one_more(&archive);

        archive.plan_purge(id).await;
        one_more(&archive);
        assert_eq!(archive.restrict(id).await, Err(RefusalKind::Conflict));
        one_more(&archive);
    });
}

#[test]
fn a_policy_that_was_deleted_stays_in_force() {
    with_archive(async |archive, _| {
        let before = archive.service.policy_in_force().digest();
        std::fs::remove_file(archive.dir.path().join("policy.toml")).unwrap();
        assert!(archive.service.load_policy(Detail::default()).await.is_err());
        assert_eq!(archive.service.policy_in_force().digest(), before);
        let why = archive.service.health.condition().why;
        assert!(why.contains("the old one stays") && !why.contains("Nobody"), "{why}");
    });
}

#[test]
fn inv8_what_everybody_may_read_names_nobody_of_a_refused_policy() {
    with_archive(async |archive, _| {
        let bad =
            POLICY.replace("user = \"games\", role = \"viewer\"", "user = \"alice\", role = \"none-such\"");
        std::fs::write(archive.dir.path().join("policy.toml"), bad).unwrap();
        let findings = archive.service.load_policy(Detail::default()).await.err().unwrap();
        assert!(!findings.is_empty());
        let why = archive.service.health.condition().why;
        assert!(!why.contains("alice") && !why.contains("none-such") && !why.contains("views"), "{why}");
    });
}

/// The spool with the folder of `entrance`.
fn spool(archive: &Archive) -> (Spool, SourceId, std::path::PathBuf) {
    let (dir, source) = (archive.dir.path().join("spool"), "entrance".parse().unwrap());
    std::fs::create_dir(&dir).unwrap();
    make_folder(&dir, &source, None).unwrap();
    (Spool::open(&dir).unwrap(), source, dir.join("entrance"))
}

#[test]
fn inv6_a_file_that_only_looks_like_one_sealed_before_is_sealed() {
    with_archive(async |archive, _| {
        let (spool, source, folder) = spool(&archive);
        std::fs::write(folder.join("b.mp4"), b"seen by nobody yet").unwrap();
        let taken = spool.take(&source, "b.mp4".as_ref()).unwrap_or_else(|error| panic!("{error}"));
        let same_file = ingest::spool_file(taken.facts());
        taken.put_back().unwrap();
        // A recording of long ago had this inode number, size and time, and another content.
        let time = archive.service.clock.now().time;
        let sealed = Sealed {
            kind: Kind::Footage,
            start: time,
            end: time,
            class: "fortnight".parse().unwrap(),
            bytes: 18,
            sha256: Digest([1; 32]),
            media: "video/mp4".into(),
            earliest: time.saturating_add_micros(3_600_000_000),
            latest: time.saturating_add_micros(3_600_000_000),
            spool: Some(same_file),
        };
        let subject = Subject::recording(RecordingId::from_bytes([8; 16]), source.clone());
        let draft = Draft::fact(Event::RecordingSealed(sealed)).about(subject);
        let _sealed = archive.service.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await.unwrap();

        let before = archive.entries();
        let service = archive.service.clone();
        let next = tokio::task::spawn_blocking(move || service.take(&spool, &source, "b.mp4".as_ref()));
        assert!(matches!(next.await.unwrap(), Next::Settled));
        assert_eq!(archive.entries(), before + 1, "it was sealed");
        assert!(!folder.join("b.mp4").exists());
    });
}

#[test]
fn what_was_put_aside_is_destroyed_in_its_time_with_an_entry() {
    with_archive(async |archive, _| {
        let (spool, source, folder) = spool(&archive);
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link.mp4")).unwrap();
        let service = archive.service.clone();
        let cleared = tokio::task::spawn_blocking(move || {
            assert!(matches!(service.take(&spool, &source, "link.mp4".as_ref()), Next::Settled));
            assert_eq!(spool.refused(&source).unwrap().len(), 1);
            let entries = service.ledger.head().size;
            service.clear_refused(&spool, &source);
            assert_eq!(service.ledger.head().size, entries, "it is too early");
            #[expect(clippy::disallowed_methods, reason = "the period under test has to pass")]
            std::thread::sleep(std::time::Duration::from_millis(1100));
            service.clear_refused(&spool, &source);
            assert_eq!(service.ledger.head().size, entries + 1);
            assert!(spool.refused(&source).unwrap().is_empty());
        });
        cleared.await.unwrap();
        assert!(Path::new("/etc/passwd").exists());
    });
}

#[test]
fn inv2_who_may_not_seal_is_refused_with_an_entry_and_nothing_is_stored() {
    with_archive(async |archive, _| {
        std::fs::write(archive.dir.path().join("c.mp4"), b"passed over the bus").unwrap();
        let objects = archive.service.store.list().count();
        let file = File::open(archive.dir.path().join("c.mp4")).unwrap();
        let request =
            crate::shell::bus::archive::SealRequest { source: "entrance".into(), ..Default::default() };
        let before = archive.entries();
        let refused = archive.service.seal_passed(stranger(), file.into(), request).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Denied);
        assert_eq!(archive.entries(), before + 1);
        assert_eq!(archive.service.store.list().count(), objects);
    });
}

#[test]
fn inv2_a_file_that_is_not_taken_over_the_bus_is_an_entry() {
    with_archive(async |archive, _| {
        let policy = POLICY.replace("\"purge\"]", "\"purge\", \"seal\"]");
        std::fs::write(archive.dir.path().join("policy.toml"), policy).unwrap();
        assert!(archive.service.load_policy(Detail::default()).await.is_ok());
        let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
        let request =
            crate::shell::bus::archive::SealRequest { source: "entrance".into(), ..Default::default() };
        let before = archive.entries();
        let refused = archive.service.seal_passed(games(), pipe, request).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::InvalidArgument);
        assert_eq!(archive.entries(), before + 1);
    });
}
