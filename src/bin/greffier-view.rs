//! `greffier-view`: arguments handed on, exit code handed back.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use greffier::view::{Environment, args::Cli, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: here, and only here, this program reads its environment"
    )]
    let environment = Environment {
        bus: std::env::var("GREFFIER_BUS").ok(),
        path: std::env::var_os("PATH").unwrap_or_default(),
    };
    ExitCode::from(run(cli, environment))
}
