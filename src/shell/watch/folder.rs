//! The folders of the spool, reached by descriptors only.
//!
//! Owns looking, taking and refusing. Every step names one entry of an open directory, and checks by device and inode
//! that what was moved is what was looked at; so a writer who swaps files gains nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::core::ids::SourceId;

use super::aside::{self, Leftover, move_aside, ours, sync};
use super::entry::{Facts, Oddity, look, names, oddity, open_folder, open_leased};
use super::taken::Taken;

/// Where files stand while they are sealed.
const TAKING: &str = ".taking";
/// Where odd things are put aside.
const REFUSED: &str = ".refused";
/// How many names one [`Scan`] gives; the rest comes with the next.
const MAX_SCAN: usize = 65_536;

/// The spool directory, open. Cheap to clone.
#[derive(Clone)]
pub struct Spool(Arc<OwnedFd>);

/// Why something in the spool was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It is not there any more, or was swapped for something else while it was taken.
    #[error("the file is gone from the spool")]
    Gone,
    /// Somebody has it open for writing. It will be announced again when it is closed.
    #[error("the file is still open for writing")]
    StillWriting,
    /// It is no recording: [`Spool::refuse`] puts it aside.
    #[error("a {} is no recording", .0.as_str())]
    Odd(Oddity),
    /// A name with a leading dot, or no name at all.
    #[error("names that start with a dot are left alone")]
    Ignored,
    /// `.taking` or `.refused` was made by somebody else.
    #[error(
        "{0} in the spool folder must be a directory of root with mode 0700; remove it, it will be made anew"
    )]
    NotOurs(&'static str),
    /// The file system failed.
    #[error("the spool folder cannot be used; check its disk and its rights")]
    Disk(#[source] io::Error),
}

impl From<Errno> for SpoolError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::NOENT { Self::Gone } else { Self::Disk(errno.into()) }
    }
}

/// What lies in a source's folder.
#[derive(Debug, Default)]
pub struct Scan {
    /// Names, in no order.
    pub names: Vec<OsString>,
    /// There is more than one scan gives.
    pub more: bool,
}

/// Something put aside.
#[derive(Debug)]
pub struct Refused {
    /// What it was.
    pub oddity: Option<Oddity>,
    /// Its place below `.refused`.
    pub slot: String,
    /// What the file system says of it.
    pub facts: Facts,
}

