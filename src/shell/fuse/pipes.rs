//! Without `/dev/fuse`: a pipe instead of a descriptor (design §7), for grants that allow it.
//!
//! Owns the thread that fills one pipe. The session is the same as behind the mount: armed by a recorded permit, asked
//! before every piece, accounted for before it is written, cut by its end. What a pipe cannot do is told in the entry: it is
//! bound to nobody, its reader is not known, and bytes that stand in the kernel's buffer ([`PIPE_BYTES`] at most, all accounted
//! for) can still be read after the end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::served::{Refusal, Served};
use super::shared::Shared;
use super::{FuseEvent, FuseMount};
use crate::core::ids::SessionId;
use crate::core::time::Moment;

/// Written at a time, and the most that the kernel holds.
const PIPE_BYTES: usize = 64 * 1024;
/// How long a reader that takes nothing is waited for before the session is asked again.
const ASK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl FuseMount {
    /// Serves sessions by pipes alone. The arguments are those of [`FuseMount::start`].
    pub fn without_device(
        events: Box<dyn Fn(FuseEvent) + Send + Sync>,
        clock: Box<dyn Fn() -> Moment + Send + Sync>,
    ) -> Self {
        let shared = Arc::new(Shared::new(events, clock, 1));
        let (_nothing_runs, ended) = channel();
        Self { shared, mount: None, opener: None, ended: Mutex::new(ended), thread: None }
    }

    /// Whether [`FuseMount::open_descriptor`] gives pipes, because there is no device.
    pub fn gives_pipes(&self) -> bool {
        self.opener.is_none()
    }
}

/// Starts to fill a pipe for an armed session; gives the end to read from.
pub fn open(shared: &Arc<Shared>, session: &SessionId) -> io::Result<OwnedFd> {
    let served = shared.by_session(session).ok_or(io::ErrorKind::NotFound)?;
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Nobody can keep the thread in a write.
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES)?;
    let shared = Arc::clone(shared);
    let fill = move || {
        let told = pour(&shared, &served, &writer);
        drop(writer);
        // The first end that is told is the one that is recorded.
        if !told {
            (shared.events)(FuseEvent::LastRelease(served.session));
        }
    };
    std::thread::Builder::new().name("pipe".into()).spawn(fill)?;
    Ok(reader)
}

/// Until the recording, the session or the reader ends. Whether an end was told.
fn pour(shared: &Shared, served: &Arc<Served>, writer: &OwnedFd) -> bool {
    let mut buffer = shared.buffers.take();
    let told = pour_through(shared, served, writer, buffer.room(PIPE_BYTES));
    buffer.wipe();
    told
}

fn pour_through(shared: &Shared, served: &Arc<Served>, writer: &OwnedFd, piece: &mut [u8]) -> bool {
    let mut offset = 0;
    while offset < served.size_bytes {
        let reading = match served.begin_pipe(&(shared.clock)()) {
            Ok(reading) => reading,
            Err(refusal) => return ended(shared, served, refusal),
        };
        let filled = match reading.fill(offset, piece) {
            Ok(filled) => filled,
            Err(error) => {
                if served.is_first_damage() {
                    let session = served.session;
                    (shared.events)(FuseEvent::DamagedRead { session, offset, error });
                }
                return false;
            }
        };
        // Accounted for as a whole: what of it a cut keeps back counts as seen.
        if let Err(refusal) = reading.grant_to_pipe(offset, filled, &(shared.clock)()) {
            return ended(shared, served, refusal);
        }
        if let Some(told) = write_all(shared, served, writer, piece.get(..filled).unwrap_or_default()) {
            return told;
        }
        // Under way until its bytes are out of our memory: a purge waits for it.
        drop(reading);
        offset = offset.saturating_add(filled as u64);
    }
    false
}

/// `None` when all was written. The session may end meanwhile, and the reader may go: then whether an end was told.
fn write_all(shared: &Shared, served: &Served, writer: &OwnedFd, mut bytes: &[u8]) -> Option<bool> {
    while !bytes.is_empty() {
        if let Err(refusal) = served.check(served.owner_uid, &(shared.clock)()) {
            return Some(ended(shared, served, refusal));
        }
        match rustix::io::write(writer, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::AGAIN) => {
                let mut wait = [PollFd::new(writer, PollFlags::OUT)];
                // Whatever it says, the session is asked and the write tried again.
                let _ready_or_not = poll(&mut wait, Some(&ASK_AGAIN));
            }
            Err(Errno::INTR) => {}
            // The reader has closed its end.
            Err(_) => return Some(false),
        }
    }
    None
}

fn ended(shared: &Shared, served: &Served, refusal: Refusal) -> bool {
    let end = match refusal {
        Refusal::Expired { first: true } => FuseEvent::Expired(served.session),
        Refusal::OverLimit => FuseEvent::OverLimit(served.session),
        _ => return false,
    };
    (shared.events)(end);
    true
}
