//! `greffierctl`: the program of administrators, controllers and auditors.
//!
//! Owns the words of its answers and its exit codes. Must never decide what the service decides, and never asks it for
//! more than the command needs: each question is an entry in the ledger.
#![forbid(unsafe_code)]

pub mod args;
mod doctor;
mod export;
mod index;
mod init;
mod keys;
mod ledger;
mod places;
mod policy;
mod proofs;
mod publish;
mod recordings;
mod registers;
mod replace;
mod retention;
mod reviews;
mod service;
mod store;
mod tree;
#[cfg(feature = "witness")]
mod witness;

use zbus::Connection;

use crate::shell::bus::client::agent::Agent;
use crate::shell::bus::client::{ANSWER, Failure, LONG_ANSWER, connect};
use crate::shell::terminal::{self, Form};
use args::policy::PolicyCommand;
use args::{
    Cli, Command, HoldCommand, IndexCommand, KeysCommand, LedgerCommand, RetentionCommand, ReviewCommand,
    StoreCommand,
};

/// Runs one command. `bus_from_environment` is used where `--bus` is absent. The exit code of design §12.
pub fn run(cli: Cli, bus_from_environment: Option<String>) -> u8 {
    let Cli { bus, json, command } = cli;
    let form = Form::of_stdout(json);
    let bus = bus.or(bus_from_environment);
    let result = match command {
        Command::Init(args) => init::init(&args, form, bus.as_deref()),
        Command::Doctor(args) => doctor::doctor(&args, form, bus.as_deref()),
        Command::Policy(PolicyCommand::Check { path, profiles }) => policy::check(&path, &profiles, form),
        Command::Policy(PolicyCommand::Diff { old, new }) => policy::compare(&old, &new, form),
        Command::Policy(PolicyCommand::Explain(args)) if args.recording.is_none() => {
            policy::explain(&args, None, form)
        }
        Command::Ledger(LedgerCommand::Publish { dir, cosigned: Some(file), policy }) => {
            publish::cosigned(form, &dir, &file, policy.as_deref())
        }
        #[cfg(feature = "witness")]
        Command::Ledger(LedgerCommand::Witness { dir, policy, state, timeout }) => {
            let patience = std::time::Duration::from_secs(timeout);
            witness::witness(form, &witness::Task { dir: &dir, policy: &policy, state: &state, patience })
        }
        Command::Keys(KeysCommand::Restore(args)) if !args.check => keys::restore(&args, form),
        command => ask(command, form, bus.as_deref()),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", terminal::clean(&failure.to_string()));
            failure.exit_code()
        }
    }
}

/// The commands that need the service.
fn ask(command: Command, form: Form, bus: Option<&str>) -> Result<u8, Failure> {
    if let Command::Seal(args) = &command {
        recordings::check(args)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("This program cannot start ({error}); try again.")))?;
    let answer = match command {
        Command::Seal(_)
        | Command::Retention(RetentionCommand::Run)
        | Command::Index(_)
        | Command::Keys(KeysCommand::Rotate { .. }) => LONG_ANSWER,
        _ => ANSWER,
    };
    runtime.block_on(async {
        let connection = connect(bus, answer).await?;
        // The rules may ask this person to authenticate again; for numbers nobody is asked.
        let agent = if matches!(command, Command::Status) { Agent::none() } else { Agent::start().await };
        let answer = answered(command, form, &connection).await;
        agent.end().await;
        answer
    })
}

async fn answered(command: Command, form: Form, bus: &Connection) -> Result<u8, Failure> {
    match command {
        Command::Status => service::status(bus, form).await,
        Command::Reload => service::reload(bus).await,
        Command::Seal(args) => recordings::seal(bus, form, &args).await,
        Command::Search(args) => recordings::search(bus, form, args).await,
        Command::Show { id } => recordings::show(bus, form, id).await,
        Command::Grant(command) => registers::grant(bus, form, command).await,
        Command::Mandate(command) => registers::mandate(bus, form, command).await,
        Command::Approval(command) => registers::approval(bus, form, command).await,
        Command::Hold(HoldCommand::Place { id, kind, ground, reference, review }) => {
            retention::hold(bus, form, &retention::NewHold { id, kind, ground, reference, review }).await
        }
        Command::Hold(HoldCommand::Lift { hold, ground }) => retention::lift(bus, &hold, ground).await,
        Command::Retention(RetentionCommand::Plan { details: false }) => retention::plan(bus, form).await,
        Command::Retention(RetentionCommand::Plan { details: true }) => {
            retention::plan_details(bus, form).await
        }
        Command::Retention(RetentionCommand::Run) => retention::run(bus, form).await,
        Command::Retention(RetentionCommand::ConfirmClock) => retention::confirm_clock(bus).await,
        Command::Policy(PolicyCommand::Explain(args)) => policy::explain_recording(bus, form, &args).await,
        Command::Review(ReviewCommand::List) => reviews::list(bus, form).await,
        Command::Review(ReviewCommand::Done { entry, text }) => reviews::done(bus, entry, &text).await,
        Command::Ledger(LedgerCommand::Log { from, count }) => ledger::log(bus, form, from, count).await,
        Command::Ledger(LedgerCommand::Read { entry, details }) => {
            ledger::read(bus, form, entry, details).await
        }
        Command::Ledger(LedgerCommand::Receipt { entry, with_detail, output }) => {
            proofs::receipt(bus, form, entry, with_detail, output.as_deref()).await
        }
        Command::Ledger(LedgerCommand::Consistency { old, new, checkpoint }) => {
            proofs::consistency(bus, form, old, new, &checkpoint).await
        }
        Command::Ledger(LedgerCommand::Export { dir, with_details }) => {
            export::export(bus, form, &dir, with_details).await
        }
        Command::Index(IndexCommand::Rebuild) => index::rebuild(bus, form).await,
        Command::Store(StoreCommand::Scrub(args)) => store::scrub(bus, form, &args).await,
        Command::Keys(KeysCommand::Rotate { ground }) => keys::rotate(bus, ground).await,
        Command::Keys(KeysCommand::Backup(args)) => keys::backup(bus, form, &args).await,
        Command::Keys(KeysCommand::Restore(args)) => keys::drill(bus, form, &args).await,
        Command::Ledger(LedgerCommand::Publish { dir, .. }) => publish::publish(bus, form, &dir).await,
        // Handled without the service, above.
        #[cfg(feature = "witness")]
        Command::Ledger(LedgerCommand::Witness { .. }) => Ok(2),
        Command::Init(_) | Command::Policy(_) | Command::Doctor(_) => Ok(2),
    }
}

/// What happened, then why, down to the first cause.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text + "."
}

/// Writes an answer to standard output.
fn print(text: &str) -> Result<(), Failure> {
    terminal::print(text).map_err(|error| {
        Failure::Refused(format!("The answer could not be written ({error}); the command itself was done."))
    })
}
