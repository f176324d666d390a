//! Decrypting what a reader in sequence will ask for next, while it still works on what it got.
//!
//! The thread that answered a READ goes on with the bytes after it; the next READ finds them ready, or waits for that thread
//! and not for the disk a second time. Owns these bytes, one buffer a session, and how many sessions have one. Must never
//! hand them out: a READ that takes them is admitted, granted and entered in the account like any other (invariants 1 and
//! 9). They are wiped when the session ends, whatever ends it.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::buffers::Buffer;
use super::served::{Reading, Served};
use super::shared::Shared;

/// Smaller reads are served from the chunk that the one before decrypted.
const LEAST_BYTES: usize = 64 * 1024;
/// Sessions that hold bytes read ahead at the same time; the one that read longest ago loses them to the next.
const MOST_SESSIONS: usize = 16;

/// What one session has read ahead.
#[derive(Default)]
pub struct Ahead {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// The session is over: nothing is kept any more.
    over: bool,
    /// Where the last read ended.
    next: Option<u64>,
    /// A thread is reading from here.
    coming: Option<u64>,
    ready: Option<Ready>,
}

struct Ready {
    offset: u64,
    length: usize,
    buffer: Buffer,
}

impl Ahead {
    /// The bytes of a read of `length` at `offset`, if they were read ahead, or are just being read.
    fn take(&self, offset: u64, length: usize) -> Option<Buffer> {
        let mut state = self
            .moved
            .wait_while(self.lock(), |state| state.coming == Some(offset))
            .unwrap_or_else(PoisonError::into_inner);
        let fits = |ready: &Ready| ready.offset == offset && ready.length >= length && length > 0;
        let ready = state.ready.take()?;
        fits(&ready).then_some(ready.buffer)
    }

    /// Notes a read from `start` to `end`. True when it followed another, reading on is `worth_it`, and nobody does so yet:
    /// then the caller must.
    fn follows(&self, start: u64, end: u64, worth_it: bool) -> bool {
        let mut state = self.lock();
        let in_sequence = state.next.replace(end) == Some(start);
        let wanted =
            in_sequence && worth_it && !state.over && state.coming.is_none() && state.ready.is_none();
        if wanted {
            state.coming = Some(end);
        }
        wanted
    }

    /// Keeps what was read on, unless the session ended or its reader went elsewhere meanwhile.
    fn came(&self, offset: u64, length: usize, buffer: Option<Buffer>) {
        let mut state = self.lock();
        let wanted = !state.over && state.next == Some(offset);
        let (keep, mut gone) = if wanted { (buffer, None) } else { (None, buffer) };
        state.ready = keep.map(|buffer| Ready { offset, length, buffer });
        let over = state.over;
        drop(state);
        // Else it is wiped with the idle ones.
        if let Some(buffer) = gone.as_mut().filter(|_| over) {
            buffer.wipe();
        }
    }

    /// Overwrites what was read ahead; the session goes on.
    fn let_go(&self) {
        let ready = self.lock().ready.take();
        if let Some(mut ready) = ready {
            ready.buffer.wipe();
        }
    }

