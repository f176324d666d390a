//! Grants, mandates, approvals and the charter on a real bus with real accounts: who may what for whom, what becomes of sessions,
//! and that all of it is there again after a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::io;
use std::time::Duration;

use greffier::core::time::Timestamp;
use greffier::shell::clock::SystemClock;
use jiff::tz::TimeZone;
use rustix::io::Errno;
use serde_json::Value;
use support::user::{Keys, Refused, User, keys, text};
use support::{House, noise, pause, until};
use zbus::wire::Variant;

/// Everything but roles and grants.
const HEAD: &str = r#"format = 1
controller = "A house for tests"
GRANTS_IN

[reasons]
incident = { text = "Theft, damage or assault" }
training = { text = "To learn from it" }

[purposes]
security = { kinds = ["footage"], reasons = ["incident"] }
teaching = { kinds = ["footage"], reasons = ["training"] }

[classes]
fortnight = { max = "P15D", from = "sealed" }

[sources]
entrance = { kind = "footage", zone = "entrance", purposes = ["security", "teaching"], class = "fortnight", writer = "backup" }
doorbell = { kind = "footage", zone = "entrance", purposes = ["security"], class = "fortnight", writer = "backup" }

[roles]
viewer     = { verbs = ["search", "view"] }
registrar  = { verbs = ["register"] }
approver   = { verbs = ["approve"] }
both       = { verbs = ["register", "approve"] }
reviewer   = { verbs = ["review"] }
mandator   = { verbs = ["mandate"] }
auditor    = { verbs = ["read-ledger"] }
technician = { verbs = ["administer"] }
"#;

fn policy(grants_in: &str, grants: &str) -> String {
    format!("{}\n[grants]\n{grants}", HEAD.replace("GRANTS_IN", grants_in))
}

/// Grants in the register; the policy itself names who begins.
fn register_policy() -> String {
    let grants = "technique = { user = \"daemon\", role = \"technician\" }\napproving = { user = \"sys\", role = \"approver\" }\n";
    policy("grants_in = \"register\"", grants)
}

fn house(policy: &str) -> House {
    let mut house = House::closed(std::path::Path::new("state"));
    house.write_policy(policy);
    house.start();
    house
}

fn now() -> Timestamp {
    SystemClock::new().unwrap().now().time
}

/// A day so many days from now.
fn day(days: i64) -> String {
    now().saturating_add_micros(days * 86_400_000_000).date_in(&TimeZone::UTC).to_string()
}

fn time(seconds: i64) -> String {
    now().saturating_add_micros(seconds * 1_000_000).to_string()
}

fn grant(user: &str, role: &str, days: i64) -> String {
    format!("user = \"{user}\"\nrole = \"{role}\"\nuntil = {}", day(days))
}

fn propose(by: &User, text: &str) -> Result<String, Refused> {
    by.record("grants", "propose", &[("grant", text), ("ground", "new in the house")])
}

/// Proposed by one, approved by another.
fn give(proposer: &User, approver: &User, text: &str) -> String {
    let id = propose(proposer, text).unwrap();
    approver.record("grants", "approve", &[("id", &id)]).unwrap();
    id
}

fn errno(read: io::Result<Vec<u8>>) -> Option<Errno> {
    read.err().and_then(|error| Errno::from_io_error(&error))
}

/// A refusal by a rule, which is an entry that did not happen.
#[track_caller]
fn refused_by(house: &House, rule: &str, refused: &Refused) {
    assert!(refused.sentence.contains(&format!("rule {rule}")), "{rule}: {refused:?}");
    let entry = refused.entry().unwrap_or_else(|| panic!("no entry: {refused:?}"));
    let durable = house.durable();
    assert_eq!(durable[usize::try_from(entry).unwrap()].get("outcome"), "denied", "{refused:?}");
}

/// The details of entries, as the auditor reads them.
fn details(auditor: &User, from: u64, count: u32) -> Vec<Value> {
    let lines = auditor.read_ledger(from, count).unwrap();
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|it: &Value| it["salt"].is_string())
        .collect()
}

