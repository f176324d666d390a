//! The facts that a decision rests on, as the daemon knows them at the writer's turn.
//!
//! Owns where each of them comes from: the recording and the registers from the fold and what details tell, the rest from whoever
//! asks. Must never say more than stands in the ledger.

use std::borrow::Cow;

use super::ledger::Desk;
use crate::core::ids::ApprovalId;
use crate::core::policy::{
    AccessRequest, Approval, ApprovalScope, Facts, RecordingFacts, Target, UserName, Verb,
};
use crate::core::state::Recording;

/// What is known of the request: the recording, what its caller holds in the registers, what he names. `own`: whether the recording is
/// his own, as the catalogue says. Whether he has authenticated again and what he has used today is for the caller of this function to say.
pub fn facts_for<'a>(desk: &'a Desk<'_>, request: &AccessRequest, own: Option<bool>) -> Facts<'a> {
    let recording = match &request.target {
        Target::Recording { id, .. } => desk.state.recording(id),
        Target::Source(_) | Target::Service => None,
    };
    let recording = recording.map(|recording| recording_facts(recording, own));
    let user = request.who.user.as_ref().map(UserName::as_str);
    let acknowledged = desk.told.acknowledgement(desk.state, request.who.uid, user);
    let charter = acknowledged.and_then(|entry| desk.state.registers().charter.get(entry));
    Facts {
        recording,
        registered: desk.standing.registered(),
        suspended: desk.standing.suspended(),
        mandate: request.mandate.as_ref().and_then(|id| desk.standing.mandate(id)),
        approval: request.approval.as_ref().and_then(|id| desk.standing.approval(id)),
        charter: charter.map(|version| version.as_str()),
        ..Facts::none()
    }
}

/// Of a recording, what rules ask for.
fn recording_facts(recording: &Recording, own: Option<bool>) -> RecordingFacts {
    RecordingFacts { kind: recording.kind, start: recording.start, end: recording.end, own }
}

/// The request with the approval that its caller has for it, where he names none. Who opens a recording names it.
pub fn completed<'a>(desk: &Desk<'_>, request: &'a AccessRequest) -> Cow<'a, AccessRequest> {
    match request.approval.is_none().then(|| own_approval(desk, request)).flatten() {
        Some(approval) => Cow::Owned(AccessRequest { approval: Some(approval), ..request.clone() }),
        None => Cow::Borrowed(request),
    }
}

/// An approval that the caller was given for exactly this act, and has not used: the one that ends first.
pub fn own_approval(desk: &Desk<'_>, request: &AccessRequest) -> Option<ApprovalId> {
    if request.verb == Verb::View || !request.verb.takes_approval() {
        return None;
    }
    let for_this = |it: &&Approval| {
        let scope = match (&it.scope, &request.target) {
            (ApprovalScope::Recording(approved), Target::Recording { id, .. }) => approved == id,
            (ApprovalScope::Service, Target::Service) => true,
            _ => false,
        };
        let given = it.answer.is_some_and(|answer| answer.accepted) && !it.used && it.expires > desk.now.time;
        scope && given && it.verb == request.verb && it.asked_by == request.who.uid
    };
    desk.standing.approvals().filter(for_this).min_by_key(|it| it.expires).map(|it| it.id)
}
