//! `greffier-verify ledger`: a sound ledger is called sound, and each damage is found, named and counted once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_possible_truncation, reason = "a few hundred entries")]

mod ledger_support;

use std::fs;
use std::path::Path;

use greffier::core::ledger::checkpoint::Checkpoint;
use greffier::core::ledger::tail::HEADER_BYTES;
use greffier::verify::{Code, Failure, Options, Source, verify_ledger};
use ledger_support::story::{check, check_with, confirm, exported, found, found_in, long_story, story};
use ledger_support::{Key, ORIGIN, Site, raw, write};

fn options(dir: &Path, key: Key) -> Options {
    Options::new(Source::Path(dir.to_owned()), key.public)
}

fn flip(dir: &Path, path: &str, byte: usize, mask: u8) {
    let file = dir.join(path);
    let mut bytes = fs::read(&file).unwrap();
    bytes[byte] ^= mask;
    fs::write(file, bytes).unwrap();
}

#[test]
fn sound_ledgers_are_sound_in_every_form() {
    for site in [story(), long_story()] {
        let export = exported(&site);
        let verdict = check(&site, export.path());
        assert_eq!((found(&verdict), verdict.exit_code()), (vec![], 0));
        assert_eq!((verdict.summary.entries, verdict.summary.details_absent), (site.size(), 0));
        assert_eq!(verdict.summary.details_matched, site.details.len() as u64);
        assert_eq!(verdict.summary.head.unwrap().root, site.root_at(site.size()));

        let sealed = tempfile::tempdir().unwrap();
        site.export(sealed.path(), false);
        let verdict = check(&site, sealed.path());
        assert_eq!((verdict.exit_code(), verdict.summary.details_absent), (0, 5));
        assert!(verdict.report.has(Code::DetailsSealed));

        let live = tempfile::tempdir().unwrap();
        site.live(live.path());
        let verdict = check(&site, live.path());
        assert_eq!((found(&verdict), verdict.exit_code()), (vec![], 0));
        assert_eq!(verdict.summary.entries, site.size());
    }
}

