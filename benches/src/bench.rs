//! `make bench`: the rows of design §14 and those of the issues, as ratios, measured side by side in one run.
//!
//! Needs root, `/dev/fuse`, `dbus-daemon`, and the release build of the product. Arguments name the groups to run
//! (default all): ledger, open, read, seal, verify, scale, purge. `BENCH_FULL=1` measures a million recordings and entries, not
//! 100,000 and 50,000.

mod archive;
mod baseline;
mod house;
mod journal;
mod ledger;
mod measure;
mod opening;
mod others;
mod place;
mod purging;
mod reading;
mod scale;
mod sealing;
mod table;
mod verifying;

use std::path::Path;
use std::process::ExitCode;

use place::Places;
use table::Table;

/// A measurement that cannot be made ends the run: a number that rests on a failure is worth nothing.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Group = fn(&Places, &mut Table) -> Outcome<()>;

const GROUPS: [(&str, Group); 7] = [
    ("ledger", ledger::measure),
    ("open", opening::measure),
    ("read", reading::measure),
    ("seal", sealing::measure),
    ("verify", verifying::measure),
    ("scale", scale::measure),
    ("purge", purging::measure),
];

/// Whether the long run was asked for.
pub fn full() -> bool {
    std::env::var_os("BENCH_FULL").is_some_and(|value| value == "1")
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("run it as root: it acts as another user, and mounts".into());
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| GROUPS.iter().all(|(known, _)| known != name)) {
        return Err(format!("there is no group {unknown:?}").into());
    }
    let places = Places::make()?;
    let mut table = Table::default();
    for (name, measure) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&places, &mut table)?;
        }
    }
    table.finish(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/summary.json"))
}
