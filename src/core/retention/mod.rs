//! When a recording must go: expiry, the purge plan, the rule for a clock that jumped.
