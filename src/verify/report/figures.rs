//! The sections of a report that tell figures: accesses, refusals, destruction, gaps, policy, events.
//!
//! Their sentences stand here, and nowhere else; see `document` for the others.

use super::bins::{Unit, bins};
use super::document::{Block, Section, counted};
use crate::verify::conduct::{duration, when};
use crate::verify::statistics::{GapKind, PolicyAct, Statistics};

pub(super) fn accesses(statistics: &Statistics) -> Vec<Block> {
    let opened = statistics.tally("access.opened");
    let searched = statistics.tally("access.searched");
    let mut said = format!(
        "{} granted, {} ended, {} still open at the last entry. {} answered.",
        counted(opened.granted, "session was", "sessions were"),
        statistics.sessions_ended,
        statistics.sessions_open,
        counted(searched.granted, "search or question was", "searches and questions were"),
    );
    if statistics.sessions_interrupted > 0 {
        said += &format!(
            " {} cut by a failure of the service: there the whole recording counts as seen.",
            counted(statistics.sessions_interrupted, "session was", "sessions were")
        );
    }
    let mut blocks = vec![Block::Paragraph(said)];
    if let Some(bins) = bins(statistics) {
        let most =
            bins.bars.iter().max_by_key(|bar| (bar.all_opened(), std::cmp::Reverse(bar.label.clone())));
        let most = most.filter(|bar| bar.all_opened() > 0).map(|bar| {
            let when = match bins.unit {
                Unit::Day => format!("on {}", bar.label),
                Unit::Week => format!("in the week from {}", bar.label),
                Unit::Month | Unit::Year => format!("in {}", bar.label),
            };
            format!(" Most in one {}: {}, {when}.", bins.unit.word(), bar.all_opened())
        });
        let left_out =
            if bins.left_out { " Days beyond what the drawing can hold are left out." } else { "" };
        let says = format!(
            "Sessions by purpose and refusals, by {}.{}{left_out}",
            bins.unit.word(),
            most.unwrap_or_default()
        );
        blocks.push(Block::Chart { bins, says });
    }
    blocks
}

/// The drawing once more, for those who cannot see it and those who want to add up.
pub(super) fn numbers(statistics: &Statistics) -> Option<Section> {
    let bins = bins(statistics)?;
    let rows = bins.bars.iter().filter(|bar| bar.all_opened() > 0 || bar.refused > 0).map(|bar| {
        let by = bins.series.iter().zip(&bar.opened).filter(|(_, count)| **count > 0);
        let by: Vec<String> = by.map(|(name, count)| format!("{name} {count}")).collect();
        vec![bar.label.clone(), bar.all_opened().to_string(), by.join(", "), bar.refused.to_string()]
    });
    let table = Block::Table {
        caption: format!("Every {} with a session or a refusal", bins.unit.word()),
        head: vec!["Beginning", "Sessions", "By purpose", "Refusals"],
        rows: rows.collect(),
    };
    Some(Section { title: "The numbers of the drawing", blocks: vec![table] })
}

pub(super) fn refusals(statistics: &Statistics) -> Vec<Block> {
    let mut blocks = vec![Block::Paragraph(format!(
        "{} refused. A refusal is written like a grant; many equal ones in a minute are counted ({} so).",
        counted(statistics.refusals(), "request was", "requests were"),
        statistics.refusals_counted
    ))];
    let rows =
        statistics.events.iter().filter(|(name, tally)| tally.denied > 0 && **name != "access.refused-many");
    let rows: Vec<Vec<String>> =
        rows.map(|(name, tally)| vec![(*name).to_owned(), tally.denied.to_string()]).collect();
    if !rows.is_empty() {
        let caption = "Refused one by one, by event".into();
        blocks.push(Block::Table { caption, head: vec!["Event", "Refused"], rows });
    }
    blocks
}

pub(super) fn destruction(statistics: &Statistics) -> Vec<Block> {
    let mut facts = vec![
        ("Sealed into the archive", statistics.tally("recording.sealed").done.to_string()),
        ("Destroyed on time", statistics.purges_on_time.to_string()),
        ("Destroyed more than a day late", statistics.purges_late.to_string()),
        ("Not destroyed although more than a day past due", statistics.overdue.to_string()),
        ("Past due and kept by a hold", statistics.kept_by_holds.to_string()),
        ("Holds standing at the end", statistics.holds.to_string()),
        ("Purges that failed", statistics.tally("purge.failed").all().to_string()),
        ("Reports of damage to the store", statistics.tally("store.damaged").all().to_string()),
    ];
    if statistics.purges_late > 0 {
        facts.push(("The latest was late by", duration(statistics.latest_purge_micros)));
    }
    let explained = "On time means: no later than a day after the latest time written when the recording was sealed, or after the last hold on it was lifted; time in which the clock was suspect does not count.";
    let mut blocks = vec![Block::Facts(facts), Block::Paragraph(explained.into())];
    let rows: Vec<Vec<String>> = statistics
        .sources
        .iter()
        .map(|(source, of)| {
            let numbers = [of.sealed, of.opened, of.refused, of.purged].map(|number| number.to_string());
            std::iter::once(source.to_string()).chain(numbers).collect()
        })
        .collect();
    if !rows.is_empty() {
        blocks.push(Block::Table {
            caption: "By source (the first 64 met)".into(),
            head: vec!["Source", "Sealed", "Sessions", "Refusals", "Destroyed"],
            rows,
        });
    }
    blocks
}

