//! How full the disk of the state directory is, and what that stops (design §5, §10).
//!
//! Owns the four levels and the rule between them. Each level stops more than the one before; purges, holds, ends of
//! sessions and the count of refusals are stopped by none: what is left at the last level, and the reserve of the ledger,
//! is for them. Pure: figures come in, a level comes out.

/// A level gets better only when a sixteenth more than its bound is free: a disk at the bound does not flap.
const HYSTERESIS_PART: u64 = 16;

/// How full the disk is. The order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing to say.
    #[default]
    Ample,
    /// Somebody should look: all works.
    Low,
    /// Nothing is sealed: the spool keeps the files.
    Tight,
    /// Nothing is opened, searched or read either.
    Full,
}

impl Level {
    /// The word in `Status` and journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Low => "low",
            Self::Tight => "tight",
            Self::Full => "full",
        }
    }

    /// What to say of it, and what to do; `None` when there is nothing to say.
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Ample => None,
            Self::Low => Some(
                "Space runs low: less than limits.warn_free_bytes is free under state_dir; make room before sealing stops.",
            ),
            Self::Tight => Some(
                "Sealing waits and the spool keeps the files: less than limits.min_free_bytes is free under state_dir; it goes on by itself when there is room.",
            ),
            Self::Full => Some(
                "Nothing is opened, searched or sealed: less than limits.serve_free_bytes is free under state_dir, and what is left is for purges and the record of refusals; it goes on by itself when there is room.",
            ),
        }
    }
}

/// Below how many free bytes each level begins. From large to small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// [`Level::Low`].
    pub warn_bytes: u64,
    /// [`Level::Tight`].
    pub seal_bytes: u64,
    /// [`Level::Full`].
    pub serve_bytes: u64,
}

impl Bounds {
    /// Below which nothing is sealed, unless told otherwise: 1 GiB.
    pub const SEAL_BYTES: u64 = 1 << 30;

