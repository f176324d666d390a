//! The catalogue: a disposable index of the archive, in sled. The ledger is the truth (invariant 5).
//!
//! Owns rows, their order, and the position in the ledger that they reflect; one batch changes all of it at once.
//! Must never be asked for a key, a grant, a hold's ground or a decision, and never be what a purge relies on. Whatever
//! sled does wrong on a damaged file (an error, a panic) becomes a [`CatalogueError`]: the index is deleted and built
//! again from the ledger (invariant 10).

mod key;
mod row;
mod search;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use std::{fs, io, thread};

use crate::core::ids::RecordingId;
use key::{HELD, ORDER, POSITION};

pub use key::{Cursor, CursorError};
pub use row::{Change, Page, Query, Row};

/// What keys and values mean. A catalogue of another format is built again, so it needs no migration.
const FORMAT: u8 = 1;
/// sled's cache. Its default of 1 GiB would be most of a small machine.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// The same while a catalogue is made: ids lie all over the tree, and what falls out of the cache is read again.
const MAKING_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// After SIGKILL the kernel may hold the old process's lock for a moment.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// How far into the ledger a catalogue reaches: number of entries, and the root of the tree over them.
pub type Position = (u64, [u8; 32]);

/// The catalogue cannot be used. Except for `Locked` and `Io`: delete it and build it again.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Another process has it open.
    #[error("the catalogue {0} is locked by another process; end that process first")]
    Locked(PathBuf),
    /// The folder itself cannot be made or removed.
    #[error(
        "the folder of the catalogue, {path}, cannot be made anew; check the file system and its free space"
    )]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// sled said so.
    #[error("the catalogue cannot be read or written; it has to be rebuilt from the ledger")]
    Engine(#[source] sled::Error),
    /// sled panicked.
    #[error("the catalogue is damaged and stopped its engine ({0}); it has to be rebuilt from the ledger")]
    Panicked(String),
    /// A stored key or value is not one of ours.
    #[error("the catalogue is damaged at key {0}; it has to be rebuilt from the ledger")]
    Damaged(String),
    /// The ledger gives no rows: it cannot be written now, or the service ends.
    #[error("the ledger does not answer, so the catalogue cannot be made from it")]
    LedgerStopped,
    /// It reflects another ledger, or more than this one holds.
    #[error("the catalogue reflects {0} entries that are not those of this ledger; it has to be rebuilt")]
    Elsewhere(u64),
}

/// One recording before and after a batch.
type OldAndNew = (Option<Row>, Option<Row>);

/// An opened catalogue, and what is to be done with it.
#[derive(Debug)]
pub struct Opened {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// The first entry of the ledger that it does not reflect; 0 when it is empty.
    pub replay_from: u64,
    /// Why the old one was thrown away, if it was.
    pub rebuilt: Option<CatalogueError>,
}

/// The index. Calls read and write files: not for the task that answers the bus, nor the one that writes the ledger.
#[derive(Debug)]
pub struct Catalogue {
    db: sled::Db,
    /// An answer is read between two batches, never across one: keys that belong together are seen together.
    between_batches: RwLock<()>,
}

impl Catalogue {
    /// Opens the catalogue in `dir`. `fits` is the ledger's word on a position: whether it has that many entries, with
    /// that root. Whoever opens the catalogue before the ledger lets any position pass, and compares it afterwards.
    ///
    /// A catalogue that is damaged, or that does not fit, is deleted; the new one is empty.
    ///
    /// # Errors
    /// `Locked` after two seconds; `Io` or `Engine` when not even an empty one can be made.
    pub fn open(dir: &Path, fits: impl FnOnce(Position) -> bool) -> Result<Opened, CatalogueError> {
        match Self::open_at_position(dir, fits) {
            Ok((catalogue, replay_from)) => Ok(Opened { catalogue, replay_from, rebuilt: None }),
            Err(locked @ CatalogueError::Locked(_)) => Err(locked),
            Err(why) => {
                Ok(Opened { catalogue: Self::destroy_and_recreate(dir)?, replay_from: 0, rebuilt: Some(why) })
            }
        }
    }

    /// Opens the catalogue in `dir` as it is, with the place that it says it stands at, for the ledger to say whether it knows
    /// that place. `None`: it stands nowhere, or is damaged; it has to be made anew.
    ///
    /// # Errors
    /// `Locked` after two seconds.
    pub fn open_as_it_is(dir: &Path) -> Result<Option<(Self, Position)>, CatalogueError> {
        let opened =
            Self::open_engine(dir, CACHE_BYTES).and_then(|catalogue| Ok((catalogue.position()?, catalogue)));
        match opened {
            Ok((position, catalogue)) => Ok(position.map(|position| (catalogue, position))),
            Err(locked @ CatalogueError::Locked(_)) => Err(locked),
            Err(why) => {
                log::warn!("the catalogue has to be made anew: {why}");
                Ok(None)
            }
        }
    }

