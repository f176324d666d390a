//! What may be kept of a tail after a crash: everything up to the last checkpoint whose root and both signatures match.
//!
//! Invariant 4: only an end that was never acknowledged may be dropped. A frame with a right CRC was written by us, whole; if it
//! contradicts the frames before it, that is no torn write and recovery refuses.
//!
//! A batch of several disk blocks may reach the medium in any order. A power cut can so leave its checkpoint whole behind
//! blocks that were never written: damage before a signed checkpoint, though nobody was told of either. It is dropped like
//! any torn end when all of this holds, and else refused, because the checkpoint may have been acknowledged:
//! - it is the only signed checkpoint after the damage, and nothing follows it: one batch is in flight at a time;
//! - a whole batch stands before it: a tail takes its place synced, with its first batch in it;
//! - between damage and checkpoint a whole sector still is as it was prepared, all zeros. No frame holds so many zeros, and
//!   a medium that goes bad seldom gives clean ones: a flipped bit stays Fatal;
//! - no witness (second place, kept checkpoint, bundle) has seen more entries than would be kept.

use super::super::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use super::super::entry::{Entry, EntryError};
use super::super::epoch::{EpochError, EpochKeys};
use super::super::hash::{Hash, leaf_hash};
use super::super::note::SignedNote;
use super::super::tree::Frontier;
use super::frame::{FRAME_OVERHEAD_BYTES, Frame, FrameKind, Stop, checkpoints_after, scan};
use super::header::{HEADER_BYTES, HeaderError, TailHeader, log_id};

/// An entry of the tail, covered by a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredEntry<'a> {
    /// Its place in the ledger.
    pub seq: u64,
    /// The public line, as stored.
    pub line: &'a [u8],
    /// Its leaf hash.
    pub leaf: Hash,
    /// Its encrypted detail, if one stands beside it.
    pub detail: Option<&'a [u8]>,
}

/// What a tail holds for certain, and what was dropped from its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredTail<'a> {
    /// The header.
    pub header: TailHeader,
    /// The entries, in order, from the base of the header on.
    pub entries: Vec<RecoveredEntry<'a>>,
    /// The tree after the last of them.
    pub frontier: Frontier,
    /// Leaf hash of the last entry: `prev` of the next.
    pub prev: Hash,
    /// The last checkpoint, read and as stored; `None` in a tail that was made and never written to.
    pub head: Option<(Checkpoint, &'a str)>,
    /// The epoch keys, with those that this tail announces.
    pub epochs: EpochKeys,
    /// Where the next frame goes.
    pub end_offset: u64,
    /// Bytes dropped, from `end_offset` to the last byte that is not zero.
    pub dropped_bytes: u64,
    /// Whole frames among them.
    pub dropped_frames: u64,
}

/// A tail that cannot be used: the failure class Fatal of the design. Nothing may be changed before a person has looked.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The header.
    #[error("tail: offset 0 is not a usable header")]
    Header(#[source] HeaderError),
    /// A tail of another ledger.
    #[error("tail: it belongs to another ledger than the log key")]
    OtherLedger,
    /// Damage, and later a checkpoint that the log key signed: what is damaged may have been acknowledged.
    #[error("tail: damaged at offset {offset} ({why}), and a signed checkpoint follows at offset {later}")]
    DamagedBefore {
        /// Where the damage begins.
        offset: u64,
        /// What was found there.
        why: &'static str,
        /// Where the later checkpoint begins.
        later: u64,
    },
    /// An entry frame that is not the next entry.
    #[error("tail: offset {offset}: not the entry that must stand here: {why}")]
    Entry {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry frame that is no entry.
    #[error("tail: offset {offset}: not an entry")]
    EntryFormat {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// An entry that announces keys wrongly.
    #[error("tail: offset {offset}: a wrong announcement of keys")]
    Epoch {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: EpochError,
    },
    /// A detail frame that no entry commits to.
    #[error("tail: offset {offset}: a detail without an entry that commits to it")]
    Detail {
        /// Where the frame begins.
        offset: u64,
    },
    /// A checkpoint frame that does not match the entries before it.
    #[error("tail: offset {offset}: the checkpoint does not match the entries before it: {why}")]
    Checkpoint {
        /// Where the frame begins.
        offset: u64,
        /// What differs.
        why: &'static str,
    },
    /// A checkpoint frame that is not a checkpoint, or not signed as it must be.
    #[error("tail: offset {offset}: not a checkpoint signed by both keys")]
    Signature {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: CheckpointError,
    },
}

impl TailError {
    /// Where in the file, in bytes; `None` when it is about the header.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Header(_) | Self::OtherLedger => None,
            Self::DamagedBefore { offset, .. }
            | Self::Entry { offset, .. }
            | Self::EntryFormat { offset, .. }
            | Self::Epoch { offset, .. }
            | Self::Detail { offset }
            | Self::Checkpoint { offset, .. }
            | Self::Signature { offset, .. } => Some(*offset),
        }
    }
}

