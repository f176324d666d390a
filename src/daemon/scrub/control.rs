//! The scrub that runs: its turn, its end, its numbers.
//!
//! Everything here is told under one short lock; nobody waits under it for a disk. The thread that reads waits here for its
//! pace, and is woken when it must end or leave a recording.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::ids::RecordingId;
use crate::core::scrub::Counts;
use crate::shell::bus::archive::{ScrubFinding, ScrubProgress};

/// Findings that are kept for `Scrub.Findings`; all are in ledger and journal.
const FINDINGS_KEPT: usize = 1000;

/// How a scrub ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) enum End {
    /// Everything was read.
    Complete,
    /// Somebody ended it.
    Cancelled,
    /// The service stops.
    ServiceStopped,
    /// The ledger could not be written: what is found could not be recorded.
    LedgerUnavailable,
}

impl End {
    /// The word in the ledger.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::ServiceStopped => "service-stopped",
            Self::LedgerUnavailable => "ledger-unavailable",
        }
    }
}

/// An object without an entry is left alone for so long: its entry may be on its way.
const STRAY_AFTER_MS: u64 = 60_000;

/// The place where a scrub runs, if one does.
pub(in crate::daemon) struct Scrubs {
    stray_after_ms: AtomicU64,
    now: Mutex<Now>,
    woken: Condvar,
    running: watch::Sender<bool>,
}

#[derive(Default)]
struct Now {
    /// No new one begins.
    stopped: bool,
    /// The one that runs must end so.
    end: Option<End>,
    /// The recording whose key is in memory, or about to be.
    reading: Option<RecordingId>,
    /// It must be left.
    leave: bool,
    progress: ScrubProgress,
    findings: Vec<ScrubFinding>,
}

/// The right to read the store: one exists at a time. Dropped, the scrub has ended.
pub(in crate::daemon) struct Turn(Arc<Scrubs>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.progress.running = false;
        now.reading = None;
        drop(now);
        self.0.woken.notify_all();
        self.0.running.send_replace(false);
    }
}

impl Default for Scrubs {
    fn default() -> Self {
        let running = watch::Sender::new(false);
        let stray_after_ms = AtomicU64::new(STRAY_AFTER_MS);
        Self { stray_after_ms, now: Mutex::default(), woken: Condvar::new(), running }
    }
}

impl Scrubs {
    // No step below the lock can leave it half changed.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How old an object without an entry must be to be a finding.
    pub(super) fn stray_after(&self) -> Duration {
        Duration::from_millis(self.stray_after_ms.load(Ordering::Relaxed))
    }

    /// For tests, which do not wait a minute.
    #[cfg(test)]
    pub(in crate::daemon) fn find_strays_at_once(&self) {
        self.stray_after_ms.store(0, Ordering::Relaxed);
    }

    /// Takes the turn; `None` while another has it.
    pub(in crate::daemon) fn begin(self: &Arc<Self>) -> Option<Turn> {
        let mut now = self.now();
        if now.progress.running || now.stopped {
            return None;
        }
        let number = now.progress.number + 1;
        *now = Now {
            progress: ScrubProgress { number, running: true, ..ScrubProgress::default() },
            ..Now::default()
        };
        self.running.send_replace(true);
        Some(Turn(self.clone()))
    }

    /// Tells the one that runs to end. `false` when none runs.
    pub(super) fn end(&self, end: End) -> bool {
        let mut now = self.now();
        if now.progress.running && now.end.is_none() {
            now.end = Some(end);
        }
        self.woken.notify_all();
        now.progress.running
    }

    /// Lets none begin any more, ends the one that runs and waits until it has.
    pub(in crate::daemon) async fn stop(&self) {
        let mut running = self.running.subscribe();
        self.now().stopped = true;
        self.end(End::ServiceStopped);
        let _gone_with_us = running.wait_for(|running| !running).await;
    }

    /// Makes the scrub let go of a recording whose key is about to be destroyed, and waits until its key is out of memory:
    /// at most one piece of reading. Whoever calls has made sure that it is not taken up again. Blocks.
    pub(in crate::daemon) fn leave(&self, id: RecordingId) {
        let mut now = self.now();
        while now.reading == Some(id) {
            now.leave = true;
            self.woken.notify_all();
            now = self.woken.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How the scrub must end, if it must.
    pub(super) fn must_end(&self) -> Option<End> {
        self.now().end
    }

    /// Says which recording is read from now on; to be said before its entry is looked at.
    pub(super) fn reading(&self, id: Option<RecordingId>) {
        let mut now = self.now();
        now.reading = id;
        now.leave = false;
        drop(now);
        self.woken.notify_all();
    }

    /// Waits. `false` when the reading must not go on, which it says at once.
    pub(super) fn wait(&self, wait: Duration) -> bool {
        let now = self.now();
        let goes_on = |now: &mut Now| now.end.is_none() && !now.leave;
        let (mut now, _timeout) =
            self.woken.wait_timeout_while(now, wait, goes_on).unwrap_or_else(PoisonError::into_inner);
        goes_on(&mut now)
    }

    /// Changes what is shown.
    pub(super) fn show(&self, change: impl FnOnce(&mut ScrubProgress)) {
        change(&mut self.now().progress);
    }

    /// Shows what was read so far.
    pub(super) fn count(&self, counts: &Counts) {
        self.show(|progress| progress.counts = *counts);
    }

    /// Keeps a finding for who asks.
    pub(super) fn found(&self, finding: ScrubFinding) {
        let mut now = self.now();
        if now.findings.len() < FINDINGS_KEPT {
            now.findings.push(finding);
        }
    }

    pub(super) fn findings(&self) -> Vec<ScrubFinding> {
        self.now().findings.clone()
    }

    pub(super) fn progress(&self) -> ScrubProgress {
        self.now().progress.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RecordingId = RecordingId::from_bytes([1; 16]);

    #[test]
    fn one_at_a_time_and_none_after_the_stop() {
        let scrubs = Arc::new(Scrubs::default());
        let turn = scrubs.begin().unwrap();
        assert!(scrubs.begin().is_none() && scrubs.progress().number == 1);
        drop(turn);
        assert!(!scrubs.end(End::Cancelled), "none runs");
        let turn = scrubs.begin().unwrap();
        assert_eq!(
            (scrubs.must_end(), scrubs.progress().number),
            (None, 2),
            "the last order is not for this one"
        );
        assert!(scrubs.end(End::Cancelled) && scrubs.end(End::ServiceStopped));
        assert_eq!(scrubs.must_end(), Some(End::Cancelled), "the first order is the reason");
        drop(turn);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scrubs.stop());
        assert!(scrubs.begin().is_none());
    }

    #[test]
    fn inv7_a_purge_waits_until_the_key_is_out_of_memory_and_wakes_the_reader() {
        let scrubs = Arc::new(Scrubs::default());
        let turn = scrubs.begin().unwrap();
        scrubs.leave(ID);
        scrubs.reading(Some(ID));
        let reader = {
            let scrubs = scrubs.clone();
            std::thread::spawn(move || {
                // An hour, unless it is woken.
                let went_on = scrubs.wait(Duration::from_secs(3600));
                scrubs.reading(None);
                went_on
            })
        };
        scrubs.leave(ID);
        assert!(!reader.join().unwrap(), "it was told to leave");
        assert!(scrubs.wait(Duration::ZERO), "the next recording may be read");
        drop(turn);
    }
}
