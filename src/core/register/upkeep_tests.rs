//! What falls due in the registers, and what does not.

use super::*;
use crate::core::event::{
    CharterAcknowledged, Detail, GrantTerm, LedgerCreated, MandateTerm, Nothing, Outcome, Record, Subject,
    Who,
};
use crate::core::ids::Digest;
use crate::core::policy::PolicyFile;
use crate::core::time::BootId;

fn at(text: &str) -> Timestamp {
    format!("{text}T12:00:00Z").parse().unwrap()
}
fn id(n: u8) -> GrantId {
    GrantId::from_bytes([n; 16])
}

/// A ledger written at noon of the days given, with a policy loaded on the first of May.
struct Story {
    state: State,
    told: Told,
    policy: Policy,
    accounts: BTreeMap<String, AccountIs>,
}

impl Story {
    fn new() -> Self {
        let text = include_str!("judge_tests.toml").to_owned();
        let policy = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text }]).unwrap();
        let usable = |(uid, name): (u32, &str)| (name.to_owned(), AccountIs::Usable(uid));
        let accounts = [(1, "daemon"), (9, "news"), (5, "games"), (6, "man")].map(usable).into();
        let mut story = Self { state: State::default(), told: Told::default(), policy, accounts };
        let created =
            LedgerCreated { origin: String::new(), log_key: String::new(), epoch_key: String::new() };
        story.say("2026-05-01", Event::LedgerCreated(created), None);
        story.say("2026-05-01", Event::PolicyLoaded(Nothing {}), None);
        story
    }
    fn say(&mut self, day: &str, event: Event, detail: Option<Detail>) -> u64 {
        let record = Record {
            seq: self.state.size(),
            time: at(day),
            boot: BootId::from_bytes([0; 16]),
            up_micros: 0,
            event,
            outcome: Outcome::Done,
            subject: Subject::default(),
            policy: Some(Digest([0; 32])),
        };
        self.state.apply(&record).unwrap();
        self.told.note(&record, detail.as_ref(), &self.state);
        record.seq
    }
    /// A grant for `games` until a day, given on the first of May.
    fn grant(&mut self, n: u8, until: &str) {
        let term = || GrantTerm { grant: Some(id(n)), until: until.parse().ok() };
        let detail = || Some(Detail { user: Some("games".into()), ..Detail::default() });
        self.say("2026-05-01", Event::GrantProposed(term()), detail());
        self.say("2026-05-01", Event::GrantGiven(term()), detail());
    }
    fn plan(&self, day: &str) -> Vec<Task> {
        plan_upkeep(Known {
            state: &self.state,
            told: &self.told,
            policy: &self.policy,
            accounts: &self.accounts,
            zone: &TimeZone::UTC,
            now: at(day),
        })
    }
}

#[test]
fn a_grant_ends_with_its_last_day_and_a_proposal_too() {
    let mut story = Story::new();
    story.grant(1, "2026-05-20");
    let term = GrantTerm { grant: Some(id(2)), until: "2026-05-10".parse().ok() };
    story.say("2026-05-01", Event::GrantProposed(term), None);
    assert_eq!(story.plan("2026-05-10"), []);
    assert_eq!(story.plan("2026-05-20"), [Task::End(id(2), GrantEnd::Expired)]);
    assert_eq!(story.plan("2026-05-21").len(), 2);
}

#[test]
fn a_grant_is_suspended_when_its_account_is_gone_or_locked_and_not_twice() {
    for (account, why) in
        [(AccountIs::Gone, SuspendedWhy::AccountGone), (AccountIs::Locked, SuspendedWhy::AccountLocked)]
    {
        let mut story = Story::new();
        story.grant(1, "2027-04-30");
        story.accounts.insert("games".into(), account);
        story.accounts.insert("news".into(), account);
        let rule: RuleId = "approval".parse().unwrap();
        let planned = story.plan("2026-05-10");
        assert_eq!(planned, [Task::Suspend(id(1), why), Task::SuspendRule(rule.clone(), None, why)]);
        for (n, task) in (7..).zip(&planned) {
            let grant_rule = Some(rule.to_string()).filter(|_| n == 8);
            story.say("2026-05-10", task.event(id(n)), Some(Detail { grant_rule, ..Detail::default() }));
        }
        assert_eq!(story.plan("2026-05-11"), []);
        assert_eq!(known_rule(&story.state, &story.told, &rule), Some(id(8)));
    }
}

