//! Who does what while one recording is sealed: a few threads that share three stages and the syncing between them.
//!
//! Each stage (`hashing`, `sealing`, `checking`) goes in the order of the recording, so one thread at a time has it; whoever
//! is free takes the stage that is most behind. So both cores work until the end, whichever stage is dear on this machine.
//! Owns the pieces under way, their number (memory is bounded by it), and the first error. Must never let a piece be checked
//! before a sync that began after it was written has ended, nor keep a thread waiting when another one failed.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::super::ObjectError;
use super::checking::Checking;
use super::hashing::{Hashing, PIECE_CHUNKS, Piece, Totals};
use super::sealing::{Ending, Sealed, Sealing};
use crate::core::format::layout::chunk_offset;
use crate::core::format::trailer::Trailer;
use crate::core::ids::Digest;
use crate::shell::disk::direct::{AlignedBuffer, DirectFile, drop_cache_of};
use crate::shell::disk::durable::DiskError;
use crate::shell::disk::fault::{Op, on_file};

/// Threads for one recording, the caller's among them: hashing keeps one core busy, all the rest another.
const THREADS: usize = 2;
/// Pieces under way between reading and writing.
const PIECES: usize = 8;
/// Pieces that may wait, hashed or synced, before a thread that could hash does something for them first.
const BEHIND: u64 = 3;
/// Pieces that are worth a sync while the recording goes on.
const STRETCH: u64 = 32;

/// The crew of one recording.
pub(super) struct Crew<'a, R, B> {
    file: &'a DirectFile,
    path: &'a Path,
    flow: Mutex<Flow<R, B>>,
    moved: Condvar,
}

/// Where everything is. A stage that is away is with a thread.
struct Flow<R, B> {
    hashing: Option<Hashing<R>>,
    sealing: Option<Sealing<B>>,
    checking: Option<Checking>,
    syncing: bool,
    /// Buffers to use again, and how many are in use.
    spare: Vec<AlignedBuffer>,
    in_use: usize,
    hashed: VecDeque<Piece>,
    /// Pieces that were sealed, synced, checked.
    sealed: u64,
    synced: u64,
    checked: u64,
    /// What the object is, when all is written.
    ending: Option<Arc<Ending>>,
    all_synced: bool,
    crc: u32,
    failed: Option<ObjectError>,
}

/// One step, with what it needs.
enum Task<R, B> {
    Hash(Hashing<R>, AlignedBuffer),
    Seal(Sealing<B>, Piece),
    /// Syncs the pieces up to `to`, of which those before `from` are synced.
    Sync {
        from: u64,
        to: u64,
        all: bool,
    },
    Check(Checking, Option<Arc<Ending>>),
}

/// What a step leaves.
enum Done<R, B> {
    Hashed(Hashing<R>, Vec<Piece>, Option<AlignedBuffer>),
    Sealed(Sealed<B>, AlignedBuffer),
    Synced { to: u64, all: bool },
    Checked(Checking),
}

impl<R, B> Flow<R, B> {
    /// What is best done now. Hashing is the longest chain, so it comes first, unless the others do not keep up.
    fn next(&mut self) -> Option<Task<R, B>> {
        if !self.is_behind() && self.can_hash() {
            return self.hash();
        }
        if self.checked < self.synced
            && let Some(stage) = self.checking.take()
        {
            return Some(Task::Check(stage, self.ending.clone()));
        }
        if self.should_sync() {
            self.syncing = true;
            return Some(Task::Sync { from: self.synced, to: self.written(), all: self.ending.is_some() });
        }
        if self.sealing.is_some()
            && let Some(piece) = self.hashed.pop_front()
        {
            return self.sealing.take().map(|stage| Task::Seal(stage, piece));
        }
        if self.can_hash() { self.hash() } else { None }
    }

    fn can_hash(&self) -> bool {
        self.hashing.as_ref().is_some_and(|stage| !stage.has_ended())
            && (!self.spare.is_empty() || self.in_use < PIECES)
    }

    fn hash(&mut self) -> Option<Task<R, B>> {
        let stage = self.hashing.take()?;
        self.in_use += 1;
        Some(Task::Hash(stage, self.spare.pop().unwrap_or_else(Piece::new_buffer)))
    }

    /// Pieces that stand in the file as a whole: the last block of one is written with the next.
    fn written(&self) -> u64 {
        if self.ending.is_some() { self.sealed } else { self.sealed.saturating_sub(1) }
    }

    fn should_sync(&self) -> bool {
        let worth_it = self.ending.is_some() || self.written() - self.synced >= STRETCH;
        worth_it && !self.syncing && !self.all_synced
    }

    fn is_behind(&self) -> bool {
        self.hashed.len() as u64 > BEHIND || self.synced - self.checked > BEHIND
    }

