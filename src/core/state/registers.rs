//! What the events of registers do to the state, and what an opening under a mandate must keep to.

use super::State;
use super::apply::Step;
use super::violation::Contradiction;
use crate::core::event::{ApprovalStep, Event, Record, Subject};
use crate::core::ids::{MandateId, SourceId};
use crate::core::register::{Fault, Registers};

impl State {
    /// Grants, mandates, approvals and the charter.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// One event of a register that took effect; the others do nothing here.
    pub(super) fn step_register(&mut self, record: &Record) -> Step {
        let (seq, time, subject) = (record.seq, record.time, &record.subject);
        let Registers { grants, mandates, approvals, charter } = &mut self.registers;
        let done = match &record.event {
            Event::GrantProposed(term) => grants.propose(term, time, seq),
            Event::GrantGiven(term) => grants.give(term, time, seq),
            Event::GrantEnded(ended) => grants.end(ended),
            Event::GrantSuspended(it) => grants.suspend(it, time, seq),
            Event::GrantReviewed(it) => grants.review(it, time, seq),
            Event::MandateGiven(term) => mandates.set(term, false, seq),
            Event::MandateChanged(term) => mandates.set(term, true, seq),
            Event::MandateWithdrawn(it) => mandates.withdraw(it, time),
            Event::ApprovalAsked(asked) => approvals.ask(asked, subject, time, seq),
            Event::ApprovalGiven(it) => approvals.answer(it.approval, true, time, seq),
            Event::ApprovalRefused(it) => approvals.answer(it.approval, false, time, seq),
            Event::ApprovalUsed(it) => return self.spend_approval(it, record),
            Event::CharterAcknowledged(it) => charter.acknowledge(it, seq),
            Event::CharterLapsed(it) => charter.lapse(it),
            _ => Ok(()),
        };
        done.map_err(Contradiction::Register)
    }

    fn spend_approval(&mut self, step: &ApprovalStep, record: &Record) -> Step {
        let Subject { recording, .. } = &record.subject;
        let found = recording.as_ref().and_then(|id| self.recordings.get(id));
        let interval = found.map(|recording| (recording.start, recording.end));
        let approvals = &mut self.registers.approvals;
        approvals
            .spend(step.approval, &record.subject, interval, record.time, record.seq)
            .map_err(Contradiction::Register)
    }

    /// What a session that is opened under a mandate must keep to.
    pub(super) fn check_mandate(
        &self,
        mandate: Option<&MandateId>,
        source: &SourceId,
        subject: &Subject,
    ) -> Step {
        let checked = mandate
            .map_or(Ok(()), |id| self.registers.mandates.check_use(id, source, subject.reason.as_ref()));
        checked.map_err(|fault: Fault| Contradiction::Register(fault))
    }
}
