//! Which hashes of the published tree a proof is made of, and the proof from them.
//!
//! A proof is a list of Merkle tree hashes over ranges of leaves. Each range is a few complete subtrees, and each of
//! these is hashed from neighbours within one tile (C2SP tlog-tiles, height 8). So a proof needs two or three tiles a
//! level, whatever the size of the ledger. How a tile is fetched is not known here.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::hash::{Hash, empty_hash, node_hash};
use super::super::tile::{FULL, FULL_U64};
use super::super::tree::root_of;
use super::{ProofError, check_entry, check_size, check_sizes};

/// A tile, as wide as it is in the tree of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileAt {
    /// 0 has the leaf hashes; a hash of level `l` covers 256^l entries.
    pub level: u8,
    /// Its number within the level.
    pub n: u64,
    /// How many hashes it has in this tree, 1 to 256; below 256 the published file is partial.
    pub width: usize,
}

impl TileAt {
    /// The width as `tile_path` takes it: `None` for a full tile.
    pub fn partial(&self) -> Option<u8> {
        u8::try_from(self.width).ok()
    }
}

/// A proof that could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError<E: std::error::Error + 'static> {
    /// A tile could not be fetched.
    #[error("tile {} of level {} cannot be had", tile.n, tile.level)]
    Fetch {
        /// Which.
        tile: TileAt,
        /// Why.
        source: E,
    },
    /// A tile has fewer hashes than it must have in this tree.
    #[error("tile {} of level {} has {found} hashes instead of {}", tile.n, tile.level, tile.width)]
    Short {
        /// Which.
        tile: TileAt,
        /// What it has.
        found: usize,
    },
}

/// The hashes of one proof, not yet computed: each is the Merkle tree hash of a range of leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    size: u64,
    ranges: Vec<Range<u64>>,
}

/// A complete subtree: the leaves `index << height` to `(index + 1) << height`.
#[derive(Debug, Clone, Copy)]
struct Node {
    height: u32,
    index: u64,
}

impl Plan {
    /// The proof that entry `index` is in the tree of `size` leaves (RFC 6962 §2.1.1), for `verify_inclusion`.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        check_entry(index, size)?;
        let mut ranges = Vec::new();
        let mut subtree = 0..size;
        while subtree.end - subtree.start > 1 {
            let (left, right) = halves(&subtree);
            let inside = if index < left.end { (left, right) } else { (right, left) };
            ranges.push(inside.1);
            subtree = inside.0;
        }
        ranges.reverse();
        Ok(Self { size, ranges })
    }

    /// The proof that the tree of `new` leaves begins with the tree of `old` (RFC 6962 §2.1.2), for `verify_consistency`.
    pub fn consistency(old: u64, new: u64) -> Result<Self, ProofError> {
        check_sizes(old, new)?;
        let mut ranges = Vec::new();
        let mut subtree = 0..new;
        // Down to the subtree that ends where the old tree ends.
        while old != 0 && subtree.end != old {
            let (left, right) = halves(&subtree);
            let inside = if old <= left.end { (left, right) } else { (right, left) };
            ranges.push(inside.1);
            subtree = inside.0;
        }
        // When that is the whole old tree, who verifies has its root.
        if old != 0 && subtree.start != 0 {
            ranges.push(subtree);
        }
        ranges.reverse();
        Ok(Self { size: new, ranges })
    }

    /// One hash: the root of the tree of `size` leaves.
    pub fn root(size: u64) -> Result<Self, ProofError> {
        check_size(size)?;
        Ok(Self { size, ranges: std::iter::once(0..size).collect() })
    }

    /// How many hashes the proof has, at most `MAX_PROOF_HASHES`.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }
    /// Whether the proof has no hashes: that of the only entry, or of a tree that did not grow.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The tiles that are needed, each once, lowest level first.
    pub fn tiles(&self) -> Vec<TileAt> {
        let nodes = self.ranges.iter().flat_map(complete_subtrees);
        let mut tiles: Vec<TileAt> = nodes.map(|node| node.tile(self.size).0).collect();
        tiles.sort_unstable();
        tiles.dedup();
        tiles
    }

    /// The hashes of the proof. `fetch` is asked for each tile once; of a longer one the first `width` hashes count, so
    /// a full tile may stand in for a partial one. That the tiles are right, only the verification can tell.
    pub fn assemble<T: AsRef<[Hash]>, E: std::error::Error>(
        &self,
        mut fetch: impl FnMut(TileAt) -> Result<T, E>,
    ) -> Result<Vec<Hash>, AssembleError<E>> {
        let mut tiles = BTreeMap::new();
        for tile in self.tiles() {
            tiles.insert(tile, fetch(tile).map_err(|source| AssembleError::Fetch { tile, source })?);
        }
        let node = |node: Node| {
            let (tile, place) = node.tile(self.size);
            let hashes = tiles.get(&tile).map(AsRef::as_ref).unwrap_or_default();
            let found = hashes.len();
            hashes.get(place).map(root_of).ok_or(AssembleError::Short { tile, found })
        };
        let range = |range: &Range<u64>| {
            // From the right edge inwards, as in `Frontier::root`.
            let mut roots =
                complete_subtrees(range).map(node).collect::<Result<Vec<_>, _>>()?.into_iter().rev();
            let last = roots.next().unwrap_or_else(empty_hash);
            Ok(roots.fold(last, |right, left| node_hash(&left, &right)))
        };
        self.ranges.iter().map(range).collect()
    }
}

impl Node {
    /// The tile with the hashes that give this node, and which of its hashes these are.
    fn tile(self, size: u64) -> (TileAt, Range<usize>) {
        // Sizes stay below 2^53, so the height below 53 and the level below 7.
        let level = u8::try_from(self.height / 8).unwrap_or(u8::MAX);
        let wide = self.height % 8;
        let first = self.index << wide;
        let n = first / FULL_U64;
        let in_level = size >> (u32::from(level) * 8);
        let width = usize::try_from(in_level - n * FULL_U64).unwrap_or(FULL).min(FULL);
        let start = usize::try_from(first % FULL_U64).unwrap_or(0);
        (TileAt { level, n, width }, start..start + (1 << wide))
    }
}

/// The two subtrees of one with at least two leaves: the left one is as large a power of two as leaves the right one any.
fn halves(range: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let leaves = range.end - range.start;
    let middle = range.start + (1 << (leaves - 1).ilog2());
    (range.start..middle, middle..range.end)
}

/// The complete subtrees side by side that make up a subtree of the tree, largest first.
fn complete_subtrees(range: &Range<u64>) -> impl DoubleEndedIterator<Item = Node> + use<> {
    let (mut start, leaves) = (range.start, range.end - range.start);
    let heights: Vec<u32> = (0..u64::BITS).rev().filter(|height| (leaves >> height) & 1 == 1).collect();
    let nodes: Vec<Node> = heights
        .into_iter()
        .map(|height| {
            let index = start >> height;
            start += 1 << height;
            Node { height, index }
        })
        .collect();
    nodes.into_iter()
}
