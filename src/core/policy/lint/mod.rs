//! What a policy may say but should not: sentences for people, never a refusal.
//!
//! Owns the codes of the findings. Must never look at anything but the policy, the profiles and the facts given.

mod measure;
mod people;
mod reach;

pub(super) use reach::reaches;

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::Date;

use super::Policy;
use super::error::listed;
use super::names::{UserName, Verb};
use super::profile::Profile;
use super::rules::{Grant, Place};
use crate::core::ids::{PurposeId, ReasonCode, RuleId, SourceId};

/// A grant that ends within so many days is announced.
const ENDS_SOON_DAYS: i32 = 30;
/// A grant should be renewed at least yearly (R65).
const LONGEST_DAYS: i32 = 366;

/// What a finding is, for whoever sorts them: a word, and what it says, as greffier-policy(5) lists them.
pub const LINT_CODES: [(&str, &str); 34] = [
    ("alone", "something needs two persons, and there are not two"),
    ("approves-own", "one person may ask and approve"),
    ("auditor-administers", "one person administers and reads the ledger"),
    ("authorisation-over", "the authorisation of a source has expired, or will soon"),
    ("class-too-long", "a class keeps longer than a profile allows"),
    ("deny-idle", "a deny forbids nothing that anybody is granted"),
    ("grant-denied", "a deny takes away all that a grant gives"),
    ("grant-ended", "a grant has ended"),
    ("grant-ends-soon", "a grant ends within 30 days"),
    ("grant-long", "a grant runs for more than a year"),
    ("grant-no-end", "a grant has no end"),
    ("grant-nothing", "a grant covers no source"),
    ("limit-of-nothing", "a limit limits nothing"),
    ("no-account", "a user has no account on this machine"),
    ("no-auditor", "nobody may read the ledger"),
    ("no-authorisation", "a profile wants an authorisation, and the source has none"),
    ("no-charter", "a profile wants a charter, and there is none"),
    ("no-day-limit", "a profile wants the number or the minutes of a day limited"),
    ("no-grant", "nobody may do anything"),
    ("no-notice", "a profile wants a notice, and the source has none"),
    ("no-search", "who views or holds cannot search"),
    ("not-own", "a profile allows own and anonymised recordings only"),
    ("other-purpose", "a profile allows other purposes only"),
    ("profile-unknown", "there is no such profile"),
    ("reason-idle", "a reason opens nothing here"),
    ("review-overdue", "a grant was not confirmed for too long"),
    ("secret", "a professional secret is opened without a case reference"),
    ("source-names-person", "the id of a source reads like a person"),
    ("source-unseen", "nobody may view a source"),
    ("untrained", "a role wants trained persons, and no training is attested"),
    ("unused", "nothing uses it"),
    ("verb-excluded", "a limit keeps a verb from ever being allowed"),
    ("zone-forbidden", "a profile forbids to film there"),
    ("zone-unknown", "a profile asks where a camera films, and the source does not say"),
];

/// What the linter cannot know by itself.
#[derive(Debug, Clone)]
pub struct LintFacts {
    /// The users that the policy names ([`Policy::users`]) and the system's user database does not know.
    pub without_account: BTreeSet<UserName>,
    /// The local date.
    pub today: Date,
    /// The profiles that the policy names, as far as there are any.
    pub profiles: Vec<Profile>,
}

/// Something to look at. Written `policy.toml:31: warning: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file, relative to the policy's folder.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// Which finding it is: one of [`LINT_CODES`].
    pub code: &'static str,
    /// What is odd, and what to do.
    pub sentence: String,
}
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: warning: {} [{}]", self.file, self.line, self.sentence, self.code)
    }
}

/// Reads a policy with the eyes of a reviewer; warnings in the order of file and line.
pub fn lint(policy: &Policy, facts: &LintFacts) -> Vec<Warning> {
    let mut lint = Lint { policy, facts, warnings: Vec::new() };
    lint.grants();
    lint.accounts();
    lint.sources();
    lint.unused();
    lint.house();
    lint.reach();
    lint.people();
    lint.measure();
    lint.warnings.sort_by(|a, b| (&a.file, a.line, &a.sentence).cmp(&(&b.file, b.line, &b.sentence)));
    lint.warnings
}

struct Lint<'a> {
    policy: &'a Policy,
    facts: &'a LintFacts,
    warnings: Vec<Warning>,
}

impl<'a> Lint<'a> {
    fn warn(&mut self, place: &Place, code: &'static str, sentence: String) {
        self.warnings.push(Warning { file: place.file.to_string(), line: place.line, code, sentence });
    }

