//! The catalogue is disposable (invariant 5): deleted, cut, flipped, replaced by an older or a foreign one, or killed while it is
//! written, a start gives the answers that the ledger alone gives. And nothing personal ever enters it.
//!
//! `GREFFIER_CATALOGUE_ROUNDS` says how much seeded damage is done (6), `GREFFIER_CATALOGUE_SEED` repeats a run; the seed is
//! printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use greffier::shell::entropy;
use support::user::{Fields, Keys, ROOT, Refused, User, keys};
use support::{House, contains, files_below, flip_bit, noise, pause, sha256, until};

/// Few, so that an answer has several pages.
const PAGE: u32 = 3;

/// What the ledger says of a recording, by the keys of a row.
type Facts = BTreeMap<String, String>;

#[expect(clippy::disallowed_methods, reason = "the two settings of this test, said at its head")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The recordings as a second reader of the ledger sees them: by its entries alone, with nothing of the daemon's.
fn told_by_the_ledger(house: &House) -> BTreeMap<String, Facts> {
    let mut recordings: BTreeMap<String, Facts> = BTreeMap::new();
    let mut holds = BTreeMap::new();
    for entry in house.durable() {
        let id = entry.get("recording");
        match (entry.event(), entry.get("outcome").as_str()) {
            ("recording.sealed", "done") => {
                let texts = ["kind", "start", "end", "media", "sha256", "class"];
                let mut facts: Facts =
                    texts.into_iter().map(|key| (key.to_owned(), entry.data(key))).collect();
                facts.insert("id".into(), id.clone());
                facts.insert("source".into(), entry.get("source"));
                facts.insert("sealed".into(), entry.get("time"));
                facts.insert("expires".into(), entry.data("latest"));
                facts.insert("bytes".into(), entry.number("bytes").unwrap().to_string());
                recordings.insert(id, facts);
            }
            ("purge.done", "done") => drop(recordings.remove(&id)),
            ("hold.placed", "done" | "granted") => drop(holds.insert(entry.data("hold"), id)),
            ("hold.lifted", "done" | "granted") => drop(holds.remove(&entry.data("hold"))),
            _ => {}
        }
    }
    for (id, facts) in &mut recordings {
        facts.insert("held".into(), holds.values().any(|held| held == id).to_string());
    }
    recordings
}

/// A row of the bus in the same form.
fn facts(row: &Fields) -> Facts {
    row.iter()
        .map(|(key, value)| {
            let text = String::try_from(value.clone())
                .or_else(|_| u64::try_from(value.clone()).map(|number| number.to_string()))
                .or_else(|_| bool::try_from(value.clone()).map(|yes| yes.to_string()));
            (key.clone(), text.unwrap())
        })
        .collect()
}

/// Every page of a search.
fn pages(user: &User, filter: &[(&str, &str)]) -> Vec<Facts> {
    let mut filter: Keys = keys(filter);
    filter.insert("reason".into(), "incident".to_owned().into());
    user.run(move |client| {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let (page, next): (Vec<Fields>, String) =
                client.ask(ROOT, "Recordings", "Search", &(&filter, PAGE, &cursor)).unwrap();
            assert!(page.len() <= PAGE as usize);
            rows.extend(page.iter().map(facts));
            if next.is_empty() {
                return rows;
            }
            cursor = next;
        }
    })
}

/// Compares every page and every description with the ledger.
fn check(house: &House, after: &str) {
    let user = house.user("sys");
    let wanted = told_by_the_ledger(house);
    let same = |found: &Facts, wanted: &Facts| {
        // A row may tell more than the ledger's columns; what both know must agree.
        wanted.iter().all(|(key, value)| found.get(key) == Some(value))
    };
    let all_of = |pick: &dyn Fn(&Facts) -> bool| {
        let mut rows: Vec<&Facts> = wanted.values().filter(|row| pick(row)).collect();
        rows.sort_by_key(|row| (row["start"].clone(), row["id"].clone()));
        rows
    };
    let compare = |filter: &[(&str, &str)], rows: Vec<&Facts>| {
        let found = pages(&user, filter);
        let alike = found.len() == rows.len() && found.iter().zip(&rows).all(|(a, b)| same(a, b));
        assert!(alike, "{after}, {filter:?}\nfound {found:#?}\nthe ledger says {rows:#?}\n{}", house.log());
    };
    compare(&[], all_of(&|_| true));
    compare(&[("kind", "footage")], all_of(&|row| row["kind"] == "footage"));
    compare(&[("kind", "call")], Vec::new());
    for row in wanted.values() {
        let described = facts(&user.describe(&row["id"]).unwrap());
        assert!(same(&described, row), "{after}: {described:?} is not {row:?}");
        // From its start on: nothing that began and ended before.
        let from = &row["start"];
        compare(&[("from", from)], all_of(&|other| other["end"] > *from || other["start"] >= *from));
    }
    let held: Keys =
        [("reason".to_owned(), "incident".to_owned().into()), ("held".to_owned(), true.into())].into();
    let found = user.run(move |client| client.search(&held).unwrap());
    assert_eq!(found.len(), all_of(&|row| row["held"] == "true").len(), "{after}: held");
}

