//! Bad input on a real bus, and what it gets: each line of the contract's list.
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

use support::user::{Keys, ROOT, Refused, keys, text};
use support::{House, POLICY, noise, until};
use zbus::wire::{OwnedFd, OwnedVariant, Variant};

/// A call whose answer does not matter.
fn refusal<B>(
    house: &House,
    account: &str,
    path: &str,
    interface: &'static str,
    method: &'static str,
    body: B,
) -> Refused
where
    B: serde::Serialize + zbus::wire::DynamicType + Send + 'static,
{
    let path = path.to_owned();
    house.user(account).run(move |client| client.refused(&path, interface, method, &body))
}

#[test]
fn an_unknown_recording_and_one_the_caller_may_not_know_of_get_the_same_answer() {
    let house = House::open();
    // `man` may search the entrance; a call of the reception he may not know of.
    let hidden = house.seal("reception", "call.wav", &noise(1, 1000));
    let man = house.user("man");
    for unknown in ["aaaaaaaaaaaaaaaaaaaaaaaaaa", "no id at all", "", "../../etc/shadow"] {
        let there = man.describe(&hidden).unwrap_err();
        let nowhere = man.describe(unknown).unwrap_err();
        assert_eq!((there.name.as_str(), there.without_entry()), ("NotFound", nowhere.without_entry()));
        assert_eq!(nowhere.name, "NotFound");
    }
    let nobody = house.user("nobody");
    let reason = [("reason", "incident")];
    let there = nobody.open(&hidden, &reason).unwrap_err();
    let nowhere = nobody.open("aaaaaaaaaaaaaaaaaaaaaaaaaa", &reason).unwrap_err();
    assert_eq!((there.name.as_str(), there.without_entry()), ("NotFound", nowhere.without_entry()));
    // In the ledger they differ: there the recording is named, in the leaf, and the controller sees who tried.
    let opened = house.of_event("access.opened");
    assert_eq!(
        opened.iter().map(|entry| entry.get("recording")).collect::<Vec<_>>(),
        [hidden, String::new()]
    );
    house.finish();
}

#[test]
fn a_missing_or_unlisted_reason_gets_the_allowed_codes() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(2, 1000));
    let games = house.user("games");
    for reason in
        [vec![], vec![("reason", "curiosity")], vec![("reason", "")], vec![("reason", "NOT A CODE")]]
    {
        let refused = games.open(&id, &reason).unwrap_err();
        assert_eq!(refused.name, "ReasonRequired", "{reason:?} {refused:?}");
        assert!(refused.sentence.contains("incident"), "{refused:?}");
    }
    let refused = games.search("curiosity").unwrap_err();
    assert_eq!(refused.name, "ReasonRequired");
    assert!(refused.sentence.contains("incident"), "{refused:?}");
    // What was typed is no code, so it stands in the detail and not in the leaf.
    assert!(house.durable().iter().all(|entry| !entry.line.contains("curiosity")));
    house.finish();
}