    /// The first line of the policy: where what concerns the house as a whole stands.
    fn top(&self) -> Place {
        Place { file: super::digest::MAIN.into(), line: 1 }
    }

    fn verbs(&self, grant: &Grant) -> BTreeSet<Verb> {
        self.policy.role(&grant.role).map(|role| role.verbs.clone()).unwrap_or_default()
    }

    fn is_over(&self, grant: &Grant) -> bool {
        grant.until.is_some_and(|until| until < self.facts.today)
    }

    fn grants(&mut self) {
        for (id, placed) in &self.policy.grants {
            let grant = &placed.value;
            let found = [
                self.duration(id, grant),
                self.limits_that_exclude(id, grant).map(|it| ("verb-excluded", it)),
                self.limits_of_nothing(id, grant).map(|it| ("limit-of-nothing", it)),
                self.reasons_without_purpose(id, grant).map(|it| ("reason-idle", it)),
                self.blind(id, grant).map(|it| ("no-search", it)),
            ];
            for (code, sentence) in found.into_iter().flatten() {
                self.warn(&placed.place, code, sentence);
            }
        }
    }

    fn duration(&self, id: &RuleId, grant: &Grant) -> Option<(&'static str, String)> {
        let Some(until) = grant.until else {
            let why = "write until = the last day, at most a year ahead";
            return Some(("grant-no-end", format!("grant {id} has no end: {why}")));
        };
        let left_days = self.facts.today.until(until).map_or(i32::MAX, |span| span.get_days());
        match left_days {
            ..0 => Some(("grant-ended", format!("grant {id} ended on {until}: renew it or take it out"))),
            0..=ENDS_SOON_DAYS => Some((
                "grant-ends-soon",
                format!("grant {id} ends on {until}: renew it if it is still needed"),
            )),
            LONGEST_DAYS.. => {
                Some(("grant-long", format!("grant {id} runs until {until}: review grants at least yearly")))
            }
            _ => None,
        }
    }

    /// A limit on something that a verb's request never says keeps the verb from being granted.
    fn limits_that_exclude(&self, id: &RuleId, grant: &Grant) -> Option<String> {
        let never: Vec<Verb> = self
            .verbs(grant)
            .into_iter()
            .filter(|verb| {
                (grant.limits.reasons.is_some() && !verb.takes_reason())
                    || (grant.limits.sources.is_some() && !verb.takes_source())
            })
            .collect();
        let dimension = if never.iter().any(|verb| verb.takes_source()) { "reasons" } else { "sources" };
        let verbs = listed(&never);
        (!never.is_empty()).then(|| {
            format!("grant {id} limits {dimension}, so it never allows {verbs}: give that by another grant")
        })
    }

    /// Duration, number and bytes are limits of opening.
    fn limits_of_nothing(&self, id: &RuleId, grant: &Grant) -> Option<String> {
        let limits = [
            ("max_session", grant.max_session.is_some()),
            ("max_recordings_a_day", grant.max_recordings_a_day.is_some()),
            ("max_bytes_a_day", grant.max_bytes_a_day.is_some()),
            ("max_minutes_a_day", grant.max_minutes_a_day.is_some()),
        ];
        let set: Vec<&str> = limits.into_iter().filter(|(_, set)| *set).map(|(key, _)| key).collect();
        let views = self.verbs(grant).contains(&Verb::View);
        (!views && !set.is_empty())
            .then(|| format!("grant {id} lets nobody view, so {} limits nothing: take it out", listed(&set)))
    }

    fn reasons_without_purpose(&self, id: &RuleId, grant: &Grant) -> Option<String> {
        let served = |reason: &&ReasonCode| match &grant.limits.sources {
            Some(sources) => sources.iter().any(|source| self.policy.serves(source, reason)),
            None => self.policy.sources().any(|(source, _)| self.policy.serves(source, reason)),
        };
        let idle: Vec<&ReasonCode> =
            grant.limits.reasons.iter().flatten().filter(|reason| !served(reason)).collect();
        (!idle.is_empty()).then(|| {
            format!("grant {id}: {} serve no purpose of its sources, so they open nothing", listed(idle))
        })
    }

    /// Who may not search a recording is not told of it, and so cannot view or hold it either.
    fn blind(&self, id: &RuleId, grant: &Grant) -> Option<String> {
        let on_recordings = [Verb::View, Verb::Hold, Verb::Lift];
        let verb = on_recordings.into_iter().find(|verb| self.verbs(grant).contains(verb))?;
        let mut others = self.policy.grants().filter(|(_, other)| other.user == grant.user);
        let searches = others.any(|(_, other)| self.verbs(other).contains(&Verb::Search));
        let user = &grant.user;
        (!searches).then(|| {
            format!("grant {id} lets {user} {verb}, but no grant lets {user} search: nothing is found")
        })
    }

