//! Running sessions under a policy that is new: each goes on, ends earlier, or ends now.
//!
//! Decided in the writer's order, for every session against the policy that the writer decides with, and what bounds it is
//! set in the same turn: no older verdict can follow a newer one. Must never lengthen a session, nor touch one that the
//! policy allows as before.

use std::sync::Arc;

use super::{End, Live};
use crate::core::ids::{RuleId, SessionId};
use crate::core::policy::{
    DayUse, Decision, Facts, Permit, Running, reconsider, refuse_caller, start_of_day,
};
use crate::core::time::Timestamp;
use crate::daemon::facts::facts_for;
use crate::daemon::ledger::Desk;
use crate::daemon::service::Service;

/// The permit under which a session may go on; `None` when it is not allowed any more, or its time would be over by now.
fn judge(desk: &Desk<'_>, live: &Live, used: &dyn Fn(&RuleId, Timestamp) -> DayUse) -> Option<Permit> {
    if refuse_caller(desk.house, &live.request.who).is_some() {
        return None;
    }
    let now = desk.now.time;
    let running = Running { rule: &live.rule, opened: live.opened.time };
    let facts = Facts { used, ..facts_for(desk, &live.request, live.own) };
    match reconsider(desk.policy, desk.house, &live.request, running, &facts, now) {
        Decision::Allow(permit) if permit.expires() > now => Some(permit),
        _ => None,
    }
}

impl Service {
    /// Asks for every running session again whether policy and registers grant it; `end` says why those end that they do not.
    pub(in crate::daemon) async fn reconsider_sessions(self: &Arc<Self>, end: End) {
        self.learn_whose().await;
        let service = self.clone();
        let judged = self.ledger.look(move |desk| {
            let running = service.sessions.which(|_| true);
            running.into_iter().filter(|id| !service.goes_on(desk, id)).collect::<Vec<_>>()
        });
        // Turned away: the ledger is closed, and all of them are cut for that.
        let Ok(ended) = judged.await else { return };
        self.end_sessions(ended, end).await;
    }

    /// Whether the policy in force lets a session go on; if so, its end, the grant that carries it, and its bytes are bounded
    /// as that policy says. One that has left the table needs no second end. Waits for nothing.
    ///
    /// Its bytes count for the day on which it was opened, on the meter of the grant that carries it.
    pub(in crate::daemon) fn goes_on(&self, desk: &Desk<'_>, id: &SessionId) -> bool {
        let Some(live) = self.sessions.get(id) else { return true };
        let (meters, uid) = (&self.sessions.meters, live.owner_uid);
        let used = |rule: &RuleId, since| meters.used(desk, uid, rule, since);
        let Some(permit) = judge(desk, &live, &used) else { return false };
        let until = live.until.min(permit.expires());
        if let Some(live) = self.sessions.table().get_mut(id) {
            live.until = until;
            live.rule = permit.rule().clone();
        }
        if let Some(mount) = self.mount() {
            if until < live.until {
                mount.shorten(id, until, live.until_up_micros(until));
            }
            let since = start_of_day(live.opened.time, &self.house.time_zone);
            let so_far = || desk.told.holders.used(desk.state.uses(), uid, permit.rule(), since).bytes;
            let meter = meters.of(uid, permit.rule(), since, so_far);
            mount.limit(id, meter, permit.max_bytes_a_day().unwrap_or(u64::MAX));
        }
        true
    }
}
