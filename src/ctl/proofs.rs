//! `ledger receipt` and `ledger consistency`: proofs to take away.
//!
//! What the service sends is checked before it is handed on, as far as it can be without the auditor's key. Must never
//! write over a file, nor ask the service before it is clear that the answer has a place: each question is an entry.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use zbus::Connection;

use super::ledger::{Line, Pages};
use super::{print, sentence};
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::{Hash, detail_commitment};
use crate::core::ledger::note::MAX_NOTE_BYTES;
use crate::core::ledger::proof::{MAX_PROOF_HASHES, verify_consistency};
use crate::core::ledger::receipt::Receipt;
use crate::shell::bus::client::{Failure, LedgerProxy};
use crate::shell::terminal::Form;

/// Gets the receipt of an entry, and opens its commitment where that is wanted.
pub async fn receipt(
    bus: &Connection,
    form: Form,
    entry: u64,
    with_detail: bool,
    output: Option<&Path>,
) -> Result<u8, Failure> {
    let file = output.map(create).transpose()?;
    let made = make(bus, entry, with_detail).await;
    let written = made.and_then(|receipt| {
        let text = receipt.to_string();
        if let (Some(mut file), Some(path)) = (file, output) {
            let done = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            done.map_err(|error| cannot_write(path, &error))?;
        }
        Ok((receipt, text))
    });
    let (receipt, text) = written.inspect_err(|_| {
        // Ours and without a receipt: the next attempt needs the name.
        if let Some(path) = output {
            let _left_behind = std::fs::remove_file(path);
        }
    })?;
    let (head, _) = receipt.head();
    match (form, output) {
        (Form::Json, _) => {
            let file = output.map(|path| path.to_string_lossy());
            let text = Some(&text).filter(|_| output.is_none());
            let object = json!({
                "entry": entry, "size": head.size, "root": head.root.to_string(), "detail": receipt.detail().is_some(),
                "file": file, "receipt": text,
            });
            print(&format!("{object}\n"))?;
        }
        (_, None) => print(&text)?,
        (_, Some(path)) => eprintln!(
            "Entry {entry} is proved in {}. Check it elsewhere: greffier-verify receipt FILE --key VKEY",
            path.display()
        ),
    }
    Ok(0)
}

fn create(path: &Path) -> Result<File, Failure> {
    // It may hold a personal part: for its owner alone.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        Failure::Usage(format!("{} cannot be made ({error}); name a new file.", path.display()))
    })
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Refused(format!("{} could not be written ({error}); try again.", path.display()))
}

async fn make(bus: &Connection, entry: u64, with_detail: bool) -> Result<Receipt, Failure> {
    let ledger = LedgerProxy::new(bus).await?;
    // The detail first: without it no receipt is wanted.
    let opened = if with_detail { Some(read_with_detail(&ledger, entry).await?) } else { None };
    let text = ledger.receipt(entry).await?;
    let bad = |why: String| Failure::Refused(format!("The service sent a bad receipt: {why}."));
    let receipt: Receipt =
        text.parse().map_err(|error| bad(sentence(&error).trim_end_matches('.').to_owned()))?;
    if receipt.index() != entry || receipt.detail().is_some() {
        return Err(bad("it is not the one that was asked for".into()));
    }
    receipt.verify_inclusion().map_err(|error| bad(error.to_string()))?;
    let Some((line, detail)) = opened else { return Ok(receipt) };
    if receipt.entry() != line.as_bytes() {
        return Err(bad(format!("its entry is not the one that reading entry {entry} gives")));
    }
    receipt.with_detail(detail.into_bytes()).map_err(|error| bad(error.to_string()))
}

