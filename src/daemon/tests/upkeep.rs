//! What the ledger does by itself: details expire, the epoch key changes, heartbeats.

use super::*;
use crate::core::state::State;

impl Archive {
    async fn wait_until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if reached(self) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("waited in vain until {what}");
    }
}

#[test]
fn details_expire_and_the_state_is_rebuilt_unchanged() {
    let at_once = |config: &mut Config| config.ledger.details_keep = "PT0S".parse().unwrap();
    with_archive_of(at_once, async |archive, id| {
        let hold = archive.restrict(id).await.unwrap();
        for n in 0..300 {
            archive.say(&format!("Mrs Example {n}")).await;
        }
        // The tail is replaced once the archivist has written the bundle and another batch follows.
        for n in 0..400 {
            if archive.service.reader.detail_files().below_tail().unwrap() > 0 {
                break;
            }
            assert!(n < 399, "the bundle never left the tail");
            archive.say("more").await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(archive.service.expire_details().await.unwrap(), 1);
        archive.verify();
        let texts = archive.texts();
        assert!(!texts.iter().any(|(seq, detail)| *seq < 256 && detail.text.is_some()), "{texts:?}");
        let kept: Vec<u64> = texts.iter().map(|(seq, _)| *seq).filter(|seq| *seq < 256).collect();
        let standing = archive.state().await.holds().get(&hold).unwrap().placed_by_entry;
        let policy = archive.state().await.policy_entry().unwrap();
        assert!(kept.contains(&standing) && kept.contains(&policy), "{kept:?}");

        // The state as the entries give it: no detail is needed for it.
        let mut folded = State::default();
        archive.records().iter().for_each(|record| folded.apply(record).unwrap());
        assert_eq!(folded, archive.state().await);
        assert!(folded.destroyed_details().ranges().count() > 0);
        let digest = archive.service.policy_in_force().digest();
        archive.service.policy_from_ledger().await;
        assert_eq!(archive.service.policy_in_force().digest(), digest, "its text was encrypted anew");

        assert_eq!(archive.service.expire_details().await.unwrap(), 0, "nothing is left to do");
        let rows = archive.service.plan_details_for(games()).await.unwrap();
        let waits = |why: &str| rows.iter().any(|row| row.why.contains(why) && row.action == "keep");
        assert!(waits("the hold stands") && waits("in force") && waits("not full yet"), "{rows:?}");
        assert_eq!(archive.service.plan_details_for(stranger()).await.unwrap_err().kind, RefusalKind::Denied);
        archive.verify();
    });
}

#[test]
fn inv11_no_detail_is_destroyed_while_the_clock_is_suspect() {
    let at_once = |config: &mut Config| config.ledger.details_keep = "PT0S".parse().unwrap();
    with_archive_of(at_once, async |archive, _| {
        let because = crate::core::event::Because { why: "a test".into() };
        let draft = Draft::fact(Event::LedgerClockSuspect(because));
        let _recorded = archive.service.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await.unwrap();
        let service = archive.service.clone();
        let refused = tokio::task::spawn_blocking(move || {
            let plan =
                crate::core::retention::BundlePlan { bundle: 0, destroy: vec![(1, 2)], keep: Vec::new() };
            service.destroy_details_of(&plan)
        });
        assert_eq!(refused.await.unwrap().unwrap_err().kind, RefusalKind::Conflict);
        assert_eq!(archive.count("ledger.details-destroyed"), 0);
    });
}

#[test]
fn the_epoch_key_changes_each_period_and_one_key_is_left() {
    let often = |config: &mut Config| config.ledger.rekey = "PT1S".parse().unwrap();
    with_archive_of(often, async |archive, _| {
        let before = archive.service.slots.list(SlotKind::Epoch);
        assert_eq!((archive.count("ledger.rekeyed"), before.len()), (1, 1), "the one of the start");
        let task = tokio::spawn(archive.service.clone().follow_rekey());
        archive.wait_until("the key changed twice", |it| it.count("ledger.rekeyed") >= 3).await;
        archive.service.stopping.send_replace(true);
        task.await.unwrap();
        let after = archive.service.slots.list(SlotKind::Epoch);
        assert!(after.len() == 1 && after != before, "{after:?}");
        let kept = archive.service.reader.closing_checkpoints(0, 99).unwrap();
        assert_eq!(kept.len(), archive.count("ledger.rekeyed"));
        archive.say("signed by the last key").await;
        archive.verify();
    });
}

#[test]
fn a_rekeying_that_a_crash_cut_short_is_brought_to_an_end_by_the_next() {
    with_archive(async |archive, _| {
        // Made durable and never announced: the slot that a crash after the first step leaves.
        let lost = Secret::generate().unwrap();
        archive.service.slots.create(SlotKind::Epoch, [9; 16], &lost).unwrap();
        archive.service.rekey().await.unwrap();
        assert_eq!(archive.service.slots.list(SlotKind::Epoch).len(), 1);
        // Announced, and the old slot still there: the last step is missing.
        let next = Secret::generate().unwrap();
        archive.service.slots.create(SlotKind::Epoch, [8; 16], &next).unwrap();
        archive.service.ledger.rekey(Signer::new(&next)).await.unwrap();
        assert_eq!(archive.service.slots.list(SlotKind::Epoch).len(), 2);
        archive.service.rekey().await.unwrap();
        assert_eq!(archive.service.slots.list(SlotKind::Epoch).len(), 1);
        archive.say("on").await;
        archive.verify();
    });
}

#[test]
fn a_heartbeat_is_written_when_nothing_else_is_and_only_then() {
    let often = |config: &mut Config| config.ledger.heartbeat = "PT1S".parse().unwrap();
    with_archive_of(often, async |archive, _| {
        let task = tokio::spawn(archive.service.clone().follow_heartbeat());
        archive.wait_until("three heartbeats", |it| it.count("ledger.heartbeat") >= 3).await;
        let busy = archive.count("ledger.heartbeat");
        for n in 0..10 {
            archive.say(&n.to_string()).await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        assert!(archive.count("ledger.heartbeat") <= busy + 1, "others were written meanwhile");
        archive.service.stopping.send_replace(true);
        task.await.unwrap();
        let beats: Vec<_> =
            archive.records().into_iter().filter(|it| it.event.name() == "ledger.heartbeat").collect();
        assert!(
            beats.iter().all(|it| matches!(&it.event, Event::LedgerHeartbeat(beat) if beat.interval_s == 1))
        );
        assert!(beats[1].up_micros - beats[0].up_micros >= 900_000);
        archive.verify();
    });
}
