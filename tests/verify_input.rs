//! The verifier is given anything: it answers with a finding or exit 2, in bounded memory and time, and never panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use greffier::core::ledger::tile::MAX_ENTRY_BYTES;
use ledger_support::story::long_story;
use ledger_support::{Site, files_of, raw, write};

/// Memory that the program may ever ask for, in KiB: threads reserve much more than they touch.
const MAX_ADDRESS_SPACE_KIB: u64 = 2 << 20;
/// Memory that it may touch, in KiB: a few bundles of the longest entries, and the tail.
const MAX_RESIDENT_KIB: u64 = 200 << 10;

struct Answer {
    code: Option<i32>,
    out: String,
    resident_kib: u64,
}

/// Runs the program under a limit of memory and time, and says how much of both it took.
fn verify(ledger: &Path, more: &[&str]) -> Answer {
    let script = format!(r#"ulimit -v {MAX_ADDRESS_SPACE_KIB}; ulimit -f 0; exec timeout 120 "$0" "$@""#);
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_greffier-verify"), "ledger"])
        .arg(ledger)
        .args(["--key", &Site::new().vkey()])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut out, mut err) = (String::new(), String::new());
        stdout.read_to_string(&mut out).unwrap();
        stderr.read_to_string(&mut err).unwrap();
        (out, err)
    });
    let mut resident_kib = 0;
    let code = loop {
        resident_kib = resident_kib.max(peak_of_children(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let (out, err) = reader.join().unwrap();
    assert!(!err.contains("panicked") && !err.contains("memory allocation"), "{err}");
    Answer { code, out, resident_kib }
}

/// The highest resident memory of the process that `timeout` started, in KiB.
fn peak_of_children(parent: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let peak = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().to_owned();
        line.strip_suffix(" kB")?.trim().parse().ok()
    };
    children.split_whitespace().filter_map(peak).max().unwrap_or(0)
}

/// A finding or exit 2, and little memory.
fn refuses(ledger: &Path, what: &str) -> Answer {
    let answer = verify(ledger, &[]);
    assert!(matches!(answer.code, Some(1..=3)), "{what}: {:?}: {}", answer.code, answer.out);
    assert!(answer.resident_kib < MAX_RESIDENT_KIB, "{what}: {} KiB", answer.resident_kib);
    answer
}

fn export(site: &Site) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    site.export(dir.path(), true);
    dir
}

#[test]
fn inv10_nothing_and_noise_are_no_ledger() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refuses(dir.path(), "an empty folder").code, Some(2));
    for name in ["tail", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"\0", b"\xff\xfe\x00", &[0x80; 5000], "é\u{202e}".repeat(999).as_bytes()] {
            write(dir.path(), name, bytes);
            refuses(dir.path(), name);
        }
    }
}

#[test]
fn inv10_ten_gigabytes_of_zeros_as_any_file_are_not_read_whole() {
    let site = long_story();
    let (good, live) = (export(&site), tempfile::tempdir().unwrap());
    site.live(live.path());
    for dir in [good.path(), live.path()] {
        for (path, bytes) in files_of(dir) {
            // Sparse: it costs nothing to make.
            let file = fs::OpenOptions::new().write(true).open(dir.join(&path)).unwrap();
            file.set_len(0).unwrap();
            file.set_len(10 << 30).unwrap();
            // The tail is read whole up to a gigabyte, and refused behind it.
            let answer = verify(dir, &[]);
            assert!(matches!(answer.code, Some(1..=3)), "{path}: {:?} {}", answer.code, answer.out);
            assert!(
                path == "tail" || answer.resident_kib < MAX_RESIDENT_KIB,
                "{path}: {}",
                answer.resident_kib
            );
            write(dir, &path, &bytes);
        }
        assert_eq!(verify(dir, &[]).code, Some(0));
    }
    let archive = good.path().join("zeros.tar");
    fs::File::create(&archive).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(refuses(&archive, "an archive of zeros").code, Some(2));
}

