//! What details tell of the entries that the fold remembers: who opened, who may do what, who asked and who answered.
//!
//! One mechanism for all of it: noted when the entry is written, read back from the details when the service starts, by the
//! same function. Must never take the place of the fold: an entry whose detail is gone tells nothing, and counts against
//! whoever asks.

use std::collections::{BTreeMap, BTreeSet};

use super::uses::{Holders, holder};
use crate::core::event::{Detail, Event, Outcome, Party, Record, Who};
use crate::core::ids::{ApprovalId, GrantId, MandateId};
use crate::core::state::State;

/// The persons behind the state.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Whose the openings of the last day are.
    pub holders: Holders,
    /// Details of entries that the registers remember, without the evidence of one moment.
    details: BTreeMap<u64, Detail>,
    /// The entry in which each uid acknowledged the charter last.
    acknowledged: BTreeMap<u32, u64>,
    /// How many were noted since those that are over were forgotten.
    since_forgotten: usize,
    /// How often something was noted that may change which grants allow what.
    grants_version: u64,
    /// The same of mandates and approvals.
    others_version: u64,
}

/// Whether the detail of this entry tells something that a register may ask for.
fn tells(record: &Record) -> bool {
    let took_effect = matches!(record.outcome, Outcome::Done | Outcome::Granted);
    let of_register = match &record.event {
        Event::GrantSuspended(it) => it.policy,
        Event::GrantReviewed(it) => it.policy,
        event => matches!(
            event,
            Event::GrantProposed(_)
                | Event::GrantGiven(_)
                | Event::MandateGiven(_)
                | Event::MandateChanged(_)
                | Event::ApprovalAsked(_)
                | Event::ApprovalGiven(_)
                | Event::ApprovalRefused(_)
                | Event::CharterAcknowledged(_)
        ),
    };
    took_effect && of_register
}

/// Whether this entry may change which grants allow what.
const fn touches_grants(event: &Event) -> bool {
    matches!(
        event,
        Event::GrantGiven(_) | Event::GrantEnded(_) | Event::GrantSuspended(_) | Event::GrantReviewed(_)
    )
}

/// Whether this entry may change a mandate or an approval.
const fn touches_others(event: &Event) -> bool {
    matches!(
        event,
        Event::MandateGiven(_)
            | Event::MandateChanged(_)
            | Event::MandateWithdrawn(_)
            | Event::ApprovalAsked(_)
            | Event::ApprovalGiven(_)
            | Event::ApprovalRefused(_)
            | Event::ApprovalUsed(_)
    )
}

impl Told {
    /// The entries whose details are to be read back at a start.
    pub fn wanted(state: &State) -> BTreeSet<u64> {
        state.uses().keys().copied().chain(state.registers().remembered_entries()).collect()
    }

    /// Takes in what the detail of an entry tells; `state` has the entry applied. `None`: it cannot be read any more.
    pub fn note(&mut self, record: &Record, detail: Option<&Detail>, state: &State) {
        let seq = record.seq;
        if matches!((&record.event, record.outcome), (Event::AccessOpened(_), Outcome::Granted)) {
            self.holders.forget(state.uses());
            match detail.and_then(holder) {
                Some((uid, rule)) => self.holders.note(seq, uid, rule),
                None => self.holders.note_unknown(seq),
            }
        }
        self.grants_version += u64::from(touches_grants(&record.event));
        self.others_version += u64::from(touches_others(&record.event));
        let Some(detail) = detail.filter(|_| tells(record)) else { return };
        let who = detail.who.as_ref().map(Who::party);
        if let (Event::CharterAcknowledged(_), Some(who)) = (&record.event, &who) {
            self.acknowledged.insert(who.uid, seq);
        }
        let who = who.map(|Party { uid, user }| Who { uid, user, ..Who::default() });
        self.details.insert(seq, Detail { who, ..detail.clone() });
        self.since_forgotten += 1;
        if self.since_forgotten > self.details.len() / 2 + 64 {
            let remembered: BTreeSet<u64> = state.registers().remembered_entries().collect();
            self.details.retain(|entry, _| remembered.contains(entry));
            self.acknowledged.retain(|_, entry| remembered.contains(entry));
            self.since_forgotten = 0;
        }
    }