#[test]
fn an_account_that_could_not_be_looked_up_changes_nothing() {
    let mut story = Story::new();
    story.grant(1, "2027-04-30");
    story.accounts.clear();
    assert_eq!(story.plan("2026-05-10"), []);
}

#[test]
fn a_review_is_overdue_a_year_and_a_month_after_the_last_one() {
    let mut story = Story::new();
    story.grant(1, "2029-04-30");
    let overdue = SuspendedWhy::ReviewOverdue;
    assert_eq!(story.plan("2027-05-31"), []);
    let planned = story.plan("2027-06-01");
    assert_eq!(planned.len(), 3, "both of the policy too: {planned:?}");
    assert_eq!(planned[0], Task::Suspend(id(1), overdue));
    let reviewed = |grant, policy| {
        Event::GrantReviewed(crate::core::event::GrantReviewed { grant: Some(grant), policy })
    };
    story.say("2027-06-01", reviewed(id(1), false), None);
    let detail = Detail { grant_rule: Some("approval".into()), ..Detail::default() };
    story.say("2027-06-01", reviewed(id(3), true), Some(detail));
    let technique = Task::SuspendRule("technique".parse().unwrap(), None, overdue);
    assert_eq!(story.plan("2028-06-30"), [technique]);
}

#[test]
fn inv11_a_suspect_clock_ends_nothing_and_suspends_only_by_accounts() {
    let mut story = Story::new();
    story.grant(1, "2026-05-20");
    story.grant(2, "2029-01-01");
    let mandate = MandateTerm {
        mandate: "may".parse().ok(),
        version: 1,
        from: "2026-05-01".parse().ok(),
        until: "2026-05-20".parse().ok(),
        tasks: vec!["incident".parse().unwrap()],
        sources: None,
    };
    story.say("2026-05-01", Event::MandateGiven(mandate), None);
    assert_eq!(story.plan("2028-01-01").len(), 5);
    let why = "test".to_owned();
    story.say("2028-01-01", Event::LedgerClockSuspect(crate::core::event::Because { why }), None);
    assert_eq!(story.plan("2028-01-01"), []);
    story.accounts.insert("games".into(), AccountIs::Gone);
    let gone = [1, 2].map(|n| Task::Suspend(id(n), SuspendedWhy::AccountGone));
    assert_eq!(story.plan("2028-01-01"), gone);
}

#[test]
fn an_acknowledgement_lapses_with_its_account_and_a_rule_with_the_policy() {
    let mut story = Story::new();
    let by = |uid, user: &str| Some(Detail::by(Who { uid, user: Some(user.into()), ..Who::default() }));
    let said = || Event::CharterAcknowledged(CharterAcknowledged { version: "1".into(), replaces: None });
    story.say("2026-05-01", said(), by(5, "games"));
    let other = story.say("2026-05-01", said(), by(7, "man"));
    let detail = Detail { grant_rule: Some("nobody-there".into()), ..Detail::default() };
    let suspended = GrantSuspended { grant: Some(id(4)), why: SuspendedWhy::ByHand, policy: true };
    story.say("2026-05-01", Event::GrantSuspended(suspended), Some(detail));
    // `man` has another number by now: it is somebody else.
    assert_eq!(story.plan("2026-05-02"), [Task::End(id(4), GrantEnd::RuleGone), Task::Lapse(other)]);
    assert_eq!(
        accounts_named(&story.state, &story.told, &story.policy).into_iter().collect::<Vec<_>>(),
        ["daemon", "games", "man", "news"]
    );
}
