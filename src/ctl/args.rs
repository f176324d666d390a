//! The command line of `greffierctl`.
//!
//! Owns names, help texts and the parsing of each argument into our types. Must never read a file, the environment or
//! a clock.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub mod policy;
pub mod registers;

use self::policy::PolicyCommand;
use self::registers::{ApprovalCommand, GrantCommand, MandateCommand};
use crate::core::ids::{HoldId, IdError, Kind, ReasonCode, RecordingId, SourceId};
use crate::core::time::Timestamp;
use crate::shell::terminal::time;

/// Runs an archive of recordings: set up, seal, hold, destroy on time, read the ledger
#[derive(Debug, Parser)]
#[command(name = "greffierctl", version, after_help = EXIT_CODES, max_term_width = 100)]
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

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 refused or something found, 2 wrong usage, 3 service unavailable.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up a new archive: directories, keys, configuration (as root, without the service)
    Init(InitArgs),
    /// Look at everything around the archive, and say what is wrong and what to do (as root)
    Doctor(DoctorArgs),
    /// Say whether the service is ready, and if not, why
    Status,
    /// Ask the service to read its policy again
    Reload,
    /// Put files into the archive
    Seal(SealArgs),
    /// Find recordings
    Search(SearchArgs),
    /// Show what is known of one recording
    Show {
        /// The recording
        id: RecordingId,
    },
    /// Place and lift holds, which stop a purge
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Destruction on time
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// What must be looked at by somebody who had no part in it: openings in an emergency
    #[command(subcommand)]
    Review(ReviewCommand),
    /// The rules of who may do what
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Who may do what, given by two persons to a third
    #[command(subcommand)]
    Grant(GrantCommand),
    /// What clients have asked in writing to be done for them
    #[command(subcommand)]
    Mandate(MandateCommand),
    /// The answers of second persons
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// The signed record of every access
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// The catalogue that searches are answered from
    #[command(subcommand)]
    Index(IndexCommand),
    /// The sealed recordings and their keys
    #[command(subcommand)]
    Store(StoreCommand),
    /// The master key: change it, back it up, put it back
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Name of this archive in every checkpoint, such as cabinet.example/greffier; it can never be changed
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Keep the master key in this plain file instead of an encrypted systemd credential
    #[arg(long, value_name = "PATH")]
    pub insecure_key_file: Option<PathBuf>,
    /// Where greffier.toml and policy.toml go
    #[arg(long, value_name = "DIR", default_value = "/etc/greffier")]
    pub config_dir: PathBuf,
    /// Where ledger, objects and keys go
    #[arg(long, value_name = "DIR", default_value = "/var/lib/greffier")]
    pub state_dir: PathBuf,
    /// Where recorders will leave their files
    #[arg(long, value_name = "DIR", default_value = "/var/spool/greffier")]
    pub spool_dir: PathBuf,
    /// Where locks and the second checkpoint go while the service runs
    #[arg(long, value_name = "DIR", default_value = "/run/greffier")]
    pub run_dir: PathBuf,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Go on with a ledger that was put back from a backup; the ledger will say so
    #[arg(long)]
    pub accept_restore: bool,
    /// The configuration of the service
    #[arg(long, value_name = "PATH", default_value = "/etc/greffier/greffier.toml")]
    pub config: PathBuf,
}

/// `seal`.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The camera, line or workstation they come from
    #[arg(long, value_name = "SOURCE")]
    pub source: SourceId,
    /// When the recording starts (one file only)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<Timestamp>,
    /// When the recording ends (one file only)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub end: Option<Timestamp>,
}

/// `search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
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

/// `hold …`.
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Stop the purge of a recording
    Place {
        /// The recording
        id: RecordingId,
        /// Why the law or a person stops it
        #[arg(long, value_parser = ["judicial", "incident", "request", "restriction"])]
        kind: String,
        /// The ground, in words; it stands in the ledger's personal part
        #[arg(long, value_name = "TEXT")]
        ground: String,
        /// Number of the requisition, the report or the request
        #[arg(long, value_name = "TEXT")]
        reference: Option<String>,
        /// When somebody must look at this hold again
        #[arg(long, value_name = "DATE", value_parser = time)]
        review: Option<Timestamp>,
    },
    /// End a hold; the purge that it stopped falls due again
    Lift {
        /// The hold, as `hold place` printed it
        #[arg(value_parser = hold)]
        hold: HoldId,
        /// Why it ends
        #[arg(long, value_name = "TEXT")]
        ground: Option<String>,
    },
}

/// `retention …`.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Show what a run would do now, and why; changes nothing
    Plan {
        /// Show what happens to the personal parts of the ledger instead
        #[arg(long)]
        details: bool,
    },
    /// Purge what is due
    Run,
    /// Say that the wall clock is right after it jumped; until then nothing is purged
    ConfirmClock,
}

/// `review …`.
#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// Show the reviews that are open
    List,
    /// Say that you have looked at it, and what you found
    Done {
        /// The review: the number that `review list` shows
        entry: u64,
        /// What you found; it stands in the ledger's personal part
        #[arg(long, value_name = "TEXT")]
        text: String,
    },
}

/// `index …`.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Make the catalogue anew from the ledger, while the service goes on
    Rebuild,
}

/// `store …`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read every recording and key from the disk and compare them with the ledger; goes on where the last one was ended
    Scrub(ScrubArgs),
}

