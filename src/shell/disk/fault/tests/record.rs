//! The recorder: every call below a watched folder that did something, in order, with its data.
//!
//! Owns which file a path or a descriptor means: files are told apart by the recorder's own numbers, because the kernel gives
//! an inode number again. A call on a file that it never saw made is a hole in the seam, and a panic.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::Op;
use super::image;

/// A file, whatever its name.
pub(crate) type FileId = u64;

/// The file as its maker left it: inode number, time of change. Kept in images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) inode: u64,
    pub(crate) modified: (i64, u32),
}

/// One change. Paths are below the watched folder.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A name for a new file, or for one that had none.
    Name { path: PathBuf, file: FileId },
    /// The file gets another name, whose place it takes.
    Rename { from: PathBuf, to: PathBuf },
    /// The name is gone, of a file or of a folder.
    Remove { path: PathBuf },
    /// A new folder.
    MakeDir { path: PathBuf },
    /// Bytes written.
    Write { file: FileId, offset: u64, bytes: Arc<[u8]> },
    /// A new length; what is added is zero.
    Extend { file: FileId, bytes: u64 },
    /// The content is durable.
    Sync { file: FileId },
    /// The names in the folder are durable.
    SyncDir { path: PathBuf },
    /// A sync failed, and what was written since the last is gone.
    Lost { file: FileId },
    /// A file that another program made: whole and durable.
    Import { path: PathBuf, file: FileId, bytes: Arc<[u8]>, identity: Identity },
    /// A folder that was there.
    Folder { path: PathBuf },
}

/// What is known of the watched folder.
#[derive(Debug)]
pub(crate) struct Recorder {
    root: PathBuf,
    changes: Vec<Change>,
    names: HashMap<PathBuf, FileId>,
    folders: Vec<PathBuf>,
    /// The file that now has an inode number.
    inodes: HashMap<u64, FileId>,
    lengths: HashMap<FileId, u64>,
    next: FileId,
}

impl Recorder {
    pub(super) fn start(root: PathBuf, ignored: &[&str]) -> Self {
        let mut recorder = Self {
            root: root.clone(),
            changes: Vec::new(),
            names: HashMap::new(),
            folders: Vec::new(),
            inodes: HashMap::new(),
            lengths: HashMap::new(),
            next: 0,
        };
        recorder.scan(&root, ignored);
        recorder
    }

    fn scan(&mut self, folder: &Path, ignored: &[&str]) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = self.below(&path);
            if path.is_dir() {
                self.folders.push(below.clone());
                self.changes.push(Change::Folder { path: below.clone() });
                if !ignored.iter().any(|it| Path::new(it) == below) {
                    self.scan(&path, ignored);
                }
            } else if path.is_file() {
                self.import(&path);
            }
        }
    }

    pub(super) fn mark(&self) -> usize {
        self.changes.len()
    }
    pub(super) fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn import(&mut self, path: &Path) {
        let bytes: Arc<[u8]> = std::fs::read(path).unwrap().into();
        let meta = path.metadata().unwrap();
        let file = self.new_file(meta.ino(), bytes.len() as u64);
        let path = self.below(path);
        self.names.insert(path.clone(), file);
        let modified = (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
        let identity = Identity { inode: meta.ino(), modified };
        self.changes.push(Change::Import { path, file, bytes, identity });
    }

    /// A call that a path alone tells.
    pub(super) fn note(&mut self, op: Op, path: &Path) {
        let below = self.below(path);
        let change = match op {
            Op::NewFile | Op::ReadBack => return,
            Op::Sync | Op::TailSync => Change::Sync { file: self.named(&below) },
            Op::Rename => {
                let file = self.inodes[&path.metadata().unwrap().ino()];
                let from = self.names.iter().find(|(_, it)| **it == file).map(|(from, _)| from.clone());
                let from = from.unwrap_or_else(|| panic!("{} had no name", path.display()));
                self.names.remove(&from);
                self.names.insert(below.clone(), file);
                Change::Rename { from, to: below }
            }
            Op::Link => {
                let file = self.inodes[&path.metadata().unwrap().ino()];
                self.names.insert(below.clone(), file);
                Change::Name { path: below, file }
            }
            Op::Remove => {
                self.names.remove(&below).unwrap_or_else(|| panic!("{} was never made", path.display()));
                Change::Remove { path: below }
            }
            Op::RemoveDir => {
                self.folders.retain(|folder| *folder != below);
                Change::Remove { path: below }
            }
            Op::MakeDir if self.folders.contains(&below) => return,
            Op::MakeDir => {
                self.folders.push(below.clone());
                Change::MakeDir { path: below }
            }
            Op::SyncDir => Change::SyncDir { path: below },
            Op::Open | Op::Unnamed | Op::Write | Op::TailWrite | Op::Extend => {
                panic!("{op:?} of {} must show its file", path.display())
            }
        };
        self.changes.push(change);
    }

    /// A call on an open file.
    pub(super) fn note_file(&mut self, op: Op, path: &Path, open: &File) {
        let file = self.of(open, path);
        match op {
            Op::Sync | Op::TailSync => self.changes.push(Change::Sync { file }),
            Op::Extend => {
                let bytes = open.metadata().unwrap().len();
                self.lengths.insert(file, bytes);
                self.changes.push(Change::Extend { file, bytes });
            }
            _ => self.note(op, path),
        }
    }

    pub(super) fn opened(&mut self, op: Op, path: &Path, open: &File) {
        let meta = open.metadata().unwrap();
        if op == Op::Unnamed {
            self.new_file(meta.ino(), 0);
            return;
        }
        let path = self.below(path);
        let known = self.names.get(&path).copied();
        match known.filter(|file| self.inodes.get(&meta.ino()) == Some(file)) {
            // Opened again, and perhaps cut.
            Some(file) => {
                if self.lengths.insert(file, meta.len()).is_some_and(|length| length != meta.len()) {
                    self.changes.push(Change::Extend { file, bytes: meta.len() });
                }
            }
            None => {
                let file = self.new_file(meta.ino(), meta.len());
                self.names.insert(path.clone(), file);
                self.changes.push(Change::Name { path, file });
            }
        }
    }

    pub(super) fn wrote(&mut self, path: &Path, open: &File, bytes: &[u8], offset: u64) {
        let file = self.of(open, path);
        let length = self.lengths.entry(file).or_default();
        *length = (*length).max(offset + bytes.len() as u64);
        self.changes.push(Change::Write { file, offset, bytes: bytes.into() });
    }

    /// Puts back what the file held when it was last synced: its pages were lost.
    pub(super) fn lose(&mut self, open: &File) {
        let file = self.of(open, Path::new("a file that is synced"));
        let by_handle = format!("/proc/self/fd/{}", open.as_raw_fd());
        let cached = File::options().write(true).open(by_handle).unwrap();
        for (offset, bytes) in image::unsynced(&self.changes, file) {
            cached.write_all_at(&bytes, offset).unwrap();
        }
        cached.sync_all().unwrap();
        self.changes.push(Change::Lost { file });
    }

    fn new_file(&mut self, inode: u64, length: u64) -> FileId {
        self.next += 1;
        self.inodes.insert(inode, self.next);
        self.lengths.insert(self.next, length);
        self.next
    }

    fn of(&self, open: &File, path: &Path) -> FileId {
        let inode = open.metadata().unwrap().ino();
        *self.inodes.get(&inode).unwrap_or_else(|| panic!("{} was never made", path.display()))
    }

    fn named(&self, below: &Path) -> FileId {
        *self.names.get(below).unwrap_or_else(|| panic!("{} was never made", below.display()))
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}
