//! `greffier-verify`: reads a ledger and says whether it is sound.
//!
//! Trusts the pinned key and nothing else; everything read is hostile (invariant 10). It builds alone, without keys, bus or
//! file system of the daemon. Must never follow a link, write a file, or hold more than a few bundles in memory.
#![forbid(unsafe_code)]

mod archive;
mod args;
mod bundle;
mod checkpoints;
mod conduct;
mod details;
mod files;
mod findings;
mod ledger;
mod pipeline;
mod print;
mod receipt;
mod single;
mod source;
mod statistics;
mod store;
mod tail;
mod tiles;
mod trust;
mod walk;

use std::process::ExitCode;

use clap::Parser as _;

pub use files::{Files, Source};
pub use findings::{Class, Code, Finding, Report};
pub use ledger::{Failure, Options, Summary, Verdict, verify_ledger};
pub use statistics::{Day, Gap, GapKind, PolicyAct, PolicyChange, Statistics, Tally};

use args::{Args, Command};

/// The whole program: arguments, check, output. Exit 0 sound, 1 findings, 2 cannot read or wrong usage, 3 incomplete.
pub fn run() -> ExitCode {
    let arguments = match Args::parse().command {
        Command::Ledger(arguments) => arguments,
        Command::Receipt(arguments) => return receipt::run(&arguments),
        Command::Bundle(arguments) => return bundle::run(&arguments),
    };
    let json = arguments.json;
    let outcome = arguments.into_options().and_then(|options| verify_ledger(&options));
    let printed = match &outcome {
        Ok(verdict) => print::verdict(verdict, json),
        Err(failure) => print::failure(failure, json),
    };
    match (printed, outcome) {
        (Ok(()), Ok(verdict)) => ExitCode::from(verdict.exit_code()),
        _ => ExitCode::from(2),
    }
}