impl Spool {
    /// Opens the spool directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(Arc::new(rustix::fs::open(path, flags, Mode::empty())?)))
    }

    /// Takes one file out of the writers' reach: a read lease, then a rename into `.taking/`.
    pub fn take(&self, source: &SourceId, name: &OsStr) -> Result<Taken, SpoolError> {
        check_name(name)?;
        let folder = self.folder(source)?;
        let (file, facts) = open_leased(&folder, name)?;
        let taking = ours(&folder, TAKING)?;
        let (slot, slot_folder) = move_aside(&folder, name, &taking, &facts)?;
        Ok(Taken::new(file, facts, name.to_owned(), folder, taking, slot, slot_folder))
    }

    /// Takes up a file that a crash left in `.taking`.
    pub fn resume(&self, source: &SourceId, leftover: &Leftover) -> Result<Taken, SpoolError> {
        let folder = self.folder(source)?;
        let taking = ours(&folder, TAKING)?;
        let slot_folder = open_folder(&taking, &leftover.slot)?;
        let (file, facts) = open_leased(&slot_folder, &leftover.original_name)?;
        let slot = leftover.slot.to_str().ok_or(SpoolError::Gone)?.to_owned();
        Ok(Taken::new(file, facts, leftover.original_name.clone(), folder, taking, slot, slot_folder))
    }

    /// Puts one entry aside into `.refused/`, whatever it is, without opening or following it.
    pub fn refuse(&self, source: &SourceId, name: &OsStr) -> Result<Refused, SpoolError> {
        check_name(name)?;
        let folder = self.folder(source)?;
        let (stat, facts) = look(&folder, name)?;
        let refused = ours(&folder, REFUSED)?;
        let (slot, slot_folder) = move_aside(&folder, name, &refused, &facts)?;
        sync(&slot_folder)?;
        sync(&refused)?;
        sync(&folder)?;
        Ok(Refused { oddity: oddity(&stat), slot, facts })
    }

    /// Lists what lies in a source's folder, for the start and after an overflow.
    pub fn scan(&self, source: &SourceId) -> Result<Scan, SpoolError> {
        let mut scan = Scan::default();
        for name in names(&self.folder(source)?)? {
            let name = name?;
            if check_name(&name).is_err() {
                continue;
            }
            if scan.names.len() >= MAX_SCAN {
                scan.more = true;
                break;
            }
            scan.names.push(name);
        }
        Ok(scan)
    }

    /// Gives name and facts of all that lies in a source's folder to `each`, however much it is, until `each` says that it is
    /// enough. What goes meanwhile is left out.
    pub fn look_through(
        &self,
        source: &SourceId,
        mut each: impl FnMut(OsString, Facts) -> ControlFlow<()>,
    ) -> Result<(), SpoolError> {
        let folder = self.folder(source)?;
        for name in names(&folder)? {
            let name = name?;
            if check_name(&name).is_err() {
                continue;
            }
            match look(&folder, &name) {
                Ok((_, facts)) if each(name, facts).is_break() => break,
                Ok(_) | Err(SpoolError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the slots of `.taking` and `.refused` that a crash left empty. For the start of a source alone: beside others
    /// it could remove a slot that was just made.
    pub fn remove_empty_slots(&self, source: &SourceId) -> Result<(), SpoolError> {
        let folder = self.folder(source)?;
        aside::remove_empty(&ours(&folder, TAKING)?)?;
        aside::remove_empty(&ours(&folder, REFUSED)?)
    }

    /// Lists what stands in `.taking`.
    pub fn leftovers(&self, source: &SourceId) -> Result<Vec<Leftover>, SpoolError> {
        aside::list(&ours(&self.folder(source)?, TAKING)?)
    }

    /// Lists what stands in `.refused`.
    pub fn refused(&self, source: &SourceId) -> Result<Vec<Leftover>, SpoolError> {
        aside::list(&ours(&self.folder(source)?, REFUSED)?)
    }

    /// Removes one entry of `.refused` for good, durably, with all that is in it.
    pub fn clear_refused(&self, source: &SourceId, refused: &Leftover) -> Result<(), SpoolError> {
        aside::clear(&ours(&self.folder(source)?, REFUSED)?, &refused.slot)
    }

    /// Whether `name` was just made and holds nothing: its end of writing is still to come.
    pub(super) fn is_new_and_empty(&self, source: &SourceId, name: &OsStr) -> bool {
        let seen = self.folder(source).and_then(|folder| look(&folder, name));
        seen.is_ok_and(|(stat, facts)| oddity(&stat).is_none() && facts.size_bytes == 0)
    }

    /// The folder of one source.
    pub(super) fn folder(&self, source: &SourceId) -> Result<OwnedFd, SpoolError> {
        open_folder(&*self.0, OsStr::new(source.as_str()))
    }

    /// Makes `.taking` and `.refused` where they are missing, before a writer can.
    pub(super) fn claim(&self, source: &SourceId) -> Result<OwnedFd, SpoolError> {
        let folder = self.folder(source)?;
        ours(&folder, TAKING)?;
        ours(&folder, REFUSED)?;
        Ok(folder)
    }
}

/// Makes the folder of a source: `root:<writer's group>` 1730, so that its writer can leave files and list none. With no
/// group, root alone writes there. A folder that is there keeps its content and gets owner and mode again.
pub fn make_folder(spool: &Path, source: &SourceId, group: Option<u32>) -> io::Result<()> {
    let path = spool.join(source.as_str());
    match std::fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&path, flags, Mode::empty())?;
    let gid = rustix::fs::Gid::from_raw(group.unwrap_or(0));
    rustix::fs::fchown(&folder, Some(rustix::fs::Uid::ROOT), Some(gid))?;
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o1730))?;
    Ok(())
}

fn check_name(name: &OsStr) -> Result<(), SpoolError> {
    let bytes = name.as_bytes();
    let ignored = bytes.is_empty() || bytes.starts_with(b".") || bytes.contains(&b'/');
    if ignored { Err(SpoolError::Ignored) } else { Ok(()) }
}
