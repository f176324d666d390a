//! `store scrub`: what it finds in every part of an object and a key, what it leaves alone, that it ends and goes on.

use std::path::PathBuf;

use super::*;
use crate::core::event::{Outcome, Record, StoreScrubbed};
use crate::core::format::header::HEADER_BYTES;
use crate::core::format::layout::FOOTER_BYTES;
use crate::core::ledger::entry::Entry;
use crate::core::scrub::{Counts, Place};
use crate::shell::bus::archive::{ScrubProgress, ScrubRequest};
use crate::shell::disk::scrub_place;

/// Sealed by `seal`.
const PLAIN: u64 = 15;
/// The part that is harmed, the bytes then (none: no file), the word and the offset that must be found.
type Case = (&'static str, Option<Vec<u8>>, &'static str, Option<usize>);

fn technician() -> Person {
    person(2, "bin")
}

impl Archive {
    /// Lets the technician administer.
    async fn staff(&self) {
        let policy = POLICY
            .replace("[roles]\n", "[roles]\ntechnician = { verbs = [\"administer\"] }\n")
            .replace("[grants]\n", "[grants]\ncares = { user = \"bin\", role = \"technician\" }\n");
        std::fs::write(self.dir.path().join("policy.toml"), policy).unwrap();
        assert!(self.service.load_policy(Detail::default()).await.is_ok());
    }
    async fn order(&self, recording: Option<RecordingId>) -> Result<(), RefusalKind> {
        let recording = recording.map(|id| id.to_string());
        let request = ScrubRequest { rate_mib_s: Some(0), recording, restart: false };
        self.service.scrub_for(technician(), request).await.map_err(|refusal| refusal.kind)
    }
    async fn scrub(&self, recording: Option<RecordingId>) -> ScrubProgress {
        self.order(recording).await.unwrap();
        self.ended().await
    }
    async fn ended(&self) -> ScrubProgress {
        for _ in 0..2000 {
            let progress = self.service.scrub_numbers();
            if !progress.running {
                return progress;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the scrub does not end");
    }
    fn all(&self) -> Vec<Record> {
        let lines = self.service.reader.entries(0, u64::MAX, usize::MAX).unwrap();
        let record = |line: &crate::daemon::ledger::Line| {
            Record::from_entry(&Entry::parse(&line.line).unwrap()).unwrap()
        };
        lines.iter().map(record).collect()
    }
    /// `what` and `offset` of each `store.damaged`.
    fn harms(&self) -> Vec<(String, Option<u64>)> {
        let harm = |record: Record| match record.event {
            Event::StoreDamaged(damaged) => Some((damaged.what, damaged.offset)),
            _ => None,
        };
        self.all().into_iter().filter_map(harm).collect()
    }
    fn last_scrubbed(&self) -> (Outcome, StoreScrubbed) {
        let scrubbed = |record: Record| match record.event {
            Event::StoreScrubbed(scrubbed) => Some((record.outcome, scrubbed)),
            _ => None,
        };
        self.all().into_iter().filter_map(scrubbed).next_back().unwrap()
    }
    fn object(&self, id: RecordingId) -> PathBuf {
        self.service.store.path(id)
    }
    async fn described_as_damaged(&self, id: RecordingId) -> bool {
        self.service.describe_one(games(), id.to_string()).await.unwrap().damaged
    }
    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

#[test]
fn a_sound_store_is_read_whole_and_leaves_two_entries() {
    with_archive(async |archive, id| {
        archive.staff().await;
        seal(&archive.service, archive.dir.path()).await;
        let before = archive.entries();
        let progress = archive.scrub(None).await;
        assert_eq!((progress.counts.recordings, progress.counts.damaged, progress.counts.unread), (2, 0, 0));
        assert!(progress.counts.keys >= 4, "two data keys, the log key, the epoch key: {progress:?}");
        assert!(progress.counts.bytes >= 2 * (PLAIN + 300), "{progress:?}");
        let (outcome, scrubbed) = archive.last_scrubbed();
        assert_eq!((outcome, scrubbed.why.as_str(), scrubbed.recordings), (Outcome::Done, "complete", 2));
        assert_eq!(archive.entries(), before + 2, "the order and the end");
        assert_eq!(scrub_place::load(&archive.state_dir()).unwrap(), None, "the place is forgotten");
        assert!(!archive.described_as_damaged(id).await);
    });
}

#[test]
fn inv10_harm_in_each_part_of_an_object_is_found_marked_and_taken_back_when_it_is_mended() {
    with_archive(async |archive, id| {
        archive.staff().await;
        let path = archive.object(id);
        let whole = std::fs::read(&path).unwrap();
        let (header, len) = (HEADER_BYTES, whole.len());
        let plain = usize::try_from(PLAIN).unwrap();
        let flip = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            Some(bytes)
        };
        let trailer_at = header + plain + 16;
        let cases: [Case; 11] = [
            ("magic", flip(0), "object-damaged", Some(0)),
            ("id", flip(20), "object-damaged", Some(12)),
            ("reserved byte of the header", flip(header - 1), "object-damaged", None),
            ("chunk", flip(header + 3), "object-damaged", Some(header)),
            ("tag", flip(header + plain + 2), "object-damaged", Some(header)),
            ("trailer", flip(trailer_at + 5), "object-damaged", Some(trailer_at)),
            ("tag of the trailer", flip(len - FOOTER_BYTES - 1), "object-damaged", Some(trailer_at)),
            ("footer", flip(len - FOOTER_BYTES), "object-damaged", Some(len - FOOTER_BYTES)),
            ("cut short", Some(whole[..len - 1].to_vec()), "object-damaged", None),
            ("empty", Some(Vec::new()), "object-damaged", Some(0)),
            ("missing", None, "object-missing", None),
        ];
        for (part, bytes, what, offset) in cases {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let progress = archive.scrub(Some(id)).await;
            assert_eq!((progress.counts.damaged, progress.counts.unread), (1, 0), "{part}");
            let (found, at) = archive.harms().pop().unwrap();
            assert_eq!(found, what, "{part}");
            assert!(offset.is_none_or(|offset| at == Some(offset as u64)), "{part} at {at:?}");
            let rows = archive.service.scrub_findings_for(technician()).await.unwrap();
            assert!(rows.len() == 1 && rows[0].recording == Some(id), "{part}: {rows:?}");

            assert!(archive.described_as_damaged(id).await, "{part}");
            let condition = archive.service.health.condition();
            assert!(
                condition.state == "degraded" && condition.why.contains("1 recording is damaged"),
                "{condition:?}"
            );
            let harms = archive.harms().len();
            let asked = OpenRequest { reason: "incident".into(), ..OpenRequest::default() };
            let refused = archive
                .service
                .open_recording(std::future::ready(Ok(games())), id.to_string(), asked)
                .await
                .unwrap_err();
            assert!(refused.sentence.contains("store scrub --recording"), "{part}: {refused}");
            archive.scrub(Some(id)).await;
            assert_eq!(archive.harms().len(), harms, "{part}: what is known is not said again");

            std::fs::write(&path, &whole).unwrap();
            let progress = archive.scrub(Some(id)).await;
            assert_eq!(progress.counts.damaged, 0, "{part} mended");
            assert!(!archive.described_as_damaged(id).await);
            assert!(!archive.service.health.condition().why.contains("damaged"));
        }
    });
}

#[test]
fn objects_that_were_swapped_or_belong_to_another_time_are_found() {
    with_archive(async |archive, one| {
        archive.staff().await;
        let two = seal(&archive.service, archive.dir.path()).await;
        let (a, b) = (archive.object(one), archive.object(two));
        let aside = archive.dir.path().join("aside");
        std::fs::rename(&a, &aside).unwrap();
        std::fs::rename(&b, &a).unwrap();
        std::fs::rename(&aside, &b).unwrap();
        assert_eq!(archive.scrub(None).await.counts.damaged, 2);
        std::fs::rename(&a, &aside).unwrap();
        std::fs::rename(&b, &a).unwrap();
        std::fs::rename(&aside, &b).unwrap();
        assert_eq!(archive.scrub(None).await.counts.damaged, 0);
        assert!(!archive.described_as_damaged(one).await && !archive.described_as_damaged(two).await);
        let sound = archive.all().into_iter().filter(|it| it.event.name() == "store.scrubbed");
        assert_eq!(
            sound.filter(|it| it.subject.recording.is_some()).count(),
            2,
            "each is said to be sound again"
        );

        // The ledger says otherwise: an object that opens under its key and is not what was sealed.
        let service = archive.service.clone();
        let time = service.clock.now().time;
        let id = RecordingId::from_bytes([8; 16]);
        let secret = Secret::generate().unwrap();
        service.slots.create(SlotKind::Data, *id.as_bytes(), &secret).unwrap();
        let sealer =
            crate::shell::crypt::ChunkSealer::new(&secret, crate::core::format::header::Header { id });
        let trailer = crate::core::format::trailer::Trailer {
            v: 1,
            id,
            source: "entrance".parse().unwrap(),
            kind: Kind::Footage,
            start: time,
            end: time,
            sealed: time,
            bytes: 0,
            sha256: Digest([0; 32]),
            media: "video/mp4".into(),
            class: "fortnight".parse().unwrap(),
            earliest: None,
            latest: None,
            name: None,
            subject: None,
        };
        service.store.seal(&b"other pictures"[..], sealer, |_, _| trailer).unwrap().link().unwrap();
        let sealed = Sealed {
            kind: Kind::Footage,
            start: time,
            end: time,
            class: "fortnight".parse().unwrap(),
            bytes: 14,
            sha256: Digest([1; 32]),
            media: "video/mp4".into(),
            earliest: time.saturating_add_micros(3_600_000_000),
            latest: time.saturating_add_micros(3_600_000_000),
            spool: None,
        };
        let draft = Draft::fact(Event::RecordingSealed(sealed));
        let draft = draft.about(Subject::recording(id, "entrance".parse().unwrap()));
        let _sealed = service.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await.unwrap();
        assert_eq!(archive.scrub(Some(id)).await.counts.damaged, 1);
        assert_eq!(archive.harms().pop().unwrap().0, "object-differs");
    });
}

#[test]
fn a_bad_copy_of_a_key_is_written_again_and_a_lost_key_is_found() {
    with_archive(async |archive, id| {
        archive.staff().await;
        let copies = ["1.a", "1.b"].map(|name| archive.state_dir().join("keys").join(name));
        let spoil = |path: &PathBuf| {
            let mut bytes = std::fs::read(path).unwrap();
            // Every slot in use: its check sum no longer matches.
            for slot in bytes.chunks_mut(128).filter(|slot| slot.iter().any(|byte| *byte != 0)) {
                slot[40] ^= 1;
            }
            std::fs::write(path, bytes).unwrap();
        };
        for bad in [1, 0] {
            spoil(&copies[bad]);
            let progress = archive.scrub(None).await;
            assert!(progress.counts.repaired >= 3 && progress.counts.damaged == 0, "{progress:?}");
            assert_eq!(std::fs::read(&copies[0]).unwrap(), std::fs::read(&copies[1]).unwrap());
            assert_eq!(archive.harms().pop().unwrap().0, "key-copy");
            assert!(!archive.described_as_damaged(id).await, "a repaired copy spoils nothing");
            assert_eq!(archive.scrub(None).await.counts.repaired, 0);
        }
        let keep = std::fs::read(&copies[0]).unwrap();
        copies.iter().for_each(spoil);
        assert_eq!(archive.scrub(Some(id)).await.counts.damaged, 1);
        assert_eq!(archive.harms().pop().unwrap(), ("key-missing".to_owned(), None));
        copies.iter().for_each(|copy| std::fs::write(copy, &keep).unwrap());
        assert_eq!(archive.scrub(Some(id)).await.counts.damaged, 0);
        assert!(!archive.described_as_damaged(id).await);
    });
}

#[test]
fn names_that_no_entry_explains_are_one_entry_of_each_sort() {
    with_archive(async |archive, id| {
        archive.staff().await;
        archive.service.scrubs.find_strays_at_once();
        let objects = archive.state_dir().join("objects");
        for name in ["notes.txt", "aa"] {
            std::fs::write(objects.join(name), "who left this here").unwrap();
        }
        let stray = RecordingId::from_bytes([9; 16]);
        let folder = archive.object(stray).parent().unwrap().to_owned();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::copy(archive.object(id), archive.object(stray)).unwrap();
        let progress = archive.scrub(None).await;
        assert_eq!((progress.counts.recordings, progress.counts.damaged), (1, 3));
        let harms: Vec<_> = archive.harms().into_iter().map(|(what, _)| what).collect();
        assert_eq!(harms, ["object-unknown", "object-foreign"]);
        assert!(archive.object(stray).exists() && objects.join("notes.txt").exists(), "nothing is removed");
        assert!(!archive.described_as_damaged(id).await);
    });
}

#[test]
fn one_at_a_time_by_administrators_alone_and_each_question_is_an_entry() {
    with_archive(async |archive, id| {
        archive.staff().await;
        let mut before = archive.entries();
        let mut one_more = |archive: &Archive| {
            before += 1;
            assert_eq!(archive.entries(), before);
        };
        for stranger in [games(), stranger()] {
            let refused = archive.service.scrub_for(stranger, ScrubRequest::default()).await.unwrap_err();
            assert_eq!(refused.kind, RefusalKind::Denied);
            one_more(&archive);
        }
        assert!(archive.service.scrub_findings_for(games()).await.is_err());
        one_more(&archive);
        let missing = RecordingId::from_bytes([9; 16]);
        assert_eq!(archive.order(Some(missing)).await, Err(RefusalKind::NotFound));
        one_more(&archive);
        let cancelled = archive.service.cancel_scrub_for(technician()).await;
        assert_eq!(cancelled.unwrap_err().kind, RefusalKind::Conflict);
        one_more(&archive);
        let turn = archive.service.scrubs.begin().unwrap();
        assert_eq!(archive.order(Some(id)).await, Err(RefusalKind::Conflict));
        one_more(&archive);
        drop(turn);
        assert_eq!(archive.scrub(Some(id)).await.counts.recordings, 1);
    });
}

#[test]
fn it_goes_on_from_its_place_and_a_damaged_place_begins_anew() {
    with_archive(async |archive, one| {
        archive.staff().await;
        let two = seal(&archive.service, archive.dir.path()).await;
        let since = archive.service.clock.now().time;
        let counts = Counts { recordings: 1, bytes: 400, damaged: 1, ..Counts::default() };
        let place = Place { after: Some(one.min(two)), counts, ..Place::start(since) };
        scrub_place::save(&archive.state_dir(), &place).unwrap();
        let progress = archive.scrub(None).await;
        assert_eq!((progress.counts.recordings, progress.counts.damaged), (2, 1), "one read before, one now");
        assert_eq!(archive.last_scrubbed().1.since, Some(since));
        scrub_place::save(&archive.state_dir(), &place).unwrap();
        std::fs::write(archive.state_dir().join("scrub"), "rubbish").unwrap();
        assert_eq!(archive.scrub(None).await.counts.recordings, 2);
        assert_eq!(archive.last_scrubbed().1.since, None);

        scrub_place::save(&archive.state_dir(), &place).unwrap();
        let restart = ScrubRequest { restart: true, ..ScrubRequest::default() };
        archive.service.scrub_for(technician(), restart).await.unwrap();
        assert_eq!(archive.ended().await.counts.damaged, 0, "the place was passed over");
    });
}

#[test]
fn a_service_that_stops_ends_the_scrub_with_an_entry_and_keeps_its_place() {
    with_archive(async |archive, _| {
        archive.staff().await;
        // Half a minute at the slowest pace: 32 MiB of reading.
        let path = archive.dir.path().join("long.mp4");
        std::fs::write(&path, vec![7; 8 << 20]).unwrap();
        for _ in 0..4 {
            let service = archive.service.clone();
            let path = path.clone();
            let sealing = tokio::task::spawn_blocking(move || {
                let file = File::open(path).unwrap();
                let incoming = Incoming {
                    file: &file,
                    source: "entrance".parse().unwrap(),
                    start: None,
                    end: None,
                    modified: None,
                    born: None,
                    name: None,
                    subject: None,
                    spool: None,
                    by: None,
                    detail: Detail::default(),
                };
                service.seal_blocking(incoming, || Ok(true)).unwrap().into_value()
            });
            sealing.await.unwrap();
        }
        let slow = ScrubRequest { rate_mib_s: Some(1), ..ScrubRequest::default() };
        archive.service.scrub_for(technician(), slow).await.unwrap();
        archive.service.scrubs.stop().await;
        let progress = archive.service.scrub_numbers();
        assert!(!progress.running && progress.counts.recordings < 5, "{progress:?}");
        let (outcome, scrubbed) = archive.last_scrubbed();
        assert_eq!((outcome, scrubbed.why.as_str()), (Outcome::Failed, "service-stopped"));
        let place = scrub_place::load(&archive.state_dir()).unwrap().unwrap();
        assert_eq!(place.counts.recordings, progress.counts.recordings);
        assert_eq!(archive.order(None).await, Err(RefusalKind::Conflict), "none begins any more");
    });
}

#[test]
fn inv7_what_is_sealed_and_purged_meanwhile_is_no_finding() {
    with_archive(async |archive, _| {
        archive.staff().await;
        let upkeep = async {
            for _ in 0..12 {
                let id = seal(&archive.service, archive.dir.path()).await;
                archive.plan_purge(id).await;
                let service = archive.service.clone();
                let destroyed = tokio::task::spawn_blocking(move || {
                    service.scrubs.leave(id);
                    service.slots.destroy(SlotKind::Data, id.as_bytes()).unwrap();
                });
                destroyed.await.unwrap();
                archive.service.run_plan(None).await.unwrap();
            }
        };
        let reading = async {
            for _ in 0..12 {
                let progress = archive.scrub(None).await;
                assert_eq!((progress.counts.damaged, progress.counts.unread), (0, 0), "{progress:?}");
            }
        };
        tokio::join!(upkeep, reading);
        assert_eq!(archive.harms(), []);
        assert_eq!(archive.scrub(None).await.counts.recordings, 1);
    });
}
