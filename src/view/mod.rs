//! `greffier-view`: the program of viewers.
//!
//! Owns the words of its answers and its exit codes. Must never keep a copy of what it opens, and never opens anything
//! before it knows that it can be shown: each opening is an entry in the ledger.
#![forbid(unsafe_code)]

pub mod args;
mod cat;
mod charter;
mod open;
mod play;
mod player;

use std::ffi::OsString;

use zbus::Connection;

use crate::shell::bus::client::search::{self, Filter};
use crate::shell::bus::client::{ANSWER, Failure, RecordingsProxy, connect, fields};
use crate::shell::terminal::{self, Form};
use args::{Cli, Command, ListArgs};
use player::Player;

/// The columns of a list of recordings.
const COLUMNS: [&str; 7] = ["id", "source", "kind", "start", "end", "expires", "held"];
/// The facts of a recording that stand first.
const FACTS: [&str; 7] = ["id", "source", "kind", "start", "end", "media", "bytes"];

/// The part of the environment that this program uses, read at its edge.
#[derive(Debug, Default)]
pub struct Environment {
    /// `GREFFIER_BUS`: used where `--bus` is absent.
    pub bus: Option<String>,
    /// `PATH`: where players are looked for.
    pub path: OsString,
}

/// Runs one command. The exit code of design §12, or that of the player.
pub fn run(cli: Cli, environment: Environment) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(answered(cli, environment));
            // A read of a recording cannot be interrupted; it must not keep this program from ending.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::Unavailable(format!("This program cannot start ({error}); try again."))),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", terminal::clean(&failure.to_string()));
            failure.exit_code()
        }
    }
}

async fn answered(cli: Cli, environment: Environment) -> Result<u8, Failure> {
    let Cli { bus, json, command } = cli;
    let form = Form::of_stdout(json);
    let bus = bus.or(environment.bus);
    // What can be refused without asking is refused first, so that no entry says that something was opened.
    let player = match &command {
        Command::Play { player, .. } => Some(Player::choose(player, &environment.path)?),
        Command::Cat { .. } => cat::check_output().map(|()| None)?,
        Command::List(_) | Command::Show { .. } | Command::Charter { .. } => None,
    };
    let bus = connect(bus.as_deref(), ANSWER).await?;
    match (command, player) {
        (Command::List(args), _) => list(&bus, form, args).await,
        (Command::Show { id }, _) => show(&bus, form, &id.to_string()).await,
        (Command::Charter { acknowledge }, _) => charter::charter(&bus, form, acknowledge).await,
        (Command::Play { open, .. }, Some(player)) => play::play(&bus, &open, player).await,
        (Command::Cat { open } | Command::Play { open, .. }, _) => cat::cat(&bus, &open).await,
    }
}

async fn list(bus: &Connection, form: Form, args: ListArgs) -> Result<u8, Failure> {
    let ListArgs { reason, source, kind, from, to, held, limit } = args;
    let found = search::search(bus, &Filter { reason, sources: source, kind, from, to, held }, limit).await?;
    print(&terminal::rows(form, &COLUMNS, &found.rows))?;
    if found.rows.is_empty() {
        eprintln!("No recording that you may know of matches.");
    } else if found.more {
        eprintln!("More recordings match; narrow the search or raise --limit.");
    }
    Ok(0)
}

async fn show(bus: &Connection, form: Form, id: &str) -> Result<u8, Failure> {
    let facts = RecordingsProxy::new(bus).await?.describe(id).await?;
    print(&terminal::facts(form, &FACTS, &fields::to_json(&facts)))?;
    Ok(0)
}

fn print(text: &str) -> Result<(), Failure> {
    terminal::print(text)
        .map_err(|error| Failure::Refused(format!("The answer could not be written ({error}).")))
}
