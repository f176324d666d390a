//! What another policy changes, in words: who gains and who loses what, and what changes for everybody.
//!
//! Compares what policies say, not what they decide on one day: everything that can make a decision differ is told. Must never leave a
//! difference unsaid because it is small.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};

use super::Policy;
use super::error::listed;
use super::lint::reaches;
use super::names::{UserName, Verb};
use super::rules::{Class, Deny, Grant, Limits, PeriodStart, Role, Source};
use crate::core::ids::SourceId;

/// Which way a difference goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Somebody may do something that he might not.
    Gains,
    /// Somebody may no longer.
    Loses,
    /// Something is otherwise.
    Differs,
}

impl Change {
    /// One word, for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::Differs => "differs",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Whom it concerns; absent: everybody.
    pub user: Option<UserName>,
    /// Which way.
    pub change: Change,
    /// In words.
    pub sentence: String,
}

/// What `new` changes in `old`: persons first, then what concerns everybody.
pub fn diff(old: &Policy, new: &Policy) -> Vec<Difference> {
    let mut found = Vec::new();
    let users: BTreeSet<&UserName> = old.grants().chain(new.grants()).map(|(_, grant)| &grant.user).collect();
    for user in users {
        found.extend(of_user(old, new, user));
    }
    let mut house = |sentences: Vec<String>| {
        found.extend(sentences.into_iter().map(|sentence| Difference {
            user: None,
            change: Change::Differs,
            sentence,
        }));
    };
    house(items("deny", old.denies(), new.denies(), deny_words));
    house(items("source", old.sources(), new.sources(), source_words));
    house(items("class", old.classes(), new.classes(), class_words));
    let purpose = |it: &super::Purpose| {
        words([("for", Some(listed(&it.kinds))), ("served by the reasons", Some(listed(&it.reasons)))])
    };
    house(items("purpose", old.purposes(), new.purposes(), purpose));
    let reason = |it: &super::Reason| {
        let case = if it.case { "with a case reference" } else { "without a case reference" };
        BTreeSet::from([format!("{:?}", it.text), case.to_owned()])
    };
    house(items("reason", old.reasons(), new.reasons(), reason));
    let roles = |roles: &BTreeSet<_>| BTreeSet::from([listed(roles)]);
    house(items("incompatible", old.incompatible(), new.incompatible(), roles));
    house(of_terms(old, new));
    found
}

/// A verb on a source, or on the service.
type Act<'a> = (Verb, Option<&'a SourceId>);

/// The sources of such acts.
type On<'a> = BTreeSet<Option<&'a SourceId>>;

/// How one person may do something: the terms of each grant that lets him.
fn ways(policy: &Policy, user: &UserName, (verb, source): Act<'_>) -> BTreeSet<BTreeSet<String>> {
    let lets = |grant: &Grant, role: &Role| {
        role.verbs.contains(&verb)
            && match source {
                Some(source) => reaches(policy, grant, source),
                // What is limited to some sources allows nothing of the service.
                None => !grant.limits.is_about_sources(),
            }
    };
    let held = policy.grants().filter(|(_, grant)| grant.user == *user);
    let held = held.filter_map(|(_, grant)| Some((grant, policy.role(&grant.role)?)));
    held.filter(|(grant, role)| lets(grant, role)).map(|(grant, role)| grant_words(grant, role)).collect()
}

