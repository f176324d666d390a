//! `greffierctl ledger publish` against the real service: growth, interruption, damage, and what it must refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(all(test, feature = "ctl", feature = "daemon"))]

mod publish_support;
mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use publish_support::{answer, checkpoint, ctl, desk, grow, publish, published, read_as_a_stranger};
use support::{House, files_below, flip_bit, noise, pause};

/// Every file below a directory with its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = files_below(dir)
        .into_iter()
        .map(|path| (path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", "--"]).arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_published_directory_grows_and_any_tlog_tiles_client_can_read_it() {
    let mut house = House::open();
    let dir = desk(&house).join("public");
    house.seal("entrance", "clip.mp4", &noise(1, 1000));
    let first = published(&house, &dir);
    assert!(first > 0 && first < 256, "{first}");
    let files = contents(&dir);

    // Another epoch, so that a closing checkpoint must come along.
    house.stop();
    house.start();
    grow(&house, 300);
    let second = published(&house, &dir);
    assert!(second > 256, "{second}");
    assert!(fs::read_dir(dir.join("checkpoints")).unwrap().count() >= 1);
    grow(&house, 300);
    let third = published(&house, &dir);
    assert!(third > 512, "{third}");

    // Nothing that was published has changed but the head: the partial files of the first one are there still.
    let now = contents(&dir);
    for (path, bytes) in files.iter().filter(|(path, _)| path != Path::new("checkpoint")) {
        assert!(now.iter().any(|(name, found)| name == path && found == bytes), "{}", path.display());
    }
    assert!(dir.join(format!("tile/entries/000.p/{first}")).exists());

    // For everybody, and with nothing but what everybody may see.
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    for path in files_below(&dir) {
        assert_eq!(mode(&path), 0o644, "{}", path.display());
        assert_eq!(mode(path.parent().unwrap()), 0o755, "{}", path.display());
    }
    let names: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["checkpoint", "checkpoints", "origin", "tile", "vkey"]);
    for (path, bytes) in contents(&dir) {
        assert!(!support::contains(&bytes, b"\"salt\""), "a detail in {}", path.display());
    }
    house.finish();
}

