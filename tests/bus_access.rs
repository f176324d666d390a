//! Opening, reading and asking on a real bus: what is recorded, when, and whom a descriptor serves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::Value;
use support::user::Refused;
use support::{House, POLICY, noise, pause, sha256, until};

fn errno(read: io::Result<Vec<u8>>) -> Option<Errno> {
    read.err().and_then(|error| Errno::from_io_error(&error))
}

#[test]
fn inv1_the_grant_is_durable_before_the_descriptor_arrives() {
    let house = House::open();
    let clip = noise(1, 200_000);
    let id = house.seal("entrance", "clip.mp4", &clip);
    let games = house.user("games");
    for _ in 0..20 {
        let opened = games.open(&id, &[("reason", "incident")]).unwrap();
        // Nothing was read yet, and what is on the disk already says who may.
        let durable = house.durable();
        let entry = &durable[usize::try_from(opened.entry).unwrap()];
        assert_eq!((entry.event(), entry.get("outcome").as_str()), ("access.opened", "granted"));
        assert_eq!(entry.get("recording"), id);
        assert!(opened.session.ends_with(&entry.get("session")), "{} {}", opened.session, entry.line);
        assert_eq!(games.read(&opened.file, 70_000, 4096).unwrap(), clip[70_000..74_096]);
        games.close(&opened.session).unwrap();
    }
    house.finish();
}

#[test]
fn inv9_a_descriptor_works_for_its_owner_alone_and_until_it_is_closed() {
    let house = House::open();
    let clip = noise(2, 100_000);
    let id = house.seal("entrance", "clip.mp4", &clip);
    let (games, nobody, root) = (house.user("games"), house.user("nobody"), house.user("root"));
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    assert_eq!(opened.bytes, 100_000);
    assert_eq!(games.read(&opened.file, 0, 100_000).unwrap(), clip);
    for other in [&nobody, &root] {
        assert_eq!(errno(other.read(&opened.file, 0, 4096)), Some(Errno::ACCESS));
    }
    until("both attempts are recorded", || (house.of_event("guard.foreign-access").len() == 2).then_some(()));
    // Of somebody else's session nobody learns that it exists.
    assert_eq!(nobody.close(&opened.session).unwrap_err().name, "NotFound");
    assert_eq!(games.read(&opened.file, 50_000, 10).unwrap(), clip[50_000..50_010]);
    games.close(&opened.session).unwrap();
    assert_eq!(errno(games.read(&opened.file, 0, 4096)), Some(Errno::STALE));
    let closed = house.of_event("access.closed").pop().unwrap();
    assert_eq!(closed.data("why"), "closed");
    assert!(closed.number("bytes") >= Some(100_000), "{}", closed.line);
    house.finish();
}

#[test]
fn inv9_a_descriptor_ends_with_its_time_and_with_the_name_that_opened_it() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(3, 100_000));
    let lp = house.user("lp");
    let opened = lp.open(&id, &[("reason", "incident")]).unwrap();
    lp.read(&opened.file, 0, 4096).unwrap();
    until("the time is over", || (errno(lp.read(&opened.file, 0, 4096)) == Some(Errno::STALE)).then_some(()));
    until("that is recorded", || house.of_event("access.expired").pop());

    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    games.read(&opened.file, 0, 4096).unwrap();
    drop(games);
    // The same account, under another name on the bus.
    let games = house.user("games");
    until("the name is missed", || {
        (errno(games.read(&opened.file, 0, 4096)) == Some(Errno::STALE)).then_some(())
    });
    let closed = until("that is recorded", || house.of_event("access.closed").pop());
    assert_eq!(closed.data("why"), "peer-gone");
    house.finish();
}

#[test]
fn inv9_a_policy_that_no_longer_grants_cuts_the_session() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(4, 100_000));
    let (games, daemon) = (house.user("games"), house.user("daemon"));
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    games.read(&opened.file, 0, 4096).unwrap();
    house.write_policy(&POLICY.replace("user = \"games\"", "user = \"lp\""));
    daemon.reload().unwrap();
    assert_eq!(errno(games.read(&opened.file, 0, 4096)), Some(Errno::STALE));
    assert_eq!(house.of_event("access.revoked").pop().unwrap().data("why"), "policy-changed");
    house.finish();
}

