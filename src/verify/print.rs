//! The verdict in words, or as one JSON object a line.
//!
//! Text of the ledger is hostile: control characters never reach a terminal, and no line is longer than it must be.

use std::io::{self, Write as _};

use serde_json::json;

use super::findings::{Class, Finding, MAX_PER_CODE};
use super::ledger::{Failure, Verdict};

/// Longest sentence printed, in characters.
const MAX_SENTENCE_CHARS: usize = 400;

/// Findings first, the result last, on standard output.
pub fn verdict(verdict: &Verdict, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        as_json(verdict, &mut out)?
    } else {
        as_text(verdict, &mut out)?
    }
    out.flush()
}

/// Why nothing could be checked: on standard error, and with `--json` as the one object on standard output.
pub fn failure(failure: &Failure, json: bool) -> io::Result<()> {
    let text = tame(&failure.to_string());
    if json {
        writeln!(io::stdout(), "{}", json!({"type": "result", "verdict": "unreadable", "text": text}))?;
    }
    writeln!(io::stderr(), "greffier-verify: {text}")
}

fn as_text(verdict: &Verdict, out: &mut impl io::Write) -> io::Result<()> {
    for Finding { code, entry, sentence } in verdict.report.findings() {
        let entry = entry.map(|seq| format!("entry {seq}: ")).unwrap_or_default();
        writeln!(out, "{}: {entry}{} [{}]", code.class().words(), tame(sentence), code.name())?;
    }
    for (code, count) in verdict.report.counts().filter(|(_, count)| *count > MAX_PER_CODE) {
        writeln!(out, "{}: {} more [{}]", code.class().words(), count - MAX_PER_CODE, code.name())?;
    }
    let summary = &verdict.summary;
    let checked = format!("{} entries of {}", summary.entries, summary.origin);
    let findings = verdict.report.count_down_to(Class::History);
    match verdict.exit_code() {
        0 => writeln!(
            out,
            "sound: {checked}; head signed by both keys, {} epochs, {} details match, {} sealed",
            summary.epochs, summary.details_matched, summary.details_absent
        ),
        3 => writeln!(out, "sound as far as it goes, but incomplete: {checked}"),
        _ => writeln!(
            out,
            "not sound: {findings} {} in {checked}",
            if findings == 1 { "finding" } else { "findings" }
        ),
    }
}

fn as_json(verdict: &Verdict, out: &mut impl io::Write) -> io::Result<()> {
    for Finding { code, entry, sentence } in verdict.report.findings() {
        let class = code.class().words();
        let line = json!({"type": "finding", "class": class, "code": code.name(), "entry": entry, "text": tame(sentence)});
        writeln!(out, "{line}")?;
    }
    let word = match verdict.exit_code() {
        0 => "sound",
        3 => "incomplete",
        _ => "findings",
    };
    let summary = &verdict.summary;
    let head = summary.head.as_ref().map(|head| json!({"size": head.size, "root": head.root.to_string()}));
    let counts: serde_json::Map<_, _> =
        verdict.report.counts().map(|(code, count)| (code.name().to_owned(), count.into())).collect();
    let line = json!({
        "type": "result", "verdict": word, "origin": summary.origin, "entries": summary.entries, "head": head,
        "epochs": summary.epochs, "details_matched": summary.details_matched, "details_absent": summary.details_absent,
        "counts": counts,
    });
    writeln!(out, "{line}")
}

pub fn tame(text: &str) -> String {
    text.chars().take(MAX_SENTENCE_CHARS).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
