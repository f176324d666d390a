//! Which threads of the mount may read the disk.
//!
//! Owns how many do so at the same time: one thread of the mount is always left for what needs no disk (opening, closing, a
//! read of a session that has ended). Must never let that one wait longer than [`PATIENCE`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A read from a disk in order takes less; when none has ended for so long, the disk stands still.
const PATIENCE: Duration = Duration::from_millis(2);

/// The turns of one mount.
pub struct Turns {
    most: usize,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Somebody waited in vain, and no read has ended since.
    stands_still: bool,
}

impl Turns {
    /// At most `most` at the same time.
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), ended: Condvar::new() }
    }

    /// A turn to read the disk; `None` when all are taken and the disk stands still: have another thread do it.
    pub fn take(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        if state.taken >= self.most && !state.stands_still {
            let waited = self.ended.wait_timeout_while(state, PATIENCE, |state| state.taken >= self.most);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.taken >= self.most {
            state.stands_still = true;
            return None;
        }
        state.taken = state.taken.saturating_add(1);
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One turn, until dropped.
pub struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.taken = state.taken.saturating_sub(1);
        state.stands_still = false;
        drop(state);
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_disk_stands_still_no_turn_is_left_until_a_read_ends() {
        let turns = Turns::new(2);
        let (first, second) = (turns.take(), turns.take());
        assert!(first.is_some() && second.is_some());
        assert!(turns.take().is_none() && turns.take().is_none());
        drop(first);
        assert!(turns.take().is_some());
    }
}
