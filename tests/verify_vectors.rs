//! The verifier on every directory of the conformance kit: the findings and the exit code, exactly.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use greffier::verify::{Class, Failure, Options, Source, Verdict, verify_ledger};

/// A directory of the kit, with what must be found there.
struct Case {
    name: String,
    dir: PathBuf,
    exit: u8,
    /// Code and first entry, as text, in order.
    found: Vec<String>,
}

fn kit() -> Vec<Case> {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ledger");
    let mut cases: Vec<Case> =
        fs::read_dir(kit).unwrap().map(|entry| read_case(entry.unwrap().path())).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 180, "the kit has its directories");
    cases
}

fn read_case(dir: PathBuf) -> Case {
    let expected = fs::read_to_string(dir.join("expected")).unwrap();
    let mut lines = expected.lines().filter(|line| !line.starts_with('#'));
    let exit = lines.next().unwrap().strip_prefix("exit ").unwrap().parse().unwrap();
    let found: Vec<String> = lines.map(str::to_owned).collect();
    Case { name: dir.file_name().unwrap().to_str().unwrap().to_owned(), dir, exit, found }
}

fn verify(case: &Case) -> Result<Verdict, Failure> {
    let pinned = fs::read_to_string(case.dir.join("checkpoint.pinned"));
    let key = fs::read_to_string(case.dir.join("vkey")).unwrap().trim().parse().unwrap();
    let policy = fs::read_to_string(case.dir.join("policy")).ok().map(|text| ("policy".to_owned(), text));
    let pinned = pinned.into_iter().map(|text| ("checkpoint.pinned".to_owned(), text)).collect();
    verify_ledger(&Options { pinned, policy, ..Options::new(Source::Path(case.dir.clone()), key) })
}

/// Each code but notes with the first entry that it is about: one cause may be seen in many entries after it.
fn findings(verdict: &Verdict) -> Vec<String> {
    let mut first = BTreeMap::new();
    for finding in verdict.report.findings() {
        if finding.code.class() != Class::Note {
            let entry = first.entry(finding.code.name()).or_insert(finding.entry);
            *entry = (*entry).min(finding.entry);
        }
    }
    let entry = |entry: Option<u64>| entry.map_or("-".to_owned(), |entry| entry.to_string());
    first.into_iter().map(|(code, of)| format!("{code} {}", entry(of))).collect()
}

#[test]
fn every_directory_of_the_kit_gives_its_findings_and_its_exit_code() {
    let mut wrong = Vec::new();
    for case in kit() {
        let (exit, found) = match verify(&case) {
            Ok(verdict) => (verdict.exit_code(), findings(&verdict)),
            Err(_) => (2, Vec::new()),
        };
        if (exit, &found) != (case.exit, &case.found) {
            wrong.push(format!(
                "{}: exit {exit}, {found:?}; wanted {}, {:?}",
                case.name, case.exit, case.found
            ));
        }
    }
    assert!(wrong.is_empty(), "{} directories:\n{}", wrong.len(), wrong.join("\n"));
}

/// The same through the program: its arguments and its exit code.
#[test]
fn the_program_exits_as_the_kit_says() {
    for case in kit() {
        let file = |name: &str| case.dir.join(name).to_str().unwrap().to_owned();
        let mut arguments =
            vec!["ledger".to_owned(), file(""), "--key".into(), file("vkey"), "--json".into()];
        if case.dir.join("checkpoint.pinned").exists() {
            arguments.extend(["--checkpoint".into(), file("checkpoint.pinned")]);
        }
        if case.dir.join("policy").exists() {
            arguments.extend(["--policy".into(), file("policy")]);
        }
        let output = Command::new(env!("CARGO_BIN_EXE_greffier-verify")).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(case.exit)), "{}: {text}", case.name);
        for line in &case.found {
            let code = line.split(' ').next().unwrap();
            assert!(text.contains(&format!("\"{code}\"")), "{}: {code} in {text}", case.name);
        }
    }
}
