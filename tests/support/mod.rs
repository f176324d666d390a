//! A house for tests: the real daemon with a real state directory, on a private bus where callers are real accounts.
//!
//! Owns its temporary directory and every process it started, which it ends by id. These tests need root, `/dev/fuse`
//! and `dbus-daemon`, and fail without them: nothing else shows what the system really does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of tests may panic: that is how a test fails"
)]
#![allow(dead_code, reason = "each test program uses its part")]

pub mod disk;
pub mod durable;
pub mod polkit;
pub mod slow;
pub mod stage;
pub mod user;

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use durable::Entry;
use user::User;

/// First line of every checkpoint of a house.
pub const ORIGIN: &str = "test.example/greffier";
/// Longer than any single step should take, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const DAEMON: &str = env!("CARGO_BIN_EXE_greffierd");
const CTL: &str = env!("CARGO_BIN_EXE_greffierctl");
const VERIFY: &str = env!("CARGO_BIN_EXE_greffier-verify");

/// Who may do what in a house: `games` views, `man` may only search, `nobody` is a stranger, `daemon` administers,
/// `news` audits, `sys` controls, `backup` seals. Footage of the doorbell is kept for moments.
pub const POLICY: &str = r#"format = 1
controller = "A house for tests"

[reasons]
incident = { text = "Theft, damage or assault" }
dispute  = { text = "Disagreement about what was said", case = true }

[purposes]
security   = { kinds = ["footage"], reasons = ["incident"] }
call-proof = { kinds = ["call"], reasons = ["dispute"] }

[classes]
fortnight = { max = "P15D", from = "sealed" }
moments   = { max = "PT3S", from = "sealed" }

[sources]
entrance  = { kind = "footage", zone = "entrance", purposes = ["security"], class = "fortnight", writer = "backup" }
doorbell  = { kind = "footage", zone = "entrance", purposes = ["security"], class = "moments", writer = "backup" }
reception = { kind = "call", purposes = ["call-proof"], class = "fortnight", writer = "backup" }

[roles]
viewer     = { verbs = ["search", "view"] }
searcher   = { verbs = ["search"] }
controller = { verbs = ["search", "hold", "lift", "purge"] }
auditor    = { verbs = ["read-ledger"] }
technician = { verbs = ["administer"] }
recorder   = { verbs = ["seal"] }

[grants]
guard-views  = { user = "games", role = "viewer", sources = ["entrance", "doorbell"] }
briefly      = { user = "lp", role = "viewer", sources = ["entrance"], max_session = "PT2S" }
clerk-looks  = { user = "man", role = "searcher", sources = ["entrance"] }
control      = { user = "sys", role = "controller" }
audit        = { user = "news", role = "auditor" }
technique    = { user = "daemon", role = "technician" }
recording    = { user = "backup", role = "recorder" }
"#;

/// A directory with everything a house needs, a bus, and the daemon when it runs.
pub struct House {
    pub dir: TempDir,
    pub vkey: String,
    pub state: PathBuf,
    pub address: String,
    /// What the daemon is started by: a command that ends as the daemon (`exec`).
    pub wrapper: Vec<String>,
    daemon: Option<Child>,
    bus: Child,
}

impl House {
    /// A house in which the daemon serves under [`POLICY`].
    pub fn open() -> Self {
        let mut house = Self::closed(Path::new("state"));
        house.start();
        house
    }

    /// A house in which the daemon does not run yet; `state` is relative to its directory.
    pub fn closed(state: &Path) -> Self {
        Self::in_dir(stage::directory(), state)
    }

    /// Makes a house in a directory that exists.
    pub fn in_dir(dir: TempDir, state: &Path) -> Self {
        let (bus, address) = stage::bus(dir.path());
        let state = dir.path().join(state);
        let vkey = stage::init(dir.path(), &state, CTL);
        stage::configure(dir.path(), &state, &address);
        let house = Self { dir, vkey, state, address, wrapper: Vec::new(), daemon: None, bus };
        house.write_policy(POLICY);
        house
    }

    /// Path below the directory of the house.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The text of `policy.toml`; it counts from the next start or reload.
    pub fn write_policy(&self, text: &str) {
        fs::write(self.path("etc/policy.toml"), text).unwrap();
    }

