//! The clock is not trusted (invariant 11): when its steps are believed, and when nothing may be purged until the
//! kernel has synchronised it or an administrator has confirmed it (design §9).
//!
//! Pure: the clocks come in as read. What follows from a doubt (`ledger.clock-suspect`, no purge) is done elsewhere.

use std::fmt;

use crate::core::time::{BootId, Moment, Timestamp};

/// A step forward that no house is off for: 72 hours.
pub const STEP_LIMIT_MICROS: i64 = 72 * HOUR_MICROS;
/// What a clock that nothing synchronises may be ahead of the time that the machine was up: 1 hour.
pub const UNSYNCHRONISED_LIMIT_MICROS: i64 = HOUR_MICROS;
const HOUR_MICROS: i64 = 3_600_000_000;

/// The clocks of the last entry in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSeen {
    /// Its wall clock.
    pub time: Timestamp,
    /// Its microseconds since boot.
    pub up_micros: u64,
    /// Which boot those count from.
    pub boot: BootId,
}

/// Whether a wall clock is believed.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockVerdict {
    /// It is: what is due may be purged.
    Sound,
    /// It is not: nothing may be purged.
    Suspect {
        /// What is odd about it.
        why: ClockDoubt,
    },
}

/// Why a wall clock is not believed. Its text identifies no person and may stand in a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockDoubt {
    /// It parted earlier, as an entry says, and nobody has confirmed it since.
    Unconfirmed,
    /// The time lies before a time already written.
    Backward {
        /// By how much, in microseconds; positive.
        by_micros: i64,
    },
    /// The time lies further ahead than the machine was up, beyond the limit.
    Forward {
        /// By how much, in microseconds; positive.
        by_micros: i64,
        /// The limit, in microseconds.
        limit_micros: i64,
    },
    /// While running, the wall clock fell behind the time since boot, beyond the limit.
    Slow {
        /// By how much, in microseconds; positive.
        by_micros: i64,
        /// The limit, in microseconds.
        limit_micros: i64,
    },
}

impl fmt::Display for ClockDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |micros: i64| micros / 1_000_000;
        match *self {
            Self::Unconfirmed => f.write_str("the clock jumped and was not confirmed since"),
            Self::Backward { by_micros } => {
                write!(f, "the clock stands {} s before the last entry", seconds(by_micros))
            }
            Self::Forward { by_micros, limit_micros } => {
                let (by, limit) = (seconds(by_micros), seconds(limit_micros));
                write!(
                    f,
                    "the clock is {by} s ahead of what the machine can account for; at most {limit} s are believed"
                )
            }
            Self::Slow { by_micros, limit_micros } => {
                let (by, limit) = (seconds(by_micros), seconds(limit_micros));
                write!(f, "the clock fell {by} s behind the time since boot; at most {limit} s are believed")
            }
        }
    }
}

/// Judges the clock when the service starts, against the last entry; a new ledger has none.
///
/// Suspect is a time before the last entry, or more than 72 h after it, or, when the kernel does not call its clock
/// synchronised, more than 1 h after it plus the time that the machine was up since. A suspect clock becomes sound
/// when [`Moment::synchronised`] turns true or an administrator confirms it.
pub fn judge_start(last: Option<&LastSeen>, now: &Moment) -> ClockVerdict {
    let Some(last) = last else { return ClockVerdict::Sound };
    let passed_micros = now.time.micros_since(last.time);
    if passed_micros < 0 {
        return suspect(ClockDoubt::Backward { by_micros: passed_micros.saturating_neg() });
    }
    if passed_micros > STEP_LIMIT_MICROS {
        return suspect(ClockDoubt::Forward { by_micros: passed_micros, limit_micros: STEP_LIMIT_MICROS });
    }
    let since_boot = if now.boot == last.boot { last.up_micros } else { 0 };
    let ahead_micros = passed_micros.saturating_sub(up_micros(since_boot, now.up_micros));
    if !now.synchronised && ahead_micros > UNSYNCHRONISED_LIMIT_MICROS {
        let limit_micros = UNSYNCHRONISED_LIMIT_MICROS;
        return suspect(ClockDoubt::Forward { by_micros: ahead_micros, limit_micros });
    }
    ClockVerdict::Sound
}

