//! A new epoch key: announced under the old one, whose last head is kept for ever.

use super::*;
use crate::core::ledger::checkpoint::SignedCheckpoint;

impl Site {
    /// As a start does it. The old key stays in `epochs` until the caller drops it.
    fn rekey(&mut self, run: &Run) -> Result<(), Refusal> {
        let secret = Secret::generate().unwrap();
        let changed = block_on(run.ledger.rekey(Signer::new(&secret)));
        self.epochs.push(secret);
        changed
    }
    fn epoch_key(&self, place: usize) -> VerifierKey {
        VerifierKey::new(ORIGIN, &Signer::new(&self.epochs[place]).public()).unwrap()
    }
}

#[test]
fn the_old_key_signs_its_last_head_and_no_other() {
    let mut site = Site::new();
    let run = site.open();
    run.record([plain("old")]);
    site.rekey(&run).unwrap();
    let closing = String::from_utf8(read(&site.ledger_dir().join("checkpoints/3"))).unwrap();
    let (old, new) = (site.epoch_key(0), site.epoch_key(1));
    assert_eq!(SignedCheckpoint::verify(&closing, &site.log_key, &old).unwrap().size, 3);
    site.verify(3);
    run.record([plain("new")]);
    let head = run.ledger.head().checkpoint;
    assert!(SignedCheckpoint::verify(&head, &site.log_key, &new).is_ok());
    assert!(SignedCheckpoint::verify(&head, &site.log_key, &old).is_err());
    site.verify(4);
    run.stop();
}

#[test]
fn the_ledger_decides_which_of_two_keys_is_current() {
    let mut site = Site::new();
    let run = site.open();
    site.rekey(&run).unwrap();
    run.stop();
    // Announced: the new one, also when both are there.
    let run = site.open();
    run.record([plain("both present")]);
    site.verify(3);
    run.stop();
    let old = site.epochs.remove(0);
    let run = site.open();
    run.record([plain("the new one alone")]);
    site.verify(4);
    run.stop();
    site.epochs = vec![old];
    assert!(matches!(site.refused(), OpenError::EpochKey));

    // Made, but never announced: the old one.
    let mut site = Site::new();
    site.open().stop();
    site.epochs.push(Secret::generate().unwrap());
    let run = site.open();
    run.record([plain("the old one")]);
    site.verify(2);
    run.stop();
}

#[test]
fn a_closing_head_that_a_crash_cut_short_is_kept_at_the_next_start() {
    let mut site = Site::new();
    let run = site.open();
    site.rekey(&run).unwrap();
    run.stop();
    let kept = site.ledger_dir().join("checkpoints/2");
    let closing = read(&kept);
    std::fs::remove_file(&kept).unwrap();
    let run = site.open();
    assert_eq!(read(&kept), closing);
    run.record([plain("after")]);
    site.verify(3);
    run.stop();
}

#[test]
fn a_rekeyed_entry_may_be_the_last_of_its_bundle() {
    for fail in [false, true] {
        let mut site = Site::new();
        let run = site.open();
        run.record((0..254).map(|n| plain(n.to_string())));
        // The closing head is written while the archivist writes the bundle.
        *site.faults().file_below.lock().unwrap() = fail.then_some("checkpoints");
        assert_eq!(site.rekey(&run).is_err(), fail);
        run.wait_until_open();
        assert_eq!(*site.faults().file_below.lock().unwrap(), None, "the fault was met");
        run.record([plain("next bundle")]);
        site.verify(if fail { 258 } else { 257 });
        run.stop();
        site.epochs.remove(0);
        let run = site.open();
        run.record([plain("reopened")]);
        site.verify(run.size());
        run.stop();
    }
}

#[test]
fn a_rekeyed_entry_in_doubt_closes_its_epoch_when_the_ledger_resumes() {
    let mut site = Site::new();
    let run = site.open();
    site.faults().sync_in.store(1, SeqCst);
    assert_eq!(site.rekey(&run).unwrap_err().kind, RefusalKind::LedgerUnavailable);
    run.wait_until_open();
    assert_eq!(run.names(), ["ledger.created", "ledger.rekeyed", "ledger.recovered"]);
    run.record([plain("under the new key")]);
    site.verify(4);
    run.stop();
}
