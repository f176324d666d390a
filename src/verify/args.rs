//! Arguments of `greffier-verify`, and the files that they name.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use super::files::Source;
use super::ledger::{Failure, Options};
use super::receipt::ReceiptKeys;
use super::report::Format;
use crate::core::ledger::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::core::ledger::trust::MAX_POLICY_BYTES;
use crate::core::time::Timestamp;

/// Checks a ledger of greffier on any computer, trusting only the key you bring.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit: 0 sound, 1 findings, 2 cannot read or wrong usage, 3 sound as far as it goes, but incomplete."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a ledger folder, a published directory or an export
    Ledger(LedgerArgs),
    /// Check it likewise, and write a report that others can read
    Report(ReportArgs),
    /// Check a receipt: one entry, its proof, the signed head
    Receipt(ReceiptArgs),
    /// Check one bundle of entries by itself: form and chain, without signatures
    Bundle(BundleArgs),
}

#[derive(Debug, clap::Args)]
pub struct ReceiptArgs {
    /// The receipt; "-" is standard input
    pub file: PathBuf,
    /// The verifier key that `greffierctl init` printed, or a file with it
    #[arg(long, value_name = "VKEY|FILE")]
    key: String,
    /// The epoch key that was in force, as an entry of the ledger announces it, or a file with it
    #[arg(long, value_name = "VKEY|FILE")]
    epoch_key: Option<String>,
    /// A checkpoint you kept; one of the same size must have the same root
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Whose cosignatures the head must carry: a C2SP tlog-policy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// One JSON object a line: each finding, then the result
    #[arg(long)]
    pub json: bool,
}

impl ReceiptArgs {
    /// Reads what the arguments name, but for the receipt itself.
    pub fn keys(&self) -> Result<ReceiptKeys, Failure> {
        Ok(ReceiptKeys {
            log: parse_key("--key", &self.key)?,
            epoch: self.epoch_key.as_ref().map(|key| parse_key("--epoch-key", key)).transpose()?,
            pinned: self
                .checkpoint
                .iter()
                .map(|path| read_text(path, MAX_NOTE_BYTES))
                .collect::<Result<_, _>>()?,
            policy: self.policy.as_ref().map(|path| read_text(path, MAX_POLICY_BYTES)).transpose()?,
        })
    }
}

#[derive(Debug, clap::Args)]
pub struct BundleArgs {
    /// The bundle, such as tile/entries/000; "-" is standard input
    pub file: PathBuf,
    /// One JSON object a line: each finding, then the result
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct LedgerArgs {
    /// The folder: with a file `tail` (live) or `checkpoint` (export, published); a .tar or .tar.zst of one; or - for such an
    /// archive on standard input
    ledger: PathBuf,
    /// The verifier key that `greffierctl init` printed, or a file with it
    #[arg(long, value_name = "VKEY|FILE")]
    key: String,
    /// A checkpoint you kept from an earlier visit; the ledger must contain it
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The time of your visit (RFC 3339): what should have been purged, or written, by then; else that of the last entry
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Whose cosignatures the head and your checkpoints must carry: a C2SP tlog-policy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The state directory whose objects are compared with the ledger
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Where a compressed archive is unpacked, to a file without a name
    #[arg(long, value_name = "DIR", default_value = Options::SCRATCH)]
    scratch: PathBuf,
    /// Most bytes that an archive may unpack to
    #[arg(long, value_name = "BYTES", default_value_t = Options::MAX_UNPACKED_BYTES)]
    max_unpacked: u64,
    /// One JSON object: the verdict, the findings, the figures
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// How the report is written, on standard output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as `--format html`: one page that needs nothing else
    #[arg(long, conflicts_with_all = ["format", "json"])]
    html: bool,
}

impl ReportArgs {
    /// The format asked for; `--json` is one too.
    pub fn format(&self) -> Format {
        match self.format {
            _ if self.html => Format::Html,
            _ if self.ledger.json => Format::Json,
            format => format,
        }
    }
}

impl LedgerArgs {
    /// Reads what the arguments name.
    pub fn into_options(self) -> Result<Options, Failure> {
        let key = parse_key("--key", &self.key)?;
        let pinned =
            self.checkpoint.iter().map(|path| read_text(path, MAX_NOTE_BYTES)).collect::<Result<_, _>>()?;
        let policy = self.policy.map(|path| read_text(&path, MAX_POLICY_BYTES)).transpose()?;
        let source = if self.ledger.as_os_str() == "-" { Source::Stdin } else { Source::Path(self.ledger) };
        let (scratch, max_unpacked_bytes) = (self.scratch, self.max_unpacked);
        Ok(Options {
            pinned,
            policy,
            store: self.store,
            visit: self.at,
            scratch,
            max_unpacked_bytes,
            ..Options::new(source, key)
        })
    }
}

fn parse_key(option: &str, text: &str) -> Result<VerifierKey, Failure> {
    let inline = match text.parse() {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    if !Path::new(text).exists() {
        return Err(Failure::Usage(format!("{option} is neither a file nor a verifier key: {inline}")));
    }
    let (_, file) = read_text(Path::new(text), MAX_NOTE_BYTES)?;
    let mut lines = file.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(line), None) => line
            .parse()
            .map_err(|error| Failure::Usage(format!("{text} does not hold a verifier key: {error}"))),
        _ => Err(Failure::Usage(format!("{text} must hold one line, the verifier key"))),
    }
}

/// The name and the text of a file that the user brings.
fn read_text(path: &Path, max_bytes: usize) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let cannot = |why: String| Failure::Unreadable(format!("cannot read {name}: {why}"));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    let limit = max_bytes as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(|error| cannot(error.to_string()))?;
    if text.len() > max_bytes {
        return Err(cannot("it is too long".into()));
    }
    Ok((name, text))
}
