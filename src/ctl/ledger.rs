//! `ledger log` and `ledger read`, and the walk through the ledger that they and the export share.
//!
//! Must never change a line: an entry is hashed as the bytes written.

use serde_json::{Map, Value};
use zbus::Connection;
use zbus::wire::Variant;

use super::print;
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::entry::Entry;
use crate::shell::bus::client::{Failure, LedgerProxy, READ_LINES_MAX, Request};
use crate::shell::terminal::{self, Form};

/// How many checkpoints are asked for at once.
const EPOCHS_PER_CALL: u32 = 256;

const COLUMNS: [&str; 7] = ["seq", "time", "event", "outcome", "source", "recording", "reason"];
const FACTS: [&str; 7] = ["seq", "time", "event", "outcome", "recording", "source", "reason"];

/// Prints entries from `from`, or the last `count`.
pub async fn log(bus: &Connection, form: Form, from: Option<u64>, count: u64) -> Result<u8, Failure> {
    let ledger = LedgerProxy::new(bus).await?;
    let (_, head) = head(&ledger).await?;
    let first = from.unwrap_or_else(|| head.size.saturating_sub(count));
    if first >= head.size {
        return Err(Failure::Usage(format!("The ledger has {} entries; name one below that.", head.size)));
    }
    let end = head.size.min(first.saturating_add(count));
    let mut pages = Pages::new(&ledger, first, end, false);
    while let Some(lines) = pages.next().await? {
        let lines = lines.into_iter().map(|(_, line)| line);
        match form {
            Form::Json => print(&lines.map(|line| line + "\n").collect::<String>())?,
            _ => {
                print(&terminal::rows(form, &COLUMNS, &lines.map(|line| object(&line)).collect::<Vec<_>>()))?
            }
        }
    }
    Ok(0)
}

/// Prints one entry, and its detail where it is wanted and still there.
pub async fn read(bus: &Connection, form: Form, entry: u64, details: bool) -> Result<u8, Failure> {
    let ledger = LedgerProxy::new(bus).await?;
    let mut pages = Pages::new(&ledger, entry, entry.saturating_add(1), details);
    let lines = pages.next().await?.unwrap_or_default();
    let has_detail = lines.iter().any(|(kind, _)| *kind == Line::Detail);
    for (_, line) in &lines {
        match form {
            Form::Table => print(&terminal::facts(form, &FACTS, &object(line)))?,
            Form::Json | Form::Lines => print(&format!("{line}\n"))?,
        }
    }
    if details && !has_detail {
        eprintln!("This entry has no personal part, or it was destroyed.");
    }
    Ok(0)
}

/// The signed checkpoint of now: its text, and what it says.
pub async fn head(ledger: &LedgerProxy<'_>) -> Result<(String, Checkpoint), Failure> {
    let text = ledger.head().await?;
    let (checkpoint, _) = SignedCheckpoint::read(&text)
        .map_err(|error| Failure::Unavailable(format!("The service sent a bad checkpoint: {error}.")))?;
    Ok((text, checkpoint))
}

/// The closing checkpoints of all earlier key epochs, oldest first, as the service sent them.
pub async fn epochs(ledger: &LedgerProxy<'_>) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    loop {
        let from = all.len() as u64;
        let some = ledger.epochs(from, EPOCHS_PER_CALL).await?;
        let last = some.len() < EPOCHS_PER_CALL as usize;
        all.extend(some);
        if last {
            return Ok(all);
        }
    }
}

/// What a line of `Ledger.Read` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// An entry.
    Entry,
    /// The personal part of the entry before it.
    Detail,
}

/// Entries of the ledger in order, none left out, page after page.
pub struct Pages<'a> {
    ledger: &'a LedgerProxy<'a>,
    next: u64,
    end: u64,
    details: bool,
}

impl<'a> Pages<'a> {
    /// Entries `from` to `end` (which is not included), with their details or without.
    pub fn new(ledger: &'a LedgerProxy<'a>, from: u64, end: u64, details: bool) -> Self {
        Self { ledger, next: from, end, details }
    }

    /// The next page; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<(Line, String)>>, Failure> {
        if self.next >= self.end {
            return Ok(None);
        }
        let count = u32::try_from(self.end - self.next).unwrap_or(READ_LINES_MAX).min(READ_LINES_MAX);
        let request: Request<'_> =
            self.details.then(|| ("details", Variant::from(true))).into_iter().collect();
        let mut page = Vec::new();
        for line in self.ledger.read(self.next, count, request).await? {
            let kind = kind_of(&line, self.next, self.end)?;
            if kind == Line::Entry {
                self.next += 1;
            }
            page.push((kind, line));
        }
        if page.is_empty() {
            return Err(Failure::Usage(format!(
                "The ledger has no entry {}; name an earlier one.",
                self.next
            )));
        }
        Ok(Some(page))
    }
}

/// What `line` is, given that entry `next` comes next and the last wanted one is before `end`.
fn kind_of(line: &str, next: u64, end: u64) -> Result<Line, Failure> {
    if line.starts_with("{\"seq\":") {
        return Ok(Line::Detail);
    }
    let bad = |what: String| Failure::Refused(format!("The service sent {what} where entry {next} belongs."));
    let entry =
        Entry::parse(line.as_bytes()).map_err(|error| bad(format!("a line that is no entry ({error})")))?;
    match entry.seq {
        seq if seq == next && seq < end => Ok(Line::Entry),
        seq => Err(bad(format!("entry {seq}"))),
    }
}

fn object(line: &str) -> Map<String, Value> {
    serde_json::from_str(line).unwrap_or_default()
}
