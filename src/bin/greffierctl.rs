//! `greffierctl`: arguments handed on, exit code handed back.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = greffier::ctl::args::Cli::parse();
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: here, and only here, this program reads its environment"
    )]
    let bus = std::env::var("GREFFIER_BUS").ok();
    ExitCode::from(greffier::ctl::run(cli, bus))
}
