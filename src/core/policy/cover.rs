//! One rule against one question: whether a grant covers it, whether a deny touches it, and why not, in words.
//!
//! The one principle of matching: what a question leaves open counts against the caller. A grant limited to some sources
//! does not cover a question about no source in particular; a deny limited to some does. Searching asks about many
//! recordings at once: there, what differs from recording to recording is left to [`super::rows`].

use super::ask::{Ask, Question};
use super::error::listed;
use super::hours::Window;
use super::rules::{Deny, Grant, Limits, Whose};
use crate::core::ids::Kind;
use crate::core::time::{Period, Timestamp};

/// Whether a question lies within one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// The question does not say.
    Open,
}

impl From<bool> for Fit {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Each limit of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimension {
    Sources,
    Zones,
    Kinds,
    Reasons,
    Purposes,
    Window,
    Age,
}

impl Dimension {
    pub(super) const ALL: [Self; 7] =
        [Self::Sources, Self::Zones, Self::Kinds, Self::Reasons, Self::Purposes, Self::Window, Self::Age];

    pub(super) fn fit(self, limits: &Limits, ask: Ask<'_>, question: Question<'_>) -> Fit {
        fn named<T: Ord>(limit: Option<&std::collections::BTreeSet<T>>, asked: Option<&T>) -> Fit {
            match (limit, asked) {
                (None, _) => Fit::Yes,
                (Some(_), None) => Fit::Open,
                (Some(limit), Some(asked)) => limit.contains(asked).into(),
            }
        }
        match self {
            Self::Sources => named(limits.sources.as_ref(), question.source),
            Self::Zones => match (&limits.zones, ask.registered(question)) {
                (None, _) => Fit::Yes,
                (Some(_), None) => Fit::Open,
                (Some(zones), Some(source)) => {
                    source.zone.as_ref().is_some_and(|zone| zones.contains(zone)).into()
                }
            },
            Self::Kinds => named(limits.kinds.as_ref(), ask.kind(question).as_ref()),
            Self::Reasons => named(limits.reasons.as_ref(), question.reason),
            Self::Purposes => named(limits.purposes.as_ref(), question.purpose),
            Self::Window => window(limits).is_open(ask.local).into(),
            Self::Age if limits.age_min.is_none() && limits.age_max.is_none() => Fit::Yes,
            Self::Age => match question.recording {
                None => Fit::Open,
                Some(recording) => in_band(limits, recording.start, ask.now).into(),
            },
        }
    }

    /// What a grant says about it, for "grant x …".
    fn words(self, limits: &Limits) -> String {
        fn only<T: std::fmt::Display>(what: &str, limit: Option<&std::collections::BTreeSet<T>>) -> String {
            format!("covers only {what}{}", listed(limit.into_iter().flatten()))
        }
        match self {
            Self::Sources => only("the sources ", limits.sources.as_ref()),
            Self::Zones => only("the zones ", limits.zones.as_ref()),
            Self::Kinds => only("recordings of kind ", limits.kinds.as_ref()),
            Self::Reasons => only("the reasons ", limits.reasons.as_ref()),
            Self::Purposes => only("the purposes ", limits.purposes.as_ref()),
            Self::Window => {
                let days = limits.days.as_ref().map(listed);
                let hours = limits.hours.as_ref().map(listed);
                let both: Vec<String> = days.into_iter().chain(hours).collect();
                format!("holds only on {}", both.join(", "))
            }
            Self::Age => {
                let older = limits.age_min.as_ref().map(|age| format!("at least {age} old"));
                let younger = limits.age_max.as_ref().map(|age| format!("less than {age} old"));
                let both: Vec<String> = older.into_iter().chain(younger).collect();
                format!("covers only recordings {}", both.join(" and "))
            }
        }
    }
}

/// Days and hours of a scope.
pub(super) const fn window(limits: &Limits) -> Window<'_> {
    Window { days: limits.days.as_ref(), hours: limits.hours.as_ref() }
}

/// Whether a recording that began at `start` has the age that `limits` say.
pub(super) fn in_band(limits: &Limits, start: Timestamp, now: Timestamp) -> bool {
    let passed = |age: &Period| start.checked_add(age).is_ok_and(|at| at <= now);
    limits.age_min.as_ref().is_none_or(passed) && !limits.age_max.as_ref().is_some_and(passed)
}

