//! The fold of the ledger: `State`, and what each event does to it.
//!
//! Owns the one function `apply` that the writer, recovery and the verifier share, so that they cannot disagree
//! (invariant 5). It checks before it changes: an event that contradicts the state leaves it untouched and is named.
//! Must never need a detail: details are destroyed, the fold goes on.

mod apply;
mod details;
mod registers;
#[cfg(test)]
mod tests;
mod violation;

pub use details::{DestroyedDetails, DetailKey};
pub use violation::{Rule, Violation};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::core::event::{KeyRotation, LedgerRestored, SourceFacts, SpoolFile};
use crate::core::ids::{ClassId, Digest, Kind, MandateId, RecordingId, SessionId, SharedTexts, SourceId};
use crate::core::register::Registers;
use crate::core::register::holds::Holds;
use crate::core::register::reviews::Reviews;
use crate::core::register::uses::Uses;
use crate::core::retention::LastSeen;
use crate::core::scrub::Harm;
use crate::core::time::Timestamp;

/// A recording in the archive, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Where it comes from.
    pub source: SourceId,
    /// What it is.
    pub kind: Kind,
    /// First instant it shows.
    pub start: Timestamp,
    /// Last instant it shows.
    pub end: Timestamp,
    /// When it entered the archive.
    pub sealed: Timestamp,
    /// In which entry.
    pub entry: u64,
    /// Original size.
    pub bytes: u64,
    /// SHA-256 of the original bytes.
    pub sha256: Digest,
    /// Media type.
    pub media: Arc<str>,
    /// Its retention class.
    pub class: ClassId,
    /// Not purged before.
    pub earliest: Timestamp,
    /// Purged at the latest.
    pub latest: Timestamp,
    /// The file it was sealed from.
    pub spool: Option<Box<SpoolFile>>,
    /// Whether its purge was decided and has not ended.
    pub purging: bool,
}

/// A session that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// What is open.
    pub recording: RecordingId,
    /// Its source.
    pub source: SourceId,
    /// The entry that granted it.
    pub granted_by_entry: u64,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends at the latest.
    pub until: Timestamp,
    /// The mandate under which it was opened.
    pub mandate: Option<MandateId>,
}

/// What is known to be wrong with a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// What.
    pub harm: Harm,
    /// Byte offset in the object, where there is one.
    pub offset: Option<u64>,
    /// The entry that says so.
    pub entry: u64,
}

/// Everything that decisions need to know of the past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    size: u64,
    last: Option<LastSeen>,
    running: bool,
    clock_suspect: bool,
    policy: Option<(Digest, u64, Timestamp)>,
    sources: BTreeMap<SourceId, Option<SourceFacts>>,
    // Boxed: the table grows by doubling, and would move and hold free twice what the recordings need.
    recordings: HashMap<RecordingId, Box<Recording>>,
    due: BTreeSet<(Timestamp, RecordingId)>,
    spooled: HashMap<(u64, u64), RecordingId>,
    purging: BTreeSet<RecordingId>,
    holds: Holds,
    reviews: Reviews,
    sessions: BTreeMap<SessionId, OpenSession>,
    uses: Uses,
    purges_by_day: BTreeMap<i64, u64>,
    details: DestroyedDetails,
    restored: Option<LedgerRestored>,
    texts: SharedTexts,
    damaged: BTreeMap<RecordingId, Damage>,
    rotation: Option<KeyRotation>,
    registers: Registers,
}

impl State {
    /// Entries folded so far.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// When the last entry was written.
    pub fn last(&self) -> Option<LastSeen> {
        self.last
    }
    /// Whether the service started and has not stopped since: at start-up this means it crashed.
    pub fn running(&self) -> bool {
        self.running
    }
    /// Whether the wall clock jumped and nobody has confirmed it since.
    pub fn clock_suspect(&self) -> bool {
        self.clock_suspect
    }
    /// A change of the master key that was ordered and has not ended.
    pub fn rotation(&self) -> Option<&KeyRotation> {
        self.rotation.as_ref()
    }
    /// Digest of the policy in force; `None` before the first.
    pub fn policy(&self) -> Option<Digest> {
        self.policy.map(|(digest, ..)| digest)
    }
    /// The entry that loaded the policy in force.
    pub fn policy_entry(&self) -> Option<u64> {
        self.policy.map(|(_, entry, _)| entry)
    }
    /// When the policy in force was loaded.
    pub fn policy_loaded(&self) -> Option<Timestamp> {
        self.policy.map(|(.., loaded)| loaded)
    }
    /// The sources registered and not retired.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceId, &SourceFacts)> {
        self.sources.iter().filter_map(|(id, facts)| Some((id, facts.as_ref()?)))
    }
    /// A source that is registered and not retired.
    pub fn source(&self, id: &SourceId) -> Option<&SourceFacts> {
        self.sources.get(id)?.as_ref()
    }
    /// A recording in the archive.
    pub fn recording(&self, id: &RecordingId) -> Option<&Recording> {
        self.recordings.get(id).map(Box::as_ref)
    }
    /// All recordings in the archive, in no order.
    pub fn recordings(&self) -> impl Iterator<Item = (&RecordingId, &Recording)> {
        self.recordings.iter().map(|(id, recording)| (id, recording.as_ref()))
    }
    /// How many recordings are in the archive.
    pub fn recording_count(&self) -> usize {
        self.recordings.len()
    }
    /// Recordings by the time they must be purged, earliest first.
    pub fn due(&self) -> impl Iterator<Item = &(Timestamp, RecordingId)> {
        self.due.iter()
    }
    /// The recording sealed from exactly this file, if it still is in the archive.
    pub fn sealed_from(&self, file: &SpoolFile) -> Option<RecordingId> {
        let id = self.spooled.get(&(file.device, file.inode))?;
        let same = self.recordings.get(id)?.spool.as_deref() == Some(file);
        same.then_some(*id)
    }
    /// Recordings whose purge was decided and has not ended.
    pub fn purging(&self) -> impl Iterator<Item = &RecordingId> {
        self.purging.iter()
    }
    /// Recordings in the archive that are known to be damaged, until they are read whole and sound.
    pub fn damaged(&self) -> &BTreeMap<RecordingId, Damage> {
        &self.damaged
    }
    /// The holds that stand.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }
    /// The reviews that are open.
    pub fn reviews(&self) -> &Reviews {
        &self.reviews
    }
    /// The sessions that run.
    pub fn sessions(&self) -> &BTreeMap<SessionId, OpenSession> {
        &self.sessions
    }
    /// The openings of the last day and a little more, with the bytes that entries account for.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }
    /// The last time that the ledger was put back from a backup.
    pub fn restored(&self) -> Option<&LedgerRestored> {
        self.restored.as_ref()
    }
    /// Which details are destroyed for good.
    pub fn destroyed_details(&self) -> &DestroyedDetails {
        &self.details
    }
    /// Purges done per day (days since 1970, UTC) over the last [`State::HISTORY_DAYS`] days with any.
    pub fn purges_by_day(&self) -> &BTreeMap<i64, u64> {
        &self.purges_by_day
    }
    /// How many days of purges are remembered.
    pub const HISTORY_DAYS: usize = 30;
}
