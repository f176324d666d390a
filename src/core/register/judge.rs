//! Whether a grant or a mandate may be entered at all: the rules of R6 and R64 to R69 that no policy changes.
//!
//! Pure: who asks, for whom, what is known of the account, and the day come in as arguments. Answers with the rule and a sentence
//! that says what is wrong. Must never let anybody give something to himself, nor for longer than a year.

use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::core::event::Party;
use crate::core::ids::RuleId;
use crate::core::policy::{Denial, DenialKind, Grant, Policy, RegisteredGrants, UserName};

/// What the user database says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountIs {
    /// There is none of that name.
    Gone,
    /// Nobody can act under it.
    Locked,
    /// It can be used; its uid.
    Usable(u32),
}

/// A refusal by a rule of the house.
pub fn denied(rule: &'static str, kind: DenialKind, why: &str) -> Denial {
    let rule = RuleId::builtin(rule);
    let sentence = format!("Refused by rule {rule}: {why}.");
    Denial { failed: vec![why.to_owned()], ..Denial::new(rule, kind, sentence) }
}

/// Whether two records of a person are of the same one: by number or by name, so that neither a new name nor a number that is
/// used again makes two persons of one.
pub fn same_person(one: &Party, other: &Party) -> bool {
    one.uid == other.uid || one.user.is_some() && one.user == other.user
}

/// Whether a person is the one that a name stands for.
pub fn is_user(person: &Party, user: &UserName, account: AccountIs) -> bool {
    person.user.as_deref() == Some(user.as_str()) || account == AccountIs::Usable(person.uid)
}

/// Refuses an account under which nobody, or root, acts.
pub fn judge_account(user: &UserName, account: AccountIs) -> Result<(), Denial> {
    let why = match account {
        AccountIs::Usable(0) => "root holds no grant and no mandate; name a person".to_owned(),
        AccountIs::Usable(_) => return Ok(()),
        AccountIs::Gone => format!("there is no account {user}"),
        AccountIs::Locked => format!("the account {user} is locked"),
    };
    Err(denied("account", DenialKind::Conflict, &why))
}

/// Refuses a grant without an end, over already, or longer than a year from its first day (R65).
pub fn judge_until(grant: &Grant, today: Date) -> Result<Date, Denial> {
    let Some(until) = grant.until else {
        return Err(invalid("a grant of the register needs its last day: until"));
    };
    if until < today {
        return Err(invalid(&format!("its last day, {until}, is over")));
    }
    let first = grant.from.map_or(today, |from| from.max(today));
    let latest = first.checked_add(1.year()).unwrap_or(Date::MAX);
    if until > latest {
        let why = format!("it ends on {until}; a grant lasts a year at most, so until {latest}");
        return Err(invalid(&why));
    }
    Ok(until)
}

fn invalid(why: &str) -> Denial {
    denied("request", DenialKind::InvalidArgument("grant"), why)
}

/// Refuses a grant that its holder may not have beside those that he has.
pub fn judge_beside(policy: &Policy, grant: &Grant, registered: &RegisteredGrants) -> Result<(), Denial> {
    match policy.clash_beside(grant, registered.of_user(&grant.user)) {
        Some(why) => Err(denied("incompatible", DenialKind::Conflict, &why)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(uid: u32, user: &str) -> Party {
        Party { uid, user: Some(user.into()) }
    }
    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }
    fn grant(text: &str) -> Grant {
        let policy = Policy::parse(&[crate::core::policy::PolicyFile {
            name: "policy.toml".into(),
            text: include_str!("judge_tests.toml").into(),
        }])
        .unwrap();
        policy.read_grant(&"new".parse().unwrap(), text).unwrap()
    }

    #[test]
    fn inv8_one_person_is_one_whatever_changed() {
        assert!(same_person(&party(5, "games"), &party(5, "renamed")));
        assert!(same_person(&party(5, "games"), &party(6, "games")));
        assert!(!same_person(&party(5, "games"), &party(6, "man")));
        let nameless = |uid| Party { uid, user: None };
        assert!(!same_person(&nameless(5), &nameless(6)));
        let games: UserName = "games".parse().unwrap();
        assert!(is_user(&party(9, "games"), &games, AccountIs::Gone));
        assert!(is_user(&party(5, "other"), &games, AccountIs::Usable(5)));
        assert!(!is_user(&party(5, "other"), &games, AccountIs::Usable(6)));
    }

    #[test]
    fn nobody_grants_to_root_or_to_an_account_that_nobody_uses() {
        let user: UserName = "games".parse().unwrap();
        assert!(judge_account(&user, AccountIs::Usable(5)).is_ok());
        for account in [AccountIs::Gone, AccountIs::Locked, AccountIs::Usable(0)] {
            let refused = judge_account(&user, account).unwrap_err();
            assert_eq!(refused.rule.as_str(), "builtin.account", "{refused:?}");
        }
    }

    #[test]
    fn a_grant_lasts_a_year_at_most_from_its_first_day() {
        let today = day("2026-05-12");
        let ends =
            |more: &str| judge_until(&grant(&format!("user = \"man\"\nrole = \"viewer\"\n{more}")), today);
        assert_eq!(ends("until = 2027-05-12").unwrap(), day("2027-05-12"));
        assert_eq!(ends("from = 2026-06-01\nuntil = 2027-06-01").unwrap(), day("2027-06-01"));
        // What it held before does not make it longer.
        assert!(ends("from = 2026-05-01\nuntil = 2027-05-01").is_ok());
        for bad in ["", "until = 2027-05-13", "until = 2026-05-11"] {
            let refused = ends(bad).unwrap_err();
            assert_eq!(refused.kind, DenialKind::InvalidArgument("grant"), "{bad:?} {refused:?}");
        }
    }

    #[test]
    fn inv8_nobody_administers_and_views_by_a_policy_and_a_register() {
        let policy = Policy::parse(&[crate::core::policy::PolicyFile {
            name: "policy.toml".into(),
            text: include_str!("judge_tests.toml").into(),
        }])
        .unwrap();
        let views = grant("user = \"man\"\nrole = \"viewer\"\nuntil = 2027-01-01");
        let administers = grant("user = \"man\"\nrole = \"technician\"\nuntil = 2027-01-01");
        let other = grant("user = \"lp\"\nrole = \"technician\"\nuntil = 2027-01-01");
        let with = |grant: Grant| RegisteredGrants::from_iter([("held".parse().unwrap(), grant)]);
        assert!(judge_beside(&policy, &views, &with(other)).is_ok());
        let refused = judge_beside(&policy, &views, &with(administers)).unwrap_err();
        assert_eq!(refused.rule.as_str(), "builtin.incompatible", "{refused:?}");
    }
}
