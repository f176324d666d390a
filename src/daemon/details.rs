//! Details whose time has come are destroyed, bundle by bundle (design §5).
//!
//! In order, for a run: what an earlier run left is settled · the clock judged · the ledger folded on · plan · for each
//! bundle: what stays made durable under a new key · decided again in the writer's order, `ledger.details-destroyed`
//! durable: the commit point · file and slot made what the ledger says. Must never destroy anything while the clock is
//! suspect (invariant 11).

use std::sync::Arc;
use std::time::Duration;

use super::clock::doubt;
use super::errors::chain;
use super::health::Part;
use super::ledger::{Desk, ExpireError, Proposal};
use super::person::{Person, allowed, may_for};
use super::service::Service;
use crate::core::event::{Draft, Event, Outcome, Record, Searched};
use crate::core::ledger::entry::Entry;
use crate::core::policy::Verb;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::retention::{
    BundlePlan, ClockDoubt, ClockVerdict, DetailFacts, DetailPlan, KeepDetails, plan_details,
};
use crate::core::time::Timestamp;
use crate::shell::bus::archive::DetailPlanRow;

/// Entries read at once while the fold catches up.
const STEP: u64 = 1024;
/// How long after a failure the next run is made, at most.
const AGAIN: Duration = Duration::from_secs(600);
/// Bytes of entries read at once.
const STEP_BYTES: usize = 4 << 20;

/// What the ledger says before a run.
struct Facing {
    clock: ClockVerdict,
    now: Timestamp,
}

fn facing(desk: &Desk<'_>) -> Facing {
    let clock = if desk.state.clock_suspect() {
        ClockVerdict::Suspect { why: ClockDoubt::Unconfirmed }
    } else {
        ClockVerdict::Sound
    };
    Facing { clock, now: desk.now.time }
}

/// One line in the journal; a refusal of the ledger is passed on.
fn failed(error: ExpireError) -> Refusal {
    if let ExpireError::Refused(refusal) = error {
        return refusal;
    }
    log::error!("details could not be destroyed: {}", chain(&error));
    Refusal::internal()
}

impl Service {
    fn keep_details(&self) -> KeepDetails {
        let ledger = &self.config.ledger;
        KeepDetails { keep: ledger.details_keep, keep_for: ledger.details_keep_for.clone() }
    }

    /// The plan as of now. Reads the disk.
    fn detail_plan(&self, facts: &mut DetailFacts) -> Result<DetailPlan, Refusal> {
        let unreadable = |error: &(dyn std::error::Error + 'static)| {
            log::error!("no details can be destroyed: {}", chain(error));
            Refusal::internal()
        };
        let end = self.ledger.head().size;
        while facts.size() < end {
            let lines = self.reader.entries(facts.size(), STEP, STEP_BYTES);
            for line in lines.map_err(|error| unreadable(&error))? {
                let entry = Entry::parse(&line.line).map_err(|error| unreadable(&error))?;
                let record = Record::from_entry(&entry).map_err(|error| unreadable(&error))?;
                facts.note(&record, entry.detail.is_some());
            }
        }
        let below_tail = self.reader.detail_files().below_tail().map_err(|error| unreadable(&error))?;
        let Facing { clock, now } = self.ledger.look_blocking(|desk| facing(desk))?;
        Ok(plan_details(facts, &self.keep_details(), below_tail, &clock, now))
    }

