//! The table of running sessions: what the daemon knows of each, and the words for its end.
//!
//! Owns who is in it. Must never wait while its lock is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::Meters;
use crate::core::event::{Event, Subject, Usage};
use crate::core::ids::{RecordingId, RuleId, SessionId, SourceId};
use crate::core::policy::AccessRequest;
use crate::core::time::{Moment, Timestamp};
use crate::shell::fuse;

/// One running session, as the daemon knows it.
#[derive(Debug, Clone)]
pub struct Live {
    /// What is open.
    pub recording: RecordingId,
    /// Its source.
    pub source: SourceId,
    /// What was asked, to ask it again under another policy.
    pub request: AccessRequest,
    /// Whether the recording is his own, as far as rules asked.
    pub own: Option<bool>,
    /// The grant that carries it: its bytes count there.
    pub rule: RuleId,
    /// Whom it was opened for.
    pub owner_uid: u32,
    /// Under which bus name.
    pub bus_name: String,
    /// When.
    pub opened: Moment,
    /// Until when at the latest.
    pub until: Timestamp,
    /// Bytes that the last entry accounts for.
    pub recorded_bytes: u64,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last descriptor was closed.
    Released,
    /// The owner said so.
    Closed,
    /// The owner left the bus.
    PeerGone,
    /// Its time is over.
    Expired,
    /// The service stops.
    ServiceStopped,
    /// It could not begin, or what served it failed inside the program.
    Failed,
    /// The recording is destroyed.
    Purged,
    /// A hold of kind restriction was placed.
    Restricted,
    /// The policy no longer allows it.
    PolicyChanged,
    /// The mandate under which it runs is over.
    MandateWithdrawn,
    /// A grant ended or was suspended, or a mandate changed: nothing carries it any more.
    RightsEnded,
    /// A limit of bytes is reached.
    LimitReached,
    /// The ledger could not be written.
    LedgerUnavailable,
}

impl End {
    /// The word in ledger and signal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Closed => "closed",
            Self::PeerGone => "peer-gone",
            Self::Expired => "expired",
            Self::ServiceStopped => "service-stopped",
            Self::Failed => "failed",
            Self::Purged => "purged",
            Self::Restricted => "restricted",
            Self::PolicyChanged => "policy-changed",
            Self::MandateWithdrawn => "mandate-withdrawn",
            Self::RightsEnded => "rights-ended",
            Self::LimitReached => "limit-reached",
            Self::LedgerUnavailable => "ledger-unavailable",
        }
    }

    pub(super) fn event(self, usage: Usage) -> Event {
        match self {
            Self::Expired => Event::AccessExpired(usage),
            Self::Purged
            | Self::Restricted
            | Self::PolicyChanged
            | Self::MandateWithdrawn
            | Self::RightsEnded
            | Self::LimitReached
            | Self::LedgerUnavailable => Event::AccessRevoked(usage),
            Self::Released | Self::Closed | Self::PeerGone | Self::ServiceStopped | Self::Failed => {
                Event::AccessClosed(usage)
            }
        }
    }
}

/// The table of running sessions.
#[derive(Default)]
pub struct Sessions {
    live: Mutex<HashMap<SessionId, Live>>,
    /// Cut while the ledger was closed: their last entry is still owed.
    owed: Mutex<Vec<(SessionId, Live, fuse::Usage)>>,
    /// Held by each end under way, from before it leaves the table until its entry is durable or owed.
    ending: tokio::sync::RwLock<()>,
    /// What is used of the limits of today.
    pub meters: Arc<Meters>,
}

