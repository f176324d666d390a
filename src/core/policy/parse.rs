//! From texts to a `Policy`: the files together, their tables, and the items of each section by id.
//!
//! Ids are collected before any item is read, so that a mistake in one item does not make its id unknown to the others.
//! What stands in an item is `items`'; what a single item cannot show is `check`'s.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::digest::{MAIN, in_order};
use super::error::{PolicyError, PolicyErrors, listed, quoted};
use super::items::{Sections, read_items};
use super::read::{Item, Lines};
use super::rules::Place;
use super::terms::terms;
use super::{Policy, PolicyFile};

/// The greatest size of all texts together: 1 MiB.
const TOTAL_BYTES: usize = 1 << 20;
/// Every key that may stand at the top of a file.
const TOP: [&str; 15] = [
    "format",
    "controller",
    "charter",
    "grants_in",
    "review_every",
    "review_grace",
    "profiles",
    "reasons",
    "purposes",
    "classes",
    "sources",
    "roles",
    "grants",
    "denies",
    "incompatible",
];

/// One file, cut into tables.
pub(super) struct Document<'d> {
    pub(super) lines: &'d Lines,
    pub(super) table: &'d DeTable<'d>,
}

/// Reads the files into a policy whose digest is not yet set.
pub(super) fn parse(files: &[PolicyFile]) -> Result<Policy, PolicyErrors> {
    let mut errors = check_files(files);
    PolicyErrors::none_of(std::mem::take(&mut errors))?;

    let mut files: Vec<&PolicyFile> = files.iter().collect();
    files.sort_by_key(|file| in_order(&file.name));
    let lines: Vec<Lines> = files.iter().map(|file| Lines::new(&file.name, &file.text)).collect();
    let mut tables = Vec::new();
    for (file, lines) in files.iter().zip(&lines) {
        let (table, mistakes) = DeTable::parse_recoverable(&file.text);
        tables.push(table);
        // Only the first: after it the parser often reads out of step.
        let begin = |mistake: &toml::de::Error| mistake.span().unwrap_or_default().start;
        if let Some(mistake) = mistakes.iter().min_by_key(|mistake| begin(mistake)) {
            let place = lines.place(&mistake.span().unwrap_or_default());
            let words: Vec<&str> = mistake.message().split_whitespace().collect();
            errors.push(PolicyError::at(&place, format!("not TOML: {}", words.join(" "))));
        }
    }
    PolicyErrors::none_of(std::mem::take(&mut errors))?;

    let documents: Vec<Document<'_>> =
        lines.iter().zip(&tables).map(|(lines, table)| Document { lines, table: table.get_ref() }).collect();
    top(&documents, &mut errors);
    let terms = terms(&documents, &mut errors);
    let sections = Sections {
        reasons: collect(&documents, "reasons", "reason", &mut errors),
        purposes: collect(&documents, "purposes", "purpose", &mut errors),
        classes: collect(&documents, "classes", "class", &mut errors),
        sources: collect(&documents, "sources", "source", &mut errors),
        roles: collect(&documents, "roles", "role", &mut errors),
        grants: collect(&documents, "grants", "grant", &mut errors),
        denies: collect(&documents, "denies", "deny", &mut errors),
        incompatible: collect(&documents, "incompatible", "incompatible", &mut errors),
    };
    one_rule_per_id(&sections, &mut errors);
    // An id that could not be read would make every reference to it look wrong too.
    PolicyErrors::none_of(std::mem::take(&mut errors))?;
    let policy = Policy { terms, ..read_items(&sections, &mut errors) };
    PolicyErrors::none_of(errors)?;
    Ok(policy)
}

