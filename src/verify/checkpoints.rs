//! Signed heads of other sizes: those kept in `checkpoints/`, and those that the auditor brings.
//!
//! Each must be signed by the log key and by the epoch key in force at its size, and its root must be that of the entries.

use super::files::{FileError, Folder};
use super::findings::{Code, Report, sentence};
use super::ledger::Failure;
use crate::core::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::core::ledger::epoch::EpochKeys;
use crate::core::ledger::note::{MAX_NOTE_BYTES, SignedNote, VerifierKey};
use crate::core::ledger::tree::Frontier;

/// Most files in `checkpoints/`: a century of one a day and thirty starts a day.
const MAX_KEPT: usize = 1 << 20;

/// The checkpoints still to be met, smallest first.
#[derive(Debug)]
pub struct Checkpoints {
    folder: Folder,
    kept: Option<Vec<u64>>,
    kept_met: usize,
    pinned: Vec<Pinned>,
    pinned_met: usize,
}

#[derive(Debug)]
struct Pinned {
    name: String,
    text: String,
    checkpoint: Checkpoint,
}

/// Which epoch keys may be relied on.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// As announced by the entries read.
    pub epochs: &'a EpochKeys,
    /// Entries could not be read, so an announcement may be missing: only the log key is checked.
    pub blind: bool,
}

impl Keys<'_> {
    /// Requires the log key and, unless blind, the epoch key in force.
    pub fn verify(&self, text: &str) -> Result<Checkpoint, CheckpointError> {
        let (checkpoint, note) = SignedCheckpoint::read(text)?;
        match self.epochs.in_force(checkpoint.size) {
            _ if self.blind => signed_by_log(&checkpoint, &note, self.epochs.log_key()).map(|()| checkpoint),
            Some(epoch_key) => SignedCheckpoint::verify(text, self.epochs.log_key(), epoch_key),
            None => Err(CheckpointError::Format("no epoch key is announced for its size")),
        }
    }
}

