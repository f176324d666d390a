//! Listing a register: an access like any other, recorded before a row leaves.
//!
//! Everybody sees what is about himself; whoever works with a register, or reads the ledger, sees all of it.

use std::sync::Arc;

use super::permit;
use crate::core::event::{Draft, Event, Outcome, RegisterRead};
use crate::core::ids::{GrantId, RuleId};
use crate::core::policy::{Target, Verb, refuse_caller};
use crate::core::refusal::Refusal;
use crate::core::register::approvals::About;
use crate::core::register::grants::{Granted, Stage};
use crate::core::register::mandates::Mandated;
use crate::core::register::told::Told;
use crate::daemon::ledger::{Desk, Proposal};
use crate::daemon::person::{Person, allowed};
use crate::daemon::service::Service;
use crate::shell::bus::archive::registers::{RegisterFilter, RegisterKind, RegisterRow, RowValue};

/// A row as it is put together.
#[derive(Default)]
struct Row(RegisterRow);

impl Row {
    fn text(mut self, key: &'static str, text: impl ToString) -> Self {
        self.0.push((key, RowValue::Text(text.to_string())));
        self
    }
    fn maybe(self, key: &'static str, text: Option<impl ToString>) -> Self {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }
    fn number(mut self, key: &'static str, number: u64) -> Self {
        self.0.push((key, RowValue::Number(number)));
        self
    }
    fn texts<T: ToString>(mut self, key: &'static str, texts: impl IntoIterator<Item = T>) -> Self {
        self.0.push((key, RowValue::Texts(texts.into_iter().map(|it| it.to_string()).collect())));
        self
    }
    fn is(&self, key: &str, wanted: Option<&String>) -> bool {
        let found = self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
        wanted.is_none_or(|wanted| found == Some(&RowValue::Text(wanted.clone())))
    }
}

/// The verbs that let a person see all of a register.
const fn verbs(register: RegisterKind) -> &'static [Verb] {
    match register {
        RegisterKind::Grants => &[Verb::Register, Verb::Approve, Verb::Review, Verb::ReadLedger],
        RegisterKind::Mandates => &[Verb::Mandate, Verb::Approve, Verb::ReadLedger],
        RegisterKind::Approvals => &[Verb::Approve, Verb::ReadLedger],
        RegisterKind::Charter => &[Verb::Review, Verb::ReadLedger],
    }
}

impl Service {
    /// `Registers.List`.
    pub(in crate::daemon) async fn list_register_for(
        self: &Arc<Self>,
        person: Person,
        register: RegisterKind,
        filter: RegisterFilter,
    ) -> Result<Vec<RegisterRow>, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let read = RegisterRead { register: register.as_str().into() };
            let draft = Draft::fact(Event::RegisterRead(read));
            if let Some(denial) = refuse_caller(desk.house, &person.principal) {
                return person.refused(desk, Verb::Register, denial, draft);
            }
            // A permit that would use up an approval is not worth one here.
            let may = |verb: &Verb| permit(desk, &person, *verb, Target::Service).ok();
            let all = verbs(register).iter().find_map(may).filter(|permit| permit.approval().is_none());
            let rule = all.as_ref().map_or_else(|| RuleId::builtin("own"), |it| it.rule().clone());
            let rows = rows(desk, &person, register, all.is_some());
            let kept = rows
                .into_iter()
                .filter(|row| row.is("user", filter.user.as_ref()) && row.is("state", filter.state.as_ref()));
            let rows: Vec<RegisterRow> = kept.map(|row| row.0).collect();
            let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(&rule));
            Ok(Proposal::new(draft, Ok(rows)))
        });
        Ok(allowed(recorded.await?)?.into_value())
    }
}

