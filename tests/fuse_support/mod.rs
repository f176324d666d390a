//! What the tests of accountable descriptors share: a mount, a recording of known bytes, and other users.
//!
//! These tests need root and `/dev/fuse`, and fail without them: nothing else can show what the kernel really does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may panic: that is how a test fails"
)]
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use greffier::core::access::Recorded;
use greffier::core::ids::SessionId;
use greffier::core::policy::{
    AccessRequest, Decision, Facts, House, Permit, Policy, PolicyFile, Principal, Target, Verb, decide,
};
use greffier::core::time::{BootId, Moment, Timestamp};
use greffier::shell::fuse::{FuseEvent, FuseMount, Plaintext, Serving};
use rustix::io::Errno;

/// The owner of the sessions, and somebody else. Neither needs an account.
pub const OWNER: u32 = 60_001;
pub const STRANGER: u32 = 60_002;
/// Not a multiple of a page, of a chunk, or of the largest request.
pub const SIZE: u64 = 3 * 1024 * 1024 + 4321;
/// Longer than any of this should take.
pub const SOON: Duration = Duration::from_secs(10);

/// Byte `at` of every recording.
pub fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

pub fn bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(byte).collect()
}

/// What the test may do to the recording while it is served.
#[derive(Default)]
pub struct Control {
    /// How often content was asked for. While it stands still, no plaintext can have gone anywhere.
    pub asked: AtomicU64,
    /// Reads that touch this offset fail, when not 0.
    pub damaged_at: AtomicU64,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    waiting: u32,
}

impl Control {
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
    pub fn close_gate(&self, closed: bool) {
        self.gate.lock().unwrap().closed = closed;
        self.moved.notify_all();
    }
    pub fn wait_for_reader(&self) {
        self.wait_for_readers(1);
    }
    pub fn wait_for_readers(&self, count: u32) {
        let gate = self.gate.lock().unwrap();
        let (_gate, late) = self.moved.wait_timeout_while(gate, SOON, |gate| gate.waiting < count).unwrap();
        assert!(!late.timed_out(), "only few readers came");
    }
    fn pass(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.waiting += 1;
        self.moved.notify_all();
        let mut gate = self.moved.wait_while(gate, |gate| gate.closed).unwrap();
        gate.waiting -= 1;
    }
}

struct Content(Arc<Control>);

impl Plaintext for Content {
    fn len_bytes(&self) -> u64 {
        SIZE
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.pass();
        let damaged_at = self.0.damaged_at.load(Ordering::SeqCst);
        if damaged_at != 0 && (offset..offset + buf.len() as u64).contains(&damaged_at) {
            return Err(io::Error::other("chunk 7 does not open"));
        }
        // At most 100,000 bytes at once: the mount must ask again for the rest.
        let count = buf.len().min(100_000).min((SIZE - offset) as usize);
        buf[..count].iter_mut().zip(offset..).for_each(|(slot, at)| *slot = byte(at));
        Ok(count)
    }
}

/// A mount with a clock that the test sets.
pub struct Bench {
    pub mount: FuseMount,
    pub events: Receiver<FuseEvent>,
    pub now: Arc<Mutex<Moment>>,
    sessions: AtomicU64,
}

pub const START: &str = "2026-05-12T10:00:00Z";
pub const START_UP_MICROS: u64 = 1_000_000_000;

impl Bench {
    pub fn start() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts FUSE and needs root");
        assert!(std::fs::exists("/dev/fuse").unwrap(), "this test needs /dev/fuse: load the fuse module");
        let now = Moment {
            time: START.parse().unwrap(),
            up_micros: START_UP_MICROS,
            boot: BootId::from_bytes([1; 16]),
            synchronised: true,
        };
        let now = Arc::new(Mutex::new(now));
        let clock = Arc::clone(&now);
        let (send, events) = channel();
        let tell = move |event| send.send(event).unwrap_or_default();
        let mount = FuseMount::start(2, Box::new(tell), Box::new(move || *clock.lock().unwrap())).unwrap();
        Self { mount, events, now, sessions: AtomicU64::new(0) }
    }

    /// A session of the owner for one hour, not armed.
    pub fn prepare(&self, seekable: bool) -> (SessionId, Arc<Control>) {
        let number = self.sessions.fetch_add(1, Ordering::SeqCst);
        let session = SessionId::from_bytes(u128::from(number).to_be_bytes());
        let control = Arc::new(Control::default());
        let until: Timestamp = START.parse().unwrap();
        self.mount
            .prepare(Serving {
                session,
                owner_uid: OWNER,
                until: until.saturating_add_micros(3_600_000_000),
                until_up_micros: START_UP_MICROS + 3_600_000_000,
                seekable,
                content: Box::new(Content(Arc::clone(&control))),
            })
            .unwrap();
        (session, control)
    }

    /// A session that may be read, and its descriptor.
    pub fn serve(&self) -> (SessionId, Arc<Control>, OwnedFd) {
        let (session, control) = self.prepare(true);
        let descriptor = self.mount.open_descriptor(&session).unwrap();
        self.mount.arm(&session, &granted()).unwrap();
        (session, control, descriptor)
    }

    pub fn event(&self) -> FuseEvent {
        self.events.recv_timeout(SOON).expect("no event came")
    }
}

/// The proof that a grant to the owner is recorded. A real one comes from the ledger alone.
pub fn granted() -> Recorded<Permit> {
    let text = r#"
        format = 1
        controller = "test"
        [reasons]
        incident = { text = "t" }
        [purposes]
        security = { kinds = ["footage"], reasons = ["incident"] }
        [classes]
        short = { max = "P1D" }
        [sources]
        door = { kind = "footage", purposes = ["security"], class = "short" }
        [roles]
        viewer = { verbs = ["search", "view"] }
        [grants]
        all = { user = "viewer", role = "viewer", until = 2027-01-01 }
    "#;
    let policy = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text.into() }]).unwrap();
    let house = House {
        time_zone: jiff::tz::TimeZone::UTC,
        session_max: "PT1H".parse().unwrap(),
        allow_switched_user: false,
    };
    let who = Principal { uid: OWNER, user: Some("viewer".parse().unwrap()), login_uid: None };
    let target = Target::Source("door".parse().unwrap());
    let request = AccessRequest {
        reason: Some("incident".parse().unwrap()),
        ..AccessRequest::new(who, Verb::View, target)
    };
    match decide(&policy, &house, &request, &Facts::none(), START.parse().unwrap()) {
        Decision::Allow(permit) => Recorded::for_test(permit),
        Decision::Deny(denial) => panic!("{}", denial.sentence),
    }
}

/// Runs `act` on a thread that belongs to `uid`, with no other right.
pub fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    let act = move || {
        let uid = rustix::thread::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(act).join().unwrap())
}

/// Runs a program as `uid` with `descriptor` as its standard input.
pub fn run_as(uid: u32, descriptor: &OwnedFd, program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .stdin(Stdio::from(descriptor.try_clone().unwrap()))
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"))
}

pub fn file(descriptor: &OwnedFd) -> File {
    File::from(descriptor.try_clone().unwrap())
}

pub fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Errno {
    Errno::from_io_error(&result.unwrap_err()).unwrap()
}