    /// Deletes the folder and makes an empty catalogue in its place. Drop an open [`Catalogue`] of it first.
    ///
    /// # Errors
    /// As [`Catalogue::open`].
    pub fn destroy_and_recreate(dir: &Path) -> Result<Self, CatalogueError> {
        Self::discard(dir)?;
        Self::open_engine(dir, MAKING_CACHE_BYTES)
    }

    /// The position of the last batch; `None` when there was none.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt.
    pub fn position(&self) -> Result<Option<Position>, CatalogueError> {
        let Some(stored) = guarded(|| self.db.get(POSITION))? else { return Ok(None) };
        let position = stored.strip_prefix(&[FORMAT]).and_then(<[u8]>::split_first_chunk::<8>);
        let (size, root) = position.ok_or_else(|| damaged(POSITION))?;
        let root = root.try_into().map_err(|_| damaged(POSITION))?;
        Ok(Some((u64::from_be_bytes(*size), root)))
    }

    /// Applies a batch and its position, all or nothing.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt; the batch may or may not be in it.
    pub fn apply(&self, batch: &[Change], position: Position) -> Result<(), CatalogueError> {
        let _alone = self.between_batches.write().unwrap_or_else(PoisonError::into_inner);
        let mut writes = sled::Batch::default();
        let mut longest: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (id, (old, new)) in self.rows_touched(batch)? {
            if let Some(old) = old {
                writes.remove(key::row_key(id));
                writes.remove(old.key());
                writes.remove(key::in_table(HELD, &old.key()));
            }
            if let Some(new) = new {
                insert_row(&mut writes, &new, &mut longest);
            }
        }
        self.finish(writes, &longest, position)
    }

    fn finish(
        &self,
        mut writes: sled::Batch,
        longest: &BTreeMap<Vec<u8>, u64>,
        position: Position,
    ) -> Result<(), CatalogueError> {
        for (lane, length) in longest {
            if *length > self.longest_micros(lane)? {
                writes.insert(key::longest_key(lane), &length.to_be_bytes());
            }
        }
        let (size, root) = position;
        writes.insert(POSITION, [&[FORMAT], size.to_be_bytes().as_slice(), &root].concat());
        guarded(|| self.db.apply_batch(writes))
    }

    /// Puts rows into a catalogue that is being made: of recordings that it does not have, or has with the same start, source
    /// and kind, which never change. So nothing is read first, and many rows take little time.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt.
    pub fn add_new(&self, rows: &[Row], position: Position) -> Result<(), CatalogueError> {
        let _alone = self.between_batches.write().unwrap_or_else(PoisonError::into_inner);
        let mut writes = sled::Batch::default();
        let mut longest = BTreeMap::new();
        for row in rows {
            insert_row(&mut writes, row, &mut longest);
        }
        self.finish(writes, &longest, position)
    }

    /// Where a catalogue is made that will take the place of the one in `dir`.
    pub fn beside(dir: &Path) -> PathBuf {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        dir.with_file_name(name)
    }

