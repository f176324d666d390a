//! The Merkle tree of RFC 6962 §2.1, kept as its right edge only.
//!
//! Must never need the leaves again: appending and the root cost O(log n) in time and memory.

use super::hash::{Hash, empty_hash, node_hash};

/// A tree of `size` leaves as the roots of its complete subtrees, largest (leftmost) first: one for each bit set in `size`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

/// The number of hashes does not fit the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} entries has {expected} subtree roots, not {found}")]
pub struct FrontierError {
    size: u64,
    expected: u32,
    found: usize,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// From stored parts. Only the count can be checked here; that the hashes are right, a signed root must say.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Result<Self, FrontierError> {
        let expected = size.count_ones();
        if u32::try_from(roots.len()) == Ok(expected) {
            Ok(Self { size, roots })
        } else {
            Err(FrontierError { size, expected, found: roots.len() })
        }
    }

    /// Appends one leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        // Each trailing one bit of the size is a subtree as large as the one just completed.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                root = node_hash(&left, &root);
            }
        }
        self.roots.push(root);
        self.size = self.size.saturating_add(1);
    }

    /// Appends a complete subtree of 2^`height` leaves by its root. False, and nothing changed, where none can begin.
    #[must_use]
    pub fn push_subtree(&mut self, height: u32, root: Hash) -> bool {
        let Some(leaves) = 1_u64.checked_shl(height).filter(|leaves| self.size.is_multiple_of(*leaves))
        else {
            return false;
        };
        let mut root = root;
        for _ in 0..(self.size >> height).trailing_ones() {
            if let Some(left) = self.roots.pop() {
                root = node_hash(&left, &root);
            }
        }
        self.roots.push(root);
        self.size = self.size.saturating_add(leaves);
        true
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash.
    pub fn root(&self) -> Hash {
        self.roots
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_hash)
    }

    /// The subtree roots, largest first: what `from_parts` takes.
    pub fn hashes(&self) -> &[Hash] {
        &self.roots
    }
}

/// Merkle tree hash over leaf hashes (or over the hashes of one tile, which gives the hash that stands one level up).
pub fn root_of(hashes: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    for hash in hashes {
        frontier.push(*hash);
    }
    frontier.root()
}

#[cfg(test)]
mod tests {
    use super::super::hash::leaf_hash;
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// The leaves and roots that the Certificate Transparency reference implementation tests with.
    #[test]
    fn known_roots_of_rfc_6962() {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        for (leaf, root) in leaves.iter().zip(roots) {
            frontier.push(leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap()));
            assert_eq!(HEXLOWER.encode(&frontier.root().0), root);
        }
        assert_eq!(Frontier::new().root(), empty_hash());
    }

    #[test]
    fn parts_must_fit_the_size() {
        assert!(Frontier::from_parts(5, vec![empty_hash(); 2]).is_ok());
        assert!(Frontier::from_parts(5, vec![empty_hash(); 3]).is_err());
        assert!(Frontier::from_parts(u64::MAX, vec![]).is_err());
    }

    #[test]
    fn subtrees_and_leaves_give_the_same_tree() {
        let leaves: Vec<Hash> = (0..100_u8).map(|n| leaf_hash(&[n])).collect();
        for height in 0..4 {
            let (mut one, mut other) = (Frontier::new(), Frontier::new());
            for chunk in leaves.chunks_exact(1 << height) {
                chunk.iter().for_each(|leaf| one.push(*leaf));
                assert!(other.push_subtree(height, root_of(chunk)));
                assert_eq!(one, other);
            }
            one.push(leaves[0]);
            let before = one.clone();
            assert_eq!(one.push_subtree(height + 1, leaves[0]), before.size().is_multiple_of(2 << height));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_ct_merkle(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..200)) {
            let mut oracle = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
            let mut ours = Frontier::new();
            for leaf in leaves {
                ours.push(leaf_hash(&leaf));
                oracle.push(leaf);
                let again = Frontier::from_parts(ours.size(), ours.hashes().to_vec()).unwrap();
                prop_assert_eq!(&ours, &again);
            }
            prop_assert_eq!(ours.size(), oracle.len());
            let root = oracle.root();
            prop_assert_eq!(&ours.root().0[..], &root.as_bytes()[..]);
        }
    }
}
