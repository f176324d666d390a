//! A batch: entries that become durable together.
//!
//! Owns how a draft becomes an entry: number, clocks, `prev`, encrypted detail, leaf. The writer's state runs ahead of the
//! durable one by this batch, which is the overlay of design §5: each proposal sees the entries of those before it.
//! There is no way back from it, and none is needed: a batch that cannot be synced is kept and becomes durable first.

use std::sync::Arc;

use super::writer::{Desk, Writer};
use crate::core::event::{Draft, Event, Outcome, Place, Record};
use crate::core::ledger::hash::{Hash, detail_commitment, leaf_hash};
use crate::core::ledger::tail::FrameKind;
use crate::core::refusal::Refusal;
use crate::core::register::uses::holder;
use crate::core::time::Moment;
use crate::shell::entropy;

/// One entry as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// The public line.
    pub(super) line: Arc<[u8]>,
    /// The detail, encrypted.
    pub(super) detail: Option<Arc<[u8]>>,
    /// The leaf hash of the line.
    pub(super) leaf: Hash,
}

impl Stored {
    /// Its frames, in the order of the tail.
    pub(super) fn frames(&self) -> impl Iterator<Item = (FrameKind, &[u8])> {
        let detail = self.detail.iter().map(|detail| (FrameKind::Detail, detail.as_ref()));
        std::iter::once((FrameKind::Entry, self.line.as_ref())).chain(detail)
    }
}

/// Entries on their way to the medium, with the checkpoint that covers them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) stored: Vec<Stored>,
    pub(super) records: Vec<Record>,
    pub(super) checkpoint: String,
}

/// The writer while it builds a batch.
pub(super) struct Staging<'a> {
    pub(super) writer: &'a mut Writer,
    pub(super) batch: &'a mut Batch,
    pub(super) now: Moment,
}

impl Staging<'_> {
    /// What a proposal may look at.
    pub(super) fn desk(&mut self) -> Desk<'_> {
        self.writer.desk(self.now)
    }

    /// Appends one draft and folds it. A draft that contradicts the state is our fault, and leaves no trace.
    pub(super) fn append(&mut self, draft: Draft) -> Result<u64, Refusal> {
        if self.writer.stopped {
            return Err(super::stopped());
        }
        self.try_append(draft).map_err(|error| {
            log::error!("an entry could not be made: {}", crate::daemon::errors::chain(error.as_ref()));
            if self.writer.key_missing { super::unavailable() } else { Refusal::internal() }
        })
    }

    fn try_append(&mut self, draft: Draft) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        let writer = &mut *self.writer;
        draft.check_detail()?;
        let seq = writer.frontier.size();
        let (detail, commitment) = match &draft.detail {
            None => (None, None),
            Some(detail) => {
                let line = detail.to_line(seq, &entropy::array()?)?;
                // A key that cannot be made durable closes the ledger like a write that fails (invariant 3).
                if let Err(error) = writer.details.cipher_for(seq) {
                    writer.key_missing = true;
                    return Err(error.into());
                }
                let sealed = writer.details.cipher_for(seq)?.seal_detail(seq, &line)?;
                (Some(Arc::from(sealed)), Some(detail_commitment(&line)))
            }
        };
        let policy = match draft.event {
            // The entry that loads a policy names it: its digest is in force from here on.
            Event::PolicyLoaded(_) => Some(writer.policy.digest()),
            _ => writer.state.policy(),
        };
        let place = Place { seq, moment: self.now, prev: writer.prev, policy };
        let (entry, record) = draft.at(&place, commitment)?;
        let line = entry.to_line()?;
        writer.state.apply(&record)?;
        if matches!((&record.event, record.outcome), (Event::AccessOpened(_), Outcome::Granted)) {
            writer.holders.forget(writer.state.uses());
            match draft.detail.as_ref().and_then(holder) {
                Some((uid, rule)) => writer.holders.note(seq, uid, rule),
                None => writer.holders.note_unknown(seq),
            }
        }
        let leaf = leaf_hash(&line);
        writer.frontier.push(leaf);
        writer.prev = leaf;
        self.batch.stored.push(Stored { line: line.into(), detail, leaf });
        self.writer.stopped = matches!(record.event, Event::LedgerStopped(_));
        self.batch.records.push(record);
        Ok(seq)
    }
}
