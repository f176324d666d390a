//! What stands behind the seam in tests: the folders that are watched, which call fails there and how.
//!
//! Owns counting and failing; the recorder beside it owns what is remembered. Must never touch a folder that nobody
//! watches.

pub(crate) mod image;
pub(crate) mod record;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::Op;
use record::{Change, Recorder};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It does nothing and says EIO.
    Refused,
    /// It does nothing and says ENOSPC.
    Full,
    /// It does its work and says EIO: failed, but persisted.
    DoneButFailed,
    /// A write does half of its work and says ENOSPC; any other call as `Full`.
    Short,
    /// A sync says EIO, and what was written since the last one is gone from the file: failed, and not persisted. Needs
    /// [`Watch::record`]. Any other call as `Refused`.
    Lost,
    /// The process ends before it: it and every later call does nothing.
    DiesBefore,
    /// The process ends after it.
    DiesAfter,
    /// The process ends within it: half of a write.
    DiesWithin,
}

impl Mode {
    /// Whether the process ends with it.
    pub(crate) fn dies(self) -> bool {
        matches!(self, Self::DiesBefore | Self::DiesAfter | Self::DiesWithin)
    }
}

/// What fails below one folder. The three counters: 0 lets every call pass, N lets the Nth from now fail, a negative
/// number all.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Appends to the tail.
    pub(crate) write_in: AtomicI64,
    /// Syncs of the tail: the commit point.
    pub(crate) sync_in: AtomicI64,
    /// New write-once files and new tails.
    pub(crate) file_in: AtomicI64,
    /// The next new file below a folder of this name fails.
    pub(crate) file_below: Mutex<Option<&'static str>>,
    /// System calls so far, of every kind.
    calls: AtomicU64,
    /// The call that fails, by its number from 1, and how.
    planned: Mutex<Option<(u64, Mode)>>,
    /// The Nth call of this kind on a path with this in it, and how it fails.
    planned_on: Mutex<Option<(Op, &'static str, u64, Mode)>>,
    /// Calls below this folder are not counted.
    left_out: Mutex<Option<PathBuf>>,
    dead: AtomicBool,
    met: Mutex<Option<(Op, PathBuf)>>,
    recorder: Mutex<Option<Recorder>>,
}

impl Faults {
    /// The `nth` call from now fails as `mode` says.
    pub(crate) fn plan(&self, nth: u64, mode: Mode) {
        self.calls.store(0, SeqCst);
        *self.met.lock().unwrap() = None;
        *self.planned.lock().unwrap() = Some((nth, mode));
    }
    /// The `nth` call of this kind from now on a path that contains `name` fails as `mode` says.
    pub(crate) fn plan_on(&self, op: Op, name: &'static str, nth: u64, mode: Mode) {
        *self.met.lock().unwrap() = None;
        *self.planned_on.lock().unwrap() = Some((op, name, nth, mode));
    }
    /// Calls below `folder` are not counted: those of a thread that works beside what is tested.
    pub(crate) fn leave_out(&self, folder: PathBuf) {
        *self.left_out.lock().unwrap() = Some(folder);
    }
    /// Nothing fails any more; gives the call that did.
    pub(crate) fn clear(&self) -> Option<(Op, PathBuf)> {
        *self.planned.lock().unwrap() = None;
        *self.planned_on.lock().unwrap() = None;
        self.dead.store(false, SeqCst);
        for counter in [&self.write_in, &self.sync_in, &self.file_in] {
            counter.store(0, SeqCst);
        }
        self.met.lock().unwrap().take()
    }
    /// From now on no call does anything, as after the end of the process.
    pub(crate) fn kill(&self) {
        self.dead.store(true, SeqCst);
    }