/// One of each question, granted or refused, and the event that it must become.
fn questions(house: &House, id: &str) -> Vec<(&'static str, Result<(), Refused>)> {
    let user = |name: &str| house.user(name);
    let reason = [("reason", "incident")];
    let hold = [("recording", id), ("kind", "incident"), ("ground", "broken window")];
    let mut asked = vec![
        ("access.searched", user("games").search("incident").map(|_| ())),
        ("access.searched", user("nobody").search("incident").map(|_| ())),
        ("access.searched", user("games").describe(id).map(|_| ())),
        ("access.searched", user("nobody").describe(id).map(|_| ())),
        ("access.searched", user("games").describe("aaaaaaaaaaaaaaaaaaaaaaaaaa").map(|_| ())),
        ("access.opened", user("nobody").open(id, &reason).map(|_| ())),
        ("access.opened", user("daemon").open(id, &reason).map(|_| ())),
        ("access.opened", user("root").open(id, &reason).map(|_| ())),
        ("access.opened", user("man").open(id, &reason).map(|_| ())),
        ("access.opened", user("games").open(id, &[]).map(|_| ())),
        ("ledger.read", user("news").read_ledger(0, 5).map(|_| ())),
        ("ledger.read", user("games").read_ledger(0, 5).map(|_| ())),
        ("hold.placed", user("games").hold(&hold).map(|_| ())),
        ("purge.planned", user("games").run_retention().map(|_| ())),
        ("policy.refused", user("games").reload().map(|_| ())),
    ];
    let games = house.user("games");
    let opened = games.open(id, &reason);
    asked.push(("access.opened", opened.clone().map(|_| ())));
    asked.push(("access.closed", games.close(&opened.unwrap().session)));
    asked
}

#[test]
fn inv2_every_question_is_an_entry_and_a_refusal_names_policy_and_rule() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(5, 10_000));
    // The digest that anybody can repeat: sha256sum policy.toml | sha256sum.
    let line = format!("{}  policy.toml\n", sha256(&fs::read(house.path("etc/policy.toml")).unwrap()));
    let digest = sha256(line.as_bytes());

    let before = house.durable().len();
    let asked = questions(&house, &id);
    let entries = house.durable().split_off(before);
    let said: Vec<_> = entries.iter().map(|entry| (entry.event(), entry.get("outcome"))).collect();
    assert_eq!(said.len(), asked.len(), "{said:?}");
    for ((event, answer), entry) in asked.iter().zip(&entries) {
        assert_eq!(entry.event(), *event, "{said:?}");
        assert_eq!(entry.get("outcome") == "denied", answer.is_err(), "{} {answer:?}", entry.line);
        if let Err(refused) = answer {
            assert_eq!(refused.entry(), Some(entry.seq()), "{refused:?}");
            assert_eq!(entry.get("policy"), digest);
        }
    }

    // The rule that decided stands in the detail: the auditor sees it, the leaf does not name it.
    let news = house.user("news");
    let lines = news.read_ledger(before as u64, u32::try_from(asked.len()).unwrap()).unwrap();
    let details: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rules: Vec<(u64, &str)> = details
        .iter()
        .filter_map(|detail| Some((detail["seq"].as_u64()?, detail["rule"].as_str()?)))
        .collect();
    for ((_, answer), entry) in asked.iter().zip(&entries) {
        let rule = rules.iter().find(|(seq, _)| *seq == entry.seq()).map(|(_, rule)| *rule);
        assert!(rule.is_some() || entry.event() == "access.closed", "no rule for {}", entry.line);
        if let (Err(refused), Some(rule)) = (answer, rule) {
            assert!(refused.sentence.contains(rule) || refused.name == "NotFound", "{rule}: {refused:?}");
        }
    }
    let seen: BTreeSet<&str> = rules.iter().map(|(_, rule)| *rule).collect();
    assert!(seen.contains("guard-views") && seen.contains("builtin.no-grant"), "{seen:?}");
    assert!(seen.contains("builtin.root"), "{seen:?}");
    house.finish();
}

