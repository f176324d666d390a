//! The register of reviews: what a person must look at, who had no part in it (an opening in an emergency, R66).
//!
//! Owns which reviews are open and since when one is late. Must never say who raised or who did one: that stands in details,
//! which are kept until the review is done.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::core::event::{ReviewRaised, Subject};
use crate::core::time::Timestamp;

/// One review that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Why it was raised: a word of `review.raised`.
    pub why: SmolStr,
    /// When.
    pub raised: Timestamp,
    /// Late after this.
    pub due: Timestamp,
    /// What it is about.
    pub subject: Subject,
}

/// All that are open, by the entry that raised them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviews(BTreeMap<u64, Review>);

impl Reviews {
    /// The open review that `entry` raised.
    pub fn get(&self, entry: u64) -> Option<&Review> {
        self.0.get(&entry)
    }
    /// Every open one, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Review)> {
        self.0.iter().map(|(entry, review)| (*entry, review))
    }
    /// How many are open.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many are late at `now`.
    pub fn overdue(&self, now: Timestamp) -> usize {
        self.0.values().filter(|review| review.due < now).count()
    }
    /// Opens one. Each entry raises at most one.
    pub(in crate::core) fn raise(
        &mut self,
        entry: u64,
        at: Timestamp,
        said: &ReviewRaised,
        subject: &Subject,
    ) {
        let ReviewRaised { why, due } = said.clone();
        self.0.insert(entry, Review { why, raised: at, due, subject: subject.clone() });
    }
    /// Ends one; whether it was open.
    pub(in crate::core) fn end(&mut self, entry: u64) -> bool {
        self.0.remove(&entry).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_late_after_its_day_until_it_is_done() {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let mut reviews = Reviews::default();
        for (entry, due) in [(7, 100), (9, 200)] {
            let said = ReviewRaised { why: "emergency".into(), due: at(due) };
            reviews.raise(entry, at(1), &said, &Subject::default());
        }
        assert_eq!((reviews.overdue(at(100)), reviews.overdue(at(101)), reviews.overdue(at(201))), (0, 1, 2));
        assert!(reviews.end(7) && !reviews.end(7));
        assert_eq!((reviews.len(), reviews.overdue(at(300))), (1, 1));
    }
}