    /// Overwrites what was read ahead, and keeps nothing from now on.
    pub fn end(&self) {
        self.lock().over = true;
        self.let_go();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions that hold bytes read ahead, the one that read last at the end.
#[derive(Default)]
pub struct Holders(Mutex<VecDeque<Weak<Served>>>);

impl Holders {
    fn note(&self, served: &Arc<Served>) {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|held| held.strong_count() > 0 && !std::ptr::eq(held.as_ptr(), Arc::as_ptr(served)));
        holders.push_back(Arc::downgrade(served));
        let oldest = if holders.len() > MOST_SESSIONS { holders.pop_front() } else { None };
        drop(holders);
        if let Some(served) = oldest.and_then(|held| held.upgrade()) {
            served.ahead.let_go();
        }
    }
}

/// The bytes of an admitted read, at most `wanted`: those read ahead, or from the recording.
pub fn fill(shared: &Shared, reading: &Reading, offset: u64, wanted: usize) -> (Buffer, io::Result<usize>) {
    let length = reading.length_at(offset, wanted);
    if let Some(buffer) = reading.served().ahead.take(offset, length) {
        return (buffer, Ok(length));
    }
    let mut buffer = shared.buffers.take();
    let filled = read(reading, offset, buffer.room(wanted));
    (buffer, filled)
}

/// Reading on, planned; dropped, nobody waits for it any more.
pub struct ReadOn {
    served: Arc<Served>,
    offset: u64,
    length: usize,
}

/// Whether the thread that answers a read of `wanted` bytes at `offset`, which gives `length`, is to read on after it: its
/// reader goes through the recording in sequence, and nobody reads on yet.
pub fn plan(reading: &Reading, offset: u64, length: usize, wanted: usize) -> Option<ReadOn> {
    let end = offset.saturating_add(length as u64);
    let next = reading.length_at(end, wanted);
    let worth_it = length == wanted && next >= LEAST_BYTES;
    let served = reading.served();
    served.ahead.follows(offset, end, worth_it).then(|| ReadOn {
        served: Arc::clone(served),
        offset: end,
        length: next,
    })
}

impl ReadOn {
    /// Reads, and keeps what came. What fails now fails again when it is asked for, and is told then.
    pub fn read(self, shared: &Shared, reading: &Reading) {
        let mut buffer = shared.buffers.take();
        let place = buffer.room(self.length);
        let came = read(reading, self.offset, place).is_ok_and(|length| length == self.length);
        self.served.ahead.came(self.offset, self.length, came.then_some(buffer));
        shared.ahead.note(&self.served);
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        let mut state = self.served.ahead.lock();
        if state.coming == Some(self.offset) {
            state.coming = None;
            drop(state);
            self.served.ahead.moved.notify_all();
        }
    }
}

/// A panic here would end a thread of the mount or of a pipe; it is a failure of this read alone.
pub fn read(reading: &Reading, offset: u64, place: &mut [u8]) -> io::Result<usize> {
    catch_unwind(AssertUnwindSafe(|| reading.fill(offset, place)))
        .unwrap_or_else(|_| Err(io::Error::other(super::ProgramFault)))
}

#[cfg(test)]
mod tests {
    use super::super::buffers::Buffers;
    use super::*;

    fn read_ahead(ahead: &Ahead, buffers: &Buffers, offset: u64) -> *const u8 {
        ahead.follows(offset - 20, offset - 10, false);
        assert!(ahead.follows(offset - 10, offset, true));
        let mut buffer = buffers.take();
        buffer.room(10).fill(0x5A);
        let address = buffer.filled(10).as_ptr();
        ahead.came(offset, 10, Some(buffer));
        ahead.lock().coming = None;
        address
    }

    #[test]
    fn only_a_reader_in_sequence_is_read_ahead_for_and_by_one_thread() {
        let ahead = Ahead::default();
        assert!(!ahead.follows(0, 10, true), "the first read follows nothing");
        assert!(!ahead.follows(50, 60, true), "a jump");
        assert!(!ahead.follows(60, 70, false), "not worth it");
        assert!(ahead.follows(70, 80, true));
        assert!(!ahead.follows(80, 90, true), "somebody does so already");
    }

    #[test]
    fn what_was_read_ahead_serves_the_read_at_its_place_alone() {
        let (ahead, buffers) = (Ahead::default(), Buffers::default());
        let address = read_ahead(&ahead, &buffers, 20);
        let taken = ahead.take(20, 10).unwrap();
        assert_eq!((taken.filled(10).as_ptr(), taken.filled(10)), (address, [0x5A; 10].as_slice()));
        assert!(ahead.take(20, 10).is_none(), "given twice");
        drop(taken);
        read_ahead(&ahead, &buffers, 30);
        assert!(ahead.take(25, 5).is_none(), "another place");
        assert!(ahead.take(30, 10).is_none(), "a reader who jumps does not find it again");
        read_ahead(&ahead, &buffers, 40);
        assert!(ahead.take(40, 11).is_none(), "longer than what is there");
    }

    #[test]
    fn inv9_the_end_of_a_session_overwrites_what_was_read_ahead_and_keeps_nothing_later() {
        let (ahead, buffers) = (Ahead::default(), Buffers::default());
        let address = read_ahead(&ahead, &buffers, 20);
        ahead.end();
        let mut buffer = buffers.take();
        assert_eq!(buffer.filled(10).as_ptr(), address);
        assert!(buffer.filled(10).iter().all(|byte| *byte == 0), "not overwritten");
        // A thread that was still reading on when the session ended.
        buffer.room(10).fill(0x5A);
        ahead.came(20, 10, Some(buffer));
        assert!(ahead.take(20, 10).is_none());
        let buffer = buffers.take();
        assert_eq!(buffer.filled(10).as_ptr(), address);
        assert!(buffer.filled(10).iter().all(|byte| *byte == 0), "not overwritten");
        assert!(!ahead.follows(20, 30, true));
    }
}
