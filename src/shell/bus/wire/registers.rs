//! Between `a{sv}` and the types of registers: every act with the keys that it has.

use zbus::wire::Variant;

use super::{Dict, Keys, dict};
use crate::core::policy::Verb;
use crate::core::refusal::Refusal;
use crate::core::time::Period;
use crate::shell::bus::archive::registers::{
    ApprovalRequest, GrantStep, MandateRequest, RegisterAct, RegisterFilter, RegisterKind, RegisterRow,
    RowValue,
};

/// Lists of ids that a mandate may name.
const MOST_NAMED: usize = 256;

/// The register of `List`.
pub fn register(word: &str) -> Result<RegisterKind, Refusal> {
    let words = RegisterKind::ALL.map(RegisterKind::as_str).join(", ");
    RegisterKind::from_word(word)
        .ok_or_else(|| Refusal::invalid(format!("There is no such register; there are {words}.")))
}

/// The filter of `List`.
pub fn register_filter(dict: Dict) -> Result<RegisterFilter, Refusal> {
    let mut keys = Keys::new(dict);
    let filter = RegisterFilter { user: keys.text("user")?, state: keys.text("state")? };
    keys.end(filter)
}

/// An act of `Record`.
pub fn register_act(register: RegisterKind, act: &str, dict: Dict) -> Result<RegisterAct, Refusal> {
    let mut keys = Keys::new(dict);
    let act = match (register, act) {
        (RegisterKind::Grants, "propose") => {
            RegisterAct::ProposeGrant { text: keys.needed("grant")?, ground: keys.text("ground")? }
        }
        (RegisterKind::Grants, "approve") => grant(GrantStep::Approve, &mut keys)?,
        (RegisterKind::Grants, "refuse") => grant(GrantStep::Refuse, &mut keys)?,
        (RegisterKind::Grants, "end") => grant(GrantStep::End, &mut keys)?,
        (RegisterKind::Grants, "suspend") => grant(GrantStep::Suspend, &mut keys)?,
        (RegisterKind::Grants, "review") => grant(GrantStep::Review, &mut keys)?,
        (RegisterKind::Mandates, "give") => {
            RegisterAct::SetMandate { change: false, mandate: mandate(&mut keys)? }
        }
        (RegisterKind::Mandates, "change") => {
            RegisterAct::SetMandate { change: true, mandate: mandate(&mut keys)? }
        }
        (RegisterKind::Mandates, "withdraw" | "done") => {
            let (id, ground) = (keys.needed("id")?, keys.text("ground")?);
            RegisterAct::EndMandate { id, done: act == "done", ground }
        }
        (RegisterKind::Approvals, "ask") => RegisterAct::AskApproval(approval(&mut keys)?),
        (RegisterKind::Approvals, "accept" | "refuse") => {
            let (id, ground) = (keys.needed("id")?, keys.text("ground")?);
            RegisterAct::AnswerApproval { id, accepted: act == "accept", ground }
        }
        (RegisterKind::Charter, "acknowledge") => {
            RegisterAct::AcknowledgeCharter { version: keys.needed("version")? }
        }
        (register, _) => {
            let acts = match register {
                RegisterKind::Grants => "propose, approve, refuse, end, suspend, review",
                RegisterKind::Mandates => "give, change, withdraw, done",
                RegisterKind::Approvals => "ask, accept, refuse",
                RegisterKind::Charter => "acknowledge",
            };
            let register = register.as_str();
            return Err(Refusal::invalid(format!("There is no such act of {register}; there are {acts}.")));
        }
    };
    keys.end(act)
}

fn grant(step: GrantStep, keys: &mut Keys) -> Result<RegisterAct, Refusal> {
    Ok(RegisterAct::Grant { step, id: keys.needed("id")?, ground: keys.text("ground")? })
}

fn mandate(keys: &mut Keys) -> Result<MandateRequest, Refusal> {
    Ok(MandateRequest {
        id: keys.needed("id")?,
        user: keys.needed("user")?,
        client: keys.needed("client")?,
        tasks: ids(keys, "tasks")?.unwrap_or_default(),
        sources: ids(keys, "sources")?,
        from: keys.needed("from")?,
        until: keys.needed("until")?,
        necessity: keys.needed("necessity")?,
        informed_on: keys.needed("informed_on")?,
        consent: keys.needed("consent")?,
    })
}

