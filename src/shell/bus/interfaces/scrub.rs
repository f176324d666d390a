//! `org.greffier.Archive1.Scrub`: how far the reading of the store is.

use zbus::message::Header;

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::Desk;

/// Where the scrub that runs, or ran last, stands on the bus.
pub const SCRUB: &str = "/org/greffier/Archive1/scrub";

/// The scrub that runs, or ran last. Its properties are numbers and tell of no recording.
pub struct ScrubInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Scrub")]
impl<A: Archive> ScrubInterface<A> {
    /// Ends the scrub that runs; the next one goes on from there. For administrators.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        self.0.run(&header, |archive, caller| async move { archive.cancel_scrub(caller).await }).await
    }

    /// What it has found, the first thousand: rows of `what s` and, where there is one, `recording s` and `offset t`. For
    /// administrators.
    #[zbus(out_args("rows"))]
    async fn findings(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dict>, BusError> {
        let found = self
            .0
            .run(&header, |archive, caller| async move { archive.scrub_findings(caller).await })
            .await?;
        Ok(found.into_iter().map(wire::scrub_finding).collect())
    }

    /// Which scrub since the service started; 0 before the first.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn number(&self) -> u64 {
        self.0.archive.scrub_progress().number
    }

    /// Whether it runs.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn running(&self) -> bool {
        self.0.archive.scrub_progress().running
    }

    /// How fast it reads at most, in bytes a second; 0 without a limit.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn rate(&self) -> u64 {
        self.0.archive.scrub_progress().bytes_per_s
    }

    /// Recordings read to their end, or found damaged.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn recordings(&self) -> u64 {
        self.0.archive.scrub_progress().counts.recordings
    }

    /// Recordings in the archive when it began.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn recordings_total(&self) -> u64 {
        self.0.archive.scrub_progress().recordings_total
    }

    /// Bytes of objects read.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn bytes(&self) -> u64 {
        self.0.archive.scrub_progress().counts.bytes
    }

    /// Bytes of the recordings in the archive when it began; a little more is read.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn bytes_total(&self) -> u64 {
        self.0.archive.scrub_progress().bytes_total
    }

    /// Key slots read.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn keys(&self) -> u64 {
        self.0.archive.scrub_progress().counts.keys
    }

    /// Recordings found damaged, and names that do not belong into the store.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn damaged(&self) -> u64 {
        self.0.archive.scrub_progress().counts.damaged
    }

    /// Copies of key slots that were written again from the good one.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn repaired(&self) -> u64 {
        self.0.archive.scrub_progress().counts.repaired
    }

    /// Recordings that could not be looked at; the journal says why.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn unread(&self) -> u64 {
        self.0.archive.scrub_progress().counts.unread
    }
}
