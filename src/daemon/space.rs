//! Room on the disk: measured, judged by `core::space`, and told (design §5, §10).
//!
//! Owns the level that the rest of the daemon asks, the reserve's size, and what is promised to seals under way. Every
//! [`EVERY`], and whenever somebody has made or used room: free bytes asked · reserve filled if there is room for it · judged ·
//! state, journal and status told. Must never remove anything to make room: what is destroyed, retention decides; nor
//! promise the same bytes twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::health::Part;
use super::person::Person;
use super::service::Service;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::space::{Bounds, Level, Room, admits, fits, judge, refills};
use crate::shell::disk::durable::DiskError;
use crate::shell::disk::reserve;
use crate::shell::{journal, message_id};

/// How often free space is asked for.
const EVERY: Duration = Duration::from_secs(2);
/// A file that is too large for now is forgotten when it was not tried again for so long.
const WAITS: Duration = Duration::from_secs(30);
/// What is read of a file is on the disk only some chunks later, and its trailer after that: so much of a promise stands to
/// the end.
const UNWRITTEN_BYTES: u64 = 16 << 20;

/// What is known of the disk.
pub struct Space {
    level: watch::Sender<Level>,
    free_bytes: AtomicU64,
    reserve_bytes: AtomicU64,
    /// What seals under way will still take.
    promised: Mutex<u64>,
    /// The largest file that would have left too little, and when it was tried last.
    too_large: Mutex<Option<(u64, Instant)>>,
    /// Room was made or used.
    pub(super) changed: Notify,
}

impl Default for Space {
    fn default() -> Self {
        Self {
            level: watch::Sender::new(Level::Ample),
            free_bytes: AtomicU64::new(0),
            reserve_bytes: AtomicU64::new(0),
            promised: Mutex::default(),
            too_large: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Space {
    /// The level as it was judged last. Touches no disk.
    pub fn level(&self) -> Level {
        *self.level.borrow()
    }
    /// Free bytes as they were asked for last.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }
    /// Waits until sealing is not stopped any more.
    pub async fn sealing_goes_on(&self) {
        // The sender lives as long as `self`.
        let mut level = self.level.subscribe();
        let _level = level.wait_for(|level| *level < Level::Tight).await;
    }

    /// What seals under way will still take.
    pub(super) fn promised_bytes(&self) -> u64 {
        *self.promised()
    }

    /// Promises `bytes` if they leave room enough; `None` when not. `free` asks the disk: under the lock, or two files would
    /// be admitted against the same free bytes.
    pub(super) fn promise(
        &self,
        bytes: u64,
        bounds: &Bounds,
        free: impl FnOnce() -> Result<u64, DiskError>,
    ) -> Result<Option<Promise<'_>>, DiskError> {
        let mut promised = self.promised();
        if !admits(self.level(), free()?, *promised, bytes, bounds) {
            return Ok(None);
        }
        *promised = promised.saturating_add(bytes);
        Ok(Some(Promise { space: self, of_bytes: bytes, left_bytes: bytes }))
    }

    fn promised(&self) -> MutexGuard<'_, u64> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one file that is being sealed. What is left of it when dropped is free again.
pub(super) struct Promise<'a> {
    space: &'a Space,
    of_bytes: u64,
    left_bytes: u64,
}

impl Promise<'_> {
    /// So much of the file has been read: what of it is written counts as used by now, and must not count twice.
    pub(super) fn read_up_to(&mut self, bytes: u64) {
        let left = self.of_bytes.saturating_sub(bytes.saturating_sub(UNWRITTEN_BYTES));
        self.shrink_to(left);
    }

    fn shrink_to(&mut self, left_bytes: u64) {
        let freed = self.left_bytes.saturating_sub(left_bytes);
        self.left_bytes = self.left_bytes.min(left_bytes);
        let mut promised = self.space.promised();
        *promised = promised.saturating_sub(freed);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Service {
    /// Keeps an eye on the disk until the service ends.
    pub(super) async fn follow_space(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.space.changed.notified() => {}
            }
            let service = self.clone();
            // A look that panicked is logged as such; the next one comes.
            let _looked = tokio::task::spawn_blocking(move || service.look_at_space()).await;
        }
    }

    /// Looks at the disk, and says what that stops. Blocks on the disk.
    pub(super) fn look_at_space(&self) {
        let free_bytes = match self.store.free_bytes() {
            Ok(free_bytes) => free_bytes,
            // Not known is not a level: what cannot be written says so itself.
            Err(error) => return log::warn!("free space cannot be asked for, ignoring: {error}"),
        };
        let (bounds, wanted) = (self.config.limits.bounds(), self.config.limits.reserve_bytes());
        let mut held = reserve::held_bytes(&self.config.state_dir);
        let mut room = Room { free_bytes, reserve_whole: held >= wanted };
        if refills(&room, wanted.saturating_sub(held), &bounds) {
            match reserve::fill(&self.config.state_dir, wanted) {
                Ok(()) => {
                    room.reserve_whole = true;
                    room.free_bytes = free_bytes.saturating_sub(wanted.saturating_sub(held));
                    held = wanted;
                }
                Err(error) => log::warn!("the ledger's reserve cannot be filled, ignoring: {error}"),
            }
        }
        self.space.free_bytes.store(room.free_bytes, Ordering::Relaxed);
        let before = self.space.level();
        let had = self.space.reserve_bytes.swap(held, Ordering::Relaxed);
        if held < had {
            log::warn!(
                "the disk is full: {} bytes of the ledger's reserve were given up, {held} are left",
                had - held
            );
        }
        let level = judge(before, &room, &bounds);
        self.tell_space(level, room.free_bytes);
        if level != before {
            self.space.level.send_replace(level);
            let said = level.sentence().unwrap_or("There is room again.");
            let message = format!("space {}, {} bytes free: {said}", level.as_str(), room.free_bytes);
            let severity = if level > before { log::Level::Warn } else { log::Level::Info };
            let free = room.free_bytes.to_string();
            let fields = [("level", level.as_str()), ("free_bytes", free.as_str())];
            journal::record(severity, message_id::SPACE_CHANGED, &message, &fields);
        }
    }

    /// Puts what space stops into the state.
    fn tell_space(&self, level: Level, free_bytes: u64) {
        let mut waits = self.space.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, bounds) = (self.clock.monotonic(), self.config.limits.bounds());
        let promised_bytes = self.space.promised_bytes();
        let still = |(bytes, tried): &(u64, Instant)| {
            now.saturating_duration_since(*tried) < WAITS
                && !fits(free_bytes, promised_bytes, *bytes, &bounds)
        };
        *waits = waits.take().filter(still);
        match (level.sentence(), *waits) {
            (Some(sentence), _) if level >= Level::Tight => self.health.degrade(Part::Space, sentence),
            (_, Some((bytes, _))) => self.health.degrade(
                Part::Space,
                format!("A file of {bytes} bytes waits: sealed, it would leave less free space than limits.min_free_bytes."),
            ),
            (Some(sentence), None) => self.health.degrade(Part::Space, sentence),
            (None, None) => self.health.mend(Part::Space),
        }
    }

