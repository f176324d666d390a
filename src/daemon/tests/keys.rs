//! The master key changes, is backed up and tried: what the ledger says of it, and what a crash at any call leaves.

use std::path::PathBuf;

use super::*;
use crate::core::event::{KeyRotation, Outcome};
use crate::daemon::health::Part;
use crate::shell::disk::fault::{Mode, Op, watch};
use crate::shell::disk::master_place::Which;

const ADMINISTERED: &str = r#"
administrator = { verbs = ["administer"] }
[grants]
runs = { user = "sync", role = "administrator" }
"#;

fn administered(config: &mut Config) {
    std::fs::write(&config.policy, POLICY.replace("[grants]\n", &ADMINISTERED[1..])).unwrap();
}

#[test]
fn inv7_a_rotation_is_ordered_and_done_and_an_old_copy_of_the_key_opens_nothing() {
    with_archive_of(administered, async |archive, id| {
        let dir = archive.dir.path();
        let old = key(dir);
        let witness = File::open(dir.join("key")).unwrap();
        archive.service.rotate_keys_for(admin(), Some("a clerk left".into())).await.unwrap();
        assert_eq!(archive.service.slots.generation(), 2);
        assert_eq!(names(&dir.join("state/keys")), ["2.a", "2.b"]);
        assert!(!dir.join("key.next").exists() && !key(dir).is_same_as(&old));
        let mut left = Vec::new();
        std::io::Read::read_to_end(&mut &witness, &mut left).unwrap();
        assert!(left.iter().all(|byte| *byte == 0), "the old key is overwritten where it lay");
        archive.service.slots.open_secret(SlotKind::Data, id.as_bytes()).unwrap();
        let copy = KeySlots::open_in_force(&dir.join("state/keys"), vec![old]);
        assert!(copy.is_err());
        assert_eq!((archive.count("key.rotation-ordered"), archive.count("key.rotated")), (1, 1));
        let said: Vec<_> = archive.texts().into_iter().filter_map(|(_, detail)| detail.ground).collect();
        assert_eq!(said, ["a clerk left"]);
        archive.verify();
    });
}

#[test]
fn inv8_only_who_administers_changes_or_takes_the_key_and_the_refusal_is_an_entry() {
    with_archive_of(administered, async |archive, _| {
        let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_owned();
        let service = &archive.service;
        let refused = service.rotate_keys_for(games(), None).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Denied);
        let refused = service.backup_keys_for(games(), vec![recipient.clone()]).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Denied);
        let refused = service.check_backup_for(games(), 1, "x".into()).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Denied);
        assert_eq!(service.slots.generation(), 1);
        let outcomes = archive.records().into_iter().filter(|record| record.event.name().starts_with("key."));
        assert_eq!(outcomes.map(|it| it.outcome).collect::<Vec<_>>(), [Outcome::Denied; 3]);
        let unread = service.backup_keys_for(admin(), vec!["age1x".into()]).await.unwrap_err();
        assert_eq!(unread.kind, RefusalKind::InvalidArgument);
        archive.verify();
    });
}

#[cfg(feature = "ctl")]
#[test]
fn a_backup_opens_for_its_recipient_holds_the_key_in_force_and_no_other_after_a_rotation() {
    use crate::shell::crypt::KeyBackup;
    with_archive_of(administered, async |archive, _| {
        let service = &archive.service;
        let identity = age::x25519::Identity::generate();
        let to = vec![identity.to_public().to_string()];
        let (sealed, entry) = service.backup_keys_for(admin(), to.clone()).await.unwrap();
        let backup = KeyBackup::parse(&age::decrypt(&identity, &sealed).unwrap()).unwrap();
        assert!(backup.master.is_same_as(&key(archive.dir.path())));
        let record = archive.records().into_iter().find(|record| record.seq == entry).unwrap();
        let Event::KeyBackedUp(said) = record.event else { panic!("{:?}", record.event) };
        let mut digest = crate::shell::crypt::BulkSha256::new();
        digest.update(&sealed);
        assert_eq!((said.generation, said.recipients, said.sha256), (1, 1, digest.finish()));
        service.check_backup_for(admin(), backup.generation, backup.answer()).await.unwrap();
        service.rotate_keys_for(admin(), None).await.unwrap();
        let refused =
            service.check_backup_for(admin(), backup.generation, backup.answer()).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Conflict);
        let checks = archive.records().into_iter().filter(|it| it.event.name() == "key.backup-checked");
        assert_eq!(checks.map(|it| it.outcome).collect::<Vec<_>>(), [Outcome::Done, Outcome::Failed]);
        archive.verify();
    });
}

#[test]
fn a_key_that_was_put_back_is_an_entry_of_the_next_start() {
    let restored = |config: &mut Config| {
        let note = config.state_dir.join("keys").join(crate::shell::disk::slots::RESTORED_NOTE);
        std::fs::write(note, "by greffierctl keys restore\n").unwrap();
    };
    with_archive_of(restored, async |archive, _| {
        assert_eq!(archive.count("key.restored"), 1);
        assert_eq!(names(&archive.dir.path().join("state/keys")), ["1.a", "1.b"]);
    });
}

