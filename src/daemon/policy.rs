//! Loading the policy: read whole, checked whole, replaced whole (design §8).
//!
//! In order: files read · parsed · `policy.loaded` with the text as its detail, and what became of each source: the commit
//! point · sessions that the new policy would not grant are cut. A bad one is recorded as `policy.refused` and the one in
//! force stays; after a restart that one is read back from the ledger.

use std::path::Path;
use std::sync::Arc;

use super::errors::chain;
use super::health::Part;
use super::ledger::Proposal;
use super::person::{Person, allowed, decide_for};
use super::service::Service;
use super::sessions::End;
use crate::core::event::{
    ApprovalStep, Detail, Draft, Event, Nothing, Outcome, Party, Searched, SourceFacts, Subject,
};
use crate::core::policy::{AccessRequest, Decision, Policy, PolicyFile, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::journal;
use crate::shell::message_id;
use crate::shell::policy_files;

/// What came of a loading.
pub(super) enum Loaded {
    /// In force.
    New,
    /// It was in force already.
    Same,
    /// There is none; nobody may do anything.
    None,
}

impl Service {
    /// `Manager.Reload`.
    pub(super) async fn reload_for(self: &Arc<Self>, person: Person) -> Result<(), Refusal> {
        let asked_by = person.clone();
        let request = person.asks(Verb::Administer, Target::Service, None);
        let asked = request.clone();
        match self.ledger.look(move |desk| decide_for(desk, &person, &asked)).await? {
            Decision::Allow(permit) => {
                let mut detail = asked_by.detail(permit.rule());
                if permit.approval().is_some() {
                    detail.approver = self.spend_approval(asked_by, request).await?;
                }
                let loaded = self.load_policy(detail.clone()).await.map_err(|findings| {
                    let sentence =
                        format!("The policy was refused and the old one stays: {}", findings.join("; "));
                    Refusal::invalid(sentence)
                })?;
                match loaded {
                    Loaded::New => Ok(()),
                    // Nothing came into force; the question is an entry all the same (invariant 2).
                    Loaded::Same | Loaded::None => {
                        let searched =
                            Searched { what: "policy".into(), sources: Vec::new(), from: None, to: None };
                        let draft = Draft::fact(Event::AccessSearched(searched)).outcome(Outcome::Granted);
                        let recorded =
                            self.ledger.record(move |_| Ok(Proposal::new(draft.with_detail(detail), ())));
                        recorded.await.map(|_| ())
                    }
                }
            }
            Decision::Deny(denial) => {
                let recorded = self.ledger.record(move |desk| {
                    let draft = Draft::fact(Event::PolicyRefused(Nothing {}));
                    asked_by.refused::<()>(desk, Verb::Administer, denial, draft)
                });
                allowed(recorded.await?).map(|_| ())
            }
        }
    }

    /// Spends the approval under which a policy is loaded, in an entry before it: what is loaded is not known yet. Gives the
    /// second person.
    async fn spend_approval(&self, person: Person, request: AccessRequest) -> Result<Option<Party>, Refusal> {
        let recorded = self.ledger.record(move |desk| match decide_for(desk, &person, &request) {
            Decision::Allow(permit) => {
                let approver = permit.approval().and_then(|id| desk.told.answerer(desk.state, id));
                let step = ApprovalStep { approval: permit.approval().copied() };
                let detail = Detail { approver: approver.clone(), ..person.detail(permit.rule()) };
                Ok(Proposal::new(Draft::fact(Event::ApprovalUsed(step)).with_detail(detail), Ok(approver)))
            }
            Decision::Deny(denial) => {
                let draft = Draft::fact(Event::PolicyRefused(Nothing {}));
                person.refused(desk, Verb::Administer, denial, draft)
            }
        });
        Ok(allowed(recorded.await?)?.into_value())
    }

    /// Loads the files and puts them in force. `by` says who ordered it; empty at start and on SIGHUP.
    pub(super) async fn load_policy(self: &Arc<Self>, by: Detail) -> Result<Loaded, Vec<String>> {
        // One at a time: what was read last is what is in force at the end.
        let _one = self.loading.lock().await;
        let path = self.config.policy.clone();
        let read = tokio::task::spawn_blocking(move || read(&path));
        let read = read.await.unwrap_or_else(|error| Err(vec![error.to_string()]));
        let check = format!("check it with `greffierctl policy check {}`", self.config.policy.display());
        let read = match read {
            // Deleted, or moved away: what the ledger says is in force stays so.
            Ok(None) if self.ledger.look(|desk| desk.state.policy()).await.is_ok_and(|it| it.is_some()) => {
                Err(vec![format!("{} is missing", self.config.policy.display())])
            }
            other => other,
        };
        let (files, policy) = match read {
            Ok(Some((files, policy))) => (files, Arc::new(policy)),
            Ok(None) => {
                let path = self.config.policy.display();
                let why = format!("No policy: nobody may do anything. Write {path}, {check}.");
                self.health.degrade(Part::Policy, why);
                return Ok(Loaded::None);
            }
            Err(findings) => {
                self.refuse_policy(by, &findings).await;
                // Everybody reads this, and a finding may name a person.
                let why = format!("The policy was refused, the old one stays. Edit it, {check}.");
                self.health.degrade(Part::Policy, why);
                return Err(findings);
            }
        };
        let loaded = self.put_in_force(files, policy.clone(), by).await;
        match loaded {
            Ok(loaded) => {
                if policy.grants_nothing() {
                    let path = self.config.policy.display();
                    let why = format!("The policy grants nothing to anybody: edit {path}, {check}.");
                    self.health.degrade(Part::Policy, why);
                } else {
                    self.health.mend(Part::Policy);
                }
                self.reconsider_sessions(End::PolicyChanged).await;
                self.look_for_polkit().await;
                Ok(loaded)
            }
            Err(refusal) => Err(vec![refusal.sentence]),
        }
    }

    /// Records a policy, unless it is in force already, and makes it the one that decides.
    async fn put_in_force(
        &self,
        files: Vec<PolicyFile>,
        policy: Arc<Policy>,
        by: Detail,
    ) -> Result<Loaded, Refusal> {
        let digest = policy.digest();
        let new = policy.clone();
        let same = self.ledger.look(move |desk| {
            let same = desk.state.policy() == Some(digest);
            if same {
                *desk.policy = new;
            }
            same
        });
        let loaded = if same.await? {
            Loaded::Same
        } else {
            let new = policy.clone();
            let recorded = self.ledger.record(move |desk| {
                let text = files.into_iter().map(|file| (file.name, file.text)).collect();
                let loaded =
                    Draft::fact(Event::PolicyLoaded(Nothing {})).with_detail(Detail { policy: text, ..by });
                let changes = source_changes(desk.state, &new);
                *desk.policy = new;
                Ok(changes.into_iter().fold(Proposal::new(loaded, ()), Proposal::and))
            });
            let recorded = match recorded.await {
                Ok(recorded) => recorded,
                Err(refusal) => {
                    // In doubt it comes into force with its entry; otherwise what was in force still is.
                    if refusal.kind != RefusalKind::LedgerUnavailable {
                        let old = self.policy_in_force();
                        self.ledger.look(move |desk| *desk.policy = old).await?;
                    }
                    return Err(refusal);
                }
            };
            let (entry, digest) = (recorded.entry().to_string(), digest.to_string());
            journal::record(
                log::Level::Info,
                message_id::POLICY_LOADED,
                &format!("policy {digest} is in force, entry {entry}"),
                &[("entry", &entry), ("policy", &digest)],
            );
            Loaded::New
        };
        self.set_policy(policy);
        Ok(loaded)
    }

    async fn refuse_policy(&self, by: Detail, findings: &[String]) {
        journal::record(
            log::Level::Error,
            message_id::POLICY_REFUSED,
            &format!("the policy was refused, the old one stays: {}", findings.join("; ")),
            &[],
        );
        // What stands in a policy names persons: findings go to the detail, and only so many.
        let detail = Detail { findings: findings.iter().take(100).cloned().collect(), ..by };
        let recorded = self.ledger.record(move |_| {
            let draft = Draft::fact(Event::PolicyRefused(Nothing {})).outcome(Outcome::Failed);
            Ok(Proposal::new(draft.with_detail(detail), ()))
        });
        if let Err(refusal) = recorded.await {
            log::error!("the refusal of the policy could not be recorded: {refusal}");
        }
    }

    /// The policy that the ledger says is in force, from the detail of its entry: for a start with bad files.
    pub(super) async fn policy_from_ledger(self: &Arc<Self>) {
        let entry = self.ledger.look(|desk| desk.state.policy_entry()).await;
        let Ok(Some(entry)) = entry else { return };
        let service = self.clone();
        let read = tokio::task::spawn_blocking(move || -> Result<Option<Policy>, String> {
            let lines = service.reader.entries(entry, 1, usize::MAX).map_err(|error| error.to_string())?;
            let Some(line) = lines.first() else { return Ok(None) };
            let Some(detail) = service.reader.detail(line).map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let detail = Detail::parse(&detail).map_err(|error| chain(&error))?;
            let files: Vec<PolicyFile> =
                detail.policy.into_iter().map(|(name, text)| PolicyFile { name, text }).collect();
            Policy::parse(&files).map(Some).map_err(|errors| errors.to_string())
        });
        match read.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(Some(policy)) => {
                let policy = Arc::new(policy);
                let new = policy.clone();
                if self.ledger.look(move |desk| *desk.policy = new).await.is_ok() {
                    self.set_policy(policy);
                }
            }
            other => {
                let error = other.err().unwrap_or_else(|| "its detail is destroyed".into());
                log::error!("the policy in force cannot be read back from entry {entry}: {error}");
                let why = "The policy cannot be read: nobody may do anything. Edit it, check it with `greffierctl policy check`, then `systemctl reload greffierd`.";
                self.health.degrade(Part::Policy, why);
            }
        }
    }

    /// Takes over the policy that the writer decides with: a loading that was in doubt may have come into force.
    pub(super) async fn follow_policy(self: &Arc<Self>) {
        let _one = self.loading.lock().await;
        let Ok(policy) = self.ledger.look(|desk| desk.policy.clone()).await else { return };
        if policy.digest() != self.policy_in_force().digest() {
            self.set_policy(policy);
            self.reconsider_sessions(End::PolicyChanged).await;
        }
    }
}

