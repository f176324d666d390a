//! Openings of the last day: what the limits of grants count.
//!
//! Owns which opening stands under which grant of whom. The fold of the ledger knows the openings ([`crate::core::state`]);
//! who opened and by which grant stands only in the erasable details, so it is noted here when the entry is written, and read
//! back from the details when the service starts. Must never forget an opening that the fold still counts: one whose detail
//! cannot be read any more counts against everybody.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::event::Detail;
use crate::core::ids::{RecordingId, RuleId};
use crate::core::policy::DayUse;
use crate::core::time::Timestamp;

/// One opening, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// What was opened.
    pub recording: RecordingId,
    /// When.
    pub opened: Timestamp,
    /// Bytes handed out, as far as entries say.
    pub bytes: u64,
    /// When the session ended; while it runs, when it will end at the latest.
    pub until: Timestamp,
}

impl Use {
    /// How long it lasts, in microseconds.
    fn micros(&self) -> u64 {
        u64::try_from(self.until.micros_since(self.opened)).unwrap_or(0)
    }
}

/// The openings that the fold remembers, by the number of the entry that granted them.
pub type Uses = BTreeMap<u64, Use>;

/// Who opened, and by which grant, as the detail of the opening says.
pub fn holder(detail: &Detail) -> Option<(u32, RuleId)> {
    Some((detail.who.as_ref()?.uid, detail.rule.as_ref()?.parse().ok()?))
}

/// Whose they are.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    by_grant: BTreeMap<(u32, RuleId), BTreeSet<u64>>,
    unknown: BTreeSet<u64>,
    /// What stands before this entry is forgotten.
    first: u64,
}

impl Holders {
    /// Notes that `entry` granted an opening to `uid` by `rule`.
    pub fn note(&mut self, entry: u64, uid: u32, rule: RuleId) {
        self.by_grant.entry((uid, rule)).or_default().insert(entry);
    }

    /// Notes an opening of which nobody can tell any more whose it was.
    pub fn note_unknown(&mut self, entry: u64) {
        self.unknown.insert(entry);
    }

    /// Forgets what the fold has forgotten.
    pub fn forget(&mut self, uses: &Uses) {
        let first = uses.keys().next().copied().unwrap_or(self.first);
        if first == self.first {
            return;
        }
        self.first = first;
        self.by_grant.retain(|_, entries| {
            *entries = entries.split_off(&first);
            !entries.is_empty()
        });
        self.unknown = self.unknown.split_off(&first);
    }

    /// What `uid` opened and read by `rule` since `since`.
    pub fn used(&self, uses: &Uses, uid: u32, rule: &RuleId, since: Timestamp) -> DayUse {
        let mut day = DayUse::default();
        let known = self.by_grant.get(&(uid, rule.clone())).into_iter().flatten();
        for found in known.chain(&self.unknown).filter_map(|entry| uses.get(entry)) {
            if found.opened >= since {
                day.recordings.insert(found.recording);
                day.bytes = day.bytes.saturating_add(found.bytes);
                day.micros = day.micros.saturating_add(found.micros());
            }
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_counts_for_its_holder_and_one_that_nobody_knows_for_all() {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let one = |n: u8, opened| Use {
            recording: RecordingId::from_bytes([n; 16]),
            opened: at(opened),
            bytes: 10,
            until: at(opened + 7),
        };
        let uses: Uses = [(1, one(1, 5)), (2, one(2, 50)), (3, one(3, 60)), (4, one(3, 70))].into();
        let (guard, other): (RuleId, RuleId) = ("guard".parse().unwrap(), "other".parse().unwrap());
        let mut holders = Holders::default();
        for entry in [1, 2, 4] {
            holders.note(entry, 7, guard.clone());
        }
        holders.note_unknown(3);
        let day = holders.used(&uses, 7, &guard, at(50));
        assert_eq!((day.recordings.len(), day.bytes, day.micros), (2, 30, 21));
        assert_eq!(holders.used(&uses, 7, &other, at(0)).bytes, 10);
        assert_eq!(holders.used(&uses, 8, &guard, at(0)).bytes, 10);
        holders.forget(&uses.clone().split_off(&4));
        assert_eq!(holders.used(&uses, 7, &guard, at(0)).bytes, 10);
    }
}