#[test]
fn a_run_that_is_cut_off_leaves_the_old_head_whole_and_the_next_one_ends_it() {
    let house = House::open();
    let desk = desk(&house);
    let dir = desk.join("public");
    grow(&house, 270);
    let old = published(&house, &dir);
    grow(&house, 270);
    // Killed at any moment, also while it asks.
    for turn in 0..12_u32 {
        let mut run = ctl(&house, &["ledger", "publish", dir.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From the first step to well after the last.
        pause(Duration::from_millis(u64::from(turn * turn) * 3));
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(house.verify_dir(&dir).status.success(), "turn {turn}");
        assert!(read_as_a_stranger(&dir).0 >= old);
    }
    let whole = published(&house, &dir);

    // What a power cut can leave: new files without their bytes, none of the last steps, a temporary file.
    let cut = desk.join("cut");
    copy(&dir, &cut);
    grow(&house, 270);
    published(&house, &dir);
    for (path, bytes) in contents(&dir) {
        let to = cut.join(&path);
        if to.exists() || path.starts_with("checkpoints") {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, &bytes[..bytes.len() / 2]).unwrap();
    }
    fs::write(cut.join(".greffier-publish.new"), "half a fi").unwrap();
    assert!(
        Command::new("chown").args(["-R", "--reference"]).arg(&dir).arg(&cut).status().unwrap().success()
    );
    assert_eq!(read_as_a_stranger(&cut).0, whole, "the old head stands");
    assert!(published(&house, &cut) > whole);
    assert!(!cut.join(".greffier-publish.new").exists());
    house.finish();
}

#[test]
fn what_is_missing_comes_back_and_what_was_changed_is_named() {
    let house = House::open();
    let dir = desk(&house).join("public");
    grow(&house, 530);
    let size = published(&house, &dir);
    let before = contents(&dir);
    let last = size % 256;
    for name in ["tile/entries/000", "tile/0/001", "tile/1/000.p/2", &format!("tile/entries/002.p/{last}")] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    published(&house, &dir);
    for (path, bytes) in before.iter().filter(|(path, _)| path != Path::new("checkpoint")) {
        assert!(fs::read(dir.join(path)).unwrap() == *bytes, "{}", path.display());
    }
    let head = fs::read(dir.join("checkpoint")).unwrap();
    for (name, offset) in [("tile/entries/001", 700), ("tile/0/000", 31), ("tile/entries/000", 1)] {
        flip_bit(&dir.join(name), offset);
        let (code, said) = publish(&house, &dir);
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains(name), "{name}: {said}");
        assert_eq!(fs::read(dir.join("checkpoint")).unwrap(), head, "{name}");
        flip_bit(&dir.join(name), offset);
    }
    published(&house, &dir);
    house.finish();
}

#[test]
fn directories_that_are_not_of_this_ledger_are_refused_untouched() {
    let house = House::open();
    let desk = desk(&house);
    let refused = |dir: &Path, expected: i32, why: &str| {
        let before = contents(dir);
        let (code, said) = publish(&house, dir);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(why), "{why}: {said}");
        assert!(contents(dir) == before, "{why}");
    };
    let auditor_owns = |dir: &Path| {
        assert!(
            Command::new("chown").args(["-R", "--reference"]).arg(&desk).arg(dir).status().unwrap().success()
        );
    };
    let web = desk.join("web");
    fs::create_dir(&web).unwrap();
    fs::write(web.join("index.html"), "hello").unwrap();
    auditor_owns(&web);
    refused(&web, 2, "neither empty nor a published ledger");

    // An export with details must never become public.
    let export = desk.join("export");
    let out =
        ctl(&house, &["ledger", "export", export.to_str().unwrap(), "--with-details"]).output().unwrap();
    assert_eq!(answer(&out).0, 0, "{out:?}");
    refused(&export, 2, "details.jsonl");

    let other = House::open();
    let other_desk = publish_support::desk(&other);
    published(&other, &other_desk.join("public"));
    let foreign = desk.join("foreign");
    copy(&other_desk.join("public"), &foreign);
    auditor_owns(&foreign);
    refused(&foreign, 2, &other.vkey);
    // The same, with our key put there: its head is not signed by it.
    fs::write(foreign.join("vkey"), format!("{}\n", house.vkey)).unwrap();
    refused(&foreign, 1, "not a checkpoint of this ledger");
    other.finish();

    let locked = desk.join("locked");
    published(&house, &locked);
    let file = File::open(&locked).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    refused(&locked, 1, "wait for it");
    house.finish();
}

#[test]
fn inv4_a_ledger_that_was_put_back_is_refused_before_and_after_it_has_grown_again() {
    let mut house = House::open();
    let desk = desk(&house);
    let dir = desk.join("public");
    grow(&house, 20);
    house.stop();
    let (saved, run) = (house.path("saved"), house.path("saved-run"));
    copy(&house.state, &saved);
    copy(&house.path("run"), &run);
    house.start();
    grow(&house, 60);
    let size = published(&house, &dir);
    let before = contents(&dir);
    house.stop();

    // Ledger and second place put back together: the service cannot know. What is published knows.
    for (kept, place) in [(&saved, house.state.clone()), (&run, house.path("run"))] {
        fs::remove_dir_all(&place).unwrap();
        copy(kept, &place);
    }
    house.start();
    let (code, said) = publish(&house, &dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("publishes {size} entries")) && said.contains("put back"), "{said}");
    grow(&house, 100);
    let (code, said) = publish(&house, &dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not go on from"), "{said}");
    assert!(contents(&dir) == before, "nothing that was published is touched");
    assert_eq!(checkpoint(&dir).0, size);
    house.finish();
}
