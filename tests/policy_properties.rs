//! Properties of every policy and every request, on small generated houses.
#![expect(clippy::unwrap_used, reason = "what a test builds upon must be there, or the test fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use greffier::core::ids::{ReasonCode, RecordingId, SourceId};
use greffier::core::policy::{
    self, AccessRequest, Decision, Denial, DenialKind, Facts, House, Permit, Policy, PolicyFile, Principal,
    Scope, Target, Verb,
};
use greffier::core::time::{Period, Timestamp};
use jiff::tz::{TimeZone, offset};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const SOURCES: [&str; 3] = ["door", "yard", "line"];
const REASONS: [&str; 3] = ["incident", "judicial", "check"];
const USERS: [&str; 4] = ["ann", "ann", "ann", "bob"];
const ROLES: [&str; 4] = ["viewer", "looker", "finder", "keeper"];
const ENDS: [&str; 3] = ["2026-05-11", "2026-05-12", "2027-06-30"];

#[derive(Debug, Clone)]
struct Rule {
    user: &'static str,
    /// A role for a grant, a verb for a deny.
    what: &'static str,
    sources: Option<Vec<&'static str>>,
    reasons: Option<Vec<&'static str>>,
    /// For grants.
    until: Option<&'static str>,
    max_session: Option<u32>,
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    proptest::option::of(subsequence(all, 1..=all.len()))
}

fn rule(what: &'static [&'static str]) -> impl Strategy<Value = Rule> {
    let scope = (some_of(&SOURCES), some_of(&REASONS));
    let time = (proptest::option::of(select(&ENDS[..])), proptest::option::of(1..7200_u32));
    (select(&USERS[..]), select(what), scope, time).prop_map(
        |(user, what, (sources, reasons), (until, max_session))| Rule {
            user,
            what,
            sources,
            reasons,
            until,
            max_session,
        },
    )
}

#[derive(Debug, Clone)]
struct Rules {
    grants: Vec<Rule>,
    denies: Vec<Rule>,
}

fn rules() -> impl Strategy<Value = Rules> {
    let verbs = &["search", "view", "hold", "purge"];
    (proptest::collection::vec(rule(&ROLES), 0..5), proptest::collection::vec(rule(verbs), 0..3))
        .prop_map(|(grants, denies)| Rules { grants, denies })
}

fn text(rules: &Rules) -> String {
    let mut text = r#"format = 1
controller = "House"
[reasons]
incident = { text = "a" }
judicial = { text = "b", case = true }
check = { text = "c" }
[purposes]
security = { kinds = ["footage"], reasons = ["incident", "judicial"] }
upkeep = { kinds = ["footage"], reasons = ["check", "judicial"] }
proof = { kinds = ["call"], reasons = ["judicial"] }
[classes]
short = { max = "P15D" }
[sources]
door = { kind = "footage", purposes = ["security", "upkeep"], class = "short" }
yard = { kind = "footage", purposes = ["security"], class = "short" }
line = { kind = "call", purposes = ["proof"], class = "short" }
[roles]
viewer = { verbs = ["search", "view"] }
looker = { verbs = ["view"] }
finder = { verbs = ["search"] }
keeper = { verbs = ["search", "hold", "lift", "purge"] }
technician = { verbs = ["administer"] }
"#
    .to_owned();
    let mut write = |section: &str, prefix: &str, rules: &[Rule], what: &dyn Fn(&Rule) -> String| {
        let _ = writeln!(text, "[{section}]");
        for (i, rule) in rules.iter().enumerate() {
            let _ = write!(text, "{prefix}-{i} = {{ user = \"{}\", {}", rule.user, what(rule));
            for (key, list) in [("sources", &rule.sources), ("reasons", &rule.reasons)] {
                let _ = list.iter().try_for_each(|list| write!(text, ", {key} = {list:?}"));
            }
            let _ = text.write_str(" }\n");
        }
    };
    write("grants", "grant", &rules.grants, &|rule| {
        let until = rule.until.map(|until| format!(", until = {until}")).unwrap_or_default();
        let max = rule.max_session.map(|max| format!(", max_session = \"PT{max}S\"")).unwrap_or_default();
        format!("role = {:?}{until}{max}", rule.what)
    });
    write("denies", "deny", &rules.denies, &|rule| format!("verbs = [{:?}]", rule.what));
    text
}

fn policy(rules: &Rules) -> Policy {
    Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text(rules) }]).unwrap()
}

fn target() -> impl Strategy<Value = Target> {
    let source = select(&["door", "yard", "line", "gone"][..]).prop_map(|id| id.parse::<SourceId>().unwrap());
    prop_oneof![
        4 => source.clone().prop_map(|source| Target::Recording { id: RecordingId::from_bytes([1; 16]), source }),
        2 => source.prop_map(Target::Source),
        1 => Just(Target::Service),
    ]
}

