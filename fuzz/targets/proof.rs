//! Proofs: the right one of a small tree is accepted, and no other hashes, sizes or places are.
#![no_main]

use std::sync::LazyLock;

use greffier::core::ledger::hash::{Hash, leaf_hash};
use greffier::core::ledger::proof::{verify_consistency, verify_inclusion};
use greffier::core::ledger::tree::root_of;

const MOST: usize = 40;
static LEAVES: LazyLock<Vec<Hash>> = LazyLock::new(|| (0..MOST).map(|n| leaf_hash(&n.to_le_bytes())).collect());
/// Roots of the first 0, 1, 2... leaves.
static ROOTS: LazyLock<Vec<Hash>> = LazyLock::new(|| (0..=MOST).map(|n| root_of(&LEAVES[..n])).collect());

/// Largest power of two below `size`.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

/// RFC 6962 §2.1.1.
fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (inclusion(index, left), root_of(right))
    } else {
        (inclusion(index - left.len(), right), root_of(left))
    };
    path.push(sibling);
    path
}

/// RFC 6962 §2.1.2.
fn consistency(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root_of(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = if old <= left.len() {
        (consistency(old, left, whole), root_of(right))
    } else {
        (consistency(old - left.len(), right, false), root_of(left))
    };
    path.push(sibling);
    path
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [kind, size, at, edits @ ..] = bytes else { return };
    let size = usize::from(*size) % MOST + 1;
    let at = usize::from(*at) % size;
    let old = at + 1;
    let right = match kind % 2 {
        0 => inclusion(at, &LEAVES[..size]),
        _ => consistency(old, &LEAVES[..size], true),
    };
    let mut path = right.clone();
    let (mut told_at, mut told_size, mut told_old) = (at as u64, size as u64, old as u64);
    for edit in edits.chunks_exact(3).take(8) {
        let place = usize::from(edit[1]);
        match edit[0] % 6 {
            0 => {
                if let Some(hash) = path.get_mut(place / 32) {
                    hash.0[place % 32] ^= edit[2];
                }
            }
            1 => path.insert(place.min(path.len()), LEAVES[usize::from(edit[2]) % MOST]),
            2 if place < path.len() => drop(path.remove(place)),
            3 if place < path.len() => {
                let other = usize::from(edit[2]) % path.len();
                path.swap(place, other);
            }
            4 => told_at = told_at.wrapping_add(u64::from(edit[1]) << (edit[2] % 64)),
            5 => {
                told_size = told_size.wrapping_add(u64::from(edit[1]) << (edit[2] % 64));
                told_old = told_old.wrapping_sub(u64::from(edit[1]));
            }
            _ => {}
        }
    }
    // Another size may be right all the same: a root proves one size only to whoever signed both.
    let same = path == right && (told_at, told_size, told_old) == (at as u64, size as u64, old as u64);
    let (root, leaf) = (&ROOTS[size], &LEAVES[at]);
    let accepted = match kind % 2 {
        0 => verify_inclusion(told_at, told_size, leaf, &path, root).is_ok(),
        _ => verify_consistency(told_old, &ROOTS[old], told_size, root, &path).is_ok(),
    };
    if same {
        assert!(accepted);
    } else if (told_at, told_size, told_old) == (at as u64, size as u64, old as u64) {
        assert!(!accepted, "another path for the same place");
    }
});
