//! What a power cut may leave: a pure model of a file system, over what the recorder remembers.
//!
//! The model assumes, and a disk that does worse is outside it:
//! - A file's bytes and length are durable when `fsync` or `fdatasync` of it has returned, and its `O_DIRECT` writes no sooner.
//!   Before that each 512-byte sector that was written since may hold any of what was written to it, in any mixture
//!   of sectors and writes, or what it held before; the length is any that the file had meanwhile; what was never written
//!   reads as zeros. A sector is written whole or not at all.
//! - A name (of a new file, of one linked, renamed or removed, of a new folder) is durable when `fsync` of the folder it stands in has
//!   returned, and not by `fsync` of the file. Before that, changes of names may be lost: all of them, none, all after some
//!   point (a journal), or each by itself (no journal); but never one while an earlier change of the same name is lost.
//! - `rename` is one change: both names or neither. It is durable by `fsync` of either folder, and never while the folder
//!   that it leads to is not. A folder whose own name is lost is lost with all that was made in it.
//! - A sync that failed and lost its pages leaves what was durable before.
//!
//! Nothing here touches a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Change, FileId, Identity};

const SECTOR: u64 = 512;

/// A sequence of choices: splitmix64, so that a seed means the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Choice(u64);

impl Choice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
    /// One of the numbers below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// What is left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) folders: BTreeSet<PathBuf>,
    pub(crate) files: BTreeMap<PathBuf, Content>,
}

/// The content of one file: zeros behind `bytes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) length: u64,
    pub(crate) identity: Option<Identity>,
}

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let from = usize::try_from(offset).unwrap();
        if self.bytes.len() < from + bytes.len() {
            self.bytes.resize(from + bytes.len(), 0);
        }
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        self.length = self.length.max(offset + bytes.len() as u64);
    }
    fn extend(&mut self, length: u64) {
        self.bytes.truncate(usize::try_from(length).unwrap());
        self.length = length;
    }
    /// What stands in a range, zeros where nothing does.
    fn part(&self, range: Range<u64>) -> Vec<u8> {
        let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        let mut part = self.bytes.get(from.min(self.bytes.len())..to.min(self.bytes.len())).unwrap().to_vec();
        part.resize(to - from, 0);
        part
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Write(u64, Arc<[u8]>),
    Extend(u64),
}

#[derive(Debug, Default)]
struct File {
    durable: Content,
    pending: Vec<Edit>,
}

impl File {
    fn apply(content: &mut Content, edit: &Edit) {
        match edit {
            Edit::Write(offset, bytes) => content.write(*offset, bytes),
            Edit::Extend(length) => content.extend(*length),
        }
    }
    fn sync(&mut self) {
        let Self { durable, pending } = self;
        pending.drain(..).for_each(|edit| Self::apply(durable, &edit));
    }

    /// What a power cut leaves of it.
    fn after_cut(&self, choice: &mut Choice) -> Content {
        let mut content = self.durable.clone();
        match choice.below(4) {
            0 => return content,
            1 => {
                self.pending.iter().for_each(|edit| Self::apply(&mut content, edit));
                return content;
            }
            _ => {}
        }
        let mut now = self.durable.length;
        let mut lengths = vec![now];
        for edit in &self.pending {
            now = match edit {
                Edit::Write(offset, bytes) => now.max(offset + bytes.len() as u64),
                Edit::Extend(length) => *length,
            };
            lengths.push(now);
        }
        // For each sector, how many of the edits it saw.
        let mut saw: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, edit) in self.pending.iter().enumerate() {
            let Edit::Write(offset, bytes) = edit else { continue };
            let end = offset + bytes.len() as u64;
            let mut from = *offset;
            while from < end {
                let sector = from / SECTOR;
                let to = end.min((sector + 1) * SECTOR);
                let seen = *saw.entry(sector).or_insert_with(|| choice.below(self.pending.len() + 1));
                if at < seen {
                    let part = usize::try_from(from - offset).unwrap()..usize::try_from(to - offset).unwrap();
                    content.write(from, &bytes[part]);
                }
                from = to;
            }
        }
        content.extend(lengths[choice.below(lengths.len())]);
        content
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(FileId),
}

#[derive(Debug, Clone)]
enum Rename {
    Put(PathBuf, Node),
    Move(PathBuf, PathBuf),
    Gone(PathBuf),
}

