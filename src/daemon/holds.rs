//! Placing and lifting holds (invariant 12). Decided in the writer's order, so a hold and a purge cannot cross.

use std::sync::Arc;

use super::person::{Person, allowed, decide_for, unknown};
use super::service::Service;
use super::sessions::End;
use crate::core::event::{Detail, Draft, Event, HoldKind, HoldLifted, HoldPlaced, Subject};
use crate::core::ids::{HoldId, RecordingId, RuleId};
use crate::core::policy::{Decision, Denial, DenialKind, Target, Verb};
use crate::core::refusal::Refusal;
use crate::shell::bus::archive::HoldRequest;
use crate::shell::bus::interfaces::{HoldInterface, hold_path};
use crate::shell::entropy;

impl Service {
    /// Places a hold on one recording.
    pub(super) async fn place_hold(
        self: &Arc<Self>,
        person: Person,
        request: HoldRequest,
    ) -> Result<HoldId, Refusal> {
        let hold = HoldId::from_bytes(entropy::array().map_err(|error| {
            log::error!("no randomness for a hold id: {error}");
            Refusal::internal()
        })?);
        let HoldRequest { recording, kind, ground, reference, review } = request;
        let recorded = self.ledger.record(move |desk| {
            let event = Event::HoldPlaced(HoldPlaced { hold, kind, review });
            let said = Detail { ground: Some(ground), reference, ..Detail::default() };
            let found =
                recording.parse::<RecordingId>().ok().and_then(|id| Some((id, desk.state.recording(&id)?)));
            let Some((id, found)) = found else {
                let said = Detail { asked: Some(recording.chars().take(64).collect()), ..said };
                return person.refused(
                    desk,
                    Verb::Hold,
                    unknown(desk, &person),
                    Draft::fact(event).with_detail(said),
                );
            };
            let subject = Subject::recording(id, found.source.clone());
            let target = Target::Recording { id, source: found.source.clone() };
            let purging = found.purging;
            match decide_for(desk, &person, &person.asks(Verb::Hold, target, None)) {
                Decision::Allow(_) if purging => {
                    let sentence = "The recording is being destroyed; a hold comes too late.".into();
                    let denial = Denial::new(RuleId::builtin("purging"), DenialKind::Conflict, sentence);
                    let draft = Draft::fact(event).about(subject).with_detail(said);
                    person.refused(desk, Verb::Hold, denial, draft)
                }
                Decision::Allow(permit) => {
                    let detail = Detail {
                        ground: said.ground,
                        reference: said.reference,
                        ..person.detail(permit.rule())
                    };
                    let draft = Draft::fact(event).about(subject).with_detail(detail);
                    Ok(person.permitted(desk, Some(&permit), draft, id))
                }
                Decision::Deny(denial) => {
                    let draft = Draft::fact(event).about(subject).with_detail(said);
                    person.refused(desk, Verb::Hold, denial, draft)
                }
            }
        });
        let placed = allowed(recorded.await?)?;
        log::info!(entry = placed.entry(); "hold {hold} was placed");
        self.show_hold(hold).await;
        if kind == HoldKind::Restriction {
            let held = *placed.value();
            self.end_sessions(self.sessions.which(|live| live.recording == held), End::Restricted).await;
        }
        Ok(hold)
    }

    /// Puts a hold on the bus.
    pub(super) async fn show_hold(&self, hold: HoldId) {
        if let (Some(bus), Ok(path)) = (self.bus(), hold_path(&hold)) {
            let interface = HoldInterface::new(bus.desk.clone(), hold);
            if let Err(error) = bus.connection.object_server().at(path, interface).await {
                log::warn!("a hold could not be shown on the bus, ignoring: {error}");
            }
        }
    }

    /// Ends a hold; what it stopped falls due again.
    pub(super) async fn lift_hold(
        &self,
        person: Person,
        hold: HoldId,
        ground: Option<String>,
    ) -> Result<(), Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let event = Event::HoldLifted(HoldLifted { hold });
            let said = Detail { ground, ..Detail::default() };
            let held = desk.state.holds().get(&hold).map(|hold| hold.recording);
            let found = held.and_then(|id| Some((id, desk.state.recording(&id)?.source.clone())));
            let Some((id, source)) = found else {
                return person.refused(
                    desk,
                    Verb::Lift,
                    unknown(desk, &person),
                    Draft::fact(event).with_detail(said),
                );
            };
            let subject = Subject::recording(id, source.clone());
            let request = person.asks(Verb::Lift, Target::Recording { id, source }, None);
            match decide_for(desk, &person, &request) {
                Decision::Allow(permit) => {
                    let detail = Detail { ground: said.ground, ..person.detail(permit.rule()) };
                    let draft = Draft::fact(event).about(subject).with_detail(detail);
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => {
                    let draft = Draft::fact(event).about(subject).with_detail(said);
                    person.refused(desk, Verb::Lift, denial, draft)
                }
            }
        });
        let lifted = allowed(recorded.await?)?;
        log::info!(entry = lifted.entry(); "hold {hold} was lifted");
        if let (Some(bus), Ok(path)) = (self.bus(), hold_path(&hold)) {
            let _was_there = bus.connection.object_server().remove::<HoldInterface<Self>, _>(&path).await;
        }
        self.retention_changed.notify_one();
        Ok(())
    }
}
