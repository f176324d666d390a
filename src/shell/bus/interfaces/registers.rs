//! `org.greffier.Archive1.Registers`.

use zbus::message::Header;

use super::super::archive::Archive;
use super::super::wire::{BusError, Dict, registers};
use super::Desk;

/// Who may do what, for whom, with whose approval.
pub struct RegistersInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Registers")]
impl<A: Archive> RegistersInterface<A> {
    /// The rows of `register` (`grants`, `mandates`, `approvals`, `charter`): those about the caller, or all for whoever may
    /// see them. Keys of the filter: `user s`, `state s`. It is an entry.
    #[zbus(out_args("rows"))]
    async fn list(
        &self,
        #[zbus(header)] header: Header<'_>,
        register: String,
        filter: Dict,
    ) -> Result<Vec<Dict>, BusError> {
        let register = registers::register(&register)?;
        let filter = registers::register_filter(filter)?;
        let list = |archive: std::sync::Arc<A>, caller| async move {
            archive.list_register(caller, register, filter).await
        };
        let rows = self.0.run(&header, list).await?;
        Ok(rows.into_iter().map(registers::register_row).collect())
    }

    /// Records an act and returns the id of what it is about, and the entry. Of `grants`: `propose`, `approve`, `refuse`, `end`,
    /// `suspend`, `review`; of `mandates`: `give`, `change`, `withdraw`, `done`; of `approvals`: `ask`, `accept`, `refuse`; of
    /// `charter`: `acknowledge`. The keys of each stand in greffier-bus(7).
    #[zbus(out_args("id", "entry"))]
    async fn record(
        &self,
        #[zbus(header)] header: Header<'_>,
        register: String,
        act: String,
        request: Dict,
    ) -> Result<(String, u64), BusError> {
        let act = registers::register_act(registers::register(&register)?, &act, request)?;
        let record =
            |archive: std::sync::Arc<A>, caller| async move { archive.record_act(caller, act).await };
        self.0.run(&header, record).await
    }
}
