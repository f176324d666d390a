//! When a recording must go (design §9): the bounds of its period, the purge plan, the rule for a clock that jumped.
//!
//! Owns the calendar of destruction. Must never read a clock or destroy anything: it answers, the daemon acts. Keeps
//! invariants 11 (a clock that jumped purges nothing) and 12 (holds win).

mod clock;
mod details;
#[cfg(test)]
mod details_tests;
mod period;
mod plan;
#[cfg(test)]
mod plan_tests;

pub use clock::{ClockDoubt, ClockVerdict, LastSeen, judge_running, judge_start};
pub use details::{
    BundlePlan, DetailFacts, DetailLine, DetailPlan, DetailWhy, KeepDetails, Waits, plan_details,
};
pub use period::{Bounds, period_bounds};
pub use plan::{Action, Blocked, PurgeFact, PurgeHistory, PurgeLine, PurgePlan, Why, plan_purge};
