//! `seal`, `search` and `show`.
//!
//! Must never follow a link to a file it seals: who may change the folder could otherwise choose the file.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde_json::json;
use zbus::Connection;
use zbus::wire::{Fd, Variant};

use super::args::{SealArgs, SearchArgs};
use super::print;
use crate::core::ids::RecordingId;
use crate::shell::bus::client::search::{self, Filter};
use crate::shell::bus::client::{Failure, RecordingsProxy, Request, fields};
use crate::shell::terminal::{self, Form};

/// The columns of a list of recordings.
const COLUMNS: [&str; 7] = ["id", "source", "kind", "start", "end", "expires", "held"];
/// The facts of a recording that stand first.
const FACTS: [&str; 7] = ["id", "source", "kind", "start", "end", "media", "bytes"];

/// What can be refused before anybody is asked.
pub fn check(args: &SealArgs) -> Result<(), Failure> {
    if args.files.len() > 1 && (args.start.is_some() || args.end.is_some()) {
        return Err(Failure::Usage(
            "--start and --end describe one recording; seal one file at a time.".into(),
        ));
    }
    Ok(())
}

/// Seals file after file. One that fails does not stop the others; the exit code is that of the first failure.
pub async fn seal(bus: &Connection, form: Form, args: &SealArgs) -> Result<u8, Failure> {
    let recordings = RecordingsProxy::new(bus).await?;
    let mut exit = 0;
    for path in &args.files {
        match seal_one(&recordings, path, args).await {
            Ok((id, entry)) => {
                let row = json!({ "id": id, "entry": entry, "file": path.to_string_lossy() });
                let row = row.as_object().cloned().unwrap_or_default();
                print(&terminal::rows(one_by_one(form), &["id", "entry", "file"], &[row]))?;
            }
            Err(failure) => {
                eprintln!(
                    "{}: {}",
                    terminal::clean(&path.to_string_lossy()),
                    terminal::clean(&failure.to_string())
                );
                exit = if exit == 0 { failure.exit_code() } else { exit };
                if matches!(failure, Failure::Unavailable(_)) {
                    break;
                }
            }
        }
    }
    if exit == 0 {
        eprintln!(
            "The files given stay where they are; remove them when nobody needs them outside the archive."
        );
    }
    Ok(exit)
}

/// A table cannot be fitted to rows that are not known yet: each is printed when it is done.
fn one_by_one(form: Form) -> Form {
    if form == Form::Json { Form::Json } else { Form::Lines }
}

async fn seal_one(
    recordings: &RecordingsProxy<'_>,
    path: &Path,
    args: &SealArgs,
) -> Result<(String, u64), Failure> {
    // Non-blocking: a FIFO put in the place of the file must not hang us; the service refuses what is no regular file.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(|errno| {
        let why =
            if errno == rustix::io::Errno::LOOP { "it is a link".to_owned() } else { errno.to_string() };
        Failure::Usage(format!("This file cannot be read ({why}); name a regular file."))
    })?;
    let mut metadata = Request::from([("source", Variant::from(args.source.as_str()))]);
    if let Some(name) = path.file_name() {
        metadata.insert("name", Variant::from(name.to_string_lossy()));
    }
    if let Some(start) = args.start {
        metadata.insert("start", Variant::from(start.to_string()));
    }
    if let Some(end) = args.end {
        metadata.insert("end", Variant::from(end.to_string()));
    }
    Ok(recordings.seal(Fd::from(&file), metadata).await?)
}

/// Prints what matches. None found is an answer, not a failure.
pub async fn search(bus: &Connection, form: Form, args: SearchArgs) -> Result<u8, Failure> {
    let SearchArgs { reason, source, kind, from, to, held, limit } = args;
    let found = search::search(bus, &Filter { reason, sources: source, kind, from, to, held }, limit).await?;
    print(&terminal::rows(form, &COLUMNS, &found.rows))?;
    if found.rows.is_empty() {
        eprintln!("No recording that you may know of matches.");
    } else if found.more {
        eprintln!("More recordings match; narrow the search or raise --limit.");
    }
    Ok(0)
}

/// Prints what is known of one recording.
pub async fn show(bus: &Connection, form: Form, id: RecordingId) -> Result<u8, Failure> {
    let facts = RecordingsProxy::new(bus).await?.describe(&id.to_string()).await?;
    print(&terminal::facts(form, &FACTS, &fields::to_json(&facts)))?;
    Ok(0)
}
