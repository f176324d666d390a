//! Who acknowledged the charter (R43): entries, whose details tell the person.
//!
//! Owns which acknowledgements stand. A person has one: a later one names the entry that it replaces.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::{Fault, FaultOf};
use crate::core::event::{CharterAcknowledged, CharterLapsed};

/// The acknowledgements that stand: entry and version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Charter(BTreeMap<u64, SmolStr>);

fn fault(entry: u64) -> Fault {
    Fault { of: FaultOf::Charter, sentence: format!("entry {entry} is no acknowledgement that stands") }
}

impl Charter {
    /// The version acknowledged in an entry.
    pub fn get(&self, entry: u64) -> Option<&SmolStr> {
        self.0.get(&entry)
    }
    /// All that stand: entry and version, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &SmolStr)> {
        self.0.iter().map(|(entry, version)| (*entry, version))
    }

    /// `charter.acknowledged`.
    pub(in crate::core) fn acknowledge(&mut self, it: &CharterAcknowledged, entry: u64) -> Result<(), Fault> {
        if let Some(before) = it.replaces {
            self.0.remove(&before).ok_or_else(|| fault(before))?;
        }
        self.0.insert(entry, it.version.clone());
        Ok(())
    }

    /// `charter.lapsed`.
    pub(in crate::core) fn lapse(&mut self, it: &CharterLapsed) -> Result<(), Fault> {
        self.0.remove(&it.entry).map(|_| ()).ok_or_else(|| fault(it.entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_acknowledgement_takes_the_place_of_the_one_it_names() {
        let said = |replaces| CharterAcknowledged { version: "2026".into(), replaces };
        let mut charter = Charter::default();
        charter.acknowledge(&said(None), 3).unwrap();
        charter.acknowledge(&said(None), 4).unwrap();
        charter.acknowledge(&said(Some(3)), 9).unwrap();
        assert!(charter.acknowledge(&said(Some(3)), 10).is_err());
        assert_eq!(charter.iter().map(|(entry, _)| entry).collect::<Vec<_>>(), [4, 9]);
        charter.lapse(&CharterLapsed { entry: 4 }).unwrap();
        assert!(charter.lapse(&CharterLapsed { entry: 4 }).is_err());
        assert_eq!(charter.get(9).map(SmolStr::as_str), Some("2026"));
    }
}
