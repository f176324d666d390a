//! Which details are destroyed for good, as `ledger.details-destroyed` tells, and which key of a bundle is in force.
//!
//! Owns the ranges and the generation of each bundle touched. Must never hold anything of a detail.

use std::collections::BTreeMap;

use crate::core::event::DetailsDestroyed;

/// Entries in a bundle.
const BUNDLE: u64 = 256;

/// The fold of `ledger.details-destroyed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestroyedDetails {
    /// First entry → the entry after the last; merged, apart from each other.
    ranges: BTreeMap<u64, u64>,
    /// Bundle → how often it was touched, and whether something stayed the last time.
    bundles: BTreeMap<u64, (u64, bool)>,
}

/// Which key the details of a bundle are encrypted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailKey {
    /// The key of this generation; 0 is the first, under which the details were written.
    Generation(u64),
    /// None: nothing stayed, after so many destructions.
    Gone(u64),
}

impl DetailKey {
    /// How often details of the bundle were destroyed.
    pub const fn generation(self) -> u64 {
        match self {
            Self::Generation(generation) | Self::Gone(generation) => generation,
        }
    }
}

impl DestroyedDetails {
    /// Whether the detail of `entry`, if it ever had one, is destroyed.
    pub fn contains(&self, entry: u64) -> bool {
        self.ranges.range(..=entry).next_back().is_some_and(|(_, end)| entry < *end)
    }
    /// The ranges, `[first, end)`, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, end)| (*first, *end))
    }
    /// The key in force for the details of `bundle`.
    pub fn key_of(&self, bundle: u64) -> DetailKey {
        match self.bundles.get(&bundle) {
            None => DetailKey::Generation(0),
            Some(&(generation, true)) => DetailKey::Generation(generation),
            Some(&(generation, false)) => DetailKey::Gone(generation),
        }
    }

    /// Why entry `seq` cannot say this.
    pub(super) fn check(&self, seq: u64, said: &DetailsDestroyed) -> Result<(), &'static str> {
        let first = said.bundle.checked_mul(BUNDLE).ok_or("its bundle does not exist")?;
        let end = first.checked_add(BUNDLE).filter(|end| *end <= seq).ok_or("its bundle is not full yet")?;
        if said.destroyed.is_empty() {
            return Err("it destroys nothing");
        }
        for ranges in [&said.destroyed, &said.kept] {
            let mut from = first;
            for &(range_first, range_end) in ranges {
                if range_first < from || range_end <= range_first || range_end > end {
                    return Err("a range of it is empty, out of order or outside its bundle");
                }
                from = range_end;
            }
        }
        let kept = said.kept.iter();
        let mut overlaps = kept.flat_map(|(first, end)| *first..*end);
        if overlaps.any(|it| self.contains(it) || said.destroyed.iter().any(|(f, e)| *f <= it && it < *e)) {
            return Err("it keeps a detail that is destroyed");
        }
        match self.key_of(said.bundle) {
            DetailKey::Gone(_) => Err("no detail of its bundle was left"),
            DetailKey::Generation(before) if before.checked_add(1) != Some(said.generation) => {
                Err("its generation does not follow the one before")
            }
            DetailKey::Generation(_) => Ok(()),
        }
    }

    /// Takes in what [`DestroyedDetails::check`] let pass.
    pub(super) fn destroy(&mut self, said: &DetailsDestroyed) {
        for &(mut first, mut end) in &said.destroyed {
            if let Some((&before, &before_end)) = self.ranges.range(..=first).next_back()
                && before_end >= first
            {
                first = before;
                end = end.max(before_end);
            }
            while let Some((&next, &next_end)) = self.ranges.range(first..=end).next() {
                self.ranges.remove(&next);
                end = end.max(next_end);
            }
            self.ranges.insert(first, end);
        }
        self.bundles.insert(said.bundle, (said.generation, !said.kept.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bundle: u64, destroyed: &[(u64, u64)], kept: &[(u64, u64)], generation: u64) -> DetailsDestroyed {
        DetailsDestroyed { bundle, destroyed: destroyed.to_vec(), kept: kept.to_vec(), generation }
    }

    #[test]
    fn ranges_merge_and_the_generation_follows() {
        let mut details = DestroyedDetails::default();
        assert_eq!(details.key_of(0), DetailKey::Generation(0));
        for (step, key) in [
            (said(0, &[(0, 10), (20, 30)], &[(10, 20), (30, 256)], 1), DetailKey::Generation(1)),
            (said(0, &[(10, 20)], &[(30, 256)], 2), DetailKey::Generation(2)),
            (said(0, &[(0, 256)], &[], 3), DetailKey::Gone(3)),
            (said(1, &[(256, 512)], &[], 1), DetailKey::Gone(3)),
        ] {
            details.check(600, &step).unwrap();
            details.destroy(&step);
            assert_eq!(details.key_of(0), key);
        }
        assert_eq!(details.ranges().collect::<Vec<_>>(), [(0, 512)]);
        assert!(details.contains(0) && details.contains(511) && !details.contains(512));
    }

    #[test]
    fn inv10_what_cannot_be_is_refused() {
        let mut details = DestroyedDetails::default();
        for wrong in [
            said(u64::MAX, &[(0, 1)], &[], 1),
            said(2, &[(512, 513)], &[], 1),
            said(0, &[], &[(0, 256)], 1),
            said(0, &[(5, 5)], &[], 1),
            said(0, &[(5, 9), (8, 10)], &[], 1),
            said(0, &[(250, 257)], &[], 1),
            said(1, &[(250, 257)], &[], 1),
            said(0, &[(0, 9)], &[(8, 10)], 1),
            said(0, &[(0, 9)], &[], 2),
            said(0, &[(0, 9)], &[], 0),
        ] {
            assert!(details.check(700, &wrong).is_err(), "{wrong:?}");
        }
        details.destroy(&said(0, &[(0, 9)], &[(9, 256)], 1));
        assert!(details.check(700, &said(0, &[(9, 10)], &[(8, 9)], 2)).is_err(), "kept what was destroyed");
        details.destroy(&said(0, &[(9, 256)], &[], 2));
        assert!(details.check(700, &said(0, &[(9, 10)], &[], 3)).is_err(), "nothing was left");
    }
}