fn of_user(old: &Policy, new: &Policy, user: &UserName) -> Vec<Difference> {
    let sources: BTreeSet<&SourceId> = old.sources().chain(new.sources()).map(|(id, _)| id).collect();
    // By what is said of them: first the sources of one verb, then the verbs of the same sources.
    let mut by_verb: BTreeMap<(Change, String, Verb), On<'_>> = BTreeMap::new();
    for verb in Verb::ALL {
        let on_sources = sources.iter().copied().filter(|_| verb.takes_source()).map(Some);
        for source in on_sources.chain([None]) {
            let (before, after) = (ways(old, user, (verb, source)), ways(new, user, (verb, source)));
            if let Some((change, terms)) = changed(&before, &after) {
                by_verb.entry((change, terms, verb)).or_default().insert(source);
            }
        }
    }
    let mut by_sources: BTreeMap<(Change, String, On<'_>), BTreeSet<Verb>> = BTreeMap::new();
    for ((change, terms, verb), sources) in by_verb {
        by_sources.entry((change, terms, sources)).or_default().insert(verb);
    }
    let told = by_sources.into_iter().map(|((change, terms, sources), verbs)| {
        let on: Vec<String> = sources.iter().flatten().map(ToString::to_string).collect();
        let on = if on.is_empty() { String::new() } else { format!(" on {}", listed(on)) };
        let verbs = listed(verbs);
        let sentence = match change {
            Change::Gains => format!("{user} may now {verbs}{on}: {terms}"),
            Change::Loses => format!("{user} may no longer {verbs}{on}: {terms}"),
            Change::Differs => format!("{user} may {verbs}{on} on other terms: {terms}"),
        };
        Difference { user: Some(user.clone()), change, sentence }
    });
    told.collect()
}

/// What changed between the ways to do one thing.
fn changed(
    before: &BTreeSet<BTreeSet<String>>,
    after: &BTreeSet<BTreeSet<String>>,
) -> Option<(Change, String)> {
    let said = |ways: &BTreeSet<BTreeSet<String>>| {
        let each: Vec<String> = ways.iter().map(listed).collect();
        each.join("; or ")
    };
    match (before.is_empty(), after.is_empty()) {
        _ if before == after => None,
        (true, _) => Some((Change::Gains, said(after))),
        (_, true) => Some((Change::Loses, said(before))),
        _ => Some((Change::Differs, format!("{} before, {} now", said(before), said(after)))),
    }
}

/// The terms of a grant, one a word group.
fn grant_words(grant: &Grant, role: &Role) -> BTreeSet<String> {
    let Limits { reasons, purposes, kinds, zones, sources: _, days, hours, age_min, age_max } = &grant.limits;
    let mut terms = words([
        ("only for the reasons", reasons.as_ref().map(listed)),
        ("only for the purposes", purposes.as_ref().map(listed)),
        ("only recordings of kind", kinds.as_ref().map(listed)),
        ("only in the zones", zones.as_ref().map(listed)),
        ("only on", days.as_ref().map(listed)),
        ("only at", hours.as_ref().map(listed)),
        ("only older than", age_min.as_ref().map(ToString::to_string)),
        ("only younger than", age_max.as_ref().map(ToString::to_string)),
        ("at most in a session", grant.max_session.as_ref().map(ToString::to_string)),
        ("recordings a day at most", grant.max_recordings_a_day.map(|it| it.to_string())),
        ("bytes a day at most", grant.max_bytes_a_day.map(|it| it.to_string())),
        ("minutes a day at most", grant.max_minutes_a_day.map(|it| it.to_string())),
        ("from", grant.from.map(|it| it.to_string())),
        ("until", Some(grant.until.map_or_else(|| "further notice".into(), |it| it.to_string()))),
        ("trained on", grant.trained.map(|it| it.to_string())),
        ("confirmed on", grant.reviewed.map(|it| it.to_string())),
        ("given by", grant.granted_by.as_ref().map(ToString::to_string)),
    ]);
    let flags = [
        ("only own recordings", grant.only.own),
        ("only anonymised recordings", grant.only.anonymised),
        ("with a second person", grant.needs.second_person || role.second_person),
        ("authenticating again", grant.needs.reauth || role.reauth),
        ("under a mandate", grant.needs.mandate),
        ("in an emergency only", grant.emergency),
        ("for trained persons", role.trained),
        ("by a pipe too", grant.pipe),
        ("as a replacement", grant.temporary),
    ];
    terms.extend(flags.into_iter().filter(|(_, set)| *set).map(|(word, _)| word.to_owned()));
    terms
}

fn deny_words(deny: &Deny) -> BTreeSet<String> {
    let Limits { reasons, purposes, kinds, zones, sources, days, hours, age_min, age_max } = &deny.limits;
    let mut terms = words([
        ("forbids", Some(listed(&deny.verbs))),
        ("to", deny.users.as_ref().map(listed)),
        ("to the roles", deny.roles.as_ref().map(listed)),
        ("on", sources.as_ref().map(listed)),
        ("for the reasons", reasons.as_ref().map(listed)),
        ("for the purposes", purposes.as_ref().map(listed)),
        ("of kind", kinds.as_ref().map(listed)),
        ("in the zones", zones.as_ref().map(listed)),
        ("on the days", days.as_ref().map(listed)),
        ("at", hours.as_ref().map(listed)),
        ("older than", age_min.as_ref().map(ToString::to_string)),
        ("younger than", age_max.as_ref().map(ToString::to_string)),
    ]);
    let spared = [("but own recordings", deny.unless.own), ("but anonymised ones", deny.unless.anonymised)];
    terms.extend(spared.into_iter().filter(|(_, set)| *set).map(|(word, _)| word.to_owned()));
    terms
}

fn source_words(source: &Source) -> BTreeSet<String> {
    let mut terms = words([
        ("records", Some(source.kind.to_string())),
        ("for", Some(listed(&source.purposes))),
        ("class", Some(source.class.to_string())),
        ("zone", source.zone.as_ref().map(ToString::to_string)),
        ("filled by", source.writer.as_ref().map(ToString::to_string)),
        ("under secrecy", source.secrecy.map(|it| format!("{it:?}").to_lowercase())),
        ("notice", source.notice.as_ref().map(|it| format!("{it:?}"))),
        (
            "authorised by",
            source.authorisation.as_ref().map(|it| format!("{:?} until {}", it.reference, it.until)),
        ),
    ]);
    terms.extend(source.anonymised.then(|| "anonymised".to_owned()));
    terms
}

fn class_words(class: &Class) -> BTreeSet<String> {
    let from = match class.from {
        PeriodStart::Sealed => "sealing".to_owned(),
        PeriodStart::Recorded { within } => format!("recording, within {within} of sealing"),
    };
    words([
        ("at least", class.min.as_ref().map(ToString::to_string)),
        ("at most", Some(class.max.to_string())),
        ("from", Some(from)),
    ])
}

fn of_terms(old: &Policy, new: &Policy) -> Vec<String> {
    fn one<T: PartialEq + Debug>(what: &str, old: T, new: T, show: impl Fn(&T) -> String) -> Option<String> {
        (old != new).then(|| format!("{what}: {} before, {} now", show(&old), show(&new)))
    }
    let charter = |it: &Option<&super::Charter>| {
        it.map_or_else(|| "none".into(), |it| format!("version {:?} ({:?})", it.version, it.text))
    };
    let (every, grace) = (old.review_periods(), new.review_periods());
    [
        one("controller", old.controller(), new.controller(), |it| format!("{it:?}")),
        one("charter", old.charter(), new.charter(), charter),
        one("grants stand in", old.grants_in(), new.grants_in(), |it| format!("{it:?}").to_lowercase()),
        one("grants are confirmed", every, grace, |(every, grace)| {
            format!("every {every}, with {grace} more")
        }),
        one("profiles", listed(old.profiles()), listed(new.profiles()), Clone::clone),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What became of the items of a section.
fn items<'a, K: Ord + Display + 'a, V: 'a>(
    what: &str,
    old: impl Iterator<Item = (&'a K, &'a V)>,
    new: impl Iterator<Item = (&'a K, &'a V)>,
    say: impl Fn(&V) -> BTreeSet<String>,
) -> Vec<String> {
    let (old, new): (BTreeMap<&K, &V>, BTreeMap<&K, &V>) = (old.collect(), new.collect());
    let ids: BTreeSet<&K> = old.keys().chain(new.keys()).copied().collect();
    let one = |id: &K| match (old.get(id).map(|it| say(it)), new.get(id).map(|it| say(it))) {
        (None, Some(now)) => Some(format!("{what} {id} is new: {}", listed(now))),
        (Some(before), None) => Some(format!("{what} {id} is gone: {}", listed(before))),
        (Some(before), Some(now)) if before != now => {
            let (lost, won): (Vec<_>, Vec<_>) =
                (before.difference(&now).collect(), now.difference(&before).collect());
            Some(format!("{what} {id} is otherwise: {} before, {} now", listed(lost), listed(won)))
        }
        _ => None,
    };
    ids.into_iter().filter_map(one).collect()
}

fn words<const N: usize>(pairs: [(&str, Option<String>); N]) -> BTreeSet<String> {
    pairs.into_iter().filter_map(|(word, value)| Some(format!("{word} {}", value?))).collect()
}