fn ids(keys: &mut Keys, key: &'static str) -> Result<Option<Vec<String>>, Refusal> {
    let ids: Option<Vec<String>> = keys.take(key, "a list of strings (as)")?;
    match ids {
        Some(ids) if ids.len() > MOST_NAMED || ids.iter().any(|id| id.len() > 64) => Err(Refusal::invalid(
            format!("The key \"{key}\" takes at most {MOST_NAMED} ids of at most 64 characters."),
        )),
        ids => Ok(ids),
    }
}

fn approval(keys: &mut Keys) -> Result<ApprovalRequest, Refusal> {
    let verb = match keys.text("verb")? {
        Some(verb) => {
            verb.parse().map_err(|error| Refusal::invalid(format!("The key \"verb\": {error}.")))?
        }
        None => Verb::View,
    };
    let duration = keys.text("duration")?.map(|text| text.parse::<Period>());
    let request = ApprovalRequest {
        verb,
        recording: keys.text("recording")?,
        source: keys.text("source")?,
        from: keys.time("from")?,
        to: keys.time("to")?,
        purpose: keys.text("purpose")?,
        reason: keys.text("reason")?,
        case: keys.text("case")?,
        mandate: keys.text("mandate")?,
        duration: duration
            .transpose()
            .map_err(|error| Refusal::invalid(format!("The key \"duration\": {error}.")))?,
        expires: keys.time("expires")?,
        text: keys.text("text")?,
    };
    let interval = [request.from.is_some(), request.to.is_some()];
    match (&request.recording, &request.source) {
        (Some(_), Some(_)) => {
            Err(Refusal::invalid("Name either a recording, or a source with an interval, not both."))
        }
        (None, Some(_)) if interval != [true; 2] || request.from >= request.to => Err(Refusal::invalid(
            "A source needs an interval: the keys \"from\" and \"to\", the earlier first.",
        )),
        (_, None) if interval != [false; 2] => Err(Refusal::invalid(
            "The keys \"from\" and \"to\" are for a source; a recording has its own interval.",
        )),
        _ => Ok(request),
    }
}

/// A row of `List`.
pub fn register_row(row: RegisterRow) -> Dict {
    let mut out = Dict::new();
    for (key, value) in row {
        let value = match value {
            RowValue::Text(text) => Variant::from(text),
            RowValue::Number(number) => Variant::from(number),
            RowValue::Texts(texts) => Variant::from(texts),
        };
        out.extend(dict([(key, value)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(register: RegisterKind, act: &str, pairs: &[(&str, &str)]) -> Result<RegisterAct, Refusal> {
        let mut keys = Dict::new();
        for (key, text) in pairs {
            keys.extend(dict([(*key, Variant::from((*text).to_owned()))]));
        }
        register_act(register, act, keys)
    }

    #[test]
    fn an_unknown_register_act_or_key_names_the_known_ones() {
        assert!(register("people").unwrap_err().sentence.contains("grants, mandates, approvals, charter"));
        let error = act(RegisterKind::Grants, "take", &[]).unwrap_err();
        assert!(error.sentence.contains("propose, approve"), "{error}");
        let error = act(RegisterKind::Grants, "end", &[("id", "x"), ("colour", "red")]).unwrap_err();
        assert!(error.sentence.contains("\"colour\"") && error.sentence.contains("ground"), "{error}");
        let error = act(RegisterKind::Grants, "end", &[]).unwrap_err();
        assert!(error.sentence.contains("\"id\""), "{error}");
    }

    #[test]
    fn inv10_an_approval_is_about_one_thing() {
        let time = "2026-05-12T10:00:00Z";
        let later = "2026-05-12T11:00:00Z";
        for bad in [
            &[("recording", "x"), ("source", "entrance"), ("from", time), ("to", later)][..],
            &[("source", "entrance")],
            &[("source", "entrance"), ("from", later), ("to", time)],
            &[("source", "entrance"), ("from", time)],
            &[("recording", "x"), ("from", time), ("to", later)],
            &[("verb", "dance")],
            &[("duration", "an hour")],
        ] {
            assert!(act(RegisterKind::Approvals, "ask", bad).is_err(), "{bad:?}");
        }
        let good = [("source", "entrance"), ("from", time), ("to", later), ("duration", "PT1H")];
        let Ok(RegisterAct::AskApproval(asked)) = act(RegisterKind::Approvals, "ask", &good) else {
            panic!("refused")
        };
        assert_eq!((asked.verb, asked.from.is_some()), (Verb::View, true));
    }
}
