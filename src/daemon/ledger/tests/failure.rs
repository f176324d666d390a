//! A failed write or sync: nobody is told that it stands, nothing is served, and the ledger resumes by itself.

use super::*;

/// Lets the next sync fail, and no new tail succeed until `mend`.
fn break_disk(site: &Site) {
    site.faults().file_in.store(-1, SeqCst);
    site.faults().sync_in.store(1, SeqCst);
}
fn mend(site: &Site, run: &Run) {
    site.faults().file_in.store(0, SeqCst);
    run.wait_until_open();
}
fn what(run: &Run) -> Vec<String> {
    let records = run.records();
    let words = records.iter().filter_map(|record| match &record.event {
        Event::StoreDamaged(it) => Some(it.what.clone()),
        _ => None,
    });
    words.collect()
}

#[test]
fn inv3_while_the_disk_fails_everybody_is_turned_away_and_then_it_resumes_by_itself() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("before")]);
    let head = run.ledger.head();
    break_disk(&site);
    let refused = run.try_record(vec![plain("in doubt")]).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::LedgerUnavailable);
    assert!(
        matches!(&*run.ledger.availability().borrow(), Availability::Closed(why) if why.contains("cannot"))
    );
    for _ in 0..5 {
        assert_eq!(run.try_record(vec![plain("away")]).unwrap_err().kind, RefusalKind::LedgerUnavailable);
    }
    assert!(run.ledger.look_blocking(|desk| desk.state.size()).is_err());
    assert_eq!(run.ledger.head(), head, "no head leaves the writer before its sync");
    assert_eq!(run.bytes().len(), 2, "nothing is read that is not durable");

    mend(&site, &run);
    assert_eq!(what(&run), ["before", "in doubt"], "the batch in doubt stands once, those turned away never");
    let Event::LedgerRecovered(recovered) = run.records()[3].event.clone() else { panic!() };
    assert_eq!((recovered.why.as_str(), recovered.turned_away), ("write-failed", 6));
    assert!(recovered.since.is_some());
    run.record([plain("after")]);
    site.verify(5);
    let bytes = run.bytes();
    run.stop();
    let run = site.open();
    assert_eq!(run.bytes(), bytes);
    run.stop();
}

#[test]
fn inv1_a_grant_in_doubt_is_interrupted() {
    let site = Site::new();
    let run = site.open();
    run.record([sealed()]);
    run.record([granted(1)]);
    break_disk(&site);
    let desk = run.hold_writer();
    let answers = [2, 3].map(|session| run.ledger.submit(move |_| Ok(Proposal::new(granted(session), ()))));
    drop(desk);
    for answer in answers {
        assert_eq!(answer.blocking_recv().unwrap().unwrap_err().kind, RefusalKind::LedgerUnavailable);
    }
    mend(&site, &run);
    let open = run.ledger.look_blocking(|desk| desk.state.sessions().keys().copied().collect::<Vec<_>>());
    assert_eq!(open.unwrap(), [SessionId::from_bytes([1; 16])], "what was granted before goes on");
    assert_eq!(run.names()[5..], ["ledger.recovered", "access.interrupted", "access.interrupted"]);
    site.verify(8);
    run.stop();
}

#[test]
fn inv1_a_grant_in_doubt_is_interrupted_though_the_disk_fails_again_while_it_resumes() {
    // The batch in doubt completes a bundle: after the new tail its files fail, one after the other.
    for failing in 2..=6 {
        let site = Site::new();
        let run = site.open();
        run.record([sealed()]);
        run.record((0..253).map(|n| plain(n.to_string())));
        site.faults().sync_in.store(1, SeqCst);
        site.faults().file_in.store(failing, SeqCst);
        assert!(run.try_record(vec![granted(2), plain("x")]).is_err());
        run.wait_until_open();
        let sessions = run.ledger.look_blocking(|desk| desk.state.sessions().len()).unwrap();
        assert_eq!(sessions, 0, "fault {failing}");
        run.record([plain("after")]);
        site.verify(run.size());
        run.stop();
    }
}

#[test]
fn inv4_a_head_once_signed_is_never_signed_again_with_other_content() {
    let site = Site::new();
    let run = site.open();
    // The write arrives, the sync fails: the head of size 2 may stand on the medium.
    break_disk(&site);
    assert!(run.try_record(vec![detailed("in doubt")]).is_err());
    let head = head_of(&read(&site.tail()), 2);
    mend(&site, &run);
    run.record([plain("after")]);
    assert_eq!(run.names()[..3], ["ledger.created", "policy.refused", "ledger.recovered"]);
    let options = Options {
        pinned: vec![("the head in doubt".into(), head)],
        ..Options::new(Source::Path(site.ledger_dir()), site.log_key.clone())
    };
    assert_eq!(verify_ledger(&options).unwrap().exit_code(), 0);
    run.stop();
}

#[test]
fn inv3_a_stop_while_the_disk_fails_loses_nothing_that_was_acknowledged() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("acknowledged")]);
    let bytes = run.bytes();
    break_disk(&site);
    assert!(run.try_record(vec![plain("in doubt")]).is_err());
    run.stop();
    site.faults().file_in.store(0, SeqCst);
    let run = site.open();
    assert_eq!(run.bytes()[..2], bytes[..]);
    assert!(what(&run).iter().filter(|it| *it == "in doubt").count() <= 1);
    site.verify(run.size());
    run.stop();
}

/// Twenty appends over a roll-over; `fault` is set before the first. Everything acknowledged must stand, once.
fn twenty_appends(set: impl Fn(&Faults)) {
    let site = Site::new();
    let run = site.open();
    run.record((0..245).map(|n| plain(n.to_string())));
    set(site.faults());
    let mut refused = 0;
    let mut expected = Vec::new();
    for n in 0..20 {
        let name = format!("append {n}");
        match run.try_record(vec![plain(&name), detailed(&name)]) {
            Ok(recorded) => assert_eq!(recorded.entry() + 2, run.size(), "answered after the sync"),
            Err(refusal) => {
                assert_eq!(refusal.kind, RefusalKind::LedgerUnavailable);
                refused += 1;
                run.wait_until_open();
            }
        }
        expected.push(name);
        run.wait_until_open();
    }
    assert!(refused <= 1, "one fault, one batch in doubt");
    assert_eq!(what(&run)[245..], expected, "in doubt or acknowledged, each stands once and in order");
    site.verify(run.size());
    let bytes = run.bytes();
    run.stop();
    let run = site.open();
    // A fault of the archivist may show only after `bytes` were read: then `ledger.recovered` follows.
    assert!(run.bytes().starts_with(&bytes) && run.size() <= bytes.len() as u64 + 1);
    run.stop();
}

#[test]
fn inv3_every_single_failing_write_sync_or_file_is_overcome() {
    let case = |kind: usize, n: i64| {
        twenty_appends(|faults| {
            let counters = [&faults.write_in, &faults.sync_in, &faults.file_in];
            counters[kind].store(n, SeqCst);
        });
    };
    std::thread::scope(|scope| {
        for (kind, last) in [(0, 20), (1, 20), (2, 4)] {
            for half in [0, 1] {
                scope.spawn(move || (1..=last).filter(|n| n % 2 == half).for_each(|n| case(kind, n)));
            }
        }
    });
}
