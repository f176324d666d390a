//! What the programs do when there is nobody to ask, and when they are asked wrongly.
#![cfg(all(feature = "ctl", feature = "view"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
const CTL: &str = env!("CARGO_BIN_EXE_greffierctl");
const VIEW: &str = env!("CARGO_BIN_EXE_greffier-view");

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env("GREFFIER_BUS", "unix:path=/nonexistent/greffier-test-bus")
        .output()
        .unwrap()
}

#[test]
fn without_a_bus_the_exit_code_is_3_and_only_words_are_written() {
    let commands: [(&str, &[&str]); 12] = [
        (CTL, &["status"]),
        (CTL, &["reload"]),
        (CTL, &["seal", "/dev/null", "--source", "entrance"]),
        (CTL, &["--json", "search", "--reason", "incident"]),
        (CTL, &["show", ID]),
        (CTL, &["hold", "lift", ID]),
        (CTL, &["retention", "plan"]),
        (CTL, &["ledger", "log"]),
        (CTL, &["index", "rebuild"]),
        (VIEW, &["list", "--reason", "incident"]),
        (VIEW, &["play", ID, "--reason", "incident", "--", "true"]),
        (VIEW, &["cat", ID, "--reason", "incident"]),
    ];
    for (program, arguments) in commands {
        let output = run(program, arguments);
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {words}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(words.contains("cannot be reached") && words.lines().count() == 1, "{words}");
    }
}

#[test]
fn an_export_that_cannot_start_makes_no_directory() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    let output = run(CTL, &["ledger", "export", dir.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!dir.exists());
}

#[test]
fn a_bus_address_that_is_none_is_wrong_usage() {
    assert_eq!(run(CTL, &["--bus", "nonsense", "status"]).status.code(), Some(2));
    assert_eq!(run(VIEW, &["--bus", "nonsense", "show", ID]).status.code(), Some(2));
}

#[test]
fn wrong_usage_is_told_before_anybody_is_asked() {
    for arguments in [
        &["seal", "/dev/null", "/dev/zero", "--source", "a", "--start", "2026-05-12"][..],
        &["hold", "lift", "not-a-hold"],
    ] {
        let output = run(CTL, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

#[test]
fn play_without_a_player_names_cat_and_the_two_dashes() {
    let output = Command::new(VIEW)
        .args(["play", ID, "--reason", "incident"])
        .env("PATH", "/nonexistent")
        .env_remove("GREFFIER_BUS")
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("cat ID") && words.contains("-- PLAYER"), "{words}");
}
