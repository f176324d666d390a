//! `org.greffier.Archive1.Manager`.

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::wire::OwnedObjectPath;

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::{Desk, ROOT, SCRUB};
use crate::core::refusal::Refusal;

/// The service itself.
pub struct ManagerInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Manager")]
impl<A: Archive> ManagerInterface<A> {
    /// Numbers, for everybody: `state s`, `why s`, `version s`, `entries t`, `recordings t`, `holds t`, `sessions t`, `due t`,
    /// `reviews_open t`, `reviews_overdue t`,
    /// `space s` (`ample`, `low`, `tight`, `full`), `free t`, `medium s`, `served t`;
    /// while the catalogue is rebuilt `index_done t` and `index_total t` too.
    #[zbus(out_args("status"))]
    async fn status(&self, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        // For everybody; the caller is named so that his calls in flight are bounded.
        let status = self.0.run(&header, |archive, _| async move { Ok(archive.status().await) }).await?;
        Ok(wire::status(status))
    }

    /// Reads the policy again. A bad one is refused and the old one stays. For administrators.
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        self.0.run(&header, |archive, caller| async move { archive.reload(caller).await }).await
    }

    /// Makes the catalogue anew from the ledger, beside the one in use, and puts it in its place; the reply comes then.
    /// `Conflict` while that is under way already. For administrators.
    async fn rebuild_index(&self, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        self.0.run(&header, |archive, caller| async move { archive.rebuild_index(caller).await }).await
    }

    /// Begins to read every object and every key from the medium, compares them with the ledger, and returns the object
    /// that shows how far it is. It goes on where an earlier one did not come to its end. `Conflict` while one runs.
    /// Request: `rate t` (MiB a second, 0 without a limit), `recording s` (this one alone), `restart b`. For
    /// administrators.
    #[zbus(out_args("scrub"))]
    async fn scrub(
        &self,
        #[zbus(header)] header: Header<'_>,
        request: Dict,
    ) -> Result<OwnedObjectPath, BusError> {
        let request = wire::scrub_request(request)?;
        self.0.run(&header, |archive, caller| async move { archive.scrub(caller, request).await }).await?;
        Ok(OwnedObjectPath::try_from(SCRUB).map_err(|_| Refusal::internal())?)
    }

    /// Changes the master key: every key is wrapped anew, then the key files and the credential before are overwritten and removed.
    /// Keys of the request: `ground s`. For administrators.
    async fn rotate_keys(&self, request: Dict, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        let ground = wire::rotate_request(request)?;
        self.0.run(&header, |archive, caller| async move { archive.rotate_keys(caller, ground).await }).await
    }

    /// The master key as a file of the age format, sealed to the recipients `to as` (`age1…`), and the entry. For administrators.
    #[zbus(out_args("backup", "entry"))]
    async fn backup_keys(
        &self,
        request: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<u8>, u64), BusError> {
        let to = wire::backup_request(request)?;
        self.0.run(&header, |archive, caller| async move { archive.backup_keys(caller, to).await }).await
    }

    /// Records a drill. Keys of the request: `generation t`, and `answer s`, which only the master key of that generation gives. An answer
    /// that is not that of the key in force is `Conflict`, and an entry. For administrators.
    #[zbus(out_args("entry"))]
    async fn check_backup(&self, request: Dict, #[zbus(header)] header: Header<'_>) -> Result<u64, BusError> {
        let (generation, answer) = wire::check_backup_request(request)?;
        let check = |archive: std::sync::Arc<A>, caller| async move {
            archive.check_backup(caller, generation, answer).await
        };
        self.0.run(&header, check).await
    }

    /// Version of the program.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    /// `ready`, `degraded` or `closed`.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn state(&self) -> String {
        self.0.archive.state().0
    }

    /// Why it is not `ready`, and what to do; empty when it is.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn why(&self) -> String {
        self.0.archive.state().1
    }

    /// A recording was opened in an emergency; the entry that grants it. It must be reviewed.
    #[zbus(signal)]
    async fn emergency(emitter: &SignalEmitter<'_>, entry: u64) -> zbus::Result<()>;

    /// The state changed: the new state, and why.
    #[zbus(signal)]
    async fn state_changed(emitter: &SignalEmitter<'_>, state: &str, why: &str) -> zbus::Result<()>;
}

/// Tells everybody of an emergency: a number, and nothing else.
pub async fn announce_emergency(bus: &zbus::Connection, entry: u64) {
    let interface = "org.greffier.Archive1.Manager";
    let sent = bus.emit_signal(None::<&str>, ROOT, interface, "Emergency", &(entry,)).await;
    if let Err(error) = sent {
        log::error!("an emergency could not be announced on the bus: {error}");
    }
}

/// Tells everybody the new state.
pub async fn announce_state(bus: &zbus::Connection, state: &str, why: &str) {
    let interface = "org.greffier.Archive1.Manager";
    let sent = bus.emit_signal(None::<&str>, ROOT, interface, "StateChanged", &(state, why)).await;
    if let Err(error) = sent {
        log::debug!("a change of state could not be announced, ignoring: {error}");
    }
}