/// `store scrub`.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// Read at most so many MiB a second; 0 without a limit [default: rate_mib_s of the configuration]
    #[arg(long, value_name = "MIB")]
    pub rate: Option<u64>,
    /// Read this recording alone
    #[arg(long, value_name = "ID")]
    pub recording: Option<RecordingId>,
    /// Begin anew, wherever the last one was ended
    #[arg(long, conflicts_with = "recording")]
    pub restart: bool,
    /// End the scrub that runs
    #[arg(long, conflicts_with_all = ["rate", "recording", "restart"])]
    pub cancel: bool,
}

/// `ledger …`.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Show entries; without --from, the last ones
    Log {
        /// First entry to show
        #[arg(long, value_name = "ENTRY")]
        from: Option<u64>,
        /// At most so many entries
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
    },
    /// Show one entry as it was written
    Read {
        /// Number of the entry
        entry: u64,
        /// Show its personal part too
        #[arg(long)]
        details: bool,
    },
    /// Get a file that proves one entry to anybody, as a C2SP tlog-proof; greffier-verify receipt checks it
    Receipt {
        /// Number of the entry
        entry: u64,
        /// Put the personal part into it, in clear, so that it can be compared with the entry
        #[arg(long)]
        with_detail: bool,
        /// Write it to this new file instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Get the proof that the ledger only grew from OLD to NEW entries: hashes of RFC 6962, one a line
    Consistency {
        /// Entries of the earlier ledger
        old: u64,
        /// Entries of the later one
        new: u64,
        /// A checkpoint with OLD or NEW entries that you kept: given both, the proof is checked against them
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
    },
    /// Write the whole ledger to a new directory, for greffier-verify or any tlog-tiles client
    Export {
        /// A directory that does not exist yet, or is empty
        dir: PathBuf,
        /// Write the personal parts too, in clear
        #[arg(long)]
        with_details: bool,
    },
    /// Bring a directory up to date that any web server can offer and any tlog-tiles client can read
    Publish {
        /// The directory; it is made if it does not exist
        dir: PathBuf,
        /// Add the cosignatures of this checkpoint to the published one instead (without the service)
        #[arg(long, value_name = "FILE")]
        cosigned: Option<PathBuf>,
        /// With --cosigned: add only what a witness of this trust policy signed
        #[arg(long, value_name = "FILE", requires = "cosigned")]
        policy: Option<PathBuf>,
    },
    /// Ask witnesses to cosign the published checkpoint (without the service)
    #[cfg(feature = "witness")]
    Witness {
        /// The published directory
        dir: PathBuf,
        /// The trust policy that names witnesses, their addresses and the quorum
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// Where the sizes that witnesses have seen and the cosigned checkpoint are kept
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// The longest wait for one witness, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
        timeout: u64,
    },
}

/// `keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Change the master key: all keys are wrapped anew, what was before is overwritten and removed
    Rotate {
        /// Why; it stands in the ledger's personal part
        #[arg(long, value_name = "TEXT")]
        ground: Option<String>,
    },
    /// Have the master key sealed to persons who keep it elsewhere
    Backup(BackupArgs),
    /// Put the master key back from a backup (as root, with the service stopped), or try whether that would do
    Restore(RestoreArgs),
}

/// `keys backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// An age recipient who can open the backup alone (may be repeated)
    #[arg(long, value_name = "RECIPIENT")]
    pub to: Vec<String>,
    /// Make an identity for this backup and cut it into N shares, any K of which open the backup together
    #[arg(long, value_name = "K/N")]
    pub shares: Option<Split>,
    /// Write the backup to this new file, and each share to FILE.share-1 and so on
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `keys restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub backup: PathBuf,
    /// A file with an age identity that opens the backup (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// A share of the identity; as many as are needed
    #[arg(long, value_name = "FILE")]
    pub share: Vec<PathBuf>,
    /// Only prove to the running service that the backup opens and holds the key in force; the ledger will say so
    #[arg(long)]
    pub check: bool,
    /// Overwrite and remove another key that stands in the place of the master key
    #[arg(long, conflicts_with = "check")]
    pub replace: bool,
    /// The configuration of the service
    #[arg(long, value_name = "PATH", default_value = "/etc/greffier/greffier.toml")]
    pub config: PathBuf,
}

/// How an identity is cut: `any` of `of` shares give it back. At least two, at most 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// How many are enough.
    pub any: u8,
    /// How many there are.
    pub of: u8,
}

impl std::str::FromStr for Split {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('/').and_then(|(any, of)| Some((any.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((any, of)) if (2..=of).contains(&any) && of <= 32 => Ok(Self { any, of }),
            _ => Err("write K/N, such as 2/3: at least 2 of at most 32 shares"),
        }
    }
}

/// A hold by its id, or by its object path on the bus.
fn hold(text: &str) -> Result<HoldId, IdError> {
    text.rsplit('/').next().unwrap_or_default().parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_are_parsed_once_into_our_types() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("greffierctl search --reason incident --source entrance --held").is_ok());
        assert!(
            parse("greffierctl search --reason incident --json").unwrap().json,
            "global options may come last"
        );
        for bad in [
            "greffierctl",
            "greffierctl search",
            "greffierctl search --reason Not-A-Code",
            "greffierctl search --reason incident --limit 0",
            "greffierctl show not-an-id",
            "greffierctl seal --source entrance",
            "greffierctl hold lift not-a-hold",
            "greffierctl keys backup --output f --shares 1/3",
            "greffierctl keys backup --output f --shares 4/3",
            "greffierctl keys backup --to age1x",
            "greffierctl keys restore f --check --replace",
            "greffierctl hold place aaaaaaaaaaaaaaaaaaaaaaaaaa --kind other --ground x",
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
