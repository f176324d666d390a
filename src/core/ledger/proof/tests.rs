//! Proofs against `ct-merkle` and the `Frontier`, with tiles as tlog-tiles lays them out, and hostile ones.

use std::convert::Infallible;
use std::sync::OnceLock;

use super::super::hash::leaf_hash;
use super::super::tile::{FULL, FULL_U64};
use super::super::tree::{Frontier, root_of};
use super::*;
use ct_merkle::RootHash;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

/// More than two tiles of level 1, so that levels 0 to 2 all have tiles.
const MOST: u64 = 140_000;

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

/// Every hash of every level of one large tree; smaller trees are prefixes of it.
fn levels() -> &'static [Vec<Hash>] {
    static LEVELS: OnceLock<Vec<Vec<Hash>>> = OnceLock::new();
    LEVELS.get_or_init(|| {
        let mut levels = vec![(0..MOST).map(leaf).collect::<Vec<_>>()];
        while levels.last().unwrap().len() >= FULL {
            let above = levels.last().unwrap().chunks_exact(FULL).map(root_of).collect();
            levels.push(above);
        }
        levels
    })
}

/// Exactly the tile that a tree of this size has: a plan that wants more than its width fails.
fn fetch(tile: TileAt) -> Result<&'static [Hash], Infallible> {
    let start = usize::try_from(tile.n * FULL_U64).unwrap();
    Ok(&levels()[usize::from(tile.level)][start..start + tile.width])
}

