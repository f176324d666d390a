//! Going on with a ledger that was put back from a backup, by order of an administrator (design §5).
//!
//! In order: `ledger.restored` durable, with both heads: the commit point · the second place overwritten with the new head ·
//! the order removed. A crash in between finds the order again, and the entry tells that it was carried out. Must never go
//! on without that entry: what was lost stays visible.

use std::io;
use std::path::Path;

use super::writer::Writer;
use crate::core::event::Event;
use crate::core::ledger::checkpoint::Checkpoint;
use crate::core::ledger::restore::{KnownHead, MAX_ORDER_BYTES, ORDER_FILE, RestoreOrder, Standing};
use crate::shell::disk::durable;
use crate::shell::disk::ledger_files::LedgerDir;

/// The head of a checkpoint.
pub(super) fn known_head(seen: &Checkpoint) -> KnownHead {
    KnownHead { size: seen.size, root: seen.root }
}

/// The order, if there is one.
pub(super) fn read_order(files: &LedgerDir) -> io::Result<Option<RestoreOrder>> {
    Ok(files.read(ORDER_FILE, MAX_ORDER_BYTES)?.and_then(|bytes| RestoreOrder::parse(&bytes)))
}

impl Writer {
    /// Carries an order out, or what is left of it.
    pub(super) fn carry_out(
        &mut self,
        order: &RestoreOrder,
        standing: Standing,
        second_place: &Path,
    ) -> io::Result<()> {
        match standing {
            Standing::Foreign => {
                log::warn!("ledger/{ORDER_FILE} is for another state of the ledger, and is removed");
            }
            Standing::Due => {
                let (here, known) = (order.here.size, order.known.size);
                log::warn!("the ledger was put back: {here} entries, and a head of {known} is given up");
                self.new_tail_with(Event::LedgerRestored(order.event()))?;
            }
            Standing::Done => {}
        }
        if standing != Standing::Foreign {
            let (Some(dir), Some(name)) =
                (second_place.parent(), second_place.file_name().and_then(|name| name.to_str()))
            else {
                return Err(io::Error::other(format!("{} is no file name", second_place.display())));
            };
            durable::write_file_atomic(dir, name, self.checkpoint.as_bytes()).map_err(io::Error::other)?;
        }
        self.files.remove(ORDER_FILE).map(|_| ())
    }
}
