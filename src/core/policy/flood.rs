//! The bound on refusals (design §5, "Flooding"): beyond a rate, equal refusals of one user are counted instead of
//! recorded one by one, and the count becomes one entry a minute.
//!
//! Pure: time comes in as microseconds since boot. Memory is bounded per user, and by the users active in the last
//! minute.

use std::collections::BTreeMap;

use super::names::Verb;
use crate::core::ids::RuleId;

/// How many equal refusals a minute get an entry of their own.
const RECORDED_PER_MINUTE: u32 = 10;
/// One minute.
const MINUTE_MICROS: u64 = 60_000_000;
/// How many different refusals of one user are told apart; further ones share one place.
const KEYS_PER_USER: usize = 64;

/// What makes two refusals of one user equal. Nothing that the caller chooses freely is part of it: else a caller who
/// asks for another id each time would never reach the bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalKey {
    /// What was asked.
    pub verb: Verb,
    /// The rule that refused it.
    pub rule: RuleId,
}

/// What to do with a refusal.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodVerdict {
    /// Write its entry, then answer.
    Record,
    /// Answer `LimitReached` at once; it is counted.
    Count,
}

/// The refusals of one user that were counted and not recorded: one `access.refused-many`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedMany {
    /// Who was refused.
    pub uid: u32,
    /// How often, since `since_up_micros`; never 0.
    pub count: u64,
    /// When the first of them came, in microseconds since boot.
    pub since_up_micros: u64,
}

/// The refusals of the last minute.
#[derive(Debug, Default)]
pub struct Flood {
    users: BTreeMap<u32, User>,
}

#[derive(Debug, Default)]
struct User {
    windows: BTreeMap<RefusalKey, Window>,
    /// For the refusals that found no place in `windows`.
    others: Window,
    counted: Option<RefusedMany>,
}

impl User {
    fn count(&mut self, uid: u32, now_up_micros: u64) {
        let none = RefusedMany { uid, count: 0, since_up_micros: now_up_micros };
        let counted = self.counted.get_or_insert(none);
        counted.count = counted.count.saturating_add(1);
    }
}

/// Refusals since the first of a minute.
#[derive(Debug, Default, Clone, Copy)]
struct Window {
    start_up_micros: u64,
    refusals: u32,
}

impl Window {
    fn is_over(self, now_up_micros: u64) -> bool {
        self.refusals == 0 || now_up_micros.saturating_sub(self.start_up_micros) >= MINUTE_MICROS
    }
}

impl Flood {
    /// Nothing refused yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of one refusal of `uid`.
    pub fn on_refusal(&mut self, uid: u32, key: &RefusalKey, now_up_micros: u64) -> FloodVerdict {
        let user = self.users.entry(uid).or_default();
        if !user.windows.contains_key(key) && user.windows.len() >= KEYS_PER_USER {
            user.windows.retain(|_, window| !window.is_over(now_up_micros));
        }
        let known = user.windows.contains_key(key) || user.windows.len() < KEYS_PER_USER;
        let window = if known { user.windows.entry(key.clone()).or_default() } else { &mut user.others };
        if window.is_over(now_up_micros) {
            *window = Window { start_up_micros: now_up_micros, refusals: 0 };
        }
        window.refusals = window.refusals.saturating_add(1);
        if window.refusals <= RECORDED_PER_MINUTE {
            return FloodVerdict::Record;
        }
        user.count(uid, now_up_micros);
        FloodVerdict::Count
    }

    /// Takes note of one refusal of `uid` that gets no entry of its own whatever the rate: the disk has no room for it.
    pub fn count(&mut self, uid: u32, now_up_micros: u64) {
        self.users.entry(uid).or_default().count(uid, now_up_micros);
    }

    /// Takes out the counts that are a minute old, by uid, and forgets the users who were not refused since. Call it
    /// at least once a minute.
    pub fn due(&mut self, now_up_micros: u64) -> Vec<RefusedMany> {
        self.take(now_up_micros, |many| now_up_micros.saturating_sub(many.since_up_micros) >= MINUTE_MICROS)
    }

    /// Takes out every count: for the entries before the service stops.
    pub fn drain(&mut self, now_up_micros: u64) -> Vec<RefusedMany> {
        self.take(now_up_micros, |_| true)
    }

    fn take(&mut self, now_up_micros: u64, ripe: impl Fn(&RefusedMany) -> bool) -> Vec<RefusedMany> {
        let mut taken = Vec::new();
        self.users.retain(|_, user| {
            taken.extend(user.counted.take_if(|many| ripe(many)));
            user.windows.retain(|_, window| !window.is_over(now_up_micros));
            user.counted.is_some() || !user.windows.is_empty() || !user.others.is_over(now_up_micros)
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> RefusalKey {
        RefusalKey { verb: Verb::View, rule: name.parse().unwrap() }
    }

    #[test]
    fn the_eleventh_equal_refusal_of_a_minute_is_counted() {
        let mut flood = Flood::new();
        for i in 0..10 {
            assert_eq!(flood.on_refusal(7, &key("a"), i), FloodVerdict::Record);
        }
        assert_eq!(flood.on_refusal(7, &key("a"), 10), FloodVerdict::Count);
        assert_eq!(flood.on_refusal(7, &key("b"), 11), FloodVerdict::Record);
        assert_eq!(flood.on_refusal(8, &key("a"), 12), FloodVerdict::Record);
        assert_eq!(flood.on_refusal(7, &key("a"), MINUTE_MICROS), FloodVerdict::Record);
    }

    #[test]
    fn inv2_every_refusal_is_recorded_or_counted_once() {
        let mut flood = Flood::new();
        let (mut recorded, mut counted) = (0, 0);
        for i in 0..1000_u64 {
            let now = i * 500_000;
            match flood.on_refusal(7, &key("a"), now) {
                FloodVerdict::Record => recorded += 1,
                FloodVerdict::Count => {}
            }
            for many in flood.due(now) {
                assert!(now - many.since_up_micros >= MINUTE_MICROS);
                counted += many.count;
            }
        }
        counted += flood.drain(500_000_000).iter().map(|many| many.count).sum::<u64>();
        assert_eq!(recorded + counted, 1000);
        // 500 s hold nine windows of a minute, begun or complete.
        assert_eq!(recorded, 90);
    }

    #[test]
    fn inv2_what_is_refused_for_want_of_room_is_counted_and_due_after_a_minute() {
        let mut flood = Flood::new();
        for i in 0..50 {
            flood.count(7, i);
        }
        assert!(flood.due(MINUTE_MICROS - 1).is_empty());
        let due = flood.due(MINUTE_MICROS);
        assert_eq!(due, [RefusedMany { uid: 7, count: 50, since_up_micros: 0 }]);
        assert!(flood.users.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut flood = Flood::new();
        for i in 0..1000 {
            let _ = flood.on_refusal(7, &key(&format!("rule-{i}")), 1);
        }
        assert_eq!(flood.users.get(&7).map(|user| user.windows.len()), Some(KEYS_PER_USER));
        assert_eq!(flood.due(MINUTE_MICROS + 1).iter().map(|many| many.count).sum::<u64>(), 1000 - 64 - 10);
        assert!(flood.users.is_empty());
    }
}
