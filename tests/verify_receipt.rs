//! `greffier-verify receipt` and `bundle`: sound ones, one for each finding, and files that mean harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_possible_truncation, reason = "a few hundred entries")]

mod ledger_support;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use greffier::core::event::Outcome;
use greffier::core::ledger::checkpoint::Checkpoint;
use greffier::core::ledger::hash::Hash;
use greffier::core::ledger::proof::{Plan, TileAt};
use greffier::core::ledger::receipt::Receipt;
use greffier::core::ledger::tile::encode_bundle;
use greffier::core::ledger::tree::root_of;
use ledger_support::witness::{Witness, cosigned, policy, witness};
use ledger_support::{Key, ORIGIN, Site, raw};
use serde_json::Value;

/// 600 entries, every tenth with a detail.
fn site() -> Site {
    let mut site = Site::new();
    for n in 1..600 {
        if n % 10 == 0 {
            site.add_with_detail("ledger.read", "who asked", |entry| {
                entry.outcome = Outcome::Granted;
                entry.data = raw(r#"{"from":0,"count":5}"#);
            });
        } else {
            site.add("ledger.clock-confirmed", |entry| entry.data = raw(r#"{"why":"test"}"#));
        }
    }
    site
}

fn epoch_key(site: &Site) -> String {
    let created: Value = serde_json::from_slice(&site.lines[0]).unwrap();
    created["data"]["epoch_key"].as_str().unwrap().to_owned()
}

fn path_of(site: &Site, index: u64, size: u64) -> Vec<Hash> {
    let tile = |TileAt { level, n, width }: TileAt| -> Result<Vec<Hash>, Infallible> {
        let span = 256_usize.pow(level.into());
        let from = n as usize * 256 * span;
        Ok(site.leaves[from..].chunks_exact(span).take(width).map(root_of).collect())
    };
    Plan::inclusion(index, size).unwrap().assemble(tile).unwrap()
}

fn receipt(site: &Site, index: u64) -> Receipt {
    let path = path_of(site, index, site.size());
    Receipt::new(index, site.lines[index as usize].clone(), path, site.head()).unwrap()
}

fn with_detail(site: &Site, index: u64) -> Receipt {
    let (_, detail) = site.details.iter().find(|(of, _)| *of == index).unwrap();
    receipt(site, index).with_detail(detail.clone().into_bytes()).unwrap()
}

struct Desk {
    dir: tempfile::TempDir,
    key: String,
    epoch: String,
}

impl Desk {
    fn new(site: &Site) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), key: site.vkey(), epoch: epoch_key(site) }
    }
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
    /// Exit code and standard output; standard error only with exit 2.
    fn receipt(&self, file: &Path, more: &[&str]) -> (i32, String) {
        let output = run(&[&["receipt", file.to_str().unwrap(), "--key", &self.key], more].concat());
        told(output)
    }
    /// The same with the epoch key.
    fn full(&self, receipt: &str) -> (i32, String) {
        self.receipt(&self.put("one.tlog-proof", receipt), &["--epoch-key", &self.epoch])
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_greffier-verify")).args(arguments).output().unwrap()
}

fn told(output: Output) -> (i32, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (code, out, err) = (output.status.code().unwrap(), text(output.stdout), text(output.stderr));
    assert_eq!(code == 2, !err.is_empty(), "{code}: {err}");
    (code, out + &err)
}

#[test]
fn a_sound_receipt_exits_0_with_the_epoch_key_and_3_without_and_says_why() {
    let site = site();
    let desk = Desk::new(&site);
    for index in [0, 1, 255, 256, 300, 599] {
        let (code, out) = desk.full(&receipt(&site, index).to_string());
        let expected = format!("\nsound: entry {index} in the ledger of 600 entries of {ORIGIN}\n");
        assert!(code == 0 && out.ends_with(&expected), "{code}: {out}");
    }
    let file = desk.put("r", receipt(&site, 1).to_string());
    let (code, out) = desk.receipt(&file, &[]);
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("[epoch-unknown]") && out.contains("sound as far as it goes"), "{out}");
    assert!(out.contains("ledger.clock-confirmed, done. The wall clock is trusted again."), "{out}");
}

