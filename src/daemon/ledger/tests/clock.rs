//! Time falls only after `ledger.clock-suspect`, wherever a batch begins (invariant 11).

use super::*;

#[test]
fn inv11_a_backward_step_is_the_first_entry_of_the_next_batch() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("before")]);
    site.step_clock(-90);
    let seen = run.ledger.record_blocking(|desk| {
        let suspect = desk.state.clock_suspect();
        Ok(Proposal::new(plain("after"), suspect))
    });
    assert!(seen.unwrap().into_value(), "whoever decides in this batch sees the doubt");
    run.record([plain("later")]);
    assert_eq!(
        run.names(),
        ["ledger.created", "store.damaged", "ledger.clock-suspect", "store.damaged", "store.damaged"],
        "said once a step"
    );
    let Event::LedgerClockSuspect(Because { why }) = run.records()[2].event.clone() else { panic!() };
    assert!(why.starts_with("the clock stands 8") || why.starts_with("the clock stands 90"), "{why}");
    site.verify(5);
    run.stop();
}

#[test]
fn inv11_a_second_step_is_said_again_though_the_clock_is_suspect() {
    let site = Site::new();
    let run = site.open();
    for _ in 0..3 {
        site.step_clock(-10);
        run.record([plain("x")]);
    }
    assert_eq!(run.names().iter().filter(|name| **name == "ledger.clock-suspect").count(), 3);
    run.record([confirmed()]);
    assert!(!run.ledger.look_blocking(|desk| desk.state.clock_suspect()).unwrap());
    site.verify(8);
    run.stop();
}

#[test]
fn inv11_a_forward_step_reorders_nothing_and_is_left_to_the_judge() {
    let site = Site::new();
    let run = site.open();
    site.step_clock(1_000_000);
    run.record([plain("x")]);
    assert_eq!(run.names(), ["ledger.created", "store.damaged"]);
    site.verify(2);
    run.stop();
}

#[test]
fn inv11_a_start_with_the_clock_set_back_says_so_before_its_first_entry() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("x")]);
    run.stop();
    site.step_clock(-3600);
    let run = site.open();
    let last = run.opened.last.unwrap();
    block_on(run.ledger.rekey(Signer::new(&Secret::generate().unwrap()))).unwrap();
    assert_eq!(run.names()[2..], ["ledger.clock-suspect", "ledger.rekeyed"]);
    assert_eq!(last.time, run.records()[1].time, "what a start judges the clock against is the run before");
    site.verify(4);
    run.stop();
}

#[test]
fn inv11_what_recovery_writes_by_itself_keeps_the_order_too() {
    let site = Site::new();
    let run = site.open();
    run.record([plain("x")]);
    site.faults().sync_in.store(1, SeqCst);
    site.faults().file_in.store(-1, SeqCst);
    assert!(run.try_record(vec![plain("in doubt")]).is_err());
    site.step_clock(-60);
    site.faults().file_in.store(0, SeqCst);
    run.wait_until_open();
    assert_eq!(run.names()[2..], ["store.damaged", "ledger.clock-suspect", "ledger.recovered"]);
    site.verify(5);
    run.stop();

    // The same for a torn end.
    site.damage("tail", |tail| {
        let end = tail.iter().rposition(|byte| *byte != 0).unwrap();
        tail[end + 1] = 9;
    });
    site.step_clock(-60);
    let run = site.open();
    assert_eq!(run.names()[5..], ["ledger.clock-suspect", "ledger.recovered"]);
    site.verify(7);
    run.stop();
}
