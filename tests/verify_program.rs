//! The program itself: arguments, exit codes, output; and folders that mean it harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use ledger_support::{Site, raw, write};
use proptest::prelude::*;

fn site() -> Site {
    let mut site = Site::new();
    for _ in 0..300 {
        site.add("ledger.clock-confirmed", |entry| entry.data = raw(r#"{"why":"test"}"#));
    }
    site
}

fn exported(site: &Site) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    site.export(dir.path(), false);
    dir
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_greffier-verify")).args(arguments).output().unwrap()
}

fn verify(dir: &Path, more: &[&str]) -> (i32, String, String) {
    let (dir, key) = (dir.to_str().unwrap(), Site::new().vkey());
    let output = run(&[&["ledger", dir, "--key", &key], more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_sound_ledger_exits_0_and_says_so() {
    let export = exported(&site());
    let (code, out, err) = verify(export.path(), &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("sound: 301 entries of example.org/greffier"), "{out}");
}

#[test]
fn a_flipped_bit_exits_1_and_names_the_entry() {
    let export = exported(&site());
    let bundle = export.path().join("tile/entries/000");
    let mut bytes = fs::read(&bundle).unwrap();
    // Within the last entry of the bundle.
    let place = bytes.len() - 20;
    bytes[place] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let (code, out, _) = verify(export.path(), &[]);
    assert_eq!(code, 1);
    assert!(out.starts_with("damage found: entry 255: "), "{out}");
    assert!(out.ends_with("not sound: 1 finding in 301 entries of example.org/greffier\n"), "{out}");
}

#[test]
fn json_is_one_object_with_verdict_findings_and_figures() {
    let export = exported(&site());
    fs::remove_file(export.path().join("tile/0/000")).unwrap();
    let (code, out, _) = verify(export.path(), &["--json"]);
    assert_eq!((code, out.lines().count()), (3, 1));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["verdict"], &object["entries"]), (&"incomplete".into(), &301.into()));
    assert_eq!((&object["head"]["size"], &object["counts"]["tile-missing"]), (&301.into(), &1.into()));
    let finding = &object["findings"][0];
    assert_eq!((&finding["code"], &finding["class"]), (&"tile-missing".into(), &"incomplete".into()));
    assert!(finding["entry"].is_null() && finding["sentence"].is_string());
    assert_eq!(object["statistics"]["events"]["ledger.clock-confirmed"]["done"], 300);
}

#[test]
fn the_key_may_stand_in_a_file_and_checkpoints_too() {
    let (site, files) = (site(), tempfile::tempdir().unwrap());
    let export = exported(&site);
    write(files.path(), "vkey", format!("\n{}\n", site.vkey()).as_bytes());
    write(files.path(), "head", site.head_at(77).as_bytes());
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let dir = export.path().to_str().unwrap();
    let output = run(&["ledger", dir, "--key", &path("vkey"), "--checkpoint", &path("head")]);
    assert_eq!(output.status.code(), Some(0));
    write(files.path(), "vkey", b"two\nlines\n");
    assert_eq!(run(&["ledger", dir, "--key", &path("vkey")]).status.code(), Some(2));
}

#[test]
fn wrong_usage_and_what_cannot_be_read_exit_2() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(verify(empty.path(), &[]).0, 2);
    assert_eq!(verify(&empty.path().join("none"), &[]).0, 2);
    assert_eq!(verify(empty.path(), &["--checkpoint", "/nonexistent"]).0, 2);
    assert_eq!(run(&["ledger", "/", "--key", "nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["ledger"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    let (code, out, err) = verify(empty.path(), &["--json"]);
    assert!(code == 2 && out.contains("unreadable") && err.starts_with("greffier-verify: "));
}

#[test]
fn inv10_links_and_devices_are_not_followed() {
    let site = site();
    let good = exported(&site);
    for path in ["tile/entries/000", "tile/0/000", "tile/0"] {
        let export = exported(&site);
        let place = export.path().join(path);
        if place.is_dir() {
            fs::remove_dir_all(&place).unwrap()
        } else {
            fs::remove_file(&place).unwrap()
        }
        symlink(good.path().join(path), &place).unwrap();
        let (code, out, _) = verify(export.path(), &[]);
        assert_eq!(code, 1, "{path}: {out}");
        assert!(out.contains("is not a"), "{out}");
    }
    for (name, target) in [("checkpoint", "/dev/zero"), ("tail", "/dev/zero"), ("details.jsonl", "/dev/zero")]
    {
        let export = exported(&site);
        let _ = fs::remove_file(export.path().join(name));
        symlink(target, export.path().join(name)).unwrap();
        assert_eq!(verify(export.path(), &[]).0, 2, "{name}");
    }
    let export = exported(&site);
    symlink(good.path(), export.path().join("checkpoints")).unwrap();
    assert_eq!(verify(export.path(), &[]).0, 1);
}

#[test]
fn inv10_giant_files_are_not_read_whole() {
    let site = site();
    for path in ["tile/entries/000", "tile/0/000", "checkpoint", "tile/1/000.p/1"] {
        let export = exported(&site);
        // Sparse: a terabyte that costs nothing to make.
        fs::OpenOptions::new().write(true).open(export.path().join(path)).unwrap().set_len(1 << 40).unwrap();
        assert!([1, 2].contains(&verify(export.path(), &[]).0), "{path}");
    }
    let export = exported(&site);
    fs::File::create(export.path().join("details.jsonl")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(verify(export.path(), &[]).0, 1);
}

#[test]
fn text_of_the_ledger_cannot_write_on_the_terminal() {
    let mut site = site();
    site.add("ledger.clock-confirmed", |entry| entry.data = raw(r#"{"why":"x","\u001b[2Jsound":1}"#));
    let (code, out, _) = verify(exported(&site).path(), &[]);
    assert_eq!(code, 1);
    assert!(out.contains("event-unknown") && !out.contains('\u{1b}'), "{out}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any bytes in any file: an exit code, never a panic, never `sound`.
    #[test]
    fn inv10_random_bytes_never_panic_and_never_pass(
        which in 0..6_usize, noise in prop::collection::vec(any::<u8>(), 0..5000), keep in 0..4000_usize,
    ) {
        let site = site();
        let dir = tempfile::tempdir().unwrap();
        if which == 5 { site.live(dir.path()) } else { site.export(dir.path(), true) }
        let path = ["checkpoint", "tile/entries/000", "tile/entries/001.p/45", "tile/0/000", "tile/1/000.p/1", "tail"][which];
        let mut bytes = fs::read(dir.path().join(path)).unwrap();
        let before = bytes.clone();
        bytes.truncate(keep);
        bytes.extend(noise);
        write(dir.path(), path, &bytes);
        let (code, out, err) = verify(dir.path(), &[]);
        prop_assert!(!err.contains("panicked"), "{}", err);
        prop_assert!(code != 0 || bytes == before, "{}: {}", path, out);
    }
}
