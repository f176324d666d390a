//! A ledger put back from a backup: whether it was, what that lost, and the order of an administrator to go on with it.
//!
//! Owns the decision, and the file `ledger/accepted-restore` that carries the order from `greffierctl doctor` to the next
//! start. Must never make a rollback invisible: the order names both heads, and the start writes both into the ledger.

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use crate::core::event::LedgerRestored;

/// Name of the order, below `ledger/`.
pub const ORDER_FILE: &str = "accepted-restore";
/// The longest order, in bytes.
pub const MAX_ORDER_BYTES: u64 = 4096;

/// A head: so many entries, with this root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownHead {
    /// Entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

/// What stands outside the entries and tells of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outside {
    /// The head in the second place, and whether this ledger had that head.
    pub second: Option<(KnownHead, bool)>,
    /// The largest head in `checkpoints/`.
    pub kept: Option<KnownHead>,
    /// Whether bundles stand beyond the tail: the tail alone was put back.
    pub bundles_beyond: bool,
}

/// Whether the ledger was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// Nothing knows more than the ledger itself.
    No,
    /// Something knows a later or another ledger: this can be accepted.
    Lost {
        /// The most that is known.
        known: KnownHead,
        /// The ledger has as many entries as that, but others.
        beside: bool,
    },
    /// Files of two states stand side by side: only a whole backup can be put back.
    Mixed,
}

/// Judges a ledger whose head is `here`.
pub fn judge_restore(here: KnownHead, outside: &Outside) -> Restore {
    if outside.bundles_beyond {
        return Restore::Mixed;
    }
    let second = outside.second.filter(|(_, same)| !same).map(|(head, _)| head);
    let kept = outside.kept.filter(|head| head.size > here.size);
    match second.into_iter().chain(kept).max_by_key(|head| head.size) {
        None => Restore::No,
        Some(known) => Restore::Lost { known, beside: known.size <= here.size },
    }
}

/// The order: go on with this ledger although that head is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreOrder {
    /// The ledger as it was put back.
    pub here: KnownHead,
    /// The head that is given up.
    pub known: KnownHead,
}

impl RestoreOrder {
    /// One line of JSON.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }
    /// Reads an order; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
    /// The entry that carries it out.
    pub fn event(&self) -> LedgerRestored {
        LedgerRestored {
            why: if self.known.size > self.here.size { "behind" } else { "beside" }.into(),
            size: self.here.size,
            known_size: self.known.size,
            known_root: self.known.root,
        }
    }
}

/// What a start does with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is for this ledger, and not carried out yet.
    Due,
    /// The entry stands; only the traces are left to remove.
    Done,
    /// It is for another state of the ledger: it orders nothing.
    Foreign,
}

/// Judges an order against the ledger as read, and the last `ledger.restored` in it.
pub fn judge_order(order: &RestoreOrder, here: KnownHead, restored: Option<&LedgerRestored>) -> Standing {
    if restored == Some(&order.event()) {
        Standing::Done
    } else if order.here == here {
        Standing::Due
    } else {
        Standing::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: u64, root: u8) -> KnownHead {
        KnownHead { size, root: Hash([root; 32]) }
    }

    #[test]
    fn what_knows_more_or_other_is_a_restore() {
        let here = head(10, 1);
        let judge = |second, kept| judge_restore(here, &Outside { second, kept, bundles_beyond: false });
        let lost = |known, beside| Restore::Lost { known, beside };
        assert_eq!(judge(None, None), Restore::No);
        assert_eq!(judge(Some((head(9, 2), true)), Some(head(8, 3))), Restore::No);
        assert_eq!(judge(Some((head(12, 2), false)), None), lost(head(12, 2), false));
        assert_eq!(judge(Some((head(9, 2), false)), None), lost(head(9, 2), true));
        assert_eq!(judge(Some((head(9, 2), true)), Some(head(15, 3))), lost(head(15, 3), false));
        assert_eq!(judge(Some((head(12, 2), false)), Some(head(15, 3))), lost(head(15, 3), false));
        let mixed = Outside { bundles_beyond: true, ..Outside::default() };
        assert_eq!(judge_restore(here, &mixed), Restore::Mixed);
    }

    #[test]
    fn an_order_is_for_one_state_of_one_ledger() {
        let order = RestoreOrder { here: head(10, 1), known: head(12, 2) };
        assert_eq!(judge_order(&order, head(10, 1), None), Standing::Due);
        assert_eq!(judge_order(&order, head(11, 7), Some(&order.event())), Standing::Done);
        assert_eq!(judge_order(&order, head(10, 7), None), Standing::Foreign);
        let other = RestoreOrder { here: head(10, 1), known: head(13, 2) };
        assert_eq!(judge_order(&order, head(11, 7), Some(&other.event())), Standing::Foreign);
    }

    #[test]
    fn an_order_reads_back_and_nothing_else_is_one() {
        let order = RestoreOrder { here: head(10, 1), known: head(12, 2) };
        assert_eq!(RestoreOrder::parse(order.to_line().unwrap().as_bytes()), Some(order));
        assert_eq!(order.event().why, "behind");
        assert_eq!(RestoreOrder { here: head(12, 1), ..order }.event().why, "beside");
        for bad in ["", "{}", "[1]", "{\"here\":{\"size\":1,\"root\":\"x\"}}"] {
            assert_eq!(RestoreOrder::parse(bad.as_bytes()), None);
        }
    }
}
