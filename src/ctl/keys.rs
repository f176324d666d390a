//! `keys rotate|backup|restore`.
//!
//! Owns the words, and the files that a backup and its shares are written to. The service changes the master key and seals the backup; the
//! key in clear is here only when a backup is opened. Must never print a key, nor write one in clear.

mod restore;
mod shares;

use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use serde_json::json;
use zbus::Connection;
use zbus::wire::Variant;

pub use restore::{drill, restore};

use super::args::{BackupArgs, RestoreArgs};
use super::{print, sentence};
use crate::shell::bus::client::{Failure, ManagerProxy, Request};
use crate::shell::disk::durable::{create_new_durable, sync_dir};
use crate::shell::disk::shred::overwrite_and_remove;
use crate::shell::terminal::{self, Form};

/// Changes the master key.
pub async fn rotate(bus: &Connection, ground: Option<String>) -> Result<u8, Failure> {
    let request = ground.map(|ground| ("ground", Variant::from(ground))).into_iter().collect();
    ManagerProxy::new(bus).await?.rotate_keys(request).await?;
    eprintln!(
        "The master key is changed; key files and credential of before are overwritten and removed. Make a new backup of the keys, destroy \
         the old ones, and restart the service once, so that the service manager forgets the old key."
    );
    Ok(0)
}

/// Has the service seal the master key, and writes the file; with shares, makes an identity for it and cuts it.
pub async fn backup(bus: &Connection, form: Form, args: &BackupArgs) -> Result<u8, Failure> {
    let cut = args.shares.map(|split| (age::x25519::Identity::generate(), split));
    let mut to = args.to.clone();
    to.extend(cut.as_ref().map(|(identity, _)| identity.to_public().to_string()));
    if to.is_empty() {
        return Err(Failure::Usage("Say whom the backup is for: --to age1..., or --shares K/N.".into()));
    }
    // Cut and proved before anything is written or asked for.
    let texts = match &cut {
        Some((identity, split)) => {
            let recipient = identity.to_public().to_string();
            shares::cut(identity.to_string().expose_secret(), &recipient, *split).map_err(Failure::Refused)?
        }
        None => Vec::new(),
    };
    let share_paths: Vec<PathBuf> = (1..=args.shares.map_or(0, |split| split.of))
        .map(|number| share_path(&args.output, number))
        .collect();
    for path in share_paths.iter().chain([&args.output]) {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Refused(format!(
                "{} exists already; nothing was asked for.",
                path.display()
            )));
        }
    }
    let mut written = Vec::new();
    let made = async {
        for (path, text) in share_paths.iter().zip(&texts) {
            write_new(path, text.as_bytes())?;
            written.push(path.as_path());
        }
        let request = Request::from([("to", Variant::from(to))]);
        let (backup, entry) = ManagerProxy::new(bus).await?.backup_keys(request).await?;
        write_new(&args.output, &backup).map_err(|failure| {
            let more =
                format!("The service sealed this backup and recorded it as entry {entry}; make another.");
            and_said(failure, &more)
        })?;
        Ok(entry)
    };
    let entry = match made.await {
        Ok(entry) => entry,
        Err(failure) => return Err(without_shares(failure, &written)),
    };
    let paths: Vec<_> = share_paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut answer = json!({ "backup": args.output.to_string_lossy(), "entry": entry });
    if let (Some(answer), false) = (answer.as_object_mut(), paths.is_empty()) {
        answer.insert("shares".into(), json!(paths));
    }
    let answer = answer.as_object().cloned().unwrap_or_default();
    print(&match form {
        Form::Json => terminal::rows(form, &[], &[answer]),
        Form::Lines | Form::Table => {
            std::iter::once(args.output.display().to_string()).chain(paths).map(|path| path + "\n").collect()
        }
    })?;
    eprintln!(
        "Take it off this machine. Who opens it, and has a copy of the key files, opens every recording whose key was not overwritten in \
         that copy. Try it: greffierctl keys restore {} --check",
        args.output.display()
    );
    if let Some((_, split)) = cut {
        eprintln!("Give each share to another person; any {} of {} open the backup.", split.any, split.of);
    }
    Ok(0)
}

fn share_path(output: &Path, number: u8) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".share-{number}"));
    output.with_file_name(name)
}

/// Removes the shares of a backup that was not made: they open nothing. The failure, which says so too.
fn without_shares(failure: Failure, written: &[&Path]) -> Failure {
    let Some(first) = written.first() else { return failure };
    let mut left = Vec::new();
    for path in written {
        if let Err(error) = overwrite_and_remove(path) {
            left.push(sentence(&error));
        }
    }
    let folder = std::path::absolute(first).ok();
    if let Some(Err(error)) = folder.as_deref().and_then(Path::parent).map(sync_dir) {
        left.push(sentence(&error));
    }
    let more = match left.is_empty() {
        true => "The shares that were written are removed again.".to_owned(),
        false => format!("The shares that were written open nothing; remove them. {}", left.join(" ")),
    };
    and_said(failure, &more)
}

fn and_said(failure: Failure, more: &str) -> Failure {
    match failure {
        Failure::Refused(said) => Failure::Refused(format!("{said} {more}")),
        Failure::Usage(said) => Failure::Usage(format!("{said} {more}")),
        Failure::Unavailable(said) => Failure::Unavailable(format!("{said} {more}")),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let whole = std::path::absolute(path).map_err(|error| Failure::Usage(format!("{path:?}: {error}.")))?;
    let (Some(folder), Some(name)) = (whole.parent(), whole.file_name().and_then(|name| name.to_str()))
    else {
        return Err(Failure::Usage(format!("{path:?} cannot be the name of a file.")));
    };
    create_new_durable(folder, name, bytes).map_err(|error| Failure::Refused(sentence(&error)))
}
