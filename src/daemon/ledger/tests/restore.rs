//! A ledger put back from a backup: refused, then taken up by order, with an entry that says so.

use super::*;
use crate::core::ledger::restore::{KnownHead, ORDER_FILE, RestoreOrder};
use crate::shell::disk::fault::Mode;
use crate::verify::Code;

/// A site put back to three entries, of which the second place knows five; and that head.
fn put_back() -> (Site, String) {
    let site = Site::new();
    let run = site.open();
    run.record([plain("one"), detailed("two")]);
    run.stop();
    let backup = site.snapshot();
    let run = site.open();
    run.record([plain("lost"), plain("lost too")]);
    site.write_second_place(&run);
    let later = run.ledger.head().checkpoint.to_string();
    run.stop();
    site.restore(&backup);
    (site, later)
}

fn head(checkpoint: &str) -> KnownHead {
    let checkpoint = crate::core::ledger::checkpoint::SignedCheckpoint::read(checkpoint).unwrap().0;
    KnownHead { size: checkpoint.size, root: checkpoint.root }
}

impl Site {
    fn order(&self, known: KnownHead) {
        let tail = read(&self.tail());
        let here = head(&head_of(&tail, 3));
        let line = RestoreOrder { here, known }.to_line().unwrap();
        self.files.replace(ORDER_FILE, line.as_bytes()).unwrap();
    }
    fn ordered(&self) -> bool {
        self.ledger_dir().join(ORDER_FILE).exists()
    }
}

#[test]
fn a_restore_that_was_accepted_is_an_entry_and_stays_visible() {
    let (site, later) = put_back();
    let error = site.refused();
    assert!(error.to_string().contains("doctor --accept-restore"), "{error}");
    site.order(head(&later));
    let run = site.open();
    assert_eq!(run.names().last(), Some(&"ledger.restored"));
    let Event::LedgerRestored(restored) = run.records().pop().unwrap().event else { panic!() };
    assert_eq!((restored.why.as_str(), restored.size, restored.known_size), ("behind", 3, 5));
    assert_eq!(restored.known_root, head(&later).root);
    assert_eq!(read(&site.second_place()), run.ledger.head().checkpoint.as_bytes());
    assert!(!site.ordered());
    run.record([plain("goes on"), plain("beyond what was lost"), plain("and on")]);
    site.verify(7);
    run.stop();
    site.open().stop();

    // Whoever keeps the head that was given up finds the fork.
    let pinned = vec![("later".to_owned(), later)];
    let options = Options { pinned, ..Options::new(Source::Path(site.ledger_dir()), site.log_key.clone()) };
    let verdict = verify_ledger(&options).unwrap();
    assert!(verdict.report.findings().iter().any(|finding| finding.code == Code::Fork));
}

#[test]
fn an_order_for_another_state_orders_nothing() {
    let (site, later) = put_back();
    let mut other = head(&later);
    other.root.0[0] ^= 1;
    site.order(other);
    assert!(matches!(site.refused(), OpenError::RolledBack { .. }), "another head");

    let run_on = |site: &Site| {
        std::fs::remove_file(site.second_place()).unwrap();
        let run = site.open();
        run.record([plain("on")]);
        site.write_second_place(&run);
        run.stop();
    };
    let (site, later) = put_back();
    run_on(&site);
    site.order(head(&later));
    let run = site.open();
    assert!(!run.names().contains(&"ledger.restored") && !site.ordered(), "the ledger went on since");
    run.stop();
}

#[test]
fn inv4_every_call_of_taking_up_a_restored_ledger_may_fail() {
    for mode in [Mode::Refused, Mode::DoneButFailed, Mode::DiesBefore, Mode::DiesAfter, Mode::DiesWithin] {
        for nth in 1.. {
            let (site, later) = put_back();
            site.order(head(&later));
            site.faults().plan(nth, mode);
            if let Ok(run) = site.try_open() {
                run.stop();
            }
            let met = site.faults().clear();
            let run = site.open();
            let restored = run.names().iter().filter(|name| **name == "ledger.restored").count();
            assert_eq!(restored, 1, "call {nth} ({met:?}) {mode:?}");
            assert!(!site.ordered(), "call {nth} ({met:?}) {mode:?}");
            run.record([plain("on")]);
            site.verify(run.size());
            run.stop();
            if met.is_none() {
                break;
            }
        }
    }
}
