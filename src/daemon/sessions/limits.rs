//! What running sessions use of the limits that grants set for a day.
//!
//! The ledger counts what has ended ([`crate::core::register::uses`]); a meter counts what is being read, for all sessions
//! under one grant together, so that two of them cannot share what one has left. Must never begin a meter below what the
//! ledger says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::ids::RuleId;
use crate::core::policy::DayUse;
use crate::core::time::Timestamp;
use crate::daemon::ledger::Desk;
use crate::shell::fuse::Meter;

/// The meters by user, grant, and when the day began: those of today, and those of earlier days that a session still holds.
#[derive(Default)]
pub struct Meters(Mutex<HashMap<(u32, RuleId, Timestamp), Arc<Meter>>>);

impl Meters {
    /// The meter of the day that began at `since`. `so_far` tells what the ledger counts, for one that begins.
    pub fn of(&self, uid: u32, rule: &RuleId, since: Timestamp, so_far: impl FnOnce() -> u64) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (uid, rule.clone(), since);
        if let Some(meter) = meters.get(&key) {
            return meter.clone();
        }
        meters.retain(|(_, _, day), meter| *day >= since || Arc::strong_count(meter) > 1);
        let meter = Arc::new(Meter::starting_at(so_far()));
        meters.insert(key, meter.clone());
        meter
    }

    /// What `uid` has used of a grant: as the ledger says, or as the meter says when it is further.
    pub fn used(&self, desk: &Desk<'_>, uid: u32, rule: &RuleId, since: Timestamp) -> DayUse {
        let mut day = desk.told.holders.used(desk.state.uses(), uid, rule, since);
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(&(uid, rule.clone(), since)) {
            day.bytes = day.bytes.max(meter.used_bytes());
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_runs_past_midnight_keeps_the_meter_of_its_day() {
        let meters = Meters::default();
        let guard: RuleId = "guard".parse().unwrap();
        let [before, yesterday, today] = [0, 1, 2].map(|micros| Timestamp::from_micros(micros).unwrap());
        let held = meters.of(5, &guard, yesterday, || 70);
        drop(meters.of(5, &guard, before, || 1));
        let new = meters.of(5, &guard, today, || 3);
        assert_eq!((held.used_bytes(), new.used_bytes()), (70, 3));
        // Asked for again, as after a reload: neither takes the place of the other.
        assert!(Arc::ptr_eq(&held, &meters.of(5, &guard, yesterday, || 0)));
        assert!(Arc::ptr_eq(&new, &meters.of(5, &guard, today, || 0)));

        let other: RuleId = "other".parse().unwrap();
        drop((held, new));
        let _begun = meters.of(5, &other, today, || 0);
        let days = |wanted| meters.0.lock().unwrap().keys().filter(|(_, _, day)| *day == wanted).count();
        assert_eq!(
            [before, yesterday, today].map(days),
            [0, 0, 2],
            "what nobody uses of an earlier day is gone"
        );
    }
}
