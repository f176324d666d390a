//! `Manager.RebuildIndex`: the catalogue made anew while the service goes on.
//!
//! In order: decided and recorded · made beside the one in use · put in its place. There is no event for it in the list, and
//! nothing in the archive changes: it is an `access.searched` with `what` = `index`, so that question and refusal are entries
//! all the same (invariant 2).

use std::sync::Arc;

use super::errors::chain;
use super::person::{Person, allowed, decide_for};
use super::service::Service;
use crate::core::event::{Draft, Event, Outcome, Searched};
use crate::core::policy::{Decision, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::sys::memory;

impl Service {
    /// For administrators. Answers when the new catalogue is in its place.
    pub(super) async fn rebuild_index_for(self: &Arc<Self>, person: Person) -> Result<(), Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let searched = Searched { what: "index".into(), sources: Vec::new(), from: None, to: None };
            let draft = Draft::fact(Event::AccessSearched(searched));
            let request = person.asks(Verb::Administer, Target::Service, None);
            match decide_for(desk, &person, &request) {
                Decision::Allow(permit) => {
                    let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Administer, denial, draft),
            }
        });
        allowed(recorded.await?)?.into_value();
        let service = self.clone();
        let rebuilt = tokio::task::spawn_blocking(move || {
            let rebuilt = service.catalogue.rebuild();
            memory::give_back_free_pages();
            rebuilt
        });
        match rebuilt.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Refusal::new(
                RefusalKind::Conflict,
                "The catalogue is being rebuilt already; `greffierctl status` shows how far it is.",
            )),
            Ok(Err(error)) => {
                log::error!("the catalogue could not be rebuilt: {}", chain(&error));
                Err(Refusal::new(
                    RefusalKind::Internal,
                    "The catalogue could not be rebuilt; the journal says why. What is in use stays in use.",
                ))
            }
            Err(_) => Err(Refusal::internal()),
        }
    }
}
