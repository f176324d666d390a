//! Which bytes of a recording were read: merged half-open ranges, in bounded memory.
//!
//! Owns the merging. Must never leave out a byte that was added (invariant 9); past the bound it rounds up.

/// How many separate ranges are kept. Beyond it the two nearest become one, which may name bytes nobody read,
/// and never forgets bytes that somebody read.
pub const MAX_RANGES: usize = 4096;

/// Sorted, disjoint, not touching, never empty.
#[derive(Debug, Clone, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds the bytes from `start` to `end`, `end` not included.
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // The first range that touches or lies after `start`, and the first that begins beyond `end`.
        let first = self.0.partition_point(|&(_, stop)| stop < start);
        let after = self.0.partition_point(|&(begin, _)| begin <= end);
        let merged = self
            .0
            .get(first..after)
            .unwrap_or_default()
            .iter()
            .fold((start, end), |(low, high), &(begin, stop)| (low.min(begin), high.max(stop)));
        self.0.splice(first..after, [merged]);
        if self.0.len() > MAX_RANGES {
            self.join_nearest();
        }
    }

    /// The ranges, in order.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    fn join_nearest(&mut self) {
        let gaps =
            self.0.iter().zip(self.0.iter().skip(1)).map(|(left, right)| right.0.saturating_sub(left.1));
        let Some((at, _)) = gaps.enumerate().min_by_key(|&(_, gap)| gap) else { return };
        let right = self.0.remove(at.saturating_add(1));
        if let Some(left) = self.0.get_mut(at) {
            left.1 = right.1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_become_one() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (20, 30), (5, 5)] {
            ranges.add(start, end);
        }
        assert_eq!(ranges.as_slice(), [(10, 40)]);
    }

    #[test]
    fn inv9_past_the_bound_nothing_read_is_forgotten() {
        let mut ranges = Ranges::default();
        let last = MAX_RANGES as u64 * 10 + 100;
        for start in (0..last).step_by(10) {
            ranges.add(start, start + 1);
            assert!(ranges.as_slice().len() <= MAX_RANGES);
        }
        for byte in (0..last).step_by(10) {
            assert!(ranges.as_slice().iter().any(|&(start, end)| start <= byte && byte < end), "{byte}");
        }
    }

    proptest! {
        #[test]
        fn inv9_ranges_are_exactly_the_bytes_added(reads in prop::collection::vec((0u64..300, 0u64..40), 0..80)) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (start, length) in reads {
                ranges.add(start, start + length);
                model.extend(start..start + length);
            }
            let bytes: Vec<u64> = ranges.as_slice().iter().flat_map(|&(start, end)| start..end).collect();
            prop_assert_eq!(bytes, model.into_iter().collect::<Vec<_>>());
            prop_assert!(ranges.as_slice().windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
