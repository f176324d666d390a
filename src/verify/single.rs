//! What the checks of a single file share: reading it, the exit code, and the lines of its findings.
//!
//! The file may be anything: no more than its bound is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::findings::{Class, Finding, MAX_PER_CODE, Report};
use super::ledger::Failure;
use super::print::tame;

/// The bytes of the file, or of standard input for `-`: at most `max_bytes`.
pub fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let cannot = |why: String| Failure::Unreadable(format!("cannot read {name}: {why}"));
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| cannot(error.to_string()))?)
    };
    let mut bytes = Vec::new();
    let limit = max_bytes as u64 + 1;
    source.by_ref().take(limit).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() > max_bytes {
        return Err(cannot(format!("it has more than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// 0 sound, 1 findings, 3 sound as far as it goes.
pub fn exit_code(report: &Report) -> u8 {
    match (report.count_down_to(Class::History), report.count_down_to(Class::Incomplete)) {
        (0, 0) => 0,
        (0, _) => 3,
        _ => 1,
    }
}

/// The findings, one a line.
pub fn findings(report: &Report, json: bool, out: &mut impl io::Write) -> io::Result<()> {
    for Finding { code, entry, sentence } in report.findings() {
        let (class, code, sentence) = (code.class().words(), code.name(), tame(sentence));
        if json {
            let line =
                json!({"type": "finding", "class": class, "code": code, "entry": entry, "text": sentence});
            writeln!(out, "{line}")?;
        } else {
            let entry = entry.map(|seq| format!("entry {seq}: ")).unwrap_or_default();
            writeln!(out, "{class}: {entry}{sentence} [{code}]")?;
        }
    }
    for (code, count) in report.counts().filter(|(_, count)| *count > MAX_PER_CODE && !json) {
        writeln!(out, "{}: {} more [{}]", code.class().words(), count - MAX_PER_CODE, code.name())?;
    }
    Ok(())
}

/// The last line of `--json`: the verdict, the counts, and what else there is to say.
pub fn result(report: &Report, more: Value) -> Value {
    let verdict = match exit_code(report) {
        0 => "sound",
        3 => "incomplete",
        _ => "findings",
    };
    let counts: serde_json::Map<_, _> =
        report.counts().map(|(code, count)| (code.name().to_owned(), count.into())).collect();
    let mut line = json!({"type": "result", "verdict": verdict, "counts": counts});
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    line
}

/// How the last line of the text begins.
pub fn verdict_words(report: &Report) -> String {
    match exit_code(report) {
        0 => "sound".into(),
        3 => "sound as far as it goes, but incomplete".into(),
        _ => match report.count_down_to(Class::History) {
            1 => "not sound, 1 finding".into(),
            count => format!("not sound, {count} findings"),
        },
    }
}
