//! What the bus says of registers, in plain types. Ids that a caller typed are text here: whether they exist is not the
//! bus's to say.

use crate::core::policy::Verb;
use crate::core::time::{Period, Timestamp};

/// The registers that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterKind {
    /// Who may do what.
    Grants,
    /// What clients let others do for them.
    Mandates,
    /// Answers of second persons.
    Approvals,
    /// Acknowledgements of the charter.
    Charter,
}

impl RegisterKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Grants, Self::Mandates, Self::Approvals, Self::Charter];

    /// The word on the bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grants => "grants",
            Self::Mandates => "mandates",
            Self::Approvals => "approvals",
            Self::Charter => "charter",
        }
    }
    /// The register with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|register| register.as_str() == word)
    }
}

/// The filter of `List`.
#[derive(Debug, Clone, Default)]
pub struct RegisterFilter {
    /// Only what is for this account.
    pub user: Option<String>,
    /// Only what is in this state.
    pub state: Option<String>,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowValue {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Texts.
    Texts(Vec<String>),
}

/// One row: keys and values, without what is not known.
pub type RegisterRow = Vec<(&'static str, RowValue)>;

/// What happens to a grant that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantStep {
    /// A proposal becomes a grant.
    Approve,
    /// A proposal does not.
    Refuse,
    /// A grant ends, or a proposal is taken back.
    End,
    /// It allows nothing until it is reviewed.
    Suspend,
    /// It is still needed.
    Review,
}

/// A mandate as it shall be.
#[derive(Debug, Clone, Default)]
pub struct MandateRequest {
    /// Its id, as typed.
    pub id: String,
    /// Who may act.
    pub user: String,
    /// For whom.
    pub client: String,
    /// Reason codes, as typed.
    pub tasks: Vec<String>,
    /// Sources, as typed; absent: all.
    pub sources: Option<Vec<String>>,
    /// The first day, as typed.
    pub from: String,
    /// The last day, as typed.
    pub until: String,
    /// Why it is needed.
    pub necessity: String,
    /// When the person concerned was informed, as typed.
    pub informed_on: String,
    /// Reference of the consent.
    pub consent: String,
}

/// What an approval is asked for.
#[derive(Debug, Clone)]
pub struct ApprovalRequest {
    /// What shall be done.
    pub verb: Verb,
    /// The recording, as typed.
    pub recording: Option<String>,
    /// The source of an interval, as typed.
    pub source: Option<String>,
    /// Its first instant.
    pub from: Option<Timestamp>,
    /// Its last instant.
    pub to: Option<Timestamp>,
    /// The purpose, as typed.
    pub purpose: Option<String>,
    /// The reason code, as typed.
    pub reason: Option<String>,
    /// Case reference.
    pub case: Option<String>,
    /// The mandate under which it will be used, as typed.
    pub mandate: Option<String>,
    /// No session lasts longer.
    pub duration: Option<Period>,
    /// Not used later.
    pub expires: Option<Timestamp>,
    /// Words for the second person.
    pub text: Option<String>,
}

/// An act that a register records.
#[derive(Debug, Clone)]
pub enum RegisterAct {
    /// Proposes a grant: its keys as the policy writes them.
    ProposeGrant {
        /// The text.
        text: String,
        /// Why.
        ground: Option<String>,
    },
    /// Something about a grant that is known.
    Grant {
        /// What.
        step: GrantStep,
        /// The grant or the rule of the policy, as typed.
        id: String,
        /// Why.
        ground: Option<String>,
    },
    /// Gives a mandate, or changes one.
    SetMandate {
        /// Whether it stands already.
        change: bool,
        /// As it shall be.
        mandate: MandateRequest,
    },
    /// Ends a mandate.
    EndMandate {
        /// Its id, as typed.
        id: String,
        /// What it was for is done; else the consent is withdrawn.
        done: bool,
        /// Why.
        ground: Option<String>,
    },
    /// Asks for the approval of a second person.
    AskApproval(ApprovalRequest),
    /// Answers.
    AnswerApproval {
        /// The approval, as typed.
        id: String,
        /// Yes or no.
        accepted: bool,
        /// Why.
        ground: Option<String>,
    },
    /// Acknowledges the charter.
    AcknowledgeCharter {
        /// Its version, as typed.
        version: String,
    },
}