    /// Removes the folder of a catalogue that nobody has open.
    ///
    /// # Errors
    /// `Io`.
    pub fn discard(dir: &Path) -> Result<(), CatalogueError> {
        match fs::remove_dir_all(dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CatalogueError::Io { path: dir.to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    /// Puts the catalogue made in `beside` into the place of the one in `dir`, and opens it. Neither must be open.
    ///
    /// # Errors
    /// As [`Catalogue::open`]; `Elsewhere` when what was made is not at `position`.
    pub fn replace_by(dir: &Path, beside: &Path, position: Position) -> Result<Self, CatalogueError> {
        Self::discard(dir)?;
        fs::rename(beside, dir).map_err(|source| CatalogueError::Io { path: beside.to_owned(), source })?;
        Self::open_at(dir, position)
    }

    /// Opens the catalogue in `dir`, which must be at `position`.
    ///
    /// # Errors
    /// As [`Catalogue::open`]; `Elsewhere` when it is not.
    pub fn open_at(dir: &Path, position: Position) -> Result<Self, CatalogueError> {
        let (catalogue, _) = Self::open_at_position(dir, |found| found == position)?;
        Ok(catalogue)
    }

    /// One row.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt.
    pub fn get(&self, id: RecordingId) -> Result<Option<Row>, CatalogueError> {
        let _between_batches = self.reading();
        self.find(id)
    }

    /// Every row, ordered by source, kind, start, id. After an error there is nothing more.
    pub fn all(&self) -> impl Iterator<Item = Result<Row, CatalogueError>> + '_ {
        let mut rows = Some(self.db.scan_prefix([ORDER]));
        std::iter::from_fn(move || {
            let next = guarded(|| rows.as_mut().and_then(Iterator::next).transpose());
            let parse = |(key, value): (sled::IVec, sled::IVec)| {
                Row::from_stored(&key, &value).ok_or_else(|| damaged(&key))
            };
            let row = next.and_then(|pair| pair.map(parse).transpose());
            if row.is_err() {
                rows = None;
            }
            row.transpose()
        })
    }

    /// Removes every row and the position.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt.
    pub fn clear(&self) -> Result<(), CatalogueError> {
        let _alone = self.between_batches.write().unwrap_or_else(PoisonError::into_inner);
        // Position first: what a crash leaves of the rest then counts as damage, not as an index.
        guarded(|| self.db.remove(POSITION))?;
        guarded(|| self.db.clear())
    }

    /// Hands everything to the file system, so that the next start has less to replay. Promises nothing about a power
    /// cut: the position tells what is there.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt.
    pub fn flush(&self) -> Result<(), CatalogueError> {
        guarded(|| self.db.flush()).map(|_bytes| ())
    }

    /// Opens what is there and asks the ledger whether it fits.
    fn open_at_position(
        dir: &Path,
        fits: impl FnOnce(Position) -> bool,
    ) -> Result<(Self, u64), CatalogueError> {
        let catalogue = Self::open_engine(dir, CACHE_BYTES)?;
        match catalogue.position()? {
            Some(position) if fits(position) => Ok((catalogue, position.0)),
            Some((size, _)) => Err(CatalogueError::Elsewhere(size)),
            None if catalogue.is_empty()? => Ok((catalogue, 0)),
            None => Err(damaged(POSITION)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "bounded wait for a lock, at start, on its own thread")]
    fn open_engine(dir: &Path, cache_bytes: u64) -> Result<Self, CatalogueError> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        for _ in 0..LOCK_TRIES {
            match guarded(|| config.open()) {
                Err(CatalogueError::Engine(error)) if is_lock(&error) => thread::sleep(LOCK_WAIT),
                other => return other.map(|db| Self { db, between_batches: RwLock::new(()) }),
            }
        }
        Err(CatalogueError::Locked(dir.to_owned()))
    }

    /// Old and new row of every recording that the batch touches; later changes see earlier ones.
    fn rows_touched(&self, batch: &[Change]) -> Result<BTreeMap<RecordingId, OldAndNew>, CatalogueError> {
        let mut touched = BTreeMap::new();
        for change in batch {
            let id = match change {
                Change::Put(row) => row.id,
                Change::Remove(id) | Change::SetHeld(id, _) => *id,
            };
            let (_, new) = match touched.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let old = self.find(id)?;
                    unknown.insert((old.clone(), old))
                }
            };
            match change {
                Change::Put(row) => *new = Some(row.clone()),
                Change::Remove(_) => *new = None,
                Change::SetHeld(_, held) => new.iter_mut().for_each(|row| row.held = *held),
            }
        }
        Ok(touched)
    }

    fn find(&self, id: RecordingId) -> Result<Option<Row>, CatalogueError> {
        let key = key::row_key(id);
        let Some(place) = guarded(|| self.db.get(&key))? else { return Ok(None) };
        let row = self.row_at(&[&[ORDER], place.as_ref()].concat())?;
        if row.id == id { Ok(Some(row)) } else { Err(damaged(&key)) }
    }

    /// The row that another key says is there: if it is not, that is damage.
    fn row_at(&self, key: &[u8]) -> Result<Row, CatalogueError> {
        let value = guarded(|| self.db.get(key))?.ok_or_else(|| damaged(key))?;
        Row::from_stored(key, &value).ok_or_else(|| damaged(key))
    }

    fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.between_batches.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> Result<bool, CatalogueError> {
        Ok(guarded(|| self.db.first())?.is_none())
    }

    /// The longest recording ever in `lane`: how far before an instant one that reaches it can start.
    fn longest_micros(&self, lane: &[u8]) -> Result<u64, CatalogueError> {
        let key = key::longest_key(lane);
        let Some(stored) = guarded(|| self.db.get(&key))? else { return Ok(0) };
        let bytes = stored.as_ref().try_into().map_err(|_| damaged(&key))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

fn insert_row(writes: &mut sled::Batch, row: &Row, longest: &mut BTreeMap<Vec<u8>, u64>) {
    let key = row.key();
    writes.insert(key::row_key(row.id), key.get(1..).unwrap_or_default());
    if row.held {
        writes.insert(key::in_table(HELD, &key), &[]);
    }
    writes.insert(key, row.to_value());
    let length = u64::try_from(row.end.micros_since(row.start)).unwrap_or(0);
    let known = longest.entry(key::lane(&row.source, row.kind)).or_default();
    *known = length.max(*known);
}

fn damaged(key: &[u8]) -> CatalogueError {
    CatalogueError::Damaged(data_encoding::HEXLOWER.encode(key))
}

/// sled has no error of its own for a lock that is taken.
fn is_lock(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Calls sled and turns its panics, which damaged files can cause, into errors. After one the caller rebuilds, so no
/// state that the panic may have left half done is used again.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, CatalogueError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(CatalogueError::Engine),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(CatalogueError::Panicked(text.chars().take(200).filter(|c| !c.is_control()).collect()))
        }
    }
}

#[cfg(test)]
mod tests;
