//! Running sessions under a policy that is new: each goes on, ends earlier, or ends now.
//!
//! Decided in the writer's order, for every session against the policy that the writer decides with. Must never lengthen a
//! session, nor touch one that the policy allows as before.

use std::sync::Arc;

use super::{End, Live};
use crate::core::policy::{Decision, reconsider, refuse_caller, start_of_day};
use crate::core::time::Timestamp;
use crate::daemon::ledger::Desk;
use crate::daemon::service::Service;

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may go on, until then at the latest, within so many bytes a day.
    GoesOn { until: Timestamp, max_bytes_a_day: Option<u64> },
    /// It is not allowed any more, or its time would be over by now.
    Ends,
}

fn judge(desk: &Desk<'_>, live: &Live) -> Verdict {
    if refuse_caller(desk.house, &live.request.who).is_some() {
        return Verdict::Ends;
    }
    let now = desk.now.time;
    match reconsider(desk.policy, desk.house, &live.request, live.opened.time, now) {
        Decision::Allow(permit) if permit.expires() > now => {
            Verdict::GoesOn { until: permit.expires(), max_bytes_a_day: permit.max_bytes_a_day() }
        }
        _ => Verdict::Ends,
    }
}

impl Service {
    /// Asks for every running session again whether the policy in force grants it.
    pub(in crate::daemon) async fn reconsider_sessions(self: &Arc<Self>) {
        let running = self.sessions.all();
        if running.is_empty() {
            return;
        }
        let judged = self.ledger.look(move |desk| {
            let judge = |(id, live)| (id, judge(desk, &live), live);
            running.into_iter().map(judge).collect::<Vec<_>>()
        });
        // Turned away: the ledger is closed, and all of them are cut for that.
        let Ok(judged) = judged.await else { return };
        let mut ended = Vec::new();
        for (id, verdict, live) in judged {
            match verdict {
                Verdict::Ends => ended.push(id),
                Verdict::GoesOn { until, max_bytes_a_day } => {
                    let Some(mount) = self.mount() else { continue };
                    if until < live.until {
                        mount.shorten(&id, until, live.until_up_micros(until));
                        if let Some(live) = self.sessions.table().get_mut(&id) {
                            live.until = live.until.min(until);
                        }
                    }
                    self.limit_bytes(&id, &live, max_bytes_a_day);
                }
            }
        }
        self.end_sessions(ended, End::PolicyChanged).await;
    }

    /// Lets the bytes of a session count on the meter of its grant, and bounds them. They count where it was opened, on the
    /// day it was opened, also when another grant allows it since.
    pub(in crate::daemon) fn limit_bytes(
        &self,
        id: &crate::core::ids::SessionId,
        live: &Live,
        max_bytes_a_day: Option<u64>,
    ) {
        if let Some(mount) = self.mount() {
            let since = start_of_day(live.opened.time, &self.house.time_zone);
            let meter = self.sessions.meters.of(live.owner_uid, &live.rule, since, || 0);
            mount.limit(id, meter, max_bytes_a_day.unwrap_or(u64::MAX));
        }
    }
}