fn rows(desk: &Desk<'_>, person: &Person, register: RegisterKind, all: bool) -> Vec<Row> {
    let (registers, told) = (desk.state.registers(), &*desk.told);
    let me = person.who.user.as_deref();
    let mine = |row: &Row| all || row.is("user", person.who.user.as_ref()) && me.is_some();
    match register {
        RegisterKind::Grants => {
            let grants = registers.grants.iter();
            grants.map(|(id, grant)| grant_row(desk, id, grant)).filter(mine).collect()
        }
        RegisterKind::Mandates => {
            let mandates = registers.mandates.iter();
            let rows = mandates.map(|(id, it)| mandate_row(Row::default().text("id", id), it, told));
            rows.filter(mine).collect()
        }
        RegisterKind::Approvals => {
            let approvals = registers.approvals.iter();
            let asked = approvals.filter(|(_, it)| {
                all || told.party(it.entry).is_some_and(|party| party.uid == person.who.uid)
            });
            asked
                .map(|(id, it)| {
                    let row = Row::default().text("id", id).text("state", it.word(desk.now.time));
                    let row = row.text("verb", it.verb);
                    let row = match &it.about {
                        About::Recording(id) => row.text("recording", id),
                        About::Interval { source, from, to } => {
                            row.text("source", source).text("from", from).text("to", to)
                        }
                        About::Service => row,
                    };
                    let detail = told.detail(it.entry);
                    let answered = it.answer.and_then(|answer| told.party(answer.entry)?.user);
                    row.maybe("purpose", it.purpose.as_ref())
                        .maybe("reason", it.reason.as_ref())
                        .maybe("duration", it.duration.as_ref())
                        .text("expires", it.expires)
                        .maybe("user", told.party(it.entry).and_then(|party| party.user))
                        .maybe("answered_by", answered)
                        .maybe("case", detail.and_then(|it| it.case.as_ref()))
                        .maybe("text", detail.and_then(|it| it.text.as_ref()))
                })
                .collect()
        }
        RegisterKind::Charter => charter_rows(desk, person, all),
    }
}

fn grant_row(desk: &Desk<'_>, id: &GrantId, grant: &Granted) -> Row {
    let detail = desk.told.detail(grant.entry);
    let state = match (grant.stage, grant.suspended) {
        (Stage::Proposed, _) => "proposed",
        (_, Some(_)) => "suspended",
        (Stage::Given, None) if desk.standing.unreadable(id).is_some() => "unreadable",
        (Stage::Given | Stage::Policy, None) => "given",
    };
    // Of a proposal it is who acted; of a grant the detail names the proposer, and who acted approved.
    let actor = detail.and_then(|it| it.who.as_ref()?.user.clone());
    let named = detail.and_then(|it| it.proposer.as_ref()?.user.clone());
    let (proposer, approver) = match grant.stage {
        Stage::Proposed => (actor, None),
        Stage::Given => (named, actor),
        Stage::Policy => (None, None),
    };
    Row::default()
        .text("id", id)
        .text("state", state)
        .maybe("user", detail.and_then(|it| it.user.as_ref()))
        .maybe("rule", detail.and_then(|it| it.grant_rule.as_ref()))
        .maybe("grant", detail.and_then(|it| it.grant.as_ref()))
        .maybe("until", grant.until)
        .text("since", grant.since)
        .maybe("reviewed", grant.reviewed)
        .maybe("why", grant.suspended.map(|why| why.as_str()).or_else(|| desk.standing.unreadable(id)))
        .maybe("proposer", proposer)
        .maybe("approver", approver)
}

fn mandate_row(row: Row, it: &Mandated, told: &Told) -> Row {
    let detail = told.detail(it.entry);
    let row = row
        .text("state", it.withdrawn.map_or("in-force", |(_, why)| why.as_str()))
        .number("version", it.version)
        .maybe("user", detail.and_then(|it| it.user.as_ref()))
        .maybe("client", detail.and_then(|it| it.client.as_ref()))
        .texts("tasks", &it.tasks)
        .text("from", it.from)
        .text("until", it.until)
        .maybe("necessity", detail.and_then(|it| it.necessity.as_ref()))
        .maybe("informed_on", detail.and_then(|it| it.informed_on.as_ref()))
        .maybe("consent", detail.and_then(|it| it.consent.as_ref()));
    match &it.sources {
        Some(sources) => row.texts("sources", sources),
        None => row,
    }
}

/// The charter in force with what the caller acknowledged; for whoever sees all, a row for each acknowledgement after it.
fn charter_rows(desk: &Desk<'_>, person: &Person, all: bool) -> Vec<Row> {
    let Some(charter) = desk.policy.charter() else { return Vec::new() };
    let (uid, user) = (person.who.uid, person.who.user.as_deref());
    let mine = desk.told.acknowledgement(desk.state, uid, user);
    let acknowledged = &desk.state.registers().charter;
    let state = match mine.and_then(|entry| acknowledged.get(entry)) {
        Some(version) if *version == charter.version => "acknowledged",
        Some(_) => "outdated",
        None => "open",
    };
    let own = Row::default()
        .text("version", &charter.version)
        .text("state", state)
        .maybe("user", user)
        .text("text", &charter.text);
    let others = acknowledged.iter().filter(|(entry, _)| all && Some(*entry) != mine);
    let others = others.map(|(entry, version)| {
        let state = if *version == charter.version { "acknowledged" } else { "outdated" };
        Row::default()
            .text("version", version)
            .text("state", state)
            .maybe("user", desk.told.party(entry).and_then(|party| party.user))
    });
    std::iter::once(own).chain(others).collect()
}
