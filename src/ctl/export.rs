//! `ledger export DIR`: the whole ledger as files that an auditor can take away.
//!
//! Owns the order: the head first, then every entry below it, then the checkpoints, the head's file last. So a folder
//! without `checkpoint` is an export that did not end. Must never write over a file.

mod writer;

use std::path::Path;

use serde_json::json;
use zbus::Connection;

use super::ledger::{self, Line, Pages};
use super::tree::WriteError;
use super::{print, sentence};
use crate::shell::bus::client::{Failure, LedgerProxy};
use crate::shell::terminal::{self, Form};
use writer::Writer;

/// Writes the ledger up to the head of now to `dir`, which must not exist or be empty.
pub async fn export(bus: &Connection, form: Form, dir: &Path, details: bool) -> Result<u8, Failure> {
    let ledger = LedgerProxy::new(bus).await?;
    let (head_text, head) = ledger::head(&ledger).await?;
    let mut writer = Writer::create(dir, details).map_err(failed)?;
    let mut pages = Pages::new(&ledger, 0, head.size, details);
    while let Some(page) = pages.next().await? {
        for (kind, line) in page {
            match kind {
                Line::Entry => writer.entry(line),
                Line::Detail => writer.detail(&line),
            }
            .map_err(failed)?;
        }
    }
    for text in ledger::epochs(&ledger).await? {
        writer.epoch_checkpoint(&text, &head).map_err(failed)?;
    }
    writer.line("origin", &ledger.origin().await?).map_err(failed)?;
    writer.line("vkey", &ledger.verifier_key().await?).map_err(failed)?;
    writer.finish(&head_text, &head).map_err(failed)?;

    let facts = json!({ "dir": dir.to_string_lossy(), "entries": head.size, "root": head.root.to_string() });
    print(&terminal::facts(form, &["dir", "entries"], &facts.as_object().cloned().unwrap_or_default()))?;
    eprintln!(
        "Check it elsewhere: greffier-verify ledger DIR --key VKEY, with the vkey line kept outside this machine."
    );
    Ok(0)
}

fn failed(error: WriteError) -> Failure {
    match error {
        WriteError::Taken(_) => Failure::Usage(sentence(&error)),
        _ => Failure::Refused(sentence(&error)),
    }
}
