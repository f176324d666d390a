//! The verdict in words, or as one JSON object.
//!
//! Text of the ledger is hostile: nothing that steers a terminal or turns the direction of writing gets out, and no line is
//! longer than it must be.

use std::io::{self, Write as _};

use serde_json::{Map, Value, json};

use super::findings::{Class, Finding, MAX_PER_CODE};
use super::ledger::{Failure, Verdict};
use super::statistics::{PolicyAct, Statistics};

/// Longest sentence printed, in characters.
const MAX_SENTENCE_CHARS: usize = 400;

/// Findings first, the result last, on standard output.
pub fn verdict(verdict: &Verdict, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", object(verdict, Days::None))?;
    } else {
        as_text(verdict, &mut out)?;
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

/// Whether the object lists each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// The figures of the whole period only.
    None,
    /// Each day with anything, and each change of the policy.
    Each,
}

/// The verdict as one word.
pub fn word(verdict: &Verdict) -> &'static str {
    match verdict.exit_code() {
        0 => "sound",
        3 => "incomplete",
        _ => "findings",
    }
}

/// Verdict, figures and findings as one JSON object.
pub fn object(verdict: &Verdict, days: Days) -> Value {
    let (summary, statistics) = (&verdict.summary, &verdict.statistics);
    let head = summary.head.as_ref().map(|head| json!({"size": head.size, "root": head.root.to_string()}));
    let counts: Map<_, _> =
        verdict.report.counts().map(|(code, count)| (code.name().to_owned(), count.into())).collect();
    let findings = verdict.report.findings().into_iter().map(|Finding { code, entry, sentence }| {
        json!({"code": code.name(), "class": code.class().words(), "entry": entry, "sentence": tame(sentence)})
    });
    let mut object = json!({
        "type": "result", "verdict": word(verdict), "origin": summary.origin, "entries": summary.entries, "head": head,
        "epochs": summary.epochs, "details_matched": summary.details_matched, "details_absent": summary.details_absent,
        "counts": counts, "findings": findings.collect::<Vec<_>>(),
    });
    if let Value::Object(map) = &mut object {
        map.insert("statistics".into(), figures(statistics));
        if days == Days::Each {
            map.insert("days".into(), each_day(statistics));
            map.insert("policy_changes".into(), policy_changes(statistics));
        }
    }
    object
}

fn figures(statistics: &Statistics) -> Value {
    let events: Map<String, Value> = statistics
        .events
        .iter()
        .map(|(name, tally)| {
            let outcomes = [
                ("done", tally.done),
                ("granted", tally.granted),
                ("denied", tally.denied),
                ("failed", tally.failed),
            ];
            let outcomes = outcomes.into_iter().filter(|(_, count)| *count > 0);
            let outcomes: Map<_, _> = outcomes.map(|(name, count)| (name.to_owned(), count.into())).collect();
            ((*name).to_owned(), Value::Object(outcomes))
        })
        .collect();
    let gaps = statistics
        .gaps
        .iter()
        .map(|gap| json!({"kind": gap.kind.as_str(), "from": gap.from, "to": gap.to, "entry": gap.entry}));
    json!({
        "controller": statistics.controller.as_deref().map(tame),
        "from": statistics.first, "to": statistics.last, "judged_at": statistics.judged_at,
        "policy": statistics.policy_in_force,
        "events": events, "unknown_events": statistics.unknown_events,
        "sessions": {
            "granted": statistics.tally("access.opened").granted, "ended": statistics.sessions_ended,
            "interrupted": statistics.sessions_interrupted, "open": statistics.sessions_open,
            "bytes_read": statistics.bytes_read,
        },
        "refusals": statistics.refusals(),
        "purges": {
            "on_time": statistics.purges_on_time, "late": statistics.purges_late,
            "latest_seconds": statistics.latest_purge_micros / 1_000_000,
            "overdue": statistics.overdue, "kept_by_holds": statistics.kept_by_holds,
        },
        "recordings": statistics.recordings, "holds": statistics.holds,
        "gaps": gaps.collect::<Vec<_>>(), "more_gaps": statistics.more_gaps,
        "gap_seconds": statistics.gap_micros / 1_000_000,
        "longest_quiet_seconds": statistics.longest_quiet_micros / 1_000_000,
        "turned_away": statistics.turned_away,
    })
}

fn each_day(statistics: &Statistics) -> Value {
    let days = statistics.days.iter().map(|(day, of_day)| {
        let purposes = of_day.opened.iter().map(|(purpose, count)| {
            let name = statistics.purposes.get(*purpose).and_then(Option::as_ref);
            (name.map_or_else(String::new, |name| name.as_str().to_owned()), Value::from(*count))
        });
        let date = crate::core::time::Timestamp::from_micros(day.saturating_mul(86_400_000_000));
        let date = date.map(|date| date.to_string().chars().take(10).collect::<String>());
        json!({
            "day": date.unwrap_or_default(), "opened": purposes.collect::<Map<_, _>>(), "refused": of_day.refused,
            "sealed": of_day.sealed, "purged": of_day.purged,
        })
    });
    Value::Array(days.collect())
}

fn policy_changes(statistics: &Statistics) -> Value {
    let changes = statistics.policy.iter().map(|change| {
        let (act, of) = match &change.act {
            PolicyAct::Loaded(digest) => ("loaded", digest.map(|digest| digest.to_string())),
            PolicyAct::Refused => ("refused", None),
            PolicyAct::Registered(source) => ("source-registered", source.as_ref().map(ToString::to_string)),
            PolicyAct::Changed(source) => ("source-changed", source.as_ref().map(ToString::to_string)),
            PolicyAct::Retired(source) => ("source-retired", source.as_ref().map(ToString::to_string)),
        };
        json!({"entry": change.entry, "time": change.time, "act": act, "of": of})
    });
    Value::Array(changes.collect())
}

/// Text as it may be shown: cut, without control characters and without marks that turn or hide what stands beside them.
pub fn tame(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{00AD}' | '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
    };
    text.chars().take(MAX_SENTENCE_CHARS).map(|c| if steers(c) { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv10_what_steers_or_turns_text_is_replaced() {
        assert_eq!(tame("a\u{1b}[2J\u{202e}b\u{200b}é"), "a\u{fffd}[2J\u{fffd}b\u{fffd}é");
        assert_eq!(tame(&"x".repeat(1000)).len(), MAX_SENTENCE_CHARS);
    }
}
