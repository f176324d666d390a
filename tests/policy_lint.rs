//! The linter: one text for each code, that gives it and gives it no more when the mistake is mended; the profiles that are shipped; and
//! what another policy changes, in words.
#![expect(clippy::unwrap_used, reason = "what a test builds upon must be there, or the test fails")]

use std::collections::BTreeSet;

use greffier::core::policy::{
    Ask, Change, LINT_CODES, LintFacts, Policy, PolicyFile, Profile, TEMPLATE, Warning, diff, lint,
};

/// A house without a finding.
const SOUND: &str = r#"format = 1
controller = "A house"
profiles = ["cnil-footage", "cnil-calls"]
charter = { version = "1", text = "Look only for the reason that you state" }

[reasons]
incident = { text = "An incident", case = true }
learning = { text = "To learn from it", case = true }

[purposes]
security = { kinds = ["footage"], reasons = ["incident"] }
training = { kinds = ["screen"], reasons = ["learning"] }

[classes]
short = { max = "P15D" }

[sources]
door = { kind = "footage", zone = "public-hall", purposes = ["security"], class = "short", notice = "A sign", authorisation = { reference = "2026-14", until = 2029-01-01 }, secrecy = "medical" }
desk = { kind = "screen", purposes = ["training"], class = "short", notice = "Told by letter" }

[roles]
viewer   = { verbs = ["search", "view"] }
trained  = { verbs = ["search", "view"], trained = true }
keeper   = { verbs = ["search", "hold", "purge"] }
approver = { verbs = ["search", "approve"] }
reviewer = { verbs = ["review"] }
auditor  = { verbs = ["read-ledger"] }
admin    = { verbs = ["administer"] }

[grants]
views    = { user = "ann", role = "viewer", sources = ["door"], second_person = true, until = 2027-03-31, reviewed = 2026-09-01 }
learns   = { user = "bob", role = "trained", sources = ["desk"], own = true, max_recordings_a_day = 5, trained = 2026-09-01, until = 2027-03-31 }
urgent   = { user = "ann", role = "viewer", sources = ["door"], emergency = true, until = 2027-03-31 }
keeps    = { user = "cyd", role = "keeper", until = 2027-03-31 }
approves = { user = "dan", role = "approver", until = 2027-03-31 }
reviews  = { user = "dan", role = "reviewer", until = 2027-03-31 }
audits   = { user = "eve", role = "auditor", until = 2027-03-31 }
admins   = { user = "fay", role = "admin", until = 2027-03-31 }

[denies]
no-door = { user = "ann", verbs = ["view"], hours = "22:00-06:00" }
"#;

fn policy(text: &str) -> Policy {
    Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text.into() }]).unwrap()
}

fn profiles() -> Vec<Profile> {
    ["cnil-footage", "cnil-calls"].map(|name| Profile::parse(&shipped(name)).unwrap()).into()
}

fn shipped(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/profiles");
    std::fs::read_to_string(path.join(format!("{name}.toml"))).unwrap()
}

fn linted(text: &str) -> Vec<Warning> {
    let without_account = BTreeSet::from(["gus".parse().unwrap()]);
    let facts = LintFacts { without_account, today: "2026-10-01".parse().unwrap(), profiles: profiles() };
    lint(&policy(text), &facts)
}

/// Code, what is replaced in the sound house, by what.
const CASES: [(&str, &str, &str); 33] = [
    ("alone", "approves = { user = \"dan\"", "approves = { user = \"ann\""),
    (
        "approves-own",
        "[denies]",
        "too = { user = \"ann\", role = \"approver\", until = 2027-03-31 }\n[denies]",
    ),
    ("auditor-administers", "user = \"fay\"", "user = \"eve\""),
    ("authorisation-over", "2029-01-01", "2026-11-01"),
    ("class-too-long", "P15D", "P7M"),
    ("deny-idle", "[denies]", "[denies]\nidle = { user = \"eve\", verbs = [\"view\"] }"),
    (
        "grant-denied",
        "[denies]",
        "[denies]\nall = { user = \"cyd\", verbs = [\"search\", \"hold\", \"purge\"] }",
    ),
    ("grant-ended", "\"admin\", until = 2027-03-31", "\"admin\", until = 2026-03-31"),
    ("grant-ends-soon", "\"admin\", until = 2027-03-31", "\"admin\", until = 2026-10-20"),
    ("grant-long", "\"admin\", until = 2027-03-31", "\"admin\", until = 2028-03-31"),
    ("grant-no-end", "\"admin\", until = 2027-03-31", "\"admin\""),
    (
        "grant-nothing",
        "sources = [\"door\"], emergency",
        "sources = [\"door\"], kinds = [\"call\"], emergency",
    ),
    ("limit-of-nothing", "\"auditor\", until", "\"auditor\", max_bytes_a_day = 5, until"),
    ("no-account", "user = \"fay\"", "user = \"gus\""),
    ("no-auditor", "audits   = { user = \"eve\", role = \"auditor\", until = 2027-03-31 }\n", ""),
    ("no-authorisation", ", authorisation = { reference = \"2026-14\", until = 2029-01-01 }", ""),
    ("no-charter", "charter = { version = \"1\", text = \"Look only for the reason that you state\" }\n", ""),
    ("no-day-limit", "max_recordings_a_day = 5, ", ""),
    ("no-notice", ", notice = \"A sign\"", ""),
    ("no-search", "keeper   = { verbs = [\"search\", ", "keeper   = { verbs = ["),
    ("not-own", "own = true, ", ""),
    ("other-purpose", "training", "teaching"),
    ("profile-unknown", "profiles = [", "profiles = [\"no-such\", "),
    ("reason-idle", "sources = [\"door\"], second", "sources = [\"door\"], reasons = [\"learning\"], second"),
    ("review-overdue", "reviewed = 2026-09-01", "reviewed = 2025-09-01"),
    ("secret", "\"An incident\", case = true", "\"An incident\""),
    ("source-names-person", "desk", "ann-desk"),
    (
        "source-unseen",
        "learns   = { user = \"bob\", role = \"trained\"",
        "learns   = { user = \"bob\", role = \"keeper\"",
    ),
    ("untrained", "trained = 2026-09-01, ", ""),
    ("unused", "[purposes]", "idle = { text = \"x\" }\n[purposes]"),
    ("verb-excluded", "\"auditor\", until", "\"auditor\", sources = [\"door\"], until"),
    ("zone-forbidden", "public-hall", "toilets"),
    ("zone-unknown", "zone = \"public-hall\", ", ""),
];

