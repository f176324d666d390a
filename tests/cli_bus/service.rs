//! A private bus, and on it the service's own interfaces before an archive that only writes down what it was asked.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greffier::core::ids::{HoldId, Kind, RecordingId, SessionId};
use greffier::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use greffier::core::ledger::hash::{Hash, detail_commitment, empty_hash, leaf_hash};
use greffier::core::ledger::note::VerifierKey;
use greffier::core::ledger::proof::{Plan, TileAt};
use greffier::core::ledger::receipt::Receipt;
use greffier::core::ledger::tree::{Frontier, root_of};
use greffier::core::refusal::{Refusal, RefusalKind};
use greffier::core::time::Timestamp;
use greffier::shell::bus::archive::registers::{
    RegisterAct, RegisterFilter, RegisterKind, RegisterRow, RowValue,
};
use greffier::shell::bus::archive::{
    Answer, Archive, DetailPlanRow, Filter, HoldRequest, OpenRequest, OpenedRecording, PlanRow, RecordingRow,
    ReviewRow, RunReport, ScrubFinding, ScrubProgress, ScrubRequest, SealRequest, SessionInfo, Status,
};
use greffier::shell::bus::caller::{Caller, Callers};
use greffier::shell::bus::interfaces::{
    Desk, HoldInterface, LedgerInterface, ManagerInterface, NAME, ROOT, RecordingsInterface,
    RegistersInterface, RetentionInterface, ReviewsInterface, SCRUB, ScrubInterface, SessionInterface,
};
use greffier::shell::crypt::{Secret, Signer};

pub const RECORDING: RecordingId = RecordingId::from_bytes([1; 16]);
pub const SESSION: SessionId = SessionId::from_bytes([2; 16]);
pub const HOLD: HoldId = HoldId::from_bytes([3; 16]);
pub const ORIGIN: &str = "test.example/greffier";
/// Recordings that a search finds.
pub const FOUND: u32 = 1500;

pub fn refusal() -> Refusal {
    let sentence = "Refused by rule no-calls-for-secretary: ask the controller for a grant.";
    Refusal::new(RefusalKind::Denied, sentence)
}

/// The archive: answers what it was made with, and keeps what it was asked.
pub struct Fake {
    pub asked: Mutex<Vec<String>>,
    media: PathBuf,
    /// Entry lines, each with its detail line.
    pub ledger: Vec<(String, Option<String>)>,
    pub epochs: Vec<String>,
    pub head: String,
    vkey: String,
    scrub: Mutex<ScrubProgress>,
}

