//! What stands beside a ledger: witnesses that a trust policy names, and the store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod ledger_support;

use std::fs;
use std::path::Path;

use ed25519_dalek::SigningKey;
use greffier::core::format::header::Header;
use greffier::core::format::layout::{Footer, Layout};
use greffier::core::ids::RecordingId;
use greffier::verify::{Failure, Options, Source, Verdict, verify_ledger};
use ledger_support::story::{RECORDING, exported, found, plan, purge, seal, story};
use ledger_support::witness::{Witness, cosigned, policy, witness};
use ledger_support::{Site, write};

fn judge(site: &Site, dir: &Path, policy: &str, pinned: &[String]) -> Result<Verdict, Failure> {
    let options = Options::new(Source::Path(dir.to_owned()), site.log.public.clone());
    let pinned = pinned.iter().map(|text| ("pinned".to_owned(), text.clone())).collect();
    verify_ledger(&Options { policy: Some(("policy".into(), policy.into())), pinned, ..options })
}

#[test]
fn a_head_must_be_cosigned_by_the_quorum() {
    let site = story();
    let (a, b, c, stranger) = (witness(31), witness(32), witness(33), witness(34));
    let policy = policy(&site, &[&a, &b, &c]);
    let export = exported(&site);
    let outcome = |head: &str| {
        write(export.path(), "checkpoint", head.as_bytes());
        let verdict = judge(&site, export.path(), &policy, &[]).unwrap();
        (found(&verdict), verdict.exit_code())
    };
    assert_eq!(outcome(&site.head()), (vec![("quorum-missing", None)], 3));
    assert_eq!(outcome(&cosigned(&site.head(), &[&a])), (vec![("quorum-missing", None)], 3));
    assert_eq!(outcome(&cosigned(&site.head(), &[&a, &stranger])), (vec![("quorum-missing", None)], 3));
    assert_eq!(outcome(&cosigned(&site.head(), &[&a, &c])), (vec![], 0));
    assert_eq!(outcome(&cosigned(&site.head(), &[&stranger, &b, &c, &a])), (vec![], 0));
    // A line under the name and id of a witness that it did not make.
    let forged = Witness { private: SigningKey::from_bytes(&[9; 32]), public: b.public.clone() };
    let (findings, code) = outcome(&cosigned(&site.head(), &[&a, &forged, &c]));
    assert_eq!((findings, code), (vec![("cosignature-bad", None)], 1));
}

#[test]
fn a_live_ledger_and_pinned_checkpoints_are_judged_by_the_policy_too() {
    let site = story();
    let (a, b, c) = (witness(31), witness(32), witness(33));
    let policy = policy(&site, &[&a, &b, &c]);
    let live = tempfile::tempdir().unwrap();
    site.live(live.path());
    let verdict = judge(&site, live.path(), &policy, &[]).unwrap();
    assert_eq!(found(&verdict), [("quorum-missing", None)]);

    let export = exported(&site);
    write(export.path(), "checkpoint", cosigned(&site.head(), &[&a, &b]).as_bytes());
    let good = cosigned(&site.head_at(7), &[&b, &c]);
    assert_eq!(found(&judge(&site, export.path(), &policy, &[good]).unwrap()), []);
    let verdict = judge(&site, export.path(), &policy, &[site.head_at(7)]).unwrap();
    assert_eq!(found(&verdict), [("quorum-missing", None)]);
}

#[test]
fn a_policy_of_another_log_or_none_at_all_is_named() {
    let site = story();
    let export = exported(&site);
    let other = ledger_support::Key::new(77).public;
    let verdict = judge(&site, export.path(), &format!("log {other}\nquorum none\n"), &[]).unwrap();
    assert_eq!(found(&verdict), [("quorum-missing", None)]);
    assert!(matches!(judge(&site, export.path(), "nonsense\n", &[]), Err(Failure::Usage(_))));
}

/// An object as sealing leaves it, but for its bytes: nobody here can open it.
fn object(id: &str, plain_bytes: u64) -> Vec<u8> {
    let id: RecordingId = id.parse().unwrap();
    let footer = Footer { layout: Layout::new(plain_bytes).unwrap(), trailer_bytes: 30 };
    let length = usize::try_from(footer.layout.file_bytes(30)).unwrap();
    let mut bytes = Header { id }.encode().to_vec();
    bytes.resize(length - 24, 7);
    bytes.extend(footer.encode());
    bytes
}

fn check_store(site: &Site, store: &Path) -> Vec<(&'static str, Option<u64>)> {
    let export = exported(site);
    let options = Options::new(Source::Path(export.path().to_owned()), site.log.public.clone());
    found(&verify_ledger(&Options { store: Some(store.to_owned()), ..options }).unwrap())
}

#[test]
fn each_recording_has_its_object_and_nothing_else_is_there() {
    let mut site = Site::new();
    seal(&mut site);
    let store = tempfile::tempdir().unwrap();
    fs::create_dir(store.path().join("objects")).unwrap();
    assert_eq!(check_store(&site, store.path()), [("object-missing", None)]);

    let path = format!("objects/aa/{RECORDING}");
    write(store.path(), &path, &object(RECORDING, 9));
    assert_eq!(check_store(&site, store.path()), []);
    for damaged in [
        object(RECORDING, 10),
        object("abaaaaaaaaaaaaaaaaaaaaaaaa", 9),
        object(RECORDING, 9)[1..].to_vec(),
        object(RECORDING, 9)[..70].to_vec(),
        vec![],
    ] {
        write(store.path(), &path, &damaged);
        assert_eq!(check_store(&site, store.path()), [("object-damaged", None)]);
    }
    write(store.path(), &path, &object(RECORDING, 9));
    let stranger = "abaaaaaaaaaaaaaaaaaaaaaaaa";
    write(store.path(), &format!("objects/ab/{stranger}"), &object(stranger, 9));
    write(store.path(), "objects/ab/notes", b"x");
    write(store.path(), "objects/odd", b"x");
    assert_eq!(check_store(&site, store.path()), [("object-stranger", None); 3]);
    fs::remove_dir_all(store.path().join("objects/ab")).unwrap();
    fs::remove_file(store.path().join("objects/odd")).unwrap();

    plan(&mut site);
    assert_eq!(check_store(&site, store.path()), [], "its purge is decided");
    fs::remove_file(store.path().join(&path)).unwrap();
    assert_eq!(check_store(&site, store.path()), [], "and under way");
    write(store.path(), &path, &object(RECORDING, 9));
    site.time_micros += 40 * 86_400_000_000;
    purge(&mut site);
    let findings = check_store(&site, store.path());
    assert!(findings.contains(&("object-left", None)), "{findings:?}");
}

#[test]
fn inv10_links_in_the_store_are_strangers() {
    let mut site = Site::new();
    seal(&mut site);
    let (store, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(elsewhere.path(), RECORDING, &object(RECORDING, 9));
    fs::create_dir_all(store.path().join("objects/aa")).unwrap();
    std::os::unix::fs::symlink(
        elsewhere.path().join(RECORDING),
        store.path().join(format!("objects/aa/{RECORDING}")),
    )
    .unwrap();
    assert_eq!(check_store(&site, store.path()), [("object-missing", None), ("object-stranger", None)]);
    let missing = Options {
        store: Some(elsewhere.path().join("none")),
        ..Options::new(Source::Path(exported(&site).path().to_owned()), site.log.public.clone())
    };
    assert!(matches!(verify_ledger(&missing), Err(Failure::Unreadable(_))));
}
