//! One entry bundle (C2SP tlog-tiles) by itself: the form of each entry, and the chain from the first to the last.
//!
//! A bundle is not signed, so it is never more than sound as far as it goes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;

use super::args::BundleArgs;
use super::findings::{Code, Report, sentence};
use super::print;
use super::single::{exit_code, findings, read, result, verdict_words};
use crate::core::event::Record;
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::{Hash, empty_hash, leaf_hash};
use crate::core::ledger::tile::{FULL_U64, MAX_BUNDLE_BYTES, parse_bundle};
use crate::core::time::Timestamp;

/// `greffier-verify bundle`.
pub fn run(arguments: &BundleArgs) -> ExitCode {
    let checked = read(&arguments.file, MAX_BUNDLE_BYTES).map(|bytes| check(&bytes));
    let printed = match &checked {
        Ok(checked) => print(checked, arguments.json),
        Err(failure) => print::failure(failure, arguments.json),
    };
    match (printed, checked) {
        (Ok(()), Ok(checked)) => ExitCode::from(exit_code(&checked.report)),
        _ => ExitCode::from(2),
    }
}

/// What a bundle is.
#[derive(Debug, Default)]
pub struct Checked {
    report: Report,
    entries: u64,
    /// Number of the first entry, if it can be read.
    first: Option<u64>,
}

/// Everything that can be said of a bundle without the ledger around it.
pub fn check(bytes: &[u8]) -> Checked {
    let mut checked = Checked::default();
    let report = &mut checked.report;
    let lines = match parse_bundle(bytes) {
        Ok(lines) => lines,
        Err(error) => {
            report.add(Code::BundleDamaged, None, format!("it is not a bundle: {error}"));
            return checked;
        }
    };
    report.add(Code::HeadMissing, None, "a bundle alone is not signed: check the ledger, or a receipt");
    checked.entries = lines.len() as u64;
    // What the entry before says: its number, leaf hash, time, and whether it doubts the clock.
    let mut before: Option<(u64, Hash, Timestamp, bool)> = None;
    for (place, line) in (0..).zip(lines) {
        let entry = match Entry::parse(line) {
            Ok(entry) => entry,
            Err(error) => {
                let sentence = format!("entry {place} of the bundle: {}", sentence(&error));
                report.add(Code::EntryFormat, None, sentence);
                before = None;
                continue;
            }
        };
        let seq = entry.seq;
        if place == 0 {
            checked.first = Some(seq);
        }
        if seq % FULL_U64 != place || before.is_some_and(|(number, ..)| number + 1 != seq) {
            report.add(Code::EntryOrder, seq, format!("it stands at place {place} of the bundle"));
        }
        let prev = before.map(|(_, leaf, ..)| leaf).or(Some(empty_hash()).filter(|_| seq == 0));
        if prev.is_some_and(|prev| prev != entry.prev) {
            report.add(Code::ChainBroken, seq, "it does not name the entry before it");
        }
        let suspect = entry.event == "ledger.clock-suspect";
        if before.is_some_and(|(_, _, time, doubted)| entry.time < time && !doubted && !suspect) {
            report.add(Code::TimeFalls, seq, "it is earlier than the entry before it");
        }
        if let Err(error) = Record::from_entry(&entry) {
            report.add(Code::EventUnknown, seq, sentence(&error));
        }
        before = Some((seq, leaf_hash(line), entry.time, suspect));
    }
    checked
}

fn print(checked: &Checked, json: bool) -> io::Result<()> {
    let Checked { report, entries, first } = checked;
    let mut out = io::stdout().lock();
    findings(report, json, &mut out)?;
    if json {
        writeln!(out, "{}", result(report, json!({"entries": entries, "first": first})))?;
    } else {
        let from = first.map(|first| format!(" from {first} on")).unwrap_or_default();
        writeln!(out, "{}: {entries} entries{from}, by themselves", verdict_words(report))?;
    }
    out.flush()
}
