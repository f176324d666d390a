//! What a policy may not say although each item reads well: invariant 8, sources whose purposes do not fit, periods
//! that contradict each other, roles that exclude each other.

use std::collections::BTreeMap;

use super::error::{PolicyError, PolicyErrors};
use super::names::{UserName, Verb};
use super::rules::{Class, Grant, GrantsIn, Placed};
use super::{Policy, RuleId};
use crate::core::ids::RoleId;
use crate::core::time::{Period, Timestamp};

/// Refuses a policy with a contradiction, with every one found.
pub(super) fn check(policy: &Policy) -> Result<(), PolicyErrors> {
    let mut errors = Vec::new();
    administrators_are_bound(policy, &mut errors);
    purposes_fit_kinds(policy, &mut errors);
    periods_fit(policy, &mut errors);
    roles_go_together(policy, &mut errors);
    grants_stand_where_they_should(policy, &mut errors);
    PolicyErrors::none_of(errors)
}

/// Invariant 8: no person both administers and views, by one role or by several. A grant that has ended counts too:
/// reading a policy does not depend on the day.
fn administrators_are_bound(policy: &Policy, errors: &mut Vec<PolicyError>) {
    for (id, role) in &policy.roles {
        let shown = role.value.verbs.iter().find(|verb| verb.shows_content());
        if let Some(verb) = shown.filter(|_| role.value.verbs.contains(&Verb::Administer)) {
            let reason =
                format!("role {id} allows both administer and {verb}: make two roles, for two persons");
            errors.push(PolicyError::at(&role.place, reason));
        }
    }
    let allows = |grant: &Grant, asked: fn(Verb) -> bool| {
        policy.role(&grant.role).is_some_and(|role| role.verbs.iter().any(|&verb| asked(verb)))
    };
    let mut viewers: BTreeMap<&UserName, (&RuleId, &Placed<Grant>)> = BTreeMap::new();
    for (id, grant) in &policy.grants {
        if allows(&grant.value, Verb::shows_content) {
            viewers.entry(&grant.value.user).or_insert((id, grant));
        }
    }
    for (id, grant) in &policy.grants {
        let user = &grant.value.user;
        let Some((other, other_grant)) = viewers.get(user) else { continue };
        // One role with both is refused above.
        if *other != id && allows(&grant.value, |verb| verb == Verb::Administer) {
            let place = &other_grant.place;
            let reason = format!(
                "{user} may not administer by grant {id} and view by grant {other} ({place}): name two persons"
            );
            errors.push(PolicyError::at(&grant.place, reason));
        }
    }
}

/// Why one person may not hold both roles: invariant 8, or the policy's own list.
pub(super) fn clash(policy: &Policy, one: &RoleId, other: &RoleId) -> Option<String> {
    let has = |role: &RoleId, asked: fn(Verb) -> bool| {
        policy.role(role).is_some_and(|role| role.verbs.iter().any(|&verb| asked(verb)))
    };
    let administers = |verb| verb == Verb::Administer;
    if (has(one, administers) && has(other, Verb::shows_content))
        || (has(other, administers) && has(one, Verb::shows_content))
    {
        return Some("nobody may administer and view".into());
    }
    let excluding = policy
        .incompatible
        .iter()
        .find(|(_, roles)| one != other && roles.value.contains(one) && roles.value.contains(other));
    excluding.map(|(id, _)| format!("roles {one} and {other} exclude each other by incompatible {id}"))
}

/// Nobody holds two roles that exclude each other; a grant that has ended counts too, as above.
fn roles_go_together(policy: &Policy, errors: &mut Vec<PolicyError>) {
    if policy.incompatible.is_empty() {
        return;
    }
    let mut held: BTreeMap<&UserName, Vec<(&RuleId, &Placed<Grant>)>> = BTreeMap::new();
    for (id, grant) in &policy.grants {
        let others = held.entry(&grant.value.user).or_default();
        let excluded = others.iter().find_map(|(other, placed)| {
            let (one, two) = (&placed.value.role, &grant.value.role);
            let by = policy
                .incompatible
                .iter()
                .find(|(_, roles)| one != two && roles.value.contains(one) && roles.value.contains(two));
            by.map(|(by, _)| (other, &placed.place, by))
        });
        if let Some((other, place, by)) = excluded {
            let user = &grant.value.user;
            let reason = format!(
                "{user} may not hold grant {id} beside grant {other} ({place}): incompatible {by} excludes it; name two persons"
            );
            errors.push(PolicyError::at(&grant.place, reason));
        }
        others.push((id, grant));
    }
}

/// With the register in use the policy grants only what is needed to begin: administering and approving.
fn grants_stand_where_they_should(policy: &Policy, errors: &mut Vec<PolicyError>) {
    if policy.terms.grants_in == GrantsIn::Policy {
        return;
    }
    for (id, grant) in &policy.grants {
        let first = |verb: &&Verb| !matches!(verb, Verb::Administer | Verb::Approve);
        let verb = policy.role(&grant.value.role).and_then(|role| role.verbs.iter().find(first));
        if let Some(verb) = verb {
            let reason = format!(
                "grant {id} gives {verb}, but grants_in = \"register\": here stand only grants of administer and approve"
            );
            errors.push(PolicyError::at(&grant.place, reason));
        }
    }
}

fn purposes_fit_kinds(policy: &Policy, errors: &mut Vec<PolicyError>) {
    for (id, source) in &policy.sources {
        for purpose_id in &source.value.purposes {
            let kind = source.value.kind;
            if policy.purpose(purpose_id).is_some_and(|purpose| !purpose.kinds.contains(&kind)) {
                let reason =
                    format!("source {id} records {kind}, but purpose {purpose_id} is not for {kind}");
                errors.push(PolicyError::at(&source.place, reason));
            }
        }
    }
}

fn periods_fit(policy: &Policy, errors: &mut Vec<PolicyError>) {
    for (id, class) in &policy.classes {
        let Class { min: Some(min), max, .. } = &class.value else { continue };
        if !always_fits(min, max) {
            let reason = format!("class {id}: min {min} can be longer than max {max}; make min shorter");
            errors.push(PolicyError::at(&class.place, reason));
        }
    }
}

/// Whether `min` ends no later than `max` whatever the month it begins in: P30D does not fit in P1M, because of
/// February.
pub(super) fn always_fits(min: &Period, max: &Period) -> bool {
    const DAY_MICROS: i64 = 86_400_000_000;
    // Four years from 1970 hold each length of month and year.
    (0..4 * 366).all(|day: i64| {
        Timestamp::from_micros(day.saturating_mul(DAY_MICROS))
            .and_then(|start| Ok(start.checked_add(min)? <= start.checked_add(max)?))
            .unwrap_or(false)
    })
}