/// Judges the clock while the service runs, against an earlier moment of the same boot.
///
/// Ask twice: with the moment of the last entry, because time in the ledger may fall only after a doubt; and with the
/// moment when the clock was last found sound, because small steps must not add up unseen.
pub fn judge_running(previous: &Moment, now: &Moment) -> ClockVerdict {
    if previous.boot != now.boot {
        let last = LastSeen { time: previous.time, up_micros: previous.up_micros, boot: previous.boot };
        return judge_start(Some(&last), now);
    }
    let passed_micros = now.time.micros_since(previous.time);
    if passed_micros < 0 {
        return suspect(ClockDoubt::Backward { by_micros: passed_micros.saturating_neg() });
    }
    let ahead_micros = passed_micros.saturating_sub(up_micros(previous.up_micros, now.up_micros));
    let limit_micros = if now.synchronised { STEP_LIMIT_MICROS } else { UNSYNCHRONISED_LIMIT_MICROS };
    if ahead_micros > limit_micros {
        return suspect(ClockDoubt::Forward { by_micros: ahead_micros, limit_micros });
    }
    if ahead_micros < limit_micros.saturating_neg() {
        return suspect(ClockDoubt::Slow { by_micros: ahead_micros.saturating_neg(), limit_micros });
    }
    ClockVerdict::Sound
}

fn suspect(why: ClockDoubt) -> ClockVerdict {
    ClockVerdict::Suspect { why }
}

/// The time up between two readings of one boot.
fn up_micros(from: u64, to: u64) -> i64 {
    i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: BootId = BootId::from_bytes([1; 16]);
    const OTHER: BootId = BootId::from_bytes([2; 16]);
    const DAY_MICROS: i64 = 24 * HOUR_MICROS;
    /// 2026-05-12T10:00:00Z.
    const THEN: i64 = 1_778_580_000_000_000;

    fn moment(after_micros: i64, up_micros: i64, boot: BootId, synchronised: bool) -> Moment {
        let time = Timestamp::from_micros(THEN + after_micros).unwrap();
        Moment { time, up_micros: up_micros.unsigned_abs(), boot, synchronised }
    }
    fn last() -> LastSeen {
        LastSeen { time: Timestamp::from_micros(THEN).unwrap(), up_micros: 5_000_000, boot: BOOT }
    }
    fn is_sound(verdict: ClockVerdict) -> bool {
        verdict == ClockVerdict::Sound
    }

    #[test]
    fn a_new_ledger_believes_the_clock() {
        assert!(is_sound(judge_start(None, &moment(0, 1, BOOT, false))));
    }

    #[test]
    fn inv11_at_start_the_three_rules() {
        let judge =
            |after, up, synchronised| judge_start(Some(&last()), &moment(after, up, OTHER, synchronised));
        for synchronised in [true, false] {
            assert!(is_sound(judge(0, 0, synchronised)));
            assert!(!is_sound(judge(-1, 0, synchronised)), "before the last entry");
            assert!(!is_sound(judge(3 * DAY_MICROS + 1, 4 * DAY_MICROS, synchronised)), "72 h");
            assert!(is_sound(judge(3 * DAY_MICROS, 3 * DAY_MICROS, synchronised)));
        }
        assert!(is_sound(judge(HOUR_MICROS + 60, 60, false)));
        assert!(!is_sound(judge(HOUR_MICROS + 61, 60, false)), "1 h more than up");
        assert!(is_sound(judge(HOUR_MICROS + 61, 60, true)), "the kernel vouches for it");
    }

    #[test]
    fn inv11_a_restart_in_one_boot_counts_only_the_time_since_the_entry() {
        let up = 5_000_000 + 60;
        assert!(is_sound(judge_start(Some(&last()), &moment(HOUR_MICROS + 60, up, BOOT, false))));
        assert!(!is_sound(judge_start(Some(&last()), &moment(HOUR_MICROS + 61, up, BOOT, false))));
    }

    #[test]
    fn inv11_while_running_the_clocks_may_not_part() {
        let before = moment(0, 1_000, BOOT, false);
        let judge =
            |after, up, synchronised| judge_running(&before, &moment(after, up + 1_000, BOOT, synchronised));
        assert!(is_sound(judge(30 * DAY_MICROS, 30 * DAY_MICROS, false)), "a long run is no step");
        assert!(is_sound(judge(HOUR_MICROS + 9, 9, false)));
        assert!(!is_sound(judge(HOUR_MICROS + 10, 9, false)));
        assert!(is_sound(judge(HOUR_MICROS + 10, 9, true)));
        assert!(!is_sound(judge(3 * DAY_MICROS + 10, 9, true)));
        assert!(!is_sound(judge(0, HOUR_MICROS + 1, false)), "behind");
        assert!(!is_sound(judge(-1, 9, true)), "backward");
    }

    #[test]
    fn a_doubt_says_by_how_much() {
        let verdict = judge_start(Some(&last()), &moment(-90_000_000, 0, OTHER, true));
        let ClockVerdict::Suspect { why } = verdict else { panic!("{verdict:?}") };
        assert_eq!(why.to_string(), "the clock stands 90 s before the last entry");
    }
}
