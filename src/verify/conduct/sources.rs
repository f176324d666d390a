//! Policy and sources: every change must be visible, and every entry must agree with what was declared.

use std::collections::BTreeMap;

use super::{Findings, Seen};
use crate::core::event::{Event, Outcome, Sealed, SourceFacts};
use crate::core::ids::{Digest, SourceId};
use crate::verify::findings::Code;

/// What was declared before, as far as later entries may still refer to it.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// What each source was before its last change: a file taken under the old policy may be sealed under the new one.
    before: BTreeMap<SourceId, SourceFacts>,
    /// The digest last complained of: said once, not at each entry.
    foreign: Option<Option<Digest>>,
}

impl Sources {
    pub(super) fn judge(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        let (record, state) = (seen.record, seen.state);
        let loads = matches!(record.event, Event::PolicyLoaded(_)) && seen.took_effect();
        if loads {
            self.foreign = None;
            if record.policy.is_none() {
                found.push((Code::EventIncomplete, "policy.loaded: the entry names no policy".into()));
            }
        } else if record.policy == state.policy() {
            self.foreign = None;
        } else if self.foreign != Some(record.policy) {
            self.foreign = Some(record.policy);
            let name = |policy: Option<Digest>| policy.map_or_else(|| "none".to_owned(), |it| it.to_string());
            let sentence = format!(
                "it names the policy {}, but in force is {}",
                name(record.policy),
                name(state.policy())
            );
            found.push((Code::PolicyDiffers, sentence));
        }
        let Some(source) = record.subject.source.as_ref().filter(|_| seen.took_effect()) else { return };
        let facts = state.source(source);
        let wrong = match (&record.event, facts) {
            (Event::SourceRegistered(_), Some(_)) => "is registered already",
            (Event::SourceChanged(_) | Event::SourceRetired(_), None) => "is not registered",
            (Event::SourceChanged(_) | Event::SourceRetired(_), Some(facts)) => {
                self.before.insert(source.clone(), facts.clone());
                return;
            }
            _ => return,
        };
        found.push((Code::SourceContradiction, format!("{}: source {source} {wrong}", record.event.name())));
    }

    /// What an entry says of its recording's source, and a grant of its purpose.
    pub(super) fn judge_subject(&self, seen: &Seen<'_>, found: &mut Findings) {
        let (record, subject) = (seen.record, &seen.record.subject);
        let declared =
            |source: &SourceId| seen.state.source(source).into_iter().chain(self.before.get(source));
        match (&record.event, &subject.source) {
            (Event::RecordingSealed(sealed), Some(source)) if seen.took_effect() => {
                if declared(source).next().is_none() {
                    found.push((Code::SourceUnregistered, format!("source {source} was not registered")));
                } else if !declared(source)
                    .any(|facts| facts.kind == sealed.kind && facts.class == sealed.class)
                {
                    let Sealed { kind, class, .. } = sealed;
                    let sentence = format!("source {source} was not registered for {kind} of class {class}");
                    found.push((Code::SourceUnregistered, sentence));
                }
            }
            _ => {}
        }
        if let Some((id, recording)) = subject.recording.and_then(|id| Some((id, seen.state.recording(&id)?)))
            && let Some(source) = subject.source.as_ref().filter(|source| **source != recording.source)
        {
            let sentence = format!("recording {id} is of source {}, not of {source}", recording.source);
            found.push((Code::SubjectDiffers, sentence));
        }
        if matches!(record.event, Event::AccessOpened(_)) && record.outcome == Outcome::Granted {
            if seen.state.policy().is_none() {
                found.push((
                    Code::AccessWithoutPolicy,
                    "access was granted, but no policy had been loaded".into(),
                ));
            }
            if subject.reason.is_none() {
                found.push((Code::AccessUnfounded, "access was granted without a reason".into()));
            }
            let source = subject.recording.and_then(|id| seen.state.recording(&id)).map(|it| &it.source);
            let unfounded = match (&subject.purpose, source) {
                (None, _) => Some("access was granted without a purpose".to_owned()),
                (Some(purpose), Some(source)) => {
                    let had = declared(source).any(|facts| facts.purposes.contains(purpose));
                    (!had).then(|| {
                        format!("access was granted for {purpose}, which is no purpose of source {source}")
                    })
                }
                _ => None,
            };
            found.extend(unfounded.map(|sentence| (Code::AccessUnfounded, sentence)));
        }
    }
}
