//! A house that publishes its ledger, and a second reader of tlog-tiles that shares no code with ours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of tests may panic: that is how a test fails"
)]
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use crate::support::House;

const CTL: &str = env!("CARGO_BIN_EXE_greffierctl");
const AUDITOR: &str = "news";

/// Puts `greffierctl` and a folder where the auditor's account can reach them; the folder.
pub fn desk(house: &House) -> PathBuf {
    fs::copy(CTL, house.path("greffierctl")).unwrap();
    fs::set_permissions(house.path("greffierctl"), Permissions::from_mode(0o755)).unwrap();
    let desk = house.path("desk");
    fs::create_dir(&desk).unwrap();
    let auditor = nix::unistd::User::from_name(AUDITOR).unwrap().unwrap();
    nix::unistd::chown(&desk, Some(auditor.uid), Some(auditor.gid)).unwrap();
    desk
}

/// `greffierctl` as the auditor, whom the policy lets read the ledger.
pub fn ctl(house: &House, arguments: &[&str]) -> Command {
    let auditor = nix::unistd::User::from_name(AUDITOR).unwrap().unwrap();
    let mut command = Command::new(house.path("greffierctl"));
    command.args(["--bus", &house.address]).args(arguments).stdin(Stdio::null());
    command.uid(auditor.uid.as_raw()).gid(auditor.gid.as_raw());
    command
}

/// Publishes to `dir`; exit code and what was said.
pub fn publish(house: &House, dir: &Path) -> (i32, String) {
    answer(&ctl(house, &["ledger", "publish", dir.to_str().unwrap()]).output().unwrap())
}

/// Exit code and everything said.
pub fn answer(output: &Output) -> (i32, String) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Publishes, which must go well, and has both verifiers look at the result; how many entries are published.
pub fn published(house: &House, dir: &Path) -> u64 {
    let (code, said) = publish(house, dir);
    assert_eq!(code, 0, "{said}\n{}", house.log());
    let found = house.verify_dir(dir);
    assert!(found.status.success(), "the verifier: {found:?}");
    read_as_a_stranger(dir).0
}

/// Makes the ledger grow by so many entries.
pub fn grow(house: &House, by: u64) {
    let auditor = house.user(AUDITOR);
    for _ in 0..by {
        auditor.read_ledger(0, 1).unwrap();
    }
}

/// Size and root of the checkpoint of a directory.
pub fn checkpoint(dir: &Path) -> (u64, [u8; 32]) {
    let text = fs::read_to_string(dir.join("checkpoint")).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    (lines[1].parse().unwrap(), BASE64.decode(lines[2].as_bytes()).unwrap().try_into().unwrap())
}

/// Reads the directory as tlog-tiles says, with nothing but the checkpoint to go by: every bundle, every tile of every
/// level, and the root by the recursion of RFC 6962. Size and root.
pub fn read_as_a_stranger(dir: &Path) -> (u64, [u8; 32]) {
    let (size, root) = checkpoint(dir);
    let hash = |parts: &[&[u8]]| -> [u8; 32] { Sha256::digest(parts.concat()).into() };
    let width = |count: u64, n: u64| if count / 256 > n { 256 } else { count % 256 };
    let file = |kind: &str, n: u64, width: u64| {
        let digits: Vec<String> = if n >= 1000 {
            vec![format!("x{:03}", n / 1000), format!("{:03}", n % 1000)]
        } else {
            vec![format!("{n:03}")]
        };
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        let path = dir.join(format!("tile/{kind}/{}{partial}", digits.join("/")));
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut leaves = Vec::new();
    for n in 0..size.div_ceil(256) {
        let bytes = file("entries", n, width(size, n));
        let (mut rest, mut entries) = (&bytes[..], 0);
        while !rest.is_empty() {
            let (length, after) = rest.split_at(2);
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
            leaves.push(hash(&[&[0], entry]));
            (rest, entries) = (after, entries + 1);
        }
        assert_eq!(entries, width(size, n), "bundle {n}");
    }
    let mut level = leaves.clone();
    for l in 0..8 {
        let count = level.len() as u64;
        assert_eq!(count, size >> (8 * l));
        for n in 0..count.div_ceil(256) {
            let tile = file(&l.to_string(), n, width(count, n));
            let expected = level.chunks(256).nth(usize::try_from(n).unwrap()).unwrap().concat();
            assert!(tile == expected, "tile {l}/{n}");
        }
        level = level.chunks_exact(256).map(tree_hash).collect();
    }
    assert_eq!(tree_hash(&leaves), root, "the root");
    (size, root)
}

/// MTH of RFC 6962 §2.1 over leaf hashes.
pub fn tree_hash(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [leaf] => *leaf,
        leaves => {
            let split = 1 << (leaves.len() - 1).ilog2();
            let (left, right) = leaves.split_at(split);
            Sha256::digest([&[1][..], &tree_hash(left), &tree_hash(right)].concat()).into()
        }
    }
}