/// The smallest unit that a medium writes whole.
const SECTOR_BYTES: usize = 512;

/// Reads a whole tail file. `epochs` are the keys announced by the entries before its base; they hold the pinned log key.
/// `acknowledged`: at least so many entries are known to have been acknowledged; 0 when nothing tells.
pub fn recover<'a>(
    file: &'a [u8],
    epochs: &EpochKeys,
    acknowledged: u64,
) -> Result<RecoveredTail<'a>, TailError> {
    let header = TailHeader::decode(file).map_err(TailError::Header)?;
    if header.log_id != log_id(epochs.log_key()) {
        return Err(TailError::OtherLedger);
    }
    let mut batch = RecoveredTail {
        entries: Vec::new(),
        frontier: header.base.clone(),
        prev: header.prev,
        head: None,
        epochs: epochs.clone(),
        end_offset: HEADER_BYTES as u64,
        dropped_bytes: 0,
        dropped_frames: 0,
        header,
    };
    // The state after the last good checkpoint; `batch` runs ahead of it.
    let mut kept = batch.clone();
    let mut frames = scan(file, batch.header.tail_number, HEADER_BYTES);
    let mut since_checkpoint = 0;
    for frame in &mut frames {
        since_checkpoint += 1;
        batch.apply(frame)?;
        if frame.kind == FrameKind::Checkpoint {
            since_checkpoint = 0;
            batch.end_offset = frame.offset + (FRAME_OVERHEAD_BYTES + frame.payload.len()) as u64;
            kept.advance_to(&batch);
        }
    }
    if let Some(Stop::Damaged { offset, why }) = frames.stop() {
        let seen_more = acknowledged > kept.frontier.size();
        refuse_unless_torn(file, &kept, seen_more, offset, why)?;
    }
    let used = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    kept.dropped_bytes = used.saturating_sub(kept.end_offset);
    kept.dropped_frames = since_checkpoint;
    Ok(kept)
}

impl<'a> RecoveredTail<'a> {
    fn apply(&mut self, frame: Frame<'a>) -> Result<(), TailError> {
        match frame.kind {
            FrameKind::Entry => self.apply_entry(frame),
            FrameKind::Detail => self.apply_detail(frame),
            FrameKind::Checkpoint => self.apply_checkpoint(frame),
        }
    }

    fn apply_entry(&mut self, Frame { offset, payload: line, .. }: Frame<'a>) -> Result<(), TailError> {
        let entry = Entry::parse(line).map_err(|source| TailError::EntryFormat { offset, source })?;
        let seq = self.frontier.size();
        if entry.seq != seq {
            return Err(TailError::Entry { offset, why: "its number is not the next one" });
        }
        if entry.prev != self.prev {
            return Err(TailError::Entry { offset, why: "it does not follow the entry before it" });
        }
        self.epochs.note_entry(&entry).map_err(|source| TailError::Epoch { offset, source })?;
        let leaf = leaf_hash(line);
        self.frontier.push(leaf);
        self.prev = leaf;
        self.entries.push(RecoveredEntry { seq, line, leaf, detail: None });
        Ok(())
    }

