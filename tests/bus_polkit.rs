//! Authenticating again, against the real polkitd on a real bus: what the person is asked, what each answer does, and that nothing
//! but a fresh authentication lets anybody in.
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

use support::polkit::{Agent, Behaviour, Dialog, Polkitd, let_ask};
use support::user::{Refused, User, keys};
use support::{House, POLICY, noise, until};

const REASON: [(&str, &str); 1] = [("reason", "incident")];

/// `games` views and `daemon` administers only after they have authenticated again; `lp` views as ever.
fn policy() -> String {
    POLICY
        .replace(
            "sources = [\"entrance\", \"doorbell\"] }",
            "sources = [\"entrance\", \"doorbell\"], reauth = true }",
        )
        .replace("role = \"technician\" }", "role = \"technician\", reauth = true }")
        .replace("max_session = \"PT2S\"", "max_session = \"PT30S\"")
}

/// A house where polkit may be asked; it does not run yet on the bus.
fn house() -> (House, String) {
    let mut house = House::closed(Path::new("state"));
    let_ask(&house);
    house.write_policy(&policy());
    house.start();
    let id = house.seal("entrance", "clip.mp4", &noise(1, 50_000));
    (house, id)
}

/// A refusal by the rule that wants the person to authenticate; what it says to do.
fn refused(house: &House, games: &User, id: &str) -> String {
    let before = house.durable().len();
    let refused = games.open(id, &REASON).unwrap_err();
    assert_eq!(refused.name, "Denied", "{refused:?}");
    let new = house.durable().split_off(before);
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!((new[0].event(), new[0].get("outcome").as_str()), ("access.opened", "denied"));
    assert_eq!(refused.entry(), Some(new[0].seq()));
    assert!(refused.sentence.starts_with("Refused by rule builtin.reauth: "), "{refused:?}");
    let line = house.user("news").read_ledger(new[0].seq(), 1).unwrap().pop().unwrap();
    assert!(line.contains("\"rule\":\"builtin.reauth\""), "{line}");
    refused.sentence
}

#[test]
fn the_right_answer_opens_and_the_dialog_says_what_and_why() {
    let (house, id) = house();
    let _polkitd = Polkitd::start(&house, "");
    let games = house.user("games");
    for (locale, words) in [("en_GB.UTF-8", "Authenticate again"), ("fr_FR.UTF-8", "Authentifiez-vous")] {
        let agent = Agent::start(&house, locale, Behaviour::Right);
        let opened = games.open(&id, &REASON).unwrap();
        let Dialog { action, message, who } = agent.dialog();
        assert_eq!(action, "org.greffier.archive.view");
        assert!(message.starts_with(words), "{message}");
        for shown in [id.as_str(), "entrance", "incident"] {
            assert!(message.contains(shown) && !message.contains('$'), "{message}");
        }
        // His own password, and nobody else's.
        assert_eq!(who, [5]);
        assert_eq!(agent.unseen(), []);
        games.read(&opened.file, 0, 4096).unwrap();
        games.close(&opened.session).unwrap();
    }
    let granted = house.of_event("access.opened");
    assert!(granted.len() == 2 && granted.iter().all(|entry| entry.get("outcome") == "granted"));
    // The administrator is asked as an administrator.
    let agent = Agent::start(&house, "C", Behaviour::Right);
    house.user("daemon").reload().unwrap();
    assert_eq!(agent.dialog().action, "org.greffier.archive.administer");
    assert!(!games.state().1.contains("polkit"), "{:?}", games.state());
    house.finish();
}

#[test]
fn everything_else_refuses_and_says_what_to_do() {
    let (house, id) = house();
    let games = house.user("games");
    let polkitd = Polkitd::start(&house, "");
    assert!(refused(&house, &games, &id).contains("a terminal"));
    let agent = Agent::start(&house, "C", Behaviour::Wrong);
    assert!(refused(&house, &games, &id).contains("your own password"));
    agent.behave(Behaviour::Dismiss);
    assert!(refused(&house, &games, &id).contains("you closed the dialog"));
    drop((agent, polkitd));
    // A rule of polkit that lets everybody pass: nobody would have authenticated.
    for (rule, words) in [("YES", "without asking you"), ("NO", "polkit refuses it")] {
        let rule = format!("polkit.addRule(function (action) {{ return polkit.Result.{rule}; }});");
        let polkitd = Polkitd::start(&house, &rule);
        let agent = Agent::start(&house, "C", Behaviour::Right);
        assert!(refused(&house, &games, &id).contains(words));
        assert_eq!(agent.unseen(), []);
        drop(polkitd);
    }
    house.finish();
}

