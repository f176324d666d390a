//! The proof that an act is allowed. Its fields are private and only `decide` makes one (design §4).

use super::ask::Held;
use super::conditions::Act;
use super::names::{UserName, Verb};
use super::request::Target;
use crate::core::ids::{ApprovalId, MandateId, PurposeId, ReasonCode, RuleId};
use crate::core::time::Timestamp;

/// Proof that the policy allows one act to one user until a time. Its fields are private and it has no constructor:
/// only [`super::decide`] makes one, and serving needs one that the ledger has recorded (design §4).
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    verb: Verb,
    uid: u32,
    user: UserName,
    target: Target,
    rule: RuleId,
    purpose: Option<PurposeId>,
    reason: Option<ReasonCode>,
    expires: Timestamp,
    max_bytes_a_day: Option<u64>,
    pipe: bool,
    approval: Option<(ApprovalId, u32)>,
    mandate: Option<MandateId>,
    emergency: bool,
}

impl Permit {
    /// Under a grant that covers the act and misses nothing.
    pub(super) fn under(
        held: &Held<'_>,
        act: &Act<'_>,
        purpose: Option<&PurposeId>,
        reason: Option<&ReasonCode>,
        expires: Timestamp,
    ) -> Self {
        let approval = act.approval().filter(|_| act.needs_approval(held));
        let approval = approval.and_then(|it| Some((it.id, it.answer?.by)));
        let mandate = act.mandate().filter(|_| act.needs_mandate(held)).map(|it| it.id.clone());
        Self {
            verb: act.request.verb,
            uid: act.request.who.uid,
            user: act.ask.user.clone(),
            target: act.request.target.clone(),
            rule: held.id.clone(),
            purpose: purpose.cloned(),
            reason: reason.cloned(),
            expires,
            max_bytes_a_day: held.grant.max_bytes_a_day,
            pipe: held.grant.pipe,
            approval,
            mandate,
            emergency: held.grant.emergency,
        }
    }

    /// The act allowed.
    pub const fn verb(&self) -> Verb {
        self.verb
    }
    /// The only user it is for; never 0.
    pub const fn uid(&self) -> u32 {
        self.uid
    }
    /// That user's account.
    pub const fn user(&self) -> &UserName {
        &self.user
    }
    /// What it is about.
    pub const fn target(&self) -> &Target {
        &self.target
    }
    /// The grant that allows it.
    pub const fn rule(&self) -> &RuleId {
        &self.rule
    }
    /// The purpose the access serves; always present for `view`.
    pub const fn purpose(&self) -> Option<&PurposeId> {
        self.purpose.as_ref()
    }
    /// The stated reason; always present for `view`.
    pub const fn reason(&self) -> Option<&ReasonCode> {
        self.reason.as_ref()
    }
    /// The first instant at which it no longer holds.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
    /// How many bytes the grant hands out in a day; absent: without limit.
    pub const fn max_bytes_a_day(&self) -> Option<u64> {
        self.max_bytes_a_day
    }
    /// Whether a pipe may be given where there is no FUSE device.
    pub const fn allows_pipe(&self) -> bool {
        self.pipe
    }
    /// The approval that it uses up; absent: none was needed.
    pub const fn approval(&self) -> Option<&ApprovalId> {
        match &self.approval {
            Some((id, _)) => Some(id),
            None => None,
        }
    }
    /// The uid of the second person; present when [`Permit::approval`] is.
    pub const fn approver_uid(&self) -> Option<u32> {
        match self.approval {
            Some((_, by)) => Some(by),
            None => None,
        }
    }
    /// The mandate under which it is; absent: none was needed or named.
    pub const fn mandate(&self) -> Option<&MandateId> {
        self.mandate.as_ref()
    }
    /// Whether only the emergency allows it: then it is loud.
    pub const fn emergency(&self) -> bool {
        self.emergency
    }
}
