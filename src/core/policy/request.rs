//! The question put to `decide`: who asks for what, and in which house.

use jiff::tz::TimeZone;

use super::names::{UserName, Verb};
use crate::core::ids::{ApprovalId, MandateId, PurposeId, ReasonCode, RecordingId, SourceId};
use crate::core::time::{Period, Timestamp};

/// Who asks. `uid` decides; the rest is looked up from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// As the bus daemon gave it; never an argument of the caller.
    pub uid: u32,
    /// The account of that uid; absent when the user database knows none, which no grant can name.
    pub user: Option<UserName>,
    /// The audit login uid, when the kernel has one and it is set.
    pub login_uid: Option<u32>,
}

/// What the request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One recording of the archive.
    Recording {
        /// Which.
        id: RecordingId,
        /// Its source, as sealed; perhaps retired since.
        source: SourceId,
    },
    /// The recordings of one source.
    Source(SourceId),
    /// The service, or the archive as a whole.
    Service,
}

impl Target {
    /// The source it lies in; absent: no source in particular.
    pub const fn source(&self) -> Option<&SourceId> {
        match self {
            Self::Recording { source, .. } | Self::Source(source) => Some(source),
            Self::Service => None,
        }
    }
}

/// One request for access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// Who asks.
    pub who: Principal,
    /// To do what.
    pub verb: Verb,
    /// On what.
    pub target: Target,
    /// The purpose, when the caller named one.
    pub purpose: Option<PurposeId>,
    /// The reason; absent when the caller gave none, or one that is not a code.
    pub reason: Option<ReasonCode>,
    /// Whether a case reference came with it.
    pub case_given: bool,
    /// When the caller wants the session to end.
    pub until: Option<Timestamp>,
    /// The mandate that the caller named.
    pub mandate: Option<MandateId>,
    /// The approval that the caller named.
    pub approval: Option<ApprovalId>,
    /// Whether the caller says that there is an emergency.
    pub emergency: bool,
}

impl AccessRequest {
    /// A request that says nothing but this.
    pub const fn new(who: Principal, verb: Verb, target: Target) -> Self {
        Self {
            who,
            verb,
            target,
            purpose: None,
            reason: None,
            case_given: false,
            until: None,
            mandate: None,
            approval: None,
            emergency: false,
        }
    }
}

/// What the configuration fixes for every request.
#[derive(Debug, Clone)]
pub struct House {
    /// Local time, in which the last days of grants are counted.
    pub time_zone: TimeZone,
    /// No session lasts longer (`limits.session_max`).
    pub session_max: Period,
    /// Lets a user act who logged in as another: for demonstrations only.
    pub allow_switched_user: bool,
}
