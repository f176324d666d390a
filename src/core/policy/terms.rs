//! What a policy says once for the whole house: its controller, charter, reviews, profiles, and where its grants stand.
//!
//! Each key stands at the top of one of the files, once.

use super::digest::MAIN;
use super::error::{PolicyError, quoted};
use super::parse::Document;
use super::read::{Fields, Item};
use super::rules::{Charter, GrantsIn, Place, Terms};
use crate::core::time::Period;

/// A grant is confirmed each year (R66).
const REVIEW_EVERY_SECONDS: u32 = 365 * 86_400;
/// And holds so long after that.
const REVIEW_GRACE_SECONDS: u32 = 30 * 86_400;

impl Terms {
    /// Of a policy that says nothing.
    pub(super) fn none() -> Self {
        let period = |text: &str, seconds| text.parse().unwrap_or_else(|_| Period::seconds(seconds));
        Self {
            controller: String::new(),
            charter: None,
            grants_in: GrantsIn::Policy,
            review_every: period("P1Y", REVIEW_EVERY_SECONDS),
            review_grace: period("P30D", REVIEW_GRACE_SECONDS),
            profiles: std::collections::BTreeSet::new(),
        }
    }
}

/// Reads them from the files together.
pub(super) fn terms(documents: &[Document<'_>], errors: &mut Vec<PolicyError>) -> Terms {
    let absent = Terms::none();
    let every = once(documents, "review_every", errors, |fields| fields.period("review_every"));
    let grace = once(documents, "review_grace", errors, |fields| fields.period("review_grace"));
    Terms {
        controller: controller(documents, errors),
        charter: once(documents, "charter", errors, |fields| fields.nested("charter", charter)),
        grants_in: once(documents, "grants_in", errors, grants_in).unwrap_or_default(),
        review_every: every.unwrap_or(absent.review_every),
        review_grace: grace.unwrap_or(absent.review_grace),
        profiles: once(documents, "profiles", errors, |fields| fields.set("profiles")).unwrap_or_default(),
    }
}

/// The value of a key at the top of one of the files; a second one is a mistake that names both places.
fn once<'d, V>(
    documents: &[Document<'d>],
    key: &'static str,
    errors: &mut Vec<PolicyError>,
    read: impl Fn(&mut Fields<'d, '_>) -> Option<V>,
) -> Option<V> {
    let places: Vec<(&Document<'d>, Place)> = documents
        .iter()
        .filter_map(|document| {
            Some((document, document.lines.place(&document.table.get_key_value(key)?.0.span())))
        })
        .collect();
    let (document, first) = places.first()?;
    for (_, place) in places.iter().skip(1) {
        errors.push(PolicyError::at(place, format!("{key} stands already at {first}; keep one")));
    }
    let item = Item {
        label: "the policy".into(),
        place: first.clone(),
        lines: document.lines,
        table: document.table,
    };
    // Not finished: the other keys at the top are checked with them all.
    read(&mut Fields::of(item, errors))
}

fn controller(documents: &[Document<'_>], errors: &mut Vec<PolicyError>) -> String {
    if !documents.iter().any(|document| document.table.contains_key("controller")) {
        let place = Place { file: MAIN.into(), line: 1 };
        errors.push(PolicyError::at(&place, "missing controller: write who answers for the recordings"));
    }
    once(documents, "controller", errors, |fields| fields.text("controller")).unwrap_or_default()
}

fn charter(fields: &mut Fields<'_, '_>) -> Option<Charter> {
    let version = fields.require("version").text("version");
    let text = fields.require("text").text("text");
    Some(Charter { version: version?, text: text? })
}

fn grants_in(fields: &mut Fields<'_, '_>) -> Option<GrantsIn> {
    match fields.text("grants_in")?.as_str() {
        "policy" => Some(GrantsIn::Policy),
        "register" => Some(GrantsIn::Register),
        other => {
            let reason = format!("grants_in {}: must be \"policy\" or \"register\"", quoted(other));
            fields.refuse("grants_in", reason);
            None
        }
    }
}
