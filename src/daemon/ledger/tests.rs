//! Tests of the one writer (design §5): a state directory in a temporary folder, a ledger over it, and after each step the
//! verifier's own judgement of the whole folder.

mod clock;
mod damage;
mod every_call;
mod expire;
mod failure;
mod group;
mod model;
mod proofs;
mod rekey;
mod restore;
mod rollover;
mod torn;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};

use tempfile::TempDir;

use super::{Availability, Ledger, Line, OpenError, OpenLedger, Opened, Proposal};
use crate::core::access::Recorded;
use crate::core::event::{
    Because, Detail, Draft, Event, HoldKind, HoldLifted, HoldPlaced, Nothing, Opened as SessionOpened,
    Outcome, PurgePlanned, Record, Sealed, StoreDamaged, Subject,
};
use crate::core::ids::{Digest, HoldId, Kind, RecordingId, SessionId, SourceId};
use crate::core::ledger::entry::Entry;
use crate::core::ledger::note::VerifierKey;
use crate::core::policy::House;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::time::Timestamp;
use crate::shell::clock::SystemClock;
use crate::shell::crypt::{MasterKey, Secret, Signer};
use crate::shell::disk::fault::{Faults, Watch, watch};
use crate::shell::disk::ledger_files::LedgerDir;
use crate::shell::disk::slots::KeySlots;
use crate::verify::{Class, Code, Options, Source, verify_ledger};

const ORIGIN: &str = "example.org/greffier";

/// A state directory with its keys. The ledger in it is opened and stopped at will.
struct Site {
    dir: TempDir,
    log: Secret,
    log_key: VerifierKey,
    /// The epoch keys that have not been destroyed.
    epochs: Vec<Secret>,
    slots: Arc<KeySlots>,
    clock: Arc<SystemClock>,
    files: LedgerDir,
    faults: Watch,
    catalogue_at: Option<(u64, [u8; 32])>,
}

/// A ledger that is open.
struct Run {
    ledger: Ledger,
    opened: Opened,
}

