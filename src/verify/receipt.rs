//! One receipt: is the entry in the tree, did the ledger sign that tree, does the detail belong to the entry.
//!
//! Trusts the keys that were brought. Which epoch key was in force only the ledger tells: without `--epoch-key` its
//! signature must be there and cannot be checked, which is said. Must never call a receipt good on the log key alone.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::ReceiptArgs;
use super::findings::{Code, Report, sentence};
use super::ledger::Failure;
use super::print::{self, tame};
use super::single::{exit_code, findings, read, result, verdict_words};
use super::trust;
use crate::core::event::{Detail, Record};
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::detail_commitment;
use crate::core::ledger::note::{SignedNote, VerifierKey};
use crate::core::ledger::receipt::{MAX_RECEIPT_BYTES, Receipt};

/// What a receipt is checked against.
#[derive(Debug, Clone)]
pub struct ReceiptKeys {
    /// The pinned log key.
    pub log: VerifierKey,
    /// The epoch key that was in force, if it is known.
    pub epoch: Option<VerifierKey>,
    /// Checkpoints from earlier visits: name for messages, text.
    pub pinned: Vec<(String, String)>,
    /// Whose cosignatures the head must carry, as a C2SP tlog-policy: name for messages, text.
    pub policy: Option<(String, String)>,
}

/// `greffier-verify receipt`.
pub fn run(arguments: &ReceiptArgs) -> ExitCode {
    let json = arguments.json;
    let checked = arguments.keys().and_then(|keys| {
        let bytes = read(&arguments.file, MAX_RECEIPT_BYTES)?;
        let name = arguments.file.display();
        let not_one = |why: String| Failure::Unreadable(format!("{name} is not a receipt: {why}"));
        let text = String::from_utf8(bytes).map_err(|_| not_one("it is not text".into()))?;
        let receipt: Receipt = text.parse().map_err(|error| not_one(sentence(&error)))?;
        let report = check(&receipt, &keys)?;
        Ok((receipt, report))
    });
    let printed = match &checked {
        Ok((receipt, report)) => {
            let mut out = io::stdout().lock();
            let printed =
                if json { as_json(receipt, report, &mut out) } else { as_text(receipt, report, &mut out) };
            printed.and_then(|()| out.flush())
        }
        Err(failure) => print::failure(failure, json),
    };
    match (printed, checked) {
        (Ok(()), Ok((_, report))) => ExitCode::from(exit_code(&report)),
        _ => ExitCode::from(2),
    }
}

/// Everything that is wrong with a receipt.
pub fn check(receipt: &Receipt, keys: &ReceiptKeys) -> Result<Report, Failure> {
    let mut report = Report::default();
    let seq = receipt.index();
    check_signatures(receipt, keys, &mut report);
    if let Err(error) = receipt.verify_inclusion() {
        report.add(Code::NotIncluded, seq, error.to_string());
    }
    let (head, _) = receipt.head();
    for (name, text) in &keys.pinned {
        compare(head, name, text, &keys.log, &mut report)?;
    }
    if let Some((name, text)) = &keys.policy {
        trust::judge(&trust::read_policy(name, text)?, "its head", receipt.checkpoint(), &mut report);
    }
    check_entry(receipt, &mut report);
    Ok(report)
}

fn check_signatures(receipt: &Receipt, keys: &ReceiptKeys, report: &mut Report) {
    let (head, note) = receipt.head();
    if let Some(epoch) = &keys.epoch {
        if let Err(error) = SignedCheckpoint::verify(receipt.checkpoint(), &keys.log, epoch) {
            report.add(Code::HeadSignature, None, sentence(&error));
        }
        return;
    }
    if let Err(why) = signed_by_log(head, note, &keys.log) {
        report.add(Code::HeadSignature, None, why);
        return;
    }
    let second = note.signatures().iter().any(|line| {
        line.name == head.origin && line.key_id != keys.log.key_id() && line.signature.len() == 64
    });
    if second {
        let sentence =
            "the signature of an epoch key is there; which key it was only the ledger tells, see --epoch-key";
        report.add(Code::EpochUnknown, None, sentence);
    } else {
        report.add(Code::HeadSignature, None, "the head is signed by the log key alone, by no epoch key");
    }
}

/// The origin and the signature of the log key; why not, in words.
fn signed_by_log(head: &Checkpoint, note: &SignedNote, key: &VerifierKey) -> Result<(), String> {
    if head.origin != key.name() {
        return Err(format!("a checkpoint of {}, not of {}", head.origin, key.name()));
    }
    note.verify(key).map_err(|error| error.to_string())
}