impl Rename {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (one, other) = match self {
            Self::Put(path, _) | Self::Gone(path) => (path, None),
            Self::Move(from, to) => (from, Some(to)),
        };
        std::iter::once(one.as_path()).chain(other.map(PathBuf::as_path))
    }
    /// The folders without which it cannot be durable.
    fn needs(&self) -> impl Iterator<Item = &Path> {
        let to = match self {
            Self::Move(_, to) => Some(to.as_path()),
            _ => None,
        };
        to.into_iter().flat_map(|to| to.ancestors().skip(1))
    }
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Put(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Gone(path) => drop(names.remove(path)),
            Self::Move(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// Names, durable and not.
#[derive(Debug, Default)]
struct Names {
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Rename>,
}

impl Names {
    fn sync(&mut self, folder: &Path) {
        let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
        let mut take = vec![false; self.pending.len()];
        // From the last to the first: with a change goes all that its names need.
        for (at, change) in self.pending.iter().enumerate().rev() {
            let here = change.paths().any(|path| path.parent() == Some(folder));
            if here || change.paths().any(|path| wanted.contains(path)) {
                wanted.extend(change.paths().chain(change.needs()).map(Path::to_owned));
                take[at] = true;
            }
        }
        for (at, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if take[at] { change.apply(&mut self.durable) } else { self.pending.push(change) }
        }
    }

    fn after_cut(&self, choice: &mut Choice) -> BTreeMap<PathBuf, Node> {
        let mut names = self.durable.clone();
        let style = choice.below(4);
        let upto = choice.below(self.pending.len() + 1);
        let mut lost: BTreeSet<PathBuf> = BTreeSet::new();
        for (at, change) in self.pending.iter().enumerate() {
            let kept = match style {
                0 => false,
                1 => true,
                2 => at < upto,
                _ => {
                    choice.below(2) == 0
                        && !change.paths().chain(change.needs()).any(|path| lost.contains(path))
                }
            };
            if kept {
                change.apply(&mut names);
            } else {
                lost.extend(change.paths().map(Path::to_owned));
            }
        }
        names
    }
}

#[derive(Debug, Default)]
struct Model {
    files: BTreeMap<FileId, File>,
    names: Names,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Folder { path } => drop(self.names.durable.insert(path.clone(), Node::Folder)),
            Change::Import { path, file, bytes, identity } => {
                let length = bytes.len() as u64;
                let durable = Content { bytes: bytes.to_vec(), length, identity: Some(*identity) };
                self.files.insert(*file, File { durable, pending: Vec::new() });
                self.names.durable.insert(path.clone(), Node::File(*file));
            }
            Change::Name { path, file } => {
                self.names.pending.push(Rename::Put(path.clone(), Node::File(*file)));
            }
            Change::MakeDir { path } => self.names.pending.push(Rename::Put(path.clone(), Node::Folder)),
            Change::Rename { from, to } => {
                self.names.pending.push(Rename::Move(from.clone(), to.clone()));
            }
            Change::Remove { path } => self.names.pending.push(Rename::Gone(path.clone())),
            Change::SyncDir { path } => self.names.sync(path),
            Change::Write { file, offset, bytes } => {
                self.file(*file).pending.push(Edit::Write(*offset, bytes.clone()));
            }
            Change::Extend { file, bytes } => self.file(*file).pending.push(Edit::Extend(*bytes)),
            Change::Sync { file } => self.file(*file).sync(),
            Change::Lost { file } => self.file(*file).pending.clear(),
        }
    }
    fn file(&mut self, file: FileId) -> &mut File {
        self.files.entry(file).or_default()
    }
}

/// What may be left when the power fails after these changes.
pub(crate) fn after_power_cut(changes: &[Change], choice: &mut Choice) -> Image {
    let mut model = Model::default();
    changes.iter().for_each(|change| model.apply(change));
    let names = model.names.after_cut(choice);
    let is_there = |path: &Path| {
        let above = path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty());
        above.into_iter().all(|it| names.get(it) == Some(&Node::Folder))
    };
    let mut image = Image::default();
    for (path, node) in names.iter().filter(|(path, _)| is_there(path)) {
        match node {
            Node::Folder => drop(image.folders.insert(path.clone())),
            Node::File(file) => {
                let content = model.files.get(file).map(|it| it.after_cut(choice)).unwrap_or_default();
                image.files.insert(path.clone(), content);
            }
        }
    }
    image
}

