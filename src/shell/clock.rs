//! The only clock.
//!
//! Owns every read of wall clock, boot clock and local time zone. Must never judge them: whether a moment is suspect
//! is decided in `core` (invariant 11).
#![forbid(unsafe_code)]

use std::io;
use std::time::Instant;

use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};

use crate::core::time::{BootId, Moment, Timestamp};
use crate::shell::sys::ntp;

/// The clocks of this machine. What can fail fails in [`SystemClock::new`]; reading cannot.
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot: BootId,
    epoch: Timestamp,
    zone: TimeZone,
    /// Moves the wall clock, in tests only.
    #[cfg(test)]
    pub(crate) step_micros: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

impl SystemClock {
    /// Reads what does not change while the machine runs: the boot id, and the local time zone as configured now.
    ///
    /// # Errors
    /// `/proc` is missing or holds no boot id, or the local time zone cannot be read.
    pub fn new() -> io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let boot = boot.trim_end().parse().map_err(io::Error::other)?;
        let epoch = Timestamp::from_micros(0).map_err(io::Error::other)?;
        let zone = TimeZone::try_system().map_err(io::Error::other)?;
        Ok(Self {
            boot,
            epoch,
            zone,
            #[cfg(test)]
            step_micros: std::sync::Arc::default(),
        })
    }

    /// All clocks, read once.
    pub fn now(&self) -> Moment {
        let time = clock_gettime(ClockId::Realtime);
        let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000);
        #[cfg(test)]
        let micros = micros.saturating_add(self.step_micros.load(std::sync::atomic::Ordering::SeqCst));
        Moment {
            time: self.epoch.saturating_add_micros(micros),
            up_micros: self.boottime_micros(),
            boot: self.boot,
            // A kernel that will not say is one that does not synchronise: the careful reading of the two.
            synchronised: ntp::clock_is_disciplined().unwrap_or(false),
        }
    }

    /// Microseconds since boot, counting suspend (`CLOCK_BOOTTIME`). Never steps back.
    pub fn boottime_micros(&self) -> u64 {
        let up = clock_gettime(ClockId::Boottime);
        let micros = up.tv_sec.saturating_mul(1_000_000).saturating_add(up.tv_nsec / 1_000);
        u64::try_from(micros).unwrap_or(0)
    }

    /// For timeouts and durations inside one run. Says nothing about the date.
    #[expect(clippy::disallowed_methods, reason = "this file is the only clock")]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// The local time zone as it was configured at start: the last valid day of a grant ends in it (design §8).
    pub fn local_time_zone(&self) -> &TimeZone {
        &self.zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_do_not_run_backwards_and_agree_with_the_system() {
        let clock = SystemClock::new().unwrap();
        let first = clock.now();
        let second = clock.now();
        assert!(second.up_micros >= first.up_micros);
        assert_eq!(first.boot, second.boot);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("now");
        std::fs::write(&file, b"x").unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let distance_micros = i128::from(first.time.as_micros()) - i128::try_from(written).unwrap();
        assert!(distance_micros.abs() < 60_000_000, "{distance_micros}");
    }

    #[test]
    fn boot_clock_is_the_one_of_proc_uptime() {
        let clock = SystemClock::new().unwrap();
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a test to the second")]
        let ours = clock.boottime_micros() as f64 / 1e6;
        assert!((ours - seconds).abs() < 10.0, "{ours} {seconds}");
    }
}
