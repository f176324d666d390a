//! A policy as files: the digest that an outsider repeats with `sha256sum`, comparing, linting, the text that `init`
//! writes, and the manual page.
#![expect(clippy::unwrap_used, reason = "what a test builds upon must be there, or the test fails")]

use std::collections::BTreeSet;
use std::process::Command;

use greffier::core::ids::SourceId;
use greffier::core::policy::{
    LintFacts, Policy, PolicyFile, SourceChange, TEMPLATE, Verb, compare_sources, lint,
};

const EXAMPLE: &str = include_str!("cases/policy/example.toml");

fn file(name: &str, text: &str) -> PolicyFile {
    PolicyFile { name: name.into(), text: text.into() }
}
fn main_file(text: &str) -> Vec<PolicyFile> {
    vec![file("policy.toml", text)]
}
fn facts(today: &str, without_account: &[&str]) -> LintFacts {
    let without_account: BTreeSet<_> = without_account.iter().map(|user| user.parse().unwrap()).collect();
    LintFacts { without_account, today: today.parse().unwrap(), profiles: Vec::new() }
}
fn warnings(text: &str, facts: &LintFacts) -> Vec<String> {
    lint(&Policy::parse(&main_file(text)).unwrap(), facts).iter().map(ToString::to_string).collect()
}

#[test]
fn the_digest_is_repeated_by_sha256sum() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("policy.d")).unwrap();
    let mut files = vec![
        file("policy.d/b.toml", "# second\n"),
        file("policy.toml", EXAMPLE),
        file("policy.d/a-1.toml", "# first, with é\n"),
        file("policy.d/B.toml", ""),
    ];
    for file in &files {
        std::fs::write(folder.path().join(&file.name), &file.text).unwrap();
    }
    let command = "LC_ALL=C sha256sum policy.toml policy.d/*.toml | sha256sum";
    let output = Command::new("sh").args(["-c", command]).current_dir(folder.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let digest = Policy::parse(&files).unwrap().digest();
    assert_eq!(printed.split_whitespace().next(), Some(digest.to_string().as_str()));
    files.reverse();
    assert_eq!(Policy::digest_of(&files), digest, "the order in which files are given does not matter");
    files.pop();
    assert_ne!(Policy::digest_of(&files), digest);
}

#[test]
fn no_policy_has_the_digest_of_no_text() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Policy::empty().digest().to_string(), empty);
}

#[test]
fn inv9_a_pipe_is_allowed_by_the_grant_that_says_so_and_by_no_other() {
    let grant = |rest: &str| format!("pipes-a = {{ user = \"doctor\", role = \"viewer\"{rest} }}\n[denies]");
    let policy = |rest: &str| Policy::parse(&main_file(&EXAMPLE.replacen("[denies]", &grant(rest), 1)));
    let rules_that_pipe = |rest: &str| -> Vec<String> {
        let policy = policy(rest).unwrap();
        policy.grants().filter(|(_, grant)| grant.pipe).map(|(rule, _)| rule.to_string()).collect()
    };
    assert_eq!(rules_that_pipe(", pipe = true"), ["pipes-a"]);
    assert!(rules_that_pipe(", pipe = false").is_empty());
    assert!(rules_that_pipe("").is_empty());
    assert!(policy(", pipe = \"yes\"").is_err());
}

#[test]
fn sources_are_compared_by_what_they_say_not_where() {
    let old = Policy::parse(&main_file(EXAMPLE)).unwrap();
    let moved = Policy::parse(&main_file(&format!("# one more line\n{EXAMPLE}"))).unwrap();
    assert!(compare_sources(&old, &moved).is_empty());
    let text = EXAMPLE.replace("\"storage\"", "\"stock\"").replace("reception", "desk");
    let new = Policy::parse(&main_file(&text)).unwrap();
    let id = |id: &str| id.parse::<SourceId>().unwrap();
    let changes: Vec<_> = compare_sources(&old, &new).into_iter().collect();
    assert_eq!(
        changes,
        [
            (id("desk"), SourceChange::Registered),
            (id("dispenser"), SourceChange::Changed),
            (id("reception"), SourceChange::Retired),
        ]
    );
}