/// Where `file` was written since it was last synced, and what its last sync left there.
pub(super) fn unsynced(changes: &[Change], file: FileId) -> Vec<(u64, Vec<u8>)> {
    let mut model = Model::default();
    changes.iter().for_each(|change| model.apply(change));
    let file = model.file(file);
    let written = file.pending.iter().filter_map(|edit| match edit {
        Edit::Write(offset, bytes) => Some(*offset..offset + bytes.len() as u64),
        Edit::Extend(_) => None,
    });
    written.map(|range| (range.start, file.durable.part(range))).collect()
}

#[cfg(test)]
mod model_tests {
    use super::*;

    fn cuts(changes: &[Change]) -> Vec<Image> {
        (0..400).map(|seed| after_power_cut(changes, &mut Choice::new(seed))).collect()
    }
    fn folder(path: &str) -> Change {
        Change::Folder { path: path.into() }
    }
    fn name(path: &str) -> Change {
        Change::Name { path: path.into(), file: 1 }
    }
    fn write(byte: u8) -> Change {
        Change::Write { file: 1, offset: 0, bytes: vec![byte; 1024].into() }
    }
    fn sync_dir(path: &str) -> Change {
        Change::SyncDir { path: path.into() }
    }
    fn content<'a>(image: &'a Image, path: &str) -> Option<&'a [u8]> {
        image.files.get(Path::new(path)).map(|content| content.bytes.as_slice())
    }

    #[test]
    fn only_what_was_synced_is_sure() {
        let made = [folder("d"), name("d/f"), write(1), Change::Sync { file: 1 }];
        let there: Vec<bool> = cuts(&made).iter().map(|image| content(image, "d/f").is_some()).collect();
        assert!(there.contains(&true) && there.contains(&false), "the name is not sure");

        let named = [made.as_slice(), &[sync_dir("d")]].concat();
        assert!(cuts(&named).iter().all(|image| content(image, "d/f") == Some(&[1; 1024])));

        let rewritten = [named.as_slice(), &[write(2)]].concat();
        let seen: BTreeSet<Vec<u8>> =
            cuts(&rewritten).iter().map(|image| content(image, "d/f").unwrap().to_vec()).collect();
        let torn = |first, second| [vec![first; 512], vec![second; 512]].concat();
        assert_eq!(seen, [torn(1, 1), torn(1, 2), torn(2, 1), torn(2, 2)].into());
    }

    #[test]
    fn a_rename_leaves_the_old_or_the_new_and_a_folder_that_is_lost_loses_nothing_moved() {
        let moved = [
            folder("d"),
            name("d/f"),
            sync_dir("d"),
            Change::MakeDir { path: "d/aside".into() },
            Change::Rename { from: "d/f".into(), to: "d/aside/f".into() },
        ];
        let places = |images: Vec<Image>| -> BTreeSet<(bool, bool)> {
            let at = |it: &Image| (content(it, "d/f").is_some(), content(it, "d/aside/f").is_some());
            images.iter().map(at).collect()
        };
        assert_eq!(places(cuts(&moved)), [(true, false), (false, true)].into());
        let synced = [moved.as_slice(), &[sync_dir("d/aside")]].concat();
        assert_eq!(places(cuts(&synced)), [(false, true)].into());
    }

    #[test]
    fn what_is_made_in_a_folder_that_was_never_synced_is_not_sure() {
        let made = [folder("d"), Change::MakeDir { path: "d/e".into() }, name("d/e/f"), sync_dir("d/e")];
        assert!(cuts(&made).iter().any(|image| content(image, "d/e/f").is_none()));
        let synced = [made.as_slice(), &[sync_dir("d")]].concat();
        assert!(cuts(&synced).iter().all(|image| content(image, "d/e/f").is_some()));
    }

    #[test]
    fn a_sync_that_lost_its_pages_leaves_what_was_there() {
        let made = [folder("d"), name("d/f"), write(1), Change::Sync { file: 1 }, sync_dir("d"), write(2)];
        assert_eq!(unsynced(&made, 1), [(0, vec![1; 1024])]);
        let lost = [made.as_slice(), &[Change::Lost { file: 1 }, Change::Sync { file: 1 }]].concat();
        assert!(cuts(&lost).iter().all(|image| content(image, "d/f") == Some(&[1; 1024])));
    }
}
