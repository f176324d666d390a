//! `keys restore`: a backup is opened; in a drill the service compares it with the key in force, else it is put in the place of the master key.
//!
//! Putting back, in order, under the lock of the state directory: backup opened · archive and key files are those it belongs to · note for the
//! ledger durable (`keys/restored`) · credential written, durable and read back. Must never put a key in place that does not open the key
//! files, nor replace one that does.

use std::path::Path;

use serde_json::json;
use zbus::Connection;
use zbus::wire::Variant;
use zeroize::Zeroizing;

use super::{RestoreArgs, print, sentence, shares};
use crate::ctl::places::{Key, Places};
use crate::shell::bus::client::{Failure, ManagerProxy, Request};
use crate::shell::crypt::{KeyBackup, MAX_BACKUP_BYTES};
use crate::shell::disk::durable::{DiskError, create_new_durable};
use crate::shell::disk::master_place::{MasterPlace, Which};
use crate::shell::disk::slots::{KeySlots, RESTORED_NOTE, SlotError};
use crate::shell::disk::statedir::StateDir;
use crate::shell::terminal::{self, Form};

/// Proves to the service that the backup opens and holds the key in force; the service records it.
pub async fn drill(bus: &Connection, form: Form, args: &RestoreArgs) -> Result<u8, Failure> {
    let backup = open(args)?;
    let request = Request::from([
        ("generation", Variant::from(backup.generation)),
        ("answer", Variant::from(backup.answer())),
    ]);
    let entry = ManagerProxy::new(bus).await?.check_backup(request).await?;
    print(&show(form, &backup, Some(entry)))?;
    eprintln!("The backup opens and holds the master key in force; nothing was changed.");
    Ok(0)
}

/// Puts the master key back.
pub fn restore(args: &RestoreArgs, form: Form) -> Result<u8, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Refused(sentence(error));
    let places = Places::read(&args.config)?;
    let place = master_place(&places.key)?;
    let state = StateDir::open(&places.state_dir).map_err(|error| refused(&error))?;
    let backup = open(args)?;
    if Some(&backup.origin) != places.origin.as_ref() {
        return Err(Failure::Refused(format!(
            "The backup is of the archive {:?}, this one is {:?}. Nothing was changed.",
            backup.origin,
            places.origin.as_deref().unwrap_or_default()
        )));
    }
    let shown = show(form, &backup, None);
    let slots = KeySlots::open_in_force(&state.keys(), vec![backup.master]).map(|(slots, _)| slots);
    let slots = slots.map_err(|error| match error {
        SlotError::WrongMasterKey(path) => Failure::Refused(format!(
            "The backup is of generation {} and does not open {}: put back the key files of that generation too, or take a later backup. \
             Nothing was changed.",
            backup.generation,
            path.display()
        )),
        other => refused(&other),
    })?;
    let kept = |which| {
        slots.with_master(|master, _| {
            place.load(which).is_ok_and(|it| it.is_some_and(|it| it.is_same_as(master)))
        })
    };
    if kept(Which::Usual) {
        print(&shown)?;
        eprintln!("The master key is in its place already; nothing was changed.");
        return Ok(0);
    }
    let there: Vec<Which> =
        [Which::Usual, Which::Next].into_iter().filter(|which| place.exists(*which)).collect();
    if let (Some(which), false) = (there.first(), args.replace) {
        return Err(Failure::Refused(format!(
            "{} holds another key. If it is of no use any more, run this again with --replace, which overwrites and removes it. Nothing was \
             changed.",
            place.path(*which).display()
        )));
    }
    match create_new_durable(&state.keys(), RESTORED_NOTE, b"by greffierctl keys restore\n") {
        Err(DiskError { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
        noted => noted.map_err(|error| refused(&error))?,
    }
    for which in there {
        place.remove(which).map_err(|error| refused(&error))?;
    }
    slots.with_master(|master, _| place.create(Which::Usual, master)).map_err(|error| refused(&error))?;
    print(&shown)?;
    eprintln!(
        "The master key is put back. Start the service: it records this. Then make a new backup, or rotate the keys."
    );
    Ok(0)
}

fn master_place(key: &Key) -> Result<MasterPlace, Failure> {
    match key {
        Key { insecure_key_file: Some(path), .. } => Ok(MasterPlace::PlainFile(path.clone())),
        Key { credential: Some(name), .. } => Ok(MasterPlace::credential(name)),
        _ => Err(Failure::Usage("[key] of the configuration names no place for the master key.".into())),
    }
}

fn show(form: Form, backup: &KeyBackup, entry: Option<u64>) -> String {
    let mut facts = json!({ "origin": backup.origin, "generation": backup.generation });
    if let (Some(facts), Some(entry)) = (facts.as_object_mut(), entry) {
        facts.insert("entry".into(), entry.into());
    }
    let facts = facts.as_object().cloned().unwrap_or_default();
    terminal::facts(form, &["origin", "generation", "entry"], &facts)
}

/// Opens the backup with the identities or the shares given.
fn open(args: &RestoreArgs) -> Result<KeyBackup, Failure> {
    let sealed = read(&args.backup)?;
    let mut identities = Vec::new();
    for path in &args.identity {
        let text = read(path)?;
        let text = std::str::from_utf8(&text).unwrap_or_default();
        let before = identities.len();
        identities.extend(text.lines().filter_map(|line| line.trim().parse::<age::x25519::Identity>().ok()));
        if identities.len() == before {
            return Err(Failure::Refused(format!(
                "{} holds no identity of age (AGE-SECRET-KEY-1...); if it is encrypted, open it with age first.",
                path.display()
            )));
        }
    }
    if !args.share.is_empty() {
        let secret = shares::combine(&args.share).map_err(Failure::Refused)?;
        identities.extend(secret.parse::<age::x25519::Identity>().ok());
    }
    if identities.is_empty() {
        return Err(Failure::Usage(
            "Give what opens the backup: --identity FILE, or --share FILE for each share.".into(),
        ));
    }
    let opened =
        identities.iter().find_map(|identity| age::decrypt(identity, &sealed).ok().map(Zeroizing::new));
    let path = args.backup.display();
    let opened = opened.ok_or_else(|| {
        Failure::Refused(format!(
            "{path} does not open: it is sealed to others, or it is damaged. Nothing was changed."
        ))
    })?;
    KeyBackup::parse(&opened)
        .map_err(|error| Failure::Refused(format!("{path} opens, but {error}. Nothing was changed.")))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read as _;
    let unread =
        |error: std::io::Error| Failure::Refused(format!("{} cannot be read: {error}.", path.display()));
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BACKUP_BYTES));
    file.take(MAX_BACKUP_BYTES as u64).read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
}
