//! The items of each section, from their fields to their values: which keys an item has, and what they may say.
//!
//! Knows one item at a time, and which ids exist.

use std::collections::BTreeMap;

use super::Policy;
use super::error::{PolicyError, quoted};
use super::names::UserName;
use super::read::{Fields, Item};
use super::rules::{Class, Deny, Grant, PeriodStart, Placed, Purpose, Reason, Role, Source};
use crate::core::ids::{ClassId, PurposeId, ReasonCode, RoleId, RuleId, SourceId};
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
}

/// Reads every item of every section into a policy that has as yet neither digest nor controller.
pub(super) fn read_items(sections: &Sections<'_>, errors: &mut Vec<PolicyError>) -> Policy {
    Policy {
        reasons: items(&sections.reasons, errors, reason),
        purposes: items(&sections.purposes, errors, |fields| purpose(fields, sections)),
        classes: items(&sections.classes, errors, class),
        sources: items(&sections.sources, errors, |fields| source(fields, sections)),
        roles: items(&sections.roles, errors, role),
        grants: items(&sections.grants, errors, |fields| grant(fields, sections)),
        denies: items(&sections.denies, errors, |fields| deny(fields, sections)),
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
    Some(Source { kind: kind?, zone, purposes: purposes?, class: class?, writer })
}

fn role(fields: &mut Fields<'_, '_>) -> Option<Role> {
    fields.require("verbs").set("verbs").map(|verbs| Role { verbs })
}

fn grant(fields: &mut Fields<'_, '_>, sections: &Sections<'_>) -> Option<Grant> {
    let user: Option<UserName> = fields.require("user").parsed("user");
    if user.as_ref().is_some_and(UserName::is_root) {
        fields.refuse("user", "root may hold no grant: name a person");
    }
    let role = fields.require("role").reference("role", ("role", "roles"), &sections.roles);
    let sources = fields.references("sources", ("source", "sources"), &sections.sources);
    let reasons = fields.references("reasons", ("reason", "reasons"), &sections.reasons);
    let max_session = fields.period("max_session");
    let max_recordings_a_day = fields.count("max_recordings_a_day");
    let max_bytes_a_day = fields.count("max_bytes_a_day");
    let pipe = fields.flag("pipe");
    let until = fields.date("until");
    let (user, role) = (user?, role?);
    Some(Grant {
        user,
        role,
        sources,
        reasons,
        max_session,
        max_recordings_a_day,
        max_bytes_a_day,
        pipe,
        until,
    })
}

fn deny(fields: &mut Fields<'_, '_>, sections: &Sections<'_>) -> Option<Deny> {
    let user = fields.parsed("user");
    let verbs = fields.require("verbs").set("verbs");
    let sources = fields.references("sources", ("source", "sources"), &sections.sources);
    let reasons = fields.references("reasons", ("reason", "reasons"), &sections.reasons);
    Some(Deny { user, verbs: verbs?, sources, reasons })
}