/// Names, sizes, and that `policy.toml` is there: what can be said without reading a text.
fn check_files(files: &[PolicyFile]) -> Vec<PolicyError> {
    let mut errors = Vec::new();
    let mut wrong = |file: &str, reason: String| {
        errors.push(PolicyError { file: file.to_owned(), line: 1, reason });
    };
    for (i, file) in files.iter().enumerate() {
        // sha256sum escapes other names, and a shell's glob skips a leading dot: the digest could not be repeated.
        let stem = file.name.strip_prefix("policy.d/").and_then(|name| name.strip_suffix(".toml"));
        let plain = |stem: &str| stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if file.name != MAIN
            && !stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && plain(stem))
        {
            let rule = "policy.toml, or policy.d/NAME.toml with letters, digits and \"._-\"";
            wrong(&file.name.escape_debug().to_string(), format!("the file must be called {rule}"));
        }
        if files.iter().take(i).any(|other| other.name == file.name) {
            wrong(&file.name, "the file was given twice".into());
        }
    }
    if !files.iter().any(|file| file.name == MAIN) {
        wrong(MAIN, "the file is missing; `greffierctl init` writes one to begin with".into());
    }
    let total_bytes = files.iter().fold(0_usize, |sum, file| sum.saturating_add(file.text.len()));
    if total_bytes > TOTAL_BYTES {
        wrong(MAIN, format!("the policy is {total_bytes} bytes long; at most {TOTAL_BYTES} are read"));
    }
    errors
}

/// `format`, and the keys at the top of each file.
fn top(documents: &[Document<'_>], errors: &mut Vec<PolicyError>) {
    for Document { lines, table } in documents {
        for key in table.keys().filter(|key| !TOP.contains(&key.get_ref().as_ref())) {
            let reason = format!("unknown key {}; known keys: {}", quoted(key.get_ref()), listed(TOP));
            errors.push(PolicyError::at(&lines.place(&key.span()), reason));
        }
        let (span, reason) = match table.get("format") {
            Some(value) if value.get_ref().as_integer().is_some_and(|number| number.as_str() == "1") => {
                continue;
            }
            None if lines.file() != MAIN => continue,
            Some(value) => (value.span(), "this version reads format = 1 only"),
            None => (0..0, "missing format: write format = 1"),
        };
        errors.push(PolicyError::at(&lines.place(&span), reason));
    }
}

/// The items of one section in all files; an id that stands twice is a mistake that names both places.
fn collect<'d, K: FromStr<Err: Display> + Ord>(
    documents: &[Document<'d>],
    section: &str,
    what: &str,
    errors: &mut Vec<PolicyError>,
) -> BTreeMap<K, Item<'d>> {
    let mut found: BTreeMap<K, Item<'d>> = BTreeMap::new();
    for Document { lines, table } in documents {
        let Some(section_value) = table.get(section) else { continue };
        let Some(section_table) = section_value.get_ref().as_table() else {
            let reason = format!("{section} must be a table: write [{section}] on a line of its own");
            errors.push(PolicyError::at(&lines.place(&section_value.span()), reason));
            continue;
        };
        for (key, value) in section_table {
            let place = lines.place(&key.span());
            match item(lines, place.clone(), what, key, value) {
                Ok((id, item)) => match found.get(&id) {
                    Some(first) => {
                        let reason = format!("{} stands already at {}; keep one", item.label, first.place);
                        errors.push(PolicyError::at(&place, reason));
                    }
                    None => {
                        found.insert(id, item);
                    }
                },
                Err(reason) => errors.push(PolicyError::at(&place, reason)),
            }
        }
    }
    found
}

fn item<'d, K: FromStr<Err: Display>>(
    lines: &'d Lines,
    place: Place,
    what: &str,
    key: &Spanned<std::borrow::Cow<'d, str>>,
    value: &'d Spanned<DeValue<'d>>,
) -> Result<(K, Item<'d>), String> {
    let id = key.get_ref();
    let parsed = id.parse().map_err(|error| format!("{what} {}: {error}", quoted(id)))?;
    let table =
        value.get_ref().as_table().ok_or_else(|| format!("{what} {id} must be a table: {id} = {{ … }}"))?;
    Ok((parsed, Item { label: format!("{what} {id}"), place, lines, table }))
}

/// Grants and denies share one set of ids, because an entry names its rule by id alone.
fn one_rule_per_id(sections: &Sections<'_>, errors: &mut Vec<PolicyError>) {
    for (id, deny) in &sections.denies {
        if let Some(grant) = sections.grants.get(id) {
            let reason =
                format!("{} has the id of the grant at {}; give it another", deny.label, grant.place);
            errors.push(PolicyError::at(&deny.place, reason));
        }
    }
}
