//! The command line of `greffier-view`.
//!
//! Owns names, help texts and the parsing of each argument into our types. Must never read a file, the environment or
//! a clock.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use crate::core::ids::{ApprovalId, Kind, MandateId, PurposeId, ReasonCode, RecordingId, SourceId};
use crate::core::time::Timestamp;
use crate::shell::terminal::time;

/// Finds recordings and views them, each time for a stated reason that is recorded
#[derive(Debug, Parser)]
#[command(name = "greffier-view", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// D-Bus address of the service, instead of the system bus (also: GREFFIER_BUS)
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub bus: Option<String>,
    /// Write JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or something found, 2 wrong usage, 3 service unavailable; \
                          `play` ends with the exit code of the player.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find recordings
    List(ListArgs),
    /// Show what is known of one recording
    Show {
        /// The recording
        id: RecordingId,
    },
    /// View a recording with a player
    Play {
        /// What to open, and why
        #[command(flatten)]
        open: OpenArgs,
        /// Player and its arguments; {} stands for the recording, which else comes last [default: mpv, vlc or ffplay]
        #[arg(last = true, value_name = "PLAYER")]
        player: Vec<OsString>,
    },
    /// Write a recording to standard output
    Cat {
        /// What to open, and why
        #[command(flatten)]
        open: OpenArgs,
    },
    /// Read the charter that must be acknowledged before the first opening
    Charter {
        /// Say that you have read it; it stands in the ledger
        #[arg(long)]
        acknowledge: bool,
    },
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Why you search: a reason code of the policy; it stands in the ledger
    #[arg(long, value_name = "CODE")]
    pub reason: ReasonCode,
    /// Only this source (may be repeated)
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<SourceId>,
    /// Only this kind: footage, call or screen
    #[arg(long, value_name = "KIND")]
    pub kind: Option<Kind>,
    /// Only what ends after this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// Only what starts before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// Only what is under a hold
    #[arg(long)]
    pub held: bool,
    /// At most so many recordings
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// What `play` and `cat` need to open a recording.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// The recording
    pub id: RecordingId,
    /// Why you view it: a reason code of the policy; it stands in the ledger
    #[arg(long, value_name = "CODE")]
    pub reason: ReasonCode,
    /// The purpose, where the reason serves more than one
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: Option<PurposeId>,
    /// Number of the case, where the reason needs one
    #[arg(long, value_name = "REF")]
    pub case: Option<String>,
    /// More about the reason, in words
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// An emergency: opens at once where the rules allow that, tells everybody, and will be reviewed
    #[arg(long, requires = "text")]
    pub emergency: bool,
    /// Let the session end at this time, earlier than the rules say
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// The mandate under which you view it
    #[arg(long, value_name = "MANDATE")]
    pub mandate: Option<MandateId>,
    /// The approval of a second person, where your grant needs one; it serves once
    #[arg(long, value_name = "APPROVAL")]
    pub approval: Option<ApprovalId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_the_player() {
        let line = ["greffier-view", "play", ID, "--reason", "incident", "--", "mpv", "--no-terminal", "{}"];
        let Command::Play { player, .. } = Cli::try_parse_from(line).unwrap().command else {
            panic!("not play")
        };
        assert_eq!(player, ["mpv", "--no-terminal", "{}"]);
    }

    #[test]
    fn nothing_is_opened_without_a_reason() {
        for command in ["play", "cat"] {
            assert_eq!(Cli::try_parse_from(["greffier-view", command, ID]).unwrap_err().exit_code(), 2);
        }
    }
}
