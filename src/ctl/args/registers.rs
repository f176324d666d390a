//! The command line of `greffierctl grant`, `mandate` and `approval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::core::ids::{ApprovalId, MandateId, PurposeId, ReasonCode, RecordingId, RoleId, SourceId};
use crate::core::policy::{UserName, Verb};
use crate::core::time::{Period, Timestamp};
use crate::shell::terminal::time;

/// What `… list` shows.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only what is for this account
    #[arg(long, value_name = "USER")]
    pub user: Option<UserName>,
    /// Only what is in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
}

/// What every act about something known takes.
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// The grant, as `grant list` shows it, or the name of a rule of the policy
    #[arg(value_name = "GRANT")]
    pub id: String,
    /// Why; it stands in the ledger's personal part
    #[arg(long, value_name = "TEXT")]
    pub ground: Option<String>,
}

/// `grant …`.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Show the grants of the register, and those of the policy that were suspended or reviewed
    List(ListArgs),
    /// Propose a grant; it allows nothing until another person approves it
    Propose(ProposeArgs),
    /// Approve what another person proposed for a third
    Approve(GrantArgs),
    /// Refuse what was proposed
    Refuse(GrantArgs),
    /// End a grant, or take a proposal back
    End(GrantArgs),
    /// Let a grant allow nothing until it is reviewed
    Suspend(GrantArgs),
    /// Confirm that a grant is still needed; a suspension ends with it
    Review(GrantArgs),
}

/// `grant propose`.
#[derive(Debug, Args)]
pub struct ProposeArgs {
    /// The person
    #[arg(long, value_name = "USER", required_unless_present = "file")]
    pub user: Option<UserName>,
    /// What that person may do
    #[arg(long, value_name = "ROLE", required_unless_present = "file")]
    pub role: Option<RoleId>,
    /// Only on this source (may be repeated)
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<SourceId>,
    /// Only for this reason (may be repeated)
    #[arg(long, value_name = "CODE")]
    pub reason: Vec<ReasonCode>,
    /// The first day
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: Option<String>,
    /// The last day, at most a year ahead
    #[arg(long, value_name = "DAY", value_parser = day, required_unless_present = "file")]
    pub until: Option<String>,
    /// Another key of a grant, such as 'hours = "08:00-19:00"' (may be repeated)
    #[arg(long, value_name = "KEY = VALUE")]
    pub set: Vec<String>,
    /// The keys of the grant from this file instead, one a line, as the policy writes them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "role", "source", "reason", "from", "until", "set"])]
    pub file: Option<PathBuf>,
    /// Why; it stands in the ledger's personal part
    #[arg(long, value_name = "TEXT")]
    pub ground: Option<String>,
}

/// `mandate …`.
#[derive(Debug, Subcommand)]
pub enum MandateCommand {
    /// Show the mandates, those that are over too
    List(ListArgs),
    /// Enter a mandate that a client has signed
    Give(MandateArgs),
    /// Enter a new version of a mandate
    Change(MandateArgs),
    /// Withdraw a mandate: sessions under it end at once
    Withdraw {
        /// The mandate
        id: MandateId,
        /// Why; it stands in the ledger's personal part
        #[arg(long, value_name = "TEXT")]
        ground: Option<String>,
    },
    /// End a mandate because its tasks are done
    Done {
        /// The mandate
        id: MandateId,
        /// Why; it stands in the ledger's personal part
        #[arg(long, value_name = "TEXT")]
        ground: Option<String>,
    },
}

/// `mandate give`, `mandate change`.
#[derive(Debug, Args)]
pub struct MandateArgs {
    /// Its name, which must not name a person: it stands in the public part of the ledger
    pub id: MandateId,
    /// Who may act
    #[arg(long, value_name = "USER")]
    pub user: UserName,
    /// For whom
    #[arg(long, value_name = "TEXT")]
    pub client: String,
    /// A reason for which it may be used (may be repeated)
    #[arg(long, value_name = "CODE", required = true)]
    pub task: Vec<ReasonCode>,
    /// Only on this source (may be repeated)
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<SourceId>,
    /// The first day
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: String,
    /// The last day
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub until: String,
    /// Why the access is needed, such as a leave
    #[arg(long, value_name = "TEXT")]
    pub necessity: String,
    /// When the person whom it is about was informed
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub informed_on: String,
    /// Reference of the signed consent
    #[arg(long, value_name = "REF")]
    pub consent: String,
}

/// What an answer takes.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The approval, as `approval ask` printed it
    pub id: ApprovalId,
    /// Why; it stands in the ledger's personal part
    #[arg(long, value_name = "TEXT")]
    pub ground: Option<String>,
}

/// `approval …`.
#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// Show the approvals that were asked for
    List(ListArgs),
    /// Ask for the approval of a second person, where your grant needs one
    Ask(Box<AskArgs>),
    /// Approve what another person asks for
    Accept(AnswerArgs),
    /// Refuse it
    Refuse(AnswerArgs),
}

/// `approval ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// What shall be done: view, purge, administer, …
    #[arg(long, value_name = "VERB", default_value = "view")]
    pub verb: Verb,
    /// With this recording
    #[arg(long, value_name = "ID", conflicts_with = "source")]
    pub recording: Option<RecordingId>,
    /// With one recording of this source that lies between --from and --to
    #[arg(long, value_name = "SOURCE", requires = "from", requires = "to")]
    pub source: Option<SourceId>,
    /// The first instant
    #[arg(long, value_name = "TIME", value_parser = time, requires = "source")]
    pub from: Option<Timestamp>,
    /// The last instant
    #[arg(long, value_name = "TIME", value_parser = time, requires = "source")]
    pub to: Option<Timestamp>,
    /// For which reason, where the act states one
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// For which purpose, where the reason serves more than one
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: Option<PurposeId>,
    /// Number of the case, where the reason needs one
    #[arg(long, value_name = "REF")]
    pub case: Option<String>,
    /// The mandate under which it will be used
    #[arg(long, value_name = "MANDATE")]
    pub mandate: Option<MandateId>,
    /// The longest session, such as PT20M
    #[arg(long, value_name = "PERIOD")]
    pub duration: Option<Period>,
    /// Not used later than this; a day when absent, a week at most
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub expires: Option<Timestamp>,
    /// Words for the second person
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
}

/// A day as it is written.
fn day(text: &str) -> Result<String, &'static str> {
    text.parse::<jiff::civil::Date>().map(|day| day.to_string()).map_err(|_| "write a day like 2027-05-11")
}
