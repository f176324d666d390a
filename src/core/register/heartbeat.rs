//! When a heartbeat is due: so that between two entries of a running service never more than the interval passes.
//!
//! Counts on the boot clock, which no wall clock moves (invariant 11).

use crate::core::retention::LastSeen;
use crate::core::time::Moment;

/// Microseconds until a heartbeat is due at `now`; 0 when it is. `last` is the last entry. A twentieth of the interval
/// is left for writing it, so that a reader who knows the interval sees no longer gap.
pub fn due_in_micros(last: Option<LastSeen>, now: &Moment, interval_s: u64) -> u64 {
    let interval = interval_s.saturating_mul(1_000_000);
    let interval = interval - interval / 20;
    match last {
        Some(last) if last.boot == now.boot => {
            interval.saturating_sub(now.up_micros.saturating_sub(last.up_micros))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::{BootId, Timestamp};

    fn now(up_s: u64, boot: u8) -> Moment {
        let time = Timestamp::from_micros(0).unwrap();
        let boot = BootId::from_bytes([boot; 16]);
        Moment { time, up_micros: up_s * 1_000_000, boot, synchronised: true }
    }
    fn last(up_s: u64) -> Option<LastSeen> {
        let Moment { time, up_micros, boot, .. } = now(up_s, 1);
        Some(LastSeen { time, up_micros, boot })
    }

    #[test]
    fn a_heartbeat_is_due_a_little_before_the_interval_has_passed() {
        assert_eq!(due_in_micros(last(100), &now(100, 1), 3600), 3420 * 1_000_000);
        assert_eq!(due_in_micros(last(100), &now(3519, 1), 3600), 1_000_000);
        assert_eq!(due_in_micros(last(100), &now(3520, 1), 3600), 0);
        assert_eq!(due_in_micros(last(100), &now(99_999, 1), 3600), 0);
    }

    #[test]
    fn inv11_another_boot_makes_it_due_and_a_clock_that_fell_does_not() {
        assert_eq!(due_in_micros(last(100), &now(100, 2), 3600), 0);
        assert_eq!(due_in_micros(None, &now(100, 2), 3600), 0);
        assert_eq!(due_in_micros(last(100), &now(50, 1), 3600), 3420 * 1_000_000);
        assert_eq!(due_in_micros(last(0), &now(0, 1), u64::MAX), u64::MAX - u64::MAX / 20);
    }
}
