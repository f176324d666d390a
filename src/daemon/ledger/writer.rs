//! The one writer (design §5): takes what waits, lets each proposal decide against the state with all earlier ones
//! applied, signs one checkpoint, appends one frame group, syncs once, answers all.
//!
//! Commit point: `fdatasync` of the tail, in [`Writer::commit`]. After a failed write or sync that tail is never touched
//! again; the batch in doubt is kept byte for byte and becomes durable first ([`Writer::resume`]), because a head once signed
//! is never signed again with other content. Must never answer, publish or forget anything before the sync.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::archive::{Archivist, DetailSlots};
use super::batch::{Batch, Scratch, Staging, encode};
use super::request::{FEW, Request, answer_all};
use super::{Availability, Committed, Head, Message, Shared, unavailable};
use crate::core::access::Recorded;
use crate::core::event::{Because, Draft, Event, LedgerRecovered, LedgerRekeyed, Outcome, Subject};
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::hash::Hash;
use crate::core::ledger::note::VerifierKey;
use crate::core::ledger::tail::TailHeader;
use crate::core::ledger::tree::Frontier;
use crate::core::policy::{Flood, House, Policy};
use crate::core::refusal::Refusal;
use crate::core::register::standing::Standing;
use crate::core::register::told::Told;
use crate::core::retention::{ClockDoubt, ClockVerdict, judge_start};
use crate::core::state::State;
use crate::core::time::{Moment, Timestamp};
use crate::daemon::clock::say_suspect;
use crate::shell::clock::SystemClock;
use crate::shell::crypt::{DetailCipher, Signer};
use crate::shell::disk::ledger_files::{LedgerDir, SpareTail, TailFile};
use crate::shell::disk::slots::SlotError;

/// What a proposal decides with: the state with everything before it in this batch applied, and the time of the batch.
pub struct Desk<'a> {
    /// The fold of the ledger.
    pub state: &'a State,
    /// The policy in force. A proposal that loads one puts it here.
    pub policy: &'a mut Arc<Policy>,
    /// Facts of the house that no policy changes.
    pub house: &'a House,
    /// The bound on recorded refusals.
    pub flood: &'a mut Flood,
    /// What details tell of what stands: who opened, who may, who asked, who answered.
    pub told: &'a mut Told,
    /// What stands in the registers, as the policy takes it.
    pub standing: &'a Standing,
    /// The clocks, read once for the batch.
    pub now: Moment,
}

/// A signing key with the vkey it is known by.
pub struct Keys {
    pub(super) log: Signer,
    pub(super) log_key: VerifierKey,
    pub(super) epoch: Signer,
    pub(super) epoch_key: VerifierKey,
}

/// The cipher of the details of one bundle; its key is durable in a slot before the first entry that uses it.
pub(super) struct DetailKeys {
    pub(super) slots: Arc<DetailSlots>,
    pub(super) log_id: [u8; 32],
    pub(super) current: Option<(u64, DetailCipher)>,
}

impl DetailKeys {
    pub(super) fn cipher_for(&mut self, seq: u64) -> Result<&DetailCipher, SlotError> {
        let bundle = seq / BUNDLE;
        if self.current.as_ref().is_none_or(|(held, _)| *held != bundle) {
            let secret = self.slots.secret(bundle)?;
            self.current = Some((bundle, DetailCipher::new(&secret, self.log_id)));
        }
        #[expect(clippy::expect_used, reason = "set on the line above when it was not")]
        Ok(&self.current.as_ref().expect("the cipher was just set").1)
    }
}

/// Entries in a bundle.
pub(super) const BUNDLE: u64 = 256;
/// How often an idle writer looks what the archivist has done.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a commit for few the writer looks for the next request before it sleeps: waking it takes as long.
const LOOK_OUT: Duration = Duration::from_micros(80);
/// After so many of them it tries again, when nothing came in time.
const PATIENCE: u32 = 16;
/// Requests that share one sync at most.
const BATCH_JOBS: usize = 256;
/// Room for the frames of a batch that is kept from one to the next.
const KEPT_ROOM_BYTES: usize = 1 << 20;
/// How long after a failure the writer tries again.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 500 });

