//! `greffierd`: arguments and environment handed on, exit code handed back.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Owns an archive of recordings and writes every access to a signed ledger.
#[derive(Parser)]
#[command(name = "greffierd", version)]
struct Cli {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/greffier/greffier.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: here, and only here, the daemon reads its environment"
    )]
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    ExitCode::from(greffier::daemon::main(&cli.config, credentials))
}
