//! `store scrub`: the whole store read from the medium, at a limited rate, while everything else goes on.
//!
//! Owns the order to begin, the order to end, and what is shown of a scrub under way. The steps are in `steps.rs`. One at a
//! time. Holds no lock over a reading; a purge does not wait for more than one piece ([`Scrubs::leave`]).

mod control;
mod steps;

use std::sync::Arc;

use super::health::Part;
use super::person::{Person, allowed, decide_for};
use super::service::Service;
use crate::core::event::{Draft, Event, Outcome, Searched, StoreScrubbed, Subject};
use crate::core::ids::{RecordingId, RuleId};
use crate::core::policy::{Decision, Denial, DenialKind, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::scrub::{Counts, Place};
use crate::shell::bus::archive::{ScrubFinding, ScrubProgress, ScrubRequest};
use crate::shell::disk::scrub_place;
pub(super) use control::{End, Scrubs};

const MIB: u64 = 1 << 20;

/// What is to be read.
#[derive(Debug, Clone)]
struct Order {
    /// One recording; everything when `None`.
    only: Option<RecordingId>,
    /// 0 without a limit.
    bytes_per_s: u64,
    /// Whether an earlier run's place is passed over.
    restart: bool,
    by: Person,
    rule: RuleId,
}

/// The counts as they stand in the ledger.
fn event(why: &str, counts: &Counts, since: Option<crate::core::time::Timestamp>) -> Event {
    Event::StoreScrubbed(StoreScrubbed {
        why: why.into(),
        recordings: counts.recordings,
        bytes: counts.bytes,
        keys: counts.keys,
        damaged: counts.damaged,
        repaired: counts.repaired,
        unread: counts.unread,
        since,
    })
}

impl Service {
    /// `Manager.Scrub`: begins one, and returns when it has begun.
    pub(super) async fn scrub_for(
        self: &Arc<Self>,
        person: Person,
        request: ScrubRequest,
    ) -> Result<(), Refusal> {
        let only = request.recording.as_ref().map(|typed| typed.parse::<RecordingId>());
        let only = only.transpose().map_err(|_| {
            Refusal::invalid("The key \"recording\" must be the id of a recording, 26 letters and digits.")
        })?;
        let bytes_per_s = request.rate_mib_s.unwrap_or(self.config.scrub.rate_mib_s).saturating_mul(MIB);
        let (by, scrubs) = (person.clone(), self.scrubs.clone());
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(event("ordered", &Counts::default(), None));
            // An administrator may not know which recordings there are: one that is not there is read as quickly as told.
            let known = only.filter(|id| desk.state.recording(id).is_some());
            let subject = known.and_then(|id| {
                desk.state.recording(&id).map(|recording| Subject::recording(id, recording.source.clone()))
            });
            let draft = draft.about(subject.unwrap_or_default());
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(_) if only.is_some() && known.is_none() => {
                    let sentence = "Refused by rule builtin.unknown: there is no such recording.".into();
                    let denial = Denial::new(RuleId::builtin("unknown"), DenialKind::NotKnown, sentence);
                    person.refused(desk, Verb::Administer, denial, draft)
                }
                // Taken in the writer's order: of two that ask at once, one begins.
                Decision::Allow(permit) => match scrubs.begin() {
                    Some(turn) => {
                        let detail = person.detail(permit.rule());
                        let draft = draft.outcome(Outcome::Granted).with_detail(detail);
                        Ok(person.permitted(desk, Some(&permit), draft, (turn, permit.rule().clone())))
                    }
                    None => {
                        let sentence = "Refused by rule builtin.scrub: the store is being read already.";
                        let rule = RuleId::builtin("scrub");
                        let denial = Denial::new(rule, DenialKind::Conflict, sentence.into());
                        person.refused(desk, Verb::Administer, denial, draft)
                    }
                },
                Decision::Deny(denial) => person.refused(desk, Verb::Administer, denial, draft),
            }
        });
        let (turn, rule) = allowed(recorded.await?)?.into_value();
        let order = Order { only, bytes_per_s, restart: request.restart, by, rule };
        let service = self.clone();
        // Not waited for: it takes hours. `stop` waits for the turn to end.
        drop(tokio::task::spawn_blocking(move || service.scrub(&order, turn)));
        Ok(())
    }

    /// `Scrub.Cancel`: ends the scrub that runs; its place is kept.
    pub(super) async fn cancel_scrub_for(&self, person: Person) -> Result<(), Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let event = event("cancelled", &Counts::default(), None);
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let draft = Draft::fact(event).outcome(Outcome::Granted);
                    let draft = draft.with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Administer, denial, Draft::fact(event)),
            }
        });
        let _order = allowed(recorded.await?)?;
        if self.scrubs.end(End::Cancelled) {
            Ok(())
        } else {
            Err(Refusal::new(RefusalKind::Conflict, "No scrub runs; there is nothing to end."))
        }
    }

    /// `Scrub.Findings`: what the scrub that runs, or ran last, has found. An access like any other.
    pub(super) async fn scrub_findings_for(&self, person: Person) -> Result<Vec<ScrubFinding>, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let searched = Searched { what: "scrub".into(), sources: Vec::new(), from: None, to: None };
            let draft = Draft::fact(Event::AccessSearched(searched));
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Administer, denial, draft),
            }
        });
        let _allowed = allowed(recorded.await?)?;
        Ok(self.scrubs.findings())
    }

    /// Numbers for everybody.
    pub(super) fn scrub_numbers(&self) -> ScrubProgress {
        self.scrubs.progress()
    }

    /// Says in the state how many recordings are damaged, or that none is.
    pub(super) fn show_damage(&self) {
        let Ok(damaged) = self.ledger.look_blocking(|desk| desk.state.damaged().len()) else { return };
        if damaged == 0 {
            return self.health.mend(Part::Damage);
        }
        let (are, their) =
            if damaged == 1 { ("recording is", "its object") } else { ("recordings are", "their objects") };
        self.health.degrade(
            Part::Damage,
            format!(
                "{damaged} {are} damaged and cannot be opened; the journal and store.damaged in the ledger name them. \
                 Put {their} back from a backup, then run `greffierctl store scrub`."
            ),
        );
    }

    /// The place of an earlier scrub that did not come to its end.
    fn place_to_go_on(&self, order: &Order) -> Option<Place> {
        if order.restart || order.only.is_some() {
            return None;
        }
        scrub_place::load(&self.config.state_dir).unwrap_or_else(|error| {
            log::warn!(
                "the place of the last scrub is lost, it begins anew: {}",
                super::errors::chain(&error)
            );
            None
        })
    }
}