    /// From now on every call is remembered, one after the other. What stands in the folder now counts as durable.
    pub(crate) fn record(&self, ignored: &[&str]) {
        let folder = FOLDERS.read().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.iter().find(|(_, faults)| std::ptr::eq(faults.as_ref(), self)).unwrap().0.clone();
        *self.recorder() = Some(Recorder::start(folder, ignored));
    }
    /// How many changes are remembered.
    pub(crate) fn mark(&self) -> usize {
        self.recorder().as_ref().map_or(0, Recorder::mark)
    }
    /// A file that another program made, durably, before this.
    pub(crate) fn import(&self, path: &Path) {
        if let Some(recorder) = self.recorder().as_mut() {
            recorder.import(path);
        }
    }
    /// Everything remembered.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.recorder().as_mut().map(Recorder::take).unwrap_or_default()
    }

    fn recorder(&self) -> MutexGuard<'_, Option<Recorder>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, op: Op) -> bool {
        let counter = match op {
            Op::TailWrite => &self.write_in,
            Op::TailSync => &self.sync_in,
            Op::NewFile => &self.file_in,
            _ => return false,
        };
        let left = counter.load(SeqCst);
        if left > 0 {
            counter.fetch_sub(1, SeqCst);
        }
        left < 0 || left == 1
    }

    fn named(&self, op: Op, path: &Path) -> bool {
        let below = |name: &mut &str| path.components().any(|it| it.as_os_str() == *name);
        op == Op::NewFile && self.file_below.lock().unwrap().take_if(below).is_some()
    }

    fn planned(&self, op: Op, path: &Path) -> Option<Mode> {
        if self.dead.load(SeqCst) {
            return Some(Mode::DiesBefore);
        }
        let left_out = self.left_out.lock().unwrap().as_ref().is_some_and(|it| path.starts_with(it));
        if op == Op::NewFile || left_out {
            return None;
        }
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        let nth = self.planned.lock().unwrap().filter(|(nth, _)| *nth == number).map(|(_, mode)| mode);
        let on = |(planned, name, left, _): &mut (Op, &str, u64, Mode)| {
            let matches = *planned == op && path.to_string_lossy().contains(*name);
            *left -= u64::from(matches);
            matches && *left == 0
        };
        let mode = nth.or_else(|| self.planned_on.lock().unwrap().take_if(on).map(|(.., mode)| mode))?;
        self.met.lock().unwrap().replace((op, path.to_owned()));
        if mode.dies() {
            self.dead.store(true, SeqCst);
        }
        Some(mode)
    }

    fn mode(&self, op: Op, path: &Path) -> Option<Mode> {
        let planned = self.planned(op, path);
        planned.or_else(|| (self.counted(op) || self.named(op, path)).then_some(Mode::Refused))
    }
}

/// Watches a folder until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Faults>);

impl Watch {
    /// For threads that outlive the borrow.
    pub(crate) fn faults(&self) -> Arc<Faults> {
        self.0.clone()
    }
}
impl std::ops::Deref for Watch {
    type Target = Faults;
    fn deref(&self) -> &Faults {
        &self.0
    }
}
impl Drop for Watch {
    fn drop(&mut self) {
        let mut folders = FOLDERS.write().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|(_, faults)| !Arc::ptr_eq(faults, &self.0));
    }
}

static FOLDERS: RwLock<Vec<(PathBuf, Arc<Faults>)>> = RwLock::new(Vec::new());

/// From now on calls on paths below `folder` can fail.
pub(crate) fn watch(folder: &Path) -> Watch {
    let faults = Arc::new(Faults::default());
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    FOLDERS.write().unwrap_or_else(PoisonError::into_inner).push((folder, faults.clone()));
    Watch(faults)
}

fn of(path: &Path) -> Option<Arc<Faults>> {
    let folders = FOLDERS.read().unwrap_or_else(PoisonError::into_inner);
    folders.iter().find(|(folder, _)| path.starts_with(folder)).map(|(_, faults)| faults.clone())
}

fn failed(mode: Mode) -> io::Error {
    let full = matches!(mode, Mode::Short | Mode::Full);
    io::Error::from_raw_os_error(if full { libc::ENOSPC } else { libc::EIO })
}

