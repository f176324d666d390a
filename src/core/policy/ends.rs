//! When a session ends at the latest: the first of everything that bounds it.
//!
//! Must never give an end that a rule does not allow: a rule that begins to forbid bounds a session as one that ceases to
//! allow does.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::ask::{Ask, Held, Question};
use super::cover::{Touch, in_band, window};
use super::hours::instants_of;
use super::rules::{Deny, Limits};
use crate::core::time::{Period, Timestamp};

/// What bounds a session beside its grant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds<'a> {
    /// As the caller asks.
    pub(super) until: Option<Timestamp>,
    /// The duration of the approval.
    pub(super) approved: Option<&'a Period>,
    /// The last day of the mandate.
    pub(super) mandated: Option<Date>,
    /// What is left of the minutes of the day, in microseconds.
    pub(super) left_micros: Option<i64>,
}

impl<'a> Ask<'a> {
    /// The first instant at which a session under a grant no longer holds.
    pub(super) fn session_end(
        self,
        held: &Held<'a>,
        question: Question<'a>,
        bounds: Bounds<'_>,
    ) -> Timestamp {
        let (grant, zone) = (held.grant, &self.house.time_zone);
        let periods = [Some(&self.house.session_max), grant.max_session.as_ref(), bounds.approved];
        // A period that leads out of the calendar gives no time at all rather than no limit.
        let lasting =
            periods.into_iter().flatten().map(|period| self.begins.checked_add(period).unwrap_or(self.now));
        let left = bounds.left_micros.map(|left| self.begins.saturating_add_micros(left));
        let last_days = [grant.until, bounds.mandated].into_iter().flatten();
        let last_days = last_days.filter_map(|date| end_of_day(date, self.now, zone));
        let closing = window(&grant.limits).next_change(self.now, zone);
        let too_old = question
            .recording
            .zip(grant.limits.age_max.as_ref())
            .map(|(recording, age)| recording.start.checked_add(age).unwrap_or(self.now));
        let ends = lasting.chain(left).chain(last_days).chain(closing).chain(too_old).chain(bounds.until);
        ends.min().unwrap_or(self.now)
    }

    /// The first instant before `end` at which a deny begins to forbid what is allowed now; else `end`.
    pub(super) fn until_denied(self, question: Question<'a>, end: Timestamp) -> Timestamp {
        let begins = |deny: &Deny| self.deny_begins(deny, question);
        self.candidates(question).filter_map(|(_, deny)| begins(deny)).fold(end, Timestamp::min)
    }

    /// When a deny begins to forbid it, whose days, hours or ages leave it alone now.
    fn deny_begins(self, deny: &Deny, question: Question<'a>) -> Option<Timestamp> {
        let limits = &deny.limits;
        if !window(limits).is_limited() && limits.age_min.is_none() {
            return None;
        }
        let timeless = Limits { days: None, hours: None, age_min: None, age_max: None, ..limits.clone() };
        let deny = Deny { limits: timeless, ..deny.clone() };
        if self.touch(&deny, question) != Some(Touch::All) {
            return None;
        }
        let start = question.recording.map(|recording| recording.start);
        let old_enough = match (start, &limits.age_min) {
            (Some(start), Some(age)) => start.checked_add(age).ok()?,
            _ => self.now,
        };
        let mut at = old_enough.max(self.now);
        let zone = &self.house.time_zone;
        if !window(limits).is_open(at.local(zone)) {
            at = window(limits).next_change(at, zone)?;
        }
        start.is_none_or(|start| in_band(limits, start, at)).then_some(at)
    }
}

/// The first instant after `now` that is no more on `date` or before; none after the last day of the calendar.
pub(super) fn end_of_day(date: Date, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let next = date.tomorrow().ok()?.to_datetime(Time::midnight());
    let instants = instants_of(next, zone);
    let last = instants.iter().flatten().max().copied();
    instants.into_iter().flatten().find(|at| *at > now).or(last)
}
