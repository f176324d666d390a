//! Reading entries and details back: from the bundles, and from memory for what the tail holds.
//!
//! Only what is durable can be read. A detail whose key is destroyed reads as absent, which is no damage.

use std::io;
use std::sync::Arc;

use super::Ledger;
use super::batch::Stored;
use super::expire::{DetailFiles, Sealed, detail_slot};
use super::writer::BUNDLE;
use crate::core::format::slot::SlotKind;
use crate::core::ledger::details::{MAX_DETAILS_FILE_BYTES, parse_details};
use crate::core::ledger::tile::{MAX_BUNDLE_BYTES, details_path, entries_path, parse_bundle};
use crate::shell::crypt::Secret;
use crate::shell::disk::ledger_files::LedgerDir;
use crate::shell::disk::slots::{KeySlots, SlotError};

/// The durable entries since the base of the tail.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Number of the first.
    pub(super) base: u64,
    pub(super) stored: Vec<Stored>,
    /// Bytes of their frames.
    pub(super) frame_bytes: u64,
}

impl Recent {
    /// The entries from `base` on.
    pub(super) fn new(base: u64, stored: Vec<Stored>) -> Self {
        let frame_bytes = stored.iter().map(Stored::frame_bytes).sum();
        Self { base, stored, frame_bytes }
    }

    /// Adds entries that have become durable.
    pub(super) fn extend(&mut self, stored: Vec<Stored>) {
        self.frame_bytes += stored.iter().map(Stored::frame_bytes).sum::<u64>();
        self.stored.extend(stored);
    }

    /// Forgets the entries before `base`: they stand in their bundles now.
    pub(super) fn forget_before(&mut self, base: u64) {
        let count = usize::try_from(base.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let gone = self.stored.drain(..count.min(self.stored.len()));
        self.frame_bytes -= gone.map(|stored| stored.frame_bytes()).sum::<u64>();
        self.base = self.base.max(base);
    }
}

/// An entry as read back.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// The public line, the bytes as stored.
    pub line: Arc<[u8]>,
    /// The encrypted detail.
    detail: Option<Arc<[u8]>>,
}

/// What a reader of entries needs: the folder, and the slots for details.
pub struct Reader {
    pub(super) ledger: Ledger,
    pub(super) files: LedgerDir,
    slots: Arc<KeySlots>,
    log_id: [u8; 32],
    pub(super) tiles: super::proofs::TileCache,
}

impl Reader {
    pub(super) fn new(ledger: Ledger, files: LedgerDir, slots: Arc<KeySlots>, log_id: [u8; 32]) -> Self {
        Self { ledger, files, slots, log_id, tiles: super::proofs::TileCache::default() }
    }

