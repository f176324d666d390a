//! Bytes handed out under one grant in one day, by all its sessions together.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that several sessions share.
#[derive(Debug)]
pub struct Meter(AtomicU64);

impl Meter {
    /// A meter that stands at `used_bytes`.
    pub fn starting_at(used_bytes: u64) -> Self {
        Self(AtomicU64::new(used_bytes))
    }
    /// Where it stands.
    pub fn used_bytes(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    /// Takes `bytes`, if it then stands at `most_bytes` at most.
    pub(super) fn take(&self, bytes: u64, most_bytes: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes).filter(|used| *used <= most_bytes);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
    }
}
