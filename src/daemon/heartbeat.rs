//! Heartbeats (design §5): while the service runs, the ledger grows, so that its absence shows.
//!
//! When one is due, `core` says; here it is waited for and written. Must never write one where another entry tells as much.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::Proposal;
use super::service::Service;
use crate::core::event::{Draft, Event, LedgerHeartbeat};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::register::heartbeat::due_in_micros;

/// How long after a failure the next attempt is made.
const AGAIN: Duration = Duration::from_secs(10);
/// The boot clock runs while the machine sleeps, a timer does not: it is looked at this often.
const LOOK: Duration = Duration::from_secs(60);

impl Service {
    /// Writes a heartbeat whenever nothing else was written for long enough.
    pub(super) async fn follow_heartbeat(self: Arc<Self>) {
        let interval_s = self.config.ledger.heartbeat.about_seconds();
        let mut stopping = self.stopping.subscribe();
        loop {
            let due = self.ledger.look(move |desk| due_in_micros(desk.state.last(), &desk.now, interval_s));
            let wait = match due.await {
                Ok(0) => match self.beat(interval_s).await {
                    Ok(()) => Duration::ZERO,
                    Err(_) => AGAIN,
                },
                Ok(micros) => Duration::from_micros(micros).min(LOOK),
                // The ledger is closed, and says so; its next entry is the one that says for how long it was.
                Err(_) => AGAIN,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.changed() => return,
            }
        }
    }

    async fn beat(&self, interval_s: u64) -> Result<(), Refusal> {
        let recorded = self.ledger.record(move |desk| {
            if due_in_micros(desk.state.last(), &desk.now, interval_s) > 0 {
                return Err(Refusal::new(RefusalKind::Conflict, "Another entry was written meanwhile."));
            }
            Ok(Proposal::new(Draft::fact(Event::LedgerHeartbeat(LedgerHeartbeat { interval_s })), ()))
        });
        match recorded.await {
            Err(refusal) if refusal.kind == RefusalKind::Conflict => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
