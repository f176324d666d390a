//! One session as the mount sees it: who may read, until when, and what was read.
//!
//! Owns the order of a read: admitted, filled, granted (the range is added), replied. The reply of an admitted read stays
//! here until it is granted, so that the end of the session can answer it while the disk still works on it. Must never let
//! bytes be replied for a session that is not armed or is revoked (invariants 1 and 9).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{Errno, ReplyData};

use crate::core::ids::SessionId;
use crate::core::time::{Moment, Timestamp};

use super::ahead::Ahead;
use super::failure::Told;
use super::meter::Meter;
use super::ranges::Ranges;
use super::{Plaintext, Serving, Usage};

/// How many different executables are named in a [`Usage`].
pub const MAX_EXECUTABLES: usize = 16;
/// How many reading threads are remembered, so that `/proc` is not asked again at each read.
const MAX_KNOWN_READERS: usize = 64;
/// How many foreign uids are told apart; all are counted.
const MAX_FOREIGN_UIDS: usize = 64;

/// Why a request gets no byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not the owner. `first` is true once for each uid.
    Foreign {
        /// The first time this uid tries.
        first: bool,
    },
    /// The kernel would keep the bytes in its page cache.
    CacheFill,
    /// Nothing recorded yet.
    NotArmed,
    /// The permit is over. `first` is true once.
    Expired {
        /// The first time this is seen.
        first: bool,
    },
    /// More bytes than the limit leaves.
    OverLimit,
    /// Revoked, or purged.
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prepared,
    Armed,
    Revoked,
}

/// A session, its content, and its account.
pub struct Served {
    /// The session.
    pub session: SessionId,
    /// Its inode on the mount, never used again.
    pub inode: u64,
    /// The only uid that may open and read.
    pub owner_uid: u32,
    /// Size of the recording.
    pub size_bytes: u64,
    /// False for `mode=stream`.
    pub seekable: bool,
    /// What was decrypted before it is asked for.
    pub ahead: Ahead,
    state: Mutex<State>,
    quiet: Condvar,
}

struct State {
    phase: Phase,
    until: Timestamp,
    until_up_micros: u64,
    /// What bounds its bytes.
    meter: Option<(Arc<Meter>, u64)>,
    content: Option<Arc<dyn Plaintext>>,
    /// Reads between admission and the end of their reply.
    in_flight: u32,
    /// Those of them that were granted: their replies are being written.
    writing: u32,
    /// The replies of those that were not, each with the number of its read.
    pending: Vec<(u64, ReplyData)>,
    /// Number of the last read.
    last_read: u64,
    open_files: u64,
    expired_seen: bool,
    told: Told,
    known_readers: VecDeque<u32>,
    foreign_uids: Vec<u32>,
    ranges: Ranges,
    usage: Usage,
}

impl Served {
    /// Nothing is readable until [`Served::arm`].
    pub fn new(serving: Serving, inode: u64) -> Self {
        let content: Arc<dyn Plaintext> = Arc::from(serving.content);
        Self {
            session: serving.session,
            inode,
            owner_uid: serving.owner_uid,
            size_bytes: content.len_bytes(),
            seekable: serving.seekable,
            ahead: Ahead::default(),
            state: Mutex::new(State {
                phase: Phase::Prepared,
                until: serving.until,
                until_up_micros: serving.until_up_micros,
                meter: None,
                content: Some(content),
                in_flight: 0,
                writing: 0,
                pending: Vec::new(),
                last_read: 0,
                open_files: 0,
                expired_seen: false,
                told: Told::default(),
                known_readers: VecDeque::new(),
                foreign_uids: Vec::new(),
                ranges: Ranges::default(),
                usage: Usage::default(),
            }),
            quiet: Condvar::new(),
        }
    }

    /// From now on the owner may read. A revoked session stays revoked: then this returns false.
    pub fn arm(&self) -> bool {
        let mut state = self.lock();
        if state.phase == Phase::Prepared {
            state.phase = Phase::Armed;
        }
        state.phase == Phase::Armed
    }