    fn accounts(&mut self) {
        let mut named: Vec<(Place, String)> = Vec::new();
        let missing = |user: &UserName| self.facts.without_account.contains(user);
        for (id, grant) in &self.policy.grants {
            if missing(&grant.value.user) {
                named.push((grant.place.clone(), format!("{} of grant {id}", grant.value.user)));
            }
        }
        for (id, deny) in &self.policy.denies {
            for user in deny.value.users.iter().flatten().filter(|user| missing(user)) {
                named.push((deny.place.clone(), format!("{user} of deny {id}")));
            }
        }
        for (id, source) in &self.policy.sources {
            for user in source.value.writer.iter().filter(|user| missing(user)) {
                named.push((source.place.clone(), format!("{user}, the writer of source {id},")));
            }
        }
        for (place, who) in named {
            self.warn(
                &place,
                "no-account",
                format!("{who} has no account on this machine: correct the name or create it"),
            );
        }
    }

    fn sources(&mut self) {
        let people: BTreeSet<String> =
            self.policy.grants().map(|(_, grant)| grant.user.as_str().to_ascii_lowercase()).collect();
        for (id, placed) in &self.policy.sources {
            if let Some(name) = id.as_str().split('-').find(|word| people.contains(*word)) {
                let why = "source ids are public in the ledger and must not name a person";
                self.warn(
                    &placed.place,
                    "source-names-person",
                    format!("source {id} reads like the user {name}: {why}"),
                );
            }
            if !self.somebody_views(id) {
                self.warn(
                    &placed.place,
                    "source-unseen",
                    format!("nobody may view source {id} today: is it still needed?"),
                );
            }
        }
    }

    fn somebody_views(&self, source: &SourceId) -> bool {
        self.policy.grants().any(|(_, grant)| {
            let here = grant.limits.sources.as_ref().is_none_or(|sources| sources.contains(source));
            here && !self.is_over(grant) && self.verbs(grant).contains(&Verb::View)
        })
    }

    fn unused(&mut self) {
        let policy = self.policy;
        let mut idle: Vec<(Place, String)> = Vec::new();
        let in_purpose = |id: &ReasonCode| policy.purposes().any(|(_, purpose)| purpose.reasons.contains(id));
        let at_source = |id: &PurposeId| policy.sources().any(|(_, source)| source.purposes.contains(id));
        for (id, reason) in policy.reasons.iter().filter(|(id, _)| !in_purpose(id)) {
            idle.push((reason.place.clone(), format!("reason {id} serves no purpose, so it opens nothing")));
        }
        for (id, purpose) in policy.purposes.iter().filter(|(id, _)| !at_source(id)) {
            idle.push((purpose.place.clone(), format!("purpose {id} belongs to no source")));
        }
        for (id, class) in &policy.classes {
            if !policy.sources().any(|(_, source)| source.class == *id) {
                idle.push((class.place.clone(), format!("class {id} belongs to no source")));
            }
        }
        for (id, role) in &policy.roles {
            if !policy.grants().any(|(_, grant)| grant.role == *id) {
                idle.push((role.place.clone(), format!("role {id} is granted to nobody")));
            }
        }
        for (place, sentence) in idle {
            self.warn(&place, "unused", sentence);
        }
    }

    /// Who may do something, by grants that are not over.
    fn holders(&self, verb: Verb) -> BTreeSet<&'a UserName> {
        let grants = self.policy.grants().filter(|(_, grant)| !self.is_over(grant));
        grants.filter(|(_, grant)| self.verbs(grant).contains(&verb)).map(|(_, grant)| &grant.user).collect()
    }

    /// What concerns the house as a whole stands at the first line.
    fn house(&mut self) {
        let (auditors, administrators) = (self.holders(Verb::ReadLedger), self.holders(Verb::Administer));
        let both: Vec<&&UserName> = auditors.intersection(&administrators).collect();
        let place = self.top();
        if !both.is_empty() {
            let who = listed(both);
            self.warn(
                &place,
                "auditor-administers",
                format!("{who} administers and reads the ledger: an auditor should be another person"),
            );
        }
        if self.policy.grants_nothing() {
            self.warn(&place, "no-grant", "no grant: nobody may do anything".to_owned());
        } else if auditors.is_empty() {
            let sentence = "nobody may read the ledger: grant read-ledger to one person";
            self.warn(&place, "no-auditor", sentence.to_owned());
        }
    }
}
