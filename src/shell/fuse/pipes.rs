//! Without `/dev/fuse`: a pipe instead of a descriptor (design §7), for grants that allow it.
//!
//! Owns the thread that fills one pipe; whatever ends it, even a panic, its session is told of. The session is the same as behind the mount: armed by a recorded permit, asked
//! before every piece, accounted for before it is written, cut by its end. What a pipe cannot do is told in the entry: it is
//! bound to nobody, its reader is not known, and bytes that stand in the kernel's buffer ([`PIPE_BYTES`] at most, all accounted
//! for) can still be read after the end.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::ahead;
use super::served::{Refusal, Served};
use super::shared::Shared;
use super::{FuseEvent, FuseMount, ProgramFault};
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
        // A panic here would leave a session that nobody ends.
        let poured = catch_unwind(AssertUnwindSafe(|| pour(&shared, &served, &writer)));
        drop(writer);
        // The first end that is told is the one that is recorded.
        match poured {
            Ok(true) => {}
            Ok(false) => (shared.events)(FuseEvent::LastRelease(served.session)),
            Err(_panic) => (shared.events)(FuseEvent::Failed(served.session)),
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
        let filled = match ahead::read(&reading, offset, piece) {
            Ok(filled) => filled,
            Err(error) => return failed(shared, served, offset, error),
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

/// A read that failed ends the pipe: nothing after it may be taken for what follows before it.
fn failed(shared: &Shared, served: &Served, offset: u64, error: io::Error) -> bool {
    let session = served.session;
    let faulty = error.get_ref().is_some_and(|inner| inner.is::<ProgramFault>());
    if served.is_first_failure(&error) {
        (shared.events)(FuseEvent::DamagedRead { session, offset, error });
    }
    if faulty {
        (shared.events)(FuseEvent::Failed(session));
    }
    faulty
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::Receiver;
    use std::time::Duration;

    use super::super::{Plaintext, Serving};
    use super::*;
    use crate::core::time::{BootId, Timestamp};

    /// Longer than any of this should take.
    const SOON: Duration = Duration::from_secs(10);

    /// What a read of each piece does.
    type Act = fn(u64) -> io::Result<()>;

    struct Content(Act);
    impl Plaintext for Content {
        fn len_bytes(&self) -> u64 {
            3 * PIPE_BYTES as u64
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            (self.0)(offset)?;
            buf.fill(0x5A);
            Ok(buf.len())
        }
    }

    /// Serves `act` through a pipe and reads it to its end: what came, and what was told up to the end.
    fn served(act: Act, clock_holds: u64) -> (usize, Vec<FuseEvent>) {
        let wall = |micros| Timestamp::from_micros(micros).unwrap();
        let asked = AtomicU64::new(0);
        let now = move || {
            assert!(asked.fetch_add(1, Ordering::SeqCst) < clock_holds, "the clock of this test ends");
            Moment { time: wall(0), up_micros: 0, boot: BootId::from_bytes([1; 16]), synchronised: true }
        };
        let (send, events) = channel();
        let tell = move |event| send.send(event).unwrap_or_default();
        let mount = FuseMount::without_device(Box::new(tell), Box::new(now));
        let session = SessionId::from_bytes([1; 16]);
        let serving = Serving {
            session,
            owner_uid: 5,
            until: wall(100),
            until_up_micros: 100,
            seekable: false,
            content: Box::new(Content(act)),
        };
        mount.prepare(serving).unwrap();
        assert!(mount.shared.by_session(&session).unwrap().arm());
        let mut pipe = std::fs::File::from(mount.open_descriptor(&session).unwrap());
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        (bytes.len(), until_the_end(&events))
    }

    fn until_the_end(events: &Receiver<FuseEvent>) -> Vec<FuseEvent> {
        let mut told = Vec::new();
        loop {
            told.push(events.recv_timeout(SOON).expect("nothing was told"));
            if !matches!(told.last(), Some(FuseEvent::DamagedRead { .. })) {
                assert!(events.try_recv().is_err(), "told after the end");
                return told;
            }
        }
    }

    #[test]
    fn a_pipe_that_was_read_to_its_end_is_released() {
        let (bytes, told) = served(|_| Ok(()), u64::MAX);
        assert_eq!(bytes, 3 * PIPE_BYTES);
        assert!(matches!(told.as_slice(), [FuseEvent::LastRelease(_)]), "{told:?}");
    }

    #[test]
    fn inv9_a_panic_while_reading_ends_the_session_of_a_pipe_and_is_told() {
        let panics: Act = |offset| if offset == 0 { Ok(()) } else { panic!("a fault of the program") };
        let (bytes, told) = served(panics, u64::MAX);
        assert_eq!(bytes, PIPE_BYTES, "what came before it");
        let [FuseEvent::DamagedRead { offset, error, .. }, FuseEvent::Failed(_)] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(*offset == PIPE_BYTES as u64 && super::super::damages_nothing(error), "{error}");
    }

    #[test]
    fn inv9_a_panic_anywhere_else_in_the_thread_of_a_pipe_ends_its_session_too() {
        for clock_holds in 0..6 {
            let (_, told) = served(|_| Ok(()), clock_holds);
            assert!(matches!(told.as_slice(), [FuseEvent::Failed(_)]), "{clock_holds}: {told:?}");
        }
    }

    #[test]
    fn damage_ends_a_pipe_and_is_told_before_its_end() {
        let damaged: Act = |_| Err(io::Error::other("chunk 0 does not open"));
        let (bytes, told) = served(damaged, u64::MAX);
        let [FuseEvent::DamagedRead { error, .. }, FuseEvent::LastRelease(_)] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(bytes == 0 && !super::super::damages_nothing(error), "{error}");
    }
}