pub(super) fn gaps(statistics: &Statistics) -> Vec<Block> {
    let quiet = format!(
        "The longest time between two entries while the service ran was {}.",
        duration(statistics.longest_quiet_micros)
    );
    if statistics.gaps.is_empty() {
        let none = if statistics.tally("ledger.started").done == 0 {
            "No entry says when the service ran, so gaps cannot be told."
        } else {
            "None: since its first start the service ran without a gap that the ledger shows."
        };
        return vec![Block::Paragraph(none.into()), Block::Paragraph(quiet)];
    }
    let rows = statistics.gaps.iter().map(|gap| {
        let why = match gap.kind {
            GapKind::Stopped => "stopped in order",
            GapKind::Crashed => "ended without a stop",
            GapKind::Unwritable => "the ledger could not be written; nothing was served",
            GapKind::Silent => "silent although it had announced to write",
        };
        let length = duration(gap.to.micros_since(gap.from));
        let entry = gap.entry.map_or_else(|| "—".into(), |entry| entry.to_string());
        vec![when(gap.from), when(gap.to), length, why.to_owned(), entry]
    });
    let more =
        if statistics.more_gaps > 0 { format!(" and {} more", statistics.more_gaps) } else { String::new() };
    vec![
        Block::Table {
            caption: format!(
                "{}{more}, {} in all",
                counted(statistics.gaps.len() as u64, "gap", "gaps"),
                duration(statistics.gap_micros)
            ),
            head: vec!["From", "To", "Length", "Why", "Entry"],
            rows: rows.collect(),
        },
        Block::Paragraph(quiet),
    ]
}

pub(super) fn policy(statistics: &Statistics) -> Vec<Block> {
    if statistics.policy.is_empty() {
        return vec![Block::Paragraph("No policy was loaded, and no source was registered.".into())];
    }
    let source = |source: &Option<crate::core::ids::SourceId>| {
        source.as_ref().map_or_else(|| "a source without a name".into(), |source| format!("source {source}"))
    };
    let rows = statistics.policy.iter().map(|change| {
        let what = match &change.act {
            PolicyAct::Loaded(digest) => {
                let digest = digest.map_or_else(|| "without a digest".into(), |digest| digest.to_string());
                format!("policy in force: {digest}")
            }
            PolicyAct::Refused => "a policy, or the order to load one, was refused".into(),
            PolicyAct::Registered(of) => format!("{} was registered", source(of)),
            PolicyAct::Changed(of) => format!("{} was changed", source(of)),
            PolicyAct::Retired(of) => format!("{} was retired", source(of)),
        };
        vec![when(change.time), what, change.entry.to_string()]
    });
    let caption = match statistics.more_policy {
        0 => "In order".to_owned(),
        more => format!("In order; {more} more are not listed"),
    };
    vec![Block::Table { caption, head: vec!["When", "What", "Entry"], rows: rows.collect() }]
}

pub(super) fn events(statistics: &Statistics) -> Vec<Block> {
    let mut rows: Vec<Vec<String>> = statistics
        .events
        .iter()
        .map(|(name, tally)| {
            let numbers =
                [tally.done, tally.granted, tally.denied, tally.failed].map(|number| number.to_string());
            std::iter::once((*name).to_owned()).chain(numbers).collect()
        })
        .collect();
    if statistics.unknown_events > 0 {
        let none = || "—".to_owned();
        rows.push(vec![
            format!("{} that could not be read", statistics.unknown_events),
            none(),
            none(),
            none(),
            none(),
        ]);
    }
    if rows.is_empty() {
        return vec![Block::Paragraph("There is no entry that could be judged.".into())];
    }
    let caption = "What the words mean stands in greffier-ledger(5)".into();
    vec![Block::Table { caption, head: vec!["Event", "Done", "Granted", "Denied", "Failed"], rows }]
}
