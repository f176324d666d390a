//! `init`: a new archive, offline.
//!
//! Owns the order of the steps: what can fail without a trace comes first, `greffier.toml` comes last, so that it says
//! that all before it is there. Must never change a file that exists, and never writes the first entry of the ledger:
//! the service does, at its first start.

mod config;

use std::fs::DirBuilder;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::args::InitArgs;
use super::{print, sentence};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::ledger::note::{VerifierKey, check_name};
use crate::core::policy;
use crate::shell::bus::client::Failure;
use crate::shell::crypt::{MasterKey, Secret, Signer};
use crate::shell::disk::durable::create_new_durable;
use crate::shell::disk::master_place::{MasterPlace, Which};
use crate::shell::disk::slots::KeySlots;
use crate::shell::disk::statedir::StateDir;
use crate::shell::terminal::{self, Form};

/// The first generation of the key file; each rotation of the master key counts one up.
const FIRST_GENERATION: u64 = 1;
/// The log key has no id: there is one.
const LOG_KEY_ID: SlotId = [0; 16];

/// The credential that the unit loads.
const CREDENTIAL: &str = "greffier.master";

/// What is set up, and where.
struct Plan {
    origin: String,
    config_dir: PathBuf,
    state_dir: PathBuf,
    spool_dir: PathBuf,
    run_dir: PathBuf,
    bus: Option<String>,
    /// The plain key file, or the encrypted credential.
    key: MasterPlace,
}

/// Sets up an archive and prints its verifier key.
pub fn init(args: &InitArgs, form: Form, bus: Option<&str>) -> Result<u8, Failure> {
    let plan = plan(args, bus)?;
    if let Some(path) = plan.traces().into_iter().next() {
        return Err(Failure::Refused(format!(
            "{} exists already; nothing was changed. An archive is set up once.",
            path.display()
        )));
    }
    let vkey = plan.set_up().map_err(|error| {
        let left: Vec<String> = plan.traces().iter().map(|path| path.display().to_string()).collect();
        let remove = match left.as_slice() {
            [] => String::new(),
            left => format!(" Nothing is in use yet: remove {}, then try again.", left.join(", ")),
        };
        Failure::Refused(sentence(error.as_ref()) + &remove)
    })?;
    let answer = json!({ "origin": plan.origin, "vkey": vkey.to_string(), "config": plan.config_file().to_string_lossy() });
    print(&match form {
        Form::Json => terminal::rows(form, &[], &[answer.as_object().cloned().unwrap_or_default()]),
        Form::Lines | Form::Table => format!("{vkey}\n"),
    })?;
    eprintln!("Keep this line outside this machine: the auditor needs it.");
    let dir = plan.config_dir.display();
    eprintln!(
        "Next: edit {dir}/policy.toml, check it with `greffierctl policy check {dir}`, then start the service."
    );
    Ok(0)
}

fn plan(args: &InitArgs, bus: Option<&str>) -> Result<Plan, Failure> {
    let origin = match &args.origin {
        Some(origin) => origin.clone(),
        None => asked_origin()?,
    };
    check_name(&origin)
        .map_err(|rule| Failure::Usage(format!("{origin:?} cannot be the name of an archive: {rule}.")))?;
    Ok(Plan {
        origin,
        config_dir: absolute(&args.config_dir)?,
        state_dir: absolute(&args.state_dir)?,
        spool_dir: absolute(&args.spool_dir)?,
        run_dir: absolute(&args.run_dir)?,
        bus: bus.filter(|bus| *bus != "system").map(str::to_owned),
        key: match &args.insecure_key_file {
            Some(path) => MasterPlace::PlainFile(absolute(path)?),
            None => MasterPlace::credential(CREDENTIAL),
        },
    })
}

fn asked_origin() -> Result<String, Failure> {
    let missing = || {
        Failure::Usage(
            "Name the archive with --origin, such as cabinet.example/greffier; it can never change.".into(),
        )
    };
    if !io::stdin().is_terminal() {
        return Err(missing());
    }
    eprint!(
        "Name of this archive in every checkpoint, such as cabinet.example/greffier (it can never change): "
    );
    let _ = io::stderr().flush();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|_| missing())?;
    Some(line.trim().to_owned()).filter(|line| !line.is_empty()).ok_or_else(missing)
}

/// The service starts elsewhere, so its configuration needs whole paths; and it is UTF-8 text.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let bad = |why: &str| Failure::Usage(format!("{path:?} cannot be used: {why}."));
    let whole = std::path::absolute(path).map_err(|error| bad(&error.to_string()))?;
    match whole.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(whole),
        _ => Err(bad("a path must be UTF-8 without control characters")),
    }
}

impl Plan {
    fn config_file(&self) -> PathBuf {
        self.config_dir.join("greffier.toml")
    }
    fn policy_file(&self) -> PathBuf {
        self.config_dir.join("policy.toml")
    }

    /// What is there of an earlier run. A directory that a package made, still empty, is none; nor is a policy.
    fn traces(&self) -> Vec<PathBuf> {
        let mut traces = vec![self.config_file(), self.key.path(Which::Usual)];
        // `symlink_metadata`: a link that leads nowhere is there too.
        traces.retain(|path| path.symlink_metadata().is_ok());
        let in_use = match std::fs::read_dir(&self.state_dir) {
            Ok(mut files) => files.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if in_use {
            traces.push(self.state_dir.clone());
        }
        traces
    }

    /// The steps, in order. Returns the verifier key.
    fn set_up(&self) -> Result<VerifierKey, Box<dyn std::error::Error>> {
        let master = MasterKey::generate()?;
        // What `systemd-creds` refuses leaves no trace.
        drop(self.key.sealed(Which::Usual, &master)?);
        let (log, epoch) = (Secret::generate()?, Secret::generate()?);
        let vkey = VerifierKey::new(&self.origin, &Signer::new(&log).public())?;
        let config = config::text(self)?;

        let above_state = self.state_dir.parent().unwrap_or(Path::new("/"));
        for dir in [self.config_dir.as_path(), &self.spool_dir, &self.run_dir, above_state] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .map_err(|error| NotMade(dir.into(), error))?;
        }
        let state = StateDir::create(&self.state_dir)?;
        // The master key before anything that only it opens.
        self.key.create(Which::Usual, &master)?;
        KeySlots::init(&state.keys(), FIRST_GENERATION)?;
        let slots = KeySlots::open(&state.keys(), master, FIRST_GENERATION)?;
        slots.create(SlotKind::Log, LOG_KEY_ID, &log)?;
        slots.create(SlotKind::Epoch, epoch_id(&Signer::new(&epoch).public()), &epoch)?;
        create_new_durable(&state.ledger(), "origin", format!("{}\n", self.origin).as_bytes())?;
        create_new_durable(&state.ledger(), "vkey", format!("{vkey}\n").as_bytes())?;

        if self.policy_file().symlink_metadata().is_err() {
            create_new_durable(&self.config_dir, "policy.toml", policy::TEMPLATE.as_bytes())?;
        }
        create_new_durable(&self.config_dir, "greffier.toml", config.as_bytes())?;
        Ok(vkey)
    }
}

/// The slot id of an epoch key: the first 16 bytes of SHA-256(public key).
fn epoch_id(public: &[u8; 32]) -> SlotId {
    let digest: [u8; 32] = Sha256::digest(public).into();
    let [id, _] = *digest.as_chunks::<16>().0 else { return [0; 16] };
    id
}

/// A directory that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be made; run this as root, or name another directory", .0.display())]
struct NotMade(PathBuf, #[source] io::Error);
