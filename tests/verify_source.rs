//! The same ledger as a folder, an archive, a stream and in memory; and archives that mean harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use greffier::verify::{Failure, Options, Source, Verdict, verify_ledger};
use ledger_support::story::{exported, found, long_story};
use ledger_support::{Site, files_of, write};
use tar::{Builder, EntryType, Header};

fn verify(source: Source) -> Result<Verdict, Failure> {
    let scratch = std::env::temp_dir();
    verify_ledger(&Options { scratch, ..Options::new(source, Site::new().log.public) })
}

/// As `tar cf FILE -C dir .` or, with a name, as packed from outside.
fn tar(dir: &Path, name: &str) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.append_dir_all(name, dir).unwrap();
    builder.into_inner().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn verify_bytes(bytes: &[u8]) -> Result<Verdict, Failure> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "archive", bytes);
    verify(Source::Path(dir.path().join("archive")))
}

fn program(stdin: &[u8], more: &[&str]) -> Output {
    let key = Site::new().vkey();
    let mut child = Command::new(env!("CARGO_BIN_EXE_greffier-verify"))
        .args(["ledger", "-", "--key", &key, "--scratch"])
        .arg(std::env::temp_dir())
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may stop reading early.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// Findings, exit code, entries, details matched.
type Said = (Vec<(&'static str, Option<u64>)>, u8, u64, u64);

fn summary(verdict: &Verdict) -> Said {
    (found(verdict), verdict.exit_code(), verdict.summary.entries, verdict.summary.details_matched)
}

#[test]
fn every_source_gives_the_same_verdict() {
    let site = long_story();
    let export = exported(&site);
    for damaged in [false, true] {
        if damaged {
            let mut tile = fs::read(export.path().join("tile/0/001")).unwrap();
            tile[70] ^= 1;
            write(export.path(), "tile/0/001", &tile);
        }
        let expected = summary(&verify(Source::Path(export.path().to_owned())).unwrap());
        assert_eq!(expected.1, u8::from(damaged));
        let memory = Source::Memory(Arc::new(files_of(export.path())));
        assert_eq!(summary(&verify(memory).unwrap()), expected);
        for name in [".", "export-of-may", "home/lawyer/case 7/export"] {
            let plain = tar(export.path(), name);
            assert_eq!(summary(&verify_bytes(&plain).unwrap()), expected, "{name}");
            assert_eq!(summary(&verify_bytes(&zst(&plain)).unwrap()), expected, "{name}");
            let output = program(&plain, &[]);
            assert_eq!(output.status.code(), Some(expected.1.into()), "{output:?}");
            assert_eq!(program(&zst(&plain), &[]).status.code(), Some(expected.1.into()));
        }
    }
}

#[test]
fn a_stream_of_several_frames_is_read_to_its_end() {
    let plain = tar(exported(&long_story()).path(), ".");
    let (a, b) = plain.split_at(plain.len() / 3);
    let skippable = [0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 9, 9, 9];
    let stream = [&skippable[..], &zst(a), &skippable, &zst(b)].concat();
    assert_eq!(verify_bytes(&stream).unwrap().exit_code(), 0);
}

#[test]
fn a_long_folder_name_is_followed_in_either_form_of_header() {
    let export = exported(&long_story());
    let long = "x".repeat(150);
    // The crate writes GNU long names.
    assert_eq!(verify_bytes(&tar(export.path(), &long)).unwrap().exit_code(), 0);
    let mut builder = Builder::new(Vec::new());
    for (path, bytes) in files_of(export.path()) {
        let full = format!("{long}/{path}");
        builder.append_pax_extensions([("path", full.as_bytes()), ("mtime", b"1.5")]).unwrap();
        member(&mut builder, EntryType::Regular, "short", &bytes);
    }
    assert_eq!(verify_bytes(&builder.into_inner().unwrap()).unwrap().exit_code(), 0);
}

/// Appends a member under exactly this name, which the crate itself would refuse to write.
fn member(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

#[test]
fn inv10_hostile_members_are_refused_by_name() {
    let good = files_of(exported(&long_story()).path());
    let refuse = |change: &dyn Fn(&mut Builder<Vec<u8>>), why: &str| {
        let mut builder = Builder::new(Vec::new());
        for (path, bytes) in &good {
            member(&mut builder, EntryType::Regular, path, bytes);
        }
        change(&mut builder);
        let bytes = builder.into_inner().unwrap();
        for bytes in [zst(&bytes), bytes] {
            match verify_bytes(&bytes) {
                Err(Failure::Unreadable(said)) => assert!(said.contains(why), "{said}"),
                other => panic!("{why}: {other:?}"),
            }
        }
    };
    refuse(&|it| member(it, EntryType::Regular, "/etc/passwd", b"x"), "/etc/passwd has an absolute name");
    refuse(&|it| member(it, EntryType::Regular, "a/../../b", b"x"), "leads out");
    refuse(&|it| member(it, EntryType::Regular, "checkpoint", b"x"), "checkpoint is in the archive twice");
    refuse(&|it| member(it, EntryType::Regular, "./checkpoint", b"x"), "twice");
    refuse(&|it| member(it, EntryType::Regular, "a\nb", b"x"), "control character");
    refuse(&|it| member(it, EntryType::Regular, ".", b"x"), "files and folders only");
    refuse(&|it| member(it, EntryType::Directory, "a", b"x"), "a folder with content");
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::GNUSparse,
        EntryType::GNULongLink,
        EntryType::Continuous,
    ] {
        refuse(&|it| member(it, kind, "vkey", b""), "vkey is a link, a device or a file with holes");
    }
    let pax = |key: &'static str, value: &'static [u8]| {
        move |it: &mut Builder<Vec<u8>>| it.append_pax_extensions([(key, value)]).unwrap()
    };
    refuse(&pax("size", b"1"), "changes what its members are");
    refuse(&pax("GNU.sparse.map", b"0,1"), "files with holes");
    refuse(&pax("path", b"x"), "ends within a member");
    refuse(&|it| member(it, EntryType::XGlobalHeader, "g", b"10 path=x\n"), "changes what its members are");
    refuse(&|it| member(it, EntryType::GNULongName, "L", &[b'a'; 70_000]), "too long");
}

#[test]
fn inv10_two_ledgers_in_one_archive_are_refused() {
    let export = exported(&long_story());
    let mut builder = Builder::new(Vec::new());
    builder.append_dir_all("a", export.path()).unwrap();
    builder.append_dir_all("b", export.path()).unwrap();
    let Err(Failure::Unreadable(said)) = verify_bytes(&builder.into_inner().unwrap()) else { panic!() };
    assert!(said.contains("more than one ledger"), "{said}");
}

#[test]
fn inv10_an_archive_cut_anywhere_is_never_sound() {
    let plain = tar(exported(&long_story()).path(), ".");
    // The end of an archive is at least two empty blocks.
    let content = plain.iter().rposition(|byte| *byte != 0).unwrap();
    for bytes in [plain[..content].to_vec(), zst(&plain)] {
        for cut in (0..bytes.len() - 1).step_by(bytes.len() / 40) {
            let verdict = verify_bytes(&bytes[..cut]);
            assert!(verdict.is_err() || verdict.unwrap().exit_code() != 0, "cut at {cut}");
        }
    }
}

#[test]
fn inv10_a_bomb_stops_at_its_bound() {
    let mut bomb = Vec::new();
    let zeros = std::io::repeat(0).take(64 << 20);
    let mut header = Header::new_gnu();
    header.set_path("details.jsonl").unwrap();
    header.set_size(64 << 20);
    header.set_cksum();
    let mut plain = header.as_bytes().chain(zeros);
    ruzstd::encoding::compress(&mut plain, &mut bomb, ruzstd::encoding::CompressionLevel::Fastest);
    assert!(bomb.len() < 1 << 20);
    let output = program(&bomb, &["--max-unpacked", "1000000"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("--max-unpacked"), "{said}");
}

#[test]
fn inv10_what_is_no_archive_cannot_be_read() {
    let zeros = [0; 4096];
    let gzip = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0];
    let frame = [0x28, 0xB5, 0x2F, 0xFD, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    for (bytes, why) in [
        (&b""[..], "empty"),
        (&zeros, "neither a tail nor a checkpoint"),
        (&gzip, "gzip"),
        (&frame, ""),
        (&b"random text, long enough to be a header".repeat(20), ""),
    ] {
        let Err(Failure::Unreadable(said)) = verify_bytes(bytes) else { panic!("{why}") };
        assert!(said.contains(why), "{said}");
        assert_eq!(program(bytes, &[]).status.code(), Some(2));
    }
}