    /// Changes whenever the grants of the register, or what is suspended, may have changed.
    pub const fn grants_version(&self) -> u64 {
        self.grants_version
    }

    /// Changes whenever mandates or approvals may have changed.
    pub const fn others_version(&self) -> u64 {
        self.others_version
    }

    /// What the detail of an entry tells.
    pub fn detail(&self, entry: u64) -> Option<&Detail> {
        self.details.get(&entry)
    }
    /// Who acted in an entry.
    pub fn party(&self, entry: u64) -> Option<Party> {
        self.detail(entry)?.who.as_ref().map(Who::party)
    }
    /// What is told of a grant.
    pub fn grant(&self, state: &State, id: &GrantId) -> Option<&Detail> {
        self.detail(state.registers().grants.get(id)?.entry)
    }
    /// What is told of a mandate.
    pub fn mandate(&self, state: &State, id: &MandateId) -> Option<&Detail> {
        self.detail(state.registers().mandates.get(id)?.entry)
    }
    /// Who asked for an approval.
    pub fn asker(&self, state: &State, id: &ApprovalId) -> Option<Party> {
        self.party(state.registers().approvals.get(id)?.entry)
    }
    /// Who answered.
    pub fn answerer(&self, state: &State, id: &ApprovalId) -> Option<Party> {
        self.party(state.registers().approvals.get(id)?.answer?.entry)
    }
    /// The entry in which this person acknowledged the charter last: the same uid under the same name, so that nobody
    /// inherits it with a number that is used again.
    pub fn acknowledgement(&self, state: &State, uid: u32, user: Option<&str>) -> Option<u64> {
        let entry = *self.acknowledged.get(&uid)?;
        state.registers().charter.get(entry)?;
        let same = self.party(entry).is_some_and(|party| party.user.as_deref() == user);
        same.then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{CharterAcknowledged, CharterLapsed, Subject};
    use crate::core::time::{BootId, Timestamp};

    fn apply(state: &mut State, told: &mut Told, event: Event, detail: Option<Detail>) -> u64 {
        let record = Record {
            seq: state.size(),
            time: Timestamp::from_micros(0).unwrap(),
            boot: BootId::from_bytes([0; 16]),
            up_micros: 0,
            event,
            outcome: Outcome::Done,
            subject: Subject::default(),
            policy: None,
        };
        state.apply(&record).unwrap();
        told.note(&record, detail.as_ref(), state);
        record.seq
    }

    fn started() -> (State, Told) {
        let (mut state, mut told) = (State::default(), Told::default());
        let created = crate::core::event::LedgerCreated {
            origin: String::new(),
            log_key: String::new(),
            epoch_key: String::new(),
        };
        apply(&mut state, &mut told, Event::LedgerCreated(created), None);
        (state, told)
    }

    fn by(uid: u32, user: &str) -> Option<Detail> {
        Some(Detail::by(Who { uid, user: Some(user.into()), pid: Some(4), ..Who::default() }))
    }

    #[test]
    fn a_uid_that_is_used_again_inherits_nothing() {
        let (mut state, mut told) = started();
        let said =
            |replaces| Event::CharterAcknowledged(CharterAcknowledged { version: "1".into(), replaces });
        let entry = apply(&mut state, &mut told, said(None), by(5, "games"));
        assert_eq!(told.acknowledgement(&state, 5, Some("games")), Some(entry));
        assert_eq!(told.acknowledgement(&state, 5, Some("other")), None);
        assert_eq!(told.acknowledgement(&state, 6, Some("games")), None);
        assert!(told.detail(entry).unwrap().who.as_ref().unwrap().pid.is_none(), "evidence is not kept");
        apply(&mut state, &mut told, Event::CharterLapsed(CharterLapsed { entry }), None);
        assert_eq!(told.acknowledgement(&state, 5, Some("games")), None);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (mut state, mut told) = started();
        let mut replaces = None;
        for _ in 0..1000 {
            let said = Event::CharterAcknowledged(CharterAcknowledged { version: "1".into(), replaces });
            replaces = Some(apply(&mut state, &mut told, said, by(5, "games")));
        }
        assert!(told.details.len() < 200, "{}", told.details.len());
        assert_eq!(told.acknowledgement(&state, 5, Some("games")), replaces);
        assert_eq!(Told::wanted(&state), replaces.into_iter().collect());
    }
}
