//! Proof that something stands in the ledger.
//!
//! Owns `Recorded<T>`. Serving, sealing and purging take one, so a path that acts without recording does not compile
//! (invariant 1). Only the ledger writer makes one, after its sync; `tests/rooms.rs` checks that no other file does.

/// A value together with the number of the durable, signed entry that records it.
#[derive(Debug)]
#[must_use = "what was recorded is meant to be carried out"]
pub struct Recorded<T> {
    value: T,
    entry: u64,
}

impl<T> Recorded<T> {
    /// For the ledger writer alone, after `fdatasync` returned.
    #[cfg(feature = "daemon")]
    pub(crate) fn after_sync(value: T, entry: u64) -> Self {
        Self { value, entry }
    }
    /// Proof of nothing, for tests and benchmarks of what takes a proof. Programs are built without this feature.
    #[cfg(feature = "test-support")]
    pub fn for_test(value: T) -> Self {
        Self { value, entry: 0 }
    }
    /// Number of the first entry that records the value.
    pub fn entry(&self) -> u64 {
        self.entry
    }
    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }
    /// The value, giving up the proof.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Another value with the same proof: what it is made of was recorded.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Recorded<U> {
        Recorded { value: change(self.value), entry: self.entry }
    }
}

impl<T, E> Recorded<Result<T, E>> {
    /// A recorded permission, or the error with the number of the entry that records the refusal.
    pub fn transpose(self) -> Result<Recorded<T>, (E, u64)> {
        let entry = self.entry;
        self.value.map(|value| Recorded { value, entry }).map_err(|error| (error, entry))
    }
}