    /// Puts another value for a key of `[limits]`; it counts from the next start.
    pub fn limit(&self, key: &str, value: u64) {
        let path = self.path("etc/greffier.toml");
        let text = fs::read_to_string(&path).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with(&format!("{key} = "))).collect();
        let text = kept.join("\n").replace("[limits]", &format!("[limits]\n{key} = {value}"));
        fs::write(path, text + "\n").unwrap();
    }

    /// Starts the daemon, waits until it serves, and checks that what stands in its ledger is sound.
    pub fn start(&mut self) {
        self.serve();
        self.verify();
    }

    /// Starts the daemon and waits until it serves.
    pub fn serve(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        self.daemon = Some(self.daemon_command().spawn().unwrap());
        let root = self.user("root");
        until("the daemon serves", || {
            if let Some(ended) = self.daemon.as_mut().unwrap().try_wait().unwrap() {
                panic!("the daemon ended ({ended}):\n{}", self.log());
            }
            root.run(|client| client.status()).ok()
        });
    }

    /// Starts the daemon where it must refuse, and gives its exit code and what it said.
    pub fn refused_start(&self) -> (Option<i32>, String) {
        let mut child = self.daemon_command().stderr(Stdio::piped()).spawn().unwrap();
        let ended = eventually(|| child.try_wait().unwrap());
        if ended.is_none() {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(ended.is_some(), "it was to refuse, and did not end");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn daemon_command(&self) -> Command {
        let log =
            fs::OpenOptions::new().append(true).create(true).mode(0o600).open(self.path("log")).unwrap();
        let mut words = self.wrapper.iter().map(String::as_str).chain([DAEMON]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--config").arg(self.path("etc/greffier.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Ends the daemon in order (SIGTERM) and checks the ledger that it leaves.
    pub fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        signal(&daemon, rustix::process::Signal::TERM);
        let ended = until("the daemon stops", || daemon.try_wait().unwrap());
        assert!(ended.success(), "it ended with {ended}:\n{}", self.log());
        self.verify();
    }

    /// Waits until the daemon, told to end, has ended in order, and checks the ledger that it leaves.
    pub fn stopped(&mut self) {
        self.ended();
        self.verify();
    }

    /// Waits until the daemon, told to end, has ended in order.
    pub fn ended(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        let ended = until("the daemon stops", || daemon.try_wait().unwrap());
        assert!(ended.success(), "it ended with {ended}:\n{}", self.log());
    }

    /// Ends the bus; the daemon must end by itself, with an error. Its exit code.
    pub fn lose_bus(&mut self) -> Option<i32> {
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
        let mut daemon = self.daemon.take().expect("it runs");
        let ended = until("the daemon ends without a bus", || daemon.try_wait().unwrap());
        self.verify();
        ended.code()
    }

    /// Ends the daemon as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().unwrap();
        // A daemon that waits for its own FUSE mount could not die at all.
        until("the killed daemon is gone", || daemon.try_wait().unwrap());
    }

    /// Waits until the daemon, sent a signal that it does not survive, is gone; how it ended.
    pub fn perished(&mut self) -> std::process::ExitStatus {
        let mut daemon = self.daemon.take().expect("it runs");
        until("the daemon is gone", || daemon.try_wait().unwrap())
    }

    /// Sends a signal to the running daemon.
    pub fn signal(&self, which: rustix::process::Signal) {
        signal(self.daemon.as_ref().expect("it runs"), which);
    }

    /// Process id of the running daemon.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").id()
    }

    /// Ends everything; the ledger that is left must be sound.
    pub fn finish(mut self) {
        if self.daemon.is_some() {
            self.stop();
        }
        self.verify();
    }

    /// Somebody on the bus of this house.
    pub fn user(&self, account: &str) -> User {
        User::connect(account, &self.address)
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs the auditor's program on the ledger as it stands; it must find it sound.
    pub fn verify(&self) {
        let output = self.verify_dir(&self.state.join("ledger"));
        assert!(output.status.success(), "the verifier: {output:?}\n{}", self.log());
    }

    /// Runs the auditor's program on a folder.
    pub fn verify_dir(&self, ledger: &Path) -> Output {
        Command::new(VERIFY).arg("ledger").arg(ledger).args(["--key", &self.vkey]).output().unwrap()
    }

    /// What stands durably in the ledger, read from its files.
    pub fn durable(&self) -> Vec<Entry> {
        durable::read(&self.state.join("ledger"), &self.vkey)
    }

    /// The durable entries of one event.
    pub fn of_event(&self, event: &str) -> Vec<Entry> {
        self.durable().into_iter().filter(|entry| entry.event() == event).collect()
    }

    /// Leaves a file in the spool as a recorder does: written beside, then moved in.
    pub fn drop_file(&self, source: &str, name: &str, bytes: &[u8]) {
        let folder = self.path("spool").join(source);
        until("the spool folder is made", || folder.is_dir().then_some(()));
        let beside = folder.join(format!(".{name}"));
        fs::write(&beside, bytes).unwrap();
        fs::rename(&beside, folder.join(name)).unwrap();
    }

    /// Leaves a file in the spool and waits until it is sealed and taken away; its id.
    pub fn seal(&self, source: &str, name: &str, bytes: &[u8]) -> String {
        self.drop_file(source, name, bytes);
        let sha256 = sha256(bytes);
        let id = until("the file is sealed", || {
            let sealed = self.of_event("recording.sealed").into_iter().rev();
            sealed
                .into_iter()
                .find(|entry| entry.data("sha256") == sha256)
                .map(|entry| entry.get("recording"))
        });
        until("the spool file is removed", || self.spool_files().is_empty().then_some(()));
        id
    }

    /// Every regular file below the spool.
    pub fn spool_files(&self) -> Vec<PathBuf> {
        files_below(&self.path("spool"))
    }

    /// Whether any file of the state directory holds these bytes.
    pub fn state_holds(&self, bytes: &[u8]) -> bool {
        files_below(&self.state).iter().any(|path| contains(&fs::read(path).unwrap_or_default(), bytes))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the daemon said last:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        for process in self.daemon.iter_mut().chain([&mut self.bus]) {
            let _ended = process.kill();
            let _ended = process.wait();
        }
    }
}

fn signal(process: &Child, which: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(process), which).unwrap();
}

/// Waits a little. Tests have nobody to be woken by.
pub fn pause(time: Duration) {
    let (_nobody_sends, end) = mpsc::channel::<()>();
    let _timeout = end.recv_timeout(time);
}

/// Tries until there is an answer, or [`PATIENCE`] ends.
pub fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    const STEP: Duration = Duration::from_millis(20);
    let mut left = PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        left = left.checked_sub(STEP)?;
        pause(STEP);
    }
}

/// As [`eventually`]; without an answer the test fails.
pub fn until<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    eventually(attempt).unwrap_or_else(|| panic!("waited in vain until {what}"))
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Bytes that look like nothing, but the same each time for one `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(len).collect()
}

/// Every regular file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// Whether `part` stands somewhere in `whole`.
pub fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

/// Changes one bit of a file, in place.
pub fn flip_bit(path: &Path, offset: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

/// Lets everybody through a folder, but not look into it.
pub fn let_through(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
}
