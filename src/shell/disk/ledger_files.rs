//! The files of the ledger: write-once files (bundles, tiles, details, checkpoints) and the tail.
//!
//! Owns their system calls, in order. Must never rewrite a byte that was acknowledged (invariant 4), nor go on with a
//! tail whose write or sync failed: Linux may call lost pages clean, so a [`TailFile`] that failed once refuses all else.
//!
//! Tail append, the commit point of everything: `pwrite` · `fdatasync`. New tail: `pwrite(tail.new)` · `fsync` · drop cache,
//! read back, compare · `rename(tail)` · `fsync(ledger/)`; its blocks are prepared before, as a spare one. Write-once files, several
//! together: for each `mkdir`, `pwrite(.name.new)`; for each `fsync`; for each `rename`; for each of their folders `fsync`.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::durable::{self, Staged};
use super::fault::{Op, call, on_file, open, write_at};
use super::reserve;

/// The folder `ledger/`. Clones name the same folder.
#[derive(Debug, Clone)]
pub struct LedgerDir {
    path: PathBuf,
}

/// Tail space is prepared in steps of this many bytes, so that a commit need not change the file's metadata.
const PREPARE_BYTES: u64 = 1 << 20;
/// On a full disk it grows by steps of this many bytes, and each costs a piece of the reserve.
const SMALL_STEP_BYTES: u64 = 64 << 10;
/// No tail grows beyond this: what is kept in one stays far below.
const MAX_TAIL_BYTES: u64 = 4 << 30;
/// The new tail until it has its name.
const STAGED: &str = "tail.new";

impl LedgerDir {
    /// The folder at `path`, which exists.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
    /// Where `name` stands.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The whole file, or `None` when there is none. More than `max_bytes` is an error.
    pub fn read(&self, name: &str, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        read_bounded(&self.path(name), max_bytes)
    }

    /// Makes a file that never changes again. One that is already there must be equal byte for byte.
    pub fn write_once(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_all_once(&[(name.to_owned(), bytes)])
    }

    /// The same for several files, with one sync for each folder. When it fails, any of them may be there, whole.
    pub fn write_all_once<T: AsRef<[u8]>>(&self, files: &[(String, T)]) -> io::Result<()> {
        let bytes = files.iter().map(|(_, bytes)| bytes.as_ref().len() as u64).sum();
        reserve::or_give_up(&self.path, bytes, || self.try_write_all_once(files))
    }