#[test]
fn an_opened_receipt_shows_the_detail_and_a_closed_one_says_that_it_is_sealed() {
    let site = site();
    let desk = Desk::new(&site);
    let (code, out) = desk.full(&with_detail(&site, 10).to_string());
    assert!(code == 0 && out.contains("  detail, text: who asked\n") && !out.contains("salt"), "{out}");
    let (code, out) = desk.full(&receipt(&site, 10).to_string());
    assert!(code == 0 && out.contains("[details-sealed]") && !out.contains("who asked"), "{out}");
}

#[test]
fn json_is_one_object_a_line_and_holds_entry_and_detail() {
    let site = site();
    let desk = Desk::new(&site);
    let file = desk.put("r", with_detail(&site, 10).to_string());
    let (code, out) = desk.receipt(&file, &["--json"]);
    assert_eq!(code, 3);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["code"]), (&"finding".into(), &"epoch-unknown".into()));
    let result = lines.last().unwrap();
    assert_eq!((&result["verdict"], &result["index"]), (&"incomplete".into(), &10.into()));
    assert_eq!((&result["entry"]["seq"], &result["detail"]["text"]), (&10.into(), &"who asked".into()));
    assert_eq!(result["head"]["size"], 600);
}

#[test]
fn inv4_each_forged_receipt_is_found_by_its_code() {
    let site = site();
    let desk = Desk::new(&site);
    let (entry, path, head) = (site.lines[10].clone(), path_of(&site, 10, 600), site.head());
    let detail = site.details[0].1.clone().into_bytes();
    let other_detail = site.details[1].1.clone().into_bytes();
    let make = |index, entry: &[u8], path: &[Hash], head: &str| {
        Receipt::new(index, entry.to_vec(), path.to_vec(), head.to_owned()).unwrap()
    };
    let denied = String::from_utf8(entry.clone()).unwrap().replace("granted", "denied");
    let mut bent = path.clone();
    bent[3].0[7] ^= 1;
    let short = &path[..path.len() - 1];
    let long = [path.as_slice(), &[site.leaves[0]]].concat();
    // Signed by strangers, by one key of the two, for another ledger.
    let body = Checkpoint { origin: ORIGIN.into(), size: 600, root: site.root_at(600) };
    let mut stranger = Site::new();
    stranger.log = Key::new(77);
    let by_stranger = stranger.sign(&body);
    let lines: Vec<&str> = head.lines().collect();
    let log_alone = format!("{}\n{}\n{}\n\n{}\n", lines[0], lines[1], lines[2], lines[4]);
    let epoch_alone = format!("{}\n{}\n{}\n\n{}\n", lines[0], lines[1], lines[2], lines[5]);
    let other_origin = site.sign(&Checkpoint { origin: "example.org/other".into(), ..body.clone() });
    let other_root = head.replace(&site.root_at(600).to_string(), &site.root_at(599).to_string());
    let mut format = Site::new();
    format.push_line(b"not an entry".to_vec());
    let mut number = Site::new();
    number.push_line(entry.clone());
    let mut unknown = Site::new();
    unknown.add("ledger.sang", |_| {});
    let cases: Vec<(&str, Receipt)> = vec![
        ("not-included", make(10, denied.as_bytes(), &path, &head)),
        ("not-included", make(11, &entry, &path, &head)),
        ("not-included", make(10, &entry, &bent, &head)),
        ("not-included", make(10, &entry, short, &head)),
        ("not-included", make(10, &entry, &long, &head)),
        ("not-included", make(700, &entry, &path, &head)),
        ("not-included", make(10, &entry, &path, &site.head_at(599))),
        ("head-signature", make(10, &entry, &path, &other_root)),
        ("head-signature", make(10, &entry, &path, &by_stranger)),
        ("head-signature", make(10, &entry, &path, &log_alone)),
        ("head-signature", make(10, &entry, &path, &epoch_alone)),
        ("head-signature", make(10, &entry, &path, &other_origin)),
        ("detail-damaged", make(10, &entry, &path, &head).with_detail(other_detail).unwrap()),
        ("detail-damaged", receipt(&site, 11).with_detail(detail).unwrap()),
        ("entry-format", receipt(&format, 1)),
        ("entry-order", receipt(&number, 1)),
        ("event-unknown", receipt(&unknown, 1)),
    ];
    for (place, (code, receipt)) in cases.iter().enumerate() {
        let (exit, out) = desk.full(&receipt.to_string());
        assert!(exit == 1 && out.contains(&format!("[{code}]")), "case {place}: {exit}: {out}");
        assert!(out.contains("not sound, "), "{out}");
        // And without knowing the epoch key, but for what only that key shows.
        let (exit, out) = desk.receipt(&desk.dir.path().join("one.tlog-proof"), &[]);
        assert!(exit == 1 && out.contains(&format!("[{code}]")), "case {place}: {exit}: {out}");
    }
    // The right log key, an epoch key that never was.
    let file = desk.put("r", make(10, &entry, &path, &head).to_string());
    let wrong = Key::new(9).public.to_string();
    let (exit, out) = desk.receipt(&file, &["--epoch-key", &wrong]);
    assert!(exit == 1 && out.contains("[head-signature]"), "{out}");
}

