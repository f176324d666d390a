//! Threads for reads that would keep the threads of the mount waiting for a disk that stands still.
//!
//! Owns their number and their queue. There are none while the disk keeps up. Must never lose a read: what is dropped here
//! undone is answered with an error by its own end.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most threads at the same time: one for each session that may run. Further reads wait in the queue, where the end of their
/// session still answers them.
const MOST: usize = 256;
/// How long a thread waits for the next read before it ends.
const LINGERS: Duration = Duration::from_secs(5);

/// One read.
pub type Work = Box<dyn FnOnce() + Send>;

/// The threads and what waits for them.
#[derive(Default)]
pub struct Helpers {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Helpers {
    /// Has `work` done by another thread. Never waits.
    pub fn run(self: &Arc<Self>, work: Work) {
        let mut state = self.lock();
        state.queue.push_back(work);
        if state.idle < state.queue.len() && state.threads < MOST {
            let helpers = Arc::clone(self);
            let thread = std::thread::Builder::new().name("fuse-slow".into());
            match thread.spawn(move || helpers.work()) {
                Ok(_) => state.threads = state.threads.saturating_add(1),
                // Without any thread nobody would come for it: its reader gets EIO.
                Err(_) if state.threads == 0 => {
                    let undone = state.queue.pop_back();
                    drop(state);
                    drop(undone);
                    return;
                }
                Err(_) => {}
            }
        }
        drop(state);
        self.came.notify_one();
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                work();
                state = self.lock();
                continue;
            }
            state.idle = state.idle.saturating_add(1);
            let waited = self.came.wait_timeout_while(state, LINGERS, |state| state.queue.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle = state.idle.saturating_sub(1);
            if state.queue.is_empty() {
                state.threads = state.threads.saturating_sub(1);
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
