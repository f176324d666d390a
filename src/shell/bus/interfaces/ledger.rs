//! `org.greffier.Archive1.Ledger`.

use zbus::message::Header;

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::Desk;

/// Reading the ledger: an access like any other.
pub struct LedgerInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Ledger")]
impl<A: Archive> LedgerInterface<A> {
    /// The signed checkpoint as it stands now. For auditors.
    #[zbus(out_args("checkpoint"))]
    async fn head(&self, #[zbus(header)] header: Header<'_>) -> Result<String, BusError> {
        self.0.run(&header, |archive, caller| async move { archive.head(caller).await }).await
    }

    /// Entries from number `from` on, at most `count`, 256 lines and 4 MiB. With `details b` true each entry that has a
    /// detail is followed by its detail line. For auditors.
    #[zbus(out_args("lines"))]
    async fn read(
        &self,
        #[zbus(header)] header: Header<'_>,
        from: u64,
        count: u32,
        request: Dict,
    ) -> Result<Vec<String>, BusError> {
        let details = wire::read_request(request)?;
        self.0
            .run(&header, |archive, caller| async move { archive.read(caller, from, count, details).await })
            .await
    }

    /// Closing checkpoints of earlier key epochs, oldest first, at most `count` without the first `from`. For auditors.
    #[zbus(out_args("checkpoints"))]
    async fn epochs(
        &self,
        #[zbus(header)] header: Header<'_>,
        from: u64,
        count: u32,
    ) -> Result<Vec<String>, BusError> {
        self.0.run(&header, |archive, caller| async move { archive.epochs(caller, from, count).await }).await
    }

    /// A file that proves that entry number `entry` is in the ledger, as a C2SP tlog-proof: the entry without its detail,
    /// the inclusion proof, and the signed checkpoint as it stands now. For auditors.
    #[zbus(out_args("receipt"))]
    async fn receipt(&self, #[zbus(header)] header: Header<'_>, entry: u64) -> Result<String, BusError> {
        let entry = wire::entry(entry)?;
        self.0.run(&header, |archive, caller| async move { archive.receipt(caller, entry).await }).await
    }

    /// The consistency proof (RFC 6962) that the ledger of `new` entries begins with that of `old`: hashes in base64. For
    /// auditors.
    #[zbus(out_args("proof"))]
    async fn consistency(
        &self,
        #[zbus(header)] header: Header<'_>,
        old: u64,
        new: u64,
    ) -> Result<Vec<String>, BusError> {
        let (old, new) = wire::sizes(old, new)?;
        self.0
            .run(&header, |archive, caller| async move { archive.consistency(caller, old, new).await })
            .await
    }

    /// The last published checkpoint; it changes at most once a minute.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn checkpoint(&self) -> String {
        self.0.archive.published_checkpoint()
    }

    /// First line of every checkpoint.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn origin(&self) -> String {
        self.0.archive.origin()
    }

    /// The log key as a vkey line.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn verifier_key(&self) -> String {
        self.0.archive.verifier_key()
    }
}
