//! `org.greffier.Archive1.Recordings` and `…Session`.

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::wire::{OwnedFd, OwnedObjectPath};

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::{Desk, ROOT};
use crate::core::ids::SessionId;
use crate::core::refusal::Refusal;

/// Search, look at, open, seal.
pub struct RecordingsInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Recordings")]
impl<A: Archive> RecordingsInterface<A> {
    /// One page of the recordings that the caller may search for the stated reason, oldest first, and the cursor of the
    /// next page (empty at the end). Filter: `reason s` (required), `source as`, `kind s`, `from s`, `to s`, `held b`.
    /// `limit`: 1 to 1000. Each call is an entry.
    #[zbus(out_args("rows", "next"))]
    async fn search(
        &self,
        #[zbus(header)] header: Header<'_>,
        filter: Dict,
        limit: u32,
        cursor: String,
    ) -> Result<(Vec<Dict>, String), BusError> {
        let filter = wire::filter(filter)?;
        if !(1..=1000).contains(&limit) {
            return Err(Refusal::invalid("The limit must be between 1 and 1000.").into());
        }
        let found = self.0.run(&header, |archive, caller| async move {
            archive.search(caller, filter, limit, cursor).await
        });
        let (rows, next) = found.await?;
        Ok((rows.into_iter().map(wire::row).collect(), next))
    }

    /// What is known of one recording, without opening it. Each call is an entry.
    #[zbus(out_args("row"))]
    async fn describe(&self, #[zbus(header)] header: Header<'_>, id: String) -> Result<Dict, BusError> {
        let row =
            self.0.run(&header, |archive, caller| async move { archive.describe(caller, id).await }).await?;
        Ok(wire::row(row))
    }

    /// Opens a recording: a session object, a descriptor that works for this caller alone, and `bytes t`, `media s`,
    /// `expires s`, `entry t`. Request: `reason s` (required), `purpose s`, `case s`, `text s`, `mode s` (`seek` or
    /// `stream`), `until s`. The entry that grants it is durable before the descriptor leaves.
    #[zbus(out_args("session", "descriptor", "info"))]
    async fn open(
        &self,
        #[zbus(header)] header: Header<'_>,
        id: String,
        request: Dict,
    ) -> Result<(OwnedObjectPath, OwnedFd, Dict), BusError> {
        let request = wire::open_request(request)?;
        let opened = self
            .0
            .run(&header, |archive, caller| async move { archive.open(caller, id, request).await })
            .await?;
        let path = session_path(&opened.session)?;
        let info = wire::opened(opened.bytes, opened.media, opened.expires, opened.entry);
        Ok((path, opened.descriptor.into(), info))
    }

    /// Seals a regular file, or a memfd sealed against writing, and returns the id of the recording and the number of
    /// its entry. Metadata: `source s` (required), `start s`, `end s`, `name s`, `subject s`.
    #[zbus(out_args("id", "entry"))]
    async fn seal(
        &self,
        #[zbus(header)] header: Header<'_>,
        file: OwnedFd,
        metadata: Dict,
    ) -> Result<(String, u64), BusError> {
        let request = wire::seal_request(metadata)?;
        let sealed = self
            .0
            .run(&header, |archive, caller| async move { archive.seal(caller, file.into(), request).await });
        let (id, entry) = sealed.await?;
        Ok((id.to_string(), entry))
    }
}

/// One opened recording.
pub struct SessionInterface<A> {
    desk: Desk<A>,
    id: SessionId,
}

impl<A: Archive> SessionInterface<A> {
    /// The object of session `id`.
    pub fn new(desk: Desk<A>, id: SessionId) -> Self {
        Self { desk, id }
    }
}

#[zbus::interface(name = "org.greffier.Archive1.Session")]
impl<A: Archive> SessionInterface<A> {
    /// Ends the session: the next read of its descriptor fails. Only its owner may.
    async fn close(&self, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        let id = self.id;
        self.desk.run(&header, |archive, caller| async move { archive.close(caller, id).await }).await
    }

    /// `recording s`, `opened s`, `expires s`, `bytes t`, `ranges a(tt)`: for its owner, and for auditors.
    #[zbus(out_args("info"))]
    async fn info(&self, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let id = self.id;
        let info =
            self.desk.run(&header, |archive, caller| async move { archive.session_info(caller, id).await });
        Ok(wire::session(info.await?))
    }

    /// Sent to the owner alone when the session has ended.
    #[zbus(signal)]
    async fn ended(emitter: &SignalEmitter<'_>, why: &str) -> zbus::Result<()>;
}

/// Where a session stands on the bus.
pub fn session_path(id: &SessionId) -> Result<OwnedObjectPath, Refusal> {
    OwnedObjectPath::try_from(format!("{ROOT}/session/{id}")).map_err(|_| Refusal::internal())
}

/// Takes the session off the bus and tells its owner, and nobody else, that it has ended.
pub async fn announce_end<A: Archive>(bus: &zbus::Connection, id: &SessionId, owner: &str, why: &str) {
    let Ok(path) = session_path(id) else { return };
    let _was_there = bus.object_server().remove::<SessionInterface<A>, _>(&path).await;
    let sent = bus.emit_signal(Some(owner), &path, "org.greffier.Archive1.Session", "Ended", &(why,)).await;
    if let Err(error) = sent {
        log::debug!("the owner of a session could not be told of its end, ignoring: {error}");
    }
}