#[test]
fn a_kept_checkpoint_shows_a_fork_and_says_when_it_cannot_be_compared() {
    let site = site();
    let desk = Desk::new(&site);
    let file = desk.put("r", receipt(&site, 10).to_string());
    let with = |kept: String| {
        let kept = desk.put("kept", kept);
        desk.receipt(&file, &["--epoch-key", &desk.epoch, "--checkpoint", kept.to_str().unwrap()])
    };
    assert_eq!(with(site.head()).0, 0);
    let (code, out) = with(site.head_at(500));
    assert!(code == 3 && out.contains("[checkpoint-apart]"), "{out}");
    let forked = Checkpoint { origin: ORIGIN.into(), size: 600, root: site.root_at(500) };
    let (code, out) = with(site.sign(&forked));
    assert!(code == 1 && out.contains("[fork]"), "{out}");
    let mut other = Site::new();
    other.log = Key::new(50);
    assert_eq!(with(other.head()).0, 2, "a checkpoint of another key says nothing");
}

#[test]
fn inv10_what_is_no_receipt_exits_2_in_one_sentence() {
    let site = site();
    let desk = Desk::new(&site);
    let good = receipt(&site, 10).to_string();
    for text in ["", "\n\n", "x", &good[1..], &good[..good.len() - 2], &good.replace("index", "place")] {
        let (code, out) = desk.full(text);
        assert!(code == 2 && out.contains("is not a receipt") && out.lines().count() == 1, "{out}");
    }
    let zeros = desk.dir.path().join("zeros");
    fs::File::create(&zeros).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(desk.receipt(&zeros, &[]).0, 2);
    assert_eq!(desk.receipt(Path::new("/dev/zero"), &[]).0, 2);
    assert_eq!(desk.receipt(desk.dir.path(), &[]).0, 2);
    assert_eq!(desk.receipt(&desk.dir.path().join("absent"), &[]).0, 2);
    let (code, out) = desk.receipt(&desk.put("bytes", [0xff; 300]), &["--json"]);
    assert!(code == 2 && out.starts_with("{\"text\":") && out.contains("unreadable"), "{out}");
    // Escapes of a terminal in an entry do not reach it.
    let mut loud = Site::new();
    loud.add_with_detail("policy.refused", "\\u001b[2J", |_| {});
    let (_, out) = desk.full(&with_detail(&loud, 1).to_string());
    assert!(out.contains("[2J") && !out.contains('\u{1b}'), "{out:?}");
}

