//! Grants and denies, from their fields to their values; and one grant alone, as the register gives it.
//!
//! One reader for both places: what the policy refuses, the register refuses in the same words.

use std::collections::BTreeSet;
use std::fmt::Display;

use jiff::Span;
use jiff::civil::Date;
use toml::de::DeTable;

use super::check::clash;
use super::error::{PolicyError, PolicyErrors};
use super::names::UserName;
use super::read::{Fields, Item, Known, Lines};
use super::rules::{Deny, Grant, Limits, Needs, Place, Whose};
use super::{Policy, RuleId};
use crate::core::ids::{PurposeId, ReasonCode, RoleId, SourceId, ZoneId};

/// A grant lasts at most so many years (R65).
const LONGEST_YEARS: i64 = 1;
/// A temporary one at most so many days (R67).
const TEMPORARY_DAYS: i64 = 30;
/// The greatest size of one grant of the register: more than every key with long lists needs.
const GRANT_BYTES: usize = 1 << 16;
/// Where mistakes in a grant of the register stand.
const GRANT_FILE: &str = "grant";

/// What rules may name.
pub(super) struct Names<'a> {
    pub(super) reasons: &'a dyn Known<ReasonCode>,
    pub(super) purposes: &'a dyn Known<PurposeId>,
    pub(super) sources: &'a dyn Known<SourceId>,
    pub(super) roles: &'a dyn Known<RoleId>,
    pub(super) zones: &'a dyn Known<ZoneId>,
}

pub(super) fn grant(fields: &mut Fields<'_, '_>, names: &Names<'_>) -> Option<Grant> {
    let user: Option<UserName> = fields.require("user").parsed("user");
    if user.as_ref().is_some_and(UserName::is_root) {
        fields.refuse("user", "root may hold no grant: name a person");
    }
    let role = fields.require("role").reference("role", ("role", "roles"), names.roles);
    let limits = limits(fields, names);
    let only = Whose { own: fields.flag("own"), anonymised: fields.flag("anonymised") };
    let max_session = fields.period("max_session");
    let max_recordings_a_day = fields.count("max_recordings_a_day");
    let max_bytes_a_day = fields.count("max_bytes_a_day");
    let max_minutes_a_day = fields.count("max_minutes_a_day");
    let needs = Needs {
        second_person: fields.flag("second_person"),
        reauth: fields.flag("reauth"),
        mandate: fields.flag("mandate"),
    };
    let (emergency, pipe) = (fields.flag("emergency"), fields.flag("pipe"));
    let (from, until, temporary) = days_of_a_grant(fields);
    let (trained, reviewed) = (fields.date("trained"), fields.date("reviewed"));
    let granted_by: Option<UserName> = fields.parsed("granted_by");
    if user.is_some() && granted_by == user {
        fields.refuse("granted_by", "granted_by must be somebody else: nobody grants to himself");
    }
    let (user, role) = (user?, role?);
    Some(Grant {
        user,
        role,
        limits,
        only,
        max_session,
        max_recordings_a_day,
        max_bytes_a_day,
        max_minutes_a_day,
        needs,
        emergency,
        temporary,
        pipe,
        from,
        until,
        trained,
        granted_by,
        reviewed,
    })
}

/// First and last day, and whether they are those of a replacement.
fn days_of_a_grant(fields: &mut Fields<'_, '_>) -> (Option<Date>, Option<Date>, bool) {
    let (from, until, temporary) = (fields.date("from"), fields.date("until"), fields.flag("temporary"));
    let Some((from, until)) = from.zip(until) else {
        if temporary {
            fields.refuse("temporary", "temporary needs from and until, at most 30 days apart,");
        }
        return (from, until, temporary);
    };
    let beyond = |span: Span| from.checked_add(span).is_ok_and(|last| until > last);
    if until < from {
        fields.refuse("until", format_args!("until {until} lies before from {from}"));
    } else if beyond(Span::new().years(LONGEST_YEARS)) {
        fields.refuse("until", format_args!("until {until} is more than a year after from {from}"));
    } else if temporary && beyond(Span::new().days(TEMPORARY_DAYS)) {
        let reason = format!("until {until} is more than 30 days after from {from}, too long for temporary");
        fields.refuse("until", reason);
    }
    (Some(from), Some(until), temporary)
}

pub(super) fn deny(fields: &mut Fields<'_, '_>, names: &Names<'_>) -> Option<Deny> {
    let user: Option<UserName> = fields.parsed("user");
    let several: Option<BTreeSet<UserName>> = fields.set("users");
    if user.is_some() && several.is_some() {
        fields.refuse("users", "write user or users, not both,");
    }
    let users = several.or_else(|| user.map(|user| BTreeSet::from([user])));
    let roles = fields.references("roles", ("role", "roles"), names.roles);
    let verbs = fields.require("verbs").set("verbs");
    let limits = limits(fields, names);
    let unless = Whose { own: fields.flag("unless_own"), anonymised: fields.flag("unless_anonymised") };
    Some(Deny { users, roles, verbs: verbs?, limits, unless })
}

