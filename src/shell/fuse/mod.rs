//! The private mount behind accountable descriptors (design §7).
//!
//! A descriptor given out here is a regular read-only file that works for one uid, until the permit ends, and accounts
//! for every range read. Owns the mount, its threads and the account. Must never decide who may read (the permit says
//! it), nor hand out a byte before [`FuseMount::arm`] (invariant 1), nor one that is not accounted for (invariant 9).
#![forbid(unsafe_code)]

mod ahead;
mod buffers;
mod detached;
mod failure;
mod filesystem;
mod helpers;
mod meter;
mod opener;
mod pipes;
mod ranges;
mod served;
mod shared;
mod turns;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};

use crate::core::access::Recorded;
use crate::core::ids::SessionId;
use crate::core::policy::Permit;
use crate::core::time::{Moment, Timestamp};

pub use failure::{ProgramFault, damages_nothing};
pub use meter::Meter;
pub use ranges::MAX_RANGES;
pub use served::MAX_EXECUTABLES;

use filesystem::Archive;
use opener::Opener;
use shared::Shared;

/// How long a revocation waits for replies that are being written.
const REVOKE_WAIT: Duration = Duration::from_secs(2);
/// How long the end of the mount waits for its threads.
const END_WAIT: Duration = Duration::from_secs(5);

/// The clear bytes of one recording.
pub trait Plaintext: Send + Sync {
    /// Size of the recording; it never changes.
    fn len_bytes(&self) -> u64;
    /// Reads some bytes at `offset` into `buf`; gives how many, 0 only at the end. An error means damage.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// What one session serves, to whom and until when.
pub struct Serving {
    /// The session.
    pub session: SessionId,
    /// The only uid that may read; never 0.
    pub owner_uid: u32,
    /// End of the permit by the wall clock.
    pub until: Timestamp,
    /// End of the permit by the boot clock, in microseconds since boot. Whichever comes first counts.
    pub until_up_micros: u64,
    /// False for `mode=stream`.
    pub seekable: bool,
    /// The recording.
    pub content: Box<dyn Plaintext>,
}

/// What was read through one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes handed out, repeated ones counted again.
    pub bytes_read: u64,
    /// What was read, merged: from (included), to (excluded), in order; at most [`MAX_RANGES`].
    pub ranges: Vec<(u64, u64)>,
    /// How many reads handed out bytes.
    pub reads: u64,
    /// The executables that opened or read, at most [`MAX_EXECUTABLES`], in order of appearance.
    pub executables: Vec<PathBuf>,
    /// When the first byte was handed out.
    pub first_read: Option<Timestamp>,
    /// When the last byte was handed out.
    pub last_read: Option<Timestamp>,
    /// How many requests of other uids were refused.
    pub foreign_refusals: u64,
    /// Set by [`FuseMount::revoke`]: nothing is under way any more, and content and buffers are wiped.
    pub settled: bool,
}