    /// Whether the daemon's own OPEN may pass: the session is not revoked.
    pub fn admits_daemon(&self) -> bool {
        self.lock().phase != Phase::Revoked
    }

    /// Whether `uid` may open the file now.
    pub fn check(&self, uid: u32, now: &Moment) -> Result<(), Refusal> {
        self.check_locked(&mut self.lock(), uid, now)
    }

    /// Admits one READ, and keeps its reply until it is granted. `caches` says that the kernel asks for its page cache, not
    /// for a reader. A read that is refused gives the reply back.
    pub fn begin_read(
        self: &Arc<Self>,
        uid: u32,
        caches: bool,
        now: &Moment,
        reply: ReplyData,
    ) -> Result<Reading, (ReplyData, Refusal)> {
        let mut state = self.lock();
        let admitted = match self.check_locked(&mut state, uid, now) {
            Ok(()) if caches => Err(Refusal::CacheFill),
            Ok(()) => state.content.clone().ok_or(Refusal::Revoked),
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok(content) => {
                state.in_flight = state.in_flight.saturating_add(1);
                state.last_read = state.last_read.wrapping_add(1);
                let number = state.last_read;
                state.pending.push((number, reply));
                Ok(Reading { served: Arc::clone(self), content: Some(content), uid, number, granted: false })
            }
            Err(refusal) => Err((reply, refusal)),
        }
    }

    /// The same for a pipe: as its owner, and without a reply.
    pub fn begin_pipe(self: &Arc<Self>, now: &Moment) -> Result<Reading, Refusal> {
        let mut state = self.lock();
        self.check_locked(&mut state, self.owner_uid, now)?;
        let content = state.content.clone().ok_or(Refusal::Revoked)?;
        state.in_flight = state.in_flight.saturating_add(1);
        // No READ has this number: they count from 1.
        let number = 0;
        Ok(Reading {
            served: Arc::clone(self),
            content: Some(content),
            uid: self.owner_uid,
            number,
            granted: false,
        })
    }

    /// Whether thread `pid` was not seen reading lately; remembers it.
    pub fn is_new_reader(&self, pid: u32) -> bool {
        let mut state = self.lock();
        if state.known_readers.contains(&pid) {
            return false;
        }
        if state.known_readers.len() >= MAX_KNOWN_READERS {
            state.known_readers.pop_front();
        }
        state.known_readers.push_back(pid);
        true
    }

    /// Names an executable that opened or read; at most [`MAX_EXECUTABLES`] different ones are kept.
    pub fn note_executable(&self, executable: PathBuf) {
        let mut state = self.lock();
        let named = &mut state.usage.executables;
        if named.len() < MAX_EXECUTABLES && !named.contains(&executable) {
            named.push(executable);
        }
    }

    /// Whether a failed read is to be told: one report of each sort is enough.
    pub fn is_first_failure(&self, error: &std::io::Error) -> bool {
        self.lock().told.is_first(error)
    }

    /// Counts one more open file.
    pub fn opened(&self) {
        let mut state = self.lock();
        state.open_files = state.open_files.saturating_add(1);
    }

    /// Counts one less; true when it was the last.
    pub fn released(&self) -> bool {
        let mut state = self.lock();
        let was_open = state.open_files > 0;
        state.open_files = state.open_files.saturating_sub(1);
        was_open && state.open_files == 0
    }