impl Sessions {
    /// A session that is about to run.
    pub fn insert(&self, id: SessionId, live: Live) {
        self.table().insert(id, live);
    }
    /// A running session.
    pub fn get(&self, id: &SessionId) -> Option<Live> {
        self.table().get(id).cloned()
    }
    /// The ids of the sessions for which `wanted` holds.
    pub fn which(&self, wanted: impl Fn(&Live) -> bool) -> Vec<SessionId> {
        self.table().iter().filter(|(_, live)| wanted(live)).map(|(id, _)| *id).collect()
    }
    /// How many run.
    pub fn count(&self) -> usize {
        self.table().len()
    }
    /// How many run for one user.
    pub fn count_of(&self, uid: u32) -> usize {
        self.table().values().filter(|live| live.owner_uid == uid).count()
    }
    /// To be held while a session ends.
    pub async fn ending(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.ending.read().await
    }
    /// Waits for every end under way; none begins while the answer is held.
    pub async fn all_ended(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.ending.write().await
    }
    pub(super) fn take(&self, id: &SessionId) -> Option<Live> {
        self.table().remove(id)
    }
    pub(in crate::daemon) fn table(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Live>> {
        // Nothing is left half done under this lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The accounts of ended sessions that the ledger could not take.
    pub fn owed(&self) -> std::sync::MutexGuard<'_, Vec<(SessionId, Live, fuse::Usage)>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most ranges in one entry: an entry has at most 65,535 bytes.
const RANGES_IN_ENTRY: usize = 1024;

impl Live {
    pub(super) fn subject(&self, id: SessionId) -> Subject {
        Subject { session: Some(id), ..Subject::recording(self.recording, self.source.clone()) }
    }

    /// Microseconds that are left of its time, by whichever clock says less; 0 when it has passed.
    pub(super) fn left_micros(&self, now: &Moment) -> u64 {
        let by_wall = u64::try_from(self.until.micros_since(now.time)).unwrap_or(0);
        by_wall.min(self.until_up_micros(self.until).saturating_sub(now.up_micros))
    }

    /// When the clock since boot reaches `until`, counted from when the session was opened.
    pub(in crate::daemon) fn until_up_micros(&self, until: Timestamp) -> u64 {
        let may_run_micros = u64::try_from(until.micros_since(self.opened.time)).unwrap_or(0);
        self.opened.up_micros.saturating_add(may_run_micros)
    }

    /// Whether its time has passed by either clock.
    pub(super) fn is_over(&self, now: &Moment) -> bool {
        self.left_micros(now) == 0
    }

    pub(super) fn usage(&self, usage: &fuse::Usage, now: &Moment, why: &str) -> Usage {
        account(usage, now.up_micros.saturating_sub(self.opened.up_micros), why)
    }
}

/// What a session has read, as an entry says it.
pub fn account(usage: &fuse::Usage, duration_us: u64, why: &str) -> Usage {
    let ranges = fewer(&usage.ranges, RANGES_IN_ENTRY);
    Usage { why: why.into(), bytes: usage.bytes_read, ranges, duration_us }
}

/// At most `most` ranges that cover at least what was read: neighbours with the smallest gaps are joined.
fn fewer(ranges: &[(u64, u64)], most: usize) -> Vec<(u64, u64)> {
    if ranges.len() <= most {
        return ranges.to_vec();
    }
    let mut gaps: Vec<u64> =
        ranges.iter().zip(ranges.iter().skip(1)).map(|(a, b)| b.0.saturating_sub(a.1)).collect();
    gaps.sort_unstable();
    let joined_up_to = gaps.get(ranges.len() - most - 1).copied().unwrap_or(u64::MAX);
    let mut kept: Vec<(u64, u64)> = Vec::with_capacity(most);
    for range in ranges {
        match kept.last_mut() {
            Some(last) if range.0.saturating_sub(last.1) <= joined_up_to => last.1 = range.1,
            _ => kept.push(*range),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::{Target, Verb};

    #[test]
    fn inv11_a_session_ends_by_whichever_clock_says_so_first() {
        let opened = Moment {
            time: "2026-05-12T10:00:00Z".parse().unwrap(),
            up_micros: 5_000_000,
            boot: crate::core::time::BootId::from_bytes([1; 16]),
            synchronised: true,
        };
        let live = Live {
            recording: RecordingId::from_bytes([1; 16]),
            source: "entrance".parse().unwrap(),
            request: AccessRequest::new(
                crate::core::policy::Principal { uid: 1, user: None, login_uid: None },
                Verb::View,
                Target::Service,
            ),
            own: None,
            rule: "views".parse().unwrap(),
            owner_uid: 1,
            bus_name: ":1.1".into(),
            opened,
            until: opened.time.saturating_add_micros(60_000_000),
            recorded_bytes: 0,
        };
        let at = |wall: i64, up: u64| Moment {
            time: opened.time.saturating_add_micros(wall),
            up_micros: opened.up_micros + up,
            ..opened
        };
        assert!(!live.is_over(&at(59_000_000, 59_000_000)));
        assert!(live.is_over(&at(60_000_000, 1)));
        assert!(live.is_over(&at(-3_600_000_000, 60_000_000)), "set back, the wall clock gives no more time");
    }

    proptest::proptest! {
        #[test]
        fn fewer_ranges_cover_at_least_what_was_read(
            mut edges in proptest::collection::btree_set(0u64..100_000, 0..400), most in 1usize..50
        ) {
            if edges.len() % 2 == 1 { edges.pop_last(); }
            let edges: Vec<u64> = edges.into_iter().collect();
            let ranges: Vec<(u64, u64)> = edges.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let kept = fewer(&ranges, most);
            proptest::prop_assert!(kept.len() <= most);
            for (first, end) in &ranges {
                proptest::prop_assert!(kept.iter().any(|range| range.0 <= *first && *end <= range.1));
            }
            proptest::prop_assert!(kept.iter().zip(kept.iter().skip(1)).all(|(a, b)| a.1 < b.0));
        }
    }
}
