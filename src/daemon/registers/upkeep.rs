//! The registers by themselves: ends, suspensions and lapses as they fall due, each an entry.
//!
//! At a start, after each load of a policy, and every hour: accounts looked up · planned in the writer's order · recorded ·
//! sessions that nothing carries any more cut. An account that the name service cannot tell of changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::today;
use crate::core::event::{Detail, Draft};
use crate::core::ids::{GrantId, MandateId};
use crate::core::refusal::Refusal;
use crate::core::register::judge::AccountIs;
use crate::core::register::upkeep::{Known, Task, accounts_named, plan_upkeep};
use crate::daemon::ledger::{Desk, Proposal};
use crate::daemon::service::Service;
use crate::daemon::sessions::End;
use crate::shell::{entropy, users};

/// How often the registers are looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// Entries in one batch.
const MOST_TASKS: usize = 128;

impl Service {
    /// Follows the days, the accounts and the policy.
    pub(in crate::daemon) async fn follow_registers(self: Arc<Self>) {
        let (mut stopping, mut policy) = (self.stopping.subscribe(), self.policy_changed());
        loop {
            if let Err(refusal) = self.keep_registers().await {
                log::warn!("the registers wait: {refusal}");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                changed = policy.changed() => if changed.is_err() { return },
                _ = stopping.changed() => return,
            }
        }
    }

    /// Writes what is due.
    pub(in crate::daemon) async fn keep_registers(self: &Arc<Self>) -> Result<(), Refusal> {
        let named = self.ledger.look(|desk| accounts_named(desk.state, desk.told, desk.policy)).await?;
        let accounts = self.look_up(named).await?;
        loop {
            let accounts = accounts.clone();
            let written = self.ledger.record(move |desk| {
                let tasks = plan(desk, &accounts);
                let drafts = tasks.iter().take(MOST_TASKS).map(|task| draft(task, desk));
                let mut drafts = drafts.collect::<Result<Vec<_>, _>>()?.into_iter();
                let ended = tasks.iter().filter_map(|task| match task {
                    Task::EndMandate(id) => Some(id.clone()),
                    _ => None,
                });
                let ended: Vec<MandateId> = ended.take(MOST_TASKS).collect();
                let Some(first) = drafts.next() else { return Err(nothing()) };
                let more = tasks.len() > MOST_TASKS;
                Ok(drafts.fold(Proposal::new(first, (ended, more)), Proposal::and))
            });
            let written = match written.await {
                Err(refusal) if refusal == nothing() => return Ok(()),
                written => written?,
            };
            log::info!(entry = written.entry(); "the registers were brought up to date");
            let (ended, more) = written.into_value();
            for id in ended {
                self.end_sessions_under(&id).await;
            }
            self.reconsider_sessions(End::RightsEnded).await;
            if !more {
                return Ok(());
            }
        }
    }

    async fn look_up(&self, names: BTreeSet<String>) -> Result<Arc<BTreeMap<String, AccountIs>>, Refusal> {
        let today = today(self.clock.now().time);
        let looking = tokio::task::spawn_blocking(move || {
            let look = |name: String| match users::account(&name, today) {
                Ok(account) => Some((name, account)),
                Err(error) => {
                    log::warn!("an account could not be looked up, so nothing changes for it: {error}");
                    None
                }
            };
            names.into_iter().filter_map(look).collect::<BTreeMap<_, _>>()
        });
        looking.await.map(Arc::new).map_err(|_| Refusal::internal())
    }
}

/// Nothing is due: no entry.
fn nothing() -> Refusal {
    Refusal::new(crate::core::refusal::RefusalKind::Conflict, "Nothing is due in the registers.")
}

fn plan(desk: &Desk<'_>, accounts: &BTreeMap<String, AccountIs>) -> Vec<Task> {
    plan_upkeep(Known {
        state: desk.state,
        told: desk.told,
        policy: desk.policy,
        accounts,
        zone: &desk.house.time_zone,
        now: desk.now.time,
    })
}

fn draft(task: &Task, desk: &Desk<'_>) -> Result<Draft, Refusal> {
    let new = entropy::array().map(GrantId::from_bytes).map_err(|error| {
        log::error!("no randomness for an id: {error}");
        Refusal::internal()
    })?;
    let draft = Draft::fact(task.event(new));
    Ok(match task {
        // Which rule it is stands in the detail of the first entry about it.
        Task::SuspendRule(rule, _, _) => {
            let grant = desk.policy.grants().find(|(id, _)| *id == rule);
            let user = grant.map(|(_, grant)| grant.user.as_str().to_owned());
            draft.with_detail(Detail { grant_rule: Some(rule.to_string()), user, ..Detail::default() })
        }
        _ => draft,
    })
}