/// `source.registered`, `.changed`, `.retired` by comparison with what the ledger holds.
fn source_changes(state: &crate::core::state::State, policy: &Policy) -> Vec<Draft> {
    let facts = |source: &crate::core::policy::Source| SourceFacts {
        kind: source.kind,
        zone: source.zone.clone(),
        purposes: source.purposes.iter().cloned().collect(),
        class: source.class.clone(),
    };
    let known: std::collections::BTreeMap<_, _> = state.sources().collect();
    let mut drafts = Vec::new();
    for (id, source) in policy.sources() {
        let now = facts(source);
        let event = match known.get(id) {
            None => Event::SourceRegistered(now),
            Some(before) if **before != now => Event::SourceChanged(now),
            Some(_) => continue,
        };
        drafts.push(Draft::fact(event).about(Subject::source(id.clone())));
    }
    for id in known.keys().filter(|id| policy.source(id).is_none()) {
        drafts.push(Draft::fact(Event::SourceRetired(Nothing {})).about(Subject::source((*id).clone())));
    }
    drafts
}

/// The files and the policy they make; `None` when there is no `policy.toml`.
fn read(path: &Path) -> Result<Option<(Vec<PolicyFile>, Policy)>, Vec<String>> {
    let files = policy_files::read(path).map_err(|error| vec![error.to_string()])?;
    let files: Vec<PolicyFile> = files.into_iter().map(|(name, text)| PolicyFile { name, text }).collect();
    if files.is_empty() {
        return Ok(None);
    }
    match Policy::parse(&files) {
        Ok(policy) => Ok(Some((files, policy))),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}
