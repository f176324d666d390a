//! The register of grants (R6, R64 to R67): proposed by one person, given by another, suspended, reviewed, ended.
//!
//! Owns which grant stands, until when, and since when it was not reviewed. What it allows, and to whom, stands in the detail
//! of one entry. Grants of the policy are in it too, once they were suspended or reviewed. Must never decide who may give one.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{Fault, FaultOf};
use crate::core::event::{GrantEnd, GrantEnded, GrantReviewed, GrantSuspended, GrantTerm, SuspendedWhy};
use crate::core::ids::GrantId;
use crate::core::time::Timestamp;

/// How far a grant has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Proposed, and allows nothing.
    Proposed,
    /// Given.
    Given,
    /// It stands in the policy; the register knows when it was suspended or reviewed.
    Policy,
}

/// One grant, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// How far it has come.
    pub stage: Stage,
    /// Its last day, local time.
    pub until: Option<Date>,
    /// When it was proposed, then when it was given.
    pub since: Timestamp,
    /// When it was reviewed last.
    pub reviewed: Option<Timestamp>,
    /// Why it allows nothing for now.
    pub suspended: Option<SuspendedWhy>,
    /// The entry whose detail tells what it allows, or which rule it is.
    pub entry: u64,
}

impl Granted {
    /// Since when nobody has confirmed it.
    pub fn confirmed(&self) -> Timestamp {
        self.reviewed.map_or(self.since, |reviewed| reviewed.max(self.since))
    }
}

/// All grants that the register knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<GrantId, Granted>);

type Step = Result<(), Fault>;

fn fault(id: GrantId, what: &str) -> Fault {
    Fault { of: FaultOf::Grants, sentence: format!("grant {id} {what}") }
}

