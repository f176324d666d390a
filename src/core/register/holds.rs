//! The register of holds: what stops a purge (invariant 12).
//!
//! Owns which holds stand and on which recording. Must never decide who may place or lift one: that is the policy's.

use std::collections::{BTreeMap, HashMap};

use crate::core::event::HoldKind;
use crate::core::ids::{HoldId, RecordingId};
use crate::core::time::Timestamp;

/// One hold that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What it keeps.
    pub recording: RecordingId,
    /// Why.
    pub kind: HoldKind,
    /// When it must be reviewed.
    pub review: Option<Timestamp>,
    /// The entry that placed it.
    pub placed_by_entry: u64,
}

/// All holds that stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    by_id: BTreeMap<HoldId, Hold>,
    by_recording: HashMap<RecordingId, Vec<HoldId>>,
}

impl Holds {
    /// The hold with this id.
    pub fn get(&self, id: &HoldId) -> Option<&Hold> {
        self.by_id.get(id)
    }
    /// A hold on this recording, if one stands.
    pub fn on(&self, recording: &RecordingId) -> Option<HoldId> {
        self.by_recording.get(recording)?.first().copied()
    }
    /// Whether one of them is a restriction: the recording is kept, and not used.
    pub fn restricts(&self, recording: &RecordingId) -> bool {
        let ids = self.by_recording.get(recording).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id)).any(|hold| hold.kind == HoldKind::Restriction)
    }
    /// Every hold that stands, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (&HoldId, &Hold)> {
        self.by_id.iter()
    }
    /// How many stand.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
    /// Whether none stands.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
    /// Adds a hold. The caller has checked that the id is new.
    pub(in crate::core) fn place(&mut self, id: HoldId, hold: Hold) {
        self.by_recording.entry(hold.recording).or_default().push(id);
        self.by_id.insert(id, hold);
    }
    /// Ends a hold; `None` when it did not stand.
    pub(in crate::core) fn lift(&mut self, id: &HoldId) -> Option<Hold> {
        let hold = self.by_id.remove(id)?;
        if let Some(ids) = self.by_recording.get_mut(&hold.recording) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_recording.remove(&hold.recording);
            }
        }
        Some(hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv12_a_restriction_is_seen_beside_other_holds_until_it_is_lifted() {
        let recording = RecordingId::from_bytes([1; 16]);
        let hold = |kind| Hold { recording, kind, review: None, placed_by_entry: 0 };
        let (judicial, restriction) = (HoldId::from_bytes([1; 16]), HoldId::from_bytes([2; 16]));
        let mut holds = Holds::default();
        holds.place(judicial, hold(HoldKind::Judicial));
        assert!(!holds.restricts(&recording));
        holds.place(restriction, hold(HoldKind::Restriction));
        assert!(holds.restricts(&recording));
        holds.lift(&restriction);
        assert!(!holds.restricts(&recording) && holds.on(&recording) == Some(judicial));
    }
}