/// Every file below the ledger folder with its content.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ledger")).unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let keys = dir.path().join("keys");
        KeySlots::init(&keys, 1).unwrap();
        let slots = KeySlots::open(&keys, MasterKey::generate().unwrap(), 1).unwrap();
        let log = Secret::generate().unwrap();
        let log_key = VerifierKey::new(ORIGIN, &Signer::new(&log).public()).unwrap();
        Self {
            files: LedgerDir::new(dir.path().join("ledger")),
            faults: watch(dir.path()),
            dir,
            log,
            log_key,
            epochs: vec![Secret::generate().unwrap()],
            slots: Arc::new(slots),
            clock: Arc::new(SystemClock::new().unwrap()),
            catalogue_at: None,
        }
    }

    fn ledger_dir(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }
    fn tail(&self) -> PathBuf {
        self.ledger_dir().join("tail")
    }
    fn second_place(&self) -> PathBuf {
        self.dir.path().join("second")
    }
    fn faults(&self) -> &Faults {
        &self.faults
    }
    fn step_clock(&self, seconds: i64) {
        self.clock.step_micros.fetch_add(seconds * 1_000_000, SeqCst);
    }

    fn try_open(&self) -> Result<Run, OpenError> {
        let opened = OpenLedger {
            dir: self.ledger_dir(),
            second_place: self.second_place(),
            log: Signer::new(&self.log),
            log_key: self.log_key.clone(),
            epochs: self.epochs.iter().map(Signer::new).collect(),
            slots: self.slots.clone(),
            clock: self.clock.clone(),
            house: House {
                time_zone: self.clock.local_time_zone().clone(),
                session_max: "PT1H".parse().unwrap(),
                allow_switched_user: false,
            },
            catalogue_at: self.catalogue_at,
        }
        .open_in(self.files.clone())?;
        Ok(Run { ledger: opened.ledger.clone(), opened })
    }

    fn open(&self) -> Run {
        self.try_open().unwrap_or_else(|error| panic!("{}", crate::daemon::errors::chain(&error)))
    }

    /// Opening must fail, and change nothing at all.
    fn refused(&self) -> OpenError {
        let before = self.snapshot();
        let Err(error) = self.try_open() else { panic!("the ledger opened") };
        assert!(self.snapshot() == before, "a refusal changed the ledger: {error}");
        error
    }

    /// The verifier finds nothing at all, and has read `size` entries.
    fn verify(&self, size: u64) {
        let options = Options::new(Source::Path(self.ledger_dir()), self.log_key.clone());
        let verdict = verify_ledger(&options).unwrap();
        let findings = verdict.report.findings();
        // The drafts here are those of the writer's own tests: no source is registered, no policy loaded, no plan run.
        let of_drafts = [
            Code::SourceUnregistered,
            Code::AccessWithoutPolicy,
            Code::AccessUnfounded,
            Code::PurgeLate,
            Code::PurgedLate,
            Code::CertificateDiffers,
        ];
        let of_writer = |code: Code| code.class() != Class::Note && !of_drafts.contains(&code);
        let bad: Vec<_> = findings.iter().filter(|finding| of_writer(finding.code)).collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(verdict.summary.entries, size);
    }

    fn snapshot(&self) -> Files {
        let mut files = Files::new();
        let mut folders = vec![self.ledger_dir()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        files
    }

    fn restore(&self, files: &Files) {
        std::fs::remove_dir_all(self.ledger_dir()).unwrap();
        std::fs::create_dir(self.ledger_dir()).unwrap();
        for (path, bytes) in files {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Changes the bytes of one file below the ledger folder.
    fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.ledger_dir().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    /// The head, written where it must survive.
    fn write_second_place(&self, run: &Run) {
        std::fs::write(self.second_place(), run.ledger.head().checkpoint.as_bytes()).unwrap();
    }
}

impl Run {
    fn try_record(&self, drafts: Vec<Draft>) -> Result<Recorded<()>, Refusal> {
        self.ledger.record_blocking(move |_| Ok(proposal(drafts)))
    }
    /// Records these in one batch at most, and gives the number of the first.
    fn record(&self, drafts: impl IntoIterator<Item = Draft>) -> u64 {
        self.try_record(drafts.into_iter().collect()).unwrap().entry()
    }
    fn size(&self) -> u64 {
        self.ledger.head().size
    }
    /// Every entry, the bytes as stored.
    fn lines(&self) -> Vec<Line> {
        let lines = self.opened.reader.entries(0, u64::MAX, usize::MAX).unwrap();
        let numbers: Vec<u64> = lines.iter().map(|line| line.seq).collect();
        assert_eq!(numbers, (0..self.size()).collect::<Vec<_>>());
        lines
    }
    fn bytes(&self) -> Vec<Arc<[u8]>> {
        self.lines().into_iter().map(|line| line.line).collect()
    }
    fn records(&self) -> Vec<Record> {
        self.lines()
            .iter()
            .map(|line| Record::from_entry(&Entry::parse(&line.line).unwrap()).unwrap())
            .collect()
    }
    fn names(&self) -> Vec<&'static str> {
        self.records().iter().map(|record| record.event.name()).collect()
    }

    /// Keeps the writer at its desk until the sender is dropped: what is submitted meanwhile shares one batch.
    fn hold_writer(&self) -> mpsc::Sender<()> {
        let (go, wait) = mpsc::channel::<()>();
        let (at_desk, arrived) = mpsc::channel();
        let _answer = self.ledger.submit_look(move |_| {
            at_desk.send(()).unwrap();
            let _dropped = wait.recv();
        });
        arrived.recv().unwrap();
        go
    }

    fn wait_until_open(&self) {
        let mut availability = self.ledger.availability();
        block_on(async { availability.wait_for(|now| *now == Availability::Open).await.unwrap().clone() });
    }

    /// Ends the writer. It writes nothing at its end, so the files are those of a crash, too.
    fn stop(self) {
        block_on(self.ledger.stop());
        self.opened.thread.join().unwrap();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn proposal(drafts: impl IntoIterator<Item = Draft>) -> Proposal<()> {
    let mut drafts = drafts.into_iter();
    let first = Proposal::new(drafts.next().unwrap(), ());
    drafts.fold(first, Proposal::and)
}

/// An entry that says `text` and changes no state.
fn plain(text: impl Into<String>) -> Draft {
    Draft::fact(Event::StoreDamaged(StoreDamaged { what: text.into(), offset: None, count: None }))
}
/// One with a detail.
fn detailed(text: impl Into<String>) -> Draft {
    let detail = Detail { text: Some(text.into()), ..Detail::default() };
    Draft::fact(Event::PolicyRefused(Nothing {})).outcome(Outcome::Denied).with_detail(detail)
}
fn confirmed() -> Draft {
    Draft::fact(Event::LedgerClockConfirmed(Because { why: "test".into() }))
}

const RECORDING: RecordingId = RecordingId::from_bytes([1; 16]);

fn about() -> Subject {
    Subject::recording(RECORDING, "entrance".parse::<SourceId>().unwrap())
}
fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
fn sealed() -> Draft {
    let sealed = Sealed {
        kind: Kind::Call,
        start: at("2026-05-12T09:00:00Z"),
        end: at("2026-05-12T09:10:00Z"),
        class: "short".parse().unwrap(),
        bytes: 9,
        sha256: Digest([7; 32]),
        media: "audio/wav".into(),
        earliest: at("2026-05-12T10:00:00Z"),
        latest: at("2026-06-12T10:00:00Z"),
        spool: None,
    };
    Draft::fact(Event::RecordingSealed(sealed)).about(about())
}
fn granted(session: u8) -> Draft {
    let opened = SessionOpened {
        mode: "seek".into(),
        until: Some(at("2036-01-01T00:00:00Z")),
        mandate: None,
        emergency: false,
    };
    Draft::fact(Event::AccessOpened(opened))
        .outcome(Outcome::Granted)
        .about(Subject { session: Some(SessionId::from_bytes([session; 16])), ..about() })
        .with_detail(Detail::default())
}
fn held() -> Draft {
    let placed = HoldPlaced { hold: HoldId::from_bytes([3; 16]), kind: HoldKind::Judicial, review: None };
    Draft::fact(Event::HoldPlaced(placed)).about(about()).with_detail(Detail::default())
}
fn lifted() -> Draft {
    Draft::fact(Event::HoldLifted(HoldLifted { hold: HoldId::from_bytes([3; 16]) }))
        .about(about())
        .with_detail(Detail::default())
}
fn planned() -> Draft {
    Draft::fact(Event::PurgePlanned(PurgePlanned { due: None })).about(about())
}

#[test]
fn a_new_ledger_is_sound_and_reopens_as_it_was() {
    let site = Site::new();
    let run = site.open();
    assert!(run.opened.created);
    assert_eq!(run.record([plain("one")]), 1);
    assert_eq!(run.record([detailed("two"), sealed()]), 2);
    site.verify(4);
    let (bytes, head) = (run.bytes(), run.ledger.head());
    run.stop();

    let run = site.open();
    assert!(!run.opened.created);
    assert_eq!((run.bytes(), run.ledger.head()), (bytes, head));
    assert!(run.ledger.look_blocking(|desk| desk.state.recording(&RECORDING).is_some()).unwrap());
    assert_eq!(run.record([plain("three")]), 4);
    site.verify(5);
    run.stop();
}

#[test]
fn a_detail_is_read_back_and_stands_nowhere_in_clear() {
    let site = Site::new();
    let run = site.open();
    run.record([detailed("Mrs Example asked")]);
    let line = run.lines().pop().unwrap();
    let detail = run.opened.reader.detail(&line).unwrap().unwrap();
    assert_eq!(Detail::parse(&detail).unwrap().text.as_deref(), Some("Mrs Example asked"));
    let clear = |bytes: &Vec<u8>| bytes.windows(7).any(|window| window == b"Example");
    assert!(!site.snapshot().values().any(clear));
    run.stop();
}

#[test]
fn the_catalogue_is_told_what_it_has_not_seen_if_it_knows_this_ledger() {
    let mut site = Site::new();
    let run = site.open();
    run.record([plain("seen")]);
    let at_two = (run.size(), root(&run));
    run.record([plain("a"), plain("b")]);
    run.record([plain("c")]);
    let at_end = (run.size(), root(&run));
    run.stop();

    let behind = |site: &Site| {
        let run = site.open();
        let behind = run.opened.catalogue_behind.as_ref().map(|it| it.iter().map(|r| r.seq).collect());
        run.stop();
        behind
    };
    assert_eq!(behind(&site), None, "there is no catalogue");
    site.catalogue_at = Some(at_two);
    assert_eq!(behind(&site), Some(vec![2, 3, 4]));
    site.catalogue_at = Some(at_end);
    assert_eq!(behind(&site), Some(Vec::new()));
    for wrong in [(at_two.0, at_end.1), (at_end.0 + 1, at_end.1), (0, [0; 32])] {
        site.catalogue_at = Some(wrong);
        assert_eq!(behind(&site), None, "{} of another ledger, or ahead", wrong.0);
    }
}

#[test]
fn every_batch_reaches_the_catalogue_once_and_in_order() {
    let site = Site::new();
    let run = site.open();
    for n in 0..20 {
        run.record([plain(n.to_string()), plain("more")]);
    }
    let size = run.size();
    let committed: Vec<_> = run.opened.committed.try_iter().collect();
    let seqs: Vec<u64> = committed.iter().flat_map(|it| it.records.iter().map(|r| r.seq)).collect();
    assert_eq!(seqs, (0..size).collect::<Vec<_>>());
    assert_eq!(committed.last().map(|it| (it.size, it.root)), Some((size, root(&run))));
    run.stop();
}

fn root(run: &Run) -> [u8; 32] {
    let checkpoint = run.ledger.head().checkpoint;
    crate::core::ledger::checkpoint::SignedCheckpoint::read(&checkpoint).unwrap().0.root.0
}

/// The signed head of `size` entries that stands in a tail.
fn head_of(tail: &[u8], size: usize) -> String {
    let text = String::from_utf8_lossy(tail);
    let begin = text.find(&format!("{ORIGIN}\n{size}\n")).unwrap();
    text[begin..].split_inclusive('\n').take(6).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn the_second_place_follows_the_head_and_never_leads() {
    let site = Site::new();
    let run = site.open();
    let path = site.second_place();
    let (ledger, follow) = (run.ledger.clone(), run.ledger.follow_head());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let keeper = super::second_place::SecondPlace::keep(follow, path.clone());
        for n in 0..30 {
            let _recorded =
                ledger.record(move |_| Ok(Proposal::new(plain(n.to_string()), ()))).await.unwrap();
            let there = super::evidence::signed_head(&path, &site.log_key).unwrap();
            assert!(there.map_or(0, |head| head.size) <= ledger.head().size);
            tokio::task::yield_now().await;
        }
        keeper.finish().await;
        assert_eq!(read(&path), ledger.head().checkpoint.as_bytes());
    });
    run.stop();
    let run = site.open();
    assert_eq!(run.size(), 31);
    run.stop();
}
