//! `doctor`: looks at everything around an archive, and says what is wrong and what to do: directories, keys, ledger, clock,
//! bus, units. The facts are gathered in `gather`, `system` and `look`; `core::doctor` judges them.
//!
//! Must never change anything, but for the order that `--accept-restore` leaves for the next start; nor go on by itself. Holds
//! the lock of the state directory meanwhile; when the service holds it, that is asked for its state instead.

mod gather;
mod look;
mod system;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::places::Places;
use super::{args::DoctorArgs, print, sentence};
use crate::core::doctor::{Facts, Finding, LedgerFacts, Severity, judge};
use crate::core::ledger::restore::{KnownHead, ORDER_FILE, Restore, RestoreOrder, judge_restore};
use crate::shell::bus::client::{ANSWER, Failure, ManagerProxy, connect, fields};
use crate::shell::disk::catalogue::Catalogue;
use crate::shell::disk::ledger_files::LedgerDir;
use crate::shell::disk::lock::LockError;
use crate::shell::disk::statedir::{StateDir, StateDirError};
use crate::shell::terminal::{self, Form};
use look::Found;

/// Looks, and says what it found. Exit code 0 when nothing must be done or the order was left, 1 when something must.
pub fn doctor(args: &DoctorArgs, form: Form, bus: Option<&str>) -> Result<u8, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Refused(sentence(error));
    let places = Places::read(&args.config)?;
    let state = StateDir::open(&places.state_dir);
    let unusable = match &state {
        Err(error) if args.accept_restore => return Err(refused(error)),
        Ok(_) | Err(StateDirError::Lock(LockError::Taken(_)) | StateDirError::Exposed(_)) => None,
        Err(error) => Some((code_of(error), sentence(error))),
    };
    let mut facts = Facts {
        places: gather::places(&args.config, &places, unusable),
        keys: gather::keys(&places, state.is_ok()),
        system: system::look(&places),
        ..Facts::default()
    };
    let mut code = 0;
    match &state {
        Ok(state) => {
            let found = look::look(&state.ledger(), &places.second_place());
            facts.ledger = Some(ledger_facts(state, &places, found.as_ref()));
            if let Ok(found) = found {
                code = judge_heads(args, form, state, &found)?;
            } else if args.accept_restore {
                return Err(Failure::Refused(
                    "The ledger cannot be read, so nothing can be accepted.".into(),
                ));
            }
        }
        Err(StateDirError::Lock(LockError::Taken(_))) => {
            let why =
                "another process holds the state directory; stop greffierd to have it looked at".to_owned();
            facts
                .not_looked_at
                .extend(["ledger", "key slots", "catalogue"].map(|what| (what.to_owned(), why.clone())));
            let address = bus.map(str::to_owned).or(places.bus.address.clone());
            match ask_service(address.as_deref()) {
                Ok(service) => facts.system.service = Some(service),
                Err(failure) => facts.not_looked_at.push(("service".into(), failure.to_string())),
            }
        }
        Err(_) => {
            let why = "the state directory cannot be opened";
            facts.not_looked_at.extend(["ledger", "catalogue"].map(|what| (what.to_owned(), why.to_owned())));
        }
    }
    let findings = judge(&facts);
    let rows: Vec<Map<String, Value>> = findings.iter().map(row).collect();
    print(&terminal::rows(form, &["severity", "code", "to", "what", "next"], &rows))?;
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (must, should, notes) = (of(Severity::Must), of(Severity::Should), of(Severity::Note));
    eprintln!("{must} things must be mended, {should} should be, {notes} are to know.");
    Ok(if must > 0 { 1 } else { code })
}

fn code_of(error: &StateDirError) -> &'static str {
    match error {
        StateDirError::NotInitialised(_) => "not-initialised",
        StateDirError::Newer { .. } => "format-newer",
        _ => "state-unusable",
    }
}

fn row(finding: &Finding) -> Map<String, Value> {
    let Finding { code, severity, to, what, next } = finding;
    let row = json!({ "code": code, "severity": severity.as_str(), "to": to, "what": what, "next": next });
    row.as_object().cloned().unwrap_or_default()
}

fn ledger_facts(state: &StateDir, places: &Places, found: Result<&Found, &look::LookError>) -> LedgerFacts {
    use std::os::unix::fs::MetadataExt;

    let second_path = places.second_place();
    let device = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    let second_same_disk = device(&second_path).is_some_and(|second| device(state.path()) == Some(second));
    let second_path = second_path.display().to_string();
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            return LedgerFacts { unusable: Some(sentence(error)), second_path, ..LedgerFacts::default() };
        }
    };
    // Looking into an empty folder would make a catalogue there.
    let catalogue = state.catalogue();
    let there = std::fs::read_dir(&catalogue).is_ok_and(|mut entries| entries.next().is_some());
    let stood = there.then(|| Catalogue::open_as_it_is(&catalogue).ok().flatten()).flatten();
    let position = stood.map(|(_, position)| position);
    LedgerFacts {
        unusable: found
            .contradiction
            .as_ref()
            .map(|why| format!("The entries contradict each other: {why}.")),
        clock_suspect: found.clock_suspect,
        damaged: found.damaged,
        entries: found.here.size,
        last: found.last,
        second_path,
        second_entries: found.second_entries,
        second_same_disk,
        catalogue_entries: position.map(|(entries, _root)| entries),
    }
}

/// State and reason of the service that runs.
fn ask_service(address: Option<&str>) -> Result<(String, String), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("This program cannot start ({error}); try again.")))?;
    let status = runtime.block_on(async {
        let bus = connect(address, ANSWER).await?;
        Ok::<_, Failure>(fields::to_json(&ManagerProxy::new(&bus).await?.status().await?))
    })?;
    let of = |key| status.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((of("state"), of("why")))
}

/// Whether somebody knows more than this ledger, and what the administrator wants then.
fn judge_heads(args: &DoctorArgs, form: Form, state: &StateDir, found: &Found) -> Result<u8, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Refused(sentence(error));
    let verdict = judge_restore(found.here, &found.outside);
    print(&show(form, found, verdict))?;
    match verdict {
        Restore::No => {
            eprintln!("Nothing knows more than this ledger.");
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
            accept(state, found, known).map_err(|error| refused(&error))?;
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
