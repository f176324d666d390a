//! Break-glass on a real bus: it opens at once, everybody is told, and somebody else must look at it in time.
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
use std::sync::mpsc;

use support::user::{Fields, Opened, ROOT, Refused, User, keys, number, text};
use support::{House, POLICY, noise, until};
use zbus::wire::Variant;

/// `man`, who may only search, breaks the glass; `proxy` reviews, and so may `man`, but never himself.
fn policy() -> String {
    let roles = POLICY.replace(
        "recorder   = {",
        "reviewer   = { verbs = [\"review\"] }\nhelper     = { verbs = [\"search\", \"view\"], second_person = true }\nrecorder   = {",
    );
    roles
        + "glass      = { user = \"man\", role = \"helper\", sources = [\"entrance\"], emergency = true }\n\
           reviews    = { user = \"proxy\", role = \"reviewer\" }\n\
           own-review = { user = \"man\", role = \"reviewer\" }\n"
}

fn house() -> (House, String) {
    let mut house = House::closed(Path::new("state"));
    house.write_policy(&policy());
    house.start();
    let id = house.seal("entrance", "clip.mp4", &noise(1, 50_000));
    (house, id)
}

fn emergency(user: &User, id: &str, words: &str) -> Result<Opened, Refused> {
    let mut request = keys(&[("reason", "incident"), ("text", words)]);
    request.insert("emergency".into(), Variant::from(true));
    let id = id.to_owned();
    user.run(move |client| client.open(&id, &request))
}

fn reviews(user: &User) -> Result<Vec<Fields>, Refused> {
    user.run(|client| client.ask(ROOT, "Reviews", "Pending", &()))
}

fn done(user: &User, review: u64, words: &str) -> Result<u64, Refused> {
    let request = keys(&[("text", words)]);
    user.run(move |client| client.ask(ROOT, "Reviews", "Done", &(review, request)))
}

#[test]
fn an_emergency_opens_at_once_and_everybody_is_told() {
    let (house, id) = house();
    let (man, nobody) = (house.user("man"), house.user("nobody"));
    assert_eq!(man.open(&id, &[("reason", "incident")]).unwrap_err().name, "Denied");
    let without_words = emergency(&man, &id, "").unwrap_err();
    assert!(without_words.name == "InvalidArgument" && without_words.sentence.contains("text"));
    // Who holds no grant for emergencies gets nothing by calling it one.
    assert_eq!(emergency(&nobody, &id, "let me in").unwrap_err().name, "NotFound");
    assert_eq!(number(&nobody.status(), "reviews_open"), 0);

    let (ready, listens) = mpsc::channel();
    let told = nobody.start(move |client| client.next_number("Manager", "Emergency", &ready));
    listens.recv().unwrap();
    let opened = emergency(&man, &id, "a child is missing").unwrap();
    man.read(&opened.file, 0, 4096).unwrap();
    assert_eq!(told.recv().unwrap(), opened.entry);

    let entries = house.durable().split_off(usize::try_from(opened.entry).unwrap());
    let said: Vec<_> = entries.iter().take(3).map(|entry| (entry.event(), entry.get("session"))).collect();
    let session = entries[0].get("session");
    assert_eq!(
        said,
        ["access.opened", "access.emergency", "review.raised"].map(|event| (event, session.clone()))
    );
    assert!(entries[0].line.contains("\"emergency\":true"), "{}", entries[0].line);
    assert_eq!(entries[2].data("why"), "emergency");
    // One batch: one signed head covers all three.
    assert!(!entries.iter().any(|entry| entry.line.contains("child")), "what was typed stands in details");
    assert_eq!(number(&nobody.status(), "reviews_open"), 1);
    assert_eq!(nobody.state().0, "degraded", "an open master key, and nothing else: {:?}", nobody.state());
    until("the log says so", || house.log().contains("opened in an emergency").then_some(()));
    assert!(!house.log().contains("child"));
    house.finish();
}

#[test]
fn somebody_else_reviews_it_also_after_a_restart() {
    let (mut house, id) = house();
    let man = house.user("man");
    let opened = emergency(&man, &id, "a child is missing").unwrap();
    let reviewer = house.user("proxy");
    let rows = reviews(&reviewer).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((text(&rows[0], "why"), text(&rows[0], "recording")), ("emergency".into(), id));
    let review = number(&rows[0], "entry");
    assert_eq!(review, opened.entry + 2);

    let own = done(&man, review, "I did well").unwrap_err();
    assert!(own.name == "Denied" && own.sentence.contains("builtin.review"), "{own:?}");
    assert_eq!(done(&house.user("games"), review, "why not").unwrap_err().name, "Denied");
    assert_eq!(reviews(&house.user("games")).unwrap_err().name, "Denied");
    assert_eq!(done(&reviewer, review + 1, "x").unwrap_err().name, "Conflict");
    drop((man, reviewer));
    house.stop();
    house.start();
    let reviewer = house.user("proxy");
    assert_eq!(number(&reviewer.status(), "reviews_open"), 1);
    assert_eq!(done(&house.user("man"), review, "still me").unwrap_err().name, "Denied");
    let entry = done(&reviewer, review, "the child was found; nothing else was looked at").unwrap();
    let last = house.durable().pop().unwrap();
    assert_eq!((last.event(), last.seq(), last.number("entry")), ("review.done", entry, Some(review)));
    assert_eq!(number(&reviewer.status(), "reviews_open"), 0);
    assert_eq!(done(&reviewer, review, "again").unwrap_err().name, "Conflict");
    house.finish();
}

#[test]
fn a_late_review_shows_in_the_state_until_it_is_done() {
    let (mut house, id) = house();
    house.stop();
    let path = house.path("etc/greffier.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("[limits]", "[limits]\nemergency_review = \"PT1S\"")).unwrap();
    house.start();
    let (man, reviewer) = (house.user("man"), house.user("proxy"));
    emergency(&man, &id, "a child is missing").unwrap();
    let late = || man.state().1.contains("review list");
    until("the state says that it is late", || late().then_some(()));
    assert_eq!(number(&man.status(), "reviews_overdue"), 1);
    let review = number(&reviews(&reviewer).unwrap()[0], "entry");
    done(&reviewer, review, "late, and in order").unwrap();
    assert!(!late(), "{:?}", man.state());
    house.finish();
}
