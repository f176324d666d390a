//! A policy against the profiles that it names: each limit of each, source by source.
//!
//! The limits and their sources stand in the profile; here stands only what it means to keep one.

use super::super::check::always_fits;
use super::super::names::Verb;
use super::super::profile::{Ask, Profile, ProfileLimit};
use super::super::rules::{Grant, Place, Placed, Source};
use super::Lint;
use crate::core::ids::{ProfileId, RuleId, SourceId};

impl<'a> Lint<'a> {
    pub(super) fn measure(&mut self) {
        let facts = self.facts;
        let known = |name: &ProfileId| facts.profiles.iter().any(|profile| profile.name == *name);
        let top = self.top();
        for name in self.policy.terms.profiles.iter().filter(|name| !known(name)) {
            let why = "greffierctl policy check looks for it in the folder that --profiles names";
            self.warn(&top, "profile-unknown", format!("there is no profile {name}: {why}"));
        }
        for profile in &facts.profiles {
            for limit in &profile.limits {
                self.keeps(profile, limit);
            }
        }
    }

    fn keeps(&mut self, profile: &Profile, limit: &ProfileLimit) {
        let policy = self.policy;
        let here = |(_, placed): &(&SourceId, &Placed<Source>)| limit.kinds.contains(&placed.value.kind);
        let sources: Vec<(&SourceId, &Placed<Source>)> = policy.sources.iter().filter(here).collect();
        let mut found: Vec<(Place, &'static str, String)> = Vec::new();
        if matches!(limit.asks, Ask::Charter(true)) && !sources.is_empty() && policy.charter().is_none() {
            found.push((self.top(), "no-charter", "there is no charter".into()));
        }
        for (id, placed) in sources {
            let of_source = self.of_source(limit, id, &placed.value);
            found.extend(of_source.map(|(code, why)| (placed.place.clone(), code, why)));
            found.extend(self.of_viewers(limit, id));
        }
        found.sort_by(|a, b| (&a.0.file, a.0.line, &a.2).cmp(&(&b.0.file, b.0.line, &b.2)));
        found.dedup_by(|a, b| a.0 == b.0 && a.2 == b.2);
        for (place, code, why) in found {
            let ProfileLimit { source, text, .. } = limit;
            self.warn(&place, code, format!("{why}; profile {}: {text} ({source})", profile.name));
        }
    }

    fn of_source(
        &self,
        limit: &ProfileLimit,
        id: &SourceId,
        source: &Source,
    ) -> Option<(&'static str, String)> {
        match &limit.asks {
            Ask::Max(most) => {
                let class = self.policy.class(&source.class)?;
                let why =
                    format!("source {id} has class {} of {}, longer than {most}", source.class, class.max);
                (!always_fits(&class.max, most)).then_some(("class-too-long", why))
            }
            Ask::ForbiddenZones(zones) => {
                let zone = source.zone.as_ref().filter(|zone| zones.contains(*zone))?;
                Some(("zone-forbidden", format!("source {id} films {zone}")))
            }
            Ask::AuthorisedZones(zones) => match &source.zone {
                None => {
                    Some(("zone-unknown", format!("source {id} says no zone: write which place it films")))
                }
                Some(zone) if zones.contains(zone) && source.authorisation.is_none() => {
                    Some(("no-authorisation", format!("source {id} films {zone} without an authorisation")))
                }
                Some(_) => None,
            },
            Ask::Notice(true) if source.notice.is_none() => {
                Some(("no-notice", format!("source {id} says no notice: write how people are told")))
            }
            Ask::OnlyPurposes(purposes) => {
                let other = source.purposes.iter().find(|purpose| !purposes.contains(*purpose))?;
                Some(("other-purpose", format!("source {id} records for {other}")))
            }
            _ => None,
        }
    }

    /// Of each grant that lets somebody view recordings of the source.
    fn of_viewers(&self, limit: &ProfileLimit, source: &SourceId) -> Vec<(Place, &'static str, String)> {
        let anonymised = self.policy.source(source).is_some_and(|source| source.anonymised);
        let breaks = |id: &RuleId, grant: &Grant| -> Option<(&'static str, String)> {
            let user = &grant.user;
            match limit.asks {
                Ask::OwnOrAnonymised(true) if !grant.only.is_set() && !anonymised => {
                    Some(("not-own", format!("grant {id} lets {user} view {source} of anybody")))
                }
                Ask::DayLimit(true) if !grant.has_day_limit() => Some((
                    "no-day-limit",
                    format!("grant {id} lets {user} view {source} without a limit for the day"),
                )),
                _ => None,
            }
        };
        let views = self.policy.grants.iter().filter(|(_, placed)| {
            self.verbs(&placed.value).contains(&Verb::View) && self.reaches(&placed.value, source)
        });
        let found = views.filter_map(|(id, placed)| Some((placed, breaks(id, &placed.value)?)));
        found.map(|(placed, (code, why))| (placed.place.clone(), code, why)).collect()
    }
}
