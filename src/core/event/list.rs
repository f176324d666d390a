//! The closed list of events: name, `data`, and the rule for the detail, in one table.
//!
//! An event that is not in this list is an error for the reader (design §5).

use serde_json::value::RawValue;

use super::data::{
    Because, DetailsDestroyed, HoldLifted, HoldPlaced, KeyBackedUp, KeyGeneration, KeyRotation,
    LedgerCreated, LedgerHeartbeat, LedgerProved, LedgerRead, LedgerRecovered, LedgerRekeyed, LedgerRestored,
    LedgerStarted, LedgerStopped, Nothing, Opened, PurgeDone, PurgePlanned, RefusedMany, ReviewDone,
    ReviewRaised, Sealed, Searched, SourceFacts, StoreDamaged, StoreScrubbed, Usage,
};
use super::registers::{
    ApprovalAsked, ApprovalStep, CharterAcknowledged, CharterLapsed, GrantEnded, GrantReviewed,
    GrantSuspended, GrantTerm, MandateTerm, MandateWithdrawn, RegisterRead,
};

/// Whether an event carries a detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailRule {
    /// A person acted: the detail says who.
    Required,
    /// A person may have acted.
    Optional,
    /// The service acted by itself, or the detail would be nothing new.
    Forbidden,
}

/// An event that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not in the list.
    #[error("unknown event {0:?}")]
    Unknown(String),
    /// `data` has other keys or types than the event's.
    #[error("the data of {event} cannot be read")]
    Data {
        /// Which event.
        event: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A detail where none may be, or none where one must be.
    #[error("{event}: the detail is {rule}")]
    Detail {
        /// Which event.
        event: &'static str,
        /// `required` or `forbidden`.
        rule: &'static str,
    },
}

macro_rules! events {
    ($($(#[doc = $doc:literal])* $variant:ident($data:ident) = $name:literal, $rule:ident;)*) => {
        /// What happened. The list is closed.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event { $($(#[doc = $doc])* $variant($data)),* }

        impl Event {
            /// Every name with its rule, in the order of `greffier-ledger(5)`.
            pub const LIST: &'static [(&'static str, DetailRule)] = &[$(($name, DetailRule::$rule)),*];

            /// The name in the ledger.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),* }
            }
            /// What the name means, in words.
            pub fn meaning(&self) -> &'static str {
                match self { $(Self::$variant(_) => concat!($($doc),*).trim()),* }
            }
            /// Whether it carries a detail.
            pub const fn detail_rule(&self) -> DetailRule {
                match self { $(Self::$variant(_) => DetailRule::$rule),* }
            }
            /// The canonical text of `data`; `None` when there is none.
            pub fn to_data(&self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
                let raw = match self { $(Self::$variant(data) => serde_json::value::to_raw_value(data)?),* };
                Ok(Some(raw).filter(|raw| raw.get() != "{}"))
            }
            /// The same text, written at the end of `out`; false, and nothing written, when there is none.
            pub fn write_data(&self, out: &mut Vec<u8>) -> Result<bool, serde_json::Error> {
                let begin = out.len();
                match self { $(Self::$variant(data) => serde_json::to_writer(&mut *out, data)?),* }
                let there = out.get(begin..) != Some(b"{}");
                if !there {
                    out.truncate(begin);
                }
                Ok(there)
            }
            /// The event with this name and `data`.
            pub fn from_data(name: &str, data: Option<&RawValue>) -> Result<Self, EventError> {
                let text = data.map_or("{}", RawValue::get);
                match name {
                    $($name => serde_json::from_str(text).map(Self::$variant)
                        .map_err(|source| EventError::Data { event: $name, source }),)*
                    other => Err(EventError::Unknown(other.chars().take(64).collect())),
                }
            }
        }
    };
}

