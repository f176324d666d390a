//! Destroying recordings (design §6 and §9).
//!
//! In order, for each: the file it was sealed from removed, if that failed before; while that cannot be done or known, it waits · sessions cut · decided again in the writer's order, `purge.planned` durable · sessions cut that began
//! meanwhile · key destroyed in both copies of its slot: the point of no return · object unlinked, directory synced ·
//! `purge.done` durable. A crash before the key is destroyed leaves the recording as it was; after it, the next start
//! finishes. Must never destroy what a hold keeps (invariant 12), nor anything while the clock is suspect (invariant 11).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clock::doubt;
use super::errors::chain;
use super::health::Part;
use super::ledger::{Desk, Proposal};
use super::person::{Person, allowed, may_for};
use super::recover;
use super::service::Service;
use super::sessions::End;
use crate::core::access::Recorded;
use crate::core::event::{Because, Draft, Event, Outcome, PurgeDone, PurgePlanned, Searched, Subject};
use crate::core::format::slot::SlotKind;
use crate::core::ids::{RecordingId, SourceId};
use crate::core::policy::{Scope, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::retention::{
    Action, ClockDoubt, ClockVerdict, PurgeFact, PurgeHistory, PurgePlan, plan_purge,
};
use crate::core::state::{Recording, State};
use crate::core::time::Moment;
use crate::shell::bus::archive::{PlanRow, RunReport};
use crate::shell::journal;
use crate::shell::message_id;

/// The order to destroy one recording: only the ledger hands out a recorded one.
#[derive(Debug, Clone)]
pub(super) struct PurgeOrder {
    recording: RecordingId,
    source: SourceId,
    done: PurgeDone,
}

impl PurgeOrder {
    /// What it is about.
    pub(super) fn subject(&self) -> Subject {
        Subject::recording(self.recording, self.source.clone())
    }
    /// What is planned.
    pub(super) fn planned(&self) -> PurgePlanned {
        PurgePlanned { due: Some(self.done.due) }
    }
}

/// The plan over what the state knows.
fn plan(desk: &Desk<'_>) -> PurgePlan {
    plan_over(desk, desk.state.recordings())
}

/// The plan over what falls due soon: all that an automatic run needs, whatever the size of the archive.
fn plan_soon(desk: &Desk<'_>) -> PurgePlan {
    let horizon = desk.now.time.saturating_add_micros(PurgePlan::AHEAD_MICROS);
    let soon = desk.state.due().take_while(|(due, _)| *due <= horizon);
    plan_over(desk, soon.filter_map(|(_, id)| Some((id, desk.state.recording(id)?))))
}

fn plan_over<'a>(
    desk: &Desk<'_>,
    recordings: impl Iterator<Item = (&'a RecordingId, &'a Recording)>,
) -> PurgePlan {
    let facts = recordings.filter(|(_, recording)| !recording.purging).map(|(id, recording)| PurgeFact {
        recording: *id,
        source: recording.source.clone(),
        class: recording.class.clone(),
        earliest: recording.earliest,
        latest: recording.latest,
        held: desk.state.holds().on(id),
    });
    plan_purge(facts, &clock(desk.state), &history(desk.state), desk.now.time)
}

fn looked_at_plan() -> Event {
    Event::AccessSearched(Searched { what: "plan".into(), sources: Vec::new(), from: None, to: None })
}

fn clock(state: &State) -> ClockVerdict {
    if state.clock_suspect() {
        // By how much it parted stands in the entry; for the plan it is enough that it did.
        ClockVerdict::Suspect { why: ClockDoubt::Unconfirmed }
    } else {
        ClockVerdict::Sound
    }
}

fn history(state: &State) -> PurgeHistory {
    let by_day = state.purges_by_day();
    let span = by_day.first_key_value().zip(by_day.last_key_value());
    let days = span.map_or(0, |((first, _), (last, _))| u32::try_from(last - first + 1).unwrap_or(u32::MAX));
    PurgeHistory { days: days.min(30), purges: by_day.values().sum() }
}