    fn is_over(&self) -> bool {
        self.failed.is_some() || (self.all_synced && self.checked == self.synced)
    }

    fn take(&mut self, done: Done<R, B>) {
        match done {
            Done::Hashed(stage, pieces, unused) => {
                self.hashing = Some(stage);
                self.hashed.extend(pieces);
                unused.into_iter().for_each(|buffer| self.give_back(buffer));
            }
            Done::Sealed(sealed, buffer) => {
                self.give_back(buffer);
                self.sealed += 1;
                match sealed {
                    Sealed::More(stage) => self.sealing = Some(stage),
                    Sealed::Ended(ending) => self.ending = Some(Arc::new(ending)),
                }
            }
            Done::Synced { to, all } => {
                (self.synced, self.all_synced, self.syncing) = (to, all, false);
            }
            Done::Checked(stage) => {
                (self.checked, self.crc) = (stage.pieces(), stage.crc());
                self.checking = Some(stage);
            }
        }
    }

    fn give_back(&mut self, buffer: AlignedBuffer) {
        self.in_use = self.in_use.saturating_sub(1);
        self.spare.push(buffer);
    }
}

impl<'a, R, B> Crew<'a, R, B>
where
    R: Read + Send,
    B: FnOnce(Digest, u64) -> Trailer + Send,
{
    /// Nothing is done yet.
    pub(super) fn new(
        file: &'a DirectFile,
        path: &'a Path,
        hashing: Hashing<R>,
        sealing: Sealing<B>,
        checking: Checking,
    ) -> Self {
        let flow = Flow {
            hashing: Some(hashing),
            sealing: Some(sealing),
            checking: Some(checking),
            syncing: false,
            spare: Vec::new(),
            in_use: 0,
            hashed: VecDeque::new(),
            sealed: 0,
            synced: 0,
            checked: 0,
            ending: None,
            all_synced: false,
            crc: 0,
            failed: None,
        };
        Self { file, path, flow: Mutex::new(flow), moved: Condvar::new() }
    }

    /// Does all of it; gives what was read, and the CRC-32C of what was read back.
    pub(super) fn run(self) -> Result<(Totals, u32), ObjectError> {
        thread::scope(|scope| {
            for _ in 1..THREADS {
                let thread = thread::Builder::new().name("seal".into());
                // Where none can be made, this one does everything.
                let _made = thread.spawn_scoped(scope, || self.work());
            }
            self.work();
        });
        let flow = self.flow.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (flow.failed, flow.ending) {
            (None, Some(ending)) => Ok((ending.totals, flow.crc)),
            (failed, _) => Err(failed.unwrap_or(ObjectError::Cipher)),
        }
    }

    fn work(&self) {
        let mut flow = self.lock();
        while !flow.is_over() {
            let Some(task) = flow.next() else {
                flow = self.moved.wait(flow).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(flow);
            // A panic would keep a stage from the other threads, and them waiting: it is a failure of this recording.
            let done = catch_unwind(AssertUnwindSafe(|| self.perform(task)));
            flow = self.lock();
            match done {
                Ok(Ok(done)) => flow.take(done),
                Ok(Err(error)) => {
                    flow.failed.get_or_insert(error);
                }
                Err(_) => {
                    flow.failed.get_or_insert(ObjectError::Source(io::Error::other("sealing it panicked")));
                }
            }
            self.moved.notify_all();
        }
    }

    /// One step, without the lock.
    fn perform(&self, task: Task<R, B>) -> Result<Done<R, B>, ObjectError> {
        let (file, path) = (self.file, self.path);
        match task {
            Task::Hash(mut stage, buffer) => {
                let (pieces, unused) = stage.step(buffer)?;
                Ok(Done::Hashed(stage, pieces, unused))
            }
            Task::Seal(stage, mut piece) => {
                let sealed = stage.step(&mut piece, file, path)?;
                Ok(Done::Sealed(sealed, piece.buffer))
            }
            Task::Sync { from, to, all } => {
                let sync = || if all { file.file().sync_all() } else { file.file().sync_data() };
                on_file(Op::Sync, path, file.file(), sync).map_err(DiskError::when("sync", path))?;
                let offset = |piece: u64| if piece == 0 { 0 } else { chunk_offset(piece * PIECE_CHUNKS) };
                // One more: the trailer stands behind the last.
                drop_cache_of(file.file(), offset(from)..offset(to + 1))
                    .map_err(DiskError::when("drop the cache of", path))?;
                Ok(Done::Synced { to, all })
            }
            Task::Check(mut stage, ending) => {
                stage.step(ending.as_deref(), file, path)?;
                Ok(Done::Checked(stage))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Flow<R, B>> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