impl<'a> Ask<'a> {
    /// The source of the question, when it is registered.
    fn registered(self, question: Question<'_>) -> Option<&'a super::Source> {
        question.source.and_then(|source| self.policy.source(source))
    }

    /// The kind of recording: of the one asked about, or of what the source records.
    fn kind(self, question: Question<'_>) -> Option<Kind> {
        let of_source = || self.registered(question).map(|source| source.kind);
        question.recording.map(|recording| recording.kind).or_else(of_source)
    }

    /// Whose the recording is.
    fn whose(self, whose: Whose, question: Question<'_>) -> Fit {
        let anonymised = self.registered(question).map(|source| source.anonymised);
        let own = question.recording.and_then(|recording| recording.own);
        let each = [whose.own.then_some(own), whose.anonymised.then_some(anonymised)];
        let asked = || each.into_iter().flatten();
        if asked().any(|known| known == Some(true)) {
            Fit::Yes
        } else if asked().all(|known| known == Some(false)) {
            Fit::No
        } else {
            Fit::Open
        }
    }

    /// Whether the scope of a grant covers the question: everything but its days and hours.
    pub(super) fn covers(self, grant: &Grant, question: Question<'_>) -> bool {
        (!grant.emergency || self.emergency)
            && Dimension::ALL.iter().all(|dimension| {
                *dimension == Dimension::Window || self.dimension_covers(*dimension, grant, question)
            })
            && self.persons_cover(grant, question)
    }

    fn dimension_covers(self, dimension: Dimension, grant: &Grant, question: Question<'_>) -> bool {
        match dimension.fit(&grant.limits, self, question) {
            Fit::Yes => true,
            Fit::No => false,
            Fit::Open => question.rows && dimension == Dimension::Age,
        }
    }

    fn persons_cover(self, grant: &Grant, question: Question<'_>) -> bool {
        !grant.only.is_set()
            || match self.whose(grant.only, question) {
                Fit::Yes => true,
                Fit::No => false,
                Fit::Open => question.rows && grant.only.own,
            }
    }

    /// Whether a deny forbids what the question asks, as far as the question says. One that hides only some of many
    /// recordings does not.
    pub(super) fn touches(self, deny: &Deny, question: Question<'_>) -> bool {
        self.touch(deny, question) == Some(Touch::All)
    }

    /// How much of the question a deny forbids; `None`: nothing.
    pub(super) fn touch(self, deny: &Deny, question: Question<'_>) -> Option<Touch> {
        let mut touch = Touch::All;
        for dimension in Dimension::ALL {
            match dimension.fit(&deny.limits, self, question) {
                Fit::No => return None,
                Fit::Open if question.rows && dimension == Dimension::Age => touch = Touch::Some,
                Fit::Open | Fit::Yes => {}
            }
        }
        if deny.unless.is_set() {
            match self.whose(deny.unless, question) {
                Fit::Yes => return None,
                Fit::Open if question.rows && deny.unless.own => touch = Touch::Some,
                Fit::Open | Fit::No => {}
            }
        }
        Some(touch)
    }

    /// Why a grant does not cover the question, in words: every limit that keeps it out.
    pub(super) fn shortcomings(self, held: &super::ask::Held<'a>, question: Question<'_>) -> Vec<String> {
        let grant = held.grant;
        let mut words = self.not_in_force(held);
        words.extend(
            Dimension::ALL
                .into_iter()
                .filter(|dimension| {
                    *dimension != Dimension::Window && !self.dimension_covers(*dimension, grant, question)
                })
                .map(|dimension| dimension.words(&grant.limits)),
        );
        if !self.persons_cover(grant, question) {
            words.push(
                match (grant.only.own, grant.only.anonymised) {
                    (true, true) => "covers only your own recordings and those of anonymised sources",
                    (true, false) => "covers only your own recordings",
                    (false, _) => "covers only recordings of anonymised sources",
                }
                .into(),
            );
        }
        if grant.emergency && !self.emergency {
            words.push("is for emergencies only".into());
        }
        words
    }

    /// Why a grant does not hold now, in words.
    fn not_in_force(self, held: &super::ask::Held<'a>) -> Vec<String> {
        let (grant, today) = (held.grant, self.local.date());
        let begins = grant.from.filter(|from| today < *from).map(|from| format!("begins on {from}"));
        let ended = grant.until.filter(|until| today > *until).map(|until| format!("ended on {until}"));
        let suspended = self.facts.suspended.get(held.id).map(|why| format!("is suspended ({why})"));
        let closed = !window(&grant.limits).is_open(self.local);
        let closed = closed.then(|| Dimension::Window.words(&grant.limits));
        begins.into_iter().chain(ended).chain(suspended).chain(closed).collect()
    }

    /// Whether a grant holds now: its days, its hours, and that nobody suspended it.
    pub(super) fn in_force(self, held: &super::ask::Held<'a>) -> bool {
        let (grant, today) = (held.grant, self.local.date());
        grant.from.is_none_or(|from| from <= today)
            && grant.until.is_none_or(|until| today <= until)
            && !self.facts.suspended.contains_key(held.id)
            && window(&grant.limits).is_open(self.local)
    }
}

/// How much of a question a deny forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// All of it.
    All,
    /// Some of the recordings that it asks about.
    Some,
}
