//! The `data` of each event: facts that identify no person.
//!
//! Owns their keys and types, which `greffier-ledger(5)` lists. Unknown keys are errors: a reader of this version must
//! not pass over what it does not understand. Integers stay below 2^53.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::core::ids::{ClassId, Digest, HoldId, Kind, MandateId, PurposeId, SourceId, ZoneId};
use crate::core::ledger::hash::Hash;
use crate::core::time::Timestamp;

data! {
    /// No fact beyond the entry's own columns.
    Nothing {}
    /// `ledger.created`: what every later signature is checked against.
    LedgerCreated {
        /// First line of every checkpoint.
        origin: String,
        /// The stable log key, as a vkey line.
        log_key: String,
        /// The first epoch key, as a vkey line.
        epoch_key: String,
    }
    /// `ledger.rekeyed`: the epoch key from the next entry on.
    LedgerRekeyed {
        /// The new epoch key, as a vkey line.
        epoch_key: String,
    }
    /// `ledger.started`.
    LedgerStarted {
        /// Version of the program.
        version: String,
        /// Whether the run before ended with `ledger.stopped`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        after_crash: bool,
    }
    /// `ledger.stopped`.
    LedgerStopped {
        /// `service-stopped`, or the bus went away: `bus-lost`.
        why: String,
    }
    /// `ledger.recovered`: what recovery did, so that nothing is repaired in silence.
    LedgerRecovered {
        /// `torn-tail` (after a crash) or `write-failed` (while running).
        why: String,
        /// Bytes after the last valid checkpoint that were never acknowledged and are dropped.
        dropped_bytes: u64,
        /// Since when nothing could be written, if this happened while running.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        /// Requests answered with `LedgerUnavailable` meanwhile.
        #[serde(default)]
        turned_away: u64,
    }
    /// `ledger.heartbeat`: the service ran, and nothing else was written since the entry before.
    LedgerHeartbeat {
        /// While the service runs, some entry is written at least this often, in seconds.
        interval_s: u64,
    }
    /// `ledger.restored`: the ledger was put back from a backup, on purpose; what was known elsewhere is lost here.
    LedgerRestored {
        /// `behind`: this ledger had fewer entries than were known; `beside`: it has other entries.
        why: String,
        /// Entries of the restored ledger.
        size: u64,
        /// Entries of the signed head that the place outside it knew.
        known_size: u64,
        /// Root of that head.
        known_root: Hash,
    }
    /// `ledger.details-destroyed`: details of one bundle of 256 entries, destroyed for good. Each range, `[first, end)`,
    /// lies in the bundle and counts only the entries in it that carry a detail.
    DetailsDestroyed {
        /// Number of the bundle: its first entry is 256 times this.
        bundle: u64,
        /// Entries whose details are destroyed, merged and in order. An earlier entry may have named some before.
        destroyed: Vec<(u64, u64)>,
        /// Entries whose details stay, encrypted under a new key.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<(u64, u64)>,
        /// How often details of this bundle have been destroyed: 1 the first time.
        generation: u64,
    }
    /// `ledger.clock-suspect`, `ledger.clock-confirmed`, `purge.failed`, `access.interrupted`, `recording.rejected`, `key.rotation-failed`:
    /// a reason from a closed set of words.
    Because {
        /// The reason.
        why: String,
    }
    /// `ledger.read`.
    LedgerRead {
        /// First entry asked for.
        from: u64,
        /// How many at most.
        count: u64,
        /// Whether details were asked for.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        details: bool,
        /// Whether closing checkpoints were asked for instead of entries.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        epochs: bool,
    }
    /// `ledger.proved`.
    LedgerProved {
        /// `receipt` or `consistency`.
        what: String,
        /// The entry whose receipt was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<u64>,
        /// Entries of the earlier ledger of a consistency proof.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<u64>,
        /// Entries of the later one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new: Option<u64>,
    }
    /// `source.registered`, `source.changed`: what the policy says of a source.
    SourceFacts {
        /// What it records.
        kind: Kind,
        /// Where a camera looks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<ZoneId>,
        /// Why it records.
        purposes: Vec<PurposeId>,
        /// How long its recordings are kept.
        class: ClassId,
    }
    /// The file in the spool that a recording was sealed from, to know it again after a crash.
    SpoolFile {
        /// Device number.
        device: u64,
        /// Inode number.
        inode: u64,
        /// Size in bytes.
        size_bytes: u64,
        /// When its content last changed, as its writer says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified: Option<Timestamp>,
    }
    /// `recording.sealed`.
    Sealed {
        /// What it is.
        kind: Kind,
        /// First instant it shows.
        start: Timestamp,
        /// Last instant it shows.
        end: Timestamp,
        /// Its retention class.
        class: ClassId,
        /// Original size.
        bytes: u64,
        /// SHA-256 of the original bytes.
        sha256: Digest,
        /// Media type.
        media: String,
        /// Not purged before, save on request.
        earliest: Timestamp,
        /// Purged at the latest.
        latest: Timestamp,
        /// Where it came from, unless it came over the bus.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spool: Option<SpoolFile>,
    }
    /// `access.searched`.
    Searched {
        /// `search`, `describe`, `details`, `plan`, `session`, `scrub`, `index` (the catalogue was rebuilt), or
        /// `policy` (it was read again and is the one in force).
        what: SmolStr,
        /// Sources searched; empty when one recording was asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sources: Vec<SourceId>,
        /// Recordings that end after this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
        /// Recordings that start before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Timestamp>,
    }
    /// `access.opened`.
    Opened {
        /// `seek` or `stream`.
        mode: SmolStr,
        /// The session ends then at the latest. Absent when refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The mandate that it was opened under.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mandate: Option<MandateId>,
        /// Whether it was asked for as an emergency.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        emergency: bool,
    }
    /// `access.progress`, `access.closed`, `access.revoked`, `access.expired`: what was read so far.
    Usage {
        /// Why the session ended; empty while it runs.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
        /// Bytes handed out, counting repeated reads.
        bytes: u64,
        /// Byte ranges seen, `[first, end)`, merged and in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ranges: Vec<(u64, u64)>,
        /// Microseconds since it was opened.
        duration_us: u64,
    }
    /// `access.refused-many`: equal refusals that were counted, not written one by one.
    RefusedMany {
        /// How many.
        count: u64,
        /// Since when.
        since: Timestamp,
    }
    /// `hold.placed`.
    HoldPlaced {
        /// Its id.
        hold: HoldId,
        /// Which kind.
        kind: HoldKind,
        /// When it must be looked at again (R57).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        review: Option<Timestamp>,
    }
    /// `hold.lifted`.
    HoldLifted {
        /// Its id.
        hold: HoldId,
    }
    /// `purge.planned`: from here on the recording takes no hold.
    PurgePlanned {
        /// When it was due; absent when a run was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
    }
    /// `purge.done`: the certificate of destruction (R52).
    PurgeDone {
        /// Original size.
        bytes: u64,
        /// SHA-256 of the original bytes, so that whoever holds a copy can match it.
        sha256: Digest,
        /// When it had been sealed.
        sealed: Timestamp,
        /// When it was due.
        due: Timestamp,
        /// Always `destroyed`: the data key opens in no slot.
        key: String,
        /// Always `removed`: the sealed object is unlinked and the folder synced.
        object: String,
    }
    /// `review.raised`: from here on a person must look at it, until `review.done` names this entry.
    ReviewRaised {
        /// `emergency`: the opening of the session was one.
        why: SmolStr,
        /// Late after this.
        due: Timestamp,
    }
    /// `review.done`.
    ReviewDone {
        /// The `review.raised` that it ends.
        entry: u64,
    }
    /// `key.rotation-ordered`, `key.rotated`: from one generation of the key files to the next.
    KeyRotation {
        /// The generation in force when it was ordered.
        from: u64,
        /// The new one.
        to: u64,
    }
    /// `key.backed-up`.
    KeyBackedUp {
        /// The generation whose master key it holds.
        generation: u64,
        /// To how many recipients it is sealed.
        recipients: u64,
        /// SHA-256 of the sealed file, to know it again.
        sha256: Digest,
    }
    /// `key.backup-checked`, `key.restored`.
    KeyGeneration {
        /// The generation whose master key it is.
        generation: u64,
    }
    /// `store.damaged`.
    StoreDamaged {
        /// A word of [`crate::core::scrub::Harm`].
        what: String,
        /// Byte offset in the object file or the key file, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// How many, where it is about no recording in particular.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    }
    /// `store.scrubbed`: objects and key slots were read from the medium and compared with their entries. All counts are of
    /// what was read, also by earlier runs that this one went on from.
    StoreScrubbed {
        /// `ordered` (a scrub begins or was refused, nothing is read yet), `complete`, or why it ended before:
        /// `cancelled`, `service-stopped`, `ledger-unavailable`.
        why: String,
        /// Recordings.
        recordings: u64,
        /// Bytes of objects.
        bytes: u64,
        /// Key slots, both copies.
        keys: u64,
        /// Recordings found damaged, and names that do not belong into the store.
        damaged: u64,
        /// Copies of key slots that were written again from the good one.
        repaired: u64,
        /// Recordings that could not be looked at.
        unread: u64,
        /// When the reading began, if it went on from an earlier run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    }
}

impl StoreScrubbed {
    /// Whether what it is about was read whole, and nothing was wrong with it. The outcome must be `done` besides.
    pub fn found_sound(&self) -> bool {
        self.why == "complete" && self.recordings > 0 && self.damaged.saturating_add(self.unread) == 0
    }
}

/// Why a recording must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldKind {
    /// Asked for by a court or the police (R1).
    Judicial,
    /// Something happened that must be looked into.
    Incident,
    /// A data subject's request is open (R53).
    Request,
    /// Kept, but not used (R54).
    Restriction,
}

impl HoldKind {
    /// All of them, for messages.
    pub const ALL: [Self; 4] = [Self::Judicial, Self::Incident, Self::Request, Self::Restriction];

    /// The word used in ledger and bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judicial => "judicial",
            Self::Incident => "incident",
            Self::Request => "request",
            Self::Restriction => "restriction",
        }
    }
    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}
