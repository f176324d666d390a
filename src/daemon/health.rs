//! `ready`, `degraded` or `closed`, and why (design §10): one place that everybody reads and each part writes its line of.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::ledger::Availability;

/// A part of the service that may not work while the rest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// No policy, or a bad one.
    Policy,
    /// The master key lies in a plain file.
    Key,
    /// A change of the master key did not end, or not well.
    Rotation,
    /// Keys are not locked in memory.
    KeyMemory,
    /// The file system does not overwrite in place.
    Medium,
    /// No descriptors can be served.
    Descriptors,
    /// The spool cannot be watched, or is not taken from.
    Spool,
    /// Too little space is free, or soon will be.
    Space,
    /// The clock is suspect.
    Clock,
    /// Purges need a confirmation.
    Purge,
    /// The catalogue cannot be used.
    Catalogue,
    /// A recording could not be destroyed.
    Store,
    /// Recordings are marked as damaged in the ledger.
    Damage,
    /// Details of the ledger could not be destroyed.
    Details,
    /// The epoch key could not be changed.
    Rekey,
    /// Nobody can authenticate again, and the policy wants it.
    Polkit,
    /// A review is late.
    Reviews,
}

/// State and reason, as the bus tells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// `ready`, `degraded` or `closed`.
    pub state: &'static str,
    /// Why, and what to do.
    pub why: String,
}

/// What works and what does not.
pub struct Health {
    parts: Mutex<BTreeMap<Part, String>>,
    ledger: watch::Receiver<Availability>,
    changed: watch::Sender<Condition>,
}

impl Health {
    /// All parts work; the ledger as it says itself.
    pub fn new(ledger: watch::Receiver<Availability>) -> Self {
        let ready = Condition { state: "ready", why: String::new() };
        Self { parts: Mutex::default(), ledger, changed: watch::Sender::new(ready) }
    }

    /// Says that a part does not work, and why.
    pub fn degrade(&self, part: Part, why: impl Into<String>) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, why.into());
        self.refresh();
    }
    /// Says that a part works.
    pub fn mend(&self, part: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).remove(&part);
        self.refresh();
    }

    /// Whether a part was said not to work.
    pub fn is_degraded(&self, part: Part) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&part)
    }

    /// Computes the condition again; also to be called when the ledger's availability changes.
    pub fn refresh(&self) {
        let now = self.condition();
        self.changed.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
    }

    /// The condition now. Touches no disk.
    pub fn condition(&self) -> Condition {
        if let Availability::Closed(why) = &*self.ledger.borrow() {
            let why = format!("Nothing is served: {why}. It resumes by itself when the cause is gone.");
            return Condition { state: "closed", why };
        }
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let why = parts.values().map(String::as_str).collect::<Vec<_>>().join(" ");
        Condition { state: if why.is_empty() { "ready" } else { "degraded" }, why }
    }

    /// Follows the condition.
    pub fn follow(&self) -> watch::Receiver<Condition> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv3_a_closed_ledger_outweighs_everything_and_says_why() {
        let ledger = watch::Sender::new(Availability::Open);
        let health = Health::new(ledger.subscribe());
        assert_eq!(health.condition().state, "ready");
        health.degrade(Part::Policy, "No policy.");
        assert_eq!(health.condition().state, "degraded");
        ledger.send_replace(Availability::Closed("the disk is full".into()));
        let closed = health.condition();
        assert!(closed.state == "closed" && closed.why.contains("the disk is full"));
        ledger.send_replace(Availability::Open);
        health.mend(Part::Policy);
        assert_eq!(health.condition(), Condition { state: "ready", why: String::new() });
    }
}
