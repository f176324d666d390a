//! Rules that tell recordings and times apart, on a real bus with real accounts: whose a recording is, minutes of a day, hours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::path::Path;
use std::time::Duration;

use greffier::core::time::Timestamp;
use greffier::shell::clock::SystemClock;
use support::user::{ROOT, User};
use support::{House, noise, pause};

/// A call centre: agents hear their own calls, the trainer anonymised ones, the team leader all but those of the day.
const HEAD: &str = r#"format = 1
controller = "A call centre"

[reasons]
training = { text = "To learn from it" }
dispute  = { text = "Disagreement about what was said" }

[purposes]
teaching = { kinds = ["call"], reasons = ["training"] }
proof    = { kinds = ["call"], reasons = ["dispute"] }

[classes]
month = { max = "P30D", from = "sealed" }

[sources]
desk     = { kind = "call", purposes = ["teaching", "proof"], class = "month", writer = "backup" }
examples = { kind = "call", purposes = ["teaching"], class = "month", writer = "backup", anonymised = true }

[roles]
listener   = { verbs = ["search", "view"] }
recorder   = { verbs = ["seal"] }
technician = { verbs = ["administer"] }
"#;

const GRANTS: &str = r#"
[grants]
records = { user = "backup", role = "recorder" }
agent-a = { user = "games", role = "listener", own = true, reasons = ["training"] }
agent-b = { user = "man", role = "listener", own = true, anonymised = true, reasons = ["training"] }
trainer = { user = "lp", role = "listener", anonymised = true }
leader  = { user = "mail", role = "listener", reasons = ["dispute"] }
technique = { user = "daemon", role = "technician" }

[denies]
leader-not-others = { user = "mail", verbs = ["view"], unless_own = true }
"#;

fn house(grants: &str) -> House {
    let mut house = House::closed(Path::new("state"));
    house.write_policy(&format!("{HEAD}{grants}"));
    house.start();
    house
}

/// What each may find and open, of the calls given with whose they are.
fn sees(house: &House, calls: &[(String, &str)]) -> Vec<(String, Vec<String>, Vec<String>)> {
    let name = |id: &String| calls.iter().find(|(call, _)| call == id).unwrap().1.to_owned();
    let one = |(account, reason): (&str, &str)| {
        let user = house.user(account);
        let mut found: Vec<String> = user.search(reason).unwrap_or_default().iter().map(name).collect();
        let opens = |id: &&String| {
            let opened = user.open(id, &[("reason", reason)]);
            let known = user.describe(id).is_ok();
            if let Err(refused) = &opened {
                assert_eq!(refused.name == "NotFound", !known, "{account}: {refused:?}");
            }
            opened.is_ok()
        };
        let mut opened: Vec<String> = calls.iter().map(|(id, _)| id).filter(opens).map(name).collect();
        found.sort();
        opened.sort();
        (account.to_owned(), found, opened)
    };
    [("games", "training"), ("man", "training"), ("lp", "training"), ("mail", "dispute")].map(one).into()
}

#[test]
fn inv5_own_recordings_are_the_callers_and_are_so_after_any_loss_of_the_catalogue() {
    let mut house = house(GRANTS);
    let recorder = house.user("backup");
    let seal = |n: u64, source: &str, subject: Option<&str>| {
        let metadata: Vec<_> =
            [("source", source)].into_iter().chain(subject.map(|it| ("subject", it))).collect();
        recorder.seal(&noise(n, 1000), &metadata).unwrap()
    };
    let calls = [
        (seal(1, "desk", Some("games")), "of-games"),
        (seal(2, "desk", Some("man")), "of-man"),
        (seal(3, "desk", None), "of-nobody"),
        (seal(4, "examples", Some("games")), "example"),
        (seal(5, "desk", Some("mail")), "of-mail"),
    ];
    drop(recorder);
    let all = ["of-games", "of-mail", "of-man", "of-nobody"];
    let expected: [(&str, &[&str], &[&str]); 4] = [
        ("games", &["example", "of-games"], &["example", "of-games"]),
        ("man", &["example", "of-man"], &["example", "of-man"]),
        ("lp", &["example"], &["example"]),
        // A deny of viewing hides nothing.
        ("mail", &all, &["of-mail"]),
    ];
    let owned = |them: &[&str]| them.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let expected: Vec<_> = expected
        .iter()
        .map(|(who, found, opened)| ((*who).to_owned(), owned(found), owned(opened)))
        .collect();
    assert_eq!(sees(&house, &calls), expected);

    house.user("daemon").run(|client| client.ask::<(), _>(ROOT, "Manager", "RebuildIndex", &())).unwrap();
    assert_eq!(sees(&house, &calls), expected, "after a rebuild");
    house.stop();
    house.serve();
    assert_eq!(sees(&house, &calls), expected, "after a start");
    house.stop();
    std::fs::remove_dir_all(house.path("state/catalogue")).unwrap();
    house.serve();
    assert_eq!(sees(&house, &calls), expected, "after the catalogue was lost");
    // Whose they are stands in no file in clear: neither as the detail writes it nor as the trailer does.
    assert!(!house.state_holds(b"\"subject\":\"games\""));
    house.finish();
}

