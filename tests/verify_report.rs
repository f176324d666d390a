//! The report: one page that needs nothing else, from sound, damaged and empty ledgers, and from hostile text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;

use std::fs;
use std::path::Path;
use std::process::Command;

use greffier::core::ledger::entry::Outcome;
use greffier::core::ledger::hash::detail_commitment;
use greffier::verify::{About, Format, Options, Source, report, verify_ledger};
use ledger_support::story::{
    begin, check, confirm, exported, fact, hold, hours, long_story, open, open_for, plan, purge, seal, story,
};
use ledger_support::{Site, raw};

const POLICY_TEXT: &str = include_str!("../src/core/policy/policy.toml.init");

fn written(site: &Site, dir: &Path, format: Format) -> String {
    let options = Options::new(Source::Path(dir.to_owned()), site.log.public.clone());
    let about = About { ledger: "/media/stick/ledger".into(), ..About::of(&options) };
    report(&verify_ledger(&options).unwrap(), &about, format)
}

fn html(site: &Site) -> String {
    written(site, exported(site).path(), Format::Html)
}

/// Each tag closed in order; attributes quoted; text without a bare `<` or `&`. Panics otherwise.
fn assert_well_formed(page: &str) {
    let void = ["meta", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        assert!(
            !rest[..start].contains('>') || open.last() == Some(&"style"),
            "a bare > before {}",
            &rest[start..]
        );
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "…{}", &page[page.len() - rest.len()..][..100]),
            None => {
                let name = tag.split_whitespace().next().unwrap();
                if !void.contains(&name) {
                    open.push(name);
                }
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    for (at, _) in page.match_indices('&') {
        let entity = ["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|entity| page[at..].starts_with(entity));
        assert!(entity, "{}", &page[at..].chars().take(20).collect::<String>());
    }
}

fn assert_alone(page: &str) {
    for bad in [
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "url(",
        "@import",
        "javascript:",
        " src=",
        " href=",
        " on",
    ] {
        // The words of the page hold " on": only within a tag would it be an attribute.
        let found = page
            .match_indices(bad)
            .any(|(at, _)| bad != " on" || page[..at].rfind('<') > page[..at].rfind('>'));
        assert!(!found, "{bad}");
    }
    let svg = r#"xmlns="http://www.w3.org/2000/svg""#;
    assert!(!page.replace(svg, "").replace("http-equiv", "").contains("http"), "a resource from elsewhere");
}

/// Three months of a house: accesses for two purposes, refusals, a crash, a weekend off, a late purge.
fn months() -> Site {
    let mut site = Site::new();
    site.rekey();
    begin(&mut site);
    seal(&mut site);
    for day in 0..80_i64 {
        for n in 0..(day * 7 % 5) {
            let purpose = if n == 1 { "training" } else { "safety" };
            open_for(&mut site, purpose, if n == 3 { Outcome::Denied } else { Outcome::Granted });
            if n != 3 {
                ledger_support::story::session_event(&mut site, "access.closed");
            }
        }
        hours(&mut site, 24);
        if day == 20 {
            fact(&mut site, "ledger.started", r#"{"version":"0.1.0","after_crash":true}"#);
        }
    }
    plan(&mut site);
    purge(&mut site);
    site
}

#[test]
fn the_page_needs_nothing_else_and_is_well_formed() {
    for site in [story(), long_story(), months(), Site::new()] {
        let page = html(&site);
        assert_alone(&page);
        assert_well_formed(&page);
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
        assert!(
            page.contains("name=\"viewport\"") && page.contains("<h1>") && page.contains("scope=\"col\"")
        );
    }
}

#[test]
fn the_page_says_the_verdict_first_and_all_that_a_judge_asks_for() {
    let page = html(&months());
    let verdict = page.find("The ledger is not sound").unwrap();
    assert!(page.find("<h2>").unwrap() > verdict);
    for part in [
        "Responsible (controller)",
        "From 2026-05-12 to ",
        "What was checked, and against what",
        "What could not be checked",
        "Accesses",
        "Refusals",
        "Destroyed more than a day late",
        "Gaps in service",
        "ended without a stop",
        "Changes of the policy",
        "policy in force: 0707",
        "purged-late",
        "How to repeat this check",
        "greffier-verify report /media/stick/ledger --key &#39;",
    ] {
        let part = part.replace("&#39;", "'");
        assert!(page.contains(&part), "{part} is missing");
    }
    // The drawing has words for those who cannot see it, and its numbers as a table.
    assert!(
        page.contains("role=\"img\" aria-labelledby=\"chart-title chart-text\"")
            && page.contains("<desc id=\"chart-text\">")
    );
    assert!(page.contains("Every day with a session or a refusal") && page.contains("<rect "));
}

#[test]
fn the_same_ledger_gives_the_same_bytes() {
    let site = months();
    for format in [Format::Html, Format::Text, Format::Json] {
        let (one, two) = (exported(&site), exported(&site));
        assert_eq!(written(&site, one.path(), format), written(&site, two.path(), format));
    }
}

#[test]
fn the_controller_is_read_from_the_policy_and_hostile_names_are_escaped() {
    let hostile = "Cabinet <script>alert(1)</script> &amp; \\u202Esons";
    let text = POLICY_TEXT.replace("Name of the organisation that answers for the recordings, town", hostile);
    assert_ne!(text, POLICY_TEXT);
    let mut site = story();
    let seq = site.size();
    let files = serde_json::json!([["policy.toml", text]]);
    let detail = format!(r#"{{"seq":{seq},"salt":"AAAAAAAAAAAAAAAAAAAAAA==","policy":{files}}}"#);
    site.details.push((seq, detail.clone()));
    site.policy = "33".repeat(32).parse().ok();
    site.add("policy.loaded", |entry| entry.detail = Some(detail_commitment(detail.as_bytes())));
    let page = html(&site);
    assert!(page.contains("<h1>Report on the ledger of Cabinet &lt;script&gt;"), "{}", &page[..400]);
    assert!(!page.contains("<script") && !page.contains('\u{202e}'));
    assert_well_formed(&page);
    // Without the details nobody is named but the ledger itself.
    let bare = tempfile::tempdir().unwrap();
    site.export(bare.path(), false);
    let page = written(&site, bare.path(), Format::Html);
    assert!(page.contains("Report on the ledger of example.org/greffier") && page.contains("not told"));
}

#[test]
fn inv10_hostile_text_of_a_ledger_stays_text() {
    let mut site = story();
    // The sentence of a finding repeats an unknown key; what a damage report says is text of the ledger too.
    site.add("ledger.clock-suspect", |entry| {
        entry.data = raw(r#"{"why":"x","<img src=x onerror=alert(1)>\u001b[2J":1}"#);
    });
    site.add("store.damaged", |entry| entry.data = raw(r#"{"what":"<script>alert(1)</script>&\u202e"}"#));
    for format in [Format::Html, Format::Text, Format::Json] {
        let page = written(&site, exported(&site).path(), format);
        assert!(page.contains("event-unknown") && !page.contains('\u{1b}'));
        if format == Format::Html {
            assert!(!page.contains("<img") && !page.contains("<script"));
            assert_well_formed(&page);
        }
    }
}

#[test]
fn a_damaged_and_an_empty_ledger_have_a_report_too() {
    let site = long_story();
    let dir = exported(&site);
    let bundle = dir.path().join("tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[500] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    fs::remove_file(dir.path().join("tile/0/000")).unwrap();
    let page = written(&site, dir.path(), Format::Html);
    assert!(
        page.contains("The ledger is not sound")
            && page.contains("entry-damaged")
            && page.contains("not-judged")
    );
    assert!(
        page.contains(" of 600 entries: the next one cannot be read")
            && page.contains("Only up to the entry that cannot be read: ")
    );
    assert!(page.contains("the bytes are not those that were signed") && page.contains("[tile-missing]"));
    assert_well_formed(&page);

    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("checkpoint"), "nothing\n").unwrap();
    let page = written(&site, empty.path(), Format::Html);
    assert!(page.contains("No entry could be judged") && page.contains("head-damaged"));
    assert_well_formed(&page);
}

#[test]
fn the_drawing_is_bounded_whatever_the_period() {
    let rects = |page: &str| page.matches("<rect ").count();
    for (step_hours, unit) in [(24, "day"), (24 * 5, "week"), (24 * 20, "month"), (24 * 366, "year")] {
        let mut site = Site::new();
        begin(&mut site);
        for _ in 0..80 {
            hours(&mut site, step_hours);
            open(&mut site, Outcome::Denied);
        }
        let page = html(&site);
        assert!(page.contains(&format!("by {unit}.")), "{unit}");
        assert!((1..=400).contains(&rects(&page)), "{unit}: {}", rects(&page));
        assert_well_formed(&page);
    }
}

#[test]
fn the_program_writes_each_format_and_the_exit_code_is_that_of_the_check() {
    let mut site = story();
    let sound = exported(&site);
    hold(&mut site, "hold.lifted");
    let broken = exported(&site);
    let run = |dir: &Path, more: &[&str]| {
        let (dir, key) = (dir.to_str().unwrap(), Site::new().vkey());
        let arguments = [&["report", dir, "--key", &key], more].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_greffier-verify")).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, page) = run(sound.path(), &["--html"]);
    assert!(code == 0 && page.contains("The ledger is sound"));
    assert_eq!(run(sound.path(), &["--format", "html"]), (code, page));
    let (code, text) = run(broken.path(), &[]);
    assert!(code == 1 && text.contains("THE LEDGER IS NOT SOUND") && text.contains("hold-unknown"));
    let (code, json) = run(broken.path(), &["--json"]);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &object["verdict"]), (1, &"findings".into()));
    assert_eq!(object["days"][0]["day"], "2026-05-12");
    assert_eq!(object["statistics"]["sessions"]["granted"], 1);
    assert_eq!(run(sound.path(), &["--html", "--json"]).0, 2);
    assert_eq!(run(sound.path(), &["--at", "yesterday"]).0, 2);
    assert_eq!(run(&sound.path().join("none"), &["--html"]).0, 2);
    let (code, page) = run(sound.path(), &["--html", "--at", "2036-01-01T00:00:00Z"]);
    assert!(code == 0 && page.contains("--at 2036-01-01T00:00:00.000000Z"));
}

#[test]
fn without_a_policy_in_clear_the_check_is_the_same() {
    let mut site = months();
    confirm(&mut site);
    let with = check(&site, exported(&site).path());
    let bare = tempfile::tempdir().unwrap();
    site.export(bare.path(), false);
    let without = check(&site, bare.path());
    assert_eq!(with.statistics, without.statistics);
}
