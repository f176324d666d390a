//! Group commit and the overlay: who waits together is synced together, in order of arrival, each after the one before.

use std::sync::Barrier;

use super::super::Desk;
use super::*;
use crate::core::policy::Policy;

#[test]
fn sixty_four_callers_share_one_sync_and_all_their_entries_stand() {
    let site = Site::new();
    let run = site.open();
    site.faults().sync_in.store(1_000, SeqCst);
    let desk = run.hold_writer();
    let submitted = Barrier::new(65);
    let mut answers: Vec<(u64, usize)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..64_usize)
            .map(|caller| {
                let (ledger, submitted) = (run.ledger.clone(), &submitted);
                scope.spawn(move || {
                    let answer =
                        ledger.submit(move |_| Ok(Proposal::new(detailed(caller.to_string()), caller)));
                    submitted.wait();
                    let recorded = answer.blocking_recv().unwrap().unwrap();
                    (recorded.entry(), *recorded.value())
                })
            })
            .collect();
        submitted.wait();
        drop(desk);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(1_000 - site.faults().sync_in.load(SeqCst), 1, "syncs");
    answers.sort_unstable();
    let entries: Vec<u64> = answers.iter().map(|(entry, _)| *entry).collect();
    assert_eq!(entries, (1..65).collect::<Vec<_>>());
    let lines = run.lines();
    for (entry, caller) in answers {
        let line = &lines[usize::try_from(entry).unwrap()];
        let detail = Detail::parse(&run.opened.reader.detail(line).unwrap().unwrap()).unwrap();
        assert_eq!(detail.text, Some(caller.to_string()), "each caller was told its own entry");
    }
    site.verify(65);
    run.stop();
}

#[test]
fn entries_stand_in_the_order_of_arrival() {
    let site = Site::new();
    let run = site.open();
    let desk = run.hold_writer();
    let answers: Vec<_> = (0..40)
        .map(|n| run.ledger.submit(move |_| Ok(Proposal::new(plain(n.to_string()), ()).and(plain("also")))))
        .collect();
    drop(desk);
    let entries: Vec<u64> =
        answers.into_iter().map(|answer| answer.blocking_recv().unwrap().unwrap().entry()).collect();
    assert_eq!(entries, (0..40).map(|n| 1 + 2 * n).collect::<Vec<_>>());
    site.verify(81);
    run.stop();
}

#[test]
fn two_openings_of_one_batch_do_not_share_one_place() {
    let site = Site::new();
    let run = site.open();
    run.record([sealed()]);
    let desk = run.hold_writer();
    let open = |session| {
        run.ledger.submit(move |desk| {
            if desk.state.sessions().is_empty() {
                Ok(Proposal::new(granted(session), ()))
            } else {
                Err(Refusal::new(RefusalKind::LimitReached, "one at a time"))
            }
        })
    };
    let (first, second) = (open(1), open(2));
    drop(desk);
    assert!(first.blocking_recv().unwrap().is_ok());
    assert_eq!(second.blocking_recv().unwrap().unwrap_err().kind, RefusalKind::LimitReached);
    site.verify(3);
    run.stop();
}

#[test]
fn inv12_of_a_hold_and_a_purge_in_one_batch_the_first_wins() {
    for hold_first in [true, false] {
        let site = Site::new();
        let run = site.open();
        run.record([sealed()]);
        let desk = run.hold_writer();
        let hold = || {
            run.ledger.submit(|desk| match desk.state.recording(&RECORDING) {
                Some(recording) if !recording.purging => Ok(Proposal::new(held(), ())),
                _ => Err(Refusal::new(RefusalKind::Conflict, "it is being purged")),
            })
        };
        let purge = || {
            run.ledger.submit(|desk| match desk.state.holds().on(&RECORDING) {
                None => Ok(Proposal::new(planned(), ())),
                Some(_) => Err(Refusal::new(RefusalKind::Held, "it is held")),
            })
        };
        let (first, second) = if hold_first { (hold(), purge()) } else { (purge(), hold()) };
        drop(desk);
        assert!(first.blocking_recv().unwrap().is_ok());
        let refused = second.blocking_recv().unwrap().unwrap_err().kind;
        assert_eq!(refused, if hold_first { RefusalKind::Held } else { RefusalKind::Conflict });
        site.verify(3);
        run.stop();
    }
}

