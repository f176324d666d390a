//! The wall clock is judged, at start and while running (design §9, invariant 11). A suspect one stops every purge until
//! the kernel synchronises it or an administrator confirms it; both are entries.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::health::Part;
use super::ledger::Proposal;
use super::person::{Person, allowed, decide_for};
use super::service::Service;
use crate::core::event::{Because, Draft, Event};
use crate::core::policy::{Decision, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::retention::{ClockDoubt, ClockVerdict, LastSeen, judge_running, judge_start};
use crate::core::state::State;
use crate::core::time::Moment;
use crate::shell::journal;
use crate::shell::message_id;

/// How often the clock is looked at while running.
const EVERY: Duration = Duration::from_secs(30);

/// Why the wall clock is not believed while running: against the last entry, because time in the ledger may not fall;
/// and against the moment when it was last found sound, because small steps add up.
pub(super) fn doubt(state: &State, sound: &Moment, now: &Moment) -> Option<ClockDoubt> {
    let last = state.last().map(|last| Moment {
        time: last.time,
        up_micros: last.up_micros,
        boot: last.boot,
        synchronised: now.synchronised,
    });
    last.iter().chain([sound]).find_map(|before| match judge_running(before, now) {
        ClockVerdict::Suspect { why } => Some(why),
        ClockVerdict::Sound => None,
    })
}

impl Service {
    /// Judges the clock at start against the last entry of the run before.
    pub(super) async fn judge_clock_at_start(&self, last: Option<LastSeen>) -> Result<(), Refusal> {
        let now = self.clock.now();
        if let ClockVerdict::Suspect { why } = judge_start(last.as_ref(), &now) {
            self.suspect(&why.to_string()).await?;
        }
        Ok(())
    }

    /// Records the doubt, unless one is recorded already: the writer does so itself when time falls.
    async fn suspect(&self, why: &str) -> Result<(), Refusal> {
        let leaf = why.to_owned();
        let recorded = self.ledger.record(move |desk| {
            if desk.state.clock_suspect() {
                return Err(Refusal::new(RefusalKind::Conflict, "The clock is suspect already."));
            }
            Ok(Proposal::new(Draft::fact(Event::LedgerClockSuspect(Because { why: leaf })), ()))
        });
        match recorded.await {
            Err(refusal) if refusal.kind == RefusalKind::Conflict => Ok(()),
            other => other.map(|_| say_suspect(why)),
        }
    }

    /// Watches the clock while running, and confirms it when the kernel says that it is synchronised.
    pub(super) async fn follow_clock(self: Arc<Self>) {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tick.tick().await;
            self.judge_clock().await;
            self.judge_key_memory();
        }
    }

    /// Judges the clock now.
    pub(super) async fn judge_clock(&self) {
        let sound = self.clock_sound();
        let judged = self.ledger.look(move |desk| (doubt(desk.state, &sound, &desk.now), desk.now)).await;
        // A closed ledger purges nothing; judged again at the next tick.
        let Ok((doubt, now)) = judged else { return };
        if let Some(why) = doubt {
            if self.suspect(&why.to_string()).await.is_err() {
                return;
            }
            self.set_clock_sound(now);
        }
        let suspect = self.ledger.look(|desk| desk.state.clock_suspect()).await.unwrap_or(false);
        if suspect && now.synchronised {
            let confirmed = Draft::fact(Event::LedgerClockConfirmed(Because { why: "synchronised".into() }));
            if self.ledger.record(move |_| Ok(Proposal::new(confirmed, ()))).await.is_ok() {
                self.clock_confirmed();
            }
        } else if suspect {
            let why = "The clock jumped and nothing is purged: synchronise it, or confirm it with `greffierctl retention confirm-clock`.";
            self.health.degrade(Part::Clock, why);
        } else {
            self.health.mend(Part::Clock);
        }
    }

    /// When the clock was last found sound, or its doubt recorded.
    pub(super) fn clock_sound(&self) -> Moment {
        *self.clock_sound.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set_clock_sound(&self, now: Moment) {
        *self.clock_sound.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn clock_confirmed(&self) {
        self.set_clock_sound(self.clock.now());
        self.health.mend(Part::Clock);
        self.retention_changed.notify_one();
    }

    /// `Retention.ConfirmClock`.
    pub(super) async fn confirm_clock_for(&self, person: Person) -> Result<(), Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(Event::LedgerClockConfirmed(Because { why: "administrator".into() }));
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let draft = draft.with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Administer, denial, draft),
            }
        });
        let _confirmed = allowed(recorded.await?)?;
        self.clock_confirmed();
        Ok(())
    }
}

/// The line in the log for a clock that is not believed; the writer logs it too when it sees time fall.
pub(super) fn say_suspect(why: &str) {
    journal::record(
        log::Level::Warn,
        message_id::CLOCK_SUSPECT,
        &format!("the clock is not believed and nothing is purged: {why}"),
        &[],
    );
}