    /// The account so far.
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        Usage { ranges: state.ranges.as_slice().to_vec(), ..state.usage.clone() }
    }

    /// From now on `meter` bounds what is handed out.
    pub fn limit(&self, meter: Arc<Meter>, most_bytes: u64) {
        self.lock().meter = Some((meter, most_bytes));
    }

    /// Sets the end of the permit, nearer or later: before [`Served::arm`], and not afterwards.
    pub fn set_end(&self, until: Timestamp, until_up_micros: u64) {
        let mut state = self.lock();
        if state.phase == Phase::Prepared {
            state.until = until;
            state.until_up_micros = until_up_micros;
        }
    }

    /// Moves the end of the permit nearer.
    pub fn shorten(&self, until: Timestamp, until_up_micros: u64) {
        let mut state = self.lock();
        state.until = state.until.min(until);
        state.until_up_micros = state.until_up_micros.min(until_up_micros);
    }

    /// Sets the flag, drops the content, and answers every read that was not granted yet with `ESTALE`, whatever the disk
    /// does meanwhile. No byte is granted after this: the account is final. A reply being written may still end.
    pub fn revoke(&self) {
        let mut state = self.lock();
        state.phase = Phase::Revoked;
        let content = state.content.take();
        let pending = std::mem::take(&mut state.pending);
        drop(state);
        self.ahead.end();
        for (_, reply) in pending {
            reply.error(Errno::ESTALE);
        }
        drop(content);
    }

    /// Waits until no reply with bytes is being written, at most `bound`. The kernel takes one as fast as it copies it.
    pub fn wait_written(&self, bound: Duration) {
        let _waited = self.quiet.wait_timeout_while(self.lock(), bound, |state| state.writing > 0);
    }

    /// Waits until no read is under way, at most `bound`; false when one still is. That one gets no byte.
    pub fn wait_quiet(&self, bound: Duration) -> bool {
        let waited = self.quiet.wait_timeout_while(self.lock(), bound, |state| state.in_flight > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.in_flight == 0
    }

    fn check_locked(&self, state: &mut State, uid: u32, now: &Moment) -> Result<(), Refusal> {
        if uid != self.owner_uid {
            state.usage.foreign_refusals = state.usage.foreign_refusals.saturating_add(1);
            let first = state.foreign_uids.len() < MAX_FOREIGN_UIDS && !state.foreign_uids.contains(&uid);
            if first {
                state.foreign_uids.push(uid);
            }
            return Err(Refusal::Foreign { first });
        }
        match state.phase {
            Phase::Prepared => return Err(Refusal::NotArmed),
            Phase::Revoked => return Err(Refusal::Revoked),
            Phase::Armed => {}
        }
        // Whichever clock says so first: setting the wall clock back must not lengthen a permit (invariant 11).
        if now.time >= state.until || now.up_micros >= state.until_up_micros {
            let first = !std::mem::replace(&mut state.expired_seen, true);
            return Err(Refusal::Expired { first });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One admitted READ, until its reply is written. While it lives, [`Served::wait_quiet`] waits.
pub struct Reading {
    served: Arc<Served>,
    content: Option<Arc<dyn Plaintext>>,
    uid: u32,
    number: u64,
    granted: bool,
}

impl Reading {
    /// Whose it is.
    pub fn served(&self) -> &Arc<Served> {
        &self.served
    }

    /// How many bytes a read of `wanted` at `offset` gives.
    pub fn length_at(&self, offset: u64, wanted: usize) -> usize {
        let left = self.served.size_bytes.saturating_sub(offset);
        usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
    }

    /// Whether the end of the session has answered it.
    pub fn is_answered(&self) -> bool {
        !self.served.lock().pending.iter().any(|(number, _)| *number == self.number)
    }

    /// Answers with an error, unless the end of the session has answered already.
    pub fn fail(&self, errno: Errno) {
        let reply = self.take_reply(&mut self.served.lock());
        if let Some(reply) = reply {
            reply.error(errno);
        }
    }

    /// The reply was written: the end of the session need not wait for it.
    pub fn written(&mut self) {
        if std::mem::take(&mut self.granted) {
            let mut state = self.served.lock();
            state.writing = state.writing.saturating_sub(1);
            if state.writing == 0 {
                self.served.quiet.notify_all();
            }
        }
    }

    fn take_reply(&self, state: &mut State) -> Option<ReplyData> {
        let at = state.pending.iter().position(|(number, _)| *number == self.number)?;
        Some(state.pending.swap_remove(at).1)
    }

    /// Reads from `offset` until `buffer` is full or the recording ends; gives the number of bytes.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(content) = &self.content else { return Ok(0) };
        let wanted = self.length_at(offset, buffer.len());
        let mut filled = 0usize;
        while filled < wanted {
            let Some(rest) = buffer.get_mut(filled..wanted) else { break };
            match content.read_at(offset.saturating_add(filled as u64), rest)?.min(rest.len()) {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                more => filled = filled.saturating_add(more),
            }
        }
        Ok(filled)
    }

    /// Asks once more, now that the bytes are there, and enters them in the account. Gives the reply to write them to: from
    /// here on an end waits for it.
    pub fn grant(&mut self, offset: u64, length: usize, now: &Moment) -> Result<ReplyData, Refusal> {
        let mut state = self.served.lock();
        self.served.check_locked(&mut state, self.uid, now)?;
        state.take_from_meter(length)?;
        // There: whoever takes it sets the phase that was just checked, under the same lock.
        let reply = self.take_reply(&mut state).ok_or(Refusal::Revoked)?;
        state.writing = state.writing.saturating_add(1);
        state.account(offset, length, now);
        drop(state);
        self.granted = true;
        Ok(reply)
    }

    /// The same for a pipe, which has no reply.
    pub fn grant_to_pipe(&self, offset: u64, length: usize, now: &Moment) -> Result<(), Refusal> {
        let mut state = self.served.lock();
        self.served.check_locked(&mut state, self.uid, now)?;
        state.take_from_meter(length)?;
        state.account(offset, length, now);
        Ok(())
    }
}

impl State {
    fn take_from_meter(&self, length: usize) -> Result<(), Refusal> {
        match &self.meter {
            Some((meter, most_bytes)) if !meter.take(length as u64, *most_bytes) => Err(Refusal::OverLimit),
            _ => Ok(()),
        }
    }

    fn account(&mut self, offset: u64, length: usize, now: &Moment) {
        let length = length as u64;
        self.ranges.add(offset, offset.saturating_add(length));
        let usage = &mut self.usage;
        if length > 0 {
            usage.reads = usage.reads.saturating_add(1);
            usage.bytes_read = usage.bytes_read.saturating_add(length);
            usage.first_read.get_or_insert(now.time);
            usage.last_read = Some(now.time);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // The content goes first: who waits for quiet relies on its keys being gone.
        self.content = None;
        let mut state = self.served.lock();
        let unanswered = self.take_reply(&mut state);
        state.writing = state.writing.saturating_sub(u32::from(self.granted));
        state.in_flight = state.in_flight.saturating_sub(1);
        if state.writing == 0 {
            self.served.quiet.notify_all();
        }
        drop(state);
        if let Some(reply) = unanswered {
            reply.error(Errno::EIO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::BootId;

    struct Nothing;
    impl Plaintext for Nothing {
        fn len_bytes(&self) -> u64 {
            0
        }
        fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
            Ok(0)
        }
    }

    #[test]
    fn inv11_the_end_that_was_recorded_counts_and_afterwards_only_a_nearer_one() {
        let wall = |micros| Timestamp::from_micros(micros).unwrap();
        let at = |micros| Moment {
            time: wall(micros),
            up_micros: u64::try_from(micros).unwrap(),
            boot: BootId::from_bytes([1; 16]),
            synchronised: true,
        };
        for recorded in [50, 200] {
            let served = Served::new(
                Serving {
                    session: SessionId::from_bytes([1; 16]),
                    owner_uid: 5,
                    until: wall(100),
                    until_up_micros: 100,
                    seekable: true,
                    content: Box::new(Nothing),
                },
                2,
            );
            served.set_end(wall(recorded), recorded.unsigned_abs());
            assert!(served.arm());
            served.set_end(wall(1000), 1000);
            assert_eq!(served.check(5, &at(recorded - 1)), Ok(()));
            assert!(matches!(served.check(5, &at(recorded)), Err(Refusal::Expired { .. })));
            served.shorten(wall(20), 20);
            assert!(matches!(served.check(5, &at(20)), Err(Refusal::Expired { .. })));
        }
    }
}