    /// From what the configuration says: one number is enough, the others follow from it.
    pub fn new(seal_bytes: u64, warn_bytes: Option<u64>, serve_bytes: Option<u64>) -> Self {
        Self {
            warn_bytes: warn_bytes.unwrap_or(seal_bytes.saturating_mul(2)),
            seal_bytes,
            serve_bytes: serve_bytes.unwrap_or(seal_bytes / 16),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(Self::SEAL_BYTES, None, None)
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free on the file system of the state directory, in bytes, for whoever is not privileged.
    pub free_bytes: u64,
    /// Whether the reserve of the ledger has all its blocks.
    pub reserve_whole: bool,
}

/// The level now. It gets worse at once, and better only past the bound by a sixteenth; a reserve that was given up keeps
/// [`Level::Full`] until it is whole again.
pub fn judge(before: Level, room: &Room, bounds: &Bounds) -> Level {
    let past = |level: Level, bound: u64| {
        let margin = if before >= level { bound / HYSTERESIS_PART } else { 0 };
        room.free_bytes >= bound.saturating_add(margin)
    };
    let given_up = before == Level::Full && !room.reserve_whole;
    if given_up || !past(Level::Full, bounds.serve_bytes) {
        Level::Full
    } else if !past(Level::Tight, bounds.seal_bytes) {
        Level::Tight
    } else if !past(Level::Low, bounds.warn_bytes) {
        Level::Low
    } else {
        Level::Ample
    }
}

/// Whether the reserve may take its blocks back: not when that alone would stop the service again.
#[must_use]
pub fn refills(room: &Room, missing_bytes: u64, bounds: &Bounds) -> bool {
    let needed = bounds.serve_bytes.saturating_add(bounds.serve_bytes / HYSTERESIS_PART);
    !room.reserve_whole && room.free_bytes >= needed.saturating_add(missing_bytes)
}

/// Whether a file of `bytes` may be sealed: afterwards, and after the seals under way, which will still take
/// `promised_bytes`, the bound for sealing is still free.
#[must_use]
pub fn admits(level: Level, free_bytes: u64, promised_bytes: u64, bytes: u64, bounds: &Bounds) -> bool {
    level < Level::Tight && fits(free_bytes, promised_bytes, bytes, bounds)
}

/// Whether a file of `bytes` leaves the bound for sealing free, after all that is promised.
#[must_use]
pub fn fits(free_bytes: u64, promised_bytes: u64, bytes: u64, bounds: &Bounds) -> bool {
    free_bytes.saturating_sub(promised_bytes) >= bounds.seal_bytes.saturating_add(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { warn_bytes: 3200, seal_bytes: 1600, serve_bytes: 160 };

    fn room(free_bytes: u64) -> Room {
        Room { free_bytes, reserve_whole: true }
    }

    #[test]
    fn each_level_begins_below_its_bound_and_ends_a_sixteenth_above() {
        use Level::{Ample, Full, Low, Tight};
        for (before, free, after) in [
            (Ample, 3200, Ample),
            (Ample, 3199, Low),
            (Low, 3399, Low),
            (Low, 3400, Ample),
            (Ample, 1600, Low),
            (Ample, 1599, Tight),
            (Tight, 1699, Tight),
            (Tight, 1700, Low),
            (Tight, 3200, Low),
            (Tight, 3400, Ample),
            (Ample, 160, Tight),
            (Ample, 159, Full),
            (Full, 169, Full),
            (Full, 170, Tight),
            (Full, 1699, Tight),
            (Full, 9999, Ample),
            (Ample, 0, Full),
        ] {
            assert_eq!(judge(before, &room(free), &BOUNDS), after, "{before:?} with {free}");
        }
    }

    #[test]
    fn a_reserve_that_was_given_up_keeps_the_service_closed_until_it_is_whole() {
        let broken = Room { free_bytes: 1_000_000, reserve_whole: false };
        assert_eq!(judge(Level::Full, &broken, &BOUNDS), Level::Full);
        assert_eq!(judge(Level::Full, &room(1_000_000), &BOUNDS), Level::Ample);
        // A disk that never had room for it is no reason to refuse what fits.
        assert_eq!(judge(Level::Ample, &broken, &BOUNDS), Level::Ample);
        assert!(refills(&broken, 500, &BOUNDS) && !refills(&room(1_000_000), 0, &BOUNDS));
        assert!(!refills(&Room { free_bytes: 669, ..broken }, 500, &BOUNDS));
        assert!(refills(&Room { free_bytes: 670, ..broken }, 500, &BOUNDS));
    }

    #[test]
    fn a_file_is_sealed_only_if_the_bound_stays_free_after_it() {
        assert!(admits(Level::Low, 1700, 0, 100, &BOUNDS));
        assert!(!admits(Level::Low, 1700, 0, 101, &BOUNDS));
        assert!(!admits(Level::Tight, 9999, 0, 1, &BOUNDS));
        assert!(!admits(Level::Ample, u64::MAX - 1, 0, u64::MAX, &BOUNDS));
    }

    #[test]
    fn what_is_promised_to_seals_under_way_is_not_free() {
        assert!(admits(Level::Low, 1800, 100, 100, &BOUNDS));
        assert!(!admits(Level::Low, 1800, 101, 100, &BOUNDS));
        assert!(!admits(Level::Ample, 1800, u64::MAX, 0, &BOUNDS));
    }

    proptest! {
        #[test]
        fn a_level_stands_still_while_nothing_changes(free in 0u64..5000, start in 0usize..4) {
            let all = [Level::Ample, Level::Low, Level::Tight, Level::Full];
            let first = judge(all[start], &room(free), &BOUNDS);
            prop_assert_eq!(judge(first, &room(free), &BOUNDS), first);
        }

        #[test]
        fn a_few_bytes_to_and_fro_change_the_level_once_at_most(free in 0u64..5000, wobble in 0u64..10) {
            let (low, high) = (room(free), room(free + wobble));
            let mut level = judge(Level::Ample, &low, &BOUNDS);
            for _ in 0..4 {
                let up = judge(level, &high, &BOUNDS);
                prop_assert_eq!(up, level);
                level = judge(up, &low, &BOUNDS);
                prop_assert_eq!(up, level);
            }
        }

        #[test]
        fn less_space_is_never_a_better_level(a in 0u64..5000, b in 0u64..5000, start in 0usize..4) {
            let before = [Level::Ample, Level::Low, Level::Tight, Level::Full][start];
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(judge(before, &room(less), &BOUNDS) >= judge(before, &room(more), &BOUNDS));
        }
    }
}
