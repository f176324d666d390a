//! The pace of reading: a token bucket, with the time as an argument.

/// How many bytes may be read when. Begins with a full bucket; bytes that were not read are saved up to its size only, so
/// that a pause is not made up by a rush.
#[derive(Debug, Clone)]
pub struct Pace {
    bytes_per_s: u64,
    burst_bytes: u64,
    /// Millionths of a byte: what a slow rate earns in a short time is not rounded away.
    saved: u128,
    at_micros: Option<u64>,
}

const MILLION: u128 = 1_000_000;

impl Pace {
    /// `bytes_per_s`: 0 means without a limit. `burst_bytes`: the size of the bucket.
    pub fn new(bytes_per_s: u64, burst_bytes: u64) -> Self {
        let saved = u128::from(burst_bytes) * MILLION;
        Self { bytes_per_s, burst_bytes, saved, at_micros: None }
    }

    /// Takes `bytes` at `now_micros` (any clock that does not fall), and says how many microseconds to wait before reading
    /// them. More than the bucket holds may be taken: the wait is as much longer.
    pub fn take(&mut self, bytes: u64, now_micros: u64) -> u64 {
        if self.bytes_per_s == 0 {
            return 0;
        }
        let rate = u128::from(self.bytes_per_s);
        let before = self.at_micros.unwrap_or(now_micros);
        let passed = u128::from(now_micros.saturating_sub(before));
        let full = u128::from(self.burst_bytes) * MILLION;
        let wanted = u128::from(bytes) * MILLION;
        let saved = (self.saved + passed * rate).min(full);
        if let Some(left) = saved.checked_sub(wanted) {
            self.saved = left;
            self.at_micros = Some(now_micros.max(before));
            return 0;
        }
        // The bucket is empty when the wait is over: its time runs from there.
        let wait = u64::try_from((wanted - saved).div_ceil(rate)).unwrap_or(u64::MAX);
        // What rounding up earned too much.
        self.saved = u128::from(wait) * rate - (wanted - saved).min(u128::from(wait) * rate);
        let start = now_micros.max(before);
        self.at_micros = Some(start.saturating_add(wait));
        start.saturating_add(wait).saturating_sub(now_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_bucket_is_free_and_then_time_pays() {
        let mut pace = Pace::new(1_000_000, 1_000);
        assert_eq!(pace.take(1_000, 50), 0);
        assert_eq!(pace.take(1_000, 50), 1_000, "a byte a microsecond");
        assert_eq!(pace.take(500, 1_050), 500, "after that wait nothing was saved");
        assert_eq!(pace.take(1_000, 10_000_000), 0, "a pause fills the bucket");
        assert_eq!(pace.take(1_000, 10_000_000), 1_000, "and not more than the bucket");
        assert_eq!(Pace::new(0, 0).take(u64::MAX, 0), 0, "no limit");
    }

    #[test]
    fn a_clock_that_stands_or_falls_gives_nothing_for_free() {
        let mut pace = Pace::new(1_000_000, 0);
        assert_eq!(pace.take(100, 1_000), 100);
        assert_eq!(pace.take(100, 1_000), 200, "asked again before the wait was over");
        assert_eq!(pace.take(100, 0), 1_300);
    }

    proptest! {
        #[test]
        fn over_any_stretch_no_more_is_read_than_bucket_and_rate_allow(
            rate in 1..1_000_000_000_u64,
            burst in 0..10_000_000_u64,
            steps in prop::collection::vec((1..4_000_000_u64, 0..2_000_000_u64), 1..60),
        ) {
            let mut pace = Pace::new(rate, burst);
            let (mut now, mut read) = (0_u64, 0_u128);
            for (bytes, idle) in steps {
                now += idle;
                now += pace.take(bytes, now);
                read += u128::from(bytes);
                let allowed = u128::from(burst) + u128::from(now) * u128::from(rate) / 1_000_000 + 1;
                prop_assert!(read <= allowed, "{read} of {allowed} at {now}");
            }
        }

        #[test]
        fn whoever_always_reads_reaches_the_rate(rate in 1_000..1_000_000_000_u64, pieces in 1..200_u64) {
            let piece = 1 << 20;
            let mut pace = Pace::new(rate, piece);
            let mut now = 0;
            for _ in 0..pieces {
                now += pace.take(piece, now);
            }
            let ideal = u128::from(pieces - 1) * u128::from(piece) * 1_000_000 / u128::from(rate);
            prop_assert!(u128::from(now) <= ideal + u128::from(pieces), "{now} for {ideal}");
        }
    }
}