pub(super) struct Writer {
    pub(super) files: LedgerDir,
    /// `None` from a failure until a new tail stands in its place.
    pub(super) tail: Option<TailFile>,
    pub(super) tail_number: u64,
    pub(super) log_id: Hash,
    pub(super) keys: Keys,
    pub(super) details: DetailKeys,
    pub(super) clock: Arc<SystemClock>,
    pub(super) state: State,
    pub(super) policy: Arc<Policy>,
    pub(super) house: House,
    pub(super) flood: Flood,
    pub(super) told: Told,
    pub(super) standing: Standing,
    /// The tree behind the last bundle whose files are durable, and the leaf before it: what is kept in memory begins here.
    pub(super) base: (Frontier, Hash),
    pub(super) frontier: Frontier,
    pub(super) prev: Hash,
    pub(super) checkpoint: String,
    pub(super) shared: Arc<Shared>,
    pub(super) committed: mpsc::Sender<Committed>,
    /// The durable head closes an epoch and does not yet stand in `checkpoints/`.
    pub(super) closing_due: bool,
    /// No key could be made durable for the details of the next bundle.
    pub(super) key_missing: bool,
    /// `ledger.stopped` is staged: nothing may follow it, whatever is still on its way.
    pub(super) stopped: bool,
    /// Granted in a batch that was in doubt, and not yet ended by an entry.
    pub(super) interrupt: Vec<Subject>,
    /// Writes full bundles; started when the first is full.
    pub(super) archivist: Option<Archivist>,
    /// Entries handed to it.
    pub(super) handed: u64,
    /// The last bundle whose details it was asked to make a key for.
    pub(super) key_ordered: u64,
    pub(super) spare: Option<SpareTail>,
    /// The size at the base of the tail as it stands in the file; `base` may be further.
    pub(super) tail_base: u64,
    pub(super) scratch: Scratch,
    /// The last batch as it was written; only its room is used again.
    pub(super) frames: Vec<u8>,
    /// When a batch for few was answered, unless something came since.
    pub(super) answered: Option<Instant>,
    /// After so many more of them it looks out again before it sleeps.
    pub(super) patience: u32,
}

/// What keeps the writer from going on.
enum Trouble {
    /// A batch may or may not be durable.
    Doubt(Batch),
    /// The entries are durable, but bundles, tail or a closing checkpoint could not be written.
    Files,
}

enum After {
    Nothing,
    Rekey(Signer, tokio::sync::oneshot::Sender<Result<(), Refusal>>),
    Stop(tokio::sync::oneshot::Sender<()>),
}

/// The answer of a proposal once its batch has ended.
pub(super) fn recorded<T>(synced: Result<(), Refusal>, value: T, entry: u64) -> Result<Recorded<T>, Refusal> {
    synced.map(|()| Recorded::after_sync(value, entry))
}

impl Writer {
    /// Works until told to stop, or until nobody can ask any more.
    pub(super) fn run(mut self, messages: &mpsc::Receiver<Message>) {
        loop {
            let next = match self.next_message(messages) {
                Ok(first) => self.turn(first, messages),
                Err(mpsc::RecvTimeoutError::Timeout) => match self.collect() {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        let trouble = self.files_failed(&error);
                        self.overcome(trouble, messages, false)
                    }
                },
                Err(mpsc::RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
            };
            if next.is_break() {
                return self.settle();
            }
        }
    }

    /// Waits for a request; after a commit for few at first without sleep.
    fn next_message(
        &mut self,
        messages: &mpsc::Receiver<Message>,
    ) -> Result<Message, mpsc::RecvTimeoutError> {
        if let Some(answered) = self.answered.take() {
            self.patience = match self.patience.checked_sub(1) {
                Some(left) => left,
                None => match self.look_out(answered, messages) {
                    Some(message) => return Ok(message),
                    None => PATIENCE,
                },
            };
        }
        match self.awaits_archivist() {
            true => messages.recv_timeout(LOOK),
            false => messages.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        }
    }