/// The line of an entry and its detail line, which it commits to.
async fn read_with_detail(ledger: &LedgerProxy<'_>, entry: u64) -> Result<(String, String), Failure> {
    let mut pages = Pages::new(ledger, entry, entry.saturating_add(1), true);
    let mut lines = pages.next().await?.unwrap_or_default().into_iter();
    let (Some((Line::Entry, line)), Some((Line::Detail, detail))) = (lines.next(), lines.next()) else {
        return Err(Failure::Refused(format!(
            "Entry {entry} has no personal part, or it was destroyed; ask again without --with-detail."
        )));
    };
    let commitment = Entry::parse(line.as_bytes()).ok().and_then(|entry| entry.detail);
    if commitment == Some(detail_commitment(detail.as_bytes())) {
        Ok((line, detail))
    } else {
        Err(Failure::Refused(format!("The service sent another detail than entry {entry} commits to.")))
    }
}

/// Gets the proof that the ledger grew from `old` to `new` entries, and checks it against the two heads if they are here.
pub async fn consistency(
    bus: &Connection,
    form: Form,
    old: u64,
    new: u64,
    checkpoints: &[PathBuf],
) -> Result<u8, Failure> {
    let heads = heads(old, new, checkpoints)?;
    let ledger = LedgerProxy::new(bus).await?;
    let lines = ledger.consistency(old, new).await?;
    let bad = |why: &str| Failure::Refused(format!("The service sent a bad proof: {why}."));
    if lines.len() > MAX_PROOF_HASHES {
        return Err(bad("it has more than 64 hashes"));
    }
    let hashes: Result<Vec<Hash>, _> = lines.iter().map(|line| line.parse()).collect();
    let hashes = hashes.map_err(|_| bad("a line is not the base64 of a hash"))?;
    if let Some((before, after)) = &heads {
        verify_consistency(old, &before.root, new, &after.root, &hashes).map_err(|error| {
            Failure::Refused(format!(
                "The proof does not join the two checkpoints ({error}): keep both, and have the ledger examined."
            ))
        })?;
    }
    match form {
        Form::Json => {
            let object = json!({"old": old, "new": new, "proof": lines, "checked": heads.is_some()});
            print(&format!("{object}\n"))?;
        }
        _ => print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?,
    }
    match &heads {
        Some((_, after)) => eprintln!(
            "The ledger of {new} entries of {} begins with that of {old}: both checkpoints agree with the proof. \
             Who signed them is not checked here.",
            after.origin
        ),
        None => eprintln!("Not checked: that takes the checkpoints of both sizes, see --checkpoint."),
    }
    Ok(0)
}

/// The two heads, in order, when the user brought both.
fn heads(old: u64, new: u64, paths: &[PathBuf]) -> Result<Option<(Checkpoint, Checkpoint)>, Failure> {
    if paths.is_empty() {
        return Ok(None);
    }
    let heads = paths.iter().map(|path| read_head(path)).collect::<Result<Vec<_>, _>>()?;
    let of_size = |size: u64| heads.iter().find(|head| head.size == size).cloned();
    let needed = || {
        Failure::Usage(format!(
            "To check the proof, name two files with --checkpoint: one of {old} entries and one of {new}."
        ))
    };
    let (before, after) = (of_size(old).ok_or_else(needed)?, of_size(new).ok_or_else(needed)?);
    if heads.len() != 2 {
        return Err(needed());
    }
    if before.origin != after.origin {
        return Err(Failure::Usage(format!(
            "The checkpoints are of two ledgers, {} and {}; name two of one.",
            before.origin, after.origin
        )));
    }
    // Of one size both are taken as they come: equal, or the ledger was forked.
    match heads.as_slice() {
        [first, second] if old == new => Ok(Some((first.clone(), second.clone()))),
        _ => Ok(Some((before, after))),
    }
}

fn read_head(path: &Path) -> Result<Checkpoint, Failure> {
    let name = path.display();
    let cannot = |why: String| Failure::Usage(format!("{name} is not a checkpoint: {why}."));
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_NOTE_BYTES as u64 + 1).read_to_string(&mut text).map(|_| ()));
    read.map_err(|error| cannot(error.to_string()))?;
    let (head, _) = SignedCheckpoint::read(&text).map_err(|error| cannot(error.to_string()))?;
    Ok(head)
}