events! {
    /// The first entry: origin and keys.
    LedgerCreated(LedgerCreated) = "ledger.created", Forbidden;
    /// The service started.
    LedgerStarted(LedgerStarted) = "ledger.started", Forbidden;
    /// The service stopped in order.
    LedgerStopped(LedgerStopped) = "ledger.stopped", Forbidden;
    /// The service runs, and nothing else happened since the entry before.
    LedgerHeartbeat(LedgerHeartbeat) = "ledger.heartbeat", Forbidden;
    /// The epoch key changed. Always the last entry of its batch.
    LedgerRekeyed(LedgerRekeyed) = "ledger.rekeyed", Forbidden;
    /// A torn tail was dropped, or a failed write was overcome.
    LedgerRecovered(LedgerRecovered) = "ledger.recovered", Forbidden;
    /// The ledger was put back from a backup, and the administrator accepted what that lost.
    LedgerRestored(LedgerRestored) = "ledger.restored", Forbidden;
    /// Details of a bundle came to the end of their time and are destroyed.
    LedgerDetailsDestroyed(DetailsDestroyed) = "ledger.details-destroyed", Forbidden;
    /// The wall clock jumped: no purge until it is trusted again.
    LedgerClockSuspect(Because) = "ledger.clock-suspect", Forbidden;
    /// The wall clock is trusted again.
    LedgerClockConfirmed(Because) = "ledger.clock-confirmed", Optional;
    /// Somebody read the ledger.
    LedgerRead(LedgerRead) = "ledger.read", Required;
    /// Somebody had an entry or the growth of the ledger proved. Outcome `failed`: there is no such entry yet.
    LedgerProved(LedgerProved) = "ledger.proved", Required;
    /// A policy came into force; the detail holds its text.
    PolicyLoaded(Nothing) = "policy.loaded", Required;
    /// A policy, or an order to load one, was refused.
    PolicyRefused(Nothing) = "policy.refused", Required;
    /// A source appeared in the policy.
    SourceRegistered(SourceFacts) = "source.registered", Forbidden;
    /// A source is described otherwise than before.
    SourceChanged(SourceFacts) = "source.changed", Forbidden;
    /// A source left the policy.
    SourceRetired(Nothing) = "source.retired", Forbidden;
    /// A recording entered the archive.
    RecordingSealed(Sealed) = "recording.sealed", Optional;
    /// A file was not taken.
    RecordingRejected(Because) = "recording.rejected", Required;
    /// Somebody searched, or asked about one recording.
    AccessSearched(Searched) = "access.searched", Required;
    /// Somebody opened a recording, or was refused.
    AccessOpened(Opened) = "access.opened", Required;
    /// What a running session has read so far.
    AccessProgress(Usage) = "access.progress", Forbidden;
    /// A session ended in order, or could not begin (outcome `failed`).
    AccessClosed(Usage) = "access.closed", Optional;
    /// The service ended without closing the session: the whole recording counts as seen.
    AccessInterrupted(Because) = "access.interrupted", Forbidden;
    /// A session was cut.
    AccessRevoked(Usage) = "access.revoked", Optional;
    /// A session reached its end time.
    AccessExpired(Usage) = "access.expired", Optional;
    /// Equal refusals, counted.
    AccessRefusedMany(RefusedMany) = "access.refused-many", Required;
    /// The opening of the same session was an emergency: it worked at once, and everybody is told.
    AccessEmergency(Nothing) = "access.emergency", Forbidden;
    /// A hold stops the purge of a recording.
    HoldPlaced(HoldPlaced) = "hold.placed", Required;
    /// A hold ended.
    HoldLifted(HoldLifted) = "hold.lifted", Required;
    /// The purge of a recording was decided.
    PurgePlanned(PurgePlanned) = "purge.planned", Optional;
    /// A recording is destroyed.
    PurgeDone(PurgeDone) = "purge.done", Forbidden;
    /// A purge ended without destroying.
    PurgeFailed(Because) = "purge.failed", Forbidden;
    /// Somebody proposed a grant.
    GrantProposed(GrantTerm) = "grant.proposed", Required;
    /// Another person approved what was proposed: the grant is in force.
    GrantGiven(GrantTerm) = "grant.given", Required;
    /// A grant, or what was proposed, has ended.
    GrantEnded(GrantEnded) = "grant.ended", Optional;
    /// A grant allows nothing until it is reviewed.
    GrantSuspended(GrantSuspended) = "grant.suspended", Optional;
    /// Somebody confirmed that a grant is still needed.
    GrantReviewed(GrantReviewed) = "grant.reviewed", Required;
    /// A written mandate came into force.
    MandateGiven(MandateTerm) = "mandate.given", Required;
    /// A mandate has other tasks, sources or days than before.
    MandateChanged(MandateTerm) = "mandate.changed", Required;
    /// A mandate is over.
    MandateWithdrawn(MandateWithdrawn) = "mandate.withdrawn", Optional;
    /// Somebody asked for the approval of a second person.
    ApprovalAsked(ApprovalAsked) = "approval.asked", Required;
    /// A second person approved.
    ApprovalGiven(ApprovalStep) = "approval.given", Required;
    /// A second person refused.
    ApprovalRefused(ApprovalStep) = "approval.refused", Required;
    /// An approval was used up by the entry before.
    ApprovalUsed(ApprovalStep) = "approval.used", Required;
    /// Somebody confirmed that he knows the charter.
    CharterAcknowledged(CharterAcknowledged) = "charter.acknowledged", Required;
    /// The account that acknowledged the charter is gone.
    CharterLapsed(CharterLapsed) = "charter.lapsed", Forbidden;
    /// Somebody read a register.
    RegisterRead(RegisterRead) = "register.read", Required;
    /// Something must be reviewed by a person who had no part in it.
    ReviewRaised(ReviewRaised) = "review.raised", Required;
    /// A person reviewed it.
    ReviewDone(ReviewDone) = "review.done", Required;
    /// Somebody tried a descriptor that is not his.
    GuardForeignAccess(Nothing) = "guard.foreign-access", Required;
    /// An object or its key is not what the ledger says.
    StoreDamaged(StoreDamaged) = "store.damaged", Forbidden;
    /// Objects and keys were read from the medium and compared with the ledger.
    StoreScrubbed(StoreScrubbed) = "store.scrubbed", Optional;
    /// A change of the master key was ordered.
    KeyRotationOrdered(KeyRotation) = "key.rotation-ordered", Required;
    /// The master key is changed; the key files and the credential before are overwritten and removed.
    KeyRotated(KeyRotation) = "key.rotated", Forbidden;
    /// A change of the master key ended without one; the key before is in force.
    KeyRotationFailed(Because) = "key.rotation-failed", Forbidden;
    /// The master key was given out, sealed to the recipients of a backup.
    KeyBackedUp(KeyBackedUp) = "key.backed-up", Required;
    /// Somebody opened a backup of the keys in a drill. Outcome `failed`: it does not hold the master key in force.
    KeyBackupChecked(KeyGeneration) = "key.backup-checked", Required;
    /// The master key was put back from a backup while the service was stopped.
    KeyRestored(KeyGeneration) = "key.restored", Forbidden;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv10_an_unknown_event_or_key_is_an_error() {
        assert!(matches!(Event::from_data("access.peeked", None), Err(EventError::Unknown(_))));
        let raw = RawValue::from_string(r#"{"why":"x","also":1}"#.into()).unwrap();
        assert!(matches!(Event::from_data("purge.failed", Some(&raw)), Err(EventError::Data { .. })));
    }

    #[test]
    fn empty_data_is_absent_and_reads_back() {
        let event = Event::SourceRetired(Nothing {});
        assert!(event.to_data().unwrap().is_none());
        let mut out = b"x".to_vec();
        assert!(!event.write_data(&mut out).unwrap());
        assert_eq!(out, b"x");
        assert_eq!(Event::from_data("source.retired", None).unwrap(), event);
    }

    #[test]
    fn a_meaning_is_a_sentence() {
        assert_eq!(Event::SourceRetired(Nothing {}).meaning(), "A source left the policy.");
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Event::LIST.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), Event::LIST.len());
    }
}
