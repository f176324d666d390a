//! A published directory: what stands in it, and how files come into it.
//!
//! Owns its files, which everybody may read. Must never change a byte below a head that was published, and must never
//! work in a directory that is not one of this ledger.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::hash::leaf_hash;
use crate::core::ledger::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::core::ledger::tile::{self, FULL_U64, MAX_BUNDLE_BYTES};
use crate::ctl::replace::{Sync, folders, lock, read, replace};
use crate::ctl::tree::{Place, WriteError};

/// The one temporary file, at the top of the directory.
const TEMPORARY: &str = ".greffier-publish.new";
/// What no published directory holds: personal parts, keys, and the tail, which is the ledger's own.
const PRIVATE: [&str; 4] = ["details", "details.jsonl", "keys", "tail"];

/// Why nothing is published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file cannot be read or written, or is not what it must be.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Another `publish` is at work.
    #[error("another greffierctl works on {0}; wait for it")]
    Busy(PathBuf),
    /// A directory with other things.
    #[error("{0} is neither empty nor a published ledger; name another directory")]
    NotPublished(PathBuf),
    /// It would be shown to everybody.
    #[error("{0} holds {1}, which must never be published; name another directory")]
    Private(PathBuf, &'static str),
    /// The directory of another ledger.
    #[error("{dir} is the published ledger of {found}, not of {own}; name another directory")]
    OtherLedger {
        /// The directory.
        dir: PathBuf,
        /// The vkey that stands there.
        found: String,
        /// The vkey of the service.
        own: String,
    },
    /// The head in the directory is not one that this ledger signed.
    #[error(
        "{0}/checkpoint is not a checkpoint of this ledger ({1}); find out who wrote it, and publish elsewhere"
    )]
    Head(PathBuf, String),
    /// The ledger is behind what was published.
    #[error(
        "{dir} publishes {published} entries and the ledger has {now}: it was put back to an earlier state, or \
         another greffierd has the same key. Nothing was changed; compare with: greffier-verify ledger"
    )]
    Larger {
        /// The directory.
        dir: PathBuf,
        /// Entries published.
        published: u64,
        /// Entries in the ledger.
        now: u64,
    },
    /// The ledger is beside what was published.
    #[error(
        "the ledger does not go on from the {published} entries that {dir} publishes: two ledgers were signed with one \
         key. Nothing that was published is changed; keep both, and compare with: greffier-verify ledger"
    )]
    Fork {
        /// The directory.
        dir: PathBuf,
        /// Entries published.
        published: u64,
    },
    /// A file of cosignatures that does not belong here.
    #[error("{0}")]
    Cosigned(String),
}

/// The directory, locked.
#[derive(Debug)]
pub struct Published {
    dir: PathBuf,
    _lock: File,
    head: Option<(String, Checkpoint)>,
    added: u64,
}