fn request() -> impl Strategy<Value = AccessRequest> {
    let verb = select(&[Verb::Search, Verb::View, Verb::View, Verb::Hold, Verb::Purge, Verb::Administer][..]);
    let reason = proptest::option::weighted(0.8, select(&["incident", "judicial", "check", "gossip"][..]));
    let until = proptest::option::of(-10..7200_i64);
    (select(&USERS[..]), verb, target(), reason, any::<bool>(), until).prop_map(
        |(user, verb, target, reason, case_given, until)| AccessRequest {
            who: Principal { uid: 1000, user: user.parse().ok(), login_uid: None },
            verb,
            target,
            purpose: None,
            reason: reason.and_then(|reason| reason.parse().ok()),
            case_given,
            until: until.map(|seconds| now().saturating_add_micros(seconds * 1_000_000)),
            mandate: None,
            approval: None,
            emergency: false,
        },
    )
}

fn now() -> Timestamp {
    // 23:40 in the house.
    "2026-05-12T21:40:00Z".parse().unwrap()
}
fn house() -> House {
    House {
        time_zone: TimeZone::fixed(offset(2)),
        session_max: Period::seconds(3600),
        allow_switched_user: false,
    }
}
/// With nothing known beside the request.
fn decide(policy: &Policy, house: &House, request: &AccessRequest, now: Timestamp) -> Decision {
    policy::decide(policy, house, request, &Facts::none(), now)
}
/// The sources alone.
fn searchable_sources(
    policy: &Policy,
    house: &House,
    who: &Principal,
    reason: &ReasonCode,
    now: Timestamp,
) -> BTreeSet<SourceId> {
    let reason = Some(reason.clone());
    let request = AccessRequest { reason, ..AccessRequest::new(who.clone(), Verb::Search, Target::Service) };
    policy::searchable_sources(policy, house, &request, &Facts::none(), now).into_keys().collect()
}
fn may(policy: &Policy, house: &House, who: &Principal, verb: Verb, now: Timestamp) -> Result<Scope, Denial> {
    let request = AccessRequest::new(who.clone(), verb, Target::Service);
    policy::may(policy, house, &request, &Facts::none(), now)
}
fn permit(policy: &Policy, request: &AccessRequest) -> Option<Permit> {
    match decide(policy, &house(), request, now()) {
        Decision::Allow(permit) => Some(permit),
        Decision::Deny(_) => None,
    }
}

