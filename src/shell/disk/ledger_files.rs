//! The files of the ledger: write-once files (bundles, tiles, details, checkpoints) and the tail.
//!
//! Owns their system calls, in order. Must never rewrite a byte that was acknowledged (invariant 4), nor go on with a
//! tail whose write or sync failed: Linux may call lost pages clean, so a [`TailFile`] that failed once refuses all else.
//!
//! Tail append, the commit point of everything: `pwrite` · `fdatasync`. New tail: `open(tail.new)` · `pwrite` · `fsync` ·
//! drop cache, read back, compare · `rename(tail)` · `fsync(ledger/)`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::durable;

/// The folder `ledger/`. Clones name the same folder.
#[derive(Debug, Clone)]
pub struct LedgerDir {
    path: PathBuf,
    faults: Faults,
}

/// Tail space is prepared in steps of this many bytes, so that a commit need not change the file's metadata.
const PREPARE_BYTES: u64 = 1 << 20;
/// No tail grows beyond this: 256 entries with the longest details stay far below.
const MAX_TAIL_BYTES: u64 = 4 << 30;

impl LedgerDir {
    /// The folder at `path`, which exists.
    pub fn new(path: PathBuf) -> Self {
        Self { path, faults: Faults::default() }
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
        let path = self.path(name);
        if let Some(present) = read_bounded(&path, bytes.len() as u64 + 1)? {
            if present == bytes {
                return Ok(());
            }
            let message = format!("{} is there with other content", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.faults.before_file()?;
        write_below(&self.path, name, bytes)
    }

    /// Replaces a file, or makes it: durable when this returns. Only for what no acknowledged entry rests on.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.faults.before_file()?;
        write_below(&self.path, name, bytes)
    }

    /// Gives a file the name of another in the same folder, whose place it takes. `false` when there is no such file.
    pub fn rename_over(&self, from: &str, to: &str) -> io::Result<bool> {
        let (from, to) = (self.path(from), self.path(to));
        if !from.try_exists()? {
            return Ok(false);
        }
        self.faults.before_file()?;
        std::fs::rename(&from, &to)?;
        sync_parent(&to)?;
        Ok(true)
    }

    /// Removes a file, durably. `false` when there is none.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let path = self.path(name);
        if !path.try_exists()? {
            return Ok(false);
        }
        self.faults.before_file()?;
        std::fs::remove_file(&path)?;
        sync_parent(&path)?;
        Ok(true)
    }

    /// The first `bytes` bytes of the tail, fewer when it is shorter; `None` when there is no tail.
    pub fn read_tail_header(&self, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.path("tail")) {
            Ok(file) => {
                let mut header = Vec::new();
                file.take(bytes).read_to_end(&mut header)?;
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

    /// Puts a new tail in the place of the old one and opens it for appending after `content`.
    pub fn replace_tail(&self, content: &[u8]) -> io::Result<TailFile> {
        self.faults.before_file()?;
        let staged = self.path("tail.new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staged)?;
        let mut tail = TailFile { file, end: 0, prepared: 0, failed: false, faults: self.faults.clone() };
        tail.prepare(content.len() as u64)?;
        tail.file.write_all_at(content, 0)?;
        tail.file.sync_all()?;
        read_back(&tail.file, content)?;
        std::fs::rename(&staged, self.path("tail"))?;
        durable::sync_dir(&self.path).map_err(io::Error::other)?;
        tail.end = content.len() as u64;
        Ok(tail)
    }

    /// Opens the tail for appending at `end`, after recovery has found nothing behind it.
    pub fn open_tail(&self, end: u64) -> io::Result<TailFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.path("tail"))?;
        let prepared = file.metadata()?.len();
        Ok(TailFile { file, end, prepared, failed: false, faults: self.faults.clone() })
    }
}

/// Writes `name` below `root`, making its folders: each one durable in its parent before the next.
fn write_below(root: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    let mut folder = root.to_owned();
    for step in folders.split('/').filter(|step| !step.is_empty()) {
        folder = durable::make_dir(&folder, step).map_err(io::Error::other)?;
    }
    durable::write_file_atomic(&folder, file, bytes).map_err(io::Error::other)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    durable::sync_dir(parent).map_err(io::Error::other)
}

/// The tail, open for appending.
#[derive(Debug)]
pub struct TailFile {
    file: File,
    end: u64,
    prepared: u64,
    failed: bool,
    faults: Faults,
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
        self.faults.before_write()?;
        if self.prepare(frames.len() as u64)? {
            self.file.sync_all()?;
        }
        self.file.write_all_at(frames, self.end)?;
        self.faults.before_sync()?;
        self.file.sync_data()?;
        self.end += frames.len() as u64;
        self.failed = false;
        Ok(())
    }

    /// Makes room for `bytes` more: allocated and written with zeros, so that `fdatasync` has no metadata to write. Tells
    /// whether the file grew, which has to be synced.
    fn prepare(&mut self, bytes: u64) -> io::Result<bool> {
        let needed = self.end + bytes;
        if needed > MAX_TAIL_BYTES {
            return Err(io::Error::other("the tail would exceed its bound"));
        }
        if needed <= self.prepared {
            return Ok(false);
        }
        let target = needed.div_ceil(PREPARE_BYTES) * PREPARE_BYTES;
        let zeros = vec![0u8; 64 * 1024];
        while self.prepared < target {
            let step = (target - self.prepared).min(zeros.len() as u64);
            let part = zeros.get(..usize::try_from(step).unwrap_or(0)).unwrap_or_default();
            self.file.write_all_at(part, self.prepared)?;
            self.prepared += step;
        }
        Ok(true)
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

/// Faults by call count, in tests only: 0 lets every call pass, N lets the Nth from now fail, a negative number all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Appends to the tail.
    #[cfg(test)]
    pub(crate) write_in: std::sync::Arc<std::sync::atomic::AtomicI64>,
    /// Syncs of the tail: the commit point.
    #[cfg(test)]
    pub(crate) sync_in: std::sync::Arc<std::sync::atomic::AtomicI64>,
    /// New write-once files and new tails.
    #[cfg(test)]
    pub(crate) file_in: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

#[cfg(not(test))]
impl Faults {
    fn before_write(&self) -> io::Result<()> {
        Ok(())
    }
    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn before_file(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl LedgerDir {
    /// What fails here and in the tails opened from here on or before.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }
}

#[cfg(test)]
impl Faults {
    fn before_write(&self) -> io::Result<()> {
        Self::count(&self.write_in)
    }
    fn before_sync(&self) -> io::Result<()> {
        Self::count(&self.sync_in)
    }
    fn before_file(&self) -> io::Result<()> {
        Self::count(&self.file_in)
    }
    fn count(counter: &std::sync::atomic::AtomicI64) -> io::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        let left = counter.load(SeqCst);
        if left > 0 {
            counter.fetch_sub(1, SeqCst);
        }
        if left < 0 || left == 1 { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}