fn copy_folder(from: &Path, to: &Path) {
    let _absent = fs::remove_dir_all(to);
    for file in files_below(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, copy).unwrap();
    }
}

fn rebuild(user: &User) -> Result<(), Refused> {
    user.run(|client| client.ask(ROOT, "Manager", "RebuildIndex", &()))
}

/// Recordings, a hold that stands, one that was lifted, one purged.
fn filled() -> (House, Vec<String>) {
    let house = House::open();
    let mut ids: Vec<String> =
        (0..5).map(|n| house.seal("entrance", &format!("{n}.mp4"), &noise(n, 1000))).collect();
    let sys = house.user("sys");
    let hold =
        |id: &str| sys.hold(&[("recording", id), ("kind", "judicial"), ("ground", "requisition")]).unwrap();
    let _stands = hold(&ids[3]);
    sys.lift(&hold(&ids[1]), &[]).unwrap();
    ids.push(house.seal("doorbell", "short.mp4", &noise(9, 1000)));
    let doorbell = ids[5].clone();
    until("the short one is purged", || {
        house.of_event("purge.done").iter().any(|entry| entry.get("recording") == doorbell).then_some(())
    });
    drop(sys);
    (house, ids)
}

#[test]
fn inv5_whatever_happens_to_the_catalogue_the_answers_are_those_of_the_ledger() {
    let rounds = setting("GREFFIER_CATALOGUE_ROUNDS").unwrap_or(6);
    let seed = setting("GREFFIER_CATALOGUE_SEED")
        .unwrap_or_else(|| u64::from_le_bytes(entropy::array().unwrap()) >> 1);
    println!("GREFFIER_CATALOGUE_SEED={seed} GREFFIER_CATALOGUE_ROUNDS={rounds}");
    let mut dice = seed | 1;
    let mut below = |bound: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % bound.max(1)
    };
    let (mut house, ids) = filled();
    check(&house, "before");
    let catalogue = house.state.join("catalogue");
    let older = house.path("older");

    house.stop();
    copy_folder(&catalogue, &older);
    fs::remove_dir_all(&catalogue).unwrap();
    house.start();
    check(&house, "deleted");

    // More than the older one knows: sealed, held, lifted.
    house.seal("entrance", "later.mp4", &noise(11, 1000));
    let sys = house.user("sys");
    let hold = sys.hold(&[("recording", &ids[0]), ("kind", "incident"), ("ground", "x")]).unwrap();
    sys.hold(&[("recording", &ids[2]), ("kind", "incident"), ("ground", "y")]).unwrap();
    sys.lift(&hold, &[]).unwrap();
    drop(sys);
    house.stop();
    copy_folder(&older, &catalogue);
    house.start();
    check(&house, "an older one in its place");

    let (mut other, _) = filled();
    other.stop();
    house.stop();
    copy_folder(&other.state.join("catalogue"), &catalogue);
    house.start();
    check(&house, "that of another archive");
    drop(other);

    for round in 0..rounds {
        house.stop();
        let files: Vec<_> = files_below(&catalogue);
        let file = &files[usize::try_from(below(files.len() as u64)).unwrap()];
        let length = file.metadata().unwrap().len();
        let what = match round % 3 {
            0 => {
                let cut = below(length);
                File::options().write(true).open(file).unwrap().set_len(cut).unwrap();
                format!("{} cut at {cut}", file.display())
            }
            1 => {
                let places: Vec<u64> = (0..=below(8)).map(|_| below(length)).collect();
                places.iter().filter(|_| length > 0).for_each(|place| flip_bit(file, *place));
                format!("{} flipped at {places:?}", file.display())
            }
            _ => {
                fs::remove_file(file).unwrap();
                format!("{} removed", file.display())
            }
        };
        println!("{what}");
        house.start();
        check(&house, &what);
    }
    house.finish();
}

#[test]
fn inv5_killed_while_the_catalogue_is_written_or_made_anew_the_answers_are_those_of_the_ledger() {
    let (mut house, _) = filled();
    for round in 0..4_u64 {
        let user = house.user("daemon");
        let ordered = user.start(|client| client.ask::<(), _>(ROOT, "Manager", "RebuildIndex", &()));
        house.drop_file("entrance", &format!("k{round}.mp4"), &noise(100 + round, 1000));
        pause(Duration::from_millis(3 + 25 * round));
        house.kill();
        let _done_or_no_answer = ordered.recv();
        drop(user);
        house.start();
        let digest = sha256(&noise(100 + round, 1000));
        until("it is sealed", || {
            house.of_event("recording.sealed").iter().any(|it| it.data("sha256") == digest).then_some(())
        });
        check(&house, &format!("killed, round {round}"));
        assert!(!house.state.join("catalogue.new").exists(), "what was cut short is removed");
    }
    house.finish();
}

