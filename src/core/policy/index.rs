//! Rules found by whom and what they are about: made once when a policy is read, so that a decision looks at few of them.
//!
//! Leaves out only what cannot matter. Whether a rule matters is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use super::names::{UserName, Verb};
use super::rules::Deny;
use crate::core::ids::{RoleId, RuleId, SourceId};

/// The index of one policy.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    grants: BTreeMap<UserName, Vec<RuleId>>,
    /// By id; the other fields hold places in this list.
    denies: Vec<(RuleId, Deny)>,
    everybody: BTreeMap<Verb, Places>,
    of_user: BTreeMap<UserName, Vec<usize>>,
    of_role: BTreeMap<RoleId, Vec<usize>>,
}

/// The denies of one verb that bind everybody.
#[derive(Debug, Clone, Default)]
struct Places {
    all: Vec<usize>,
    /// Those that name no sources.
    anywhere: Vec<usize>,
    at: BTreeMap<SourceId, Vec<usize>>,
}

impl Index {
    /// Of a policy that is read.
    pub(super) fn of(policy: &Policy) -> Self {
        let mut index = Self::default();
        for (id, grant) in policy.grants() {
            index.grants.entry(grant.user.clone()).or_default().push(id.clone());
        }
        for (place, (id, deny)) in policy.denies().enumerate() {
            index.denies.push((id.clone(), deny.clone()));
            index.add(place, deny);
        }
        index
    }

    fn add(&mut self, place: usize, deny: &Deny) {
        for user in deny.users.iter().flatten() {
            self.of_user.entry(user.clone()).or_default().push(place);
        }
        for role in deny.roles.iter().flatten() {
            self.of_role.entry(role.clone()).or_default().push(place);
        }
        if deny.users.is_some() || deny.roles.is_some() {
            return;
        }
        for verb in &deny.verbs {
            let places = self.everybody.entry(*verb).or_default();
            places.all.push(place);
            match &deny.limits.sources {
                None => places.anywhere.push(place),
                Some(sources) => {
                    sources.iter().for_each(|source| places.at.entry(source.clone()).or_default().push(place))
                }
            }
        }
    }

    /// The ids of a person's grants, in order.
    pub(super) fn grants_of(&self, user: &UserName) -> &[RuleId] {
        self.grants.get(user).map_or(&[], Vec::as_slice)
    }

    /// The places of the denies that name a person, or a role that he holds.
    pub(super) fn denies_naming(&self, user: &UserName, roles: &BTreeSet<&RoleId>) -> Vec<usize> {
        let by_role = roles.iter().filter_map(|role| self.of_role.get(*role)).flatten();
        let mut places: Vec<usize> =
            self.of_user.get(user).into_iter().flatten().chain(by_role).copied().collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The denies that may forbid `verb` at `source`, by id; `naming` are those that name the person.
    pub(super) fn denies(
        &self,
        naming: &[usize],
        verb: Verb,
        source: Option<&SourceId>,
    ) -> impl Iterator<Item = (&RuleId, &Deny)> {
        let everybody = self.everybody.get(&verb);
        let (wide, here) = match source {
            None => (everybody.map(|places| &places.all), None),
            Some(source) => {
                (everybody.map(|places| &places.anywhere), everybody.and_then(|places| places.at.get(source)))
            }
        };
        let mut places: Vec<usize> = wide.into_iter().chain(here).flatten().chain(naming).copied().collect();
        places.sort_unstable();
        let denies = places.into_iter().filter_map(|place| self.denies.get(place));
        denies.filter(move |(_, deny)| deny.verbs.contains(&verb)).map(|(id, deny)| (id, deny))
    }
}
