//! Reading back, when the service starts, what the details of standing things tell: whose the openings of the last day were,
//! who holds what, who asked and who answered.

use std::io;
use std::sync::Arc;

use super::errors::chain;
use super::service::Service;
use crate::core::event::{Detail, Record};
use crate::core::ledger::entry::Entry;
use crate::core::refusal::Refusal;
use crate::core::register::told::Told;

/// An entry, and its detail when it can still be read.
type Read = (Record, Option<Detail>);

impl Service {
    /// Reads back from their details what the fold does not know. To be done before anybody can ask.
    pub(super) async fn learn_told(self: &Arc<Self>) -> Result<(), Refusal> {
        let entries = self.ledger.look(|desk| Told::wanted(desk.state)).await?;
        if entries.is_empty() {
            return Ok(());
        }
        let service = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let entries: Vec<u64> = entries.into_iter().collect();
            // The entries of a bundle together: it is read as a whole.
            let bundles = entries.chunk_by(|a, b| a / 256 == b / 256);
            bundles.map(|entries| service.read_told(entries)).collect::<io::Result<Vec<_>>>()
        });
        let found = reading.await.map_err(io::Error::other).and_then(|found| found).map_err(|error| {
            log::error!("the ledger could not be read back: {}", chain(&error));
            Refusal::internal()
        })?;
        self.ledger
            .look(move |desk| {
                // Each list is in the order of entries, and so are the lists.
                for (record, detail) in found.into_iter().flatten() {
                    desk.told.note(&record, detail.as_ref(), desk.state);
                }
            })
            .await
    }

    /// `entries`: in order, of one bundle.
    fn read_told(&self, entries: &[u64]) -> io::Result<Vec<Read>> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let lines = self.reader.entries(*first, last.saturating_sub(*first).saturating_add(1), usize::MAX)?;
        let wanted = lines.iter().filter(|line| entries.binary_search(&line.seq).is_ok());
        let read = wanted.map(|line| {
            let entry = Entry::parse(&line.line).map_err(io::Error::other)?;
            let record = Record::of(entry).map_err(io::Error::other)?;
            // One that cannot be opened tells nothing, like one that is destroyed; the others do.
            let detail = self.reader.detail(line).and_then(|detail| {
                detail.map(|detail| Detail::parse(&detail).map_err(io::Error::other)).transpose()
            });
            let detail = detail.unwrap_or_else(|error| {
                log::error!("the detail of entry {} cannot be read back: {}", line.seq, chain(&error));
                None
            });
            Ok((record, detail))
        });
        read.collect()
    }
}
