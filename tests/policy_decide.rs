//! `decide` on the example policy: who gets what, which rule says so, and in which words.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test builds upon must be there, or the test fails"
)]

use std::collections::BTreeMap;

use greffier::core::ids::{PurposeId, ReasonCode, RecordingId, RuleId, SourceId};
use greffier::core::policy::{
    self, AccessRequest, DayUse, Decision, Denial, DenialKind, Facts, House, Permit, Policy, PolicyFile,
    Principal, Running, Scope, Target, Used, Verb, refuse_caller,
};
use greffier::core::time::{Period, Timestamp};
use jiff::tz::{TimeZone, offset};

const EXAMPLE: &str = include_str!("cases/policy/example.toml");
const NOW: &str = "2026-05-12T10:00:00Z";

fn policy(text: &str) -> Policy {
    Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text.into() }]).unwrap()
}
fn example() -> Policy {
    policy(EXAMPLE)
}
fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
fn source(id: &str) -> SourceId {
    id.parse().unwrap()
}
fn house() -> House {
    House {
        time_zone: TimeZone::fixed(offset(2)),
        session_max: Period::seconds(3600),
        allow_switched_user: false,
    }
}
fn person(user: &str) -> Principal {
    Principal { uid: 1000, user: Some(user.parse().unwrap()), login_uid: Some(1000) }
}
fn recording(id: &str) -> Target {
    Target::Recording { id: RecordingId::from_bytes([7; 16]), source: source(id) }
}
fn ask(user: &str, verb: Verb, target: Target) -> AccessRequest {
    let who = person(user);
    AccessRequest::new(who, verb, target)
}
fn view(user: &str, id: &str, reason: &str) -> AccessRequest {
    AccessRequest { reason: reason.parse().ok(), ..ask(user, Verb::View, recording(id)) }
}
/// With nothing known beside the request.
fn decide(policy: &Policy, house: &House, request: &AccessRequest, now: Timestamp) -> Decision {
    policy::decide(policy, house, request, &Facts::none(), now)
}
fn decide_within(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    now: Timestamp,
    used: Used<'_>,
) -> Decision {
    policy::decide(policy, house, request, &Facts { used, ..Facts::none() }, now)
}
fn reconsider(
    policy: &Policy,
    house: &House,
    request: &AccessRequest,
    running: Running<'_>,
    now: Timestamp,
    used: Used<'_>,
) -> Decision {
    policy::reconsider(policy, house, request, running, &Facts { used, ..Facts::none() }, now)
}
/// The sources, each with a grant that shows it.
fn searchable_sources(
    policy: &Policy,
    house: &House,
    who: &Principal,
    reason: &ReasonCode,
    now: Timestamp,
) -> BTreeMap<SourceId, RuleId> {
    let reason = Some(reason.clone());
    let request = AccessRequest { reason, ..AccessRequest::new(who.clone(), Verb::Search, Target::Service) };
    let found = policy::searchable_sources(policy, house, &request, &Facts::none(), now);
    found.into_iter().map(|(source, rows)| (source, rows.rule().clone())).collect()
}
fn may(policy: &Policy, house: &House, who: &Principal, verb: Verb, now: Timestamp) -> Result<Scope, Denial> {
    let request = AccessRequest::new(who.clone(), verb, Target::Service);
    policy::may(policy, house, &request, &Facts::none(), now)
}
fn decide_now(request: &AccessRequest) -> Decision {
    decide(&example(), &house(), request, at(NOW))
}
fn allowed(decision: Decision) -> Permit {
    match decision {
        Decision::Allow(permit) => permit,
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}
fn denied(decision: Decision) -> Denial {
    match decision {
        Decision::Allow(permit) => panic!("{permit:?}"),
        Decision::Deny(denial) => denial,
    }
}
fn reasons_of(denial: &Denial) -> Vec<&str> {
    match &denial.kind {
        DenialKind::ReasonRequired { allowed } => allowed.iter().map(|code| code.as_str()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_is_read_whole() {
    let policy = example();
    let counts = [
        policy.reasons().count(),
        policy.purposes().count(),
        policy.classes().count(),
        policy.sources().count(),
        policy.roles().count(),
        policy.grants().count(),
        policy.denies().count(),
    ];
    assert_eq!(counts, [4, 2, 2, 3, 4, 6, 2]);
    assert_eq!(policy.controller(), "Cabinet médical, Lyon");
    let entrance = policy.source(&source("entrance")).unwrap();
    assert_eq!(entrance.zone.as_ref().unwrap().as_str(), "entrance");
    assert_eq!(entrance.writer.as_ref().unwrap().as_str(), "frigate");
}

#[test]
fn a_view_for_a_good_reason_gets_a_permit() {
    let permit = allowed(decide_now(&view("doctor", "entrance", "incident")));
    assert_eq!(permit.verb(), Verb::View);
    assert_eq!(permit.uid(), 1000);
    assert_eq!(permit.user().as_str(), "doctor");
    assert_eq!(permit.target(), &recording("entrance"));
    assert_eq!(permit.rule().as_str(), "doctor-footage");
    assert_eq!(permit.purpose().unwrap().as_str(), "security");
    assert_eq!(permit.reason().unwrap().as_str(), "incident");
    assert_eq!(permit.expires(), at("2026-05-12T11:00:00Z"));
}

#[test]
fn a_permit_ends_at_the_first_of_its_limits() {
    let expires = |request: &AccessRequest, now: &str| {
        allowed(decide(&example(), &house(), request, at(now))).expires()
    };
    let secretary = view("secretary", "entrance", "incident");
    assert_eq!(expires(&secretary, NOW), at("2026-05-12T10:15:00Z"), "max_session of the grant");
    let soon = AccessRequest { until: Some(at("2026-05-12T10:05:00Z")), ..secretary.clone() };
    assert_eq!(expires(&soon, NOW), at("2026-05-12T10:05:00Z"), "until of the request");
    let late = AccessRequest { until: Some(at("2030-01-01T00:00:00Z")), ..secretary };
    assert_eq!(expires(&late, NOW), at("2026-05-12T10:15:00Z"), "a request cannot lengthen it");
    // The house's clocks show 23:30 on the last day of the grant.
    let doctor = view("doctor", "entrance", "incident");
    assert_eq!(expires(&doctor, "2027-06-30T21:30:00Z"), at("2027-06-30T22:00:00Z"), "end of the last day");
}

#[test]
fn a_grant_holds_to_the_end_of_its_last_day_in_local_time() {
    let doctor = view("doctor", "entrance", "incident");
    let on = |now: &str| decide(&example(), &house(), &doctor, at(now));
    let _ = allowed(on("2027-06-30T21:59:59.999999Z"));
    let denial = denied(on("2027-06-30T22:00:00Z"));
    assert_eq!(denial.rule.as_str(), "builtin.no-grant");
    assert_eq!(denial.kind, DenialKind::NotKnown, "searching ended with it");
    assert!(denial.sentence.ends_with("Grant doctor-footage ended on 2027-06-30."), "{}", denial.sentence);
}

#[test]
fn inv2_a_deny_wins_over_a_grant_and_is_named() {
    let denial = denied(decide_now(&view("doctor", "dispenser", "camera-check")));
    assert_eq!(denial.rule.as_str(), "no-dispenser-camera-check");
    assert_eq!(denial.kind, DenialKind::Denied);
    let sentence = "Refused by rule no-dispenser-camera-check: doctor may not view recordings of dispenser.";
    assert_eq!(denial.sentence, sentence);
    assert_eq!(denial.answer(), sentence);
    let _ = allowed(decide_now(&view("doctor", "dispenser", "incident")));
}

#[test]
fn who_may_not_search_a_recording_is_not_told_of_it() {
    let denial = denied(decide_now(&view("secretary", "reception", "caller-dispute")));
    assert_eq!(denial.rule.as_str(), "no-calls-for-secretary");
    assert_eq!(denial.kind, DenialKind::NotKnown);
    assert!(denial.sentence.starts_with("Refused by rule no-calls-for-secretary: secretary may not view"));
    assert_eq!(denial.answer(), Denial::NOT_KNOWN);
    for verb in Verb::ALL {
        for user in ["itservice", "dpo", "stranger"] {
            let denial = denied(decide_now(&ask(user, verb, recording("entrance"))));
            assert_eq!(denial.kind, DenialKind::NotKnown, "{user} {verb}");
            assert_eq!(denial.rule.as_str(), "builtin.no-grant");
        }
    }
}

#[test]
fn who_may_search_but_not_view_is_denied() {
    let policy =
        policy(&EXAMPLE.replace("[denies]", "boss = { user = \"boss\", role = \"controller\" }\n[denies]"));
    let denial = denied(decide(&policy, &house(), &view("boss", "entrance", "incident"), at(NOW)));
    assert_eq!(denial.kind, DenialKind::Denied);
    assert_eq!(
        denial.sentence,
        "Refused by rule builtin.no-grant: no grant lets boss view recordings of entrance."
    );
    assert_eq!(denial.advice(), "Ask the controller for a grant.");
}

#[test]
fn a_missing_or_unlisted_reason_gets_the_allowed_codes() {
    for reason in ["", "gossip", "caller-dispute"] {
        let denial = denied(decide_now(&view("doctor", "entrance", reason)));
        assert_eq!(reasons_of(&denial), ["camera-check", "incident", "judicial"], "{reason:?}");
    }
    let denial = denied(decide_now(&view("doctor", "dispenser", "")));
    assert_eq!(reasons_of(&denial), ["incident", "judicial"], "a deny takes camera-check away");
    let denial = denied(decide_now(&view("secretary", "entrance", "judicial")));
    assert_eq!(reasons_of(&denial), ["incident"], "the grant names one");
}

#[test]
fn a_reason_that_asks_for_a_case_needs_one_to_view() {
    let judicial = view("doctor", "reception", "judicial");
    let denial = denied(decide_now(&judicial));
    assert_eq!(reasons_of(&denial), ["caller-dispute", "judicial"]);
    assert!(denial.sentence.contains("needs a case reference"), "{}", denial.sentence);
    let _ = allowed(decide_now(&AccessRequest { case_given: true, ..judicial.clone() }));
    // A search has no place for a case reference.
    let _ = allowed(decide_now(&AccessRequest { verb: Verb::Search, ..judicial }));
}

#[test]
fn a_purpose_is_named_when_the_reason_serves_several() {
    let training = "training = { kinds = [\"footage\"], reasons = [\"incident\"] }\n[classes]";
    let text = EXAMPLE.replacen("[classes]", training, 1).replacen(
        "[\"security\"]",
        "[\"security\", \"training\"]",
        1,
    );
    let policy = policy(&text);
    let request = view("doctor", "entrance", "incident");
    let denial = denied(decide(&policy, &house(), &request, at(NOW)));
    assert_eq!(denial.kind, DenialKind::InvalidArgument("purpose"));
    assert!(denial.sentence.contains("name one of security, training"), "{}", denial.sentence);
    let purpose: PurposeId = "training".parse().unwrap();
    let named = AccessRequest { purpose: Some(purpose.clone()), ..request };
    assert_eq!(allowed(decide(&policy, &house(), &named, at(NOW))).purpose(), Some(&purpose));
    // judicial serves one of the two: no need to name it, and the other does not do.
    let judicial = AccessRequest { case_given: true, ..view("doctor", "entrance", "judicial") };
    assert_eq!(
        allowed(decide(&policy, &house(), &judicial, at(NOW))).purpose().unwrap().as_str(),
        "security"
    );
    let wrong = AccessRequest { purpose: Some(purpose), ..judicial };
    assert_eq!(
        denied(decide(&policy, &house(), &wrong, at(NOW))).kind,
        DenialKind::InvalidArgument("purpose")
    );
}

#[test]
fn an_end_in_the_past_is_an_invalid_argument() {
    let request = AccessRequest { until: Some(at(NOW)), ..view("doctor", "entrance", "incident") };
    assert_eq!(denied(decide_now(&request)).kind, DenialKind::InvalidArgument("until"));
}

#[test]
fn describe_asks_whether_the_caller_may_know_of_it() {
    let permit = allowed(decide_now(&ask("secretary", Verb::Search, recording("entrance"))));
    assert_eq!((permit.rule().as_str(), permit.reason()), ("secretary-door", None));
    let denial = denied(decide_now(&ask("secretary", Verb::Search, recording("reception"))));
    assert_eq!(denial.kind, DenialKind::NotKnown);
}

#[test]
fn a_search_reaches_the_sources_that_the_reason_opens() {
    let sources = |user: &str, reason: &str| -> Vec<String> {
        let reason = reason.parse().unwrap();
        let found = searchable_sources(&example(), &house(), &person(user), &reason, at(NOW));
        found.iter().map(|(source, rule)| format!("{source} by {rule}")).collect()
    };
    assert_eq!(
        sources("doctor", "judicial"),
        ["dispenser by doctor-control", "entrance by doctor-control", "reception by doctor-calls"]
    );
    assert_eq!(sources("secretary", "incident"), ["entrance by secretary-door"]);
    assert!(sources("secretary", "judicial").is_empty());
    assert!(sources("itservice", "incident").is_empty());
    let search = |user: &str, reason: &str| {
        decide_now(&AccessRequest { reason: reason.parse().ok(), ..ask(user, Verb::Search, Target::Service) })
    };
    assert_eq!(allowed(search("secretary", "incident")).rule().as_str(), "secretary-door");
    assert_eq!(reasons_of(&denied(search("secretary", "judicial"))), ["incident"]);
    assert_eq!(denied(search("itservice", "incident")).kind, DenialKind::Denied);
}

#[test]
fn root_is_refused_whatever_the_policy_says() {
    for verb in Verb::ALL {
        for target in [Target::Service, Target::Source(source("entrance"))] {
            let mut request = ask("doctor", verb, target);
            request.who.uid = 0;
            let denial = denied(decide_now(&request));
            assert_eq!((denial.rule.as_str(), &denial.kind), ("builtin.root", &DenialKind::Denied));
        }
    }
    let mut request = view("doctor", "entrance", "incident");
    request.who.uid = 0;
    assert_eq!(denied(decide_now(&request)).kind, DenialKind::NotKnown, "not told whether it exists");
}

#[test]
fn a_switched_user_is_refused_unless_the_house_allows_it() {
    let mut request = view("doctor", "entrance", "incident");
    request.who.login_uid = Some(1001);
    let denial = denied(decide_now(&request));
    assert_eq!((denial.rule.as_str(), &denial.kind), ("builtin.login-uid", &DenialKind::NotKnown));
    let before = refuse_caller(&house(), &request.who).unwrap();
    assert_eq!(before.kind, DenialKind::Denied, "asked before a recording is looked up, it may be told");
    let demo = House { allow_switched_user: true, ..house() };
    let _ = allowed(decide(&example(), &demo, &request, at(NOW)));
    for unset in [None, Some(u32::MAX)] {
        request.who.login_uid = unset;
        let _ = allowed(decide_now(&request));
    }
}

#[test]
fn a_uid_without_account_holds_no_grant() {
    let mut request = ask("doctor", Verb::ReadLedger, Target::Service);
    request.who.user = None;
    assert_eq!(denied(decide_now(&request)).rule.as_str(), "builtin.no-grant");
}

#[test]
fn service_verbs_go_by_their_grants_alone() {
    let rule = |user, verb| allowed(decide_now(&ask(user, verb, Target::Service))).rule().to_string();
    assert_eq!(rule("dpo", Verb::ReadLedger), "dpo-audit");
    assert_eq!(rule("itservice", Verb::Administer), "service-technique");
    assert_eq!(rule("doctor", Verb::Purge), "doctor-control");
    for (user, verb) in [("doctor", Verb::Administer), ("itservice", Verb::ReadLedger), ("dpo", Verb::Purge)]
    {
        assert_eq!(denied(decide_now(&ask(user, verb, Target::Service))).kind, DenialKind::Denied);
    }
    let denial = denied(decide_now(&ask("doctor", Verb::View, Target::Service)));
    assert_eq!(denial.kind, DenialKind::InvalidArgument("recording"));
}

#[test]
fn what_a_request_leaves_open_counts_against_the_caller() {
    let with = |deny: &str| policy(&EXAMPLE.replace("[denies]", &format!("[denies]\n{deny}")));
    let one_source = with("x = { user = \"doctor\", verbs = [\"purge\"], sources = [\"reception\"] }");
    let everything = ask("doctor", Verb::Purge, Target::Service);
    let denial = denied(decide(&one_source, &house(), &everything, at(NOW)));
    assert_eq!(denial.rule.as_str(), "x");
    assert_eq!(denial.sentence, "Refused by rule x: doctor may not purge recordings.");
    let one_reason = with("x = { user = \"doctor\", verbs = [\"hold\"], reasons = [\"judicial\"] }");
    let hold = ask("doctor", Verb::Hold, recording("entrance"));
    assert_eq!(denied(decide(&one_reason, &house(), &hold, at(NOW))).rule.as_str(), "x");
    // A deny that takes nothing away from the caller is not what decides.
    let stranger = AccessRequest { who: person("stranger"), ..everything };
    assert_eq!(denied(decide(&one_source, &house(), &stranger, at(NOW))).rule.as_str(), "builtin.no-grant");
}

#[test]
fn only_known_words_reach_a_permit() {
    let mut request = ask("doctor", Verb::Hold, recording("entrance"));
    request.reason = "gossip".parse().ok();
    request.purpose = "gossip".parse().ok();
    let permit = allowed(decide_now(&request));
    assert_eq!((permit.reason(), permit.purpose()), (None, None));
}

#[test]
fn holds_and_purges_honour_the_sources_of_grants_and_denies() {
    let policy = policy(&EXAMPLE.replace(
        "[denies]",
        "clerk-door = { user = \"clerk\", role = \"controller\", sources = [\"entrance\", \"reception\"] }
         [denies]
         no-clerk-calls = { user = \"clerk\", verbs = [\"purge\"], sources = [\"reception\"] }",
    ));
    let decide = |request: &AccessRequest| decide(&policy, &house(), request, at(NOW));
    let _ = allowed(decide(&ask("clerk", Verb::Hold, recording("entrance"))));
    let _ = allowed(decide(&ask("clerk", Verb::Purge, recording("entrance"))));
    assert_eq!(
        denied(decide(&ask("clerk", Verb::Purge, recording("reception")))).rule.as_str(),
        "no-clerk-calls"
    );
    assert_eq!(denied(decide(&ask("clerk", Verb::Hold, recording("dispenser")))).kind, DenialKind::NotKnown);
    let _ = denied(decide(&ask("clerk", Verb::Purge, Target::Service)));

    let scope = may(&policy, &house(), &person("clerk"), Verb::Purge, at(NOW)).unwrap();
    assert_eq!(scope.rule().as_str(), "clerk-door");
    assert!(!scope.is_everywhere() && scope.covers(&source("entrance")));
    assert!(!scope.covers(&source("reception")) && !scope.covers(&source("dispenser")));
    let scope = may(&policy, &house(), &person("doctor"), Verb::Purge, at(NOW)).unwrap();
    assert!(scope.is_everywhere() && scope.covers(&source("long-gone")));
    assert!(may(&policy, &house(), &person("stranger"), Verb::Purge, at(NOW)).is_err());
}

#[test]
fn recordings_of_a_retired_source_can_be_held_but_not_viewed() {
    let _ = allowed(decide_now(&ask("doctor", Verb::Hold, recording("old-camera"))));
    let _ = allowed(decide_now(&ask("doctor", Verb::Search, recording("old-camera"))));
    let denial = denied(decide_now(&view("doctor", "old-camera", "incident")));
    assert_eq!(denial.kind, DenialKind::Denied);
    assert!(denial.sentence.ends_with("old-camera is registered no more and serves no purpose."));
    assert_eq!(denied(decide_now(&view("secretary", "old-camera", "incident"))).kind, DenialKind::NotKnown);
}

#[test]
fn of_several_grants_the_longest_session_counts() {
    let policy = policy(&EXAMPLE.replace(
        "[denies]",
        "a-short = { user = \"doctor\", role = \"viewer\", max_session = \"PT1M\" }\n[denies]",
    ));
    let permit = allowed(decide(&policy, &house(), &view("doctor", "entrance", "incident"), at(NOW)));
    assert_eq!(permit.rule().as_str(), "doctor-footage");
}

#[test]
fn without_a_policy_everybody_is_refused_everything() {
    for verb in Verb::ALL {
        let request = ask("doctor", verb, Target::Source(source("entrance")));
        let _ = denied(decide(&Policy::empty(), &house(), &request, at(NOW)));
        assert!(may(&Policy::empty(), &house(), &person("doctor"), verb, at(NOW)).is_err());
    }
}

/// The example in which the secretary may open two recordings and read 1000 bytes a day.
fn limited() -> Policy {
    let limits = "max_session = \"PT15M\", max_recordings_a_day = 2, max_bytes_a_day = 1000";
    policy(&EXAMPLE.replace("max_session = \"PT15M\"", limits))
}

#[test]
fn a_grant_whose_limit_of_the_day_is_reached_does_not_fit() {
    let request = view("secretary", "entrance", "incident");
    let others = |count: u8, bytes| DayUse {
        recordings: (0..count).map(|n| RecordingId::from_bytes([n; 16])).collect(),
        bytes,
        micros: 0,
    };
    let decided = |day: DayUse| {
        let used = move |rule: &RuleId, since: Timestamp| {
            // The local day began at midnight, two hours before it did in UTC.
            assert_eq!((rule.as_str(), since), ("secretary-door", at("2026-05-11T22:00:00Z")));
            day.clone()
        };
        decide_within(&limited(), &house(), &request, at(NOW), &used)
    };
    assert_eq!(allowed(decided(others(1, 999))).max_bytes_a_day(), Some(1000));
    let denial = denied(decided(others(2, 0)));
    assert_eq!((denial.rule.as_str(), &denial.kind), ("builtin.limit", &DenialKind::LimitReached));
    assert!(denial.sentence.contains("secretary-door allows 2 recordings a day"), "{}", denial.sentence);
    assert!(denied(decided(others(0, 1000))).sentence.contains("1000 bytes a day"));
    // The third of these is the one asked for: it was opened today already.
    let mut opened = others(1, 0);
    opened.recordings.insert(RecordingId::from_bytes([7; 16]));
    let _again = allowed(decided(opened));
    let unlimited = view("doctor", "entrance", "incident");
    let used = |_: &RuleId, _: Timestamp| -> DayUse { panic!("nobody limits the doctor") };
    assert_eq!(
        allowed(decide_within(&limited(), &house(), &unlimited, at(NOW), &used)).max_bytes_a_day(),
        None
    );
}

/// A session that was opened at [`NOW`] under `rule`, decided again.
fn going_on(policy: &Policy, request: &AccessRequest, rule: &str, now: &str) -> Decision {
    let rule = rule.parse().unwrap();
    let running = Running { rule: &rule, opened: at(NOW) };
    reconsider(policy, &house(), request, running, at(now), &|_, _| DayUse::default())
}

#[test]
fn a_running_session_stays_with_its_grant_while_that_covers_it() {
    let longer = "max_session = \"PT15M\", max_bytes_a_day = 1000 }\n\
                  wide = { user = \"secretary\", role = \"viewer\", max_session = \"PT50M\", max_bytes_a_day = 7 }";
    let both = policy(&EXAMPLE.replace("max_session = \"PT15M\", until = 2027-03-31 }", longer));
    let request = view("secretary", "entrance", "incident");
    let later = "2026-05-12T10:10:00Z";
    let stays = allowed(going_on(&both, &request, "secretary-door", later));
    assert_eq!((stays.rule().as_str(), stays.max_bytes_a_day()), ("secretary-door", Some(1000)));
    assert_eq!(stays.expires(), at("2026-05-12T10:15:00Z"));
    let moved = allowed(going_on(&both, &request, "gone", later));
    assert_eq!((moved.rule().as_str(), moved.max_bytes_a_day()), ("wide", Some(7)));

    // A full limit keeps nobody who is in it, and lets nobody in, on the day of the opening.
    let full = |rule: &RuleId, since: Timestamp| {
        assert_eq!(since, at("2026-05-11T22:00:00Z"));
        DayUse { bytes: if rule.as_str() == "wide" { 7 } else { 0 }, ..DayUse::default() }
    };
    let carried = |rule: &str| {
        let rule = rule.parse().unwrap();
        let running = Running { rule: &rule, opened: at(NOW) };
        allowed(reconsider(&both, &house(), &request, running, at("2026-05-12T10:10:00Z"), &full))
    };
    assert_eq!(carried("wide").rule().as_str(), "wide");
    assert_eq!(carried("gone").rule().as_str(), "secretary-door");
    let after_midnight = Running { rule: &"gone".parse().unwrap(), opened: at("2026-05-12T21:50:00Z") };
    let next_day = at("2026-05-12T22:01:00Z");
    let decided = reconsider(&both, &house(), &request, after_midnight, next_day, &full);
    assert_eq!(allowed(decided).rule().as_str(), "secretary-door");
}

#[test]
fn a_running_session_is_decided_again_from_when_it_was_opened() {
    let request = view("secretary", "entrance", "incident");
    let again = |policy: &Policy, now: &str| going_on(policy, &request, "secretary-door", now);
    assert_eq!(allowed(again(&example(), "2026-05-12T10:10:00Z")).expires(), at("2026-05-12T10:15:00Z"));
    let shorter = policy(&EXAMPLE.replace("PT15M", "PT5M"));
    assert_eq!(allowed(again(&shorter, "2026-05-12T10:10:00Z")).expires(), at("2026-05-12T10:05:00Z"));
    let ended = policy(&EXAMPLE.replace("until = 2027-03-31", "until = 2026-05-11"));
    assert_eq!(denied(again(&ended, "2026-05-12T10:10:00Z")).rule.as_str(), "builtin.no-grant");
    let today = policy(&EXAMPLE.replace("until = 2027-03-31", "until = 2026-05-12").replace("PT15M", "P1D"));
    assert_eq!(allowed(again(&today, "2026-05-12T10:10:00Z")).expires(), at("2026-05-12T11:00:00Z"));
}