    fn look_out(&self, since: Instant, messages: &mpsc::Receiver<Message>) -> Option<Message> {
        while self.clock.monotonic().duration_since(since) < LOOK_OUT {
            if let Ok(message) = messages.try_recv() {
                return Some(message);
            }
            std::hint::spin_loop();
        }
        None
    }

    pub(super) fn desk(&mut self, now: Moment) -> Desk<'_> {
        let Self { state, policy, house, flood, told, standing, .. } = self;
        standing.refresh(policy, state, told);
        Desk { state, policy, house, flood, told, standing, now }
    }

    /// Begins a batch: the clocks are read once for all of it. When they stand before the last entry it says so first, so
    /// that time falls in no other place and nobody decides in this batch as if the clock were sound (invariant 11).
    pub(super) fn stage<'a>(&'a mut self, batch: &'a mut Batch) -> Staging<'a> {
        let now = self.clock.now();
        let verdict = judge_start(self.state.last().as_ref(), &now);
        let mut staging = Staging { writer: self, batch, now };
        if let ClockVerdict::Suspect { why: doubt @ ClockDoubt::Backward { .. } } = verdict {
            let why = doubt.to_string();
            say_suspect(&why);
            // Cannot fail; if it did, the journal has it, and the verifier names the entry.
            let _logged = staging.append(Draft::fact(Event::LedgerClockSuspect(Because { why })));
        }
        staging
    }

    fn turn(&mut self, first: Message, messages: &mpsc::Receiver<Message>) -> ControlFlow<()> {
        let mut batch = Batch::default();
        let mut waiting: Vec<Box<dyn Request>> = Vec::new();
        let mut after = After::Nothing;
        let mut staging = self.stage(&mut batch);
        let mut message = Some(first);
        let mut taken = 0;
        while let Some(next) = message.take() {
            match next {
                Message::Job(mut request) => {
                    if request.take(&mut staging) {
                        waiting.push(request);
                    }
                }
                // The last of its batch: from the next checkpoint on the new key signs.
                Message::Rekey { signer, done } => {
                    match staging.writer.epoch_key_of(&signer) {
                        Some(key) => {
                            let event = Event::LedgerRekeyed(LedgerRekeyed { epoch_key: key.to_string() });
                            match staging.append(Draft::fact(event)) {
                                Ok(_) => after = After::Rekey(signer, done),
                                Err(refusal) => drop(done.send(Err(refusal))),
                            }
                        }
                        None => drop(done.send(Err(Refusal::internal()))),
                    }
                    break;
                }
                Message::Stop { done } => {
                    after = After::Stop(done);
                    break;
                }
            }
            taken += 1;
            if taken < BATCH_JOBS && staging.batch.stored.len() < BATCH_JOBS {
                message = messages.try_recv().ok();
            }
        }
        let mut trouble = self.commit(batch).err();
        if self.key_missing && trouble.is_none() {
            trouble = Some(self.files_failed(&io::Error::other("no key for details can be made")));
        }
        let synced = match &trouble {
            Some(Trouble::Doubt(_)) => Err(unavailable()),
            _ => Ok(()),
        };
        // Many come back one after the other: a short sleep lets them gather.
        let few = (1..=FEW).contains(&waiting.len());
        answer_all(waiting, &synced);
        self.answered = few.then(|| self.clock.monotonic());
        let stop = self.after(after, &synced, &mut trouble);
        match trouble {
            Some(trouble) => self.overcome(trouble, messages, stop),
            None if stop => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// What follows the commit of a batch. Returns whether the writer ends.
    fn after(&mut self, after: After, synced: &Result<(), Refusal>, trouble: &mut Option<Trouble>) -> bool {
        match after {
            After::Nothing => false,
            After::Stop(done) => {
                if let Err(error) = self.tidy() {
                    log::warn!("the tail of the ledger stays long until the next start, ignoring: {error}");
                }
                let _gone = done.send(());
                true
            }
            After::Rekey(signer, done) => {
                // The entry stands, or will: either way the next head is signed with the new key.
                if let Some(key) = self.epoch_key_of(&signer) {
                    self.keys.epoch = signer;
                    self.keys.epoch_key = key;
                }
                self.closing_due = true;
                let kept = synced.clone().and_then(|()| {
                    self.keep_closing_checkpoint().map_err(|error| {
                        let failed = self.files_failed(&error);
                        trouble.get_or_insert(failed);
                        unavailable()
                    })
                });
                let _gone = done.send(kept);
                false
            }
        }
    }

    fn epoch_key_of(&self, signer: &Signer) -> Option<VerifierKey> {
        VerifierKey::new(self.keys.log_key.name(), &signer.public()).ok()
    }

    /// Keeps the last head of an epoch for ever: the proof of what its destroyed key signed.
    pub(super) fn keep_closing_checkpoint(&mut self) -> io::Result<()> {
        let name = format!("checkpoints/{}", self.frontier.size());
        self.files.write_once(&name, self.checkpoint.as_bytes())?;
        self.closing_due = false;
        Ok(())
    }

    /// Signs, writes, syncs. On success everything is durable; on failure the batch is in doubt.
    fn commit(&mut self, mut batch: Batch) -> Result<(), Trouble> {
        if batch.stored.is_empty() {
            return Ok(());
        }
        batch.checkpoint = self.sign();
        match self.append(&batch) {
            Ok(()) => {
                self.accept(batch);
                self.hand_over().and_then(|()| self.collect()).map_err(|error| self.files_failed(&error))
            }
            Err(error) => {
                self.tail = None;
                log::error!("the ledger cannot be written: {error}");
                self.shared.close(&format!("the ledger cannot be written: {error}"));
                Err(Trouble::Doubt(batch))
            }
        }
    }

    fn files_failed(&mut self, error: &io::Error) -> Trouble {
        self.tail = None;
        log::error!("the files of the ledger cannot be written: {error}");
        self.shared.close(&format!("the files of the ledger cannot be written: {error}"));
        Trouble::Files
    }

    pub(super) fn sign(&self) -> String {
        let size = self.frontier.size();
        let Keys { log, log_key, epoch, epoch_key } = &self.keys;
        let checkpoint = Checkpoint { origin: log_key.name().to_owned(), size, root: self.frontier.root() };
        let body = checkpoint.body();
        let (by_log, by_epoch) = (log.sign(body.as_bytes()), epoch.sign(body.as_bytes()));
        SignedCheckpoint::assemble(&checkpoint, log_key, &by_log, epoch_key, &by_epoch)
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let tail = self.tail.as_mut().ok_or_else(|| io::Error::other("there is no tail to append to"))?;
        self.frames.clear();
        self.frames.shrink_to(KEPT_ROOM_BYTES);
        encode(&mut self.frames, self.tail_number, tail.end(), &batch.stored, &batch.checkpoint)?;
        tail.append(&self.frames)
    }

    /// After the sync: what was staged becomes what the world sees.
    pub(super) fn accept(&mut self, batch: Batch) {
        let size = self.frontier.size();
        self.shared.recent.write().unwrap_or_else(PoisonError::into_inner).extend(batch.stored);
        self.checkpoint = batch.checkpoint;
        self.shared.head.send_replace(Head { size, checkpoint: self.checkpoint.as_str().into() });
        let (records, subjects) = (Arc::new(batch.records), batch.subjects);
        let committed = Committed { records, subjects, size, root: self.frontier.root().0 };
        // Nobody listens any more only while the daemon ends.
        let _gone = self.committed.send(committed);
    }

    /// Puts a new tail in place of the old one: entries since the base, then `doubt`, then the last checkpoint.
    pub(super) fn replace_tail(&mut self, doubt: Option<&Batch>) -> io::Result<()> {
        self.tail = None;
        self.tail_number += 1;
        let header = TailHeader {
            log_id: self.log_id,
            tail_number: self.tail_number,
            prev: self.base.1,
            base: self.base.0.clone(),
        };
        let mut content = header.encode().to_vec();
        let mut stored = self.shared.recent().stored.clone();
        let checkpoint = doubt.map_or(&self.checkpoint, |batch| &batch.checkpoint);
        stored.extend(doubt.into_iter().flat_map(|batch| batch.stored.iter().cloned()));
        encode(&mut content, self.tail_number, 0, &stored, checkpoint)?;
        self.tail = Some(self.files.replace_tail(&content, self.spare.take())?);
        self.tail_base = self.base.0.size();
        Ok(())
    }

    /// Tries until the ledger can be written again, turning away whoever asks meanwhile (invariant 3).
    fn overcome(
        &mut self,
        mut trouble: Trouble,
        messages: &mpsc::Receiver<Message>,
        stop: bool,
    ) -> ControlFlow<()> {
        let since = self.clock.now().time;
        self.settle();
        self.shared.turned_away.store(0, std::sync::atomic::Ordering::Relaxed);
        loop {
            if stop || self.turn_away(messages).is_break() {
                // What is in doubt stands in memory only, or in the tail; the next start decides (recovery).
                return ControlFlow::Break(());
            }
            match self.resume(trouble, since) {
                Ok(()) => {
                    log::warn!("the ledger can be written again");
                    self.shared.availability.send_replace(Availability::Open);
                    return ControlFlow::Continue(());
                }
                Err(still) => trouble = still,
            }
        }
    }

    fn turn_away(&mut self, messages: &mpsc::Receiver<Message>) -> ControlFlow<()> {
        let until = self.clock.monotonic() + RETRY;
        loop {
            match messages.recv_timeout(until.saturating_duration_since(self.clock.monotonic())) {
                Ok(Message::Job(request)) => request.answer(Err(self.shared.turned_away())),
                Ok(Message::Rekey { done, .. }) => drop(done.send(Err(self.shared.turned_away()))),
                Ok(Message::Stop { done }) => {
                    let _gone = done.send(());
                    return ControlFlow::Break(());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => return ControlFlow::Continue(()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
            }
        }
    }

    /// One attempt: a new tail with the batch in doubt, the files that are missing, then an entry that says so.
    fn resume(&mut self, trouble: Trouble, since: Timestamp) -> Result<(), Trouble> {
        let doubt = match trouble {
            Trouble::Doubt(batch) => Some(batch),
            Trouble::Files => None,
        };
        if let Err(error) = self.replace_tail(doubt.as_ref()) {
            let trouble = self.files_failed(&error);
            return Err(doubt.map_or(trouble, Trouble::Doubt));
        }
        if let Some(batch) = doubt {
            // Whoever was granted something in it was told "unavailable": those grants end below.
            self.interrupt.extend(batch.records.iter().filter_map(granted));
            self.accept(batch);
        }
        let kept = if self.closing_due { self.keep_closing_checkpoint() } else { Ok(()) };
        kept.and_then(|()| self.roll_over()).map_err(|error| self.files_failed(&error))?;
        let key = self.details.cipher_for(self.frontier.size()).map(|_| ()).map_err(io::Error::other);
        key.map_err(|error| self.files_failed(&error))?;
        self.key_missing = false;

        let turned_away = self.shared.turned_away.swap(0, std::sync::atomic::Ordering::Relaxed);
        let recovered =
            LedgerRecovered { why: "write-failed".into(), dropped_bytes: 0, since: Some(since), turned_away };
        let interrupted = std::mem::take(&mut self.interrupt).into_iter().map(|subject| {
            let why = Because { why: "grant-in-doubt".into() };
            Draft::fact(Event::AccessInterrupted(why)).about(subject)
        });
        let mut batch = Batch::default();
        let mut staging = self.stage(&mut batch);
        for draft in std::iter::once(Draft::fact(Event::LedgerRecovered(recovered))).chain(interrupted) {
            // One that cannot be made is logged and leaves no trace; the others stand all the same.
            let _logged = staging.append(draft);
        }
        self.commit(batch)
    }
}

/// The subject of a grant that the batch in doubt holds.
fn granted(record: &crate::core::event::Record) -> Option<Subject> {
    let opened = matches!(record.event, Event::AccessOpened(_)) && record.outcome == Outcome::Granted;
    opened.then(|| record.subject.clone())
}