    fn try_write_all_once<T: AsRef<[u8]>>(&self, files: &[(String, T)]) -> io::Result<()> {
        let mut staged = Vec::new();
        let mut folders = BTreeSet::new();
        for (name, bytes) in files {
            let (path, bytes) = (self.path(name), bytes.as_ref());
            if let Some(present) = read_bounded(&path, bytes.len() as u64 + 1)? {
                if present != bytes {
                    let message = format!("{} is there with other content", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                // Whoever wrote it may have ended before its name was durable.
                call(Op::Sync, &path, || File::open(&path).and_then(|file| file.sync_all()))?;
                folders.extend(folders_up_to(&self.path, path.parent()));
                continue;
            }
            call(Op::NewFile, &path, || Ok(()))?;
            let (folder, file) = folder_below(&self.path, name)?;
            staged.push(Staged::write(&folder, file, bytes).map_err(io::Error::other)?);
            folders.extend(folders_up_to(&self.path, Some(&folder)));
        }
        staged.iter().for_each(Staged::begin_sync);
        staged.iter().try_for_each(Staged::sync).map_err(io::Error::other)?;
        staged.into_iter().try_for_each(Staged::into_place).map_err(io::Error::other)?;
        folders.iter().try_for_each(|folder| durable::sync_dir(folder)).map_err(io::Error::other)
    }

    /// Replaces a file, or makes it: durable when this returns. Only for what no acknowledged entry rests on.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        reserve::or_give_up(&self.path, bytes.len() as u64, || {
            let (folder, file) = folder_below(&self.path, name)?;
            durable::write_file_atomic(&folder, file, bytes).map_err(io::Error::other)
        })
    }

    /// Gives a file the name of another in the same folder, whose place it takes. `false` when there is no such file.
    pub fn rename_over(&self, from: &str, to: &str) -> io::Result<bool> {
        let (from, to) = (self.path(from), self.path(to));
        let there = from.try_exists()?;
        if there {
            call(Op::Rename, &to, || std::fs::rename(&from, &to))?;
        }
        // Also when it was there no more: whoever renamed it may have ended before that was durable.
        sync_parent(&to)?;
        Ok(there)
    }

    /// Removes a file, durably. `false` when there is none.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let path = self.path(name);
        let there = path.try_exists()?;
        if there {
            call(Op::Remove, &path, || std::fs::remove_file(&path))?;
        }
        sync_parent(&path)?;
        Ok(there)
    }

    /// The first `bytes` bytes of the tail, fewer when it is shorter; `None` when there is no tail. That this is the tail
    /// is durable when this returns.
    pub fn read_tail_header(&self, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.path("tail")) {
            Ok(file) => {
                let mut header = Vec::new();
                file.take(bytes).read_to_end(&mut header)?;
                durable::sync_dir(&self.path).map_err(io::Error::other)?;
                Ok(Some(header))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a folder below `ledger/`; empty when there is none.
    pub fn list(&self, name: &str) -> io::Result<Vec<String>> {
        match std::fs::read_dir(self.path(name)) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The tail as it stands, or `None` before the first.
    pub fn read_tail(&self) -> io::Result<Option<Vec<u8>>> {
        self.read("tail", MAX_TAIL_BYTES)
    }

    /// Prepares the blocks of a later tail, `bytes` long, so that the change takes little time.
    pub fn spare_tail(&self, bytes: u64) -> io::Result<SpareTail> {
        reserve::or_give_up(&self.path, bytes, || self.try_spare_tail(bytes))
    }

    fn try_spare_tail(&self, bytes: u64) -> io::Result<SpareTail> {
        let path = self.path(STAGED);
        call(Op::NewFile, &path, || Ok(()))?;
        let options =
            || OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let mut tail =
            TailFile { file: open(Op::Open, &path, options)?, path, end: 0, prepared: 0, failed: false };
        tail.prepare(bytes)?;
        on_file(Op::Sync, &tail.path, &tail.file, || tail.file.sync_all())?;
        Ok(SpareTail(tail))
    }

    /// Puts a new tail in the place of the old one and opens it for appending after `content`. `spare` is used if it is large
    /// enough.
    pub fn replace_tail(&self, content: &[u8], spare: Option<SpareTail>) -> io::Result<TailFile> {
        let length = content.len() as u64;
        let spare = match spare.filter(|spare| spare.0.prepared >= length) {
            Some(spare) => spare,
            None => self.spare_tail(length)?,
        };
        let SpareTail(mut tail) = spare;
        write_at(Op::Write, &tail.path, &tail.file, content, 0)?;
        on_file(Op::Sync, &tail.path, &tail.file, || tail.file.sync_all())?;
        call(Op::ReadBack, &tail.path, || read_back(&tail.file, content))?;
        let path = self.path("tail");
        call(Op::Rename, &path, || std::fs::rename(&tail.path, &path))?;
        durable::sync_dir(&self.path).map_err(io::Error::other)?;
        tail.path = path;
        tail.end = length;
        Ok(tail)
    }

    /// Opens the tail for appending at `end`, after recovery has found nothing behind it.
    pub fn open_tail(&self, end: u64) -> io::Result<TailFile> {
        let path = self.path("tail");
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let prepared = file.metadata()?.len();
        Ok(TailFile { file, path, end, prepared, failed: false })
    }
}

/// `folder` and those above it, up to `root`: a crash may have left any of them without a durable name.
fn folders_up_to(root: &Path, folder: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let up = folder.into_iter().flat_map(Path::ancestors).take_while(|it| it.starts_with(root));
    up.map(Path::to_owned).collect::<Vec<_>>().into_iter()
}

/// The folder of `name` below `root`, made if needed, each step durable in its parent before the next; and the file's own name.
fn folder_below<'a>(root: &Path, name: &'a str) -> io::Result<(PathBuf, &'a str)> {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    let mut folder = root.to_owned();
    for step in folders.split('/').filter(|step| !step.is_empty()) {
        let next = folder.join(step);
        folder =
            if next.is_dir() { next } else { durable::make_dir(&folder, step).map_err(io::Error::other)? };
    }
    Ok((folder, file))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.is_dir() => durable::sync_dir(parent).map_err(io::Error::other),
        _ => Ok(()),
    }
}