#[test]
fn without_polkit_it_fails_closed_and_the_state_says_so_until_it_is_back() {
    let (house, id) = house();
    let games = house.user("games");
    until("the state says that polkit is missing", || {
        let (state, why) = games.state();
        (state == "degraded" && why.contains("polkit")).then_some(())
    });
    assert!(refused(&house, &games, &id).contains("polkit cannot be asked"));
    // Who needs no polkit is served as ever.
    house.user("lp").open(&id, &REASON).unwrap();
    let polkitd = Polkitd::start(&house, "");
    until("the state has seen it come", || (!games.state().1.contains("polkit")).then_some(()));
    let agent = Agent::start(&house, "C", Behaviour::Wait);
    // It goes while the dialog is open.
    let opening = games.start({
        let id = id.clone();
        move |client| client.open(&id, &keys(&REASON))
    });
    agent.dialog();
    drop(polkitd);
    let answer: Result<_, Refused> = opening.recv().unwrap();
    assert!(answer.unwrap_err().sentence.contains("polkit cannot be asked"));
    assert!(games.state().1.contains("polkit"));
    house.finish();
}

#[test]
fn nobody_is_asked_who_would_be_refused_anyway_and_polkit_may_be_switched_off() {
    let (mut house, id) = house();
    let _polkitd = Polkitd::start(&house, "");
    let agent = Agent::start(&house, "C", Behaviour::Right);
    let (games, nobody) = (house.user("games"), house.user("nobody"));
    assert_eq!(games.open(&id, &[]).unwrap_err().name, "ReasonRequired");
    assert_eq!(games.open("aaaaaaaaaaaaaaaaaaaaaaaaaa", &REASON).unwrap_err().name, "NotFound");
    assert_eq!(nobody.open(&id, &REASON).unwrap_err().name, "NotFound");
    assert_eq!(games.reload().unwrap_err().name, "Denied");
    assert_eq!(agent.unseen(), []);
    house.stop();
    let config = std::fs::read_to_string(house.path("etc/greffier.toml")).unwrap();
    std::fs::write(house.path("etc/greffier.toml"), config.replace("polkit = true", "polkit = false"))
        .unwrap();
    house.start();
    assert!(refused(&house, &games, &id).contains("bus.polkit"));
    assert!(games.state().1.contains("bus.polkit"), "{:?}", games.state());
    assert_eq!(agent.unseen(), []);
    house.finish();
}

#[test]
fn no_call_waits_behind_the_dialog_of_another_and_leaving_closes_it() {
    let (house, id) = house();
    let _polkitd = Polkitd::start(&house, "");
    let agent = Agent::start(&house, "C", Behaviour::Wait);
    // A client that can have two calls under way.
    let (games, again) = (house.user("games"), house.user("games"));
    let call = |user: &User| {
        let id = id.clone();
        user.start(move |client| client.open(&id, &keys(&REASON)))
    };
    let first = call(&games);
    agent.dialog();
    // Others are served meanwhile, also a second connection of the same person.
    house.user("lp").open(&id, &REASON).unwrap();
    assert_eq!(house.user("games").search("incident").unwrap(), std::slice::from_ref(&id));
    let second = call(&again);
    agent.dialog();
    agent.behave(Behaviour::Right);
    let third = house.user("games").open(&id, &REASON);
    third.unwrap();
    agent.dialog();
    // Two calls of one name: the second is told, and waits for nothing.
    let twice = house.user("games");
    agent.behave(Behaviour::Wait);
    let one_dialog = twice.run({
        let id = id.clone();
        move |client| client.open_twice(&id, &keys(&REASON))
    });
    assert!(one_dialog.sentence.contains("open already"), "{one_dialog:?}");
    agent.dialog();
    drop(twice);
    agent.taken_back();
    // That woke everybody whom this agent let wait.
    for waiting in [first, second] {
        assert!(waiting.recv().unwrap().unwrap_err().sentence.contains("closed the dialog"));
    }
    house.finish();
}
