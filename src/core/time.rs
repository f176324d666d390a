//! Time as data: instants, calendar periods, and the clocks as read. There is no `now()` here.
//!
//! Owns RFC 3339 and ISO 8601 text forms and calendar arithmetic (through `jiff`). Must never read a clock or the
//! local time zone: both come in as arguments.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant in UTC with microseconds, between the years 1 and 9999.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(jiff::Timestamp);

/// A time or a period that cannot be read or computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not RFC 3339.
    #[error("a time must be RFC 3339, like 2026-05-12T10:00:00Z")]
    NotATimestamp,
    /// Not `PnYnMnDTnHnMnS`.
    #[error("a period must be ISO 8601, like P15D, P3M or PT15M")]
    NotAPeriod,
    /// Beyond the years 1 to 9999.
    #[error("the time lies outside the years 1 to 9999")]
    OutOfRange,
}

const MICROS_PER_DAY: i64 = 24 * 3600 * 1_000_000;

impl Timestamp {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub fn from_micros(micros: i64) -> Result<Self, TimeError> {
        jiff::Timestamp::from_microsecond(micros).map(Self).map_err(|_| TimeError::OutOfRange)
    }
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn as_micros(self) -> i64 {
        self.0.as_microsecond()
    }
    /// Microseconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn micros_since(self, earlier: Self) -> i64 {
        self.as_micros().saturating_sub(earlier.as_micros())
    }
    /// `self` plus `micros`, kept inside the years 1 to 9999.
    #[must_use]
    pub fn saturating_add_micros(self, micros: i64) -> Self {
        let bound = if micros < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Self::from_micros(self.as_micros().saturating_add(micros)).unwrap_or(Self(bound))
    }
    /// `self` plus a calendar period, counted in UTC: one month after 31 January is 28 or 29 February (design §9).
    pub fn checked_add(self, period: &Period) -> Result<Self, TimeError> {
        let utc = self.0.to_zoned(TimeZone::UTC);
        utc.checked_add(period.0).map(|zoned| Self(zoned.timestamp())).map_err(|_| TimeError::OutOfRange)
    }
    /// From the one form that stands in the ledger, as `Display` writes it. `None` says nothing: the text may still be a time
    /// in another form.
    pub fn from_canonical(text: &[u8; 27]) -> Option<Self> {
        let [
            y0,
            y1,
            y2,
            y3,
            b'-',
            o0,
            o1,
            b'-',
            d0,
            d1,
            b'T',
            h0,
            h1,
            b':',
            m0,
            m1,
            b':',
            s0,
            s1,
            b'.',
            rest @ ..,
        ] = text
        else {
            return None;
        };
        let [f0, f1, f2, f3, f4, f5, b'Z'] = rest else { return None };
        let number = |digits: &[&u8]| {
            digits.iter().try_fold(0_i64, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + i64::from(**digit & 0x0F))
            })
        };
        let (year, month, day) = (number(&[y0, y1, y2, y3])?, number(&[o0, o1])?, number(&[d0, d1])?);
        let (hour, minute, second) = (number(&[h0, h1])?, number(&[m0, m1])?, number(&[s0, s1])?);
        let micros = number(&[f0, f1, f2, f3, f4, f5])?;
        if year == 0 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in_month = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(leap),
            _ => return None,
        };
        if !(1..=days_in_month).contains(&day) {
            return None;
        }
        // Counted from 1 March, so that the leap day is the last of its year.
        let (from_march, year) = if month > 2 { (month - 3, year) } else { (month + 9, year - 1) };
        let leap_days = year / 4 - year / 100 + year / 400;
        let days = year * 365 + leap_days + (153 * from_march + 2) / 5 + day - 1 - 719_468;
        Self::from_micros((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros).ok()
    }
    /// In the one form that stands in the ledger, in ASCII; `None` where a year has not four digits.
    pub fn canonical(self) -> Option<[u8; 27]> {
        let micros = self.as_micros();
        let (days, in_day) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
        // Counted from 1 March of the year 0, in periods of 400 years of 146,097 days.
        let since_march = days + 719_468;
        let (period, day) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day + 2) / 153;
        let day = day - (153 * from_march + 2) / 5 + 1;
        let (month, year) = if from_march < 10 { (from_march + 3, year) } else { (from_march - 9, year + 1) };
        let year = period * 400 + year;
        if !(0..=9999).contains(&year) {
            return None;
        }
        let (seconds, micros) = (in_day / 1_000_000, in_day % 1_000_000);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, seconds / 3600),
            (14, 2, seconds / 60 % 60),
            (17, 2, seconds % 60),
            (20, 6, micros),
        ];
        for (from, digits, number) in parts {
            let mut rest = number;
            for place in text.iter_mut().skip(from).take(digits).rev() {
                *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        }
        Some(text)
    }
    /// The calendar day in `zone`.
    pub fn date_in(self, zone: &TimeZone) -> jiff::civil::Date {
        self.local(zone).date()
    }
    /// What a clock on the wall shows in `zone`.
    pub fn local(self, zone: &TimeZone) -> jiff::civil::DateTime {
        zone.to_datetime(self.0)
    }
}
impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, six digits after the point: the one form that stands in the ledger.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.canonical() {
            Some(text) => f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?),
            None => write!(f, "{:.6}", self.0),
        }
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Timestamp {
    type Err = TimeError;
    /// Any RFC 3339 instant with an offset; what is finer than a microsecond is cut off.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| TimeError::NotATimestamp)?;
        Self::from_micros(instant.as_microsecond())
    }
}
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// A calendar period, `PnYnMnDTnHnMnS`, never negative.
#[derive(Clone, Copy)]
pub struct Period(jiff::Span);