    /// At most `count` entries from `from` on, stopping after `max_bytes` of lines. Reads the disk.
    pub fn entries(&self, from: u64, count: u64, max_bytes: usize) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        let end = from.saturating_add(count).min(self.ledger.head().size);
        let mut next = from;
        while next < end {
            for line in self.bundle_of(next)?.into_iter().filter(|line| line.seq >= next && line.seq < end) {
                bytes += line.line.len();
                if bytes > max_bytes && !lines.is_empty() {
                    return Ok(lines);
                }
                lines.push(line);
            }
            next = (next / BUNDLE + 1) * BUNDLE;
        }
        Ok(lines)
    }

    /// The entries that share a bundle with `seq`.
    fn bundle_of(&self, seq: u64) -> io::Result<Vec<Line>> {
        let n = seq / BUNDLE;
        {
            let recent = self.ledger.shared.recent();
            if seq >= recent.base {
                let lines = (recent.base..).zip(recent.stored.iter());
                let same =
                    lines.skip_while(|(seq, _)| seq / BUNDLE < n).take_while(|(seq, _)| seq / BUNDLE == n);
                return Ok(same
                    .map(|(seq, it)| Line { seq, line: it.line().into(), detail: it.detail().map(Arc::from) })
                    .collect());
            }
        }
        let name = entries_path(n, None);
        let bundle = self
            .files
            .read(&name, MAX_BUNDLE_BYTES as u64)?
            .ok_or_else(|| damaged(&name, "it is missing"))?;
        let lines = parse_bundle(&bundle).map_err(|error| damaged(&name, error))?;
        let name = details_path(n);
        // Details may be gone for good; entries never are.
        let details = self.files.read(&name, MAX_DETAILS_FILE_BYTES)?.unwrap_or_default();
        let details = if details.is_empty() {
            vec![None; lines.len()]
        } else {
            parse_details(&details).map_err(|error| damaged(&name, error))?
        };
        let numbered = (n * BUNDLE..).zip(lines).zip(details);
        Ok(numbered
            .map(|((seq, line), detail)| Line { seq, line: line.into(), detail: detail.map(Arc::from) })
            .collect())
    }

    /// The detail line of an entry in clear; `None` when it has none, or when its key is destroyed.
    pub fn detail(&self, line: &Line) -> io::Result<Option<Vec<u8>>> {
        let Some(sealed) = &line.detail else { return Ok(None) };
        let keys = self.detail_files();
        match keys.open_detail(line.seq, sealed)? {
            Sealed::Opened(detail) => return Ok(Some(detail)),
            Sealed::NoKey => return Ok(None),
            Sealed::OtherKey => {}
        }
        // Details of its bundle were destroyed since the line was read: it is gone, or encrypted anew.
        let again = self.bundle_of(line.seq)?.into_iter().find(|other| other.seq == line.seq);
        let Some(sealed) = again.and_then(|line| line.detail) else { return Ok(None) };
        match keys.open_detail(line.seq, &sealed)? {
            Sealed::Opened(detail) => Ok(Some(detail)),
            Sealed::NoKey => Ok(None),
            Sealed::OtherKey => {
                Err(damaged(&format!("the detail of entry {}", line.seq), "it does not open"))
            }
        }
    }

    /// The files and keys of details, to destroy some.
    pub fn detail_files(&self) -> DetailFiles {
        DetailFiles::new(self.files.clone(), self.slots.clone(), self.log_id)
    }
    /// Keeps a signed head in `checkpoints/`. One that is there already must be the same.
    pub fn keep_checkpoint(&self, size: u64, checkpoint: &str) -> io::Result<()> {
        self.files.write_once(&format!("checkpoints/{size}"), checkpoint.as_bytes())
    }

    /// The closing heads of earlier key epochs, oldest first: at most `take`, without the first `skip`.
    pub fn closing_checkpoints(&self, skip: usize, take: usize) -> io::Result<Vec<String>> {
        let mut sizes: Vec<u64> =
            self.files.list("checkpoints")?.iter().filter_map(|name| name.parse().ok()).collect();
        sizes.sort_unstable();
        let wanted = sizes.into_iter().skip(skip).take(take);
        wanted
            .map(|size| {
                let name = format!("checkpoints/{size}");
                let bytes = self.files.read(&name, MAX_CHECKPOINT_BYTES)?;
                let bytes = bytes.ok_or_else(|| damaged(&name, "it is missing"))?;
                String::from_utf8(bytes).map_err(|_| damaged(&name, "it is not text"))
            })
            .collect()
    }
}

const MAX_CHECKPOINT_BYTES: u64 = 64 * 1024;

/// The first key of the details of bundle `n`, from its slot; made durable there when it is missing.
pub(super) fn detail_secret(slots: &KeySlots, n: u64) -> Result<Secret, SlotError> {
    let id = detail_slot(n, 0);
    match slots.open_secret(SlotKind::Detail, &id) {
        Err(SlotError::NotFound) => {
            let secret = Secret::generate().map_err(SlotError::Randomness)?;
            // What an earlier attempt left when the disk failed under it; it never covered a detail.
            slots.destroy(SlotKind::Detail, &id)?;
            slots.create(SlotKind::Detail, id, &secret)?;
            Ok(secret)
        }
        found => found,
    }
}

pub(super) fn damaged(name: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {why}"))
}
