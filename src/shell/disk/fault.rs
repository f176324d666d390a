//! Where a system call of the durable files can be made to fail: a seam for tests, nothing in the product.
//!
//! Every call below `shell/disk` that changes what is on the medium goes through here with the path that it changes. In
//! a product build that is the call itself. A unit test watches a folder ([`watch`]) and says which call fails and how; the
//! rest of the process is not disturbed. Must never change what a call does when no test watches.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What a call does to the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "read by tests only"))]
pub(crate) enum Op {
    /// Makes or opens a file for writing.
    Open,
    /// Writes bytes.
    Write,
    /// Makes bytes durable.
    Sync,
    /// Reads back from the medium what was written.
    ReadBack,
    /// Gives a file its name.
    Rename,
    /// Gives a file without a name its name.
    Link,
    /// Removes a name.
    Remove,
    /// Makes a folder.
    MakeDir,
    /// Makes names durable.
    SyncDir,
    /// Appends to the tail: part of the commit point.
    TailWrite,
    /// Syncs the tail: the commit point.
    TailSync,
    /// Begins a write-once file, a new tail or a spare one. Not a system call: counted apart.
    NewFile,
}

/// Runs one system call that changes `path`.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn call<T>(_: Op, _: &Path, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    run()
}

/// Writes `bytes` at `offset` of the file at `path`.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn write_at(op: Op, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    call(op, path, || file.write_all_at(bytes, offset))
}

#[cfg(test)]
pub(crate) use watched::{Faults, Mode, Watch, call, watch, write_at};

#[cfg(test)]
mod watched {
    use super::*;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
    use std::sync::{Arc, Mutex, PoisonError, RwLock};

    /// How a call fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Mode {
        /// It does nothing and says EIO.
        Refused,
        /// It does its work and says EIO: failed, but persisted.
        DoneButFailed,
        /// A write does half of its work and says ENOSPC; any other call as `Refused`.
        Short,
        /// The process ends before it: it and every later call does nothing.
        DiesBefore,
        /// The process ends after it.
        DiesAfter,
        /// The process ends within it: half of a write.
        DiesWithin,
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
        dead: AtomicBool,
        met: Mutex<Option<(Op, PathBuf)>>,
    }

    impl Faults {
        /// The `nth` call from now fails as `mode` says.
        pub(crate) fn plan(&self, nth: u64, mode: Mode) {
            self.calls.store(0, SeqCst);
            *self.met.lock().unwrap() = None;
            *self.planned.lock().unwrap() = Some((nth, mode));
        }
        /// Nothing fails any more; gives the call that did.
        pub(crate) fn clear(&self) -> Option<(Op, PathBuf)> {
            *self.planned.lock().unwrap() = None;
            self.dead.store(false, SeqCst);
            for counter in [&self.write_in, &self.sync_in, &self.file_in] {
                counter.store(0, SeqCst);
            }
            self.met.lock().unwrap().take()
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
            if op == Op::NewFile {
                return None;
            }
            let number = self.calls.fetch_add(1, SeqCst) + 1;
            let mode =
                self.planned.lock().unwrap().filter(|(nth, _)| *nth == number).map(|(_, mode)| mode)?;
            self.met.lock().unwrap().replace((op, path.to_owned()));
            if matches!(mode, Mode::DiesBefore | Mode::DiesAfter | Mode::DiesWithin) {
                self.dead.store(true, SeqCst);
            }
            Some(mode)
        }
    }

    /// Watches a folder until it is dropped.
    #[derive(Debug)]
    pub(crate) struct Watch(Arc<Faults>);

    impl std::ops::Deref for Watch {
        type Target = Faults;
        fn deref(&self) -> &Faults {
            &self.0
        }
    }
    impl Drop for Watch {
        fn drop(&mut self) {
            FOLDERS
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|(_, faults)| !Arc::ptr_eq(faults, &self.0));
        }
    }

    static FOLDERS: RwLock<Vec<(PathBuf, Arc<Faults>)>> = RwLock::new(Vec::new());

    /// From now on calls on paths below `folder` can fail.
    pub(crate) fn watch(folder: &Path) -> Watch {
        let faults = Arc::new(Faults::default());
        FOLDERS.write().unwrap_or_else(PoisonError::into_inner).push((folder.to_owned(), faults.clone()));
        Watch(faults)
    }

    fn of(path: &Path) -> Option<Arc<Faults>> {
        let folders = FOLDERS.read().unwrap_or_else(PoisonError::into_inner);
        folders.iter().find(|(folder, _)| path.starts_with(folder)).map(|(_, faults)| faults.clone())
    }

    fn failed(mode: Mode) -> io::Error {
        let errno = if mode == Mode::Short { libc::ENOSPC } else { libc::EIO };
        io::Error::from_raw_os_error(errno)
    }

    pub(crate) fn call<T>(op: Op, path: &Path, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(faults) = of(path) else { return run() };
        match faults.planned(op, path) {
            None if faults.counted(op) || faults.named(op, path) => Err(failed(Mode::Refused)),
            None => run(),
            Some(mode @ (Mode::DoneButFailed | Mode::DiesAfter)) => {
                let _done = run();
                Err(failed(mode))
            }
            Some(mode) => Err(failed(mode)),
        }
    }

    pub(crate) fn write_at(op: Op, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(faults) = of(path) else { return file.write_all_at(bytes, offset) };
        match faults.planned(op, path) {
            None if faults.counted(op) => Err(failed(Mode::Refused)),
            None => file.write_all_at(bytes, offset),
            Some(mode @ (Mode::DoneButFailed | Mode::DiesAfter)) => {
                let _done = file.write_all_at(bytes, offset);
                Err(failed(mode))
            }
            Some(mode @ (Mode::Short | Mode::DiesWithin)) => {
                let _half = file.write_all_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset);
                Err(failed(mode))
            }
            Some(mode) => Err(failed(mode)),
        }
    }
}
