//! What a grant allows in one day: how many recordings, how many bytes, how many minutes.
//!
//! Owns what counts against a limit and when a day begins. What was used comes in as an argument: it is folded from the
//! ledger. Must never count less than what was granted.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::rules::Grant;
use crate::core::ids::{RecordingId, RuleId};
use crate::core::time::Timestamp;

/// What was opened and read under one grant since a day began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayUse {
    /// The recordings opened, each once.
    pub recordings: BTreeSet<RecordingId>,
    /// Bytes handed out, repeated ones counted again.
    pub bytes: u64,
    /// How long the sessions begun since then lasted together, in microseconds; one that runs counts to its end.
    pub micros: u64,
}

/// Tells what was used under a grant by the user who asks, since a time.
pub type Used<'a> = &'a dyn Fn(&RuleId, Timestamp) -> DayUse;

/// The first instant of the local day of `now`. The ledger's own clock falls no further than this: what was opened later
/// than `now` still counts.
pub fn start_of_day(now: Timestamp, zone: &TimeZone) -> Timestamp {
    /// No local day is longer.
    const LONGEST_DAY_MICROS: i64 = 26 * 3600 * 1_000_000;
    let local = jiff::Timestamp::from_microsecond(now.as_micros()).ok().map(|it| it.to_zoned(zone.clone()));
    let start = local.and_then(|local| local.start_of_day().ok());
    let start = start.and_then(|start| Timestamp::from_micros(start.timestamp().as_microsecond()).ok());
    start.unwrap_or_else(|| now.saturating_add_micros(-LONGEST_DAY_MICROS))
}

/// Which limit of `grant` keeps `recording` from being opened now, in words; `None`: none does.
pub(super) fn exceeded(grant: &Grant, recording: &RecordingId, used: &DayUse) -> Option<String> {
    // Opened once more on the same day, a recording does not count again.
    let more = !used.recordings.contains(recording);
    match (grant.max_recordings_a_day, grant.max_bytes_a_day) {
        (Some(most), _) if more && used.recordings.len() as u64 >= most => {
            Some(format!("allows {most} recordings a day, and so many were opened today"))
        }
        (_, Some(most)) if used.bytes >= most => {
            Some(format!("allows {most} bytes a day, and so many were read today"))
        }
        _ => exceeded_minutes(grant, used),
    }
}

fn exceeded_minutes(grant: &Grant, used: &DayUse) -> Option<String> {
    match grant.max_minutes_a_day {
        Some(most) if used.micros >= most.saturating_mul(60_000_000) => {
            Some(format!("allows {most} minutes a day, and so many were used today"))
        }
        _ => None,
    }
}
