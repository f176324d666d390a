//! One table of a policy file, field by field: every value asked for once, every mistake with its line, every key that
//! nobody asked for refused.
//!
//! Knows types and places; what the values mean is `parse`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{PolicyError, listed, quoted};
use super::rules::Place;
use crate::core::time::{Period, Timestamp};

/// The lines of one file, to turn offsets into places.
#[derive(Debug)]
pub(super) struct Lines {
    file: Arc<str>,
    /// Offset of the first byte of each line after the first.
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let starts =
            text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1).collect();
        Self { file: file.into(), starts }
    }
    /// The name of the file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }
    /// The place where `span` begins.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let line = self.starts.partition_point(|&start| start <= span.start).saturating_add(1);
        Place { file: self.file.clone(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }
}

/// One entry of a section: its name for sentences, its place, its table.
#[derive(Debug, Clone)]
pub(super) struct Item<'d> {
    pub(super) label: String,
    pub(super) place: Place,
    pub(super) lines: &'d Lines,
    pub(super) table: &'d DeTable<'d>,
}

/// The ids that a reference may name.
pub(super) trait Known<T> {
    /// Whether there is such a one.
    fn has(&self, id: &T) -> bool;
    /// All of them, for sentences.
    fn words(&self) -> String;
}
impl<T: Ord + Display, V> Known<T> for BTreeMap<T, V> {
    fn has(&self, id: &T) -> bool {
        self.contains_key(id)
    }
    fn words(&self) -> String {
        listed(self.keys())
    }
}
impl<T: Ord + Display> Known<T> for BTreeSet<T> {
    fn has(&self, id: &T) -> bool {
        self.contains(id)
    }
    fn words(&self) -> String {
        listed(self)
    }
}

/// What a reference refers to, for sentences: one, and many of them.
type Words = (&'static str, &'static str);

/// Reads the fields of one item. Call `finish` last: it refuses the keys that no call asked for.
pub(super) struct Fields<'d, 'e> {
    item: Item<'d>,
    asked: Vec<&'static str>,
    errors: &'e mut Vec<PolicyError>,
}

impl<'d, 'e> Fields<'d, 'e> {
    pub(super) fn of(item: Item<'d>, errors: &'e mut Vec<PolicyError>) -> Self {
        Self { item, asked: Vec::new(), errors }
    }

    fn get(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.item.table.get(key)
    }

    /// Adds a mistake at `span`, or at the item when the mistake is that something is missing.
    fn wrong(&mut self, span: Option<&Range<usize>>, reason: impl Display) {
        let place = span.map_or_else(|| self.item.place.clone(), |span| self.item.lines.place(span));
        self.errors.push(PolicyError::at(&place, format!("{reason} in {}", self.item.label)));
    }