#[test]
fn inv8_a_grant_takes_three_persons_and_a_year_at_most() {
    let mut house = house(&register_policy());
    let clip = house.seal("entrance", "clip.mp4", &noise(1, 100_000));
    let (daemon, sys, games) = (house.user("daemon"), house.user("sys"), house.user("games"));
    let reason = [("reason", "incident")];
    assert_eq!(games.open(&clip, &reason).unwrap_err().name, "NotFound");

    for (rule, text) in [
        ("builtin.self", grant("daemon", "registrar", 30)),
        ("builtin.request", grant("root", "viewer", 30)),
        ("builtin.request", grant("games", "king", 30)),
        ("builtin.request", grant("games", "viewer", 367)),
        ("builtin.request", grant("games", "viewer", -1)),
        ("builtin.request", "user = \"games\"\nrole = \"viewer\"".to_owned()),
        ("builtin.account", grant("nobody-of-that-name", "viewer", 30)),
    ] {
        let refused = propose(&daemon, &text).unwrap_err();
        refused_by(&house, rule, &refused);
    }
    refused_by(&house, "builtin.no-grant", &propose(&games, &grant("games", "viewer", 30)).unwrap_err());

    let id = propose(&daemon, &grant("games", "viewer", 30)).unwrap();
    let approve = [("id", id.as_str())];
    assert_eq!(games.open(&clip, &reason).unwrap_err().name, "NotFound", "it is only proposed");
    refused_by(&house, "builtin.no-grant", &daemon.record("grants", "approve", &approve).unwrap_err());
    sys.record("grants", "approve", &approve).unwrap();
    refused_by(&house, "builtin.stage", &sys.record("grants", "approve", &approve).unwrap_err());
    games.open(&clip, &reason).unwrap();

    // One who may both propose and approve approves nothing of his own, and nobody a grant for himself.
    give(&daemon, &sys, &grant("mail", "both", 30));
    let mail = house.user("mail");
    let id = propose(&mail, &grant("man", "viewer", 30)).unwrap();
    refused_by(&house, "builtin.self", &mail.record("grants", "approve", &[("id", &id)]).unwrap_err());
    let id = propose(&mail, &grant("sys", "auditor", 30)).unwrap();
    refused_by(&house, "builtin.self", &sys.record("grants", "approve", &[("id", &id)]).unwrap_err());
    let ended = mail.record("grants", "end", &[("id", &id)]).unwrap();
    assert_eq!(house.of_event("grant.ended").pop().unwrap().data("why"), "taken-back");
    assert_eq!(ended, id);
    refused_by(&house, "builtin.unknown", &sys.record("grants", "approve", &[("id", &id)]).unwrap_err());

    // Nobody administers and views, though policy and register say each a half.
    assert!(propose(&mail, &grant("daemon", "viewer", 30)).is_err());
    // Nothing in the leaves names anybody.
    assert!(
        house.durable().iter().all(|entry| !entry.line.contains("games") && !entry.line.contains("viewer"))
    );

    house.stop();
    house.start();
    house.user("games").open(&clip, &reason).unwrap();
    house.finish();
}

