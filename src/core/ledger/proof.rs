//! Proofs of RFC 6962: that an entry is in a tree, and that a tree begins with an earlier one.
//!
//! Owns both verifications (RFC 9162 §2.1.3.2, §2.1.4.2); `plan` makes the proofs out of stored tiles. Must never fetch
//! anything, and takes sizes, indices and hashes from anybody: the time is that of a proof of 64 hashes at most.

mod plan;
#[cfg(test)]
mod tests;

pub use plan::{AssembleError, Plan, TileAt};

use super::checkpoint::MAX_SIZE;
use super::hash::{Hash, empty_hash, node_hash};

/// Most hashes in a proof: one a level below the root, and one more where a consistency proof begins.
pub const MAX_PROOF_HASHES: usize = 64;

/// A proof that cannot be made, or that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The entry would come after the last one.
    #[error("entry {index} is not in a ledger of {size} entries")]
    NoSuchEntry {
        /// The entry.
        index: u64,
        /// Entries there are.
        size: u64,
    },
    /// The tree that should be the earlier one is the larger one.
    #[error("a ledger of {new} entries cannot go on from one of {old}")]
    NotEarlier {
        /// Size of the earlier tree.
        old: u64,
        /// Size of the later tree.
        new: u64,
    },
    /// A size that no ledger can have.
    #[error("a ledger has fewer than 2^53 entries, not {0}")]
    TooLarge(u64),
    /// More or fewer hashes than a proof for these sizes has.
    #[error("the proof has {0} hashes, which does not fit the sizes")]
    Length(usize),
    /// The hashes do not lead from the entry to the root.
    #[error("the hashes do not lead from the entry to the root")]
    NotIncluded,
    /// The hashes do not lead to the root of the earlier tree.
    #[error("the hashes do not lead to the root of the earlier ledger")]
    OldRoot,
    /// The hashes do not lead to the root of the later tree.
    #[error("the hashes do not lead to the root of the later ledger")]
    NewRoot,
}

/// Checks that the tree of `size` leaves with this `root` has `leaf` at `index`.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_entry(index, size)?;
    let length = ProofError::Length(path.len());
    // Where the node stands in its row, and where the last one of that row stands.
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(length);
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // The last node of an odd row is carried up unchanged until it is a right child.
            while node.is_multiple_of(2) && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::NotIncluded) }
}

/// Checks that the tree of `new_size` leaves begins with the tree of `old_size`.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    check_sizes(old_size, new_size)?;
    let length = ProofError::Length(path.len());
    if old_size == 0 || old_size == new_size {
        // Nothing has to be shown, and nothing may be: but the roots must be those of such trees.
        if !path.is_empty() {
            return Err(length);
        }
        return match (old_size, old_size == new_size) {
            (0, _) if *old_root != empty_hash() => Err(ProofError::OldRoot),
            (_, true) if old_root != new_root => Err(ProofError::NewRoot),
            _ => Ok(()),
        };
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node % 2 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // An old tree that is one complete subtree stands in the new one as it is: its root is left out of the proof.
    let (first, rest) = if old_size.is_power_of_two() {
        (*old_root, path)
    } else {
        path.split_first().map(|(first, rest)| (*first, rest)).ok_or(length)?
    };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(length);
        }
        if node % 2 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node.is_multiple_of(2) && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    if old_hash != *old_root {
        return Err(ProofError::OldRoot);
    }
    if new_hash == *new_root { Ok(()) } else { Err(ProofError::NewRoot) }
}

fn check_entry(index: u64, size: u64) -> Result<(), ProofError> {
    check_size(size)?;
    if index < size { Ok(()) } else { Err(ProofError::NoSuchEntry { index, size }) }
}

fn check_sizes(old: u64, new: u64) -> Result<(), ProofError> {
    check_size(new)?;
    if old <= new { Ok(()) } else { Err(ProofError::NotEarlier { old, new }) }
}

fn check_size(size: u64) -> Result<(), ProofError> {
    if size < MAX_SIZE { Ok(()) } else { Err(ProofError::TooLarge(size)) }
}