#[test]
fn inv12_a_purge_that_nobody_checked_is_stopped_by_the_fold() {
    let site = Site::new();
    let run = site.open();
    run.record([sealed(), held()]);
    let refusal = run.try_record(vec![planned()]).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Internal);
    assert_eq!(run.size(), 3, "it left no trace");
    run.record([lifted(), planned()]);
    site.verify(5);
    run.stop();
}

#[test]
fn who_is_refused_at_the_desk_leaves_no_entry() {
    let site = Site::new();
    let run = site.open();
    let refused = run.ledger.record_blocking::<()>(|_| Err(Refusal::invalid("no")));
    assert_eq!(refused.unwrap_err().kind, RefusalKind::InvalidArgument);
    assert!(
        run.try_record(vec![detailed("x").about(about()), Draft { detail: None, ..detailed("y") }]).is_err()
    );
    run.stop();
    let run = site.open();
    site.verify(run.size());
    run.stop();
}

#[test]
fn inv2_a_policy_that_no_entry_loads_decides_nothing() {
    let site = Site::new();
    let run = site.open();
    let in_force = || run.ledger.look_blocking(|desk| desk.policy.clone()).unwrap();
    let before = in_force();
    let put = |draft: Draft, answer: Result<(), Refusal>| {
        run.ledger.record_blocking(move |desk| {
            *desk.policy = Arc::new(Policy::empty());
            answer.map(|()| Proposal::new(draft, ()))
        })
    };
    let loaded = Draft::fact(Event::PolicyLoaded(Nothing {}));
    assert!(put(loaded.clone(), Ok(())).is_err(), "without the text that must stand in the detail");
    assert!(put(loaded.clone(), Err(Refusal::invalid("no"))).is_err());
    assert!(Arc::ptr_eq(&before, &in_force()));
    assert!(put(loaded.with_detail(Detail::default()), Ok(())).is_ok());
    assert!(!Arc::ptr_eq(&before, &in_force()));
    site.verify(2);
    run.stop();
}

#[test]
fn after_the_stop_everybody_is_told_that_the_service_is_closed() {
    let site = Site::new();
    let run = site.open();
    let ledger = run.ledger.clone();
    run.stop();
    let refused = ledger.record_blocking(|_| Ok(Proposal::new(plain("late"), ())));
    assert_eq!(refused.unwrap_err().kind, RefusalKind::Closed);
    assert_eq!(ledger.look_blocking(|desk| desk.state.size()).unwrap_err().kind, RefusalKind::Closed);
}

/// Tasks that wait together are woken by one of their own runtime's threads.
#[test]
fn inv1_tasks_that_wait_together_are_each_answered_by_how_their_sync_ended() {
    let site = Site::new();
    let run = site.open();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let ask = |tasks: usize| -> Vec<_> {
        (0..tasks)
            .map(|n| {
                let ledger = run.ledger.clone();
                let propose = move |_: &mut Desk<'_>| Ok(Proposal::new(detailed(n.to_string()), n));
                runtime.spawn(async move { ledger.record(propose).await })
            })
            .collect()
    };
    let answers = ask(60);
    let mut entries: Vec<u64> = answers
        .into_iter()
        .enumerate()
        .map(|(n, answer)| {
            let recorded = runtime.block_on(answer).unwrap().unwrap();
            assert_eq!(*recorded.value(), n);
            let line = run.lines().swap_remove(usize::try_from(recorded.entry()).unwrap());
            let detail = Detail::parse(&run.opened.reader.detail(&line).unwrap().unwrap()).unwrap();
            assert_eq!(detail.text, Some(n.to_string()), "each task was told its own entry");
            recorded.entry()
        })
        .collect();
    entries.sort_unstable();
    assert_eq!(entries, (1..61).collect::<Vec<_>>());

    let desk = run.hold_writer();
    let answers = ask(20);
    site.faults().sync_in.store(1, SeqCst);
    drop(desk);
    for answer in answers {
        // Those that came after the failed batch may have been answered once the ledger was open again.
        match runtime.block_on(answer).unwrap() {
            Err(refusal) => assert_eq!(refusal.kind, RefusalKind::LedgerUnavailable),
            Ok(recorded) => assert!(recorded.entry() > 61),
        }
    }
    run.wait_until_open();

    // A runtime that ends takes its tasks along, and nobody else's answer.
    let desk = run.hold_writer();
    let _gone = ask(20);
    runtime.shutdown_background();
    drop(desk);
    run.record([plain("after")]);
    site.verify(run.size());
    run.stop();
}
