//! Whose recordings are, for the catalogue: a hash of what the recorder said, which stands in details alone (design §6).
//!
//! Owns the way from an entry to that hash, for a catalogue that is made anew or was behind. Must never keep the name itself.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::core::event::Detail;
use crate::core::ids::{Digest, RecordingId};
use crate::daemon::errors::chain;
use crate::daemon::ledger::Reader;
use crate::shell::crypt::SubjectMac;
use crate::shell::disk::catalogue::CatalogueError;

/// Entries of a bundle, whose details are read together.
const BUNDLE: u64 = 256;

/// The hashes of recordings of which it is known whose they are.
pub(super) type Subjects = HashMap<RecordingId, Digest>;

/// Tells whose recordings are.
pub struct Whose {
    /// Of the details.
    pub reader: Arc<Reader>,
    /// Under the key of this archive.
    pub mac: SubjectMac,
}

impl Whose {
    /// The hash under which the catalogue knows somebody.
    pub fn hash(&self, subject: &str) -> Digest {
        Digest(self.mac.mac(subject))
    }

    /// Whose the recordings are that these entries sealed. One whose detail cannot be opened is nobody's.
    pub(super) fn of(&self, mut sealed: Vec<(u64, RecordingId)>) -> Result<Subjects, CatalogueError> {
        sealed.sort_unstable();
        let bundles = sealed.chunk_by(|(a, _), (b, _)| a / BUNDLE == b / BUNDLE);
        let read: io::Result<Vec<_>> = bundles.map(|sealed| self.of_bundle(sealed)).collect();
        let read = read.map_err(|error| {
            log::error!("the ledger could not be read back for the catalogue: {}", chain(&error));
            CatalogueError::LedgerStopped
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    fn of_bundle(&self, sealed: &[(u64, RecordingId)]) -> io::Result<Vec<(RecordingId, Digest)>> {
        let (Some((first, _)), Some((last, _))) = (sealed.first(), sealed.last()) else {
            return Ok(Vec::new());
        };
        let lines = self.reader.entries(*first, last.saturating_sub(*first).saturating_add(1), usize::MAX)?;
        let mut found = Vec::new();
        for line in &lines {
            let Ok(at) = sealed.binary_search_by_key(&line.seq, |(seq, _)| *seq) else { continue };
            let Some((_, id)) = sealed.get(at) else { continue };
            let detail = self.reader.detail(line).unwrap_or_else(|error| {
                log::error!("the detail of entry {} cannot be read back: {}", line.seq, chain(&error));
                None
            });
            let subject = detail.and_then(|detail| Detail::parse(&detail).ok()?.subject);
            found.extend(subject.map(|subject| (*id, self.hash(&subject))));
        }
        Ok(found)
    }
}
