//! The `data` of the events of registers: grants, mandates, approvals, the charter.
//!
//! As in `data`: keys and types, and nothing that names a person. What is absent was not known when a request was refused.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::text::{day, word};
use crate::core::ids::{ApprovalId, GrantId, MandateId, ReasonCode, SourceId};
use crate::core::policy::Verb;
use crate::core::time::{Period, Timestamp};

data! {
    /// `grant.proposed`, `grant.given`.
    GrantTerm {
        /// The grant. Absent when the request was refused and there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<GrantId>,
        /// Its last day, local time.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "day")]
        until: Option<Date>,
    }
    /// `grant.ended`.
    GrantEnded {
        /// The grant. Absent when the request was refused because there is no such grant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<GrantId>,
        /// A word of [`GrantEnd`].
        why: GrantEnd,
    }
    /// `grant.suspended`.
    GrantSuspended {
        /// The grant. Absent when the request was refused because there is no such grant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<GrantId>,
        /// A word of [`SuspendedWhy`].
        why: SuspendedWhy,
        /// The grant stands in the policy; the detail of the first entry about it names the rule.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        policy: bool,
    }
    /// `grant.reviewed`: a suspension ends with it.
    GrantReviewed {
        /// The grant. Absent when the request was refused because there is no such grant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<GrantId>,
        /// The grant stands in the policy; the detail of the first entry about it names the rule.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        policy: bool,
    }
    /// `mandate.given`, `mandate.changed`.
    MandateTerm {
        /// The mandate. Absent when the request was refused and its id is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mandate: Option<MandateId>,
        /// Counted from 1; each change adds 1.
        version: u64,
        /// The first day on which it holds, local time.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "day")]
        from: Option<Date>,
        /// The last day, local time.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "day")]
        until: Option<Date>,
        /// Reasons for which it may be used: the tasks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tasks: Vec<ReasonCode>,
        /// Only on these sources; absent: on all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sources: Option<Vec<SourceId>>,
    }
    /// `mandate.withdrawn`.
    MandateWithdrawn {
        /// The mandate. Absent when the request was refused because there is no such mandate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mandate: Option<MandateId>,
        /// A word of [`MandateEnd`].
        why: MandateEnd,
    }
    /// `approval.asked`. What it is about stands in the columns: a recording, or a source with an interval, or neither for
    /// the service.
    ApprovalAsked {
        /// The approval. Absent when the request was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
        /// What shall be done.
        #[serde(with = "word")]
        verb: Verb,
        /// Only a recording that does not start before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
        /// Only a recording that does not end after this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Timestamp>,
        /// Not answered or used later than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
        /// No session under it lasts longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration: Option<Period>,
    }
    /// `approval.given`, `approval.refused`, `approval.used`.
    ApprovalStep {
        /// The approval. Absent when the request was refused because there is no such approval.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
    }
    /// `charter.acknowledged`.
    CharterAcknowledged {
        /// Which version, as the policy names it.
        version: SmolStr,
        /// The entry in which the same person acknowledged a charter before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<u64>,
    }
    /// `charter.lapsed`.
    CharterLapsed {
        /// The entry in which the charter was acknowledged.
        entry: u64,
    }
    /// `register.read`.
    RegisterRead {
        /// `grants`, `mandates` or `approvals`.
        register: SmolStr,
    }
}

/// A closed set of words, each with what it means.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$word_doc])* #[serde(rename = $text)] $word),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];
            /// The word used in the ledger.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),* }
            }
        }
    )*};
}

words! {
    /// Why a grant has ended.
    GrantEnd {
        /// Somebody ended it.
        Ended = "ended",
        /// Nobody approves what was proposed.
        Refused = "refused",
        /// Whoever proposed it does not want it any more.
        TakenBack = "taken-back",
        /// Its last day is over.
        Expired = "expired",
        /// The policy has no such rule any more.
        RuleGone = "rule-gone",
    }
    /// Why a grant allows nothing for now (R65, R66).
    SuspendedWhy {
        /// There is no such account.
        AccountGone = "account-gone",
        /// The account is locked.
        AccountLocked = "account-locked",
        /// Nobody reviewed it in time.
        ReviewOverdue = "review-overdue",
        /// Somebody suspended it.
        ByHand = "by-hand",
    }
    /// Why a mandate is over.
    MandateEnd {
        /// The consent was withdrawn.
        Withdrawn = "withdrawn",
        /// What it was given for is done.
        Done = "done",
        /// Its last day is over.
        Expired = "expired",
    }
}
