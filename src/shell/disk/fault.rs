//! Where a system call of the durable files can be made to fail: a seam for tests, nothing in the product.
//!
//! Every call that changes what is on the medium (ledger, objects, key slots, spool) goes through here with the path that it
//! changes. In a product build that is the call itself. A unit test watches a folder (`watch` in `tests`) and says which
//! call fails and how, or has all of them recorded (`tests::record`), to know what a power cut could leave
//! (`tests::image`); the rest of the process is not disturbed. Must never change what a call does when no test watches.

#[cfg(not(test))]
use std::fs::File;
#[cfg(not(test))]
use std::io;
#[cfg(not(test))]
#[cfg(all(feature = "daemon", not(test)))]
use std::os::fd::AsFd;
#[cfg(not(test))]
use std::os::unix::fs::FileExt as _;
#[cfg(not(test))]
use std::path::Path;

/// What a call does to the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "read by tests only"))]
pub(crate) enum Op {
    /// Makes or opens a file for writing.
    Open,
    /// Makes a file without a name.
    Unnamed,
    /// Writes bytes.
    Write,
    /// Lengthens a file with zeros, or cuts it.
    Extend,
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
    /// Removes a folder.
    RemoveDir,
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

/// The same for the entry `name` of an open folder; an empty name is the folder itself.
#[cfg(all(feature = "daemon", not(test)))]
#[inline(always)]
pub(crate) fn call_at<T>(
    _: Op,
    _: impl AsFd,
    _: impl AsRef<std::ffi::OsStr>,
    run: impl FnOnce() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    run()
}

/// The same for an open file, which `path` names or will name.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn on_file<T>(_: Op, _: &Path, _: &File, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    run()
}

/// Opens the file at `path`, or makes it.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn open(_: Op, _: &Path, run: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    run()
}

/// Writes `bytes` at `offset` of the file at `path`.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn write_at(op: Op, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    call(op, path, || file.write_all_at(bytes, offset))
}

/// The inode number by which a file is known again after a restart.
#[cfg(all(feature = "daemon", not(test)))]
#[inline(always)]
pub(crate) fn known_inode(inode: u64, _modified: (i64, u32)) -> u64 {
    inode
}

#[cfg(test)]
pub(crate) use tests::{Faults, Mode, Watch, call, call_at, known_inode, on_file, open, watch, write_at};

#[cfg(test)]
pub(crate) mod tests;
