//! `greffierctl init` in a directory of its own, and the policy it leaves.
#![cfg(all(feature = "ctl", feature = "view", feature = "daemon"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const CTL: &str = env!("CARGO_BIN_EXE_greffierctl");

fn init(root: &Path) -> Output {
    let place = |option: &str, name: &str| format!("--{option}={}", root.join(name).display());
    Command::new(CTL)
        .args(["init", "--origin", "test.example/greffier", "--bus", "unix:path=/nonexistent"])
        .args([place("config-dir", "etc"), place("state-dir", "var/state"), place("spool-dir", "var/spool")])
        .args([place("run-dir", "run"), place("insecure-key-file", "master.key")])
        .output()
        .unwrap()
}

/// Every file below `dir`, with its bytes.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.display().to_string(), Vec::new());
            files.extend(tree(&path));
        } else {
            files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn a_second_init_changes_nothing_and_exits_1() {
    let root = tempfile::tempdir().unwrap();
    let first = init(root.path());
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let vkey = String::from_utf8(first.stdout).unwrap();
    assert!(vkey.starts_with("test.example/greffier+") && vkey.lines().count() == 1, "{vkey}");
    assert!(
        String::from_utf8(first.stderr)
            .unwrap()
            .contains("Keep this line outside this machine: the auditor needs it")
    );
    assert_eq!(std::fs::read_to_string(root.path().join("var/state/ledger/vkey")).unwrap(), vkey);

    let before = tree(root.path());
    let second = init(root.path());
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(second.stdout.is_empty());
    assert!(tree(root.path()) == before, "the second run changed something");
}

#[test]
fn an_archive_is_closed_to_others_and_keeps_no_plain_key_in_its_state() {
    let root = tempfile::tempdir().unwrap();
    assert!(init(root.path()).status.success());
    let mode = |name: &str| root.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("var/state"), 0o700);
    assert_eq!(mode("master.key"), 0o600);
    let master = std::fs::read(root.path().join("master.key")).unwrap();
    assert_eq!(master.len(), 32);
    for (name, bytes) in tree(&root.path().join("var/state")) {
        assert!(!bytes.windows(master.len()).any(|window| window == master), "{name} holds the master key");
    }
    let config = greffier::daemon::config::Config::load(&root.path().join("etc/greffier.toml")).unwrap();
    assert_eq!(config.origin, "test.example/greffier");
    assert_eq!(config.key.insecure_key_file, Some(root.path().join("master.key")));
    assert_eq!(config.state_dir, root.path().join("var/state"));
}

#[test]
fn a_policy_that_is_there_already_is_kept() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/policy.toml"), "# mine\n").unwrap();
    assert!(init(root.path()).status.success());
    assert_eq!(std::fs::read_to_string(root.path().join("etc/policy.toml")).unwrap(), "# mine\n");
}

#[test]
fn a_failed_init_names_what_to_remove() {
    let root = tempfile::tempdir().unwrap();
    // The place of the spool is taken by a file: nothing is made in the state directory.
    std::fs::create_dir(root.path().join("var")).unwrap();
    std::fs::write(root.path().join("var/spool"), "").unwrap();
    let output = init(root.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("var/spool"));
    std::fs::remove_file(root.path().join("var/spool")).unwrap();
    assert!(init(root.path()).status.success(), "after the cause is gone it can be run again");
}

#[test]
fn an_origin_is_required_and_checked() {
    for arguments in [&["init"][..], &["init", "--origin", "two words"], &["init", "--origin", "a+b"]] {
        let output = Command::new(CTL).args(arguments).stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

fn check(path: &Path, json: bool) -> Output {
    Command::new(CTL).args(json.then_some("--json")).args(["policy", "check"]).arg(path).output().unwrap()
}

#[test]
fn the_policy_of_a_new_archive_passes_its_check() {
    let root = tempfile::tempdir().unwrap();
    assert!(init(root.path()).status.success());
    let output = check(&root.path().join("etc"), false);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_bad_policy_is_named_by_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, "format = 1\ncontroller = \"x\"\ncolour = \"red\"\n").unwrap();
    let output = check(&file, false);
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(found.starts_with(&format!("{}:3: ", file.display())), "{found}");
    let output = check(dir.path(), true);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"line\":3"));
    assert_eq!(check(&dir.path().join("absent.toml"), false).status.code(), Some(2));
}

/// The line that `keys restore` prints as JSON, or what it says.
fn restored(root: &Path, more: &[&str]) -> Result<String, String> {
    let output = Command::new(CTL)
        .args([
            "--json",
            "keys",
            "restore",
            "backup",
            "--identity",
            "identity",
            "--config",
            "etc/greffier.toml",
        ])
        .args(more)
        .current_dir(root)
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
        Some(1) => Err(String::from_utf8(output.stderr).unwrap()),
        _ => panic!("{output:?}"),
    }
}

#[test]
fn a_lost_master_key_is_put_back_from_its_backup_and_no_other() {
    use age::secrecy::ExposeSecret;
    use greffier::shell::crypt::MasterKey;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert_eq!(init(root).status.code(), Some(0));
    let key = std::fs::read(root.join("master.key")).unwrap();
    let identity = age::x25519::Identity::generate();
    std::fs::write(root.join("identity"), format!("# a comment\n{}\n", identity.to_string().expose_secret()))
        .unwrap();
    let recipient = [identity.to_public().to_string().parse().unwrap()];
    let origin = "test.example/greffier";
    let backup = |key: &[u8; 32], origin: &str| {
        let sealed = MasterKey::from_bytes(key).seal_backup(origin, 1, &recipient).unwrap();
        std::fs::write(root.join("backup"), sealed).unwrap();
    };
    let right: [u8; 32] = key.as_slice().try_into().unwrap();

    backup(&right, origin);
    assert!(restored(root, &[]).unwrap().contains("\"generation\":1"));
    assert!(!root.join("var/state/keys/restored").exists(), "it was in its place");

    std::fs::write(root.join("master.key"), [7; 32]).unwrap();
    assert!(restored(root, &[]).unwrap_err().contains("--replace"));
    backup(&[8; 32], origin);
    assert!(restored(root, &["--replace"]).unwrap_err().contains("does not open"));
    backup(&right, "other.example/greffier");
    assert!(restored(root, &["--replace"]).unwrap_err().contains("other.example"));
    assert_eq!(std::fs::read(root.join("master.key")).unwrap(), [7; 32], "nothing was changed");

    backup(&right, origin);
    restored(root, &["--replace"]).unwrap();
    assert_eq!(std::fs::read(root.join("master.key")).unwrap(), key);
    assert!(root.join("var/state/keys/restored").exists(), "the next start records it");

    std::fs::remove_file(root.join("master.key")).unwrap();
    restored(root, &[]).unwrap();
    assert_eq!(std::fs::read(root.join("master.key")).unwrap(), key);
}
