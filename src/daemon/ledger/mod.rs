//! The ledger as the rest of the daemon sees it: `record` a decision, `read` entries, know whether it is open.
//!
//! One thread, the writer, owns state and tail (design §5). Everything that decides runs there, as a proposal: a function
//! over the [`Desk`] that returns what to append and what to answer. The answer comes back only after the sync, as a
//! `Recorded<T>`. Must never answer a proposal from anything but a durable, signed batch (invariants 1, 3).

mod ahead;
mod archive;
mod batch;
mod evidence;
mod expire;
mod fold;
mod open;
mod proofs;
mod read;
mod request;
mod restore;
mod rollover;
pub mod second_place;
mod writer;

#[cfg(test)]
mod tests;

pub use expire::{DetailFiles, ExpireError, detail_slot_in_force};
pub use open::{OpenError, OpenLedger, Opened};
pub use read::{Line, Reader};
pub use writer::{Desk, Keys};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use request::{Look, Propose, Request};

use crate::core::access::Recorded;
use crate::core::event::{Draft, Record};
use crate::core::ids::RecordingId;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::crypt::Signer;

/// What a proposal asks the writer to append, and the answer that becomes true with it.
#[must_use]
pub struct Proposal<T> {
    first: Draft,
    more: Vec<Draft>,
    answer: T,
}

impl<T> Proposal<T> {
    /// One entry.
    pub fn new(first: Draft, answer: T) -> Self {
        Self { first, more: Vec::new(), answer }
    }
    /// One entry more, after those given.
    pub fn and(mut self, draft: Draft) -> Self {
        self.more.push(draft);
        self
    }
}

/// Whether the ledger can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Open,
    /// It cannot, and why. The writer tries again by itself (invariant 3).
    Closed(String),
}

/// Entries that have just become durable, for the catalogue.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The entries, in order.
    pub records: Arc<Vec<Record>>,
    /// Whose the recordings are that they seal, as their details say.
    pub subjects: Vec<(RecordingId, String)>,
    /// Entries in the ledger after them.
    pub size: u64,
    /// The root at that size.
    pub root: [u8; 32],
}

/// A handle on the ledger; clones share it.
#[derive(Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What the writer publishes after each commit.
struct Shared {
    availability: watch::Sender<Availability>,
    head: watch::Sender<Head>,
    recent: RwLock<read::Recent>,
    turned_away: AtomicU64,
}

/// The last durable checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Entries it covers.
    pub size: u64,
    /// The signed note.
    pub checkpoint: Arc<str>,
}

enum Message {
    Job(Box<dyn Request>),
    Rekey { signer: Signer, done: oneshot::Sender<Result<(), Refusal>> },
    Stop { done: oneshot::Sender<()> },
}

impl Ledger {
    /// Runs `propose` at its turn, appends what it asks for, and answers once that is durable and signed.
    ///
    /// # Errors
    /// The refusal of `propose` (then nothing was appended), or `LedgerUnavailable`.
    pub async fn record<T: Send + 'static>(
        &self,
        propose: impl FnOnce(&mut Desk<'_>) -> Result<Proposal<T>, Refusal> + Send + 'static,
    ) -> Result<Recorded<T>, Refusal> {
        self.submit_from(Handle::try_current().ok(), propose).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The same for a thread that may block.
    pub fn record_blocking<T: Send + 'static>(
        &self,
        propose: impl FnOnce(&mut Desk<'_>) -> Result<Proposal<T>, Refusal> + Send + 'static,
    ) -> Result<Recorded<T>, Refusal> {
        self.submit(propose).blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn submit<T: Send + 'static>(
        &self,
        propose: impl FnOnce(&mut Desk<'_>) -> Result<Proposal<T>, Refusal> + Send + 'static,
    ) -> oneshot::Receiver<Result<Recorded<T>, Refusal>> {
        self.submit_from(None, propose)
    }

    /// `runtime`: where the task runs that waits.
    fn submit_from<T: Send + 'static>(
        &self,
        runtime: Option<Handle>,
        propose: impl FnOnce(&mut Desk<'_>) -> Result<Proposal<T>, Refusal> + Send + 'static,
    ) -> oneshot::Receiver<Result<Recorded<T>, Refusal>> {
        let (answer, waiting) = oneshot::channel();
        // A writer that is gone drops the request and with it the sender: the receiver then says "stopped".
        let _gone = self.jobs.send(Message::Job(Propose::new(propose, answer, runtime)));
        waiting
    }

    /// Looks at the state at the writer's turn, without an entry. For plans and figures, never to release anything.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.submit_look(look).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The same for a thread that may block.
    pub fn look_blocking<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.submit_look(look).blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn submit_look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Refusal>> {
        let (answer, waiting) = oneshot::channel();
        let _gone = self.jobs.send(Message::Job(Look::new(look, answer)));
        waiting
    }

    /// Changes the epoch key: `ledger.rekeyed` under the old one, its checkpoint kept for ever, then the new one signs.
    /// Afterwards the caller destroys the old key's slot.
    pub async fn rekey(&self, signer: Signer) -> Result<(), Refusal> {
        let (done, waiting) = oneshot::channel();
        let _gone = self.jobs.send(Message::Rekey { signer, done });
        waiting.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Ends the writer after what it was asked before.
    pub async fn stop(&self) {
        let (done, waiting) = oneshot::channel();
        let _gone = self.jobs.send(Message::Stop { done });
        let _ended = waiting.await;
    }

    /// The last durable checkpoint.
    pub fn head(&self) -> Head {
        self.shared.head.borrow().clone()
    }
    /// Follows the head.
    pub fn follow_head(&self) -> watch::Receiver<Head> {
        self.shared.head.subscribe()
    }
    /// Follows whether the ledger can be written.
    pub fn availability(&self) -> watch::Receiver<Availability> {
        self.shared.availability.subscribe()
    }
}

impl Shared {
    fn close(&self, why: &str) {
        self.availability.send_if_modified(|now| {
            let closed = Availability::Closed(why.to_owned());
            let changed = *now != closed;
            *now = closed;
            changed
        });
    }
    fn turned_away(&self) -> Refusal {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        unavailable()
    }
    fn recent(&self) -> std::sync::RwLockReadGuard<'_, read::Recent> {
        // A reader that panicked changed nothing: the content is whole.
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable() -> Refusal {
    Refusal::new(
        RefusalKind::LedgerUnavailable,
        "The ledger cannot be written, so nothing is served; the administrator finds the cause with `greffierctl status`.",
    )
}

fn stopped() -> Refusal {
    Refusal::new(RefusalKind::Closed, "The service is stopping; try again in a moment.")
}
