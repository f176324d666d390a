//! `doctor`: looks at a state directory while the service is stopped. So far: was the ledger put back from a backup, and
//! does an administrator want to go on with it.
//!
//! Must never change an entry, nor go on by itself: it shows both heads, and leaves an order that the next start carries out
//! and records. Holds the lock of the state directory meanwhile.

mod look;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::{args::DoctorArgs, print, sentence};
use crate::core::ledger::restore::{KnownHead, ORDER_FILE, Restore, RestoreOrder, judge_restore};
use crate::shell::bus::client::Failure;
use crate::shell::disk::ledger_files::LedgerDir;
use crate::shell::disk::statedir::StateDir;
use crate::shell::terminal::{self, Form};
use look::Found;

/// What `doctor` needs of the configuration; the service checks the rest.
#[derive(Debug, Deserialize)]
struct Places {
    #[serde(default = "state_dir")]
    state_dir: PathBuf,
    #[serde(default = "run_dir")]
    run_dir: PathBuf,
    second_checkpoint: Option<PathBuf>,
}

fn state_dir() -> PathBuf {
    "/var/lib/greffier".into()
}
fn run_dir() -> PathBuf {
    "/run/greffier".into()
}

impl Places {
    fn read(path: &Path) -> Result<Self, Failure> {
        let usage = |error: &dyn std::error::Error| {
            Failure::Usage(format!(
                "{} cannot be read; name the configuration with --config: {error}.",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|error| usage(&error))?;
        toml::from_str(&text).map_err(|error| usage(&error))
    }
    fn second_place(&self) -> PathBuf {
        self.second_checkpoint.clone().unwrap_or_else(|| self.run_dir.join("checkpoint"))
    }
}

/// Looks, and says what it found. Exit code 0 when all is well or the order was left, 1 when something must be done.
pub fn doctor(args: &DoctorArgs, form: Form) -> Result<u8, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Refused(sentence(error));
    let places = Places::read(&args.config)?;
    let state = StateDir::open(&places.state_dir).map_err(|error| refused(&error))?;
    let found = look::look(&state.ledger(), &places.second_place()).map_err(|error| refused(&error))?;
    let verdict = judge_restore(found.here, &found.outside);
    print(&show(form, &found, verdict))?;
    match verdict {
        Restore::No => {
            eprintln!("Nothing knows more than this ledger; there is nothing to do.");
            Ok(0)
        }
        Restore::Mixed => {
            eprintln!(
                "The tail is older than the files beside it. Put the whole state directory back from one backup; nothing was changed."
            );
            Ok(1)
        }
        Restore::Lost { known, .. } if !args.accept_restore => {
            eprintln!(
                "The ledger was rolled back: a head of {} entries is known. If you put it back from a backup on purpose, run \
                 this again with --accept-restore; else find out who did. Nothing was changed.",
                known.size
            );
            Ok(1)
        }
        Restore::Lost { known, .. } => {
            accept(&state, &found, known).map_err(|error| refused(&error))?;
            eprintln!(
                "The next start of the service goes on with {} entries and records ledger.restored. Whoever keeps a later \
                 checkpoint will see what is lost.",
                found.here.size
            );
            Ok(0)
        }
    }
}

/// The order first: a kept head that is moved aside without one would make the rollback invisible.
fn accept(state: &StateDir, found: &Found, known: KnownHead) -> std::io::Result<()> {
    let files = LedgerDir::new(state.ledger());
    let order = RestoreOrder { here: found.here, known };
    files.replace(ORDER_FILE, order.to_line().map_err(std::io::Error::other)?.as_bytes())?;
    for size in &found.kept_beyond {
        files.rename_over(&format!("checkpoints/{size}"), &format!("checkpoints/{size}.given-up"))?;
    }
    Ok(())
}

fn show(form: Form, found: &Found, verdict: Restore) -> String {
    let mut facts = json!({
        "entries": found.here.size,
        "root": found.here.root.to_string(),
        "restored": match verdict {
            Restore::No => "no",
            Restore::Mixed => "in part",
            Restore::Lost { beside: false, .. } => "behind",
            Restore::Lost { beside: true, .. } => "beside",
        },
    });
    if let (Restore::Lost { known, .. }, Some(object)) = (verdict, facts.as_object_mut()) {
        object.insert("known_entries".into(), known.size.into());
        object.insert("known_root".into(), known.root.to_string().into());
    }
    let facts = facts.as_object().cloned().unwrap_or_default();
    terminal::facts(form, &["entries", "root", "restored", "known_entries", "known_root"], &facts)
}