#[test]
fn a_grant_that_ends_or_is_suspended_cuts_its_sessions_and_a_review_brings_it_back() {
    let mut house = house(&register_policy());
    let clip = house.seal("entrance", "clip.mp4", &noise(2, 100_000));
    let (daemon, sys, games) = (house.user("daemon"), house.user("sys"), house.user("games"));
    let id = give(&daemon, &sys, &grant("games", "viewer", 30));
    give(&daemon, &sys, &grant("list", "reviewer", 30));
    let reason = [("reason", "incident")];
    let opened = games.open(&clip, &reason).unwrap();
    games.read(&opened.file, 0, 4096).unwrap();
    daemon.record("grants", "suspend", &[("id", &id), ("ground", "on leave")]).unwrap();
    assert_eq!(errno(games.read(&opened.file, 0, 4096)), Some(Errno::STALE));
    assert_eq!(house.of_event("access.revoked").pop().unwrap().data("why"), "rights-ended");
    assert!(games.open(&clip, &reason).is_err());

    house.stop();
    house.start();
    let (daemon, games, list) = (house.user("daemon"), house.user("games"), house.user("list"));
    assert!(games.open(&clip, &reason).is_err(), "a restart lifts no suspension");
    refused_by(&house, "builtin.no-grant", &games.record("grants", "review", &[("id", &id)]).unwrap_err());
    list.record("grants", "review", &[("id", &id)]).unwrap();
    let opened = games.open(&clip, &reason).unwrap();
    let rows = games.register("grants").unwrap();
    assert_eq!(rows.len(), 1, "only his own: {rows:?}");
    assert_eq!((text(&rows[0], "state"), text(&rows[0], "proposer")), ("given".into(), "daemon".into()));
    assert_eq!(text(&rows[0], "approver"), "sys");
    daemon.record("grants", "end", &[("id", &id)]).unwrap();
    assert_eq!(errno(games.read(&opened.file, 0, 4096)), Some(Errno::STALE));
    // A rule of the policy is suspended like any other, by its name, which stands in no leaf.
    daemon.record("grants", "suspend", &[("id", "approving")]).unwrap();
    let sys = house.user("sys");
    let proposed = propose(&daemon, &grant("games", "viewer", 30)).unwrap();
    assert_eq!(sys.record("grants", "approve", &[("id", &proposed)]).unwrap_err().name, "Denied");
    assert!(house.durable().iter().all(|entry| !entry.line.contains("approving")));
    house.finish();
}

/// `games` views only with a second person; `sys` and `mail` are such; `news` audits; `daemon` administers with one.
fn approval_policy() -> String {
    policy(
        "",
        r#"views     = { user = "games", role = "viewer", second_person = true }
others    = { user = "lp", role = "viewer", second_person = true }
approving = { user = "sys", role = "approver" }
himself   = { user = "games", role = "approver" }
audit     = { user = "news", role = "auditor" }
technique = { user = "daemon", role = "technician", second_person = true }
"#,
    )
}

fn ask(by: &User, request: &[(&str, &str)]) -> Result<String, Refused> {
    by.record("approvals", "ask", request)
}

#[test]
fn an_approval_is_another_persons_and_serves_once_for_what_was_asked() {
    let mut house = house(&approval_policy());
    let clip = house.seal("entrance", "clip.mp4", &noise(3, 100_000));
    let other = house.seal("entrance", "other.mp4", &noise(4, 1000));
    let (games, lp, sys) = (house.user("games"), house.user("lp"), house.user("sys"));
    let open = |user: &User, recording: &str, reason: &str, approval: &str| {
        user.open(recording, &[("reason", reason), ("approval", approval)])
    };
    let about_clip = [("recording", clip.as_str()), ("reason", "incident"), ("text", "the broken window")];
    assert_eq!(games.open(&clip, &[("reason", "incident")]).unwrap_err().name, "ApprovalRequired");
    let id = ask(&games, &about_clip).unwrap();
    assert_eq!(open(&games, &clip, "incident", &id).unwrap_err().name, "ApprovalRequired", "not answered");
    refused_by(&house, "builtin.self", &games.record("approvals", "accept", &[("id", &id)]).unwrap_err());
    refused_by(&house, "builtin.no-grant", &lp.record("approvals", "accept", &[("id", &id)]).unwrap_err());
    sys.record("approvals", "accept", &[("id", &id), ("ground", "I was there")]).unwrap();
    refused_by(&house, "builtin.approval", &sys.record("approvals", "refuse", &[("id", &id)]).unwrap_err());
    for (user, recording, reason) in
        [(&lp, &clip, "incident"), (&games, &other, "incident"), (&games, &clip, "training")]
    {
        let refused = open(user, recording, reason, &id).unwrap_err();
        assert_eq!(refused.name, "ApprovalRequired", "{recording} {reason} {refused:?}");
    }
    house.stop();
    house.start();
    let (games, sys) = (house.user("games"), house.user("sys"));
    let opened = open(&games, &clip, "incident", &id).unwrap();
    games.read(&opened.file, 0, 4096).unwrap();
    let used = house.of_event("approval.used").pop().unwrap();
    assert_eq!((used.seq(), used.data("approval")), (opened.entry + 1, id.clone()));
    let news = house.user("news");
    let told = details(&news, opened.entry, 2);
    assert_eq!((&told[0]["who"]["user"], &told[0]["approver"]["user"]), (&"games".into(), &"sys".into()));
    assert_eq!(open(&games, &clip, "incident", &id).unwrap_err().name, "ApprovalRequired", "used");

    // One that is refused, and those whose time is over.
    let refused = ask(&games, &about_clip).unwrap();
    sys.record("approvals", "refuse", &[("id", &refused)]).unwrap();
    assert_eq!(open(&games, &clip, "incident", &refused).unwrap_err().name, "ApprovalRequired");
    let soon = time(2);
    let short = [about_clip.as_slice(), &[("expires", soon.as_str())]].concat();
    let (late, unanswered) = (ask(&games, &short).unwrap(), ask(&games, &short).unwrap());
    sys.record("approvals", "accept", &[("id", &late)]).unwrap();
    pause(Duration::from_millis(2500));
    assert_eq!(open(&games, &clip, "incident", &late).unwrap_err().name, "ApprovalRequired");
    let too_late = sys.record("approvals", "accept", &[("id", &unanswered)]).unwrap_err();
    refused_by(&house, "builtin.approval", &too_late);
    refused_by(
        &house,
        "builtin.request",
        &ask(&games, &[about_clip.as_slice(), &[("expires", &time(-5))]].concat()).unwrap_err(),
    );

    // What he may not know of is asked for like what does not exist; what is not asked for has no second person.
    let nobody = house.user("nobody");
    assert_eq!(ask(&nobody, &about_clip).unwrap_err().name, "NotFound");
    house.finish();
}