impl Service {
    /// `Retention.Plan`: an access, for whoever may purge.
    pub(super) async fn plan_for(&self, person: Person) -> Result<Vec<PlanRow>, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(looked_at_plan());
            match may_for(desk, &person, Verb::Purge) {
                Ok(scope) => {
                    let plan = plan(desk);
                    let rows = plan.lines().iter().filter(|line| scope.covers(&line.source));
                    let rows = rows.map(|line| PlanRow {
                        recording: line.recording,
                        action: line.action.as_str().into(),
                        due: line.due,
                        why: line.why.to_string(),
                    });
                    let rows: Vec<PlanRow> = rows.collect();
                    Ok(Proposal::new(
                        draft.outcome(Outcome::Granted).with_detail(person.detail(scope.rule())),
                        Ok(rows),
                    ))
                }
                Err(denial) => person.refused(desk, Verb::Purge, denial, draft),
            }
        });
        Ok(allowed(recorded.await?)?.into_value())
    }

    /// `Retention.Run`: now, by order of a person. It also confirms an unusual number of purges.
    pub(super) async fn run_for(self: &Arc<Self>, person: Person) -> Result<RunReport, Refusal> {
        let asked_by = person.clone();
        // Also when nothing is due: the order itself is an entry.
        let recorded = self.ledger.record(move |desk| match may_for(desk, &person, Verb::Purge) {
            Ok(scope) => {
                let draft = Draft::fact(looked_at_plan()).outcome(Outcome::Granted);
                let draft = draft.with_detail(person.detail(scope.rule()));
                let spent = scope.clone();
                Ok(person.permitted_in(desk, &spent, Verb::Purge, draft, scope))
            }
            Err(denial) => {
                let draft = Draft::fact(Event::PurgePlanned(PurgePlanned { due: None }));
                person.refused(desk, Verb::Purge, denial, draft)
            }
        });
        let scope = allowed(recorded.await?)?.into_value();
        self.run_plan(Some((asked_by, scope))).await
    }

    /// Carries the plan out. `by`: who ordered it and where he may; nobody for the automatic run.
    pub(super) async fn run_plan(
        self: &Arc<Self>,
        by: Option<(Person, Scope)>,
    ) -> Result<RunReport, Refusal> {
        // One run at a time: a second one would find nothing left to do.
        let _one = self.purging.lock().await;
        // A jump that nobody has looked at yet must not make anything due.
        self.judge_clock().await;
        let service = self.clone();
        let settled = tokio::task::spawn_blocking(move || service.settle_purges());
        settled.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
        let mut plan = self.ledger.look(|desk| plan_soon(desk)).await?;
        if by.is_some() {
            plan = plan.confirmed();
        }
        let mut report =
            RunReport { blocked: plan.blocked().map(|why| why.to_string()), ..RunReport::default() };
        match &report.blocked {
            Some(why) => self.health.degrade(Part::Purge, format!("Retention: {why}.")),
            None => self.health.mend(Part::Purge),
        }
        let covered = |source: &SourceId| by.as_ref().is_none_or(|(_, scope)| scope.covers(source));
        let held = plan.lines().iter().filter(|line| line.action == Action::Held && covered(&line.source));
        report.held = held.count() as u64;
        let due: Vec<RecordingId> =
            plan.purges().filter(|line| covered(&line.source)).map(|line| line.recording).collect();
        let unfinished = match due.is_empty() {
            true => BTreeSet::new(),
            false => recover::remove_sealed_leftovers(self, Some(due.iter().copied().collect())).await,
        };
        for id in due {
            // The stop waits for this one run: what is left is still due at the next start.
            if *self.stopping.borrow() {
                break;
            }
            if unfinished.contains(&id) {
                report.failed += 1;
                continue;
            }
            match self.purge_one(id, by.as_ref()).await {
                Ok(()) => report.purged += 1,
                // Decided again, it stays.
                Err(refusal) if refusal.kind == RefusalKind::Held => report.held += 1,
                // Gone, not due any more, or the clock became suspect: the next plan says which.
                Err(refusal) if refusal.kind == RefusalKind::Conflict => {}
                Err(refusal) if refusal.kind == RefusalKind::LedgerUnavailable => return Err(refusal),
                Err(_) => report.failed += 1,
            }
        }
        Ok(report)
    }

    /// Destroys one recording. `Held` and `Conflict`: decided again, it stays.
    async fn purge_one(
        self: &Arc<Self>,
        id: RecordingId,
        by: Option<&(Person, Scope)>,
    ) -> Result<(), Refusal> {
        self.end_sessions(self.sessions.which(|live| live.recording == id), End::Purged).await;
        let detail = by.map(|(person, scope)| person.detail(scope.rule()));
        let sound = self.clock_sound();
        let order = self.ledger.record(move |desk| {
            let order = decide_purge(desk.state, id, &desk.now, &sound)?;
            let draft = Draft::fact(Event::PurgePlanned(order.planned())).about(order.subject());
            let draft = match detail {
                Some(detail) => draft.with_detail(detail),
                None => draft,
            };
            Ok(Proposal::new(draft, order))
        });
        let order = order.await?;
        self.end_sessions(self.sessions.which(|live| live.recording == id), End::Purged).await;
        let service = self.clone();
        let destroyed = tokio::task::spawn_blocking(move || service.destroy(order));
        destroyed.await.unwrap_or_else(|_| Err(Refusal::internal()))
    }

    /// Key, object, certificate. Blocks on the disk.
    pub(super) fn destroy(&self, order: Recorded<PurgeOrder>) -> Result<(), Refusal> {
        let PurgeOrder { recording: id, source, done } = order.into_value();
        let subject = Subject::recording(id, source);
        // Planned by an entry, so it is not taken up again: no copy of the key stays in memory.
        self.scrubs.leave(id);
        let destroyed = self
            .slots
            .destroy(SlotKind::Data, id.as_bytes())
            .map_err(|error| ("key-not-destroyed", chain(&error)))
            .and_then(|_| self.store.remove(id).map_err(|error| ("object-not-removed", chain(&error))));
        if let Err((why, error)) = destroyed {
            log::error!("recording {id} could not be destroyed: {error}");
            self.health.degrade(
                Part::Store,
                format!("A recording could not be destroyed ({why}); see the journal."),
            );
            // It stays decided. A key whose destruction failed opens no more in this process and may be gone on the disk
            // all the same, so nobody may say that the recording is kept: the next run finishes, or the next start, which
            // takes the purge back if the key still opens there.
            return Err(Refusal::internal());
        }
        let draft = Draft::fact(Event::PurgeDone(done)).about(subject);
        let recorded = self.ledger.record_blocking(move |_| Ok(Proposal::new(draft, ())))?;
        if self.health.is_degraded(Part::Damage) {
            self.show_damage();
        }
        if self.health.is_degraded(Part::Store)
            && self.ledger.look_blocking(|desk| desk.state.purging().next().is_none()).unwrap_or(false)
        {
            self.health.mend(Part::Store);
        }
        let (id, entry) = (id.to_string(), recorded.entry().to_string());
        journal::record(
            log::Level::Info,
            message_id::PURGE_DONE,
            &format!("recording {id} was destroyed, entry {entry}"),
            &[("recording", &id), ("entry", &entry)],
        );
        self.space.changed.notify_one();
        Ok(())
    }

    /// Brings to an end what a crash, or a ledger that could not be written, left undone: a purge whose key is gone is
    /// finished, any other is taken back and decided anew. No purge may be under way. Blocks on the disk.
    pub(super) fn settle_purges(&self) -> Result<(), Refusal> {
        let undone = self.ledger.look_blocking(|desk| {
            let orders = desk.state.purging().filter_map(|id| order(desk.state, *id));
            orders.collect::<Vec<_>>()
        })?;
        for order in undone {
            let (id, subject) = (order.recording, order.subject());
            if self.slots.contains(SlotKind::Data, id.as_bytes()) {
                let event = Event::PurgeFailed(Because { why: "interrupted".into() });
                let draft = Draft::fact(event).about(subject);
                let _recorded = self.ledger.record_blocking(move |_| Ok(Proposal::new(draft, ())))?;
                continue;
            }
            log::info!("the purge of recording {id}, cut short, is finished");
            let draft = Draft::fact(Event::PurgePlanned(order.planned())).about(subject);
            let recorded = self.ledger.record_blocking(move |_| Ok(Proposal::new(draft, order)))?;
            match self.destroy(recorded) {
                Err(refusal) if refusal.kind == RefusalKind::LedgerUnavailable => return Err(refusal),
                // Logged there; the next run tries again.
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs the plan at start, then whenever something falls due.
    pub(super) async fn follow_retention(self: Arc<Self>) {
        /// A plan is made at least this often: holds are lifted and clocks confirmed meanwhile.
        const AT_LEAST_MS: i64 = 60_000;
        loop {
            match self.run_plan(None).await {
                Ok(report) if report.purged + report.failed > 0 => {
                    log::info!("retention: {} destroyed, {} failed", report.purged, report.failed);
                }
                Ok(_) => {}
                Err(refusal) => log::warn!("retention waits: {refusal}"),
            }
            let next = self.ledger.look(|desk| {
                let next = desk.state.due().map(|(due, _)| *due).find(|due| *due > desk.now.time);
                next.map(|due| due.micros_since(desk.now.time) / 1000 + 1)
            });
            let wait_ms = next.await.ok().flatten().unwrap_or(AT_LEAST_MS).clamp(1, AT_LEAST_MS);
            let wait = std::time::Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1000));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.retention_changed.notified() => {}
            }
        }
    }
}

