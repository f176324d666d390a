//! One session as the mount sees it: who may read, until when, and what was read.
//!
//! Owns the order of a read: admitted, filled, granted (the range is added), replied. Must never let a reply be written
//! for a session that is not armed or is revoked (invariants 1 and 9).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::ids::SessionId;
use crate::core::time::{Moment, Timestamp};

use super::ahead::Ahead;
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
    until: Timestamp,
    until_up_micros: u64,
    state: Mutex<State>,
    quiet: Condvar,
}

struct State {
    phase: Phase,
    content: Option<Arc<dyn Plaintext>>,
    /// Reads between admission and the end of their reply.
    in_flight: u32,
    open_files: u64,
    expired_seen: bool,
    damage_seen: bool,
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
            until: serving.until,
            until_up_micros: serving.until_up_micros,
            state: Mutex::new(State {
                phase: Phase::Prepared,
                content: Some(content),
                in_flight: 0,
                open_files: 0,
                expired_seen: false,
                damage_seen: false,
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

    /// Admits one READ. `caches` says that the kernel asks for its page cache, not for a reader.
    pub fn begin_read(self: &Arc<Self>, uid: u32, caches: bool, now: &Moment) -> Result<Reading, Refusal> {
        let mut state = self.lock();
        self.check_locked(&mut state, uid, now)?;
        if caches {
            return Err(Refusal::CacheFill);
        }
        let content = state.content.clone().ok_or(Refusal::Revoked)?;
        state.in_flight = state.in_flight.saturating_add(1);
        Ok(Reading { served: Arc::clone(self), content: Some(content), uid })
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

    /// Whether this is the first damaged read: one report for each session is enough.
    pub fn is_first_damage(&self) -> bool {
        !std::mem::replace(&mut self.lock().damage_seen, true)
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

    /// Sets the flag and drops the content. No reply starts after this; one being written may still end.
    pub fn revoke(&self) {
        let mut state = self.lock();
        state.phase = Phase::Revoked;
        state.content = None;
        drop(state);
        self.ahead.end();
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
        if now.time >= self.until || now.up_micros >= self.until_up_micros {
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

    /// Asks once more, now that the bytes are there, and enters them in the account. Only then may they be replied.
    pub fn grant(&self, offset: u64, length: usize, now: &Moment) -> Result<(), Refusal> {
        let mut state = self.served.lock();
        self.served.check_locked(&mut state, self.uid, now)?;
        let length = length as u64;
        state.ranges.add(offset, offset.saturating_add(length));
        let usage = &mut state.usage;
        usage.reads = usage.reads.saturating_add(1);
        usage.bytes_read = usage.bytes_read.saturating_add(length);
        usage.first_read.get_or_insert(now.time);
        usage.last_read = Some(now.time);
        Ok(())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // The content goes first: who waits for quiet relies on its keys being gone.
        self.content = None;
        let mut state = self.served.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if state.in_flight == 0 {
            self.served.quiet.notify_all();
        }
    }
}