#[test]
fn a_session_that_no_rule_asked_about_is_known_when_a_rule_does() {
    let house = house(
        "\n[grants]\nrecords = { user = \"backup\", role = \"recorder\" }\nhears = { user = \"games\", role = \"listener\" }\ntechnique = { user = \"daemon\", role = \"technician\" }\n",
    );
    let recorder = house.user("backup");
    let seal =
        |n, subject| recorder.seal(&noise(n, 5000), &[("source", "desk"), ("subject", subject)]).unwrap();
    let (mine, other) = (seal(1, "games"), seal(2, "man"));
    let games = house.user("games");
    let open = |id: &str| games.open(id, &[("reason", "training")]).unwrap();
    let (own, others) = (open(&mine), open(&other));
    house.write_policy(&format!("{HEAD}{GRANTS}"));
    house.user("daemon").reload().unwrap();
    assert!(games.read(&own.file, 0, 1000).is_ok(), "his own goes on");
    assert!(games.read(&others.file, 0, 1000).is_err(), "the other is cut");
    house.finish();
}

fn seconds_until(expires: &str) -> i64 {
    let now = SystemClock::new().unwrap().now().time;
    expires.parse::<Timestamp>().unwrap().micros_since(now) / 1_000_000
}

#[test]
fn the_minutes_of_a_day_bound_sessions_together_and_are_remembered() {
    let grants = "\n[grants]\nrecords = { user = \"backup\", role = \"recorder\" }\nhears = { user = \"games\", role = \"listener\", max_minutes_a_day = 2 }\n";
    let mut house = house(grants);
    let id = house.user("backup").seal(&noise(1, 5000), &[("source", "desk")]).unwrap();
    let open = |user: &User| user.open(&id, &[("reason", "training")]);
    let games = house.user("games");
    let first = open(&games).unwrap();
    assert!((100..=120).contains(&seconds_until(&first.expires)), "{}", first.expires);
    // While it runs, all of the day is promised to it.
    let refused = open(&games).unwrap_err();
    assert!(refused.name == "LimitReached" && refused.sentence.contains("2 minutes a day"), "{refused:?}");
    pause(Duration::from_secs(2));
    games.close(&first.session).unwrap();
    // What it did not use is there again, but not what it did.
    let second = open(&games).unwrap();
    assert!((90..=118).contains(&seconds_until(&second.expires)), "{}", second.expires);
    games.close(&second.session).unwrap();
    drop(games);
    house.stop();
    house.serve();
    let games = house.user("games");
    let third = open(&games).unwrap();
    assert!((60..=118).contains(&seconds_until(&third.expires)), "{}", third.expires);
    house.finish();
}

#[test]
fn a_session_ends_with_the_hours_of_its_grant_and_outside_them_none_begins() {
    let in_minutes = |minutes: i64| {
        let clock = SystemClock::new().unwrap();
        let local = clock.now().time.local(clock.local_time_zone());
        let at = local.checked_add(jiff::Span::new().minutes(minutes)).unwrap();
        at.strftime("%H:%M").to_string()
    };
    let grants = |from: i64, to: i64| {
        format!(
            "\n[grants]\nrecords = {{ user = \"backup\", role = \"recorder\" }}\nhears = {{ user = \"games\", role = \"listener\", hours = \"{}-{}\" }}\ntechnique = {{ user = \"daemon\", role = \"technician\" }}\n",
            in_minutes(from),
            in_minutes(to)
        )
    };
    let house = house(&grants(-10, 5));
    let id = house.user("backup").seal(&noise(1, 5000), &[("source", "desk")]).unwrap();
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "training")]).unwrap();
    let left = seconds_until(&opened.expires);
    assert!((180..=300).contains(&left), "{left}");
    assert!(opened.expires.contains(":00"), "at a full minute: {}", opened.expires);
    house.write_policy(&format!("{HEAD}{}", grants(30, 60)));
    house.user("daemon").reload().unwrap();
    assert!(games.read(&opened.file, 0, 1000).is_err(), "the hours are over");
    let refused = games.open(&id, &[("reason", "training")]).unwrap_err();
    assert_eq!(refused.name, "NotFound", "who may not search now does not learn of it: {refused:?}");
    house.finish();
}
