//! Room on the disk: measured, judged by `core::space`, and told (design §5, §10).
//!
//! Owns the level that the rest of the daemon asks, and the reserve's size. Every [`EVERY`], and whenever somebody has made
//! or used room: free bytes asked · reserve filled if there is room for it · judged · state, journal and status told. Must
//! never remove anything to make room: what is destroyed, retention decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::health::Part;
use super::person::Person;
use super::service::Service;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::space::{Level, Room, admits, judge, refills};
use crate::shell::disk::reserve;
use crate::shell::{journal, message_id};

/// How often free space is asked for.
const EVERY: Duration = Duration::from_secs(2);
/// A file that is too large for now is forgotten when it was not tried again for so long.
const WAITS: Duration = Duration::from_secs(30);

/// What is known of the disk.
pub struct Space {
    level: watch::Sender<Level>,
    free_bytes: AtomicU64,
    reserve_bytes: AtomicU64,
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
        let (now, bound) = (self.clock.monotonic(), self.config.limits.min_free_bytes);
        let still = |(bytes, tried): &(u64, Instant)| {
            now.saturating_duration_since(*tried) < WAITS && free_bytes < bound.saturating_add(*bytes)
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

    /// Whether a file of `bytes` may be sealed now. Asks the disk.
    pub(super) fn has_room_for(&self, bytes: u64) -> Result<bool, crate::shell::disk::durable::DiskError> {
        let bounds = self.config.limits.bounds();
        let room = Room { free_bytes: self.store.free_bytes()?, reserve_whole: true };
        let admitted = admits(self.space.level(), &room, bytes, &bounds);
        if !admitted {
            let mut waits = self.space.too_large.lock().unwrap_or_else(PoisonError::into_inner);
            let most = waits.map_or(bytes, |(before, _)| before.max(bytes));
            *waits = Some((most, self.clock.monotonic()));
            drop(waits);
            self.space.changed.notify_one();
        }
        Ok(admitted)
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