#[test]
fn an_approval_of_an_interval_opens_nothing_outside_it() {
    let house = house(&approval_policy());
    let clip = house.seal("entrance", "clip.mp4", &noise(5, 1000));
    let (games, sys) = (house.user("games"), house.user("sys"));
    let (hour_ago, day_ago, soon) = (time(-3600), time(-86_400), time(60));
    let interval = |from: &str, to: &str| {
        let request = [
            ("source", "entrance"),
            ("from", from),
            ("to", to),
            ("reason", "incident"),
            ("duration", "PT5M"),
        ];
        let id = ask(&games, &request).unwrap();
        sys.record("approvals", "accept", &[("id", &id)]).unwrap();
        id
    };
    let (outside, inside) = (interval(&day_ago, &hour_ago), interval(&hour_ago, &soon));
    let open = |approval: &str| games.open(&clip, &[("reason", "incident"), ("approval", approval)]);
    assert_eq!(open(&outside).unwrap_err().name, "ApprovalRequired");
    let opened = open(&inside).unwrap();
    let expires: Timestamp = opened.expires.parse().unwrap();
    assert!(expires <= now().saturating_add_micros(300_000_000), "{expires}");
    house.finish();
}

#[test]
fn inv8_an_administrator_acts_with_a_second_person_where_the_policy_says_so() {
    let house = house(&approval_policy());
    let (daemon, sys) = (house.user("daemon"), house.user("sys"));
    assert_eq!(daemon.reload().unwrap_err().name, "ApprovalRequired");
    let id = ask(&daemon, &[("verb", "administer"), ("text", "a new camera")]).unwrap();
    assert_eq!(daemon.reload().unwrap_err().name, "ApprovalRequired");
    sys.record("approvals", "accept", &[("id", &id)]).unwrap();
    house.write_policy(&format!("{}# changed\n", approval_policy()));
    daemon.reload().unwrap();
    assert_eq!(house.of_event("approval.used").pop().unwrap().data("approval"), id);
    assert_eq!(daemon.reload().unwrap_err().name, "ApprovalRequired", "it served once");

    let id = ask(&daemon, &[("verb", "administer")]).unwrap();
    sys.record("approvals", "accept", &[("id", &id)]).unwrap();
    let rotate = |daemon: &User| -> Result<(), Refused> {
        daemon.run(|client| client.ask(support::user::ROOT, "Manager", "RotateKeys", &Keys::new()))
    };
    rotate(&daemon).unwrap();
    let ordered = house.of_event("key.rotation-ordered").pop().unwrap();
    assert_eq!(house.of_event("approval.used").pop().unwrap().seq(), ordered.seq() + 1);
    assert_eq!(rotate(&daemon).unwrap_err().name, "ApprovalRequired");
    house.finish();
}