#[test]
fn inv2_refusals_beyond_the_bound_are_counted_and_the_count_is_an_entry() {
    let mut house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(6, 1000));
    let nobody = house.user("nobody");
    let before = house.durable().len();
    let asked: Vec<Refused> =
        (0..14).map(|_| nobody.open(&id, &[("reason", "incident")]).unwrap_err()).collect();
    let names: Vec<&str> = asked.iter().map(|refused| refused.name.as_str()).collect();
    assert_eq!(names, [["NotFound"; 10].as_slice(), &["LimitReached"; 4]].concat());
    assert_eq!(house.durable().len(), before + 10);
    // Others are not touched by it.
    house.user("games").open(&id, &[("reason", "incident")]).unwrap();
    house.stop();
    let many = house.of_event("access.refused-many");
    assert_eq!(many.iter().map(|entry| entry.number("count")).collect::<Vec<_>>(), [Some(4)]);
    house.finish();
}

#[test]
fn seventeen_calls_of_one_user_at_once_are_one_too_many() {
    let house = House::open();
    let file = house.path("large.wav");
    fs::write(&file, noise(7, 6_000_000)).unwrap();
    rustix::fs::chown(&file, Some(rustix::process::Uid::from_raw(34)), None).unwrap();
    let backup = house.user("backup");
    let answers = backup.run(move |client| {
        let file = fs::File::open(&file).unwrap();
        client.seal_at_once(&file, "entrance", 17)
    });
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 1, "{answers:?}");
    assert_eq!(refused[0].name, "LimitReached");
    assert!(refused[0].sentence.contains("16 calls"), "{refused:?}");
    assert_eq!(house.of_event("recording.sealed").len(), 16);
    house.finish();
}

#[test]
fn inv8_a_policy_that_lets_an_administrator_view_is_refused_and_the_old_one_stays() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(8, 1000));
    let (daemon, games) = (house.user("daemon"), house.user("games"));
    house.write_policy(&format!("{POLICY}second = {{ user = \"daemon\", role = \"viewer\" }}\n"));
    let refused = daemon.reload().unwrap_err();
    assert_eq!(refused.name, "InvalidArgument");
    assert!(refused.sentence.contains("policy.toml:") && refused.sentence.contains("daemon"), "{refused:?}");
    assert_eq!(house.of_event("policy.refused").len(), 1);
    assert_eq!(daemon.open(&id, &[("reason", "incident")]).unwrap_err().name, "NotFound");
    games.open(&id, &[("reason", "incident")]).unwrap();
    assert!(games.state().1.contains("old one stays"), "{:?}", games.state());
    house.finish();
}

#[test]
fn inv12_a_hold_stops_the_automatic_purge_and_lifting_it_lets_go() {
    let house = House::open();
    let held = house.seal("doorbell", "held.mp4", &noise(9, 1000));
    let sys = house.user("sys");
    let hold = [("recording", held.as_str()), ("kind", "incident"), ("ground", "broken window")];
    let hold = sys.hold(&hold).unwrap();
    let free = house.seal("doorbell", "free.mp4", &noise(10, 1000));
    let purged =
        |id: &str| house.of_event("purge.done").into_iter().any(|entry| entry.get("recording") == id);
    until("the other one is purged by itself", || purged(&free).then_some(()));
    pause(Duration::from_secs(1));
    assert!(!purged(&held));
    let report = sys.run_retention().unwrap();
    assert_eq!(support::user::number(&report, "held"), 1);
    house.user("games").describe(&held).unwrap();
    sys.lift(&hold, &[("ground", "settled")]).unwrap();
    until("it is purged once the hold is lifted", || purged(&held).then_some(()));
    assert_eq!(house.user("games").describe(&held).unwrap_err().name, "NotFound");
    house.finish();
}
