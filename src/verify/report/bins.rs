//! Accesses over time, gathered so that a drawing holds them: by day, week, month or year, never more than some hundreds.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::core::time::Timestamp;
use crate::verify::statistics::Statistics;

/// Most bars.
const MAX_BARS: i64 = 400;
/// Purposes with a tone of their own; the others share one.
const MAX_SERIES: usize = 5;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What one bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// One bar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) label: String,
    /// Sessions, by series.
    pub(super) opened: Vec<u64>,
    pub(super) refused: u64,
}

impl Bar {
    pub(super) fn all_opened(&self) -> u64 {
        self.opened.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// All bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bins {
    pub(super) unit: Unit,
    pub(super) series: Vec<String>,
    pub(super) bars: Vec<Bar>,
    /// Days that found no bar.
    pub(super) left_out: bool,
}

/// `None` when there is nothing to draw.
pub(super) fn bins(statistics: &Statistics) -> Option<Bins> {
    let days = statistics.days.iter().filter(|(_, day)| !day.opened.is_empty() || day.refused > 0);
    let days: Vec<_> = days.collect();
    let (first, last) = (*days.first()?.0, *days.last()?.0);
    let unit = match last.saturating_sub(first) {
        0..=91 => Unit::Day,
        92..=643 => Unit::Week,
        644..=3652 => Unit::Month,
        _ => Unit::Year,
    };
    let (series, place) = series(statistics);
    let key = |day: i64| key(unit, day);
    let mut gathered: BTreeMap<i64, Bar> = BTreeMap::new();
    let (from, to) = (key(first), key(last));
    let every = if to.saturating_sub(from) < MAX_BARS { from..to + 1 } else { 0..0 };
    let empty = |key: i64| Bar { label: label(unit, key), opened: vec![0; series.len()], refused: 0 };
    for key in every {
        gathered.insert(key, empty(key));
    }
    let mut left_out = statistics.beyond_days > 0;
    for (day, of_day) in days {
        let key = key(*day);
        if !gathered.contains_key(&key) && gathered.len() as i64 >= MAX_BARS {
            left_out = true;
            continue;
        }
        let bar = gathered.entry(key).or_insert_with(|| empty(key));
        for (purpose, count) in &of_day.opened {
            if let Some(sum) = place.get(*purpose).and_then(|place| bar.opened.get_mut(*place)) {
                *sum = sum.saturating_add(*count);
            }
        }
        bar.refused = bar.refused.saturating_add(of_day.refused);
    }
    Some(Bins { unit, series, bars: gathered.into_values().collect(), left_out })
}

/// The names of the series, the most frequent first, and the series of each purpose.
fn series(statistics: &Statistics) -> (Vec<String>, Vec<usize>) {
    let mut totals: Vec<(usize, u64)> = (0..statistics.purposes.len()).map(|purpose| (purpose, 0)).collect();
    for (purpose, count) in statistics.days.values().flat_map(|day| &day.opened) {
        if let Some((_, total)) = totals.get_mut(*purpose) {
            *total = total.saturating_add(*count);
        }
    }
    totals.sort_by_key(|(purpose, total)| (std::cmp::Reverse(*total), *purpose));
    let mut names: Vec<String> = Vec::new();
    let mut place = vec![0; totals.len()];
    let few = totals.len() <= MAX_SERIES + 1;
    for (rank, (purpose, _)) in totals.iter().enumerate() {
        if few || rank < MAX_SERIES {
            let name = statistics.purposes.get(*purpose).and_then(Option::as_ref);
            names.push(name.map_or_else(|| "no purpose named".into(), |name| name.as_str().to_owned()));
        } else if rank == MAX_SERIES {
            names.push("other purposes".into());
        }
        if let Some(place) = place.get_mut(*purpose) {
            *place = names.len() - 1;
        }
    }
    (names, place)
}

fn key(unit: Unit, day: i64) -> i64 {
    match unit {
        Unit::Day => day,
        // 1970-01-01 was a Thursday: weeks begin on Monday.
        Unit::Week => (day + 3).div_euclid(7),
        Unit::Month => date(day).map_or(0, |date| i64::from(date.year()) * 12 + i64::from(date.month()) - 1),
        Unit::Year => date(day).map_or(0, |date| i64::from(date.year())),
    }
}

fn label(unit: Unit, key: i64) -> String {
    let day = match unit {
        Unit::Day => key,
        Unit::Week => key * 7 - 3,
        Unit::Month => return format!("{:04}-{:02}", key.div_euclid(12), key.rem_euclid(12) + 1),
        Unit::Year => return format!("{key:04}"),
    };
    date(day).map_or_else(String::new, |date| date.to_string())
}

fn date(day: i64) -> Option<jiff::civil::Date> {
    let time = Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY)).ok()?;
    Some(time.date_in(&TimeZone::UTC))
}