fn root(size: u64) -> Hash {
    let mut frontier = Frontier::new();
    levels()[0][..usize::try_from(size).unwrap()].iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

fn flat(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Calls `check` with every change of one hash, one hash less, one more, and two swapped.
fn every_change(path: &[Hash], mut check: impl FnMut(&[Hash])) {
    for place in 0..path.len() {
        let mut changed = path.to_vec();
        changed[place].0[place % 32] ^= 1;
        check(&changed);
        changed = path.to_vec();
        changed.remove(place);
        check(&changed);
        if place > 0 {
            changed = path.to_vec();
            changed.swap(place - 1, place);
            check(&changed);
        }
    }
    for more in [leaf(0), leaf_hash(b"x")] {
        check(&[path, &[more]].concat());
        check(&[&[more], path].concat());
    }
}

#[test]
fn all_proofs_of_small_trees_are_those_of_ct_merkle_and_verify() {
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..=70_u64 {
        oracle.push((size - 1).to_be_bytes().to_vec());
        let root = root(size);
        assert_eq!(Plan::root(size).unwrap().assemble(fetch).unwrap(), [root]);
        for index in 0..size {
            let path = Plan::inclusion(index, size).unwrap().assemble(fetch).unwrap();
            let theirs = oracle.prove_inclusion(usize::try_from(index).unwrap());
            assert_eq!(flat(&path), theirs.as_bytes(), "{index} of {size}");
            assert_eq!(verify_inclusion(index, size, &leaf(index), &path, &root), Ok(()));
        }
        for old in 0..=size {
            let path = Plan::consistency(old, size).unwrap().assemble(fetch).unwrap();
            // The oracle proves neither "nothing" nor "the same".
            if old > 0 && old < size {
                let theirs = oracle.prove_consistency(usize::try_from(size - old).unwrap());
                assert_eq!(flat(&path), theirs.as_bytes(), "{old} to {size}");
            }
            assert_eq!(verify_consistency(old, &self::root(old), size, &root, &path), Ok(()));
        }
    }
}

#[test]
fn inv10_every_changed_proof_of_a_small_tree_is_refused() {
    for size in 1..=20_u64 {
        for index in 0..size {
            let path = Plan::inclusion(index, size).unwrap().assemble(fetch).unwrap();
            every_change(&path, |changed| {
                assert!(verify_inclusion(index, size, &leaf(index), changed, &root(size)).is_err());
            });
            assert!(verify_inclusion(index, size, &leaf(index + 1), &path, &root(size)).is_err());
            for other in (0..size).filter(|other| *other != index) {
                assert!(verify_inclusion(other, size, &leaf(index), &path, &root(size)).is_err());
            }
        }
        for old in 0..=size {
            let path = Plan::consistency(old, size).unwrap().assemble(fetch).unwrap();
            let (before, after) = (root(old), root(size));
            every_change(&path, |changed| {
                // Two equal neighbours swapped are no change.
                if changed != path {
                    assert!(
                        verify_consistency(old, &before, size, &after, changed).is_err(),
                        "{old} to {size}"
                    );
                }
            });
            let wrong = leaf_hash(b"another root");
            assert!(verify_consistency(old, &wrong, size, &after, &path).is_err());
            if old > 0 {
                assert!(verify_consistency(old, &before, size, &wrong, &path).is_err());
            }
        }
    }
}

#[test]
fn inv10_sizes_from_anybody_are_errors_not_overflows() {
    let (hash, path) = (leaf(0), [leaf(1); 70]);
    for size in [0, 1, MAX_SIZE - 1, MAX_SIZE, u64::MAX] {
        for index in [0, 1, size.wrapping_sub(1), size, u64::MAX] {
            for path in [&path[..0], &path[..53], &path[..]] {
                let _ = verify_inclusion(index, size, &hash, path, &hash);
                let _ = verify_consistency(index, &hash, size, &leaf(5), path);
            }
            for plan in [Plan::inclusion(index, size), Plan::consistency(index, size)].into_iter().flatten() {
                assert!(plan.tiles().len() <= 64);
                let short: Result<_, AssembleError<Infallible>> = plan.assemble(|_| Ok([]));
                assert_eq!(short.is_ok(), plan.tiles().is_empty());
            }
        }
    }
    assert_eq!(verify_inclusion(4, 4, &hash, &[], &hash), Err(ProofError::NoSuchEntry { index: 4, size: 4 }));
    assert_eq!(verify_consistency(5, &hash, 4, &hash, &[]), Err(ProofError::NotEarlier { old: 5, new: 4 }));
    assert_eq!(Plan::root(MAX_SIZE), Err(ProofError::TooLarge(MAX_SIZE)));
}

#[test]
fn a_proof_needs_three_tiles_a_level_at_most() {
    for size in [1_u64, 255, 256, 257, 65_536, 70_000, 1 << 24, (1 << 52) + 12_345] {
        let level_count = usize::try_from(u64::BITS - size.leading_zeros()).unwrap().div_ceil(8);
        for at in [0, size / 3, size / 2, size - 1] {
            for plan in [Plan::inclusion(at, size).unwrap(), Plan::consistency(at, size).unwrap()] {
                assert!(plan.tiles().len() <= 3 * level_count, "{at} of {size}: {:?}", plan.tiles());
                assert!(plan.len() <= MAX_PROOF_HASHES);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn proofs_over_several_levels_of_tiles_verify(size in 1..=MOST, at in any::<u64>(), flip in 0..32_usize) {
        let (at, end) = (at % size, root(size));
        let path = Plan::inclusion(at, size).unwrap().assemble(fetch).unwrap();
        prop_assert_eq!(verify_inclusion(at, size, &leaf(at), &path, &end), Ok(()));
        let theirs = ct_merkle::InclusionProof::<Sha256>::try_from_bytes(flat(&path)).unwrap();
        let theirs_root = RootHash::<Sha256>::new(end.0.into(), size);
        prop_assert!(theirs_root.verify_inclusion(&at.to_be_bytes(), at, &theirs).is_ok());

        let start = root(at);
        let path = Plan::consistency(at, size).unwrap().assemble(fetch).unwrap();
        prop_assert_eq!(verify_consistency(at, &start, size, &end, &path), Ok(()));
        if at > 0 {
            let theirs = ct_merkle::ConsistencyProof::<Sha256>::try_from_bytes(flat(&path)).unwrap();
            let old = RootHash::<Sha256>::new(start.0.into(), at);
            prop_assert!(theirs_root.verify_consistency(&old, &theirs).is_ok());
        }
        if let Some(place) = path.len().checked_sub(1) {
            let mut changed = path.clone();
            changed[flip % (place + 1)].0[flip] ^= 4;
            prop_assert!(verify_consistency(at, &start, size, &end, &changed).is_err());
        }
        prop_assert_eq!(Plan::root(size).unwrap().assemble(fetch).unwrap(), [end]);
    }

    #[test]
    fn inv10_verification_agrees_with_ct_merkle_on_anything(
        size in 1..300_u64, at in 0..300_u64, mut path in prop::collection::vec(0..300_u64, 0..12), good in any::<bool>(),
    ) {
        // Half of the time a good proof of another place: close to right, and wrong.
        let mut hashes: Vec<Hash> = path.drain(..).map(leaf).collect();
        if good && at < 300 {
            hashes = Plan::inclusion(at.min(size - 1), size).unwrap().assemble(fetch).unwrap();
        }
        let ours = verify_inclusion(at, size, &leaf(at), &hashes, &root(size)).is_ok();
        let theirs = ct_merkle::InclusionProof::<Sha256>::from_bytes(flat(&hashes));
        let root = RootHash::<Sha256>::new(root(size).0.into(), size);
        prop_assert_eq!(ours, at < size && root.verify_inclusion(&at.to_be_bytes(), at, &theirs).is_ok());
    }
}