/// A checkpoint that the user kept against the head of the receipt.
fn compare(
    head: &Checkpoint,
    name: &str,
    text: &str,
    key: &VerifierKey,
    report: &mut Report,
) -> Result<(), Failure> {
    let not_of_key = |why: String| Failure::Usage(format!("{name} is not a checkpoint of this key: {why}"));
    let (pinned, note) = SignedCheckpoint::read(text).map_err(|error| not_of_key(sentence(&error)))?;
    signed_by_log(&pinned, &note, key).map_err(not_of_key)?;
    if pinned.size != head.size {
        let sentence = format!(
            "{name} is of {} entries, the receipt of {}; `greffierctl ledger consistency` compares them",
            pinned.size, head.size
        );
        report.add(Code::CheckpointApart, None, sentence);
    } else if pinned.root != head.root {
        report.add(Code::Fork, None, format!("{name} was signed for other entries than the receipt"));
    }
    Ok(())
}

fn check_entry(receipt: &Receipt, report: &mut Report) {
    let seq = receipt.index();
    let entry = match Entry::parse(receipt.entry()) {
        Ok(entry) => entry,
        Err(error) => return report.add(Code::EntryFormat, seq, sentence(&error)),
    };
    if entry.seq != seq {
        let sentence = format!("it has the number {}, the proof is of number {seq}", entry.seq);
        report.add(Code::EntryOrder, seq, sentence);
    }
    if let Err(error) = Record::from_entry(&entry) {
        report.add(Code::EventUnknown, seq, sentence(&error));
    }
    match (entry.detail, receipt.detail()) {
        (None, None) => {}
        (Some(_), None) => report.add(Code::DetailsSealed, seq, "its personal part is not in this receipt"),
        (None, Some(_)) => {
            report.add(Code::DetailDamaged, seq, "a detail is here, but the entry commits to none");
        }
        (Some(commitment), Some(line)) if commitment != detail_commitment(line) => {
            report.add(Code::DetailDamaged, seq, "the detail is not the one that the entry commits to");
        }
        (Some(_), Some(line)) => match Detail::parse(line) {
            Ok(detail) if detail.seq == seq => {}
            Ok(detail) => {
                let sentence = format!("the detail is that of entry {}", detail.seq);
                report.add(Code::DetailDamaged, seq, sentence);
            }
            Err(error) => report.add(Code::DetailDamaged, seq, sentence(&error)),
        },
    }
}

fn as_text(receipt: &Receipt, report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    findings(report, false, out)?;
    for line in words(receipt) {
        writeln!(out, "{}", tame(&line))?;
    }
    let (head, _) = receipt.head();
    writeln!(
        out,
        "{}: entry {} in the ledger of {} entries of {}",
        verdict_words(report),
        receipt.index(),
        head.size,
        tame(&head.origin)
    )
}

/// The entry in words. A line is printed cut, so each fact has its own.
fn words(receipt: &Receipt) -> Vec<String> {
    let Ok(entry) = Entry::parse(receipt.entry()) else { return Vec::new() };
    let outcome = serde_json::to_value(entry.outcome).ok();
    let outcome = outcome.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    let meaning = Record::from_entry(&entry).map(|record| record.event.meaning()).unwrap_or_default();
    let mut lines =
        vec![format!("entry {}, {}: {}, {outcome}. {meaning}", entry.seq, entry.time, entry.event)];
    let mut say = |what: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {what}: {value}")));
    };
    say("recording", entry.recording.map(|id| id.to_string()));
    say("source", entry.source.map(|id| id.to_string()));
    say("session", entry.session.map(|id| id.to_string()));
    say("purpose", entry.purpose.map(|id| id.to_string()));
    say("reason", entry.reason.map(|id| id.to_string()));
    say("policy in force (SHA-256)", entry.policy.map(|digest| digest.to_string()));
    let facts = entry.data.as_ref().and_then(|data| serde_json::from_str::<Value>(data.get()).ok());
    for (key, value) in facts.iter().filter_map(Value::as_object).flatten() {
        say(key, Some(plain(value)));
    }
    let detail = receipt.detail().and_then(|line| serde_json::from_slice::<Value>(line).ok());
    for (key, value) in detail.iter().filter_map(Value::as_object).flatten() {
        let technical = ["seq", "salt"].contains(&key.as_str());
        say(&format!("detail, {key}"), Some(plain(value)).filter(|_| !technical));
    }
    lines
}

/// A text without its quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn as_json(receipt: &Receipt, report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    findings(report, true, out)?;
    let (head, _) = receipt.head();
    let value = |line: &[u8]| serde_json::from_slice::<Value>(line).unwrap_or_default();
    let more = json!({
        "origin": head.origin,
        "index": receipt.index(),
        "head": {"size": head.size, "root": head.root.to_string()},
        "entry": value(receipt.entry()),
        "detail": receipt.detail().map(value),
    });
    writeln!(out, "{}", result(report, more))
}
