//! A batch: entries that become durable together.
//!
//! Owns how a draft becomes an entry: number, clocks, `prev`, encrypted detail, leaf. The writer's state runs ahead of the
//! durable one by this batch, which is the overlay of design §5: each proposal sees the entries of those before it.
//! There is no way back from it, and none is needed: a batch that cannot be synced is kept and becomes durable first.

use std::io;
use std::sync::Arc;

use super::writer::{Desk, Writer};
use crate::core::event::{Draft, Event, Place, Record};
use crate::core::ids::RecordingId;
use crate::core::ledger::hash::{Hash, detail_commitment, leaf_hash};
use crate::core::ledger::tail::{FRAME_OVERHEAD_BYTES, FrameKind, encode_frame};
use crate::core::refusal::Refusal;
use crate::core::time::Moment;
use crate::shell::entropy;

/// One entry as it is stored. The bytes never change, and clones share them.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// The public line, then the encrypted detail, if there is one.
    bytes: Arc<[u8]>,
    line_bytes: usize,
    /// The leaf hash of the line.
    pub(super) leaf: Hash,
}

impl Stored {
    /// Of an entry read back.
    pub(super) fn new(line: &[u8], detail: Option<&[u8]>, leaf: Hash) -> Self {
        let bytes = [line, detail.unwrap_or_default()].concat();
        Self { bytes: bytes.into(), line_bytes: line.len(), leaf }
    }
    /// The public line.
    pub(super) fn line(&self) -> &[u8] {
        self.bytes.get(..self.line_bytes).unwrap_or_default()
    }
    /// The detail, encrypted; never empty.
    pub(super) fn detail(&self) -> Option<&[u8]> {
        self.bytes.get(self.line_bytes..).filter(|detail| !detail.is_empty())
    }
    /// Its frames, in the order of the tail.
    pub(super) fn frames(&self) -> impl Iterator<Item = (FrameKind, &[u8])> {
        let detail = self.detail().into_iter().map(|detail| (FrameKind::Detail, detail));
        std::iter::once((FrameKind::Entry, self.line())).chain(detail)
    }
    /// How many bytes its frames have in the tail.
    pub(super) fn frame_bytes(&self) -> u64 {
        let frames = if self.detail().is_some() { 2 } else { 1 };
        (self.bytes.len() + frames * FRAME_OVERHEAD_BYTES) as u64
    }
}

/// What the making of an entry uses again and again.
pub(super) struct Scratch {
    /// For salts and nonces.
    drawn: entropy::Drawn,
    line: Vec<u8>,
    sealed: Vec<u8>,
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self { drawn: entropy::Drawn::new(), line: Vec::new(), sealed: Vec::new() }
    }
}

/// Entries on their way to the medium, with the checkpoint that covers them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) stored: Vec<Stored>,
    pub(super) records: Vec<Record>,
    /// Whose the recordings are that it seals, as their details say.
    pub(super) subjects: Vec<(RecordingId, String)>,
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
        let policy = match draft.event {
            // The entry that loads a policy names it: its digest is in force from here on.
            Event::PolicyLoaded(_) => Some(writer.policy.digest()),
            _ => writer.state.policy(),
        };
        let (record, mut detail) = draft.at(&Place { seq, moment: self.now, policy });
        let Scratch { drawn, line, sealed } = &mut writer.scratch;
        line.clear();
        sealed.clear();
        let commitment = match &mut detail {
            None => None,
            Some(detail) => {
                let clear = detail.line_as(seq, &drawn.array()?)?;
                // A key that cannot be made durable closes the ledger like a write that fails (invariant 3).
                let cipher = writer.details.cipher_for(seq).inspect_err(|_| writer.key_missing = true)?;
                cipher.seal_onto(sealed, drawn, seq, &clear)?;
                Some(detail_commitment(&clear))
            }
        };
        record.write_line(writer.prev, commitment.as_ref(), line)?;
        writer.state.apply(&record)?;
        writer.told.note(&record, detail.as_ref(), &writer.state);
        let subject = detail.and_then(|detail| detail.subject);
        if let (Event::RecordingSealed(_), Some(id), Some(subject)) =
            (&record.event, record.subject.recording, subject)
        {
            self.batch.subjects.push((id, subject));
        }
        let leaf = leaf_hash(line);
        writer.frontier.push(leaf);
        writer.prev = leaf;
        let line_bytes = line.len();
        line.extend_from_slice(sealed);
        self.batch.stored.push(Stored { bytes: line.as_slice().into(), line_bytes, leaf });
        writer.stopped = matches!(record.event, Event::LedgerStopped(_));
        self.batch.records.push(record);
        Ok(seq)
    }
}

/// Appends to `out` the frames of `stored` and of the checkpoint that covers them. `offset`: where `out` begins in tail
/// `tail_number`.
pub(super) fn encode(
    out: &mut Vec<u8>,
    tail_number: u64,
    offset: u64,
    stored: &[Stored],
    checkpoint: &str,
) -> io::Result<()> {
    let frame_bytes: u64 = stored.iter().map(Stored::frame_bytes).sum();
    out.reserve(usize::try_from(frame_bytes).unwrap_or(0) + checkpoint.len() + FRAME_OVERHEAD_BYTES);
    let mut frame = |kind, payload: &[u8]| {
        let at = offset + out.len() as u64;
        encode_frame(out, tail_number, at, kind, payload).map_err(io::Error::other)
    };
    for (kind, payload) in stored.iter().flat_map(Stored::frames) {
        frame(kind, payload)?;
    }
    if !checkpoint.is_empty() {
        frame(FrameKind::Checkpoint, checkpoint.as_bytes())?;
    }
    Ok(())
}
