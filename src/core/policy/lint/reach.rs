//! Rules that can never matter: a grant that covers nothing or of which a deny leaves nothing, a deny of what nobody may.
//!
//! Says so only where it is certain; of two rules that overlap in part nothing is said.

use std::collections::BTreeSet;

use super::super::Policy;
use super::super::names::Verb;
use super::super::rules::{Deny, Grant, Limits};
use super::Lint;
use crate::core::ids::{RuleId, SourceId};

impl Lint<'_> {
    pub(super) fn reach(&mut self) {
        let policy = self.policy;
        for (id, placed) in &policy.grants {
            let grant = &placed.value;
            let on_recordings = self.verbs(grant).iter().any(|verb| verb.takes_source());
            if on_recordings && !policy.sources().any(|(source, _)| self.reaches(grant, source)) {
                let why = "none of its sources is of its zones, kinds and purposes";
                self.warn(&placed.place, "grant-nothing", format!("grant {id} covers nothing: {why}"));
            } else if let Some(deny) = self.swallowed_by(grant) {
                let why = format!("deny {deny} forbids all that grant {id} gives: take one of them out");
                self.warn(&placed.place, "grant-denied", why);
            }
        }
        for (id, placed) in &policy.denies {
            if !policy.grants().any(|(_, grant)| self.meet(&placed.value, grant)) {
                let why = "nobody whom it binds is granted any of that";
                self.warn(&placed.place, "deny-idle", format!("deny {id} forbids nothing: {why}"));
            }
        }
    }

    /// Whether a grant may cover a recording of the source.
    pub(super) fn reaches(&self, grant: &Grant, id: &SourceId) -> bool {
        reaches(self.policy, grant, id)
    }

    fn binds(&self, deny: &Deny, grant: &Grant) -> bool {
        let held = |roles: &BTreeSet<_>| {
            let mut grants = self.policy.grants().filter(|(_, other)| other.user == grant.user);
            grants.any(|(_, other)| roles.contains(&other.role))
        };
        deny.users.as_ref().is_none_or(|users| users.contains(&grant.user))
            && deny.roles.as_ref().is_none_or(held)
    }

    /// The deny that takes away all of a grant, whatever is asked and whenever.
    fn swallowed_by(&self, grant: &Grant) -> Option<&RuleId> {
        let verbs: BTreeSet<Verb> = self.verbs(grant);
        let all = |deny: &Deny| {
            self.binds(deny, grant) && !deny.unless.is_set() && deny.verbs.is_superset(&verbs) && {
                let (wide, narrow) = (&deny.limits, &grant.limits);
                within(wide.sources.as_ref(), narrow.sources.as_ref())
                    && within(wide.zones.as_ref(), narrow.zones.as_ref())
                    && within(wide.kinds.as_ref(), narrow.kinds.as_ref())
                    && within(wide.reasons.as_ref(), narrow.reasons.as_ref())
                    && within(wide.purposes.as_ref(), narrow.purposes.as_ref())
                    && within(wide.days.as_ref(), narrow.days.as_ref())
                    && within(wide.hours.as_ref(), narrow.hours.as_ref())
                    && wide.age_min.is_none()
                    && wide.age_max.is_none()
            }
        };
        self.policy.denies().find(|(_, deny)| all(deny)).map(|(id, _)| id)
    }

    /// Whether a deny speaks of a verb of a grant, to whom it binds. One on other sources than the grant is a precaution, and no mistake.
    fn meet(&self, deny: &Deny, grant: &Grant) -> bool {
        self.binds(deny, grant) && !deny.verbs.is_disjoint(&self.verbs(grant))
    }
}

/// Whether a grant may cover a recording of the source.
pub(in crate::core::policy) fn reaches(policy: &Policy, grant: &Grant, id: &SourceId) -> bool {
    let Some(source) = policy.source(id) else { return false };
    let Limits { sources, zones, kinds, purposes, .. } = &grant.limits;
    let zone = |zones: &BTreeSet<_>| source.zone.as_ref().is_some_and(|zone| zones.contains(zone));
    sources.as_ref().is_none_or(|sources| sources.contains(id))
        && zones.as_ref().is_none_or(zone)
        && kinds.as_ref().is_none_or(|kinds| kinds.contains(&source.kind))
        && purposes.as_ref().is_none_or(|purposes| !purposes.is_disjoint(&source.purposes))
        && (!grant.only.anonymised || grant.only.own || source.anonymised)
}

/// Whether all that `narrow` lets through is let through by `wide` too. What is absent lets everything through.
fn within<T: Ord>(wide: Option<&BTreeSet<T>>, narrow: Option<&BTreeSet<T>>) -> bool {
    wide.is_none_or(|wide| narrow.is_some_and(|narrow| narrow.is_subset(wide)))
}