impl Fake {
    fn new(media: &Path, entries: u64) -> Self {
        let (log, epoch) =
            (Signer::new(&Secret::generate().unwrap()), Signer::new(&Secret::generate().unwrap()));
        let key = |signer: &Signer| VerifierKey::new(ORIGIN, &signer.public()).unwrap();
        let sign = |size: u64, tree: &Frontier| {
            let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: tree.root() };
            let body = checkpoint.body();
            let (a, b) = (log.sign(body.as_bytes()), epoch.sign(body.as_bytes()));
            SignedCheckpoint::assemble(&checkpoint, &key(&log), &a, &key(&epoch), &b)
        };
        let (mut tree, mut ledger, mut epochs) = (Frontier::new(), Vec::new(), Vec::new());
        let mut prev = empty_hash();
        for seq in 0..entries {
            let detail =
                (seq % 3 == 0).then(|| format!("{{\"seq\":{seq},\"salt\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}}"));
            let commitment =
                detail.as_ref().map(|line| format!(",\"detail\":\"{}\"", detail_commitment(line.as_bytes())));
            let line = format!(
                "{{\"v\":1,\"seq\":{seq},\"time\":\"2026-05-12T10:00:00.000000Z\",\
                 \"boot\":\"0f4b2c1d-8a6e-4c3b-9d2f-001122334455\",\"up\":1,\"prev\":\"{prev}\",\
                 \"event\":\"ledger.heartbeat\",\"outcome\":\"done\"{}}}",
                commitment.unwrap_or_default()
            );
            prev = leaf_hash(line.as_bytes());
            tree.push(prev);
            ledger.push((line, detail));
            if seq % 100 == 50 {
                epochs.push(sign(seq + 1, &tree));
            }
        }
        let (head, vkey) = (sign(entries, &tree), key(&log).to_string());
        Self {
            asked: Mutex::default(),
            media: media.to_owned(),
            ledger,
            epochs,
            head,
            vkey,
            scrub: Mutex::default(),
        }
    }

    fn tile(&self, tile: TileAt) -> Result<Vec<Hash>, std::convert::Infallible> {
        let leaves: Vec<Hash> = self.ledger.iter().map(|(line, _)| leaf_hash(line.as_bytes())).collect();
        let below = usize::try_from(256_u64.pow(tile.level.into())).unwrap();
        let level: Vec<Hash> = leaves.chunks_exact(below).map(root_of).collect();
        Ok(level.into_iter().skip(usize::try_from(tile.n).unwrap() * 256).take(tile.width).collect())
    }

    fn note(&self, words: String) {
        self.asked.lock().unwrap().push(words);
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn row(n: u32) -> RecordingRow {
    let mut id = [9; 16];
    id[12..].copy_from_slice(&n.to_be_bytes());
    RecordingRow {
        id: RecordingId::from_bytes(id),
        source: "entrance".into(),
        kind: Kind::Footage,
        start: at("2026-05-12T10:00:00Z"),
        end: at("2026-05-12T10:05:00Z"),
        sealed: at("2026-05-12T10:06:00Z"),
        bytes: 7,
        media: "video/mp4".into(),
        sha256: "00".repeat(32),
        class: "premises".into(),
        expires: at("2026-05-27T10:06:00Z"),
        held: n == 0,
        damaged: n == 1,
    }
}

impl Archive for Fake {
    async fn search(
        &self,
        _: Caller,
        filter: Filter,
        limit: u32,
        cursor: String,
    ) -> Answer<(Vec<RecordingRow>, String)> {
        self.note(format!(
            "search {} {:?} held {:?} limit {limit}",
            filter.reason, filter.sources, filter.held
        ));
        let first: u32 = if cursor.is_empty() { 0 } else { cursor.parse().unwrap() };
        let end = FOUND.min(first + limit);
        Ok(((first..end).map(row).collect(), if end < FOUND { end.to_string() } else { String::new() }))
    }
    async fn describe(&self, _: Caller, id: String) -> Answer<RecordingRow> {
        if id == RECORDING.to_string() {
            Ok(row(0))
        } else {
            Err(Refusal::new(RefusalKind::NotFound, "There is none."))
        }
    }
    async fn open(&self, _: Caller, id: String, request: OpenRequest) -> Answer<OpenedRecording> {
        let OpenRequest { reason, case, stream, .. } = &request;
        self.note(format!("open {id} {reason} {case:?} stream {stream}"));
        if reason == "caller-dispute" {
            return Err(refusal());
        }
        Ok(OpenedRecording {
            session: SESSION,
            descriptor: File::open(&self.media).unwrap().into(),
            bytes: 7,
            media: "video/mp4".into(),
            expires: at("2026-05-12T11:00:00Z"),
            entry: 412,
        })
    }
    async fn seal(&self, _: Caller, file: OwnedFd, request: SealRequest) -> Answer<(RecordingId, u64)> {
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        self.note(format!("seal {text:?} {} {:?} {:?}", request.source, request.name, request.start));
        Ok((RECORDING, 7))
    }
    async fn close(&self, _: Caller, _: SessionId) -> Answer<()> {
        self.note("close".into());
        Ok(())
    }
    async fn session_info(&self, _: Caller, _: SessionId) -> Answer<SessionInfo> {
        Err(Refusal::internal())
    }
    async fn plan(&self, _: Caller) -> Answer<Vec<PlanRow>> {
        let (action, why) = ("purge".into(), "older than 15 days".into());
        Ok(vec![PlanRow { recording: RECORDING, action, due: at("2026-05-27T10:06:00Z"), why }])
    }
    async fn plan_details(&self, _: Caller) -> Answer<Vec<DetailPlanRow>> {
        let row = |end, action: &str, why: &str, due| DetailPlanRow {
            first: 0,
            end,
            details: 3,
            action: action.into(),
            due,
            why: why.into(),
        };
        Ok(vec![
            row(256, "destroy", "the period has ended", Some(at("2026-05-27T10:06:00Z"))),
            row(9, "keep", "the hold stands", None),
        ])
    }
    async fn run(&self, _: Caller) -> Answer<RunReport> {
        Ok(RunReport { purged: 2, held: 1, failed: 1, blocked: None })
    }
    async fn confirm_clock(&self, _: Caller) -> Answer<()> {
        Ok(())
    }
    async fn hold(&self, _: Caller, request: HoldRequest) -> Answer<HoldId> {
        self.note(format!("hold {} {} {:?}", request.recording, request.ground, request.review));
        Ok(HOLD)
    }
    async fn lift(&self, _: Caller, hold: HoldId, ground: Option<String>) -> Answer<()> {
        self.note(format!("lift {hold} {ground:?}"));
        Ok(())
    }
    async fn reviews(&self, _: Caller) -> Answer<Vec<ReviewRow>> {
        let at: Timestamp = "2026-05-12T10:00:00Z".parse().unwrap();
        let (recording, session) = (Some(RECORDING), Some(SESSION));
        Ok(vec![ReviewRow { entry: 7, why: "emergency".into(), raised: at, due: at, recording, session }])
    }
    async fn review_done(&self, _: Caller, review: u64, text: String) -> Answer<u64> {
        self.note(format!("review {review} {text}"));
        Ok(8)
    }
    async fn head(&self, _: Caller) -> Answer<String> {
        Ok(self.head.clone())
    }
    async fn read(&self, _: Caller, from: u64, count: u32, details: bool) -> Answer<Vec<String>> {
        let mut lines = Vec::new();
        for (entry, detail) in self.ledger.iter().skip(usize::try_from(from).unwrap()).take(count as usize) {
            let detail = detail.clone().filter(|_| details);
            if lines.len() + 1 + usize::from(detail.is_some()) > 256 {
                break;
            }
            lines.push(entry.clone());
            lines.extend(detail);
        }
        Ok(lines)
    }
    async fn epochs(&self, _: Caller, from: u64, count: u32) -> Answer<Vec<String>> {
        let from = usize::try_from(from).unwrap();
        Ok(self.epochs.iter().skip(from).take(count as usize).cloned().collect())
    }
    async fn receipt(&self, _: Caller, entry: u64) -> Answer<String> {
        self.note(format!("receipt {entry}"));
        let index = usize::try_from(entry).unwrap();
        let Some((line, _)) = self.ledger.get(index) else {
            return Err(Refusal::new(RefusalKind::NotFound, "There is no such entry."));
        };
        let path = Plan::inclusion(entry, self.ledger.len() as u64).unwrap();
        let path = path.assemble(|tile| self.tile(tile)).unwrap();
        let receipt = Receipt::new(entry, line.clone().into_bytes(), path, self.head.clone()).unwrap();
        Ok(receipt.to_string())
    }
    async fn consistency(&self, _: Caller, old: u64, new: u64) -> Answer<Vec<String>> {
        self.note(format!("consistency {old} {new}"));
        let proof = Plan::consistency(old, new).unwrap().assemble(|tile| self.tile(tile)).unwrap();
        Ok(proof.iter().map(ToString::to_string).collect())
    }
    async fn list_register(
        &self,
        _: Caller,
        register: RegisterKind,
        filter: RegisterFilter,
    ) -> Answer<Vec<RegisterRow>> {
        self.note(format!("list {} {:?} {:?}", register.as_str(), filter.user, filter.state));
        let text = |key, text: &str| (key, RowValue::Text(text.into()));
        Ok(match register {
            RegisterKind::Charter => vec![vec![
                text("version", "2026"),
                text("state", "open"),
                text("text", "Nobody looks without a reason."),
            ]],
            RegisterKind::Mandates => {
                let tasks = RowValue::Texts(vec!["incident".into()]);
                vec![vec![text("id", "may"), ("version", RowValue::Number(2)), ("tasks", tasks)]]
            }
            RegisterKind::Grants | RegisterKind::Approvals => Vec::new(),
        })
    }
    async fn record_act(&self, _: Caller, act: RegisterAct) -> Answer<(String, u64)> {
        self.note(format!("{act:?}"));
        Ok(("faaaaaaaaaaaaaaaaaaaaaaaaa".into(), 14))
    }
    async fn reload(&self, _: Caller) -> Answer<()> {
        Err(Refusal::invalid("policy.toml:3: unknown key \"colour\"."))
    }
    async fn rebuild_index(&self, _: Caller) -> Answer<()> {
        Ok(())
    }
    async fn scrub(&self, _: Caller, request: ScrubRequest) -> Answer<()> {
        self.note(format!("scrub {request:?}"));
        *self.scrub.lock().unwrap() = ScrubProgress { number: 1, running: true, ..ScrubProgress::default() };
        Ok(())
    }
    async fn cancel_scrub(&self, _: Caller) -> Answer<()> {
        self.note("cancel scrub".into());
        Err(Refusal::new(RefusalKind::Conflict, "No scrub runs; there is nothing to end."))
    }
    async fn scrub_findings(&self, _: Caller) -> Answer<Vec<ScrubFinding>> {
        let finding = |recording, what: &str, offset| ScrubFinding { recording, what: what.into(), offset };
        Ok(vec![finding(Some(RECORDING), "object-damaged", Some(64)), finding(None, "object-foreign", None)])
    }
    /// Ends when it was looked at some twenty times.
    fn scrub_progress(&self) -> ScrubProgress {
        let mut scrub = self.scrub.lock().unwrap();
        scrub.counts.recordings += 1;
        if scrub.counts.recordings > 20 {
            scrub.running = false;
            scrub.counts.damaged = 2;
        }
        scrub.clone()
    }
    async fn rotate_keys(&self, _: Caller, ground: Option<String>) -> Answer<()> {
        match ground.as_deref() {
            Some("a clerk left") => Ok(()),
            _ => Err(Refusal::new(
                RefusalKind::Conflict,
                "The master key is being changed; wait until that has ended.",
            )),
        }
    }
    async fn backup_keys(&self, _: Caller, to: Vec<String>) -> Answer<(Vec<u8>, u64)> {
        self.asked.lock().unwrap().push("backup keys".into());
        let recipients: Vec<_> = to.iter().map(|text| text.parse().unwrap()).collect();
        let master = greffier::shell::crypt::MasterKey::from_bytes(&[9; 32]);
        Ok((master.seal_backup("test.example/greffier", 4, &recipients).unwrap(), 12))
    }
    async fn check_backup(&self, _: Caller, generation: u64, answer: String) -> Answer<u64> {
        let master = greffier::shell::crypt::MasterKey::from_bytes(&[9; 32]);
        assert_eq!((generation, answer), (4, master.answer("test.example/greffier", 4)));
        Ok(13)
    }
    async fn status(&self) -> Status {
        Status { state: "closed".into(), why: "The disk is full.".into(), entries: 3, ..Status::default() }
    }
    fn published_checkpoint(&self) -> String {
        self.head.clone()
    }
    fn origin(&self) -> String {
        ORIGIN.into()
    }
    fn verifier_key(&self) -> String {
        self.vkey.clone()
    }
    fn state(&self) -> (String, String) {
        ("closed".into(), "The disk is full.".into())
    }
}

/// The bus and the service on it. Both end with this value.
pub struct Service {
    pub archive: Arc<Fake>,
    pub dir: tempfile::TempDir,
    pub address: String,
    bus: Child,
    connection: zbus::Connection,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    pub fn start(media: &[u8], entries: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("media"), media).unwrap();
        let (bus, address) = private_bus(dir.path());
        let archive = Arc::new(Fake::new(&dir.path().join("media"), entries));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let connection = runtime.block_on(serve(&address, archive.clone()));
        Self { archive, dir, address, bus, connection, runtime }
    }

    /// The interfaces leave the bus; the bus stays.
    pub fn leave(&self) {
        self.runtime.block_on(async { self.connection.release_name(NAME).await }).unwrap();
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["--bus", &self.address]).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.archive.asked.lock().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

fn private_bus(dir: &Path) -> (Child, String) {
    let config = dir.join("bus.conf");
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\
         <busconfig><type>custom</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>",
        dir.join("bus").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut bus = Command::new("dbus-daemon")
        .args(["--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--config-file={}", config.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test needs dbus-daemon");
    let mut address = String::new();
    BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (bus, address.trim().to_owned())
}

async fn serve(address: &str, archive: Arc<Fake>) -> zbus::Connection {
    let bus = zbus::connection::Builder::address(address)
        .method_timeout(Duration::from_secs(10))
        .build()
        .await
        .unwrap();
    let callers = Arc::new(Callers::new(&bus).await.unwrap());
    let desk = Desk::new(archive, callers);
    let server = bus.object_server();
    server.at(ROOT, RecordingsInterface(desk.clone())).await.unwrap();
    server.at(ROOT, RetentionInterface(desk.clone())).await.unwrap();
    server.at(ROOT, LedgerInterface(desk.clone())).await.unwrap();
    server.at(ROOT, RegistersInterface(desk.clone())).await.unwrap();
    server.at(ROOT, ManagerInterface(desk.clone())).await.unwrap();
    server.at(ROOT, ReviewsInterface(desk.clone())).await.unwrap();
    server.at(SCRUB, ScrubInterface(desk.clone())).await.unwrap();
    server
        .at(format!("{ROOT}/session/{SESSION}"), SessionInterface::new(desk.clone(), SESSION))
        .await
        .unwrap();
    server.at(format!("{ROOT}/hold/{HOLD}"), HoldInterface::new(desk, HOLD)).await.unwrap();
    bus.request_name(NAME).await.unwrap();
    bus
}