/// What happens to a call: `run` it, or only `half` of it; `note` remembers what was done.
fn pass<T>(
    op: Op,
    path: &Path,
    run: impl FnOnce() -> io::Result<T>,
    note: impl FnOnce(&mut Recorder, &T),
    half: impl FnOnce(Option<&mut Recorder>),
    lose: impl FnOnce(&mut Recorder),
) -> io::Result<T> {
    let Some(faults) = of(path) else { return run() };
    let mode = faults.mode(op, path);
    // Held while it runs, so that what is remembered stands in the order in which it happened.
    let mut recorder = faults.recorder();
    if recorder.is_none() {
        drop(recorder);
        return match mode {
            None => run(),
            Some(mode) => {
                match mode {
                    Mode::DoneButFailed | Mode::DiesAfter => drop(run()),
                    Mode::Short | Mode::DiesWithin => half(None),
                    _ => {}
                }
                Err(failed(mode))
            }
        };
    }
    let done = |recorder: &mut Option<Recorder>| {
        let done = run();
        if let (Ok(done), Some(recorder)) = (&done, recorder) {
            note(recorder, done);
        }
        done
    };
    match mode {
        None => done(&mut recorder),
        Some(mode) => {
            match mode {
                Mode::DoneButFailed | Mode::DiesAfter => drop(done(&mut recorder)),
                Mode::Short | Mode::DiesWithin => half(recorder.as_mut()),
                Mode::Lost => recorder.as_mut().map_or((), lose),
                _ => {}
            }
            Err(failed(mode))
        }
    }
}

pub(crate) fn call<T>(op: Op, path: &Path, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    pass(op, path, run, |it, _| it.note(op, path), |_| (), |_| ())
}

pub(crate) fn call_at<T>(
    op: Op,
    folder: impl AsFd,
    name: impl AsRef<OsStr>,
    run: impl FnOnce() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let folder = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd())).unwrap();
    let name = name.as_ref();
    let path = if name.is_empty() { folder } else { folder.join(name) };
    call(op, &path, || Ok(run()?))
        .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}

pub(crate) fn on_file<T>(
    op: Op,
    path: &Path,
    file: &File,
    run: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let lose = |it: &mut Recorder| {
        if matches!(op, Op::Sync | Op::TailSync) {
            it.lose(file);
        }
    };
    pass(op, path, run, |it, _| it.note_file(op, path, file), |_| (), lose)
}

pub(crate) fn open(op: Op, path: &Path, run: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    pass(op, path, run, |it, file| it.opened(op, path, file), |_| (), |_| ())
}

pub(crate) fn write_at(op: Op, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let half = |recorder: Option<&mut Recorder>| {
        let half = &bytes[..bytes.len() / 2];
        if let (Ok(()), Some(recorder)) = (file.write_all_at(half, offset), recorder) {
            recorder.wrote(path, file, half, offset);
        }
    };
    let run = || file.write_all_at(bytes, offset);
    pass(op, path, run, |it, ()| it.wrote(path, file, bytes, offset), half, |_| ())
}

/// Files that stand for others, by inode number and time of change: those of an image for those it shows.
static STAND_INS: RwLock<Vec<StandIn>> = RwLock::new(Vec::new());

/// A file of an image, and the inode number of the file that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StandIn {
    pub(crate) inode: u64,
    pub(crate) modified: (i64, u32),
    pub(crate) shows: u64,
}

/// From now on these files are taken for those they show, until the answer is dropped.
pub(crate) fn stand_in(files: Vec<StandIn>) -> impl Drop {
    struct Standing(Vec<StandIn>);
    impl Drop for Standing {
        fn drop(&mut self) {
            STAND_INS.write().unwrap_or_else(PoisonError::into_inner).retain(|it| !self.0.contains(it));
        }
    }
    STAND_INS.write().unwrap_or_else(PoisonError::into_inner).extend(&files);
    Standing(files)
}

pub(crate) fn known_inode(inode: u64, modified: (i64, u32)) -> u64 {
    let files = STAND_INS.read().unwrap_or_else(PoisonError::into_inner);
    let same = files.iter().find(|it| (it.inode, it.modified) == (inode, modified));
    same.map_or(inode, |it| it.shows)
}
