//! The facts that a decision is made with, gathered at the writer's desk.
//!
//! Owns what is looked up for a request and where. Must never decide, and never wait: what is not known counts against the
//! caller.

use super::ledger::Desk;
use crate::core::policy::{AccessRequest, Facts, RecordingFacts, Target};
use crate::core::state::Recording;

/// What is known at the desk about a request; nothing of what was used today.
pub fn facts_for<'a>(desk: &'a Desk<'_>, request: &AccessRequest) -> Facts<'a> {
    let recording = match &request.target {
        Target::Recording { id, .. } => desk.state.recording(id).map(recording_facts),
        Target::Source(_) | Target::Service => None,
    };
    Facts { recording, ..Facts::none() }
}

/// Of a recording, what rules ask for.
pub fn recording_facts(recording: &Recording) -> RecordingFacts {
    RecordingFacts { kind: recording.kind, start: recording.start, end: recording.end, own: None }
}
