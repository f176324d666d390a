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
use super::ledger::{Desk, Proposal};
use super::person::{Person, allowed};
use super::service::Service;
use crate::core::event::{DetailsDestroyed, Draft, Event, Outcome, Record, Searched};
use crate::core::ledger::entry::Entry;
use crate::core::policy::{Verb, may};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::retention::{
    BundlePlan, ClockDoubt, ClockVerdict, DetailFacts, DetailPlan, KeepDetails, plan_details,
};
use crate::core::state::DetailKey;
use crate::core::time::Timestamp;
use crate::shell::bus::archive::DetailPlanRow;

/// Entries read at once while the fold catches up.
const STEP: u64 = 1024;
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
            match may(desk.policy, desk.house, &person.principal, Verb::Purge, desk.now.time) {
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
            let mut done = 0;
            for bundle in plan.bundles() {
                if *service.stopping.borrow() {
                    break;
                }
                service.destroy_details_of(bundle)?;
                done += 1;
            }
            Ok(done)
        });
        let ran = run.await.unwrap_or_else(|_| Err(Refusal::internal()));
        match &ran {
            Ok(_) => self.health.mend(Part::Details),
            // The ledger says so itself, and so does the clock.
            Err(refusal) if matches!(refusal.kind, RefusalKind::LedgerUnavailable | RefusalKind::Closed) => {}
            Err(_) => {
                let why = "Details of the ledger whose time has come could not be destroyed; the journal says which.";
                self.health.degrade(Part::Details, why);
            }
        }
        ran
    }

    /// Destroys what is due in one bundle. Blocks on the disk.
    fn destroy_details_of(&self, plan: &BundlePlan) -> Result<(), Refusal> {
        let (n, files) = (plan.bundle, self.reader.detail_files());
        let in_force = self.ledger.look_blocking(move |desk| desk.state.destroyed_details().key_of(n))?;
        if let Err(error) = files.prepare(plan, in_force) {
            log::error!("details could not be destroyed: {}", chain(&error));
            self.settle(n, in_force)?;
            return Err(Refusal::internal());
        }
        let said = DetailsDestroyed {
            bundle: n,
            destroyed: plan.destroy.clone(),
            kept: plan.keep.clone(),
            generation: in_force.generation() + 1,
        };
        let sound = self.clock_sound();
        let recorded = self.ledger.record_blocking(move |desk| {
            if desk.state.clock_suspect() || doubt(desk.state, &sound, &desk.now).is_some() {
                return Err(Refusal::new(RefusalKind::Conflict, "The clock is not trusted."));
            }
            Ok(Proposal::new(Draft::fact(Event::LedgerDetailsDestroyed(said)), ()))
        });
        match recorded {
            Ok(recorded) => {
                log::info!("details of bundle {n} are destroyed, entry {}", recorded.entry());
                let now = self.ledger.look_blocking(move |desk| desk.state.destroyed_details().key_of(n))?;
                self.settle(n, now)
            }
            // In doubt: the entry may yet become durable. The next run, or the next start, asks the ledger.
            Err(refusal) if matches!(refusal.kind, RefusalKind::LedgerUnavailable | RefusalKind::Closed) => {
                Err(refusal)
            }
            Err(refusal) => {
                self.settle(n, in_force)?;
                Err(refusal)
            }
        }
    }

    /// Brings to an end what a crash or a failure left between the ledger and the files. Blocks on the disk.
    pub(super) fn settle_details(&self) -> Result<(), Refusal> {
        let files = self.reader.detail_files();
        let state = self.ledger.look_blocking(|desk| desk.state.destroyed_details().clone())?;
        for n in files.unsettled(|n| state.key_of(n)) {
            log::info!("details of bundle {n}: what was cut short is brought to its end");
            self.settle(n, state.key_of(n))?;
        }
        Ok(())
    }

    fn settle(&self, n: u64, in_force: DetailKey) -> Result<(), Refusal> {
        self.reader.detail_files().settle(n, in_force).map_err(|error| {
            log::error!("details of bundle {n} could not be brought to their end: {}", chain(&error));
            Refusal::internal()
        })
    }

    /// Destroys what is due, at start and then at least once a day.
    pub(super) async fn follow_details(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            match self.expire_details().await {
                Ok(0) => {}
                Ok(bundles) => log::info!("details were destroyed in {bundles} bundles"),
                Err(refusal) => log::warn!("details wait: {refusal}"),
            }
            let wait = run_every(&self.keep_details(), self.clock.now().time);
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
