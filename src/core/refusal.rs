//! How a request is refused: a name from the closed list of design §11, and one sentence that says what to do.

/// The error names of the bus, without their prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The policy does not allow it.
    Denied,
    /// It does not exist, or the caller may not know of it: the same answer, by the same path.
    NotFound,
    /// An argument is not what it must be.
    InvalidArgument,
    /// A reason, a purpose or a case reference is missing or not listed.
    ReasonRequired,
    /// A second person must approve first.
    ApprovalRequired,
    /// A hold stands.
    Held,
    /// Too many refusals or calls.
    LimitReached,
    /// The ledger cannot be written.
    LedgerUnavailable,
    /// The service is closed.
    Closed,
    /// Something else happens to the same thing at this moment.
    Conflict,
    /// A fault of ours.
    Internal,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// Which error.
    pub kind: RefusalKind,
    /// What happened and what to do, without secrets.
    pub sentence: String,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(kind: RefusalKind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into() }
    }
    /// An argument that is not what it must be.
    pub fn invalid(sentence: impl Into<String>) -> Self {
        Self::new(RefusalKind::InvalidArgument, sentence)
    }
    /// A fault of ours; the cause stands in the journal, not in the answer.
    pub fn internal() -> Self {
        Self::new(
            RefusalKind::Internal,
            "An internal error occurred; the administrator finds it in the journal.",
        )
    }
}