fn mandate(user: &str, tasks: &[&str], days: i64) -> Keys {
    let (from, until) = (day(0), day(days));
    let mut request = keys(&[
        ("id", "leave-of-may"),
        ("user", user),
        ("client", "Cabinet Martin"),
        ("from", &from),
        ("until", &until),
        ("necessity", "the colleague is on leave"),
        ("informed_on", &from),
        ("consent", "letter 2026/17"),
    ]);
    let tasks: Vec<String> = tasks.iter().map(|task| (*task).to_owned()).collect();
    request.insert("tasks".into(), Variant::from(tasks));
    request.insert("sources".into(), Variant::from(vec!["entrance".to_owned()]));
    request
}

#[test]
fn a_mandate_is_limited_to_its_tasks_and_its_withdrawal_cuts_the_session() {
    let policy = policy(
        "",
        r#"views   = { user = "games", role = "viewer", mandate = true }
gives   = { user = "sys", role = "mandator" }
audit   = { user = "news", role = "auditor" }
"#,
    );
    let mut house = house(&policy);
    let clip = house.seal("entrance", "clip.mp4", &noise(6, 100_000));
    let bell = house.seal("doorbell", "bell.mp4", &noise(7, 1000));
    let (games, sys) = (house.user("games"), house.user("sys"));
    let under = |user: &User, recording: &str, reason: &str| {
        user.open(recording, &[("reason", reason), ("mandate", "leave-of-may")])
    };
    refused_by(&house, "builtin.mandate", &games.open(&clip, &[("reason", "incident")]).unwrap_err());
    refused_by(&house, "builtin.mandate", &under(&games, &clip, "incident").unwrap_err());
    let set = |by: &User, act: &str, request: Keys| by.record_with("mandates", act, request);
    refused_by(&house, "builtin.self", &set(&sys, "give", mandate("sys", &["incident"], 10)).unwrap_err());
    refused_by(
        &house,
        "builtin.request",
        &set(&sys, "give", mandate("games", &["curiosity"], 10)).unwrap_err(),
    );
    refused_by(
        &house,
        "builtin.account",
        &set(&sys, "give", mandate("no-such-name", &["incident"], 10)).unwrap_err(),
    );
    refused_by(
        &house,
        "builtin.no-grant",
        &set(&games, "give", mandate("lp", &["incident"], 10)).unwrap_err(),
    );
    refused_by(
        &house,
        "builtin.unknown",
        &set(&sys, "change", mandate("games", &["incident"], 10)).unwrap_err(),
    );
    set(&sys, "give", mandate("games", &["incident"], 10)).unwrap();
    refused_by(&house, "builtin.mandate", &under(&games, &clip, "training").unwrap_err());
    refused_by(&house, "builtin.mandate", &under(&games, &bell, "incident").unwrap_err());
    let opened = under(&games, &clip, "incident").unwrap();
    games.read(&opened.file, 0, 4096).unwrap();
    let entry = house.durable().remove(usize::try_from(opened.entry).unwrap());
    assert_eq!(entry.data("mandate"), "leave-of-may");

    // Other tasks: what was opened for the old ones ends.
    set(&sys, "change", mandate("games", &["training"], 10)).unwrap();
    assert_eq!(errno(games.read(&opened.file, 0, 4096)), Some(Errno::STALE));
    assert_eq!(house.of_event("access.revoked").pop().unwrap().data("why"), "rights-ended");

    house.stop();
    house.start();
    let (games, sys) = (house.user("games"), house.user("sys"));
    let opened = under(&games, &clip, "training").unwrap();
    games.read(&opened.file, 0, 4096).unwrap();
    sys.record("mandates", "withdraw", &[("id", "leave-of-may"), ("ground", "a letter came")]).unwrap();
    assert_eq!(errno(games.read(&opened.file, 0, 4096)), Some(Errno::STALE));
    let revoked = house.of_event("access.revoked").pop().unwrap();
    assert_eq!(revoked.data("why"), "mandate-withdrawn");
    refused_by(&house, "builtin.mandate", &under(&games, &clip, "training").unwrap_err());
    refused_by(
        &house,
        "builtin.mandate",
        &set(&sys, "change", mandate("games", &["incident"], 10)).unwrap_err(),
    );
    let rows = games.register("mandates").unwrap();
    assert_eq!(
        (text(&rows[0], "state"), text(&rows[0], "client")),
        ("withdrawn".into(), "Cabinet Martin".into())
    );
    assert!(house.durable().iter().all(|entry| !entry.line.contains("Martin")));
    house.finish();
}