    /// Room for a file of `bytes` that is to be sealed now; `None` when it would leave too little. Asks the disk.
    pub(super) fn room_for(&self, bytes: u64) -> Result<Option<Promise<'_>>, DiskError> {
        let bounds = self.config.limits.bounds();
        let promise = self.space.promise(bytes, &bounds, || self.store.free_bytes())?;
        if promise.is_none() {
            let mut waits = self.space.too_large.lock().unwrap_or_else(PoisonError::into_inner);
            let most = waits.map_or(bytes, |(before, _)| before.max(bytes));
            *waits = Some((most, self.clock.monotonic()));
            drop(waits);
            self.space.changed.notify_one();
        }
        Ok(promise)
    }

    /// Refuses what the last level stops. The refusal is counted, and the count is an entry a minute later: what is left of
    /// the disk is out of reach of refusals (design §5).
    pub(super) async fn refuse_when_full(&self, person: &Person) -> Result<(), Refusal> {
        if self.space.level() < Level::Full {
            return Ok(());
        }
        let uid = person.principal.uid;
        self.ledger.look(move |desk| desk.flood.count(uid, desk.now.up_micros)).await?;
        Err(Refusal::new(
            RefusalKind::LedgerUnavailable,
            "The disk of the archive is full, and what is left is for purges and the record of refusals; try again when the \
             administrator has made room.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { warn_bytes: 100, seal_bytes: 100, serve_bytes: 10 };
    const MIB: u64 = 1 << 20;

    #[test]
    fn files_that_are_sealed_at_the_same_time_share_the_free_bytes() {
        let space = Space::default();
        let promise = |bytes| space.promise(bytes, &BOUNDS, || Ok(1000)).unwrap();
        let first = promise(500);
        assert!(first.is_some());
        assert!(promise(401).is_none(), "admitted against bytes that the first will take");
        let second = promise(400);
        assert!(second.is_some());
        drop(first);
        assert!(promise(501).is_none() && promise(500).is_some());
        drop(second);
        assert_eq!(space.promised_bytes(), 0);
    }

    #[test]
    fn what_is_promised_shrinks_as_it_is_written_and_a_rest_stands_to_the_end() {
        let space = Space::default();
        let mut promise = space.promise(100 * MIB, &BOUNDS, || Ok(u64::MAX)).unwrap().unwrap();
        for (read, left) in [(10, 100), (16, 100), (50, 66), (100, 16), (200, 0), (50, 0)] {
            promise.read_up_to(read * MIB);
            assert_eq!(space.promised_bytes(), left * MIB, "after {read} MiB");
        }
        drop(promise);
        assert_eq!(space.promised_bytes(), 0);
    }

    #[test]
    fn of_many_at_once_no_more_are_admitted_than_there_is_room_for() {
        let space = Space::default();
        let admitted = std::thread::scope(|scope| {
            let ask = || space.promise(100, &BOUNDS, || Ok(600)).unwrap();
            let asking: Vec<_> = (0..32).map(|_| scope.spawn(ask)).collect();
            let answers: Vec<_> = asking.into_iter().map(|one| one.join().unwrap()).collect();
            answers.iter().flatten().count()
        });
        assert_eq!((admitted, space.promised_bytes()), (5, 0));
    }

    #[test]
    fn a_disk_that_cannot_be_asked_promises_nothing() {
        let space = Space::default();
        let failed = || Err(DiskError::when("ask", std::path::Path::new("/"))(std::io::Error::other("gone")));
        assert!(space.promise(1, &BOUNDS, failed).is_err());
        assert_eq!(space.promised_bytes(), 0);
    }
}
