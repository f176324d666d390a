//! Roll-over at each multiple of 256, and what a crash in the middle of it leaves.

use super::*;

/// Records `count` entries in one batch.
fn many(run: &Run, count: u64) {
    run.record((0..count).map(|n| if n % 3 == 0 { detailed(n.to_string()) } else { plain(n.to_string()) }));
}

#[test]
fn around_256_and_512_every_entry_stays_and_reopens() {
    let site = Site::new();
    let run = site.open();
    many(&run, 253);
    for size in 255..=258 {
        run.record([detailed("edge")]);
        assert_eq!(run.size(), size);
        site.verify(size);
    }
    many(&run, 252);
    run.record([plain("511"), plain("512"), plain("513"), detailed("514")]);
    site.verify(514);
    let bytes = run.bytes();
    let details: Vec<_> = run.lines().iter().map(|line| run.opened.reader.detail(line).unwrap()).collect();
    run.stop();

    let run = site.open();
    assert_eq!(run.bytes(), bytes);
    let again: Vec<_> = run.lines().iter().map(|line| run.opened.reader.detail(line).unwrap()).collect();
    assert_eq!(again, details);
    assert!(details.iter().flatten().count() > 150);
    many(&run, 3);
    site.verify(517);
    run.stop();
}

#[test]
fn a_ledger_of_exactly_full_bundles_reopens() {
    let site = Site::new();
    let run = site.open();
    many(&run, 255);
    site.verify(256);
    run.stop();
    let run = site.open();
    assert_eq!((run.size(), run.bytes().len()), (256, 256));
    many(&run, 256);
    site.verify(512);
    run.stop();
    let run = site.open();
    many(&run, 1);
    site.verify(513);
    run.stop();
}

#[test]
fn one_batch_may_fill_more_than_one_bundle() {
    let site = Site::new();
    let run = site.open();
    many(&run, 600);
    site.verify(601);
    let bytes = run.bytes();
    run.stop();
    let run = site.open();
    assert_eq!(run.bytes(), bytes);
    run.stop();
}

#[test]
fn inv4_a_crash_at_each_step_of_a_roll_over_loses_nothing() {
    let site = Site::new();
    let run = site.open();
    many(&run, 254);
    site.faults().file_in.store(-1, SeqCst);
    run.record([detailed("256"), plain("257")]);
    let bytes = run.bytes();
    run.stop();
    site.faults().file_in.store(0, SeqCst);
    let before = site.snapshot();
    assert_eq!(before.len(), 1, "the tail alone");
    let run = site.open();
    assert_eq!(run.bytes(), bytes);
    run.stop();
    let after = site.snapshot();

    let order = ["details/000", "tile/entries/000", "tile/0/000"].map(|name| site.ledger_dir().join(name));
    for written in 0..=order.len() {
        let mut files = before.clone();
        files.extend(order.iter().take(written).map(|path| (path.clone(), after[path].clone())));
        // The one after is half written, under its temporary name.
        files.insert(site.ledger_dir().join("tail.new"), vec![7; 100]);
        site.restore(&files);
        let run = site.open();
        assert_eq!(run.bytes(), bytes, "{written} files written");
        run.record([plain("on")]);
        site.verify(258);
        run.stop();
    }
}

#[test]
fn a_file_that_is_there_with_other_content_is_never_replaced() {
    let site = Site::new();
    let run = site.open();
    std::fs::create_dir_all(site.ledger_dir().join("details")).unwrap();
    let path = site.ledger_dir().join("details/000");
    std::fs::write(&path, "something else").unwrap();
    many(&run, 254);
    // Durable in the tail; then the ledger closes, because it cannot put the bundle where it belongs.
    run.record([plain("255")]);
    let mut availability = run.ledger.availability();
    let closed = |now: &Availability| matches!(now, Availability::Closed(why) if why.contains("details/000"));
    block_on(async { availability.wait_for(closed).await.map(|_| ()) }).unwrap();
    assert_eq!(read(&path), b"something else");
    std::fs::remove_file(&path).unwrap();
    run.wait_until_open();
    site.verify(run.size());
    run.stop();
}