impl Grants {
    /// A grant.
    pub fn get(&self, id: &GrantId) -> Option<&Granted> {
        self.0.get(id)
    }
    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&GrantId, &Granted)> {
        self.0.iter()
    }

    /// `grant.proposed`.
    pub(in crate::core) fn propose(&mut self, term: &GrantTerm, time: Timestamp, entry: u64) -> Step {
        let id = term.grant.ok_or(Fault::lacks("grant"))?;
        if self.0.contains_key(&id) {
            return Err(fault(id, "was proposed before"));
        }
        let until = term.until;
        let proposed =
            Granted { stage: Stage::Proposed, until, since: time, reviewed: None, suspended: None, entry };
        self.0.insert(id, proposed);
        Ok(())
    }

    /// `grant.given`: exactly what was proposed.
    pub(in crate::core) fn give(&mut self, term: &GrantTerm, time: Timestamp, entry: u64) -> Step {
        let id = term.grant.ok_or(Fault::lacks("grant"))?;
        match self.0.get_mut(&id) {
            Some(known) if known.stage != Stage::Proposed => Err(fault(id, "was given before")),
            Some(known) if known.until != term.until => {
                Err(fault(id, "is given for other days than were proposed"))
            }
            Some(known) => {
                (known.stage, known.since, known.entry) = (Stage::Given, time, entry);
                Ok(())
            }
            None => Err(fault(id, "was not proposed")),
        }
    }

    /// `grant.ended`.
    pub(in crate::core) fn end(&mut self, ended: &GrantEnded) -> Step {
        let id = ended.grant.ok_or(Fault::lacks("grant"))?;
        let stage = self.0.get(&id).map(|known| known.stage).ok_or_else(|| fault(id, "does not stand"))?;
        let fits = match ended.why {
            GrantEnd::Refused | GrantEnd::TakenBack => stage == Stage::Proposed,
            GrantEnd::Ended => stage == Stage::Given,
            GrantEnd::Expired => stage != Stage::Policy,
            GrantEnd::RuleGone => stage == Stage::Policy,
        };
        if !fits {
            let why = ended.why.as_str();
            return Err(fault(id, &format!("cannot end as {why} at this stage")));
        }
        self.0.remove(&id);
        Ok(())
    }

    /// `grant.suspended`.
    pub(in crate::core) fn suspend(&mut self, it: &GrantSuspended, time: Timestamp, entry: u64) -> Step {
        let known = self.standing(it.grant, it.policy, time, entry)?;
        known.suspended = Some(it.why);
        Ok(())
    }

    /// `grant.reviewed`.
    pub(in crate::core) fn review(&mut self, it: &GrantReviewed, time: Timestamp, entry: u64) -> Step {
        let known = self.standing(it.grant, it.policy, time, entry)?;
        known.suspended = None;
        known.reviewed = Some(time);
        Ok(())
    }

    /// A grant in force; one of the policy enters the register with the first entry about it.
    fn standing(
        &mut self,
        id: Option<GrantId>,
        policy: bool,
        time: Timestamp,
        entry: u64,
    ) -> Result<&mut Granted, Fault> {
        let id = id.ok_or(Fault::lacks("grant"))?;
        let known = self.0.get(&id).map(|known| known.stage);
        match known {
            Some(Stage::Given) if !policy => {}
            Some(Stage::Policy) if policy => {}
            None if policy => {}
            Some(Stage::Proposed) => return Err(fault(id, "is only proposed")),
            Some(_) => return Err(fault(id, "stands elsewhere than the entry says")),
            None => return Err(fault(id, "does not stand")),
        }
        Ok(self.0.entry(id).or_insert(Granted {
            stage: Stage::Policy,
            until: None,
            since: time,
            reviewed: None,
            suspended: None,
            entry,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_micros(hour * 3_600_000_000).unwrap()
    }
    fn id(n: u8) -> GrantId {
        GrantId::from_bytes([n; 16])
    }
    fn term(n: u8) -> GrantTerm {
        GrantTerm { grant: Some(id(n)), until: Some("2027-05-12".parse().unwrap()) }
    }
    fn ended(n: u8, why: GrantEnd) -> GrantEnded {
        GrantEnded { grant: Some(id(n)), why }
    }
    fn suspended(n: u8, policy: bool) -> GrantSuspended {
        GrantSuspended { grant: Some(id(n)), why: SuspendedWhy::ByHand, policy }
    }
    fn reviewed(n: u8, policy: bool) -> GrantReviewed {
        GrantReviewed { grant: Some(id(n)), policy }
    }

    #[test]
    fn inv8_a_grant_is_given_as_proposed_and_once() {
        let mut grants = Grants::default();
        assert!(grants.give(&term(1), at(0), 5).is_err(), "nobody proposed it");
        grants.propose(&term(1), at(0), 5).unwrap();
        assert!(grants.propose(&term(1), at(0), 6).is_err());
        assert!(grants.give(&GrantTerm { until: None, ..term(1) }, at(1), 6).is_err(), "for ever");
        assert!(grants.suspend(&suspended(1, false), at(1), 6).is_err(), "it allows nothing yet");
        grants.give(&term(1), at(1), 6).unwrap();
        assert!(grants.give(&term(1), at(1), 7).is_err());
        let given = grants.get(&id(1)).unwrap();
        assert_eq!((given.stage, given.since, given.entry), (Stage::Given, at(1), 6));
    }

    #[test]
    fn a_grant_ends_as_its_stage_allows() {
        let ends = |given: bool| {
            let mut grants = Grants::default();
            grants.propose(&term(1), at(0), 1).unwrap();
            if given {
                grants.give(&term(1), at(1), 2).unwrap();
            }
            let fits = |why: &&GrantEnd| grants.clone().end(&ended(1, **why)).is_ok();
            GrantEnd::ALL.iter().filter(fits).copied().collect::<Vec<_>>()
        };
        assert_eq!(ends(false), [GrantEnd::Refused, GrantEnd::TakenBack, GrantEnd::Expired]);
        assert_eq!(ends(true), [GrantEnd::Ended, GrantEnd::Expired]);
        assert!(Grants::default().end(&ended(1, GrantEnd::Ended)).is_err());
    }

    #[test]
    fn a_review_ends_a_suspension_and_begins_the_year_anew() {
        let mut grants = Grants::default();
        grants.propose(&term(1), at(0), 1).unwrap();
        grants.give(&term(1), at(1), 2).unwrap();
        grants.suspend(&suspended(1, false), at(2), 3).unwrap();
        assert_eq!(grants.get(&id(1)).unwrap().suspended, Some(SuspendedWhy::ByHand));
        assert!(grants.review(&reviewed(1, true), at(3), 4).is_err(), "it does not stand in the policy");
        grants.review(&reviewed(1, false), at(3), 4).unwrap();
        let grant = grants.get(&id(1)).unwrap();
        assert_eq!((grant.suspended, grant.confirmed(), grant.entry), (None, at(3), 2));
    }

    #[test]
    fn a_grant_of_the_policy_enters_with_the_first_entry_about_it() {
        let mut grants = Grants::default();
        assert!(grants.suspend(&suspended(1, false), at(0), 1).is_err());
        grants.suspend(&suspended(1, true), at(0), 1).unwrap();
        grants.review(&reviewed(1, true), at(1), 2).unwrap();
        let grant = grants.get(&id(1)).unwrap();
        assert_eq!((grant.stage, grant.suspended, grant.entry), (Stage::Policy, None, 1));
        assert!(grants.end(&ended(1, GrantEnd::Ended)).is_err(), "only the policy ends it");
        grants.end(&ended(1, GrantEnd::RuleGone)).unwrap();
        assert_eq!(grants, Grants::default());
    }
}