/// What the mount tells the daemon.
#[derive(Debug)]
pub enum FuseEvent {
    /// The last open file of a session was closed.
    LastRelease(SessionId),
    /// The permit ended by a clock; told at the first request after it.
    Expired(SessionId),
    /// A read would have passed the limit of bytes; it got none, and the session is cut.
    OverLimit(SessionId),
    /// Another uid tried to open or read; told once for each session and uid.
    ForeignAccess {
        /// The session whose descriptor was used.
        session: SessionId,
        /// Who tried.
        uid: u32,
        /// The thread that tried, 0 when it is not visible from here.
        pid: u32,
        /// What that thread was running.
        executable: Option<PathBuf>,
    },
    /// What serves a session ended by a fault of the program; its reader gets no more.
    Failed(SessionId),
    /// The recording could not be read; told once for each session, and once more if it was for want of memory or
    /// descriptors or by a fault of the program ([`damages_nothing`]).
    DamagedRead {
        /// The session.
        session: SessionId,
        /// Where in the recording, in bytes.
        offset: u64,
        /// What happened.
        error: io::Error,
    },
    /// The mount ended by itself: no descriptor works any more.
    Stopped(Option<io::Error>),
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// `/dev/fuse` cannot be opened.
    #[error("/dev/fuse cannot be opened; load the fuse module and allow the service to use the device")]
    Device(#[source] io::Error),
    /// The kernel refused the mount.
    #[error("the kernel refused the private FUSE mount; it needs Linux 5.2 and CAP_SYS_ADMIN")]
    Mount(#[source] io::Error),
    /// The conversation with the kernel failed.
    #[error("the FUSE connection could not be started")]
    Session(#[source] io::Error),
    /// uid 0 may not own a session.
    #[error("uid 0 may not own a session; view as the user who holds the grant")]
    RootOwner,
    /// The session is there already.
    #[error("session {0} is served already")]
    Duplicate(SessionId),
    /// The session is not there, or is over.
    #[error("session {0} is not served")]
    Unknown(SessionId),
}

/// The mount, its threads and its sessions. Dropping it ends everything, whoever still holds a descriptor.
pub struct FuseMount {
    shared: Arc<Shared>,
    mount: Option<OwnedFd>,
    /// One opening at a time: the daemon's own is known by its thread.
    /// None where there is no device: then pipes are given.
    opener: Option<Mutex<Opener>>,
    ended: Mutex<Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FuseMount {
    /// Mounts, and serves with `threads` threads (at least one) that read the disk, and one more that never waits for it:
    /// a slow disk keeps neither other sessions nor the end of a session waiting.
    ///
    /// `events` and `clock` are called on those threads: they must not block, and must not call back into this mount.
    pub fn start(
        threads: usize,
        events: Box<dyn Fn(FuseEvent) + Send + Sync>,
        clock: Box<dyn Fn() -> Moment + Send + Sync>,
    ) -> Result<Self, FuseError> {
        let shared = Arc::new(Shared::new(events, clock, threads.max(1)));
        let device = detached::open_device()?;
        let mount = detached::mount(&device)?;
        let opener = Opener::start(&mount, Arc::clone(&shared)).map_err(FuseError::Session)?;
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(threads.max(1).saturating_add(1));
        config.clone_fd = true;
        let archive = Archive(Arc::clone(&shared));
        let session =
            Session::from_fd(archive, device, SessionACL::All, config).map_err(FuseError::Session)?;
        let (end, ended) = channel();
        let watched = Arc::clone(&shared);
        let serve = move || {
            let result = session.run();
            if !watched.stopping.load(Ordering::SeqCst) {
                (watched.events)(FuseEvent::Stopped(result.err()));
            }
            // Nobody waits any more when the mount gave up waiting.
            let _ = end.send(());
        };
        let thread =
            std::thread::Builder::new().name("fuse".into()).spawn(serve).map_err(FuseError::Session)?;
        Ok(Self {
            shared,
            mount: Some(mount),
            opener: Some(Mutex::new(opener)),
            ended: Mutex::new(ended),
            thread: Some(thread),
        })
    }

    /// Makes the file of a session. It can be opened by the daemon, and read by nobody until [`FuseMount::arm`].
    pub fn prepare(&self, serving: Serving) -> Result<(), FuseError> {
        if serving.owner_uid == 0 {
            return Err(FuseError::RootOwner);
        }
        let session = serving.session;
        self.shared.insert(serving).map(|_| ()).ok_or(FuseError::Duplicate(session))
    }

    /// Size of the recording that a session serves.
    pub fn len_bytes(&self, session: &SessionId) -> Option<u64> {
        self.shared.by_session(session).map(|served| served.size_bytes)
    }

    /// Lets the owner read. The proof that the grant is durable is an argument (invariant 1).
    pub fn arm(&self, session: &SessionId, granted: &Recorded<Permit>) -> Result<(), FuseError> {
        let served = self.shared.by_session(session);
        let armed = served.is_some_and(|served| served.owner_uid == granted.value().uid() && served.arm());
        if armed { Ok(()) } else { Err(FuseError::Unknown(*session)) }
    }

    /// A descriptor to give to the owner. It may be opened before the session is armed; a pipe may not.
    pub fn open_descriptor(&self, session: &SessionId) -> io::Result<OwnedFd> {
        match &self.opener {
            Some(opener) => opener.lock().unwrap_or_else(PoisonError::into_inner).open(&session.to_string()),
            None => pipes::open(&self.shared, session),
        }
    }

    /// How many files the mount knows: those of running sessions, and those being prepared or forgotten.
    pub fn count(&self) -> usize {
        self.shared.all().len()
    }

    /// What was read so far.
    pub fn usage(&self, session: &SessionId) -> Option<Usage> {
        self.shared.by_session(session).map(|served| served.usage())
    }

    /// Bounds what a session hands out: `meter`, which it may share with others, never stands above `most_bytes`. Until this
    /// is called there is no bound.
    pub fn limit(&self, session: &SessionId, meter: Arc<Meter>, most_bytes: u64) {
        if let Some(served) = self.shared.by_session(session) {
            served.limit(meter, most_bytes);
        }
    }

    /// Sets the end of a session that is not armed yet: what was recorded may end earlier or later than what was foreseen
    /// when it was prepared.
    pub fn set_end(&self, session: &SessionId, until: Timestamp, until_up_micros: u64) {
        if let Some(served) = self.shared.by_session(session) {
            served.set_end(until, until_up_micros);
        }
    }

    /// Ends a session earlier than it was to; never later.
    pub fn shorten(&self, session: &SessionId, until: Timestamp, until_up_micros: u64) {
        if let Some(served) = self.shared.by_session(session) {
            served.shorten(until, until_up_micros);
        }
    }

    /// From now on the readers of a session get `ESTALE`. Waits for nothing: [`FuseMount::revoke`] gives the account.
    pub fn stop(&self, session: &SessionId) {
        if let Some(served) = self.shared.by_session(session) {
            served.revoke();
        }
    }

    /// Ends a session: from now on its readers get `ESTALE`, those at once that wait for the disk. Waits (at most two seconds)
    /// for replies being written, wipes the buffers, and gives the final account. `None` when the session is not there.
    ///
    /// A read that is still under way gets no byte: the account cannot grow any more.
    pub fn revoke(&self, session: &SessionId) -> Option<Usage> {
        let served = self.shared.by_session(session)?;
        served.revoke();
        served.wait_written(REVOKE_WAIT);
        let settled = served.wait_quiet(Duration::ZERO);
        self.shared.buffers.wipe();
        Some(Usage { settled, ..served.usage() })
    }

    /// Waits, at most `bound`, until no read of an ended session is under way: then content, keys and buffers are wiped.
    /// True also when the session is not there.
    pub fn wait_settled(&self, session: &SessionId, bound: Duration) -> bool {
        let Some(served) = self.shared.by_session(session) else { return true };
        let settled = served.wait_quiet(bound);
        self.shared.buffers.wipe();
        settled
    }

    /// Revokes and takes the session out of memory: to be called when its last entry is durable.
    pub fn forget(&self, session: &SessionId) {
        if let Some(served) = self.shared.remove(session) {
            served.revoke();
        }
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for served in self.shared.all() {
            served.revoke();
        }
        // Failing that, closing the mount ends the threads as soon as the last client closes its descriptor.
        let _ = self.mount.take().map(detached::abort);
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(END_WAIT);
        if let (Ok(()), Some(thread)) = (ended, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