fn limits(fields: &mut Fields<'_, '_>, names: &Names<'_>) -> Limits {
    let limits = Limits {
        sources: fields.references("sources", ("source", "sources"), names.sources),
        zones: fields.references("zones", ("zone", "zones"), names.zones),
        kinds: fields.set("kinds"),
        reasons: fields.references("reasons", ("reason", "reasons"), names.reasons),
        purposes: fields.references("purposes", ("purpose", "purposes"), names.purposes),
        days: fields.set("days"),
        hours: fields.one_or_more("hours"),
        age_min: fields.period("age_min"),
        age_max: fields.period("age_max"),
    };
    if let (Some(min), Some(max)) = (&limits.age_min, &limits.age_max)
        && min.about_seconds() >= max.about_seconds()
    {
        fields.refuse("age_min", format_args!("age_min {min} must be shorter than age_max {max}"));
    }
    limits
}

impl Policy {
    /// Reads one grant of the register: the inline table that would stand behind its id, or one key a line. The keys, and
    /// what is refused, are those of the policy.
    ///
    /// # Errors
    /// Every mistake, with its line in `toml`; also when the user holds grants of the policy that it does not go with.
    pub fn read_grant(&self, id: &RuleId, toml: &str) -> Result<Grant, PolicyErrors> {
        let mut errors = Vec::new();
        let first = Place { file: GRANT_FILE.into(), line: 1 };
        let wrong = |reason: &dyn Display| PolicyErrors::one(PolicyError::at(&first, reason.to_string()));
        if toml.len() > GRANT_BYTES {
            return Err(wrong(&format_args!("the grant is longer than {GRANT_BYTES} bytes")));
        }
        if self.grants.contains_key(id) || self.denies.contains_key(id) {
            return Err(wrong(&format_args!(
                "the policy has a rule {id} already; give the grant another id"
            )));
        }
        let inline = toml.trim_start().starts_with('{');
        // On the same line, so that lines stay those of the caller.
        let text = if inline { format!("grant = {}", toml.trim_start()) } else { toml.to_owned() };
        let (table, mistakes) = DeTable::parse_recoverable(&text);
        let lines = Lines::new(GRANT_FILE, &text);
        if let Some(mistake) = mistakes.first() {
            let words: Vec<&str> = mistake.message().split_whitespace().collect();
            let place = lines.place(&mistake.span().unwrap_or_default());
            return Err(PolicyErrors::one(PolicyError::at(&place, format!("not TOML: {}", words.join(" ")))));
        }
        let whole = table.get_ref();
        let inner = || whole.get("grant").and_then(|value| value.get_ref().as_table());
        let table = if inline { inner().filter(|_| whole.len() == 1) } else { Some(whole) };
        let Some(table) = table else {
            return Err(wrong(&"write the keys of one grant and nothing else"));
        };
        let zones: BTreeSet<ZoneId> = self.sources().filter_map(|(_, source)| source.zone.clone()).collect();
        let names = Names {
            reasons: &self.reasons,
            purposes: &self.purposes,
            sources: &self.sources,
            roles: &self.roles,
            zones: &zones,
        };
        let item = Item { label: format!("grant {id}"), place: first.clone(), lines: &lines, table };
        let mut fields = Fields::of(item, &mut errors);
        let grant = grant(&mut fields, &names);
        fields.finish();
        PolicyErrors::none_of(errors)?;
        let grant = grant.ok_or_else(|| wrong(&"the grant cannot be read"))?;
        match self.clash_beside(&grant, self.grants()) {
            Some(sentence) => Err(wrong(&sentence)),
            None => Ok(grant),
        }
    }

    /// Why a person may not hold `grant` beside `others`, in words: roles that exclude each other, or administering beside
    /// viewing (invariant 8). Those of other persons are passed over.
    pub fn clash_beside<'a>(
        &self,
        grant: &Grant,
        others: impl IntoIterator<Item = (&'a RuleId, &'a Grant)>,
    ) -> Option<String> {
        let of_the_same = others.into_iter().filter(|(_, other)| other.user == grant.user);
        of_the_same.into_iter().find_map(|(id, other)| {
            let why = clash(self, &grant.role, &other.role)?;
            let user = &grant.user;
            Some(format!("{user} holds grant {id} already, and {why}: name two persons"))
        })
    }
}
