//! `org.greffier.Archive1.Manager`.

use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::{Desk, ROOT};

/// The service itself.
pub struct ManagerInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Manager")]
impl<A: Archive> ManagerInterface<A> {
    /// Numbers, for everybody: `state s`, `why s`, `version s`, `entries t`, `recordings t`, `holds t`, `sessions t`, `due t`,
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

    /// The state changed: the new state, and why.
    #[zbus(signal)]
    async fn state_changed(emitter: &SignalEmitter<'_>, state: &str, why: &str) -> zbus::Result<()>;
}

/// Tells everybody the new state.
pub async fn announce_state(bus: &zbus::Connection, state: &str, why: &str) {
    let interface = "org.greffier.Archive1.Manager";
    let sent = bus.emit_signal(None::<&str>, ROOT, interface, "StateChanged", &(state, why)).await;
    if let Err(error) = sent {
        log::debug!("a change of state could not be announced, ignoring: {error}");
    }
}
