//! Decrypting what a reader in sequence will ask for next, while it still works on what it got.
//!
//! The thread that answered a READ goes on with the parts after it, as long as the ones before wait for their READ: one part
//! ahead hides only the changes between threads, several put decrypting wholly beside the copies to the reader. The next READ
//! finds its part ready, or waits for that thread and not for the disk a second time. Owns these parts, a few buffers a
//! session, and how many sessions have some. Must never hand them out: a READ that takes one is admitted, granted and entered
//! in the account like any other (invariants 1 and 9). They are wiped when the session ends, whatever ends it.

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
/// Parts that all sessions together read ahead, at least one each: as many buffers wait for their next use.
pub const MOST_PARTS: usize = 32;
/// Parts that one session reads ahead: one that is being taken, one that is ready, one that is being read.
const MOST_PARTS_EACH: usize = 3;
/// Bytes that one session reads ahead, unless it asks for more at once.
const MOST_BYTES_EACH: usize = 512 * 1024;

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
    /// Where the last read ended, and whether it followed the one before it.
    next: Option<u64>,
    in_sequence: bool,
    /// A thread is reading from here.
    coming: Option<u64>,
    /// In the order of the recording, each where the one before it ends; `coming` follows the last.
    ready: VecDeque<Ready>,
}

impl State {
    /// The end of what is ready, or of what the reader has.
    fn end(&self) -> Option<u64> {
        self.ready.back().map(Ready::end).or(self.next)
    }

    /// Notes that a thread reads on now, unless `most` parts are ready.
    fn begin_next(&mut self, most: usize) -> Option<u64> {
        let next = self.end().filter(|_| self.ready.len() < most);
        self.coming = next.or(self.coming);
        next
    }
}

struct Ready {
    offset: u64,
    length: usize,
    buffer: Buffer,
}

impl Ready {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length as u64)
    }
}

impl Ahead {
    /// The bytes of a read of `length` at `offset`, if they were read ahead, or are just being read.
    fn take(&self, offset: u64, length: usize) -> Option<Buffer> {
        let state = self.lock();
        let in_sequence = state.next == Some(offset);
        let mut state = self
            .moved
            .wait_while(state, |state| state.ready.is_empty() && state.coming == Some(offset))
            .unwrap_or_else(PoisonError::into_inner);
        state.in_sequence = in_sequence;
        state.next = offset.checked_add(length as u64);
        let first = state.ready.pop_front();
        let fits = |ready: &Ready| ready.offset == offset && ready.length >= length && length > 0;
        let taken = first.filter(fits);
        if taken.is_none() {
            // The reader went elsewhere, or asks for more at once.
            state.ready.clear();
        }
        taken.map(|ready| ready.buffer)
    }

    /// Where to read on after a read that ended at `end`, for a reader in sequence who is not `most` parts behind; `None`
    /// also when somebody does so already. The caller must read from there, and say so when nothing comes of it.
    fn follows(&self, end: u64, most: usize) -> Option<u64> {
        let mut state = self.lock();
        let idle = state.coming.is_none() && !state.over;
        if !(idle && state.in_sequence && state.next == Some(end)) {
            return None;
        }
        state.begin_next(most)
    }

    /// Keeps what was read on, unless the session ended or its reader went elsewhere meanwhile. Gives the place of the part
    /// after it, while fewer than `most` are ready: then the caller must go on there.
    fn came(&self, offset: u64, length: usize, buffer: Option<Buffer>, most: usize) -> Option<u64> {
        let mut state = self.lock();
        let wanted = !state.over && state.end() == Some(offset);
        let (keep, mut gone) = if wanted { (buffer, None) } else { (None, buffer) };
        let kept = keep.map(|buffer| state.ready.push_back(Ready { offset, length, buffer })).is_some();
        let next = if kept { state.begin_next(most) } else { None };
        let over = state.over;
        drop(state);
        self.moved.notify_all();
        // Else it is wiped with the idle ones.
        if let Some(buffer) = gone.as_mut().filter(|_| over) {
            buffer.wipe();
        }
        next
    }

    /// Nobody reads on from `offset` any more.
    fn stopped(&self, offset: u64) {
        let mut state = self.lock();
        if state.coming == Some(offset) {
            state.coming = None;
            drop(state);
            self.moved.notify_all();
        }
    }