impl Period {
    /// A period of whole seconds.
    pub fn seconds(seconds: u32) -> Self {
        Self(jiff::Span::new().seconds(i64::from(seconds)))
    }
    /// Its length in seconds, rounded down, counted from the beginning of 1970; `u64::MAX` when it is beyond the calendar.
    /// For waiting, where a day more or less does not matter.
    pub fn about_seconds(&self) -> u64 {
        let start = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let seconds = start.checked_add(self.0).map(|end| end.timestamp().as_second());
        seconds.ok().and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(u64::MAX)
    }
}
impl PartialEq for Period {
    /// Equal when written alike: `P1M` and `P30D` are two periods.
    fn eq(&self, other: &Self) -> bool {
        self.0.fieldwise() == other.0.fieldwise()
    }
}
impl Eq for Period {}
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Period {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        static ISO: jiff::fmt::temporal::SpanParser = jiff::fmt::temporal::SpanParser::new();
        let span = ISO.parse_span(text).map_err(|_| TimeError::NotAPeriod)?;
        if span.is_negative() { Err(TimeError::NotAPeriod) } else { Ok(Self(span)) }
    }
}
impl Serialize for Period {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// The clocks, read once: what `now` is made of. Every entry carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, as read. Not trusted (invariant 11).
    pub time: Timestamp,
    /// Microseconds since boot, counting suspend (`CLOCK_BOOTTIME`).
    pub up_micros: u64,
    /// Which boot `up_micros` counts from.
    pub boot: BootId,
    /// Whether the kernel says that the wall clock is synchronised.
    pub synchronised: bool,
}

/// The kernel's random id of one boot (`/proc/sys/kernel/random/boot_id`), written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId([u8; 16]);

impl BootId {
    /// Wraps 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}
impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}
impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for BootId {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        text.as_bytes().try_into().ok().and_then(Self::from_text).ok_or(TimeError::NotATimestamp)
    }
}
impl BootId {
    /// Its text, in ASCII.
    pub fn text(&self) -> [u8; 36] {
        let mut hex = [0; 32];
        data_encoding::HEXLOWER.encode_mut(&self.0, &mut hex);
        let mut text = [b'-'; 36];
        let places = text.iter_mut().enumerate().filter(|(i, _)| !matches!(i, 8 | 13 | 18 | 23));
        for ((_, place), digit) in places.zip(hex) {
            *place = digit;
        }
        text
    }
    /// From its text, a UUID in lower case; `None` when it is none.
    pub fn from_text(text: &[u8; 36]) -> Option<Self> {
        let mut hex = [0; 32];
        let mut places = hex.iter_mut();
        for (i, byte) in text.iter().enumerate() {
            match (matches!(i, 8 | 13 | 18 | 23), *byte == b'-') {
                (true, true) => {}
                (false, false) => *places.next()? = *byte,
                _ => return None,
            }
        }
        let mut bytes = [0; 16];
        data_encoding::HEXLOWER.decode_mut(&hex, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}
impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn one_month_after_31_january_is_the_end_of_february() {
        let month: Period = "P1M".parse().unwrap();
        assert_eq!(at("2026-01-31T12:00:00Z").checked_add(&month), Ok(at("2026-02-28T12:00:00Z")));
        assert_eq!(at("2028-01-31T12:00:00Z").checked_add(&month), Ok(at("2028-02-29T12:00:00Z")));
    }

    #[test]
    fn timestamps_have_six_digits_and_z() {
        assert_eq!(at("2026-05-12T12:00:00+02:00").to_string(), "2026-05-12T10:00:00.000000Z");
        assert_eq!(at("2026-05-12T10:00:00.1234567Z").to_string(), "2026-05-12T10:00:00.123456Z");
    }

    #[test]
    fn periods_are_iso_8601_and_never_negative() {
        for bad in ["15 days", "-P1D", "P", "", "P1D1H"] {
            assert!(bad.parse::<Period>().is_err(), "{bad:?}");
        }
        for good in ["P15D", "P3M", "PT15M", "P1Y2M3DT4H5M6S", "PT5S"] {
            assert_eq!(good.parse::<Period>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn boot_id_is_a_uuid() {
        let text = "0f4b2c1d-8a6e-4c3b-9d2f-001122334455";
        assert_eq!(text.parse::<BootId>().unwrap().to_string(), text);
        assert!("0f4b2c1d8a6e4c3b9d2f001122334455".parse::<BootId>().is_err());
    }
}
