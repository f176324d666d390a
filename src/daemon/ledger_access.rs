//! Reading the ledger and proving what is in it: accesses like any other, recorded before the first line leaves
//! (invariant 2).

use std::sync::Arc;

use super::person::{Person, allowed, decide_for};
use super::service::Service;
use crate::core::event::{Draft, Event, LedgerProved, LedgerRead, Outcome};
use crate::core::policy::{Decision, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};

/// Most lines in one reply.
const MAX_LINES: u32 = 256;
/// Most bytes of entries in one reply; with details a reply may have twice as many.
const MAX_BYTES: usize = 4 << 20;

impl Service {
    async fn record_reading(&self, person: Person, read: LedgerRead) -> Result<u64, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(Event::LedgerRead(read));
            match decide_for(desk, &person, &person.asks(Verb::ReadLedger, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::ReadLedger, denial, draft),
            }
        });
        Ok(allowed(recorded.await?)?.entry())
    }

    /// `Ledger.Head`.
    pub(super) async fn head_for(&self, person: Person) -> Result<String, Refusal> {
        let size = self.ledger.head().size;
        let read = LedgerRead { from: size, count: 0, details: false, epochs: false };
        self.record_reading(person, read).await?;
        Ok(self.ledger.head().checkpoint.to_string())
    }

    /// `Ledger.Read`: entries, each followed by its detail if that is asked for.
    pub(super) async fn read_for(
        self: &Arc<Self>,
        person: Person,
        from: u64,
        count: u32,
        details: bool,
    ) -> Result<Vec<String>, Refusal> {
        let count = count.min(if details { MAX_LINES / 2 } else { MAX_LINES });
        self.record_reading(person, LedgerRead { from, count: count.into(), details, epochs: false }).await?;
        let service = self.clone();
        let read = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<String>> {
            let mut lines = Vec::new();
            let mut bytes = 0;
            for line in service.reader.entries(from, count.into(), MAX_BYTES)? {
                let detail = if details { service.reader.detail(&line)? } else { None };
                bytes += line.line.len() + detail.as_ref().map_or(0, Vec::len);
                // An entry and its detail are never in different replies; the first pair goes whatever its size.
                if bytes > MAX_BYTES && !lines.is_empty() {
                    break;
                }
                lines.push(text(&line.line)?);
                if let Some(detail) = detail {
                    lines.push(text(&detail)?);
                }
            }
            Ok(lines)
        });
        answer(read.await)
    }

    /// `Ledger.Epochs`.
    pub(super) async fn epochs_for(
        self: &Arc<Self>,
        person: Person,
        from: u64,
        count: u32,
    ) -> Result<Vec<String>, Refusal> {
        let count = count.min(MAX_LINES);
        self.record_reading(person, LedgerRead { from, count: count.into(), details: false, epochs: true })
            .await?;
        let service = self.clone();
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let take = usize::try_from(count).unwrap_or(0);
        answer(tokio::task::spawn_blocking(move || service.reader.closing_checkpoints(skip, take)).await)
    }

    /// `Ledger.Receipt`: for the head that covers the entry `ledger.proved` too.
    pub(super) async fn receipt_for(self: &Arc<Self>, person: Person, entry: u64) -> Result<String, Refusal> {
        let asked = LedgerProved { what: "receipt".into(), entry: Some(entry), old: None, new: None };
        self.record_proving(person, asked, entry.saturating_add(1)).await?;
        let (service, head) = (self.clone(), self.ledger.head());
        answer(tokio::task::spawn_blocking(move || service.reader.receipt(entry, &head)).await)
    }

    /// `Ledger.Consistency`.
    pub(super) async fn consistency_for(
        self: &Arc<Self>,
        person: Person,
        old: u64,
        new: u64,
    ) -> Result<Vec<String>, Refusal> {
        let asked = LedgerProved { what: "consistency".into(), entry: None, old: Some(old), new: Some(new) };
        self.record_proving(person, asked, new).await?;
        let service = self.clone();
        let proof = tokio::task::spawn_blocking(move || service.reader.consistency(old, new)).await;
        Ok(answer(proof)?.iter().map(ToString::to_string).collect())
    }

    /// Records the question. It is about the first `size` entries: with fewer in the ledger when it was asked, the outcome
    /// is `failed`, and the answer says how many there are.
    async fn record_proving(&self, person: Person, asked: LedgerProved, size: u64) -> Result<(), Refusal> {
        let durable = self.ledger.head().size;
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(Event::LedgerProved(asked));
            match decide_for(desk, &person, &person.asks(Verb::ReadLedger, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let (outcome, answer) =
                        if size <= durable { (Outcome::Granted, true) } else { (Outcome::Failed, false) };
                    let detail = person.detail(permit.rule());
                    let draft = draft.outcome(outcome).with_detail(detail);
                    Ok(person.permitted(desk, Some(&permit), draft, answer))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::ReadLedger, denial, draft),
            }
        });
        let recorded = allowed(recorded.await?)?;
        let entry = recorded.entry();
        if recorded.into_value() {
            return Ok(());
        }
        let sentence = format!(
            "The ledger had {durable} entries when you asked, numbered from 0; ask for what is among them. Recorded as entry {entry}."
        );
        Err(Refusal::new(RefusalKind::NotFound, sentence))
    }
}

fn text(line: &[u8]) -> std::io::Result<String> {
    String::from_utf8(line.to_vec()).map_err(std::io::Error::other)
}

fn answer<T>(read: Result<std::io::Result<T>, tokio::task::JoinError>) -> Result<T, Refusal> {
    read.map_err(std::io::Error::other).and_then(|read| read).map_err(|error| {
        log::error!("the ledger could not be read back: {error}");
        Refusal::internal()
    })
}
