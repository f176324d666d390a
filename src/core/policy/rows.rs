//! What a search may show: of each source, which recordings.
//!
//! Owns what is left of grants and denies when everything is known but the recording itself. Plain data, so that it outlives
//! the turn in which it was decided. Must never show a recording that `decide` would hide.

use std::collections::BTreeSet;

use super::ask::{Ask, Question};
use super::cover::in_band;
use super::facts::RecordingFacts;
use super::rules::{Grant, Limits};
use crate::core::ids::{Kind, RuleId};
use crate::core::time::{Period, Timestamp};

/// The recordings of one source that a search may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    rule: RuleId,
    now: Timestamp,
    by_purpose: Vec<Shown>,
}

/// For one purpose: what some grant shows and no deny hides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    shows: Vec<Test>,
    hides: Vec<Test>,
}

/// What is asked of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    kinds: Option<BTreeSet<Kind>>,
    age_min: Option<Period>,
    age_max: Option<Period>,
    /// For a grant: only own ones. For a deny: own ones are spared.
    own: bool,
}

impl Rows {
    /// Of the source of `question`, for each purpose that it may serve; `None` when the caller may search it for none.
    pub(super) fn of(ask: Ask<'_>, question: Question<'_>) -> Option<Self> {
        let mut first: Option<&RuleId> = None;
        let mut by_purpose = Vec::new();
        for question in ask.for_each_purpose(question) {
            let mut grants = ask.grants(question).peekable();
            let Some(grant) = grants.peek().filter(|_| ask.deny(question).is_none()) else { continue };
            first = first.or(Some(grant.id));
            let shows = grants.map(|held| Test::of_grant(ask, held.grant, question)).collect();
            let hides = ask.hiding(question).map(|deny| Test::of(&deny.limits, deny.unless.own)).collect();
            by_purpose.push(Shown { shows, hides });
        }
        Some(Self { rule: first?.clone(), now: ask.now, by_purpose })
    }

    /// A grant that shows some of them: the first by id.
    pub const fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// Whether all of them are shown, so that none needs to be looked at.
    pub fn shows_all(&self) -> bool {
        let all = |shown: &Shown| shown.hides.is_empty() && shown.shows.iter().any(Test::asks_nothing);
        self.by_purpose.iter().any(all)
    }

    /// Whether it must be known whose a recording is.
    pub fn asks_whose(&self) -> bool {
        let each = |shown: &Shown| shown.shows.iter().chain(&shown.hides).any(|test| test.own);
        !self.shows_all() && self.by_purpose.iter().any(each)
    }

    /// Whether a recording is shown.
    pub fn shows(&self, recording: &RecordingFacts) -> bool {
        self.by_purpose.iter().any(|shown| {
            let own = recording.own == Some(true);
            let hidden = |test: &Test| test.matches(recording, self.now) && !(test.own && own);
            let seen = |test: &Test| test.matches(recording, self.now) && (!test.own || own);
            shown.shows.iter().any(seen) && !shown.hides.iter().any(hidden)
        })
    }
}

impl Test {
    fn of(limits: &Limits, own: bool) -> Self {
        let Limits { kinds, age_min, age_max, .. } = limits;
        Self { kinds: kinds.clone(), age_min: *age_min, age_max: *age_max, own }
    }

    fn of_grant(ask: Ask<'_>, grant: &Grant, question: Question<'_>) -> Self {
        let source = question.source.and_then(|source| ask.policy.source(source));
        let anonymised = grant.only.anonymised && source.is_some_and(|source| source.anonymised);
        Self::of(&grant.limits, grant.only.own && !anonymised)
    }

    const fn asks_nothing(&self) -> bool {
        // A source records one kind; that of older recordings may differ, so kinds are asked for each.
        self.kinds.is_none() && self.age_min.is_none() && self.age_max.is_none() && !self.own
    }

    fn matches(&self, recording: &RecordingFacts, now: Timestamp) -> bool {
        let limits = Limits { age_min: self.age_min, age_max: self.age_max, ..Limits::default() };
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&recording.kind))
            && in_band(&limits, recording.start, now)
    }
}