#[test]
fn inv10_pipes_sockets_devices_and_links_are_not_opened() {
    let site = long_story();
    let paths: Vec<String> = files_of(export(&site).path()).into_keys().collect();
    for path in paths {
        let dir = export(&site);
        let place = dir.path().join(&path);
        fs::remove_file(&place).unwrap();
        assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
        refuses(dir.path(), &format!("a pipe at {path}"));
        fs::remove_file(&place).unwrap();
        let _socket = UnixListener::bind(&place).unwrap();
        refuses(dir.path(), &format!("a socket at {path}"));
        fs::remove_file(&place).unwrap();
        symlink("/dev/zero", &place).unwrap();
        refuses(dir.path(), &format!("a link to a device at {path}"));
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        refuses(dir.path(), &format!("a folder at {path}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(refuses(&pipe, "a pipe as the ledger").code, Some(2));
    assert_eq!(refuses(Path::new("/dev/zero"), "a device as the ledger").code, Some(2));
}

/// A signed ledger that ends in this line.
fn ending_in(line: Vec<u8>) -> tempfile::TempDir {
    let mut site = long_story();
    site.push_line(line);
    export(&site)
}

#[test]
fn inv10_signed_lines_that_are_bombs_are_findings() {
    let deep = |open: &str, close: &str| {
        let data = format!("{}1{}", open.repeat(9_000), close.repeat(9_000));
        let mut site = long_story();
        let seq = site.add("ledger.clock-confirmed", |entry| entry.data = raw(r#"{"why":"test"}"#));
        let line = String::from_utf8(site.lines.pop().unwrap()).unwrap();
        assert_eq!(seq, 600);
        line.replace(r#"{"why":"test"}"#, &data).into_bytes()
    };
    for (line, what) in [
        (vec![], "an empty entry"),
        (vec![b'x'; MAX_ENTRY_BYTES], "the longest entry"),
        (vec![b'{'; MAX_ENTRY_BYTES], "open braces"),
        (deep("[", "]"), "arrays in arrays"),
        (deep(r#"{"a":"#, "}"), "objects in objects"),
        (b"{\"v\":1,\"seq\":1e99999}".to_vec(), "a giant number"),
        (vec![0xFF; 300], "bytes that are no UTF-8"),
        ("\u{2028}".repeat(99).into_bytes(), "a line break of Unicode"),
    ] {
        let answer = refuses(ending_in(line).path(), what);
        let found = ["[entry-format]", "[event-unknown]"].iter().any(|code| answer.out.contains(code));
        assert!(found, "{what}: {}", answer.out);
    }
}

#[test]
fn inv10_entries_as_long_as_they_can_be_fill_no_memory() {
    let mut site = Site::new();
    // Some 1,600 entries of 65,535 bytes, on all threads: 100 MiB in all, of which a part may be held.
    let fill = "y".repeat(MAX_ENTRY_BYTES - 400);
    while site.size() < 2500 {
        let seq = site.size();
        site.add("ledger.clock-confirmed", |entry| entry.data = raw(&format!(r#"{{"why":"{seq}"}}"#)));
        if !site.size().is_multiple_of(3) {
            site.add("ledger.clock-confirmed", |entry| entry.data = raw(&format!(r#"{{"why":"{fill}"}}"#)));
        }
    }
    let answer = verify(export(&site).path(), &[]);
    assert_eq!(answer.code, Some(0), "{}", answer.out);
    assert!(answer.resident_kib < MAX_RESIDENT_KIB, "{} KiB", answer.resident_kib);
}

#[test]
fn inv11_clocks_of_1970_and_9999_are_judged_like_any_other() {
    for (micros, wrong) in [(0, true), (253_402_207_000_000_000, false)] {
        let mut site = long_story();
        let up = site.time_micros - ledger_support::START_MICROS;
        site.time_micros = micros;
        site.add("ledger.clock-confirmed", |entry| {
            entry.up_micros = u64::try_from(up).unwrap() + 1;
            entry.data = raw(r#"{"why":"test"}"#);
        });
        let answer = verify(export(&site).path(), &[]);
        assert!(matches!(answer.code, Some(0 | 1)), "{}", answer.out);
        assert_eq!(answer.out.contains("[time-falls]"), wrong, "{}", answer.out);
    }
}

#[test]
fn inv10_details_that_are_bombs_are_findings() {
    let site = long_story();
    for (bytes, what) in [
        (b"\n".repeat(300_000), "empty lines"),
        (br#"{"seq":5}"#.repeat(300_000), "one endless line"),
        ("{\"seq\":5}\n".repeat(300_000).into_bytes(), "the same entry for ever"),
        ("{\"seq\":99999999999}\n".repeat(300_000).into_bytes(), "no such entry"),
        ("x\n".repeat(300_000).into_bytes(), "lines that name no entry"),
        (b"[".repeat(1 << 20), "deep nesting"),
    ] {
        let dir = export(&site);
        write(dir.path(), "details.jsonl", &bytes);
        let answer = refuses(dir.path(), what);
        assert!(answer.out.contains("[detail-damaged]"), "{what}: {}", answer.out);
    }
}

#[test]
fn inv10_a_stream_that_never_ends_stops_at_its_bound() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_greffier-verify"))
        .args(["ledger", "-", "--max-unpacked", "1000000", "--key", &Site::new().vkey(), "--scratch"])
        .arg(scratch.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("tail").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    stdin.write_all(header.as_bytes()).unwrap();
    while stdin.write_all(&[7; 65_536]).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--max-unpacked"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "its file has no name");
}