#[test]
fn a_change_whose_old_credential_cannot_be_removed_stays_open_until_it_can() {
    with_archive_of(administered, async |archive, _| {
        let (dir, service) = (archive.dir.path(), &archive.service);
        let said = Detail { ground: Some("a disk left".into()), ..Detail::default() };
        let one_to_two = KeyRotation { from: 1, to: 2 };
        let ordered = Draft::fact(Event::KeyRotationOrdered(one_to_two.clone())).with_detail(said);
        let _entry = service.ledger.record(move |_| Ok(Proposal::new(ordered, ()))).await.unwrap();
        let (new, same) = (MasterKey::from_bytes(&[9; 32]), MasterKey::from_bytes(&[9; 32]));
        service.master_place.create(Which::Next, &new).unwrap();
        service.slots.rewrap(same).unwrap();
        // Committed. Now a folder of this name stands in the way, which no call here removes.
        std::fs::rename(dir.join("key"), dir.join("old")).unwrap();
        std::fs::create_dir(dir.join("key")).unwrap();

        service.resume_rotation().await;
        assert!(service.health.is_degraded(Part::Rotation));
        let refused = service.rotate_keys_for(admin(), None).await.unwrap_err();
        assert!(refused.sentence.contains("run `greffierctl keys rotate` again"), "{refused}");
        assert_eq!(archive.state().await.rotation(), Some(&one_to_two));
        let ended = |archive: &Archive| (archive.count("key.rotated"), archive.count("key.rotation-failed"));
        assert_eq!((archive.count("key.rotation-ordered"), ended(&archive)), (1, (0, 0)));
        let denied = service.rotate_keys_for(games(), None).await.unwrap_err();
        assert_eq!(denied.kind, RefusalKind::Denied, "who may not ask learns nothing of it");

        std::fs::remove_dir(dir.join("key")).unwrap();
        std::fs::rename(dir.join("old"), dir.join("key")).unwrap();
        service.rotate_keys_for(admin(), None).await.unwrap();
        assert_eq!((ended(&archive), service.slots.generation()), ((2, 0), 3));
        let ends = archive.records().into_iter().filter_map(|record| match record.event {
            Event::KeyRotated(rotation) => Some((rotation.from, rotation.to)),
            _ => None,
        });
        assert_eq!(ends.collect::<Vec<_>>(), [(1, 2), (2, 3)]);
        assert!(archive.state().await.rotation().is_none() && !service.health.is_degraded(Part::Rotation));
        archive.verify();
    });
}

/// One run of the service, ended as a crash ends it, but that its threads stop.
fn life<T, F: Future<Output = T>>(dir: &Path, config: Config, test: impl FnOnce(Archive) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let state = StateDir::open(&dir.join("state")).unwrap();
        let assembled = assemble(config, &state, &Environment::default()).await.unwrap();
        let Assembled { service, writer, second_place } = assembled;
        let ledger = service.ledger.clone();
        let place = tempfile::tempdir().unwrap();
        let answer = test(Archive { dir: place, _state: state, service }).await;
        ledger.stop().await;
        tokio::task::spawn_blocking(move || writer.join()).await.unwrap().unwrap();
        second_place.finish().await;
        answer
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    answer
}

/// The Nth call of a rotation fails so; what it was, or nothing when there are fewer calls.
fn case(nth: u64, mode: Mode) -> Option<(Op, PathBuf)> {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, state) = set_up(dir.path());
    drop(state);
    administered(&mut config);
    let faults = watch(dir.path());
    let id = life(dir.path(), config.clone(), async |archive| {
        let id = seal(&archive.service, dir.path()).await;
        faults.plan(nth, mode);
        let _may_fail = archive.service.rotate_keys_for(admin(), None).await;
        id
    });
    let met = faults.clear();
    let case = format!("call {nth} {mode:?} {met:?}");
    life(dir.path(), config, async |archive| {
        let slots = &archive.service.slots;
        assert!(slots.open_secret(SlotKind::Data, id.as_bytes()).is_ok(), "{case}");
        let generation = slots.generation();
        assert_eq!(
            names(&dir.path().join("state/keys")),
            [format!("{generation}.a"), format!("{generation}.b")],
            "{case}"
        );
        assert!(!dir.path().join("key.next").exists(), "{case}");
        let in_place = key(dir.path());
        assert!(slots.with_master(|master, _| master.is_same_as(&in_place)), "{case}");
        let ordered = archive.count("key.rotation-ordered");
        let ended = archive.count("key.rotated") + archive.count("key.rotation-failed");
        assert_eq!(
            (ordered, archive.state().await.rotation()),
            (ended, None),
            "{case}: every order has its end"
        );
        assert_eq!(archive.count("key.rotated") as u64, generation - 1, "{case}");
        assert_eq!(archive.count("store.damaged"), 0, "{case}");
    });
    met
}

#[test]
fn every_call_of_a_rotation_may_be_the_last_and_the_next_start_ends_it() {
    let modes = [
        Mode::DiesBefore,
        Mode::Refused,
        Mode::DiesAfter,
        Mode::DoneButFailed,
        Mode::DiesWithin,
        Mode::Short,
    ];
    // Each call in one mode, in turn; in a soak in all of them. The files below are tried in every mode on their own.
    #[expect(clippy::disallowed_methods, reason = "who wants a longer test says so from outside")]
    let soak = std::env::var_os("GREFFIER_SOAK").is_some();
    let mut met = Vec::new();
    for turn in 0..if soak { modes.len() } else { 1 } {
        let mode = |nth: u64| modes[(usize::try_from(nth).unwrap() + turn) % modes.len()];
        met.extend((1..).map_while(|nth| case(nth, mode(nth))));
    }
    // Other threads of the service make calls meanwhile, so which call is the Nth may shift from run to run: each of these
    // makes several. That every single call is met, the tests of key files and credential assert.
    for name in ["ledger/tail", "key.next", "keys/2.", "keys/1."] {
        assert!(met.iter().any(|(_, path)| path.to_string_lossy().contains(name)), "{name} was never met");
    }
}