    /// Says that `key` must be there: adds a mistake when it is not. Then read it.
    pub(super) fn require(&mut self, key: &'static str) -> &mut Self {
        if !self.item.table.contains_key(key) {
            self.wrong(None, format_args!("missing {key}"));
        }
        self
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
            _ => {
                self.wrong(
                    Some(&value.span()),
                    format_args!("{key} must be a text between quotes, not empty"),
                );
                None
            }
        }
    }

    /// A text that `T` can read.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let value = self.get(key)?;
        self.one(key, value)
    }

    fn one<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        value: &Spanned<DeValue<'d>>,
    ) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(Some(&value.span()), format_args!("{key} must be a text between quotes"));
            return None;
        };
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.wrong(Some(&value.span()), format_args!("{key} {}: {error};", quoted(text)));
                None
            }
        }
    }

    /// A list that is not empty, of texts that `T` can read, each once. Absent: `None`.
    pub(super) fn set<T: FromStr<Err: Display> + Ord>(&mut self, key: &'static str) -> Option<BTreeSet<T>> {
        self.each(key, |fields, value| fields.one(key, value))
    }

    /// The id of an existing one (`("role", "roles")`).
    pub(super) fn reference<T: FromStr>(
        &mut self,
        key: &'static str,
        (one, many): Words,
        known: &dyn Known<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        self.known((one, many), known, value)
    }

    /// A list, not empty, of ids of existing ones.
    pub(super) fn references<T: FromStr + Ord>(
        &mut self,
        key: &'static str,
        (one, many): Words,
        known: &dyn Known<T>,
    ) -> Option<BTreeSet<T>> {
        self.each(key, |fields, value| fields.known((one, many), known, value))
    }

    fn known<T: FromStr>(
        &mut self,
        (one, many): Words,
        known: &dyn Known<T>,
        value: &Spanned<DeValue<'d>>,
    ) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(Some(&value.span()), format_args!("a {one} must be a text between quotes"));
            return None;
        };
        let id = text.parse().ok().filter(|id| known.has(id));
        if id.is_none() {
            let reason = format!(
                "unknown {one} {} in {}; known {many}: {}",
                quoted(text),
                self.item.label,
                known.words()
            );
            self.errors.push(PolicyError::at(&self.item.lines.place(&value.span()), reason));
        }
        id
    }

    fn each<T: Ord>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Self, &'d Spanned<DeValue<'d>>) -> Option<T>,
    ) -> Option<BTreeSet<T>> {
        let list = self.get(key)?;
        let Some(values) = list.get_ref().as_array().filter(|values| !values.is_empty()) else {
            let hint = "must be a list with at least one text";
            self.wrong(Some(&list.span()), format_args!("{key} {hint} (leave it out to set no limit),"));
            return None;
        };
        let mut set = BTreeSet::new();
        for value in values.iter() {
            let read = read(self, value)?;
            if !set.insert(read) {
                let word = value.get_ref().as_str().unwrap_or_default();
                self.wrong(Some(&value.span()), format_args!("{} stands twice in {key}", quoted(word)));
            }
        }
        Some(set)
    }

    /// One text that `T` can read, or a list of them. Absent: `None`.
    pub(super) fn one_or_more<T: FromStr<Err: Display> + Ord>(
        &mut self,
        key: &'static str,
    ) -> Option<BTreeSet<T>> {
        match self.item.table.get(key).map(Spanned::get_ref) {
            Some(value) if value.is_str() => self.parsed(key).map(|one| BTreeSet::from([one])),
            _ => self.set(key),
        }
    }

    /// A table within the item, to be read like one.
    pub(super) fn inner(&mut self, key: &'static str) -> Option<Item<'d>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(Some(&value.span()), format_args!("{key} must be a table: {key} = {{ … }},"));
            return None;
        };
        let lines = self.item.lines;
        let label = format!("{key} of {}", self.item.label);
        Some(Item { label, place: lines.place(&value.span()), lines, table })
    }

    /// Reads a table within the item by `read`, which gets its fields.
    pub(super) fn nested<V>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Fields<'d, '_>) -> Option<V>,
    ) -> Option<V> {
        let item = self.inner(key)?;
        let mut fields = Fields::of(item, self.errors);
        let value = read(&mut fields);
        fields.finish();
        value
    }

    /// `true` or `false`; absent: `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let Some(value) = self.get(key) else { return false };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong(Some(&value.span()), format_args!("{key} must be true or false"));
            false
        })
    }

    /// A whole number from 1 to 2^53 - 1.
    pub(super) fn count(&mut self, key: &'static str) -> Option<u64> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().filter(|number| number.radix() == 10);
        let number = number.and_then(|number| number.as_str().parse::<u64>().ok());
        let number = number.filter(|number| (1..1 << 53).contains(number));
        if number.is_none() {
            let hint = "must be a whole number from 1 on, without quotes,";
            self.wrong(Some(&value.span()), format_args!("{key} {hint}"));
        }
        number
    }

    /// A local date, without time.
    pub(super) fn date(&mut self, key: &'static str) -> Option<Date> {
        let value = self.get(key)?;
        let date = value.get_ref().as_datetime().and_then(|datetime| match datetime {
            toml::value::Datetime { date: Some(date), time: None, offset: None } => {
                let (month, day) = (i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?);
                Date::new(i16::try_from(date.year).ok()?, month, day).ok()
            }
            _ => None,
        });
        if date.is_none() {
            let hint = "must be a day without quotes, like 2027-06-30,";
            self.wrong(Some(&value.span()), format_args!("{key} {hint}"));
        }
        date
    }

    /// A period longer than nothing and at most 100 years.
    pub(super) fn period(&mut self, key: &'static str) -> Option<Period> {
        let value = self.get(key)?;
        let period = self.one(key, value)?;
        if !(1..=CENTURY_MICROS).contains(&length_micros(&period)) {
            self.wrong(
                Some(&value.span()),
                format_args!("{key} must be longer than nothing and at most P100Y"),
            );
            return None;
        }
        Some(period)
    }

    /// A mistake at the value of `key`.
    pub(super) fn refuse(&mut self, key: &'static str, reason: impl Display) {
        let span = self.item.table.get(key).map(Spanned::span);
        self.wrong(span.as_ref(), reason);
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(self) {
        for key in self.item.table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let reason = format!(
                "unknown key {} in {}; known keys: {}",
                quoted(key.get_ref()),
                self.item.label,
                listed(&self.asked)
            );
            self.errors.push(PolicyError::at(&self.item.lines.place(&key.span()), reason));
        }
    }
}

/// 100 Gregorian years from 1970.
const CENTURY_MICROS: i64 = 36_525 * 86_400_000_000;

/// The length of a period that begins in 1970; the greatest number when it has no end.
fn length_micros(period: &Period) -> i64 {
    let epoch = Timestamp::from_micros(0);
    epoch.and_then(|epoch| epoch.checked_add(period)).map_or(i64::MAX, Timestamp::as_micros)
}
