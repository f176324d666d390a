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
mod report;
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
pub use report::{About, Format, report};
pub use statistics::{Day, Gap, GapKind, OfSource, PolicyAct, PolicyChange, Statistics, Tally};

use args::{Args, Command, LedgerArgs};

/// The whole program: arguments, check, output. Exit 0 sound, 1 findings, 2 cannot read or wrong usage, 3 incomplete.
pub fn run() -> ExitCode {
    match Args::parse().command {
        Command::Ledger(arguments) => {
            let json = arguments.json;
            check(arguments, json, |verdict, _| print::verdict(verdict, json))
        }
        Command::Receipt(arguments) => receipt::run(&arguments),
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Report(arguments) => {
            let format = arguments.format();
            let json = format == Format::Json;
            check(arguments.ledger, json, |verdict, about| report::print(verdict, about, format))
        }
    }
}

fn check(
    arguments: LedgerArgs,
    json: bool,
    say: impl FnOnce(&Verdict, &About) -> std::io::Result<()>,
) -> ExitCode {
    let outcome = arguments.into_options().and_then(|options| {
        let verdict = verify_ledger(&options)?;
        Ok((verdict, About::of(&options)))
    });
    let printed = match &outcome {
        Ok((verdict, about)) => say(verdict, about),
        Err(failure) => print::failure(failure, json),
    };
    match (printed, outcome) {
        (Ok(()), Ok((verdict, _))) => ExitCode::from(verdict.exit_code()),
        _ => ExitCode::from(2),
    }
}