#[test]
fn sizes_around_full_bundles_are_sound() {
    let mut site = Site::new();
    while site.size() < 514 {
        confirm(&mut site);
        if [1, 2, 255, 256, 257, 511, 512, 513].contains(&site.size()) {
            let (export, live) = (exported(&site), tempfile::tempdir().unwrap());
            site.live(live.path());
            for dir in [export.path(), live.path()] {
                let verdict = check(&site, dir);
                assert_eq!(
                    (found(&verdict), verdict.exit_code(), verdict.summary.entries),
                    (vec![], 0, site.size())
                );
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_bundle_names_its_entry() {
    let site = story();
    let export = exported(&site);
    let path = format!("tile/entries/000.p/{}", site.size());
    let good = fs::read(export.path().join(&path)).unwrap();
    let mut start = 0;
    for (seq, line) in (0_u64..).zip(&site.lines) {
        let end = start + 2 + line.len();
        // Both bytes of the length, and bytes all over the line.
        for byte in [start, start + 1].into_iter().chain((start + 2..end).step_by(13)) {
            flip(export.path(), &path, byte, 1 << (byte % 8));
            let verdict = check(&site, export.path());
            assert_eq!(found(&verdict).first(), Some(&("entry-damaged", Some(seq))), "byte {byte}");
            assert_eq!(verdict.exit_code(), 1);
            fs::write(export.path().join(&path), &good).unwrap();
        }
        start = end;
    }
}

#[test]
fn one_flipped_bit_in_a_long_ledger_is_one_finding() {
    let site = long_story();
    let export = exported(&site);
    let bundle = |n: usize| 2 * 256 + site.lines[n * 256..][..256].iter().map(Vec::len).sum::<usize>();
    // The last byte of entry 255, of entry 511, and a byte of entry 256.
    for (path, byte, entry) in [
        ("tile/entries/000", bundle(0) - 1, 255),
        ("tile/entries/001", bundle(1) - 1, 511),
        ("tile/entries/001", 40, 256),
    ] {
        flip(export.path(), path, byte, 1);
        assert_eq!(found(&check(&site, export.path())), [("entry-damaged", Some(entry))]);
        flip(export.path(), path, byte, 1);
    }
    assert_eq!(check(&site, export.path()).exit_code(), 0);
}

#[test]
fn bytes_after_the_last_entry_and_cut_bundles_are_found() {
    let site = story();
    let path = format!("tile/entries/000.p/{}", site.size());
    let export = exported(&site);
    let good = fs::read(export.path().join(&path)).unwrap();
    write(export.path(), &path, &[good.as_slice(), &[0, 1, 7]].concat());
    assert_eq!(found(&check(&site, export.path())), [("bundle-damaged", Some(13))]);
    write(export.path(), &path, &good[..good.len() - 1]);
    assert_eq!(found(&check(&site, export.path())), [("entry-damaged", Some(13))]);
    write(export.path(), &path, b"");
    assert_eq!(found(&check(&site, export.path()))[0], ("entry-damaged", Some(0)));
    // A full bundle may stand in for the partial one (tlog-tiles).
    fs::remove_file(export.path().join(&path)).unwrap();
    write(export.path(), "tile/entries/000", &[good.as_slice(), &[0, 1, 7]].concat());
    assert_eq!(found(&check(&site, export.path())), []);
}

#[test]
fn a_flipped_bit_in_a_tile_is_told_from_one_in_an_entry() {
    let site = long_story();
    let export = exported(&site);
    let last = format!("tile/0/002.p/{}", 600 - 512);
    for (path, byte, finding) in [
        ("tile/0/000", 32 * 7, ("tile-damaged", Some(7))),
        ("tile/0/001", 32 * 255, ("tile-damaged", Some(511))),
        (last.as_str(), 32 * 87, ("tile-damaged", Some(599))),
        ("tile/1/000.p/2", 5, ("tile-damaged", None)),
    ] {
        flip(export.path(), path, byte, 1);
        assert_eq!(found(&check(&site, export.path())), [finding], "{path}");
        flip(export.path(), path, byte, 1);
    }
}

#[test]
fn a_flipped_bit_in_the_tail_names_its_entry() {
    let site = story();
    let live = tempfile::tempdir().unwrap();
    site.live(live.path());
    let mut start = HEADER_BYTES;
    for (seq, line) in (0_u64..).zip(&site.lines) {
        flip(live.path(), "tail", start + 5 + line.len() / 2, 4);
        assert_eq!(found(&check(&site, live.path())).first(), Some(&("tail-damaged", Some(seq))));
        flip(live.path(), "tail", start + 5 + line.len() / 2, 4);
        start += 9
            + line.len()
            + site.details.iter().find(|(of, _)| *of == seq).map_or(0, |(_, text)| 9 + text.len());
    }
    flip(live.path(), "tail", 100, 4);
    assert_eq!(found(&check(&site, live.path()))[0], ("tail-damaged", None));
}

#[test]
fn a_torn_tail_is_incomplete_not_damaged() {
    let site = story();
    let live = tempfile::tempdir().unwrap();
    site.live(live.path());
    let mut tail = fs::read(live.path().join("tail")).unwrap();
    tail.truncate(tail.len() - 4096);
    tail.extend([1, 2, 3]);
    write(live.path(), "tail", &tail);
    let verdict = check(&site, live.path());
    assert_eq!((found(&verdict), verdict.exit_code()), (vec![("tail-torn", Some(site.size()))], 3));
}

#[test]
fn both_signatures_are_required_on_the_head() {
    let site = story();
    let export = exported(&site);
    let head = fs::read_to_string(export.path().join("checkpoint")).unwrap();
    let lines: Vec<&str> = head.lines().collect();
    for drop in [4, 5] {
        let mut lines = lines.clone();
        lines.remove(drop);
        write(export.path(), "checkpoint", (lines.join("\n") + "\n").as_bytes());
        assert_eq!(found(&check(&site, export.path())), [("head-signature", None)]);
    }
    for byte in 0..head.len() {
        let mut bytes = head.clone().into_bytes();
        bytes[byte] ^= 1;
        write(export.path(), "checkpoint", &bytes);
        assert_eq!(check(&site, export.path()).exit_code(), 1, "byte {byte} of the head");
    }
}

#[test]
fn a_head_signed_by_a_later_epoch_key_is_refused() {
    let mut site = story();
    let dir = exported(&site);
    site.rekey();
    // The thief of the new key signs the old size again.
    write(dir.path(), "checkpoint", site.head_at(site.size() - 1).as_bytes());
    assert_eq!(found(&check(&site, dir.path())), [("head-signature", None)]);
}

#[test]
fn other_entries_under_the_same_head_are_found() {
    let mut site = story();
    let head = site.head();
    site.lines.pop();
    site.leaves.pop();
    site.add("ledger.clock-confirmed", |entry| entry.data = raw(r#"{"why":"forged"}"#));
    let dir = exported(&site);
    write(dir.path(), "checkpoint", head.as_bytes());
    assert_eq!(found(&check(&site, dir.path())), [("root-differs", Some(13))]);
}

#[test]
fn a_broken_chain_is_found_though_signed() {
    let mut site = story();
    let wrong = site.leaves[3];
    let seq = site.add("ledger.clock-confirmed", |entry| {
        entry.prev = wrong;
        entry.data = raw(r#"{"why":"test"}"#);
    });
    assert_eq!(found_in(&site), [("chain-broken", Some(seq))]);
}

#[test]
fn signed_entries_that_are_none_are_found() {
    let mut site = story();
    site.push_line(b"{}".to_vec());
    assert_eq!(found_in(&site), [("entry-format", Some(14))]);
    let mut site = story();
    let seq = site.add("ledger.clock-confirmed", |entry| {
        entry.seq += 1;
        entry.data = raw(r#"{"why":"test"}"#);
    });
    assert_eq!(found_in(&site), [("entry-order", Some(seq))]);
    let mut site = story();
    let seq = site.add("access.peeked", |_| ());
    assert_eq!(found_in(&site), [("event-unknown", Some(seq))]);
    let seq = site.add("access.opened", |entry| entry.data = raw(r#"{"mode":"seek"}"#));
    assert_eq!(found_in(&site).last(), Some(&("event-unknown", Some(seq))), "its detail is required");
}

#[test]
fn an_epoch_key_that_is_not_new_is_found() {
    let mut site = story();
    let data = format!(r#"{{"epoch_key":"{}"}}"#, site.log.public);
    let seq = site.add("ledger.rekeyed", |entry| entry.data = raw(&data));
    assert_eq!(found_in(&site), [("key-announcement", Some(seq))]);
}

#[test]
fn closed_epochs_need_their_closing_checkpoint() {
    let site = long_story();
    let export = exported(&site);
    fs::rename(export.path().join("checkpoints/251"), export.path().join("away")).unwrap();
    assert_eq!(found(&check(&site, export.path())), [("epoch-unclosed", Some(250))]);
    fs::remove_dir_all(export.path().join("checkpoints")).unwrap();
    let verdict = check(&site, export.path());
    assert_eq!((found(&verdict), verdict.exit_code()), (vec![("epochs-missing", None)], 3));
}

#[test]
fn kept_checkpoints_must_be_of_these_entries_and_signed() {
    let site = long_story();
    let export = exported(&site);
    // Signed by a key of today: the past cannot be signed again.
    write(export.path(), "checkpoints/251", site.head_at(251).as_bytes());
    assert_eq!(found(&check(&site, export.path())), [("checkpoint-damaged", Some(250))]);
    write(export.path(), "checkpoints/251", site.kept[1].1.as_bytes());
    let other = Checkpoint { origin: ORIGIN.into(), size: 590, root: site.leaves[0] };
    write(export.path(), "checkpoints/590", site.sign(&other).as_bytes());
    assert_eq!(found(&check(&site, export.path())), [("fork", Some(589))]);
    fs::rename(export.path().join("checkpoints/590"), export.path().join("checkpoints/591")).unwrap();
    assert_eq!(found(&check(&site, export.path())), [("checkpoint-damaged", Some(590))]);
    write(export.path(), "checkpoints/591", b"\xFF\xFE");
    assert_eq!(found(&check(&site, export.path())), [("checkpoint-damaged", None)]);
}

#[test]
fn inv4_a_ledger_behind_a_checkpoint_was_rolled_back() {
    let mut site = story();
    let export = exported(&site);
    let before = site.head();
    assert_eq!(check_with(&site, export.path(), std::slice::from_ref(&before)).unwrap().exit_code(), 0);
    confirm(&mut site);
    let after = site.head();
    assert_eq!(
        found(&check_with(&site, export.path(), std::slice::from_ref(&after)).unwrap()),
        [("rollback", Some(14))]
    );
    write(export.path(), "checkpoints/15", after.as_bytes());
    assert_eq!(found(&check(&site, export.path())), [("rollback", Some(14))]);

    // And one that went on differently.
    let mut other = story();
    other.time_micros += 1;
    confirm(&mut other);
    let verdict = check_with(&site, exported(&other).path(), &[before, after]).unwrap();
    assert_eq!(found(&verdict), [("fork", Some(14))]);
}

#[test]
fn a_pinned_checkpoint_of_another_key_is_a_wrong_argument() {
    let site = story();
    let export = exported(&site);
    let pinned = vec![("kept".to_owned(), site.head())];
    let other = Options { pinned, ..options(export.path(), Key::new(9)) };
    assert!(matches!(verify_ledger(&other), Err(Failure::Usage(_))));
}

#[test]
fn another_key_finds_the_ledger_unsound() {
    let site = story();
    let export = exported(&site);
    let options = options(export.path(), Key::new(9));
    let verdict = verify_ledger(&options).unwrap();
    assert!(verdict.report.has(Code::HeadSignature) && verdict.report.has(Code::KeyAnnouncement));
}

#[test]
fn details_must_be_those_committed_to() {
    let site = story();
    let text = fs::read_to_string(exported(&site).path().join("details.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check_details = |text: String| {
        let export = exported(&site);
        write(export.path(), "details.jsonl", text.as_bytes());
        found(&check(&site, export.path()))
    };
    assert_eq!(check_details(text.replacen("who", "ohw", 1)), [("detail-damaged", Some(3))]);
    assert_eq!(check_details(text.replacen('{', "x", 1)), [("detail-damaged", Some(3))]);
    assert_eq!(check_details([&text, lines[0], "\n"].concat()), [("detail-damaged", Some(3))], "twice");
    assert_eq!(
        check_details(text.clone() + r#"{"seq":5}"# + "\n"),
        [("detail-damaged", Some(5))],
        "none committed"
    );
    assert_eq!(
        check_details(text.clone() + r#"{"seq":99}"# + "\n"),
        [("detail-damaged", None)],
        "no such entry"
    );
    assert_eq!(
        check_details([lines[0], "\n", lines[2], "\n"].concat()),
        [("detail-missing", Some(6))],
        "one, and the last one, are missing"
    );
    assert_eq!(check_details(String::new()), [("detail-missing", Some(3))]);
}

#[test]
fn what_is_not_here_makes_it_incomplete() {
    let site = long_story();
    let export = exported(&site);
    fs::remove_file(export.path().join("tile/0/001")).unwrap();
    let verdict = check(&site, export.path());
    assert_eq!((found(&verdict), verdict.exit_code()), (vec![("tile-missing", None)], 3));
    fs::remove_file(export.path().join("tile/entries/001")).unwrap();
    let verdict = check(&site, export.path());
    assert_eq!((found(&verdict), verdict.exit_code()), (vec![("bundle-missing", Some(256))], 3));
}

#[test]
fn a_head_that_is_no_checkpoint_and_a_link_for_a_file_are_damage() {
    let site = story();
    let export = exported(&site);
    write(export.path(), "checkpoint", b"not a head");
    let verdict = check(&site, export.path());
    assert!(found(&verdict).iter().any(|(code, _)| *code == "head-damaged"), "{:?}", found(&verdict));
    assert_eq!(verdict.exit_code(), 1);

    let export = exported(&site);
    let bundle = export.path().join(format!("tile/entries/000.p/{}", site.size()));
    fs::rename(&bundle, export.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(export.path().join("elsewhere"), &bundle).unwrap();
    let verdict = check(&site, export.path());
    assert!(found(&verdict).iter().any(|(code, _)| *code == "file-refused"), "{:?}", found(&verdict));
    assert_eq!(verdict.exit_code(), 1);
}

/// An entry that says that the details `first..end` of bundle 0 are destroyed.
fn destroy(site: &mut Site, first: u64, end: u64) {
    let data = format!(r#"{{"bundle":0,"destroyed":[[{first},{end}]],"generation":1}}"#);
    site.add("ledger.details-destroyed", |entry| entry.data = raw(&data));
}

#[test]
fn a_detail_may_be_missing_only_where_an_entry_says_that_it_was_destroyed() {
    let mut site = long_story();
    // The first is the policy in force, which must stay.
    let gone = site.details.remove(1);
    assert_eq!(found_in(&site), [("detail-missing", Some(gone.0))]);
    let live = tempfile::tempdir().unwrap();
    site.live(live.path());
    assert_eq!(found(&check(&site, live.path())), [("detail-missing", Some(gone.0))]);
    destroy(&mut site, gone.0, gone.0 + 1);
    assert_eq!(found_in(&site), []);
    site.live(live.path());
    assert_eq!(found(&check(&site, live.path())), []);
}

#[test]
fn the_details_of_a_live_ledger_must_be_there_though_nobody_can_open_them() {
    let site = long_story();
    let dir = tempfile::tempdir().unwrap();
    site.live(dir.path());
    let file = dir.path().join("details/000");
    let good = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(found(&check(&site, dir.path())), [("detail-missing", Some(3))]);
    write(dir.path(), "details/000", &good[..good.len() - 1]);
    assert_eq!(found(&check(&site, dir.path())), [("detail-damaged", Some(0))]);
    // A detail where the entry commits to none: entry 0 gets one byte.
    write(dir.path(), "details/000", &[&[1, 0, 0, 0, 7][..], &good[4..]].concat());
    assert_eq!(found(&check(&site, dir.path())), [("detail-damaged", Some(0))]);
}

#[test]
fn bundles_filed_while_the_tail_still_holds_them_must_agree_with_it() {
    let site = long_story();
    for base in [0, 256, 512] {
        let live = tempfile::tempdir().unwrap();
        site.live_from(live.path(), base);
        let verdict = check(&site, live.path());
        assert_eq!((found(&verdict), verdict.exit_code()), (vec![], 0), "base {base}");
        assert_eq!(verdict.summary.entries, 600);
        if base > 256 {
            continue;
        }
        let length = 2 + site.lines[256].len();
        for (path, byte, finding) in [
            ("tile/entries/001", 40, ("entry-damaged", Some(256))),
            ("tile/entries/001", length + 40, ("entry-damaged", Some(257))),
            ("tile/0/001", 32 * 9, ("tile-damaged", Some(265))),
        ] {
            flip(live.path(), path, byte, 1);
            assert_eq!(found(&check(&site, live.path())), [finding], "base {base} {path}");
            flip(live.path(), path, byte, 1);
        }
        // Not filed yet, or only in part.
        for path in ["tile/0/001", "tile/entries/001", "details/001"] {
            fs::remove_file(live.path().join(path)).unwrap();
            assert_eq!(found(&check(&site, live.path())), [], "base {base} without {path}");
        }
    }
}

#[test]
fn threads_change_nothing_of_the_verdict() {
    let mut site = long_story();
    while site.size() < 256 * 21 + 9 {
        if site.size().is_multiple_of(700) {
            site.rekey();
        } else if site.size().is_multiple_of(3) {
            let seq = site.size();
            site.add_with_detail("policy.refused", &format!("{seq}"), |entry| {
                entry.outcome = greffier::core::ledger::entry::Outcome::Denied;
            });
        } else {
            confirm(&mut site);
        }
    }
    let export = exported(&site);
    let judge = || {
        let verdicts = [1, 2, 5].map(|threads| {
            let threads = std::num::NonZeroUsize::new(threads);
            let options = Options::new(Source::Path(export.path().to_owned()), site.log.public.clone());
            let verdict = verify_ledger(&Options { threads, ..options }).unwrap();
            let findings: Vec<_> = verdict.report.findings().into_iter().cloned().collect();
            (findings, verdict.summary.entries, verdict.summary.details_matched, verdict.exit_code())
        });
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
        verdicts[0].clone()
    };
    let (_, entries, matched, code) = judge();
    assert_eq!((entries, matched, code), (site.size(), site.details.len() as u64, 0));
    flip(export.path(), "tile/entries/004", 1000, 1);
    flip(export.path(), "tile/0/011", 1000, 1);
    flip(export.path(), "details.jsonl", 50_000, 1);
    assert_eq!(judge().3, 1);
    fs::remove_file(export.path().join("tile/entries/013")).unwrap();
    let (findings, entries, ..) = judge();
    assert_eq!(entries, 13 * 256);
    assert!(findings.iter().any(|finding| finding.code == Code::BundleMissing));
}
