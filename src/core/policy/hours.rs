//! Days and hours of rules, on the local clock as it reads.
//!
//! An hour that a change of clocks leaves out is never reached; one that happens twice counts twice. Must never compute
//! with lengths of days: the wall clock alone says whether a rule holds.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::core::time::Timestamp;

/// A day of the week, Monday first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u8);

/// Text that is no day of the week.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a day must be one of mon, tue, wed, thu, fri, sat, sun")]
pub struct DayError;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl FromStr for Day {
    type Err = DayError;
    fn from_str(text: &str) -> Result<Self, DayError> {
        let index = DAYS.iter().position(|day| *day == text).ok_or(DayError)?;
        u8::try_from(index).map(Self).map_err(|_| DayError)
    }
}
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DAYS.get(usize::from(self.0)).copied().unwrap_or_default())
    }
}
impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        Self(u8::try_from(day.to_monday_zero_offset()).unwrap_or(0))
    }
}

/// A part of the day, `08:00-19:00`: from the first minute, to the last one excluded; over midnight when it ends before it
/// begins. In minutes since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours {
    from: u16,
    to: u16,
}

/// Text that is no part of a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hours must be like 08:00-19:00, or 22:00-06:00 over midnight, with two different times up to 24:00")]
pub struct HoursError;

const MINUTES_A_DAY: u16 = 24 * 60;

impl FromStr for Hours {
    type Err = HoursError;
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let (from, to) = text.split_once('-').ok_or(HoursError)?;
        let (from, to) = (minutes(from).ok_or(HoursError)?, minutes(to).ok_or(HoursError)?);
        let whole = from % MINUTES_A_DAY == to % MINUTES_A_DAY && (from, to) != (0, MINUTES_A_DAY);
        if whole || from == MINUTES_A_DAY { Err(HoursError) } else { Ok(Self { from, to }) }
    }
}
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// `HH:MM`, two digits each, up to `24:00`.
fn minutes(text: &str) -> Option<u16> {
    let [h1, h0, b':', m1, m0] = text.as_bytes() else { return None };
    let number = |tens: &u8, ones: &u8| {
        (tens.is_ascii_digit() && ones.is_ascii_digit())
            .then(|| u16::from(tens & 0x0F) * 10 + u16::from(ones & 0x0F))
    };
    let (hour, minute) = (number(h1, h0)?, number(m1, m0)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}

impl Hours {
    const fn crosses_midnight(self) -> bool {
        self.to <= self.from
    }
}

/// How far ahead a change is looked for: a week repeats itself.
const DAYS_AHEAD: usize = 8;

/// On which days and in which hours a rule holds. What is absent does not limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) days: Option<&'a BTreeSet<Day>>,
    pub(super) hours: Option<&'a BTreeSet<Hours>>,
}

impl Window<'_> {
    /// Whether it limits at all.
    pub(super) const fn is_limited(&self) -> bool {
        self.days.is_some() || self.hours.is_some()
    }

    /// Whether the rule holds when the local clock reads `local`. Hours over midnight belong to the day they begin on.
    pub(super) fn is_open(&self, local: DateTime) -> bool {
        let on = |date: Option<Date>| {
            self.days.is_none_or(|days| date.is_some_and(|date| days.contains(&Day::from(date.weekday()))))
        };
        let (today, yesterday) = (on(Some(local.date())), on(local.date().yesterday().ok()));
        let Some(hours) = self.hours else { return today };
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        hours.iter().any(|hours| {
            let (from, to) = (i32::from(hours.from), i32::from(hours.to));
            if hours.crosses_midnight() {
                (today && minute >= from) || (yesterday && minute < to)
            } else {
                today && (from..to).contains(&minute)
            }
        })
    }

    /// The first instant after `now` at which it opens or closes; `None`: not within a week.
    pub(super) fn next_change(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if !self.is_limited() {
            return None;
        }
        let local = now.local(zone);
        let open = self.is_open(local);
        // A change of clocks alone can open or close it: it is looked at like the times of the rule.
        let jump = next_jump(now, zone);
        let mut date = local.date();
        for _ in 0..DAYS_AHEAD {
            let times = self.times().into_iter();
            let mut instants: Vec<Timestamp> =
                times.flat_map(|time| instants_of(date.to_datetime(time), zone)).flatten().collect();
            instants.extend(jump);
            instants.sort_unstable();
            let changes = |at: &Timestamp| *at > now && self.is_open(at.local(zone)) != open;
            let next = date.tomorrow().ok()?;
            let end = instants_of(next.to_datetime(Time::midnight()), zone).into_iter().flatten().max();
            // What lies beyond the day is found on its own day, unless that has an earlier one.
            if let Some(found) = instants.into_iter().find(changes)
                && end.is_none_or(|end| found <= end)
            {
                return Some(found);
            }
            date = next;
        }
        None
    }

    /// The times of day at which it may open or close.
    fn times(&self) -> Vec<Time> {
        let edges = self.hours.into_iter().flatten().flat_map(|hours| [hours.from, hours.to]);
        let time = |minutes: u16| {
            let (hour, minute) = (i8::try_from(minutes / 60), i8::try_from(minutes % 60));
            Time::new(hour.ok()?, minute.ok()?, 0, 0).ok()
        };
        edges.filter_map(time).chain([Time::midnight()]).collect()
    }
}

/// When the local clock reads `local`: once, twice, or, left out by a change of clocks, at the change.
pub(super) fn instants_of(local: DateTime, zone: &TimeZone) -> [Option<Timestamp>; 2] {
    let at = |instant: jiff::Timestamp| Timestamp::from_micros(instant.as_microsecond()).ok();
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => [ambiguous.compatible().ok().and_then(at), None],
        AmbiguousOffset::Fold { .. } => {
            [ambiguous.earlier().ok().and_then(at), ambiguous.later().ok().and_then(at)]
        }
        AmbiguousOffset::Gap { .. } => {
            let before = ambiguous.earlier().ok();
            let jump = before.and_then(|before| zone.following(before).next());
            [jump.map(|jump| jump.timestamp()).and_then(at), None]
        }
    }
}

/// The next change of clocks.
fn next_jump(now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
    let jump = zone.following(now).next()?;
    Timestamp::from_micros(jump.timestamp().as_microsecond()).ok()
}
