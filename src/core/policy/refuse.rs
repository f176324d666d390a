//! Refusals in words: of a caller, whatever he asks, and of a question that no grant covers or a deny forbids.

use super::answer::{Denial, DenialKind};
use super::ask::{Ask, Question};
use super::names::{UserName, Verb};
use super::request::{House, Principal};
use crate::core::ids::{RuleId, SourceId};

/// The refusal that this caller gets whatever he asks: `builtin.root`, `builtin.login-uid`, or no account. It says
/// nothing about any recording, so it may be asked, and told, before one is looked up.
pub fn refuse_caller(house: &House, who: &Principal) -> Option<Denial> {
    caller(house, who).err()
}

/// The account that asks, or why it may ask nothing.
pub(super) fn caller<'a>(house: &House, who: &'a Principal) -> Result<&'a UserName, Denial> {
    let denied = |rule: &'static str, why: String| {
        let rule = RuleId::builtin(rule);
        let sentence = format!("Refused by rule {rule}: {why}.");
        Denial::new(rule, DenialKind::Denied, sentence)
    };
    let user = who.user.as_ref();
    if who.uid == 0 || user.is_some_and(UserName::is_root) {
        return Err(denied("root", "root holds no grant; ask as a named person".into()));
    }
    let Some(user) = user else {
        return Err(denied("no-grant", format!("uid {} has no account, and grants name accounts", who.uid)));
    };
    // All ones is how the kernel writes "not set".
    let login_uid = who.login_uid.filter(|&login_uid| login_uid != u32::MAX);
    match login_uid.filter(|&login_uid| login_uid != who.uid && !house.allow_switched_user) {
        Some(login_uid) => {
            let why = format!("uid {login_uid} logged in and now acts as {user}; log in as {user} to ask");
            Err(denied("login-uid", why))
        }
        None => Ok(user),
    }
}

/// The refusal of a question: by the deny that forbids it, or because no grant covers it. Then it says what keeps out the
/// grant that comes nearest: the one that fails in the fewest ways, the first by id.
pub(super) fn refused(ask: Ask<'_>, question: Question<'_>) -> Denial {
    let user = ask.user;
    let act = act(question.verb, question.source);
    if let Some(rule) = ask.deciding_deny(question) {
        let sentence = format!("Refused by rule {rule}: {user} may not {act}.");
        let failed = vec![format!("{rule} forbids it")];
        return Denial { failed, ..Denial::new(rule.clone(), DenialKind::Denied, sentence) };
    }
    let rule = RuleId::builtin("no-grant");
    let retired =
        question.source.filter(|source| question.verb.takes_reason() && ask.policy.source(source).is_none());
    let with_verb = ask.held().filter(|held| held.role.verbs.contains(&question.verb));
    let nearest = with_verb
        .map(|held| (held, ask.shortcomings(held, question)))
        .filter(|(_, failed)| !failed.is_empty())
        .min_by_key(|(_, failed)| failed.len());
    let why = match (retired, &nearest) {
        (Some(source), _) => format!(" {source} is registered no more and serves no purpose."),
        (None, Some((held, failed))) => format!(" Grant {} {}.", held.id, failed.join("; it ")),
        (None, None) => String::new(),
    };
    let sentence = format!("Refused by rule {rule}: no grant lets {user} {act}.{why}");
    let failed =
        nearest.map(|(held, failed)| failed.iter().map(|why| format!("grant {} {why}", held.id)).collect());
    Denial { failed: failed.unwrap_or_default(), ..Denial::new(rule, DenialKind::Denied, sentence) }
}

/// The act in words: "view recordings of reception".
fn act(verb: Verb, source: Option<&SourceId>) -> String {
    let on = source.map_or_else(|| "recordings".to_owned(), |source| format!("recordings of {source}"));
    match verb {
        Verb::Search | Verb::View | Verb::Seal | Verb::Purge => format!("{verb} {on}"),
        Verb::Hold => format!("place holds on {on}"),
        Verb::Lift => format!("lift holds on {on}"),
        Verb::ReadLedger => "read the ledger".to_owned(),
        Verb::Administer => "administer the service".to_owned(),
        Verb::Approve => format!("approve what is asked for on {on}"),
        Verb::Mandate => "give mandates".to_owned(),
        Verb::Register => "register grants".to_owned(),
        Verb::Review => "review what was granted and done".to_owned(),
    }
}
