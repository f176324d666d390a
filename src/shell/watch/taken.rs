//! A file taken out of the spool, until it is removed or put back.
//!
//! Owns the last step of sealing. Must never unlink a file whose lease was broken or that changed (invariant 6).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use crate::shell::sys::lease;

use super::aside::{remove_dir, rename, sync, unlink};
use super::entry::{Facts, look};

/// A plain file in `.taking/`, with a read lease held until this value is dropped.
///
/// Dropped without [`Taken::remove`] or [`Taken::put_back`] it stays in `.taking/`, where the next start finds it.
pub struct Taken {
    file: File,
    facts: Facts,
    original_name: OsString,
    folder: OwnedFd,
    taking: OwnedFd,
    slot: String,
    slot_folder: OwnedFd,
}

/// Why a taken file was not removed.
#[derive(Debug, thiserror::Error)]
pub enum Kept {
    /// Somebody changed it, or began to.
    #[error("the file changed while it was sealed; it will be sealed again")]
    Changed,
    /// The file system failed.
    #[error("the spool folder cannot be used; check its disk and its rights")]
    Disk(#[source] io::Error),
}

impl From<rustix::io::Errno> for Kept {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Disk(errno.into())
    }
}

impl Taken {
    pub(super) fn new(
        file: File,
        facts: Facts,
        original_name: OsString,
        folder: OwnedFd,
        taking: OwnedFd,
        slot: String,
        slot_folder: OwnedFd,
    ) -> Self {
        Self { file, facts, original_name, folder, taking, slot, slot_folder }
    }

    /// The content. Its position is at the start when taken.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What the file was when it was taken.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The name it had in the spool. It may name a person: for the detail and the trailer only.
    pub fn original_name(&self) -> &OsStr {
        &self.original_name
    }

    /// Whether nobody wrote or began to write since it was taken.
    pub fn unchanged(&self) -> io::Result<bool> {
        let still = match look(&self.slot_folder, &self.original_name) {
            Ok((_, facts)) => facts == self.facts,
            Err(super::SpoolError::Disk(error)) => return Err(error),
            Err(_) => false,
        };
        // The lease last: it covers the time up to this call.
        Ok(still && lease::holds_read_lease(&self.file)?)
    }

    /// Removes the file for good, durably. Only to be called once its sealed copy was read back and its entry is
    /// durable (invariant 6).
    pub fn remove(&self) -> Result<(), Kept> {
        if !self.unchanged().map_err(Kept::Disk)? {
            return Err(Kept::Changed);
        }
        unlink(&self.slot_folder, &self.original_name)?;
        sync(&self.slot_folder)?;
        remove_dir(&self.taking, OsStr::new(&self.slot))?;
        sync(&self.taking)?;
        Ok(sync(&self.folder)?)
    }

    /// Gives the file back to the spool under its name, where it is announced anew.
    ///
    /// Error `AlreadyExists`: the recorder has made another of that name; this one stays in `.taking/`.
    pub fn put_back(self) -> io::Result<()> {
        let name = &self.original_name;
        rename(&self.slot_folder, name, &self.folder, name)?;
        sync(&self.folder)?;
        remove_dir(&self.taking, OsStr::new(&self.slot))?;
        Ok(sync(&self.taking)?)
    }
}