#[test]
fn an_unknown_key_is_named_by_every_method() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(3, 1000));
    let with = |pairs: &[(&str, &str)]| keys(&[pairs, &[("colour", "red")]].concat());
    let sys = house.user("sys");
    let hold = sys.hold(&[("recording", &id), ("kind", "judicial"), ("ground", "requisition")]).unwrap();
    let file = OwnedFd::from(std::os::fd::OwnedFd::from(fs::File::open("/dev/null").unwrap()));
    let reason = [("reason", "incident")];
    let asked = [
        refusal(&house, "games", ROOT, "Recordings", "Search", (with(&reason), 10_u32, "")),
        refusal(&house, "games", ROOT, "Recordings", "Open", (id.clone(), with(&reason))),
        refusal(&house, "backup", ROOT, "Recordings", "Seal", (file, with(&[("source", "entrance")]))),
        refusal(
            &house,
            "sys",
            ROOT,
            "Retention",
            "Hold",
            with(&[("recording", &id), ("kind", "judicial"), ("ground", "requisition")]),
        ),
        refusal(&house, "sys", &hold, "Hold", "Lift", with(&[])),
        refusal(&house, "news", ROOT, "Ledger", "Read", (0_u64, 1_u32, with(&[]))),
    ];
    for refused in asked {
        assert_eq!(refused.name, "InvalidArgument", "{refused:?}");
        assert!(refused.sentence.contains("colour"), "{refused:?}");
    }
    // A known key of another type, a limit and an interval that cannot be.
    let wrong: Keys = [("reason".to_owned(), Variant::from(7_u32))].into();
    let asked = [
        ("reason", refusal(&house, "games", ROOT, "Recordings", "Search", (wrong, 10_u32, ""))),
        ("limit", refusal(&house, "games", ROOT, "Recordings", "Search", (keys(&reason), 0_u32, ""))),
        ("limit", refusal(&house, "games", ROOT, "Recordings", "Search", (keys(&reason), 1001_u32, ""))),
        (
            "until",
            refusal(
                &house,
                "games",
                ROOT,
                "Recordings",
                "Open",
                (id.clone(), keys(&[reason[0], ("until", "tomorrow")])),
            ),
        ),
        (
            "mode",
            refusal(&house, "games", ROOT, "Recordings", "Open", (id.clone(), keys(&[("mode", "tape")]))),
        ),
    ];
    for (what, refused) in asked {
        assert_eq!(refused.name, "InvalidArgument", "{refused:?}");
        assert!(refused.sentence.contains(what), "{refused:?}");
    }
    house.finish();
}

#[test]
fn a_bad_policy_is_refused_with_file_line_and_reason_and_the_old_one_stays() {
    let mut house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(4, 1000));
    let reason = [("reason", "incident")];
    let line = |text: &str| POLICY.lines().position(|line| line.starts_with(text)).unwrap() + 1;
    let added = POLICY.lines().count() + 1;
    let bad = [
        (POLICY.replace("kind = \"call\"", "colour = \"red\", kind = \"call\""), line("reception"), "colour"),
        (format!("{POLICY}x = {{ user = \"lp\", role = \"king\" }}\n"), added, "king"),
        (
            format!("{POLICY}x = {{ user = \"lp\", role = \"viewer\", sources = [\"moon\"] }}\n"),
            added,
            "moon",
        ),
        (format!("{POLICY}x = {{ user = \"root\", role = \"viewer\" }}\n"), added, "root"),
        (format!("{POLICY}x = {{ user = \n"), added, "policy.toml"),
    ];
    let count = bad.len();
    for (text, line, names) in bad {
        house.write_policy(&text);
        let refused = house.user("daemon").reload().unwrap_err();
        assert_eq!(refused.name, "InvalidArgument", "{refused:?}");
        let place = format!("policy.toml:{line}");
        assert!(refused.sentence.contains(&place), "{place} is not in {refused:?}");
        assert!(refused.sentence.contains(names), "{refused:?}");
        house.user("games").open(&id, &reason).unwrap();
        // Everybody reads why, and a policy names persons: where to look, not what stands there.
        let why = house.user("nobody").state().1;
        assert!(why.contains("old one stays") && why.contains("greffierctl policy check"), "{why}");
        assert!(!why.contains(names) || names == "policy.toml", "{why}");
    }
    assert_eq!(house.of_event("policy.refused").len(), count);
    // Also over a restart: the one in force is read back from the ledger.
    house.stop();
    house.start();
    house.user("games").open(&id, &reason).unwrap();
    assert_eq!(house.user("games").state().0, "degraded");
    // SIGHUP loads the repaired one, and nothing complains any more.
    house.write_policy(POLICY);
    house.signal(rustix::process::Signal::HUP);
    until("the policy is accepted", || (!house.user("games").state().1.contains("policy")).then_some(()));
    house.finish();
}