    /// Overwrites what was read ahead; the session goes on.
    fn let_go(&self) {
        let ready = std::mem::take(&mut self.lock().ready);
        for mut part in ready {
            part.buffer.wipe();
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
    /// How many do.
    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

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
    wanted: usize,
    most: usize,
}

/// Whether the thread that answers a read of `wanted` bytes at `offset`, which gives `length`, is to read on after it: its
/// reader goes through the recording in sequence, and nobody reads on yet.
pub fn plan(shared: &Shared, reading: &Reading, offset: u64, length: usize, wanted: usize) -> Option<ReadOn> {
    if length < wanted || wanted < LEAST_BYTES {
        return None;
    }
    let served = reading.served();
    let share = MOST_PARTS / shared.ahead.count().max(1);
    let most = (MOST_BYTES_EACH / wanted).min(share).clamp(1, MOST_PARTS_EACH);
    let offset = served.ahead.follows(offset.saturating_add(length as u64), most)?;
    Some(ReadOn { served: Arc::clone(served), offset, wanted, most })
}

impl ReadOn {
    /// Reads, and keeps what came, part after part. What fails now fails again when it is asked for, and is told then.
    pub fn read(mut self, shared: &Shared, reading: &Reading) {
        shared.ahead.note(&self.served);
        // Bounded, however quick the reader: this thread has others to answer.
        for _ in 0..MOST_PARTS_EACH {
            let length = reading.length_at(self.offset, self.wanted);
            if length < LEAST_BYTES {
                return;
            }
            let mut buffer = shared.buffers.take();
            let came = read(reading, self.offset, buffer.room(length)).is_ok_and(|filled| filled == length);
            let next = self.served.ahead.came(self.offset, length, came.then_some(buffer), self.most);
            let Some(next) = next else { return };
            self.offset = next;
        }
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        self.served.ahead.stopped(self.offset);
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

    /// What a reader does who got nothing that was read ahead.
    fn reads(ahead: &Ahead, offset: u64) {
        assert!(ahead.take(offset, 10).is_none());
    }

    /// The part at `offset`, read ahead for a reader who got what lies before it.
    fn read_ahead(ahead: &Ahead, buffers: &Buffers, offset: u64) -> *const u8 {
        reads(ahead, offset - 20);
        reads(ahead, offset - 10);
        assert_eq!(ahead.follows(offset, 1), Some(offset));
        let address = comes(ahead, buffers, offset, 1);
        ahead.stopped(offset);
        address
    }

    fn comes(ahead: &Ahead, buffers: &Buffers, offset: u64, most: usize) -> *const u8 {
        let mut buffer = buffers.take();
        buffer.room(10).fill(0x5A);
        let address = buffer.filled(10).as_ptr();
        ahead.came(offset, 10, Some(buffer), most);
        address
    }

    #[test]
    fn only_a_reader_in_sequence_is_read_ahead_for_and_by_one_thread() {
        let ahead = Ahead::default();
        reads(&ahead, 0);
        assert_eq!(ahead.follows(10, 3), None, "the first read follows nothing");
        reads(&ahead, 50);
        assert_eq!(ahead.follows(60, 3), None, "a jump");
        reads(&ahead, 60);
        assert_eq!(ahead.follows(70, 0), None, "no room");
        assert_eq!(ahead.follows(70, 3), Some(70));
        assert_eq!(ahead.follows(70, 3), None, "somebody does so already");
        ahead.stopped(70);
        assert_eq!(ahead.follows(70, 3), Some(70));
    }

    #[test]
    fn parts_follow_each_other_until_enough_are_ready_and_go_on_when_one_was_taken() {
        let (ahead, buffers) = (Ahead::default(), Buffers::default());
        reads(&ahead, 0);
        reads(&ahead, 10);
        assert_eq!(ahead.follows(20, 2), Some(20));
        comes(&ahead, &buffers, 20, 2);
        assert_eq!(ahead.lock().coming, Some(30), "the thread goes on");
        comes(&ahead, &buffers, 30, 2);
        ahead.stopped(30);
        assert_eq!(ahead.follows(20, 2), None, "two are ready");
        assert!(ahead.take(20, 10).is_some());
        assert_eq!(ahead.follows(30, 2), Some(40), "after what is ready, not after what was read");
        assert!(ahead.take(30, 10).is_some());
        comes(&ahead, &buffers, 40, 2);
        assert!(ahead.take(40, 10).is_some(), "its reader was quicker, and still wants it");
    }

    #[test]
    fn what_was_read_ahead_serves_the_read_at_its_place_alone() {
        let (ahead, buffers) = (Ahead::default(), Buffers::default());
        let address = read_ahead(&ahead, &buffers, 20);
        let taken = ahead.take(20, 10).unwrap();
        assert_eq!((taken.filled(10).as_ptr(), taken.filled(10)), (address, [0x5A; 10].as_slice()));
        assert!(ahead.take(20, 10).is_none(), "given twice");
        drop(taken);
        read_ahead(&ahead, &buffers, 50);
        assert!(ahead.take(45, 5).is_none(), "another place");
        assert!(ahead.take(50, 10).is_none(), "a reader who jumps does not find it again");
        read_ahead(&ahead, &buffers, 90);
        assert!(ahead.take(90, 11).is_none(), "longer than what is there");
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
        assert_eq!(ahead.came(20, 10, Some(buffer), 3), None);
        assert!(ahead.take(20, 10).is_none());
        let buffer = buffers.take();
        assert_eq!(buffer.filled(10).as_ptr(), address);
        assert!(buffer.filled(10).iter().all(|byte| *byte == 0), "not overwritten");
        assert_eq!(ahead.follows(30, 3), None);
    }
}
