//! The register of mandates (R68, R69): what a client lets somebody do for him, for listed tasks, until he takes it back.
//!
//! Owns which mandate is in force, for which reasons and sources. For whom it is, who gave it, why it is needed and the reference
//! of the consent stand in the detail of one entry. Must never let one be used outside its tasks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use super::{Fault, FaultOf};
use crate::core::event::{MandateEnd, MandateTerm, MandateWithdrawn};
use crate::core::ids::{MandateId, ReasonCode, SourceId};
use crate::core::time::Timestamp;

/// One mandate, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandated {
    /// Counted from 1.
    pub version: u64,
    /// The first day, local time.
    pub from: Date,
    /// The last day, local time.
    pub until: Date,
    /// Reasons for which it may be used; never empty.
    pub tasks: BTreeSet<ReasonCode>,
    /// Only on these sources.
    pub sources: Option<BTreeSet<SourceId>>,
    /// When it ended, and why.
    pub withdrawn: Option<(Timestamp, MandateEnd)>,
    /// The entry whose detail tells the rest.
    pub entry: u64,
}

/// All mandates, those that are over too: an id is never used again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mandates(BTreeMap<MandateId, Mandated>);

fn fault(id: &MandateId, what: &str) -> Fault {
    Fault { of: FaultOf::Mandates, sentence: format!("mandate {id} {what}") }
}

impl Mandates {
    /// A mandate.
    pub fn get(&self, id: &MandateId) -> Option<&Mandated> {
        self.0.get(id)
    }
    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&MandateId, &Mandated)> {
        self.0.iter()
    }

    /// `mandate.given`, `mandate.changed`: the version tells which.
    pub(in crate::core) fn set(
        &mut self,
        term: &MandateTerm,
        changed: bool,
        entry: u64,
    ) -> Result<(), Fault> {
        let id = term.mandate.clone().ok_or(Fault::lacks("mandate"))?;
        let from = term.from.ok_or(Fault::lacks("from"))?;
        let until = term.until.ok_or(Fault::lacks("until"))?;
        if term.tasks.is_empty() {
            return Err(Fault::lacks("tasks"));
        }
        let version = match self.0.get(&id) {
            None if changed => return Err(fault(&id, "was not given")),
            None => 1,
            Some(_) if !changed => return Err(fault(&id, "was given before")),
            Some(known) if known.withdrawn.is_some() => return Err(fault(&id, "was withdrawn")),
            Some(known) => known.version.saturating_add(1),
        };
        if term.version != version {
            return Err(fault(&id, &format!("is at version {version}, not {}", term.version)));
        }
        let tasks = term.tasks.iter().cloned().collect();
        let sources = term.sources.as_ref().map(|sources| sources.iter().cloned().collect());
        self.0.insert(id, Mandated { version, from, until, tasks, sources, withdrawn: None, entry });
        Ok(())
    }

    /// `mandate.withdrawn`.
    pub(in crate::core) fn withdraw(&mut self, it: &MandateWithdrawn, time: Timestamp) -> Result<(), Fault> {
        let id = it.mandate.as_ref().ok_or(Fault::lacks("mandate"))?;
        let known = self.0.get_mut(id).ok_or_else(|| fault(id, "was not given"))?;
        if known.withdrawn.is_some() {
            return Err(fault(id, "was withdrawn before"));
        }
        known.withdrawn = Some((time, it.why));
        Ok(())
    }

    /// Whether a recording of `source` may be opened for `reason` under a mandate. The days, which are local, are judged
    /// by the policy.
    pub(in crate::core) fn check_use(
        &self,
        id: &MandateId,
        source: &SourceId,
        reason: Option<&ReasonCode>,
    ) -> Result<(), Fault> {
        let known = self.0.get(id).ok_or_else(|| fault(id, "was not given"))?;
        if known.withdrawn.is_some() {
            return Err(fault(id, "was withdrawn before it was used"));
        }
        if !reason.is_some_and(|reason| known.tasks.contains(reason)) {
            return Err(fault(id, "is used for what is not among its tasks"));
        }
        match &known.sources {
            Some(sources) if !sources.contains(source) => {
                Err(fault(id, "is used on a source that it does not name"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(version: u64) -> MandateTerm {
        MandateTerm {
            mandate: Some("leave-of-may".parse().unwrap()),
            version,
            from: Some("2026-05-01".parse().unwrap()),
            until: Some("2026-05-31".parse().unwrap()),
            tasks: vec!["incident".parse().unwrap()],
            sources: Some(vec!["entrance".parse().unwrap()]),
        }
    }
    fn withdrawn() -> MandateWithdrawn {
        MandateWithdrawn { mandate: term(1).mandate, why: MandateEnd::Withdrawn }
    }

    #[test]
    fn a_mandate_changes_version_by_version_until_it_is_withdrawn_for_good() {
        let mut mandates = Mandates::default();
        assert!(mandates.set(&term(2), true, 1).is_err(), "nobody gave it");
        assert!(mandates.set(&term(2), false, 1).is_err(), "it begins at 1");
        mandates.set(&term(1), false, 1).unwrap();
        assert!(mandates.set(&term(1), false, 2).is_err() && mandates.set(&term(3), true, 2).is_err());
        mandates.set(&term(2), true, 2).unwrap();
        let time = Timestamp::from_micros(0).unwrap();
        mandates.withdraw(&withdrawn(), time).unwrap();
        assert!(mandates.withdraw(&withdrawn(), time).is_err());
        assert!(mandates.set(&term(3), true, 4).is_err() && mandates.set(&term(1), false, 4).is_err());
        assert_eq!(mandates.iter().next().unwrap().1.version, 2);
    }

    #[test]
    fn a_mandate_lacking_what_it_must_say_is_none() {
        let lacking = [
            MandateTerm { mandate: None, ..term(1) },
            MandateTerm { from: None, ..term(1) },
            MandateTerm { until: None, ..term(1) },
            MandateTerm { tasks: vec![], ..term(1) },
        ];
        for term in lacking {
            let refused = Mandates::default().set(&term, false, 1).unwrap_err();
            assert_eq!(refused.of, FaultOf::Incomplete, "{refused:?}");
        }
    }

    #[test]
    fn a_use_outside_its_tasks_its_sources_or_its_time_is_refused() {
        let mut mandates = Mandates::default();
        mandates.set(&term(1), false, 1).unwrap();
        let id = term(1).mandate.unwrap();
        let used = |mandates: &Mandates, source: &str, reason: Option<&str>| {
            let reason = reason.map(|reason| reason.parse().unwrap());
            mandates.check_use(&id, &source.parse().unwrap(), reason.as_ref()).is_ok()
        };
        assert!(used(&mandates, "entrance", Some("incident")));
        assert!(!used(&mandates, "entrance", Some("dispute")) && !used(&mandates, "entrance", None));
        assert!(!used(&mandates, "reception", Some("incident")));
        mandates.withdraw(&withdrawn(), Timestamp::from_micros(0).unwrap()).unwrap();
        assert!(!used(&mandates, "entrance", Some("incident")));
        assert!(!used(&Mandates::default(), "entrance", Some("incident")));
    }
}
