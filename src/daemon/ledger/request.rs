//! What the writer is asked, and how it answers.
//!
//! Owns one request from its arrival to its answer, and the waking of those who wait. Must never give an answer that says
//! "recorded" before the sync of its batch: [`Request::answer`] is told how that ended.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::batch::Staging;
use super::writer::{Desk, recorded};
use super::{Proposal, stopped};
use crate::core::access::Recorded;
use crate::core::refusal::Refusal;

/// One request, in the order of arrival.
pub(super) trait Request: Send {
    /// Its turn at the desk. Whether its answer waits for the sync of the batch; otherwise it is answered.
    fn take(&mut self, staging: &mut Staging<'_>) -> bool;
    /// The answer, once the batch has ended so; or, when it had no turn, why it was turned away.
    fn answer(self: Box<Self>, ended: Result<(), Refusal>);
    /// Where the task runs that waits for the answer; `None` when a thread waits.
    fn runtime(&self) -> Option<&Handle>;
}

/// A proposal: decides and appends.
pub(super) struct Propose<T, P> {
    propose: Option<P>,
    staged: Option<(T, u64)>,
    answer: Option<oneshot::Sender<Result<Recorded<T>, Refusal>>>,
    runtime: Option<Handle>,
}

impl<T, P> Propose<T, P>
where
    T: Send + 'static,
    P: FnOnce(&mut Desk<'_>) -> Result<Proposal<T>, Refusal> + Send + 'static,
{
    pub(super) fn new(
        propose: P,
        answer: oneshot::Sender<Result<Recorded<T>, Refusal>>,
        runtime: Option<Handle>,
    ) -> Box<Self> {
        Box::new(Self { propose: Some(propose), staged: None, answer: Some(answer), runtime })
    }

    fn send(&mut self, answer: Result<Recorded<T>, Refusal>) {
        // Whoever asked may have gone.
        let _gone = self.answer.take().map(|to| to.send(answer));
    }
}

impl<T, P> Request for Propose<T, P>
where
    T: Send + 'static,
    P: FnOnce(&mut Desk<'_>) -> Result<Proposal<T>, Refusal> + Send + 'static,
{
    fn take(&mut self, staging: &mut Staging<'_>) -> bool {
        let Some(propose) = self.propose.take() else { return false };
        let (policy, entries) = (staging.writer.policy.clone(), staging.batch.stored.len());
        let staged = propose(&mut staging.desk()).and_then(|proposal| {
            let entry = staging.append(proposal.first)?;
            for draft in proposal.more {
                staging.append(draft)?;
            }
            Ok((proposal.answer, entry))
        });
        if staged.is_err() && staging.batch.stored.len() == entries {
            // A policy that no entry loads decides nothing (invariant 2).
            staging.writer.policy = policy;
        }
        match staged {
            Ok(staged) => self.staged = Some(staged),
            Err(refusal) => self.send(Err(refusal)),
        }
        self.staged.is_some()
    }

    fn answer(mut self: Box<Self>, ended: Result<(), Refusal>) {
        let answer = match self.staged.take() {
            Some((value, entry)) => recorded(ended, value, entry),
            None => Err(ended.err().unwrap_or_else(stopped)),
        };
        self.send(answer);
    }

    fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }
}

/// A look at the state: no entry.
pub(super) struct Look<T, F> {
    look: Option<F>,
    answer: Option<oneshot::Sender<Result<T, Refusal>>>,
}

impl<T, F> Look<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Desk<'_>) -> T + Send + 'static,
{
    pub(super) fn new(look: F, answer: oneshot::Sender<Result<T, Refusal>>) -> Box<Self> {
        Box::new(Self { look: Some(look), answer: Some(answer) })
    }
}

impl<T, F> Request for Look<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Desk<'_>) -> T + Send + 'static,
{
    fn take(&mut self, staging: &mut Staging<'_>) -> bool {
        if let (Some(look), Some(answer)) = (self.look.take(), self.answer.take()) {
            let _gone = answer.send(Ok(look(&mut staging.desk())));
        }
        false
    }

    fn answer(mut self: Box<Self>, ended: Result<(), Refusal>) {
        let _gone = self.answer.take().map(|to| to.send(Err(ended.err().unwrap_or_else(stopped))));
    }

    fn runtime(&self) -> Option<&Handle> {
        None
    }
}

/// So many are woken by the writer itself.
pub(super) const FEW: usize = 4;

/// Answers everybody who waits for a batch.
///
/// A task woken from outside its runtime costs a lock, and often a system call. So with many of them one task does it, on
/// the runtime's own thread, while the writer goes on with the next batch.
pub(super) fn answer_all(mut waiting: Vec<Box<dyn Request>>, ended: &Result<(), Refusal>) {
    let runtime = waiting.iter().find_map(|request| request.runtime()).cloned();
    if let Some(runtime) = runtime.filter(|_| waiting.len() > FEW) {
        let tasks = waiting.extract_if(.., |request| request.runtime().is_some()).collect();
        let tasks = Answers { tasks, ended: ended.clone() };
        // A runtime that ends drops it instead, which answers as well.
        let _runs_by_itself = runtime.spawn(async move { drop(tasks) });
    }
    for request in waiting {
        request.answer(ended.clone());
    }
}

/// Answers when it is dropped, whatever dropped it.
struct Answers {
    tasks: Vec<Box<dyn Request>>,
    ended: Result<(), Refusal>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        for request in self.tasks.drain(..) {
            request.answer(self.ended.clone());
        }
    }
}