/// Whether a list names the word, or names everything.
fn names(list: Option<&Vec<&str>>, word: Option<&str>) -> bool {
    list.is_none_or(|list| word.is_some_and(|word| list.contains(&word)))
}
fn seconds_left(until: Option<&str>) -> i64 {
    match until {
        Some("2026-05-11") => 0,
        Some("2026-05-12") => 20 * 60,
        _ => i64::MAX,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_permit_has_a_grant_and_no_deny(rules in rules(), request in request()) {
        let policy = policy(&rules);
        if let Some(permit) = permit(&policy, &request) {
            let verb = request.verb.as_str();
            let user = request.who.user.as_ref().unwrap().as_str();
            let source = request.target.source().map(|source| source.as_str());
            let reason = request.reason.as_ref().map(|reason| reason.as_str());
            for deny in rules.denies.iter().filter(|deny| deny.user == user && deny.what == verb) {
                // Describe and a search of everything leave a reason or a source open, which a deny may narrow.
                if source.is_some() && reason.is_some() {
                    prop_assert!(!(names(deny.sources.as_ref(), source) && names(deny.reasons.as_ref(), reason)));
                }
                prop_assert!(deny.sources.is_some() || deny.reasons.is_some());
            }
            let index: usize = permit.rule().as_str().strip_prefix("grant-").unwrap().parse().unwrap();
            let grant = &rules.grants[index];
            prop_assert_eq!(grant.user, user);
            if source.is_some() {
                prop_assert!(names(grant.sources.as_ref(), source));
            }
            if reason.is_some() {
                prop_assert!(names(grant.reasons.as_ref(), reason));
            }
        }
    }

    #[test]
    fn a_permit_never_outlives_its_grant_the_house_or_the_request(rules in rules(), request in request()) {
        if let Some(permit) = permit(&policy(&rules), &request) {
            let index: usize = permit.rule().as_str().strip_prefix("grant-").unwrap().parse().unwrap();
            let grant = &rules.grants[index];
            let seconds = permit.expires().micros_since(now()) / 1_000_000;
            prop_assert!(seconds > 0);
            prop_assert!(seconds <= 3600);
            prop_assert!(seconds <= seconds_left(grant.until));
            prop_assert!(seconds <= grant.max_session.map_or(i64::MAX, i64::from));
            prop_assert!(request.until.is_none_or(|until| permit.expires() <= until));
        }
    }

    #[test]
    fn root_never_gets_a_permit(rules in rules(), mut request in request()) {
        request.who.uid = 0;
        prop_assert!(permit(&policy(&rules), &request).is_none());
    }

    #[test]
    fn a_deny_more_never_allows_more(rules in rules(), deny in rule(&["search", "view", "hold"]), request in request()) {
        let before = permit(&policy(&rules), &request);
        let mut more = rules.clone();
        more.denies.push(deny);
        let after = permit(&policy(&more), &request);
        prop_assert!(before.is_some() || after.is_none());
        more.denies.extend(["search", "view", "hold", "purge"].map(|what| Rule {
            user: USERS.into_iter().find(|user| Some(*user) == request.who.user.as_ref().map(|u| u.as_str())).unwrap(),
            what, sources: None, reasons: None, until: None, max_session: None,
        }));
        prop_assert!(permit(&policy(&more), &request).is_none());
    }

    #[test]
    fn a_grant_more_never_allows_less(rules in rules(), grant in rule(&ROLES), request in request()) {
        let before = permit(&policy(&rules), &request);
        let mut more = rules;
        more.grants.push(grant);
        prop_assert!(before.is_none() || permit(&policy(&more), &request).is_some());
    }

    #[test]
    fn not_known_is_what_cannot_be_searched(rules in rules(), request in request()) {
        let policy = policy(&rules);
        let Target::Recording { source, .. } = &request.target else { return Ok(()) };
        let known = REASONS.into_iter().any(|reason| {
            let reason: ReasonCode = reason.parse().unwrap();
            let found = searchable_sources(&policy, &house(), &request.who, &reason, now());
            found.contains(source)
        });
        let kind = match decide(&policy, &house(), &request, now()) {
            Decision::Allow(_) => None,
            Decision::Deny(denial) => Some(denial.kind),
        };
        if source.as_str() == "gone" {
            prop_assert!(!known);
        } else {
            prop_assert_eq!(kind == Some(DenialKind::NotKnown), !known);
        }
        // Whoever may not know of it gets the same words, whatever he asked.
        if let Decision::Deny(denial) = decide(&policy, &house(), &request, now()) {
            prop_assert!(denial.kind != DenialKind::NotKnown || !denial.answer().contains(source.as_str()));
        }
    }

    #[test]
    fn searching_lists_what_decide_allows(rules in rules(), mut request in request(), reason in select(&REASONS[..])) {
        let policy = policy(&rules);
        let reason: ReasonCode = reason.parse().unwrap();
        let listed: BTreeSet<SourceId> =
            searchable_sources(&policy, &house(), &request.who, &reason, now());
        request.verb = Verb::Search;
        request.reason = Some(reason);
        request.until = None;
        let decided = SOURCES.into_iter().map(|id| id.parse::<SourceId>().unwrap()).filter(|source| {
            let target = Target::Source(source.clone());
            permit(&policy, &AccessRequest { target, ..request.clone() }).is_some()
        });
        prop_assert_eq!(&listed, &decided.collect::<BTreeSet<_>>());
        request.target = Target::Service;
        prop_assert_eq!(permit(&policy, &request).is_some(), !listed.is_empty());
    }

    #[test]
    fn a_scope_covers_what_decide_allows(rules in rules(), mut request in request()) {
        let policy = policy(&rules);
        request.verb = Verb::Purge;
        request.reason = None;
        request.until = None;
        let scope = may(&policy, &house(), &request.who, Verb::Purge, now()).ok();
        for id in ["door", "yard", "line", "gone"] {
            let source: SourceId = id.parse().unwrap();
            let target = Target::Source(source.clone());
            let decided = permit(&policy, &AccessRequest { target, ..request.clone() }).is_some();
            prop_assert_eq!(scope.as_ref().is_some_and(|scope| scope.covers(&source)), decided, "{}", id);
        }
        request.target = Target::Service;
        let everywhere = scope.is_some_and(|scope| scope.is_everywhere());
        prop_assert_eq!(permit(&policy, &request).is_some(), everywhere);
    }

    #[test]
    fn inv8_nobody_both_administers_and_views(
        mut rules in rules(), administrator in select(&USERS[..]), at in 0..5_usize,
    ) {
        let views = |rule: &Rule| rule.user == administrator && ["viewer", "looker"].contains(&rule.what);
        let both = rules.grants.iter().any(views);
        let technician = Rule {
            user: administrator, what: "technician", sources: None, reasons: None, until: None, max_session: None,
        };
        let at = at.min(rules.grants.len());
        rules.grants.insert(at, technician);
        let parsed = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text(&rules) }]);
        prop_assert_eq!(parsed.is_err(), both);
    }

    #[test]
    fn inv10_no_text_panics(cut in 0..2000_usize, junk in "[\\x00-\\x7f=\\[\\]{}\"é]{0,6}") {
        let text = include_str!("cases/policy/example.toml");
        let cut = text.floor_char_boundary(cut);
        let text = format!("{}{junk}{}", &text[..cut], &text[cut..]);
        let _ = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text }]);
    }
}
