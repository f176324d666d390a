//! What stands in a report, in words: with `figures` the one place for its sentences, so that another language is another
//! pair of files.
//!
//! Plain language first, codes second. Everything that comes from the ledger or the command line is tamed here.

use std::collections::BTreeMap;

use super::About;
use super::bins::Bins;
use super::figures::{accesses, destruction, events, gaps, numbers, policy, refusals};
use crate::core::time::Timestamp;
use crate::verify::conduct::when;
use crate::verify::findings::{Class, Code, Finding, MAX_PER_CODE};
use crate::verify::ledger::Verdict;
use crate::verify::print::{tame, word};
use crate::verify::statistics::Statistics;

/// A report, before it is laid out.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// `sound`, `incomplete` or `findings`: how the verdict looks.
    pub(super) tone: &'static str,
    pub(super) verdict: String,
    pub(super) sections: Vec<Section>,
}

/// A part of it under its heading.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

/// What a section is made of.
#[derive(Debug)]
pub(super) enum Block {
    Paragraph(String),
    Code(String),
    List(Vec<String>),
    Facts(Vec<(&'static str, String)>),
    Table { caption: String, head: Vec<&'static str>, rows: Vec<Vec<String>> },
    Chart { bins: Bins, says: String },
}

/// Writes the report.
pub(super) fn document(verdict: &Verdict, about: &About) -> Document {
    let origin = tame(&verdict.summary.origin);
    let statistics = &verdict.statistics;
    let responsible = statistics.controller.as_deref().map(tame);
    let title = format!("Report on the ledger of {}", responsible.as_deref().unwrap_or(&origin));
    // A figure that is not of the whole ledger says so, each time.
    let partial = partial(verdict);
    let figures = |title, blocks: Vec<Block>| {
        let first = partial.map(|count| {
            Block::Paragraph(format!(
                "Only up to the entry that cannot be read: {} counted.",
                counted(count, "entry is", "entries are")
            ))
        });
        Section { title, blocks: first.into_iter().chain(blocks).collect() }
    };
    let period = if partial.is_some() { String::new() } else { period(statistics) };
    let subtitle = format!(
        "Who looked at recordings, what was destroyed, and whether the record of it can be relied on. {period}All times are UTC."
    );
    Document {
        title,
        subtitle,
        tone: word(verdict),
        verdict: match word(verdict) {
            "sound" => "The ledger is sound",
            "incomplete" => "Sound as far as it goes, but incomplete",
            _ => "The ledger is not sound",
        }
        .into(),
        sections: vec![
            Section { title: "What the check says", blocks: says(verdict) },
            Section { title: "The ledger", blocks: facts(verdict, responsible, origin) },
            Section { title: "Findings", blocks: findings(verdict) },
            Section { title: "What was checked, and against what", blocks: checked(verdict, about) },
            Section { title: "What could not be checked", blocks: unchecked(verdict) },
            figures("Accesses", accesses(statistics)),
            figures("Refusals", refusals(statistics)),
            figures("Recordings and their destruction", destruction(statistics)),
            figures("Gaps in service", gaps(statistics)),
            figures("Changes of the policy", policy(statistics)),
            figures("All entries by event", events(statistics)),
            Section { title: "How to repeat this check", blocks: repeat(about) },
        ]
        .into_iter()
        .chain(further(verdict))
        .chain(numbers(statistics))
        .collect(),
    }
}

/// How many entries are in the figures, when that is not all: after one that cannot be read nothing is judged or counted.
fn partial(verdict: &Verdict) -> Option<u64> {
    let statistics = &verdict.statistics;
    let counted =
        statistics.events.values().map(|tally| tally.all()).sum::<u64>() + statistics.unknown_events;
    (counted < verdict.summary.entries).then_some(counted)
}

fn says(verdict: &Verdict) -> Vec<Block> {
    let of = |class| {
        let counts = verdict.report.counts();
        counts.filter(|(code, _)| code.class() == class).map(|(_, count)| count).sum::<u64>()
    };
    let mut said = Vec::new();
    match word(verdict) {
        "sound" => said.push(
            "Every entry is the one that was signed, none is missing up to the signed head, and no rule of conduct is broken."
                .to_owned(),
        ),
        "incomplete" => said.push(
            "Nothing wrong was found in what is here, but not everything is here that a complete check needs; see “What could not be checked”."
                .to_owned(),
        ),
        _ => {}
    }
    let damage = of(Class::Damage);
    if damage > 0 {
        said.push(format!(
            "{} where the bytes are not those that were signed: this copy was changed or damaged after it was written, by whatever means. Another copy may be whole: the signed head proves which one is right.",
            counted(damage, "place was found", "places were found")
        ));
    }
    let rules = of(Class::Rule);
    if rules > 0 {
        said.push(format!(
            "{} although what was done was signed: the service, or whoever held its keys, is accountable for it.",
            counted(rules, "rule was found broken", "breaches of the rules were found")
        ));
    }
    let history = of(Class::History);
    if history > 0 {
        said.push(format!(
            "{} that another history was signed before, or a longer one: entries were taken away or replaced.",
            counted(history, "proof was found", "proofs were found")
        ));
    }
    if word(verdict) == "findings" && damage == 0 && history == 0 {
        said.push(
            "Nothing shows that entries were changed or taken away: what the ledger tells can be relied on, the breaches included."
                .to_owned(),
        );
    }
    if let Some(counted) = partial(verdict) {
        said.push(format!(
            "The figures of this report are those of the first {counted} of {} entries: the next one cannot be read, and after it neither conduct nor figures can be relied on. The bytes of the entries after it were checked all the same.",
            verdict.summary.entries
        ));
    }
    said.into_iter().map(Block::Paragraph).collect()
}

fn facts(verdict: &Verdict, responsible: Option<String>, origin: String) -> Vec<Block> {
    let (summary, statistics) = (&verdict.summary, &verdict.statistics);
    let head = summary.head.as_ref().map_or_else(
        || "none: no signed head is here".to_owned(),
        |head| format!("{} entries, root {}", head.size, head.root),
    );
    let responsible = responsible.unwrap_or_else(|| {
        "not told: the policy in force is not here in clear; see the name of the ledger".into()
    });
    let span = match (statistics.first, statistics.last) {
        (Some(first), Some(last)) => format!("{} to {}", when(first), when(last)),
        _ => "no entry could be judged".into(),
    };
    let policy =
        statistics.policy_in_force.map_or_else(|| "none was loaded".into(), |digest| digest.to_string());
    let mut facts = vec![
        ("Responsible (controller)", responsible),
        ("Name of the ledger", origin),
        ("Entries", summary.entries.to_string()),
        ("Signed head", head),
    ];
    match partial(verdict) {
        Some(counted) => {
            facts.push(("Figures end", format!("after {counted} entries; period so far: {span}")))
        }
        None => facts.extend([
            ("Period", span),
            (
                "Keys of the period",
                counted(summary.epochs as u64, "epoch key was announced", "epoch keys were announced"),
            ),
            ("Policy in force at the end (SHA-256)", policy),
            ("Recordings in the archive at the end", statistics.recordings.to_string()),
        ]),
    }
    if let Some(at) = statistics.judged_at.filter(|_| partial(verdict).is_none()) {
        facts.push(("What should have happened was judged at", when(at)));
    }
    vec![Block::Facts(facts)]
}

/// Findings of one code that stand in the text; the others stand at the end.
const SHOWN_OF_EACH: usize = 5;

/// The findings shown, without what is merely missing, and those left for the end.
fn parted(verdict: &Verdict) -> (Vec<&Finding>, Vec<&Finding>) {
    let mut of_each: BTreeMap<Code, usize> = BTreeMap::new();
    let found = verdict.report.findings().into_iter();
    found.filter(|finding| finding.code.class() != Class::Incomplete).partition(|finding| {
        let count = of_each.entry(finding.code).or_default();
        *count += 1;
        *count <= SHOWN_OF_EACH
    })
}

fn table_of_findings(caption: String, found: &[&Finding]) -> Block {
    let rows = found.iter().map(|finding| {
        vec![
            finding.code.class().words().to_owned(),
            finding.entry.map_or_else(|| "—".into(), |entry| entry.to_string()),
            upper(&tame(&finding.sentence)),
            finding.code.name().to_owned(),
        ]
    });
    Block::Table { caption, head: vec!["Weight", "Entry", "What was found", "Code"], rows: rows.collect() }
}

fn further(verdict: &Verdict) -> Option<Section> {
    let (_, further) = parted(verdict);
    let caption = format!("Beyond the first {SHOWN_OF_EACH} of each code");
    let blocks = vec![table_of_findings(caption, &further)];
    (!further.is_empty()).then_some(Section { title: "Further findings", blocks })
}

fn findings(verdict: &Verdict) -> Vec<Block> {
    let (shown, further) = parted(verdict);
    if shown.is_empty() {
        return vec![Block::Paragraph("Nothing was found.".into())];
    }
    let caption = "The gravest first. A note is worth knowing and changes nothing.".to_owned();
    let mut blocks = vec![table_of_findings(caption, &shown)];
    if !further.is_empty() {
        let sentence = format!(
            "Of each code the first {SHOWN_OF_EACH} are listed here; {} stand at the end.",
            counted(further.len() as u64, "more", "more")
        );
        blocks.push(Block::Paragraph(sentence));
    }
    let more = verdict.report.counts().filter(|(_, count)| *count > MAX_PER_CODE);
    let more: Vec<_> =
        more.map(|(code, count)| format!("{} more of {}", count - MAX_PER_CODE, code.name())).collect();
    if !more.is_empty() {
        blocks.push(Block::Paragraph(format!("Not listed one by one: {}.", more.join(", "))));
    }
    let mut met: Vec<Code> = shown.iter().map(|finding| finding.code).collect();
    met.sort_unstable();
    met.dedup();
    blocks.push(Block::Table {
        caption: "What the codes mean".into(),
        head: vec!["Code", "Meaning"],
        rows: met.iter().map(|code| vec![code.name().to_owned(), upper(code.meaning())]).collect(),
    });
    blocks
}

fn checked(verdict: &Verdict, about: &About) -> Vec<Block> {
    let summary = &verdict.summary;
    let pinned = if about.pinned.is_empty() {
        "No signed head kept from an earlier visit was brought. Whoever holds the keys could have shortened the ledger since and signed it anew; only such a head, or a witness, would show it.".to_owned()
    } else {
        let names: Vec<String> = about.pinned.iter().map(|name| tame(name)).collect();
        format!(
            "The ledger was compared with {} brought by the examiner: {}.",
            counted(about.pinned.len() as u64, "signed head", "signed heads"),
            names.join(", ")
        )
    };
    let visit = match &about.visit {
        Some(visit) => format!("the time of the visit, {visit}"),
        None => "the time of the last entry".into(),
    };
    vec![
        Block::List(vec![
            format!("{} were read, each hashed as its bytes stand.", counted(summary.entries, "entry", "entries")),
            "Each entry names the hash of the one before it, and all together give the root of a hash tree that is signed: a change, a removal, an insertion or an exchange shows.".into(),
            "The signed head carries two signatures: that of the log key below, which the examiner brought, and that of the key of its period, which the ledger announces and which is destroyed afterwards.".into(),
            pinned,
            format!(
                "{} in clear and match what the entries commit to.",
                counted(summary.details_matched, "personal detail is here", "personal details are here")
            ),
            format!("The rules of conduct were judged entry by entry; what should have happened by now, at {visit}."),
        ]),
        Block::Facts(vec![("Log key", tame(&about.key))]),
    ]
}

fn unchecked(verdict: &Verdict) -> Vec<Block> {
    let found = verdict.report.findings();
    let missing = found.iter().filter(|finding| finding.code.class() == Class::Incomplete);
    let mut items: Vec<String> = missing
        .map(|finding| {
            let entry = finding.entry.map(|entry| format!(" (entry {entry})")).unwrap_or_default();
            format!("{}{entry} [{}]", upper(&tame(&finding.sentence)), finding.code.name())
        })
        .collect();
    if let Some(count) = partial(verdict) {
        items.push(format!(
            "What the service did after the first {}: the next one cannot be read.",
            counted(count, "entry", "entries")
        ));
    }
    if verdict.summary.details_absent > 0 {
        items.push(format!(
            "Who acted in {}: their personal details are sealed, destroyed or were not handed out. The entries prove that, when and on what somebody acted.",
            counted(verdict.summary.details_absent, "entry", "entries")
        ));
    }
    items.push("Whether the service wrote down all that it did. A ledger proves what was written, in which order, and that nothing was changed since.".into());
    items.push(
        "The true time: entries carry the clock of the machine. Where that clock jumped, the ledger says so."
            .into(),
    );
    vec![Block::List(items)]
}

fn repeat(about: &About) -> Vec<Block> {
    let mut command =
        format!("greffier-verify report {} --key '{}'", quoted(&about.ledger), tame(&about.key));
    for name in &about.pinned {
        command += &format!(" --checkpoint {}", quoted(name));
    }
    if let Some(visit) = &about.visit {
        command += &format!(" --at {visit}");
    }
    command += " --html";
    vec![
        Block::Paragraph(format!(
            "This report was written by greffier-verify {}. The same command on the same files writes the same report:",
            env!("CARGO_PKG_VERSION")
        )),
        Block::Code(command),
        Block::Paragraph("The key must come from where it was kept since the ledger was made, not from this page. The format is public (greffier-ledger(5)); tree and signatures can be checked with any software for C2SP tlog-tiles and signed notes.".into()),
    ]
}

fn period(statistics: &Statistics) -> String {
    match (statistics.first, statistics.last) {
        (Some(first), Some(last)) => format!("From {} to {}. ", day(first), day(last)),
        _ => "No entry could be judged. ".into(),
    }
}

/// `1 session was`, `2 sessions were`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn day(time: Timestamp) -> String {
    when(time).chars().take(10).collect()
}

fn upper(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@".contains(c);
    let tamed = tame(name);
    if !tamed.is_empty() && tamed.chars().all(plain) {
        tamed
    } else {
        format!("'{}'", tamed.replace('\'', "'\\''"))
    }
}