#[test]
fn every_finding_of_the_linter_has_a_text_that_gives_it_and_the_sound_one_gives_none() {
    let of_sound: Vec<String> = linted(SOUND).iter().map(ToString::to_string).collect();
    assert_eq!(of_sound, Vec::<String>::new());
    let mut given: BTreeSet<&str> = linted(TEMPLATE).iter().map(|it| it.code).collect();
    for (code, find, put) in CASES {
        assert!(SOUND.contains(find), "{code}: {find}");
        let found = linted(&SOUND.replace(find, put));
        assert!(found.iter().any(|it| it.code == code), "{code}: {found:#?}");
        assert!(found.iter().all(|it| it.line > 0 && it.file == "policy.toml"), "{code}: {found:#?}");
        given.insert(code);
    }
    let listed: BTreeSet<&str> = LINT_CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(given, listed);
}

#[test]
fn greffier_policy_5_lists_every_finding_of_the_linter() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("man/greffier-policy.5");
    let page = std::fs::read_to_string(page).unwrap();
    for (code, _) in LINT_CODES {
        assert!(page.contains(&format!("\n.B {}\n", code.replace('-', "\\-"))), "{code}");
    }
}

#[test]
fn the_shipped_profiles_name_the_source_of_each_limit_in_both_languages() {
    for profile in profiles() {
        assert!(!profile.title.is_empty() && !profile.title_fr.is_empty());
        for limit in &profile.limits {
            assert!(limit.source.starts_with('R'), "{limit:?}");
            assert!(!limit.text.is_empty() && !limit.text_fr.is_empty() && !limit.kinds.is_empty());
        }
        assert!(profile.limits.iter().any(|limit| matches!(limit.asks, Ask::Max(_))));
    }
    let text = shipped("cnil-footage");
    for (find, put) in [
        ("format = 1", "format = 2"),
        ("max = \"P1M\"", "max = \"a month\""),
        ("notice = true", "notices = true"),
        ("[\"footage\"]", "[\"films\"]"),
        ("name = ", "names = "),
    ] {
        assert!(text.contains(find) && Profile::parse(&text.replace(find, put)).is_err(), "{put}");
    }
    assert!(Profile::parse(&"#".repeat(1 << 17)).is_err());
}

#[test]
fn a_difference_is_told_in_words_to_the_person_whom_it_concerns() {
    let told = |find: &str, put: &str| {
        assert!(SOUND.contains(find), "{find}");
        diff(&policy(SOUND), &policy(&SOUND.replace(find, put)))
    };
    assert!(diff(&policy(SOUND), &policy(SOUND)).is_empty());
    let moved = SOUND.replace("\n\n", "\n# a comment\n\n");
    assert!(diff(&policy(SOUND), &policy(&moved)).is_empty(), "where a line stands is no difference");

    let lost = told(
        "keeper   = { verbs = [\"search\", \"hold\", \"purge\"] }",
        "keeper   = { verbs = [\"search\", \"hold\"] }",
    );
    assert!(lost.iter().all(|it| it.change == Change::Loses), "{lost:#?}");
    let text = lost.first().unwrap().sentence.clone();
    assert!(text.starts_with("cyd may no longer purge on desk, door"), "{text}");

    let gained = told(
        "[denies]",
        "more = { user = \"eve\", role = \"viewer\", sources = [\"door\"], until = 2027-03-31 }\n[denies]",
    );
    let text = &gained.first().unwrap().sentence;
    assert!(
        gained.len() == 1 && text.contains("eve may now search, view on door: until 2027-03-31"),
        "{gained:#?}"
    );

    let other = told("max_recordings_a_day = 5", "max_recordings_a_day = 6");
    let text = &other.first().unwrap().sentence;
    assert!(
        other.len() == 1 && text.contains("a day at most 5, ") && text.contains("a day at most 6, "),
        "{other:#?}"
    );

    for (find, put, word) in [
        ("P15D", "P14D", "class short is otherwise"),
        ("hours = \"22:00-06:00\"", "hours = \"21:00-06:00\"", "deny no-door is otherwise"),
        ("A sign", "Two signs", "source door is otherwise"),
        ("version = \"1\"", "version = \"2\"", "charter: version"),
        ("\"An incident\", case = true", "\"An incident\"", "reason incident is otherwise"),
        ("controller = \"A house\"", "controller = \"Another\"", "controller:"),
        (
            "[grants]",
            "[incompatible]\nx = { roles = [\"admin\", \"auditor\"] }\n[grants]",
            "incompatible x is new",
        ),
    ] {
        let found = told(find, put);
        assert!(found.iter().any(|it| it.user.is_none() && it.sentence.contains(word)), "{word}: {found:#?}");
    }
}
