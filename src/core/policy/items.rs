//! The items of each section, from their fields to their values: which keys an item has, and what they may say.
//!
//! Knows one item at a time, and which ids exist.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use super::error::{PolicyError, quoted};
use super::read::{Fields, Item};
use super::rule_items::{Names, deny, grant};
use super::rules::{Authorisation, Class, PeriodStart, Placed, Purpose, Reason, Role, Source};
use crate::core::ids::{ClassId, PurposeId, ReasonCode, RoleId, RuleId, SourceId, ZoneId};
use crate::core::time::Period;

/// Every item of every section, by id.
pub(super) struct Sections<'d> {
    pub(super) reasons: BTreeMap<ReasonCode, Item<'d>>,
    pub(super) purposes: BTreeMap<PurposeId, Item<'d>>,
    pub(super) classes: BTreeMap<ClassId, Item<'d>>,
    pub(super) sources: BTreeMap<SourceId, Item<'d>>,
    pub(super) roles: BTreeMap<RoleId, Item<'d>>,
    pub(super) grants: BTreeMap<RuleId, Item<'d>>,
    pub(super) denies: BTreeMap<RuleId, Item<'d>>,
    pub(super) incompatible: BTreeMap<RuleId, Item<'d>>,
}

impl Sections<'_> {
    /// The zones of the sources: those that rules may name.
    fn zones(&self) -> BTreeSet<ZoneId> {
        let zone = |item: &Item<'_>| item.table.get("zone")?.get_ref().as_str()?.parse().ok();
        self.sources.values().filter_map(zone).collect()
    }
}

/// Reads every item of every section into a policy that has as yet neither digest nor controller.
pub(super) fn read_items(sections: &Sections<'_>, errors: &mut Vec<PolicyError>) -> Policy {
    let zones = sections.zones();
    let names = Names {
        reasons: &sections.reasons,
        purposes: &sections.purposes,
        sources: &sections.sources,
        roles: &sections.roles,
        zones: &zones,
    };
    Policy {
        reasons: items(&sections.reasons, errors, reason),
        purposes: items(&sections.purposes, errors, |fields| purpose(fields, sections)),
        classes: items(&sections.classes, errors, class),
        sources: items(&sections.sources, errors, |fields| source(fields, sections)),
        roles: items(&sections.roles, errors, role),
        grants: items(&sections.grants, errors, |fields| grant(fields, &names)),
        denies: items(&sections.denies, errors, |fields| deny(fields, &names)),
        incompatible: items(&sections.incompatible, errors, |fields| incompatible(fields, sections)),
        ..Policy::empty()
    }
}

/// Reads every item of a section. An item with a mistake is left out; its mistake is kept.
fn items<K: Clone + Ord, V>(
    section: &BTreeMap<K, Item<'_>>,
    errors: &mut Vec<PolicyError>,
    read: impl Fn(&mut Fields<'_, '_>) -> Option<V>,
) -> BTreeMap<K, Placed<V>> {
    let mut all = BTreeMap::new();
    for (id, item) in section {
        let mut fields = Fields::of(item.clone(), errors);
        let value = read(&mut fields);
        fields.finish();
        if let Some(value) = value {
            all.insert(id.clone(), Placed { place: item.place.clone(), value });
        }
    }
    all
}

fn reason(fields: &mut Fields<'_, '_>) -> Option<Reason> {
    let text = fields.require("text").text("text");
    let case = fields.flag("case");
    Some(Reason { text: text?, case })
}

fn purpose(fields: &mut Fields<'_, '_>, sections: &Sections<'_>) -> Option<Purpose> {
    let kinds = fields.require("kinds").set("kinds");
    let reasons = fields.require("reasons").references("reasons", ("reason", "reasons"), &sections.reasons);
    Some(Purpose { kinds: kinds?, reasons: reasons? })
}

fn class(fields: &mut Fields<'_, '_>) -> Option<Class> {
    let min = fields.period("min");
    let max = fields.require("max").period("max");
    let within = fields.period("recorded_within");
    let from = period_start(fields, within);
    Some(Class { min, max: max?, from: from? })
}

fn period_start(fields: &mut Fields<'_, '_>, within: Option<Period>) -> Option<PeriodStart> {
    let from = fields.text("from");
    let (key, reason) = match (from.as_deref(), within) {
        (None | Some("sealed"), None) => return Some(PeriodStart::Sealed),
        (Some("recorded"), Some(within)) => return Some(PeriodStart::Recorded { within }),
        (None | Some("sealed"), Some(_)) => {
            ("recorded_within", "recorded_within goes only with from = \"recorded\"".to_owned())
        }
        (Some("recorded"), None) => (
            "from",
            "missing recorded_within (how long before sealing a recording may have started)".to_owned(),
        ),
        (Some(other), _) => ("from", format!("from {}: must be \"sealed\" or \"recorded\"", quoted(other))),
    };
    fields.refuse(key, reason);
    None
}

fn source(fields: &mut Fields<'_, '_>, sections: &Sections<'_>) -> Option<Source> {
    let kind = fields.require("kind").parsed("kind");
    let zone = fields.parsed("zone");
    let purposes =
        fields.require("purposes").references("purposes", ("purpose", "purposes"), &sections.purposes);
    let class = fields.require("class").reference("class", ("class", "classes"), &sections.classes);
    let writer = fields.parsed("writer");
    let anonymised = fields.flag("anonymised");
    let secrecy = fields.parsed("secrecy");
    let notice = fields.text("notice");
    let authorisation = fields.nested("authorisation", authorisation);
    Some(Source {
        kind: kind?,
        zone,
        purposes: purposes?,
        class: class?,
        writer,
        anonymised,
        secrecy,
        notice,
        authorisation,
    })
}

fn authorisation(fields: &mut Fields<'_, '_>) -> Option<Authorisation> {
    let reference = fields.require("reference").text("reference");
    let until = fields.require("until").date("until");
    Some(Authorisation { reference: reference?, until: until? })
}

fn role(fields: &mut Fields<'_, '_>) -> Option<Role> {
    let verbs = fields.require("verbs").set("verbs");
    let (trained, second_person, reauth) =
        (fields.flag("trained"), fields.flag("second_person"), fields.flag("reauth"));
    Some(Role { verbs: verbs?, trained, second_person, reauth })
}

/// Roles that exclude each other.
fn incompatible(fields: &mut Fields<'_, '_>, sections: &Sections<'_>) -> Option<BTreeSet<RoleId>> {
    let roles = fields.require("roles").references("roles", ("role", "roles"), &sections.roles)?;
    if roles.len() < 2 {
        fields.refuse("roles", "roles must name at least two that exclude each other");
        return None;
    }
    Some(roles)
}