#[test]
fn the_charter_is_acknowledged_before_the_first_opening_and_again_when_it_changes() {
    let with = |version: &str| {
        let charter = format!("charter = {{ version = \"{version}\", text = \"Look only for a reason.\" }}");
        policy(
            &charter,
            "views = { user = \"games\", role = \"viewer\" }\ntechnique = { user = \"daemon\", role = \"technician\" }\n",
        )
    };
    let mut house = house(&with("2026"));
    let clip = house.seal("entrance", "clip.mp4", &noise(8, 1000));
    let games = house.user("games");
    let reason = [("reason", "incident")];
    refused_by(&house, "builtin.charter", &games.open(&clip, &reason).unwrap_err());
    let row = games.register("charter").unwrap().remove(0);
    assert_eq!((text(&row, "state"), text(&row, "text")), ("open".into(), "Look only for a reason.".into()));
    let acknowledge =
        |user: &User, version: &str| user.record("charter", "acknowledge", &[("version", version)]);
    refused_by(&house, "builtin.charter", &acknowledge(&games, "2025").unwrap_err());
    acknowledge(&games, "2026").unwrap();
    games.open(&clip, &reason).unwrap();
    house.stop();
    house.start();
    let (games, daemon) = (house.user("games"), house.user("daemon"));
    games.open(&clip, &reason).unwrap();
    house.write_policy(&with("2027"));
    daemon.reload().unwrap();
    refused_by(&house, "builtin.charter", &games.open(&clip, &reason).unwrap_err());
    assert_eq!(text(&games.register("charter").unwrap()[0], "state"), "outdated");
    let first = house.of_event("charter.acknowledged").pop().unwrap().seq();
    acknowledge(&games, "2027").unwrap();
    assert_eq!(house.of_event("charter.acknowledged").pop().unwrap().number("replaces"), Some(first));
    games.open(&clip, &reason).unwrap();
    house.finish();
}

/// An account of this machine that lives as long as this value.
struct Account(String);

impl Account {
    fn new() -> Self {
        let name = format!("greffier-t{}", std::process::id());
        let made = std::process::Command::new("useradd")
            .args(["-M", "-N", "-s", "/usr/sbin/nologin", &name])
            .status();
        assert!(made.expect("this test needs useradd").success());
        Self(name)
    }
    fn lock(&self) {
        let locked = std::process::Command::new("usermod").args(["-e", "1970-01-02", &self.0]).status();
        assert!(locked.unwrap().success());
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("userdel").arg(&self.0).output();
    }
}

#[test]
fn an_account_that_is_locked_or_gone_gets_nothing_and_loses_what_it_has() {
    let house = house(&register_policy());
    let (daemon, sys) = (house.user("daemon"), house.user("sys"));
    let account = Account::new();
    let id = give(&daemon, &sys, &grant(&account.0, "viewer", 30));
    account.lock();
    refused_by(&house, "builtin.account", &propose(&daemon, &grant(&account.0, "viewer", 30)).unwrap_err());
    // Looked at after each load of the policy.
    daemon.reload().unwrap();
    let suspended = until("it is suspended", || house.of_event("grant.suspended").pop());
    assert_eq!((suspended.data("grant"), suspended.data("why")), (id.clone(), "account-locked".into()));
    give(&daemon, &sys, &grant("list", "reviewer", 30));
    let list = house.user("list");
    let review = |id: &str| list.record("grants", "review", &[("id", id)]);
    refused_by(&house, "builtin.account", &review(&id).unwrap_err());
    drop(account);
    refused_by(&house, "builtin.account", &review(&id).unwrap_err());
    house.finish();
}