impl Published {
    /// Takes the directory of the ledger of `key`, or makes it. Its parent must be there.
    pub fn open(dir: &Path, key: &VerifierKey) -> Result<Self, PublishError> {
        let io = |error| WriteError::Io(dir.to_owned(), error);
        match DirBuilder::new().mode(0o755).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Whatever the umask of the caller is.
            made => {
                made.and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o755))).map_err(io)?
            }
        }
        let lock = lock(dir).map_err(io)?.ok_or_else(|| PublishError::Busy(dir.to_owned()))?;
        let mut this = Self { dir: dir.to_owned(), _lock: lock, head: None, added: 0 };
        this.check_names()?;
        let own = key.to_string();
        match this.text("vkey")? {
            Some(found) if found.trim_end() == own => {}
            Some(found) => {
                let found = found.trim_end().to_owned();
                return Err(PublishError::OtherLedger { dir: dir.to_owned(), found, own });
            }
            // First of all, so that a run that does not end is known for what it is.
            None => this.replace("vkey", format!("{own}\n").as_bytes(), Sync::Now)?,
        }
        this.head = this.read_head(key)?;
        Ok(this)
    }

    /// The head that is published.
    pub fn head(&self) -> Option<&(String, Checkpoint)> {
        self.head.as_ref()
    }
    /// How many entries the published head has.
    pub fn covered(&self) -> u64 {
        self.head.as_ref().map_or(0, |(_, checkpoint)| checkpoint.size)
    }
    /// How many files were written.
    pub fn added(&self) -> u64 {
        self.added
    }
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The published entries of the bundle that begins with `first`, where bundle and tile agree. Otherwise they must
    /// come from the ledger again, and what differs will show.
    pub fn entries(&self, first: u64) -> Option<Vec<String>> {
        let covered = self.covered();
        if first >= covered {
            return None;
        }
        let n = first / FULL_U64;
        let is_last = n == covered / FULL_U64;
        let width = if is_last { tile::partial_width(0, covered) } else { None };
        let file = |name: String, max| read(&self.dir.join(name), max).ok().flatten();
        let bundle = file(tile::entries_path(n, width), MAX_BUNDLE_BYTES)?;
        let hashes = tile::parse_tile(&file(tile::tile_path(0, n, width), tile::FULL * 32)?).ok()?;
        let lines = tile::parse_bundle(&bundle).ok()?;
        let agree = lines.len() == hashes.len() && lines.iter().map(|line| leaf_hash(line)).eq(hashes);
        let whole = lines.len() == width.map_or(tile::FULL, usize::from);
        if !agree || !whole {
            return None;
        }
        lines.into_iter().map(|line| String::from_utf8(line.to_vec()).ok()).collect()
    }

    /// Makes durable what was put, then publishes the head: the last step of a publication.
    pub fn publish_head(&mut self, text: &str) -> Result<(), WriteError> {
        let io = |error| WriteError::Io(self.dir.clone(), error);
        let dir = File::open(&self.dir).map_err(io)?;
        // One sync of the file system instead of one a file: the first publication may have thousands.
        rustix::fs::syncfs(&dir).map_err(|errno| io(errno.into()))?;
        self.replace("checkpoint", text.as_bytes(), Sync::Now)
    }

    /// Names in the directory that forbid to publish into it.
    fn check_names(&self) -> Result<(), PublishError> {
        let io = |error| WriteError::Io(self.dir.clone(), error);
        let mut ours = false;
        let mut others = false;
        for entry in fs::read_dir(&self.dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if let Some(private) = PRIVATE.into_iter().find(|private| name == *private) {
                return Err(PublishError::Private(self.dir.clone(), private));
            }
            match name.to_str() {
                Some("vkey") => ours = true,
                Some(TEMPORARY) => {}
                _ => others = true,
            }
        }
        if others && !ours { Err(PublishError::NotPublished(self.dir.clone())) } else { Ok(()) }
    }

    fn read_head(&self, key: &VerifierKey) -> Result<Option<(String, Checkpoint)>, PublishError> {
        let Some(text) = self.text("checkpoint")? else { return Ok(None) };
        let bad = |why: String| PublishError::Head(self.dir.clone(), why);
        let (checkpoint, note) = SignedCheckpoint::read(&text).map_err(|error| bad(error.to_string()))?;
        note.verify(key).map_err(|error| bad(error.to_string()))?;
        if checkpoint.origin != key.name() {
            return Err(bad(format!("it is of {}", checkpoint.origin)));
        }
        Ok(Some((text, checkpoint)))
    }

    fn text(&self, name: &str) -> Result<Option<String>, WriteError> {
        let path = self.dir.join(name);
        let text = read(&path, MAX_NOTE_BYTES).and_then(|bytes| {
            bytes.map(String::from_utf8).transpose().map_err(|_| io::Error::other("it is not text"))
        });
        text.map_err(|error| WriteError::Io(path, error))
    }

    fn replace(&mut self, name: &str, bytes: &[u8], sync: Sync) -> Result<(), WriteError> {
        let path = self.dir.join(name);
        let below = Path::new(name).parent().unwrap_or(Path::new(""));
        folders(&self.dir, below)
            .and_then(|()| replace(&self.dir.join(TEMPORARY), &path, bytes, sync))
            .map_err(|error| WriteError::Io(path, error))?;
        self.added += 1;
        Ok(())
    }
}

impl Place for Published {
    /// A file that is there stays, if it is right. A wrong one is written over only where no head published it: a run that
    /// was cut off may have left it.
    fn put(&mut self, name: &str, end: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.dir.join(name);
        let covered = end <= self.covered();
        match read(&path, bytes.len()) {
            Ok(Some(found)) if found == bytes => return Ok(()),
            Ok(Some(_)) if covered => return Err(WriteError::Differs(path)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData && covered => {
                return Err(WriteError::Differs(path));
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(WriteError::Io(path, error));
            }
            _ => {}
        }
        // What is published already must not be half there after a power cut: no later sync would stand between.
        self.replace(name, bytes, if covered { Sync::Now } else { Sync::Later })
    }
}
