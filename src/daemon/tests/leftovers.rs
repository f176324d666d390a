//! What is left: files of the spool whose recording is due, refusals that were only counted, what the mount told.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::core::event::{Outcome, Record, StoreDamaged};
use crate::core::policy::RefusedMany;
use crate::daemon::health::Part;
use crate::daemon::recover::remove_sealed_leftovers;
use crate::daemon::serve::record_last_refusals;
use crate::shell::fuse::{FuseEvent, ProgramFault};

/// A recording of `source` that is due, with the file it was sealed from still in `.taking`; and that file.
async fn left_behind(archive: &Archive, source: &str, id: u8) -> (RecordingId, PathBuf) {
    let (dir, source): (_, SourceId) = (archive.dir.path().join("spool"), source.parse().unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    make_folder(&dir, &source, None).unwrap();
    std::fs::write(dir.join(source.as_str()).join("b.mp4"), b"sealed already").unwrap();
    let spool = Spool::open(&dir).unwrap();
    let taken = spool.take(&source, "b.mp4".as_ref()).unwrap_or_else(|error| panic!("{error}"));
    let time = archive.service.clock.now().time;
    let sealed = Sealed {
        kind: Kind::Footage,
        start: time,
        end: time,
        class: "fortnight".parse().unwrap(),
        bytes: 14,
        sha256: ingest::sha256_of(taken.file()).unwrap(),
        media: "video/mp4".into(),
        earliest: time,
        latest: time,
        spool: Some(ingest::spool_file(taken.facts())),
    };
    drop(taken);
    let id = RecordingId::from_bytes([id; 16]);
    let draft = Draft::fact(Event::RecordingSealed(sealed)).about(Subject::recording(id, source.clone()));
    let _sealed = archive.service.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await.unwrap();
    let left = spool.leftovers(&source).unwrap();
    let [leftover] = left.as_slice() else { panic!("{left:?}") };
    (id, dir.join(source.as_str()).join(".taking").join(&leftover.slot).join("b.mp4"))
}

fn open_to(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn inv7_what_is_due_waits_while_its_file_in_the_spool_cannot_be_looked_for() {
    with_archive(async |archive, other| {
        // The second is a source that the policy does not know any more.
        for (n, source) in [(8, "entrance"), (9, "closed-wing")] {
            let (id, file) = left_behind(&archive, source, n).await;
            let taking = file.parent().unwrap().parent().unwrap();
            let due = || Some(BTreeSet::from([id, other]));
            open_to(taking, 0o777);
            assert_eq!(remove_sealed_leftovers(&archive.service, due()).await, [id].into(), "{source}");
            open_to(taking, 0o700);
            assert!(file.exists());
            assert_eq!(remove_sealed_leftovers(&archive.service, due()).await, [].into(), "{source}");
            assert!(!file.exists());
        }
    });
}

#[test]
fn inv7_a_spool_that_cannot_be_opened_keeps_what_came_from_it_and_one_that_is_not_there_keeps_nothing() {
    with_archive(async |archive, other| {
        let (id, _) = left_behind(&archive, "entrance", 8).await;
        let (spool, aside) = (archive.dir.path().join("spool"), archive.dir.path().join("aside"));
        std::fs::rename(&spool, aside).unwrap();
        let due = || Some(BTreeSet::from([id, other]));
        assert_eq!(remove_sealed_leftovers(&archive.service, due()).await, [].into());
        std::fs::write(&spool, b"no directory").unwrap();
        assert_eq!(remove_sealed_leftovers(&archive.service, due()).await, [id].into());
    });
}

#[test]
fn inv7_a_stop_leaves_what_is_due_to_the_next_start() {
    with_archive(async |archive, _| {
        let (id, file) = left_behind(&archive, "entrance", 8).await;
        archive.service.stopping.send_replace(true);
        let left = remove_sealed_leftovers(&archive.service, Some([id].into())).await;
        assert!(left == [id].into() && file.exists());
    });
}

#[test]
fn inv7_a_run_destroys_no_recording_whose_file_may_still_be_in_the_spool() {
    with_archive(async |archive, _| {
        let (id, file) = left_behind(&archive, "closed-wing", 8).await;
        let taking = file.parent().unwrap().parent().unwrap();
        archive.service.health.degrade(Part::Store, "A recording could not be destroyed.");
        open_to(taking, 0o777);
        let report = archive.service.run_plan(None).await.unwrap();
        assert_eq!((report.purged, report.held, report.failed), (0, 0, 1));
        assert!(archive.service.health.is_degraded(Part::Store));
        open_to(taking, 0o700);
        let report = archive.service.run_plan(None).await.unwrap();
        assert_eq!((report.purged, report.held, report.failed), (1, 0, 0));
        assert!(!file.exists() && archive.state().await.recording(&id).is_none());
        assert!(!archive.service.health.is_degraded(Part::Store), "nothing is left undone");
    });
}

#[test]
fn inv2_counts_that_could_not_be_recorded_are_recorded_before_the_stop() {
    with_archive(async |archive, _| {
        let owed = RefusedMany { uid: 65_534, count: 7, since_up_micros: 0 };
        archive.service.refusals_owed.lock().await.push(owed);
        record_last_refusals(&archive.service).await;
        record_last_refusals(&archive.service).await;
        let counted = |record: &Record| match &record.event {
            Event::AccessRefusedMany(many) => Some(many.count),
            _ => None,
        };
        assert_eq!(archive.records().iter().filter_map(counted).collect::<Vec<_>>(), [7]);
    });
}

#[test]
fn what_the_mount_tells_is_recorded_in_order_and_want_of_memory_is_no_damage() {
    with_archive(async |archive, id| {
        let (tell, events) = tokio::sync::mpsc::unbounded_channel();
        let session = SessionId::from_bytes([3; 16]);
        archive.service.sessions.insert(session, archive.live(id));
        let damaged = |offset, error| FuseEvent::DamagedRead { session, offset, error };
        tell.send(damaged(1, std::io::Error::from_raw_os_error(libc::ENOMEM))).unwrap();
        tell.send(damaged(2, std::io::Error::from_raw_os_error(libc::EMFILE))).unwrap();
        tell.send(damaged(3, std::io::Error::other(ProgramFault))).unwrap();
        for uid in 100..110 {
            tell.send(FuseEvent::ForeignAccess { session, uid, pid: 1, executable: None }).unwrap();
        }
        drop(tell);
        archive.service.clone().follow_mount(events).await;
        assert_eq!(archive.count("store.damaged"), 0);
        assert!(archive.state().await.damaged().is_empty());
        let tried: Vec<u64> = archive
            .texts()
            .iter()
            .filter_map(|(_, detail)| Some(detail.who.as_ref()?.uid))
            .map(u64::from)
            .filter(|uid| (100..110).contains(uid))
            .collect();
        assert_eq!(tried, (100..110).collect::<Vec<u64>>());

        let (tell, events) = tokio::sync::mpsc::unbounded_channel();
        tell.send(damaged(4, std::io::Error::from_raw_os_error(libc::EIO))).unwrap();
        drop(tell);
        archive.service.clone().follow_mount(events).await;
        let said = |record: &Record| match &record.event {
            Event::StoreDamaged(StoreDamaged { offset, .. }) => *offset,
            _ => None,
        };
        assert_eq!(archive.records().iter().filter_map(said).collect::<Vec<_>>(), [4]);
        assert!(archive.state().await.damaged().contains_key(&id));
    });
}

#[test]
fn inv9_a_session_whose_server_failed_inside_the_program_ends_with_an_entry_that_says_so() {
    with_archive(async |archive, id| {
        let request = OpenRequest { reason: "incident".into(), ..OpenRequest::default() };
        let opening = archive.service.open_recording(ready(Ok(games())), id.to_string(), request);
        let opened = opening.await.unwrap();
        let (tell, events) = tokio::sync::mpsc::unbounded_channel();
        tell.send(FuseEvent::Failed(opened.session)).unwrap();
        drop(tell);
        archive.service.clone().follow_mount(events).await;
        for _ in 0..400 {
            if archive.count("access.closed") > 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let records = archive.records();
        let end = records.iter().find(|record| record.event.name() == "access.closed");
        let end = end.expect("no end was recorded");
        let Event::AccessClosed(usage) = &end.event else { panic!("{end:?}") };
        assert_eq!((usage.why.as_str(), end.outcome), ("failed", Outcome::Failed));
        assert!(archive.state().await.sessions().is_empty());
        archive.verify();
    });
}