#[test]
fn the_head_of_a_receipt_must_be_cosigned_by_the_quorum_that_the_policy_names() {
    let site = site();
    let desk = Desk::new(&site);
    let (a, b, c, stranger) = (witness(31), witness(32), witness(33), witness(34));
    let trust = desk.put("policy", policy(&site, &[&a, &b, &c]));
    let judge = |witnesses: &[&Witness]| {
        let head = cosigned(&site.head(), witnesses);
        let receipt = Receipt::new(7, site.lines[7].clone(), path_of(&site, 7, site.size()), head).unwrap();
        let file = desk.put("cosigned.tlog-proof", receipt.to_string());
        desk.receipt(&file, &["--epoch-key", &desk.epoch, "--policy", trust.to_str().unwrap()])
    };
    assert_eq!(judge(&[&a, &c]).0, 0);
    for too_few in [&[][..], &[&a], &[&a, &stranger]] {
        let (code, out) = judge(too_few);
        assert!(code == 3 && out.contains("[quorum-missing]"), "{code}: {out}");
    }
    let forged = Witness { private: stranger.private.clone(), public: b.public.clone() };
    let (code, out) = judge(&[&a, &forged, &c]);
    assert!(code == 1 && out.contains("[cosignature-bad]"), "{code}: {out}");
    let nonsense = desk.put("nonsense", "nonsense\n");
    let file = desk.put("one.tlog-proof", receipt(&site, 7).to_string());
    assert_eq!(desk.receipt(&file, &["--policy", nonsense.to_str().unwrap()]).0, 2);
}

#[test]
fn a_bundle_is_checked_by_itself_and_never_called_sound() {
    let site = site();
    let desk = Desk::new(&site);
    let bundle = |lines: &[Vec<u8>]| encode_bundle(lines).unwrap();
    let check = |bytes: Vec<u8>, more: &[&str]| {
        let file = desk.put("bundle", bytes);
        told(run(&[&["bundle", file.to_str().unwrap()], more].concat()))
    };
    for lines in [&site.lines[..256], &site.lines[256..512], &site.lines[512..]] {
        let (code, out) = check(bundle(lines), &[]);
        assert!(code == 3 && out.lines().count() == 2 && out.contains("[head-missing]"), "{out}");
    }
    let (_, out) = check(bundle(&site.lines[256..512]), &["--json"]);
    let result: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&result["first"], &result["entries"]), (&256.into(), &256.into()));

    let lines = |from: usize, to: usize| site.lines[from..to].to_vec();
    let mut swapped = lines(0, 256);
    swapped.swap(100, 101);
    let mut removed = lines(0, 256);
    removed.remove(100);
    let mut doubled = lines(0, 255);
    doubled.insert(100, doubled[100].clone());
    let mut changed = lines(0, 256);
    changed[100] = String::from_utf8(changed[100].clone()).unwrap().replace("granted", "denied").into_bytes();
    let mut garbled = lines(0, 256);
    garbled[100].truncate(30);
    let mut late = Site::new();
    late.time_micros += 60_000_000;
    late.add("ledger.stopped", |entry| entry.data = raw(r#"{"why":"service-stopped"}"#));
    late.time_micros -= 30_000_000;
    late.add("ledger.started", |entry| entry.data = raw(r#"{"version":"1"}"#));
    let mut unknown = Site::new();
    unknown.add("ledger.sang", |_| {});
    for (code, bytes) in [
        ("entry-order", bundle(&swapped)),
        ("chain-broken", bundle(&swapped)),
        ("entry-order", bundle(&removed)),
        ("chain-broken", bundle(&removed)),
        ("entry-order", bundle(&doubled)),
        ("chain-broken", bundle(&changed)),
        ("entry-format", bundle(&garbled)),
        ("entry-order", bundle(&lines(1, 100))),
        ("time-falls", bundle(&late.lines)),
        ("event-unknown", bundle(&unknown.lines)),
        ("bundle-damaged", bundle(&lines(0, 256))[1..].to_vec()),
        ("bundle-damaged", Vec::new()),
        ("bundle-damaged", vec![0xff; 70_000]),
    ] {
        let (exit, out) = check(bytes, &[]);
        assert!(exit == 1 && out.contains(&format!("[{code}]")), "{code}: {exit}: {out}");
    }
    assert_eq!(told(run(&["bundle", "/dev/zero"])).0, 2);
}