/// The blocks of a tail to come: allocated, zeroed, synced, and not yet named so.
#[derive(Debug)]
pub struct SpareTail(TailFile);

/// The tail, open for appending.
#[derive(Debug)]
pub struct TailFile {
    file: File,
    path: PathBuf,
    end: u64,
    prepared: u64,
    failed: bool,
}

impl TailFile {
    /// Where the next frame goes, in bytes from the start of the file.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends `frames` and waits until they are on the medium: the commit point.
    pub fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("this tail failed before and is not written again"));
        }
        // Set first: whatever happens below, even a panic, leaves the tail closed.
        self.failed = true;
        if self.prepare(frames.len() as u64)? {
            on_file(Op::Sync, &self.path, &self.file, || self.file.sync_all())?;
        }
        write_at(Op::TailWrite, &self.path, &self.file, frames, self.end)?;
        on_file(Op::TailSync, &self.path, &self.file, || self.file.sync_data())?;
        self.end += frames.len() as u64;
        self.failed = false;
        Ok(())
    }

    /// Makes room for `bytes` more: allocated and written with zeros, so that `fdatasync` has no metadata to write. Tells
    /// whether the file grew, which has to be synced. A full disk gives what it has left, then the reserve.
    fn prepare(&mut self, bytes: u64) -> io::Result<bool> {
        let needed = self.end + bytes;
        if needed > MAX_TAIL_BYTES {
            return Err(io::Error::other("the tail would exceed its bound"));
        }
        if needed <= self.prepared {
            return Ok(false);
        }
        match self.grow(needed.div_ceil(PREPARE_BYTES) * PREPARE_BYTES) {
            Err(error) if reserve::is_full(&error) && needed > self.prepared => {
                let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
                let target = needed.div_ceil(SMALL_STEP_BYTES) * SMALL_STEP_BYTES;
                reserve::or_give_up(&folder, target - self.prepared, || self.grow(target))?;
            }
            Err(error) if reserve::is_full(&error) => {}
            grown => grown?,
        }
        Ok(true)
    }

    fn grow(&mut self, target: u64) -> io::Result<()> {
        let zeros = vec![0u8; 64 * 1024];
        let (file, prepared) = (&self.file, &mut self.prepared);
        let write = || {
            while *prepared < target {
                let step = (target - *prepared).min(zeros.len() as u64);
                let part = zeros.get(..usize::try_from(step).unwrap_or(0)).unwrap_or_default();
                file.write_all_at(part, *prepared)?;
                *prepared += step;
            }
            Ok(())
        };
        on_file(Op::Extend, &self.path, file, write)
    }
}

/// Compares what the medium holds with what was written: the cache is dropped first.
fn read_back(file: &File, content: &[u8]) -> io::Result<()> {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    let mut back = vec![0u8; content.len()];
    file.read_exact_at(&mut back, 0)?;
    if back == content { Ok(()) } else { Err(io::Error::other("the new tail reads back with other content")) }
}

/// The whole file at `path` if it is regular and has at most `max_bytes`; `None` when there is none.
pub fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let message = format!("{} has more than {max_bytes} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(bytes))
}
