//! From a class and two times to the bounds of a purge, in calendar terms (design §9).

use crate::core::policy::{Class, PeriodStart};
use crate::core::time::{Period, Timestamp};

/// Between these a recording goes: not before `earliest`, even on request; at `latest` by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The end of the class's `min`; the start of the period without one.
    pub earliest: Timestamp,
    /// The end of the class's `max`; never before `earliest`.
    pub latest: Timestamp,
}

/// The bounds of a recording sealed at `sealed`, whose recorder says that it began at `start`.
///
/// A recorder's clock is not trusted: `start` counts only if the class asks for it and it lies, before sealing, within
/// the bound that the class gives.
pub fn period_bounds(class: &Class, sealed: Timestamp, start: Timestamp) -> Bounds {
    let from = match &class.from {
        PeriodStart::Recorded { within } if start <= sealed && add(start, within) >= sealed => start,
        PeriodStart::Recorded { .. } | PeriodStart::Sealed => sealed,
    };
    let latest = add(from, &class.max);
    let earliest = class.min.as_ref().map_or(from, |min| add(from, min));
    // A policy whose min can exceed its max is refused when loaded; should they cross all the same, the duty to
    // destroy wins.
    Bounds { earliest: earliest.min(latest), latest }
}

/// A period that leads out of the calendar ends with it.
fn add(time: Timestamp, period: &Period) -> Timestamp {
    time.checked_add(period).unwrap_or_else(|_| time.saturating_add_micros(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn class(min: Option<&str>, max: &str, from: PeriodStart) -> Class {
        Class { min: min.map(|min| min.parse().unwrap()), max: max.parse().unwrap(), from }
    }

    #[test]
    fn a_month_from_31_january_ends_with_february() {
        let month = class(None, "P1M", PeriodStart::Sealed);
        for (sealed, latest) in [
            ("2026-01-31T08:00:00Z", "2026-02-28T08:00:00Z"),
            ("2028-01-31T08:00:00Z", "2028-02-29T08:00:00Z"),
            ("2028-02-29T08:00:00Z", "2028-03-29T08:00:00Z"),
            ("2026-03-31T08:00:00Z", "2026-04-30T08:00:00Z"),
            ("2026-12-31T23:59:59Z", "2027-01-31T23:59:59Z"),
        ] {
            let bounds = period_bounds(&month, at(sealed), at(sealed));
            assert_eq!(bounds, Bounds { earliest: at(sealed), latest: at(latest) }, "{sealed}");
        }
    }

    #[test]
    fn a_year_from_29_february_ends_on_28_february() {
        let year = class(None, "P1Y", PeriodStart::Sealed);
        let sealed = at("2028-02-29T00:00:00Z");
        assert_eq!(period_bounds(&year, sealed, sealed).latest, at("2029-02-28T00:00:00Z"));
    }

    #[test]
    fn a_recorders_start_counts_only_within_its_bound() {
        let within = "P2D".parse().unwrap();
        let recorded = class(Some("P1D"), "P15D", PeriodStart::Recorded { within });
        let sealed = at("2026-05-12T10:00:00Z");
        for (start, from) in [
            ("2026-05-11T10:00:00Z", "2026-05-11T10:00:00Z"),
            ("2026-05-10T10:00:00Z", "2026-05-10T10:00:00Z"),
            ("2026-05-10T09:59:59Z", "2026-05-12T10:00:00Z"),
            ("1970-01-01T00:00:00Z", "2026-05-12T10:00:00Z"),
            ("2026-05-12T10:00:01Z", "2026-05-12T10:00:00Z"),
        ] {
            let bounds = period_bounds(&recorded, sealed, at(start));
            assert_eq!(bounds.latest, at(from).checked_add(&"P15D".parse().unwrap()).unwrap(), "{start}");
            assert_eq!(bounds.earliest, at(from).checked_add(&"P1D".parse().unwrap()).unwrap(), "{start}");
        }
        let sealed_only = class(None, "P15D", PeriodStart::Sealed);
        assert_eq!(period_bounds(&sealed_only, sealed, at("2026-05-11T10:00:00Z")).earliest, sealed);
    }

    #[test]
    fn a_period_out_of_the_calendar_ends_with_it() {
        let long = class(Some("P100Y"), "P100Y", PeriodStart::Sealed);
        let sealed = at("9990-01-01T00:00:00Z");
        let bounds = period_bounds(&long, sealed, sealed);
        assert!(bounds.latest > sealed && bounds.earliest == bounds.latest);
    }
}