#[test]
fn inv5_the_catalogue_is_made_anew_while_the_service_goes_on() {
    let (house, ids) = filled();
    let (daemon, games) = (house.user("daemon"), house.user("games"));
    let ordered = daemon.start(|client| {
        (0..5).map(|_| client.ask::<(), _>(ROOT, "Manager", "RebuildIndex", &())).collect::<Vec<_>>()
    });
    let mut sealed = 0;
    let answers = loop {
        match ordered.try_recv() {
            Ok(answers) => break answers,
            Err(_) => {
                assert!(games.search("incident").unwrap().contains(&ids[0]));
                let opened = games.open(&ids[0], &[("reason", "incident")]).unwrap();
                assert_eq!(games.read(&opened.file, 0, 10).unwrap(), noise(0, 1000)[..10]);
                games.close(&opened.session).unwrap();
                sealed += 1;
                house.drop_file("entrance", &format!("m{sealed}.mp4"), &noise(200 + sealed, 500));
            }
        }
    };
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    until("what came meanwhile is sealed", || house.spool_files().is_empty().then_some(()));
    check(&house, "made anew");
    let orders = house.of_event("access.searched").into_iter().filter(|entry| entry.data("what") == "index");
    assert_eq!(orders.filter(|entry| entry.get("outcome") == "granted").count(), 5, "inv2");

    let refused = rebuild(&games).unwrap_err();
    assert_eq!(refused.name, "Denied");
    let entry = &house.durable()[usize::try_from(refused.entry().unwrap()).unwrap()];
    assert_eq!((entry.data("what").as_str(), entry.get("outcome").as_str()), ("index", "denied"));
    drop((daemon, games));
    house.finish();
}

#[test]
fn neither_keys_nor_plaintext_nor_personal_details_enter_the_catalogue() {
    let (mut house, ids) = filled();
    let content = [b"RECOGNISABLE-PLAINTEXT-".as_slice(), &noise(77, 4000)].concat();
    let by_name = house.seal("entrance", "Mrs-Recognisable-Filename.mp4", &content);
    let file = house.path("passed");
    fs::write(&file, noise(78, 3000)).unwrap();
    house.user("backup").run(move |client| {
        let file = std::os::fd::OwnedFd::from(File::open(file).unwrap());
        let metadata = keys(&[
            ("source", "entrance"),
            ("name", "Recognisable-Name"),
            ("subject", "Recognisable-Subject"),
        ]);
        let _sealed: (String, u64) =
            client.ask(ROOT, "Recordings", "Seal", &(zbus::wire::OwnedFd::from(file), metadata)).unwrap();
    });
    let (games, sys) = (house.user("games"), house.user("sys"));
    let request = [("reason", "incident"), ("case", "Recognisable-Case"), ("text", "Recognisable-Text")];
    games.close(&games.open(&by_name, &request).unwrap().session).unwrap();
    sys.hold(&[
        ("recording", ids[2].as_str()),
        ("kind", "request"),
        ("ground", "Recognisable-Ground"),
        ("reference", "Recognisable-Reference"),
    ])
    .unwrap();
    rebuild(&house.user("daemon")).unwrap();
    assert_eq!(pages(&sys, &[]).len(), 7);
    drop((games, sys));
    house.stop();

    let catalogue: Vec<Vec<u8>> =
        files_below(&house.state.join("catalogue")).iter().map(|path| fs::read(path).unwrap()).collect();
    let holds = |bytes: &[u8]| catalogue.iter().any(|file| contains(file, bytes));
    assert!(holds(b"video/mp4") || holds(b"application/"), "what is there is found");
    assert!(holds(b"fortnight"), "what is there is found");
    for word in ["Recognisable", "RECOGNISABLE", "requisition", "guard-views", "games", "backup"] {
        assert!(!holds(word.as_bytes()), "{word} stands in the catalogue");
    }
    for probe in content.chunks(64).filter(|probe| probe.len() == 64) {
        assert!(!holds(probe), "plaintext stands in the catalogue");
    }
    let master = fs::read(house.path("etc/master.key")).unwrap();
    assert!(!master.chunks(16).any(holds), "the master key stands in the catalogue");
    // A slot of 128 bytes (greffier-store(5)): state, kind, id, nonce, wrapped key, check sum. Its id is the recording's.
    let slots = fs::read(house.state.join("keys/1.a")).unwrap();
    let used: Vec<&[u8]> = slots.chunks(128).filter(|slot| slot[0] == 1).collect();
    assert!(used.len() > 7);
    for slot in used {
        let wrapped =
            slot[18..].chunks(12).filter(|part| part.len() == 12 && part.iter().any(|byte| *byte != 0));
        assert!(!wrapped.into_iter().any(holds), "a wrapped key stands in the catalogue");
    }
    house.start();
    house.finish();
}