#[test]
fn the_text_of_init_is_good_and_grants_nothing() {
    let policy = Policy::parse(&main_file(TEMPLATE)).unwrap();
    assert!(policy.grants_nothing());
    assert_eq!(policy.sources().count(), 0);
    // Each commented line is an example that works when its mark is taken away.
    let opened: Vec<&str> = TEMPLATE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = {")).unwrap_or(line))
        .collect();
    let policy = Policy::parse(&main_file(&opened.join("\n"))).unwrap();
    assert_eq!((policy.sources().count(), policy.grants().count(), policy.denies().count()), (2, 4, 1));
}

/// What the manual page shows, without the marks of its language.
fn manual_page() -> String {
    let page = include_str!("../man/greffier-policy.5");
    [("\\-", "-"), ("\\(dq", "\""), ("\\(ga", "`"), ("\\('e", "é"), ("\\e", "\\")]
        .iter()
        .fold(page.to_owned(), |text, (mark, word)| text.replace(mark, word))
}

#[test]
fn the_manual_page_shows_the_example_and_a_true_message() {
    let page = manual_page();
    assert!(page.contains(&format!(".EX\n{}\n.EE", EXAMPLE.trim_end())), "the example differs");
    let text = EXAMPLE.replacen("role = \"viewer\"", "role = \"viewr\"", 1);
    let message = Policy::parse(&main_file(&text)).unwrap_err().to_string();
    assert!(page.contains(&message), "the page does not show {message}");
}

#[test]
fn the_manual_page_names_every_verb_and_rule() {
    let page = manual_page();
    for verb in Verb::ALL {
        assert!(page.contains(verb.as_str()), "{verb}");
    }
    for rule in ["root", "login-uid", "no-grant", "reason", "request"] {
        assert!(page.contains(&format!(".B builtin.{rule}\n")), "{rule}");
    }
}

#[test]
fn a_good_policy_has_no_warnings() {
    assert_eq!(warnings(EXAMPLE, &facts("2026-09-01", &[])), Vec::<String>::new());
}

#[test]
fn the_linter_says_what_is_odd() {
    let lints = |text: &str, sentence: &str| {
        let all = warnings(text, &facts("2026-09-01", &["frigate", "dpo"]));
        assert!(all.iter().any(|warning| warning.contains(sentence)), "{sentence}\n  in {all:#?}");
    };
    let with = |line: &str| EXAMPLE.replace("[denies]", &format!("{line}\n[denies]"));
    lints(EXAMPLE, "policy.toml:35: warning: dpo of grant dpo-audit has no account");
    lints(EXAMPLE, "policy.toml:21: warning: frigate, the writer of source dispenser, has no account");
    lints(&EXAMPLE.replace("2027-06-30", "2026-08-31"), "grant doctor-calls ended on 2026-08-31");
    lints(&EXAMPLE.replace("2027-06-30", "2026-09-15"), "grant doctor-calls ends on 2026-09-15");
    lints(&EXAMPLE.replace("2027-06-30", "2029-06-30"), "grant doctor-calls runs until 2029-06-30");
    lints(&with("x = { user = \"x\", role = \"viewer\" }"), "grant x has no end");
    lints(
        &with("x = { user = \"x\", role = \"auditor\", max_bytes_a_day = 5 }"),
        "grant x lets nobody view, so max_bytes_a_day limits nothing",
    );
    for wrong in ["0", "-1", "\"5\"", "1.5", "0x10", "9007199254740992"] {
        let text =
            with(&format!("x = {{ user = \"x\", role = \"viewer\", max_recordings_a_day = {wrong} }}"));
        let mistake = Policy::parse(&main_file(&text)).unwrap_err().to_string();
        assert!(mistake.contains("max_recordings_a_day must be a whole number from 1 on"), "{mistake}");
    }
    lints(
        &with("x = { user = \"x\", role = \"controller\", reasons = [\"incident\"] }"),
        "grant x limits reasons, so it never allows hold, lift, purge",
    );
    lints(
        &with("x = { user = \"x\", role = \"auditor\", sources = [\"entrance\"] }"),
        "grant x limits sources, so it never allows read-ledger",
    );
    lints(
        &with("x = { user = \"x\", role = \"viewer\", sources = [\"reception\"], reasons = [\"incident\"] }"),
        "grant x: incident serve no purpose of its sources",
    );
    lints(
        &EXAMPLE.replace("[\"search\", \"view\"] }\ncon", "[\"view\"] }\ncon"),
        "no grant lets secretary search",
    );
    lints(
        &EXAMPLE.replace("entrance", "door-secretary"),
        "source door-secretary reads like the user secretary",
    );
    lints(&EXAMPLE.replace("2027", "2026"), "nobody may view source entrance today");
    lints(
        &EXAMPLE.replace("[purposes]", "idle = { text = \"x\" }\n[purposes]"),
        "reason idle serves no purpose",
    );
    lints(
        &EXAMPLE.replace("[sources]", "idle = { max = \"P1D\" }\n[sources]"),
        "class idle belongs to no source",
    );
    lints(
        &EXAMPLE.replace("[grants]", "idle = { verbs = [\"seal\"] }\n[grants]"),
        "role idle is granted to nobody",
    );
    lints(&EXAMPLE.replace("\"itservice\"", "\"dpo\""), "dpo administers and reads the ledger");
    lints(&EXAMPLE.replace("role = \"auditor\"", "role = \"controller\""), "nobody may read the ledger");
    lints(TEMPLATE, "no grant: nobody may do anything");
}