    fn apply_detail(&mut self, Frame { offset, payload, .. }: Frame<'a>) -> Result<(), TailError> {
        let covered = self.head.as_ref().map_or(0, |(head, _)| head.size);
        let entry = self.entries.last_mut().filter(|entry| {
            let commits = Entry::parse(entry.line).is_ok_and(|entry| entry.detail.is_some());
            entry.seq >= covered && entry.detail.is_none() && commits
        });
        entry.ok_or(TailError::Detail { offset })?.detail = Some(payload);
        Ok(())
    }

    fn apply_checkpoint(&mut self, Frame { offset, payload, .. }: Frame<'a>) -> Result<(), TailError> {
        let differs = |why| TailError::Checkpoint { offset, why };
        let text = std::str::from_utf8(payload).map_err(|_| differs("it is not text"))?;
        let size = self.frontier.size();
        let epoch_key = self.epochs.in_force(size).ok_or_else(|| differs("no epoch key is known"))?;
        let checkpoint = SignedCheckpoint::verify(text, self.epochs.log_key(), epoch_key)
            .map_err(|source| TailError::Signature { offset, source })?;
        if checkpoint.size != size {
            return Err(differs("another size"));
        }
        if checkpoint.root != self.frontier.root() {
            return Err(differs("another root"));
        }
        self.head = Some((checkpoint, text));
        Ok(())
    }

    /// Takes over what `batch` has more than `self`.
    fn advance_to(&mut self, batch: &Self) {
        self.entries.extend(batch.entries.iter().skip(self.entries.len()));
        self.frontier.clone_from(&batch.frontier);
        self.prev = batch.prev;
        self.head.clone_from(&batch.head);
        if self.epochs.latest() != batch.epochs.latest() {
            self.epochs.clone_from(&batch.epochs);
        }
        self.end_offset = batch.end_offset;
    }
}

fn refuse_unless_torn(
    file: &[u8],
    kept: &RecoveredTail<'_>,
    seen_more: bool,
    offset: u64,
    why: &'static str,
) -> Result<(), TailError> {
    let log_key = kept.epochs.log_key();
    let opening = format!("{}\n", log_key.name());
    let signed = |frame: &Frame<'_>| {
        // The log key alone: entries that announce an epoch key may be among what is damaged.
        std::str::from_utf8(frame.payload)
            .is_ok_and(|text| SignedNote::parse(text).is_ok_and(|n| n.verify(log_key).is_ok()))
    };
    let mut later =
        checkpoints_after(file, kept.header.tail_number, offset, opening.as_bytes()).filter(signed);
    let Some(first) = later.next() else { return Ok(()) };
    let end = usize::try_from(first.offset).unwrap_or(usize::MAX).saturating_add(first.payload.len());
    let after = file.get(end.saturating_add(FRAME_OVERHEAD_BYTES)..).unwrap_or_default();
    let last = after.iter().all(|byte| *byte == 0);
    let torn =
        last && kept.head.is_some() && !seen_more && has_unwritten_sector(file, kept, offset, first.offset);
    if torn { Ok(()) } else { Err(TailError::DamagedBefore { offset, why, later: first.offset }) }
}

/// Whether a sector between the damage and the frame at `later` still holds the zeros it was prepared with. The first one
/// is shared with the batch before, the last one with the checkpoint, which is there.
fn has_unwritten_sector(file: &[u8], kept: &RecoveredTail<'_>, damage: u64, later: u64) -> bool {
    let [kept_end, damage, later] =
        [kept.end_offset, damage, later].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
    (damage / SECTOR_BYTES..later / SECTOR_BYTES).any(|sector| {
        let from = sector.saturating_mul(SECTOR_BYTES);
        let to = from.saturating_add(SECTOR_BYTES);
        file.get(from.max(kept_end)..to).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    })
}
