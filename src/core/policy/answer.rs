//! The answers of `decide`: a permit, or a refusal that names its rule and says what the caller may be told.

use super::permit::Permit;
use crate::core::ids::{ReasonCode, RuleId};

/// Yes or no, with the deciding rule. Both become entries (invariant 2).
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow(Permit),
    /// Refused.
    Deny(Denial),
}

/// A refusal.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that decided. In a small house it names a person: detail, never leaf.
    pub rule: RuleId,
    /// Which error the caller gets.
    pub kind: DenialKind,
    /// What happened, for the detail and the log. The caller is told [`Denial::answer`].
    pub sentence: String,
    /// What failed, in words: every condition of the rule that came nearest. For the detail; told to whoever may know of it.
    pub failed: Vec<String>,
    /// What would be needed, in the order in which to get it.
    pub needed: Vec<Need>,
}

/// What a caller lacks and can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A reason of the list, perhaps with a case reference.
    Reason,
    /// Training, attested in the grant.
    Training,
    /// To acknowledge the charter.
    Charter,
    /// A mandate in force that covers the act.
    Mandate,
    /// The consent of a second person.
    Approval,
    /// To authenticate again.
    Reauthentication,
}

impl Need {
    /// The way forward, in one sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Reason => "Correct the request and repeat it.",
            Self::Training => "Follow the training, and have it attested in the grant.",
            Self::Charter => "Read the charter and acknowledge it, then repeat the request.",
            Self::Mandate => "Name a mandate that covers this, or ask for one.",
            Self::Approval => {
                "Ask for an approval, and name it in the request once a second person has given it."
            }
            Self::Reauthentication => "Repeat the request and authenticate when you are asked to.",
        }
    }
}

/// Which error a refused caller gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialKind {
    /// The caller may not even search it: `NotFound`, the same answer as for what does not exist.
    NotKnown,
    /// `Denied`.
    Denied,
    /// `ReasonRequired`: no reason, one that is not listed, or no case reference where the reason needs one.
    ReasonRequired {
        /// The codes that this caller may state here.
        allowed: Vec<ReasonCode>,
    },
    /// `InvalidArgument`: the key of the request that must change.
    InvalidArgument(&'static str),
    /// `Conflict`: something else happens to the same recording at this moment.
    Conflict,
    /// `ApprovalRequired`: the consent of a second person is missing.
    ApprovalRequired,
    /// `LimitReached`: the caller has too much open, or a limit of his grant is reached.
    LimitReached,
}

impl Denial {
    /// A refusal of which nothing more is to be said.
    pub const fn new(rule: RuleId, kind: DenialKind, sentence: String) -> Self {
        Self { rule, kind, sentence, failed: Vec::new(), needed: Vec::new() }
    }
    /// Whether the caller would be allowed as soon as he has authenticated again.
    pub fn lacks_only_reauthentication(&self) -> bool {
        self.needed == [Need::Reauthentication] && self.rule.as_str() == "builtin.reauth"
    }
    /// What a caller is told who may not know whether the recording exists.
    pub const NOT_KNOWN: &'static str = "There is no such recording, or you may not know of it.";

    /// The sentence for the caller: silent on everything that he may not know.
    pub fn answer(&self) -> &str {
        if self.kind == DenialKind::NotKnown { Self::NOT_KNOWN } else { &self.sentence }
    }
    /// What the caller can do about it: a second sentence, perhaps after the number of the entry.
    pub fn advice(&self) -> &'static str {
        if let (Some(need), false) = (self.needed.first(), self.kind == DenialKind::NotKnown) {
            return need.advice();
        }
        match self.kind {
            DenialKind::NotKnown => "Search shows what you may know of.",
            DenialKind::ApprovalRequired => Need::Approval.advice(),
            DenialKind::ReasonRequired { .. } | DenialKind::InvalidArgument(_) => {
                "Correct the request and repeat it."
            }
            DenialKind::Conflict => "Repeat the request if it still makes sense.",
            DenialKind::LimitReached if self.rule.as_str() == "builtin.limit" => {
                "Ask again tomorrow, or ask the controller for more."
            }
            DenialKind::LimitReached => "Close a session, then repeat the request.",
            DenialKind::Denied => match self.rule.as_str() {
                "builtin.root" | "builtin.login-uid" => "Log in under your own name.",
                "builtin.unknown" => "Name a source that stands in the policy.",
                "builtin.store" => "Tell the administrator.",
                "builtin.reauth" => "Nothing was done.",
                "builtin.administrator" => "Somebody else has to look at it.",
                "builtin.restriction" => "Whoever placed the hold can lift it.",
                _ => "Ask the controller for a grant.",
            },
        }
    }
}