    /// `Retention.PlanDetails`: an access, for whoever may purge.
    pub(super) async fn plan_details_for(
        self: &Arc<Self>,
        person: Person,
    ) -> Result<Vec<DetailPlanRow>, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let what = "details".into();
            let searched = Searched { what, sources: Vec::new(), from: None, to: None };
            let draft = Draft::fact(Event::AccessSearched(searched));
            match may_for(desk, &person, Verb::Purge) {
                Ok(scope) => {
                    let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(scope.rule()));
                    Ok(Proposal::new(draft, Ok(())))
                }
                Err(denial) => person.refused(desk, Verb::Purge, denial, draft),
            }
        });
        allowed(recorded.await?)?.into_value();
        let service = self.clone();
        let planning = tokio::task::spawn_blocking(move || {
            let mut facts = service.details.blocking_lock();
            service.detail_plan(&mut facts)
        });
        let plan = planning.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
        let rows = plan.lines().iter().map(|line| DetailPlanRow {
            first: line.first,
            end: line.end,
            details: line.details,
            action: line.why.action().into(),
            due: line.due,
            why: line.why.to_string(),
        });
        Ok(rows.collect())
    }

    /// One run. Returns how many bundles lost details.
    pub(super) async fn expire_details(self: &Arc<Self>) -> Result<u64, Refusal> {
        // A jump that nobody has looked at yet must not make anything due.
        self.judge_clock().await;
        let service = self.clone();
        let run = tokio::task::spawn_blocking(move || {
            let mut facts = service.details.blocking_lock();
            service.settle_details()?;
            let plan = service.detail_plan(&mut facts)?;
            let (mut done, mut damaged) = (0, None);
            for bundle in plan.bundles() {
                if *service.stopping.borrow() {
                    break;
                }
                match service.destroy_details_of(bundle) {
                    Ok(()) => done += 1,
                    // One bundle that is damaged does not keep the others.
                    Err(refusal) if refusal.kind == RefusalKind::Internal => damaged = Some(refusal),
                    Err(refusal) => return Err(refusal),
                }
            }
            damaged.map_or(Ok(done), Err)
        });
        let ran = run.await.unwrap_or_else(|_| Err(Refusal::internal()));
        match &ran {
            Ok(_) => self.health.mend(Part::Details),
            // The ledger says so itself, and so does the clock.
            Err(refusal) if refusal.kind != RefusalKind::Internal => {}
            Err(_) => {
                let why = "Details of the ledger whose time has come could not be destroyed; the journal says which.";
                self.health.degrade(Part::Details, why);
            }
        }
        ran
    }

    /// Destroys what is due in one bundle. Blocks on the disk.
    pub(super) fn destroy_details_of(&self, plan: &BundlePlan) -> Result<(), Refusal> {
        let sound = self.clock_sound();
        let destroyed = self.reader.detail_files().destroy(&self.ledger, plan, move |desk| {
            if desk.state.clock_suspect() || doubt(desk.state, &sound, &desk.now).is_some() {
                return Err(Refusal::new(RefusalKind::Conflict, "The clock is not trusted."));
            }
            Ok(())
        });
        let entry = destroyed.map_err(failed)?;
        log::info!("details of bundle {} are destroyed, entry {entry}", plan.bundle);
        Ok(())
    }

    /// Brings to an end what a crash or a failure left between the ledger and the files. Blocks on the disk.
    pub(super) fn settle_details(&self) -> Result<(), Refusal> {
        for n in self.reader.detail_files().settle_all(&self.ledger).map_err(failed)? {
            log::info!("details of bundle {n}: what was cut short is brought to its end");
        }
        Ok(())
    }

    /// Destroys what is due, at start and then at least once a day.
    pub(super) async fn follow_details(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let mut wait = run_every(&self.keep_details(), self.clock.now().time);
            match self.expire_details().await {
                Ok(0) => {}
                Ok(bundles) => log::info!("details were destroyed in {bundles} bundles"),
                Err(refusal) => {
                    log::warn!("details wait: {refusal}");
                    wait = wait.min(AGAIN);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.changed() => return,
            }
        }
    }
}

/// How often a run is made: 24 times in the shortest period, at most once a second and at least once a day. Each run
/// writes a bundle anew, so one does not follow every single detail.
fn run_every(keep: &KeepDetails, now: Timestamp) -> Duration {
    let shortest = keep.periods().filter_map(|period| now.checked_add(period).ok()).min();
    let micros = shortest.map_or(i64::MAX, |end| end.micros_since(now)) / 24;
    Duration::from_micros(u64::try_from(micros).unwrap_or(0).clamp(1_000_000, 86_400_000_000))
}
