//! `policy …`: check, compare, explain.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::time;
use crate::core::ids::{PurposeId, ReasonCode, RecordingId, SourceId};
use crate::core::policy::{UserName, Verb};
use crate::core::time::Timestamp;

/// `policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy without the service, before it is loaded
    Check {
        /// policy.toml, or the directory that holds it
        #[arg(default_value = "/etc/greffier", value_name = "DIR|FILE")]
        path: PathBuf,
        /// Where the profiles are that it names, as NAME.toml
        #[arg(long, value_name = "DIR", default_value = "/usr/share/greffier/profiles")]
        profiles: PathBuf,
    },
    /// Say who gains and who loses what by another policy
    Diff {
        /// The one before: policy.toml, or the directory that holds it
        old: PathBuf,
        /// The one after
        new: PathBuf,
    },
    /// Say whether somebody could do something now, by which rule, and what is missing
    Explain(ExplainArgs),
}

/// `policy explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Who would ask
    #[arg(long, value_name = "ACCOUNT")]
    pub user: UserName,
    /// What he would do
    #[arg(long, default_value = "view")]
    pub verb: Verb,
    /// With which recording; the service is asked what it is, and records that you asked
    #[arg(long, value_name = "ID")]
    pub recording: Option<RecordingId>,
    /// Or with a recording of this source, without the service
    #[arg(long, conflicts_with = "recording")]
    pub source: Option<SourceId>,
    /// That began at this time; now when absent
    #[arg(long, value_name = "TIME", value_parser = time, requires = "source")]
    pub start: Option<Timestamp>,
    /// For which reason
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// For which purpose
    #[arg(long)]
    pub purpose: Option<PurposeId>,
    /// When; now when absent
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<Timestamp>,
    /// What he would bring along or be; may be given several times
    #[arg(long = "with", value_name = "WHAT", value_enum)]
    pub with: Vec<With>,
    /// policy.toml, or the directory that holds it
    #[arg(long, default_value = "/etc/greffier", value_name = "DIR|FILE")]
    pub policy: PathBuf,
}

/// What a caller may bring along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum With {
    /// A case reference
    Case,
    /// An approval of a second person for it
    Approval,
    /// A mandate for it
    Mandate,
    /// The charter, acknowledged
    Charter,
    /// His password, once more
    Authentication,
    /// An emergency
    Emergency,
    /// The recording is his own
    Own,
}