#[test]
fn without_a_policy_the_daemon_runs_and_says_what_to_write_and_how_to_check_it() {
    let mut house = House::closed("state".as_ref());
    fs::remove_file(house.path("etc/policy.toml")).unwrap();
    house.start();
    let (state, why) = house.user("nobody").state();
    assert_eq!(state, "degraded");
    assert!(why.contains(&house.path("etc/policy.toml").display().to_string()), "{why}");
    assert!(why.contains("greffierctl policy check"), "{why}");
    let refused = house.user("games").search("incident").unwrap_err();
    assert_eq!(refused.name, "Denied", "{refused:?}");
    house.write_policy(POLICY);
    house.signal(rustix::process::Signal::HUP);
    until("the policy is in force", || house.user("games").search("incident").ok());
    house.finish();
}

#[test]
fn a_second_daemon_and_a_state_of_a_newer_format_are_refused() {
    let mut house = House::open();
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process works on"), "{said}");
    house.user("games").search("incident").unwrap();
    house.stop();
    let format = house.state.join("format");
    let before = fs::read_to_string(&format).unwrap();
    assert_eq!(before.trim(), "1");
    fs::write(&format, "2\n").unwrap();
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("format 2") && said.contains("format 1"), "{said}");
    fs::write(&format, before).unwrap();
    house.start();
    house.finish();
}

#[test]
fn the_introspection_describes_every_method_and_the_manual_page_has_each() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(5, 1000));
    let hold = [("recording", id.as_str()), ("kind", "judicial"), ("ground", "requisition")];
    let hold = house.user("sys").hold(&hold).unwrap();
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/greffier-bus.7")).unwrap();
    let mut methods = BTreeSet::new();
    for path in [ROOT.to_owned(), hold, opened.session.clone()] {
        let xml: String = games.run(move |client| {
            client.call(&path, "org.freedesktop.DBus.Introspectable", "Introspect", &()).unwrap()
        });
        for part in xml.split("<interface name=\"org.greffier.Archive1.").skip(1) {
            let (interface, members) = part.split_once('"').unwrap();
            let members = members.split("</interface>").next().unwrap();
            for (at, _) in members.match_indices("<method name=\"") {
                let name = members[at + 14..].split('"').next().unwrap();
                let before = members[..at].trim_end();
                assert!(before.ends_with("-->"), "{interface}.{name} is not described in:\n{members}");
                assert!(
                    manual.contains(&format!("\\fB{name}\\fP(")),
                    "{interface}.{name} is not in the manual"
                );
                methods.insert(format!("{interface}.{name}"));
            }
        }
    }
    assert_eq!(methods.len(), 30, "{methods:?}");
    house.finish();
}

#[test]
fn the_properties_are_numbers_and_keys_for_everybody() {
    let house = House::open();
    let id = house.seal("entrance", "clip.mp4", &noise(6, 1000));
    let nobody = house.user("nobody");
    let vkey = house.vkey.clone();
    let get = |interface: &'static str, name: &'static str| -> String {
        let value: OwnedVariant = nobody.run(move |client| {
            let interface = format!("org.greffier.Archive1.{interface}");
            client.call(ROOT, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).unwrap()
        });
        String::try_from(value).unwrap()
    };
    assert_eq!(get("Ledger", "Origin"), support::ORIGIN);
    assert_eq!(get("Ledger", "VerifierKey"), vkey);
    assert!(get("Ledger", "Checkpoint").starts_with(support::ORIGIN));
    assert_eq!(get("Manager", "Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(get("Manager", "State"), "degraded");
    let status = nobody.run(|client| client.status()).unwrap();
    assert!(!format!("{status:?}").contains(&id));
    assert_eq!(text(&status, "version"), env!("CARGO_PKG_VERSION"));
    // What it never was: an object that is not there.
    let gone = "/org/greffier/Archive1/session/aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let refused = refusal(&house, "nobody", gone, "Session", "Close", ());
    assert!(refused.sentence.contains("UnknownObject"), "{refused:?}");
    house.finish();
}
