//! Damage and rollback: the start is refused, names the file, and changes nothing.

use super::*;

fn text_of(error: &OpenError) -> String {
    crate::daemon::errors::chain(error)
}

#[test]
fn inv4_damage_before_a_later_checkpoint_is_fatal_and_nothing_is_changed() {
    let site = Site::new();
    let run = site.open();
    for n in 0..4 {
        run.record([detailed(n.to_string()), plain(n.to_string())]);
    }
    run.stop();
    let files = site.snapshot();
    // Where the last checkpoint begins: behind the last frame but one.
    let end = super::torn::frames(&files[&site.tail()]).iter().rev().nth(1).unwrap().0;
    for place in (0..end).step_by(131) {
        site.restore(&files);
        site.damage("tail", |tail| tail[place] ^= 0x10);
        let error = site.refused();
        assert!(matches!(error, OpenError::Tail(_)), "byte {place}");
        let text = text_of(&error);
        assert!(place < 4096 || text.contains("damaged at offset"), "{text}");
    }
}

#[test]
fn inv4_a_tail_without_any_batch_is_no_torn_end() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("1")]);
    run.stop();
    for cut in [4096, 4100] {
        let files = site.snapshot();
        site.damage("tail", |tail| tail[cut..].fill(0));
        assert!(matches!(site.refused(), OpenError::NoBatch));
        site.damage("tail", |tail| tail.truncate(cut));
        assert!(matches!(site.refused(), OpenError::NoBatch));
        site.restore(&files);
    }
    site.damage("tail", |tail| tail.truncate(100));
    assert!(matches!(site.refused(), OpenError::Tail(_)));
}

#[test]
fn inv10_a_damaged_bundle_is_named_with_its_entry() {
    let site = Site::new();
    let run = site.open();
    run.record((0..300).map(|n| plain(n.to_string())));
    let line = run.bytes()[200].clone();
    run.stop();
    let files = site.snapshot();
    let bundle = &files[&site.ledger_dir().join("tile/entries/000")];
    let begin = bundle.windows(line.len()).position(|window| *window == *line).unwrap();
    for (place, entry) in [(begin, 200), (begin + 20, 200), (begin + line.len() - 3, 200), (begin - 1, 200)] {
        site.damage("tile/entries/000", |bytes| bytes[place] ^= 0x40);
        let error = text_of(&site.refused());
        let near =
            (entry..=entry + 1).any(|entry| error.contains(&format!("tile/entries/000, entry {entry}")));
        assert!(near || error.contains("bundle"), "{error}");
        site.restore(&files);
    }
    site.damage("tile/entries/000", |bytes| bytes.truncate(5000));
    assert!(matches!(site.refused(), OpenError::Bundle { .. }));
    std::fs::remove_file(site.ledger_dir().join("tile/entries/000")).unwrap();
    assert!(text_of(&site.refused()).contains("tile/entries/000 is missing"));
    site.restore(&files);
    std::fs::remove_file(site.tail()).unwrap();
    assert!(text_of(&site.refused()).contains("ledger/tail is missing"));
}

#[test]
fn a_ledger_behind_or_beside_the_second_place_is_refused() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("1")]);
    run.stop();
    let old = site.snapshot();
    let run = site.open();
    run.record([plain("here")]);
    site.write_second_place(&run);
    run.stop();
    // As it was left, and further on: the second place may lag.
    let run = site.open();
    run.record([plain("further")]);
    run.stop();
    site.open().stop();

    site.restore(&old);
    let error = site.refused();
    assert!(matches!(error, OpenError::RolledBack { size: 2, seen: 3, beside: "", .. }), "{error}");
    let ahead = read(&site.second_place());
    std::fs::remove_file(site.second_place()).unwrap();
    let run = site.open();
    run.record([plain("elsewhere")]);
    run.stop();
    std::fs::write(site.second_place(), ahead).unwrap();
    let error = site.refused();
    assert!(matches!(error, OpenError::RolledBack { size: 3, seen: 3, beside, .. } if !beside.is_empty()));
    // What the log key did not sign says nothing.
    std::fs::write(site.second_place(), "damaged").unwrap();
    site.open().stop();
}

#[test]
fn a_ledger_behind_its_own_kept_files_is_refused() {
    let mut site = Site::new();
    let run = site.open();
    let old = read(&site.tail());
    let secret = Secret::generate().unwrap();
    block_on(run.ledger.rekey(Signer::new(&secret))).unwrap();
    site.epochs.push(secret);
    run.stop();
    let newer = read(&site.tail());
    std::fs::write(site.tail(), &old).unwrap();
    assert!(matches!(site.refused(), OpenError::RolledBack { size: 1, seen: 2, .. }));
    std::fs::write(site.tail(), &newer).unwrap();
    let run = site.open();
    run.record((0..300).map(|n| plain(n.to_string())));
    run.stop();
    std::fs::write(site.tail(), &newer).unwrap();
    assert!(matches!(site.refused(), OpenError::RolledBack { size: 2, seen: 256, .. }));
}