/// Whether a recording may be destroyed at this point of the ledger.
///
/// `sound`: when the clock was last found sound. It is judged once more here, because it may have jumped since.
fn decide_purge(state: &State, id: RecordingId, now: &Moment, sound: &Moment) -> Result<PurgeOrder, Refusal> {
    let conflict = |sentence: &str| Refusal::new(RefusalKind::Conflict, sentence);
    let order = order(state, id).ok_or_else(|| conflict("The recording is gone."))?;
    if state.holds().on(&id).is_some() {
        return Err(Refusal::new(RefusalKind::Held, "A hold keeps the recording."));
    }
    if state.recording(&id).is_some_and(|recording| recording.purging) {
        return Err(conflict("The recording is being destroyed."));
    }
    if state.clock_suspect() || doubt(state, sound, now).is_some() {
        return Err(conflict("The clock is suspect."));
    }
    if order.done.due > now.time {
        return Err(conflict("The recording is not due."));
    }
    Ok(order)
}

fn order(state: &State, id: RecordingId) -> Option<PurgeOrder> {
    let recording = state.recording(&id)?;
    let done = PurgeDone {
        bytes: recording.bytes,
        sha256: recording.sha256,
        sealed: recording.sealed,
        due: recording.latest.max(recording.earliest),
        key: "destroyed".into(),
        object: "removed".into(),
    };
    Some(PurgeOrder { recording: id, source: recording.source.clone(), done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{HoldKind, HoldPlaced, LedgerCreated, Record, Sealed};
    use crate::core::ids::{Digest, HoldId, Kind};

    const DAY: i64 = 86_400_000_000;

    fn start() -> Moment {
        Moment {
            time: "2026-05-12T10:00:00Z".parse().unwrap(),
            up_micros: 1_000_000,
            boot: crate::core::time::BootId::from_bytes([1; 16]),
            synchronised: false,
        }
    }
    fn after(wall: i64, up: i64) -> Moment {
        let start = start();
        let up_micros = start.up_micros.checked_add_signed(up).unwrap();
        Moment { time: start.time.saturating_add_micros(wall), up_micros, ..start }
    }
    fn id() -> RecordingId {
        RecordingId::from_bytes([7; 16])
    }
    /// One recording, sealed at the start, due two days later.
    fn state() -> State {
        let mut state = State::default();
        let key = String::new;
        let created = LedgerCreated { origin: key(), log_key: key(), epoch_key: key() };
        apply(&mut state, Event::LedgerCreated(created), Subject::default());
        let time = start().time;
        let due = time.saturating_add_micros(2 * DAY);
        let sealed = Sealed {
            kind: Kind::Call,
            start: time,
            end: time,
            class: "short".parse().unwrap(),
            bytes: 1,
            sha256: Digest([0; 32]),
            media: "audio/x-wav".into(),
            earliest: due,
            latest: due,
            spool: None,
        };
        apply(&mut state, Event::RecordingSealed(sealed), subject());
        state
    }
    fn subject() -> Subject {
        Subject::recording(id(), "reception".parse().unwrap())
    }
    fn apply(state: &mut State, event: Event, subject: Subject) {
        apply_at(&start(), state, event, subject);
    }
    fn apply_at(at: &Moment, state: &mut State, event: Event, subject: Subject) {
        let Moment { time, up_micros, boot, .. } = *at;
        let seq = state.size();
        let outcome = Outcome::Done;
        state.apply(&Record { seq, time, up_micros, boot, event, outcome, subject, policy: None }).unwrap();
    }

    #[test]
    fn inv11_a_jump_of_the_wall_clock_that_nobody_looked_at_yet_purges_nothing() {
        let state = state();
        let refused = decide_purge(&state, id(), &after(2 * DAY, 60_000_000), &start());
        assert_eq!(refused.unwrap_err().kind, RefusalKind::Conflict);
        assert!(decide_purge(&state, id(), &after(2 * DAY, 2 * DAY), &start()).is_ok(), "time that passed");
    }

    #[test]
    fn inv11_small_steps_of_the_wall_clock_add_up() {
        let mut state = state();
        // The last entry was written when the clock had crept almost all the way.
        let crept = after(2 * DAY - 1_800_000_000, 60_000_000);
        apply_at(
            &crept,
            &mut state,
            Event::PolicyRefused(crate::core::event::Nothing {}),
            Subject::default(),
        );
        let now = after(2 * DAY, 61_000_000);
        assert!(decide_purge(&state, id(), &now, &crept).is_ok(), "this step alone is a small one");
        assert!(decide_purge(&state, id(), &now, &start()).is_err());
    }

    #[test]
    fn inv12_what_is_due_under_a_hold_is_not_ordered() {
        let mut state = state();
        let placed = HoldPlaced { hold: HoldId::from_bytes([1; 16]), kind: HoldKind::Judicial, review: None };
        apply(&mut state, Event::HoldPlaced(placed), subject());
        let refused = decide_purge(&state, id(), &after(3 * DAY, 3 * DAY), &start());
        assert_eq!(refused.unwrap_err().kind, RefusalKind::Held);
    }

    #[test]
    fn a_purge_that_was_decided_is_not_decided_twice() {
        let mut state = state();
        apply(&mut state, Event::PurgePlanned(PurgePlanned { due: None }), subject());
        assert!(decide_purge(&state, id(), &after(3 * DAY, 3 * DAY), &start()).is_err());
    }
}