impl Checkpoints {
    /// Reads the pinned ones (name and text) and lists the kept ones.
    pub fn new(
        folder: &Folder,
        pinned: &[(String, String)],
        log_key: &VerifierKey,
        report: &mut Report,
    ) -> Result<Self, Failure> {
        let mut pinned = pinned
            .iter()
            .map(|(name, text)| read_pinned(name, text, log_key))
            .collect::<Result<Vec<_>, _>>()?;
        pinned.sort_by_key(|pinned| pinned.checkpoint.size);
        let kept = match folder.numbers("checkpoints", MAX_KEPT) {
            Ok(kept) => kept,
            Err(error @ FileError::Refused { .. }) => {
                report.add(Code::FileRefused, None, error.to_string());
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { folder: folder.clone(), kept, kept_met: 0, pinned, pinned_met: 0 })
    }

    /// Whether one was signed for more than `from` and fewer than `end` entries.
    pub fn any_within(&self, from: u64, end: u64) -> bool {
        let within = |size: u64| from < size && size < end;
        let pinned = self.pinned.get(self.pinned_met..).unwrap_or_default();
        self.next_kept().is_some_and(within) || pinned.iter().any(|pinned| within(pinned.checkpoint.size))
    }

    /// Checks what was signed for exactly the entries so far.
    pub fn meet(&mut self, tree: &Frontier, keys: Keys<'_>, report: &mut Report) -> Result<(), FileError> {
        let size = tree.size();
        while let Some(kept) = self.next_kept().filter(|kept| *kept <= size) {
            self.kept_met += 1;
            self.check_kept(kept, tree, keys, report)?;
        }
        while let Some(pinned) = self.pinned.get(self.pinned_met).filter(|it| it.checkpoint.size <= size) {
            self.pinned_met += 1;
            if let Err(error) = keys.verify(&pinned.text) {
                let sentence = format!("{}: {}", pinned.name, sentence(&error));
                report.add(Code::CheckpointDamaged, size.checked_sub(1), sentence);
            }
            if pinned.checkpoint.root != tree.root() {
                let sentence = format!("{}: signed for {size} entries, but not for these", pinned.name);
                report.add(Code::Fork, size.checked_sub(1), sentence);
            }
        }
        Ok(())
    }

    /// After the last entry: whatever is left was signed for more entries than there are.
    pub fn finish(&mut self, size: u64, log_key: &VerifierKey, report: &mut Report) -> Result<(), FileError> {
        for pinned in self.pinned.get(self.pinned_met..).unwrap_or_default() {
            let sentence =
                format!("{}: signed for {} entries; here are {size}", pinned.name, pinned.checkpoint.size);
            report.add(Code::Rollback, size, sentence);
        }
        for kept in self.kept.iter().flatten().skip(self.kept_met) {
            let path = format!("checkpoints/{kept}");
            let Some(text) = read_text(&self.folder, &path, report)? else { continue };
            match read_signed_by_log(&text, log_key) {
                Ok(checkpoint) => {
                    let sentence = format!("{path}: signed for {} entries; here are {size}", checkpoint.size);
                    report.add(Code::Rollback, size, sentence);
                }
                Err(error) => {
                    report.add(Code::CheckpointDamaged, None, format!("{path}: {}", sentence(&error)))
                }
            }
        }
        Ok(())
    }

    /// Each epoch but the running one needs its closing checkpoint, or its entries rest on the log key alone.
    pub fn check_closed(&self, epochs: &EpochKeys, head_size: u64, report: &mut Report) {
        // The entry that announced a key is the last one of the epoch before; a head right after it closes that epoch too.
        let closed = epochs.announcements().filter(|seq| *seq > 0 && seq + 1 < head_size);
        for seq in closed {
            match &self.kept {
                None => {
                    let sentence = "there is no folder checkpoints, so the closed epochs are not proven";
                    return report.add(Code::EpochsMissing, None, sentence);
                }
                Some(kept) if kept.binary_search(&(seq + 1)).is_err() => {
                    let sentence = format!("checkpoints/{} is missing: it closes the epoch", seq + 1);
                    report.add(Code::EpochUnclosed, seq, sentence);
                }
                Some(_) => {}
            }
        }
    }

    fn next_kept(&self) -> Option<u64> {
        self.kept.as_ref()?.get(self.kept_met).copied()
    }

    fn check_kept(
        &self,
        size: u64,
        tree: &Frontier,
        keys: Keys<'_>,
        report: &mut Report,
    ) -> Result<(), FileError> {
        let path = format!("checkpoints/{size}");
        let last = size.checked_sub(1);
        let Some(text) = read_text(&self.folder, &path, report)? else { return Ok(()) };
        match keys.verify(&text) {
            Err(error) => report.add(Code::CheckpointDamaged, last, format!("{path}: {}", sentence(&error))),
            Ok(checkpoint) if checkpoint.size != size => {
                let sentence = format!("{path}: it is of {} entries", checkpoint.size);
                report.add(Code::CheckpointDamaged, last, sentence);
            }
            Ok(checkpoint) if checkpoint.root != tree.root() => {
                report.add(Code::Fork, last, format!("{path}: signed for {size} entries, but not for these"));
            }
            Ok(_) => {}
        }
        Ok(())
    }
}

/// A checkpoint of this ledger, signed by the log key; which epoch key belongs to it is not known yet.
pub fn read_signed_by_log(text: &str, log_key: &VerifierKey) -> Result<Checkpoint, CheckpointError> {
    let (checkpoint, note) = SignedCheckpoint::read(text)?;
    signed_by_log(&checkpoint, &note, log_key)?;
    Ok(checkpoint)
}

fn signed_by_log(
    checkpoint: &Checkpoint,
    note: &SignedNote,
    log_key: &VerifierKey,
) -> Result<(), CheckpointError> {
    if checkpoint.origin != log_key.name() {
        let (found, expected) = (checkpoint.origin.clone(), log_key.name().to_owned());
        return Err(CheckpointError::Origin { found, expected });
    }
    Ok(note.verify(log_key)?)
}

/// A pinned checkpoint that the key did not sign is the user's mistake: it says nothing about the ledger.
fn read_pinned(name: &str, text: &str, log_key: &VerifierKey) -> Result<Pinned, Failure> {
    let checkpoint = read_signed_by_log(text, log_key).map_err(|error| {
        Failure::Usage(format!("{name} is not a checkpoint of this key: {}", sentence(&error)))
    })?;
    Ok(Pinned { name: name.to_owned(), text: text.to_owned(), checkpoint })
}

fn read_text(folder: &Folder, path: &str, report: &mut Report) -> Result<Option<String>, FileError> {
    match folder.read(path, MAX_NOTE_BYTES) {
        Ok(Some(bytes)) => {
            let text = String::from_utf8(bytes).ok();
            if text.is_none() {
                report.add(Code::CheckpointDamaged, None, format!("{path}: it is not text"));
            }
            Ok(text)
        }
        Ok(None) => Ok(None),
        Err(error @ FileError::Refused { .. }) => {
            report.add(Code::FileRefused, None, error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
