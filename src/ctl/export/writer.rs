//! A ledger written as a tlog-tiles folder: bundles, tiles, checkpoints, details in clear.
//!
//! Owns the files of an export and the check that they give the root of the checkpoint. Memory stays bounded: at most
//! one bundle and one tile of each level are held. Must never write over a file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::hash::{Hash, leaf_hash};
use crate::core::ledger::tile::{self, FULL};
use crate::core::ledger::tree::{Frontier, root_of};

/// An export that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder holds something.
    #[error("{0} is not empty; name a new folder")]
    Taken(PathBuf),
    /// A file or folder could not be written.
    #[error("{0} could not be written; make room or name another folder, then export again")]
    Io(PathBuf, #[source] io::Error),
    /// An entry or a checkpoint that no ledger has.
    #[error("the service sent {0}; look at: journalctl -u greffierd")]
    Bad(String),
    /// The entries are not those that the checkpoint signs.
    #[error(
        "the {0} entries received do not give the root of the checkpoint; the ledger or the way here is damaged"
    )]
    Root(u64),
}

/// The export under way.
pub struct Writer {
    dir: PathBuf,
    /// Entries of the bundle that is not full yet.
    bundle: Vec<String>,
    bundles: u64,
    /// For each level, the hashes of its rightmost tile and the number of that tile.
    tiles: Vec<(Vec<Hash>, u64)>,
    tree: Frontier,
    details: Option<BufWriter<File>>,
}

impl Writer {
    /// Makes `dir`, closed to other accounts; with a file for details where they are wanted.
    pub fn create(dir: &Path, with_details: bool) -> Result<Self, WriteError> {
        let io = |error| WriteError::Io(dir.to_owned(), error);
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if std::fs::read_dir(dir).map_err(io)?.next().is_some() {
                    return Err(WriteError::Taken(dir.to_owned()));
                }
            }
            result => result.map_err(io)?,
        }
        let mut writer = Self {
            dir: dir.to_owned(),
            bundle: Vec::new(),
            bundles: 0,
            tiles: Vec::new(),
            tree: Frontier::new(),
            details: None,
        };
        if with_details {
            writer.details = Some(BufWriter::new(writer.new_file("details.jsonl")?));
        }
        Ok(writer)
    }

    /// The next entry, as the bytes that were hashed.
    pub fn entry(&mut self, line: String) -> Result<(), WriteError> {
        let hash = leaf_hash(line.as_bytes());
        self.tree.push(hash);
        self.bundle.push(line);
        if self.bundle.len() == FULL {
            self.write_bundle(None)?;
        }
        self.hash(0, hash)
    }

    /// The detail of an entry.
    pub fn detail(&mut self, line: &str) -> Result<(), WriteError> {
        let path = self.dir.join("details.jsonl");
        let unasked = || WriteError::Bad("a personal part that was not asked for".into());
        let file = self.details.as_mut().ok_or_else(unasked)?;
        writeln!(file, "{line}").map_err(|error| WriteError::Io(path, error))
    }

    /// The closing checkpoint of an earlier epoch.
    pub fn epoch_checkpoint(&mut self, text: &str) -> Result<(), WriteError> {
        let (checkpoint, _) = read_checkpoint(text)?;
        self.write(&format!("checkpoints/{}", checkpoint.size), text.as_bytes())
    }

    /// A file of one line.
    pub fn line(&mut self, name: &str, text: &str) -> Result<(), WriteError> {
        self.write(name, format!("{}\n", text.trim_end()).as_bytes())
    }

    /// Writes what is partial, checks the root, and writes `checkpoint`, last and durably.
    pub fn finish(mut self, text: &str, checkpoint: &Checkpoint) -> Result<(), WriteError> {
        if self.tree.size() != checkpoint.size || self.tree.root() != checkpoint.root {
            return Err(WriteError::Root(self.tree.size()));
        }
        let size = checkpoint.size;
        self.write_bundle(tile::partial_width(0, size))?;
        for (level, (hashes, n)) in (0_u8..).zip(std::mem::take(&mut self.tiles)) {
            if !hashes.is_empty() {
                self.write_tile(level, n, &hashes, tile::partial_width(level, size))?;
            }
        }
        if let Some(details) = self.details.take() {
            let path = self.dir.join("details.jsonl");
            details.into_inner().map_err(|error| WriteError::Io(path, error.into_error()))?;
        }
        self.sync()?;
        self.write("checkpoint", text.as_bytes())?;
        self.sync()
    }

    /// One sync of the file system instead of one a file: an export of a million entries has thousands.
    fn sync(&self) -> Result<(), WriteError> {
        let io = |error| WriteError::Io(self.dir.clone(), error);
        let dir = File::open(&self.dir).map_err(io)?;
        rustix::fs::syncfs(&dir).map_err(|errno| io(errno.into()))
    }

    /// Adds a hash to the rightmost tile of `level`; a tile that is full gives one hash to the level above.
    fn hash(&mut self, level: u8, hash: Hash) -> Result<(), WriteError> {
        let (mut level, mut hash) = (level, hash);
        loop {
            if self.tiles.len() <= usize::from(level) {
                self.tiles.push((Vec::new(), 0));
            }
            let Some((hashes, n)) = self.tiles.get_mut(usize::from(level)) else { return Ok(()) };
            hashes.push(hash);
            if hashes.len() < FULL {
                return Ok(());
            }
            let (full, number) = (std::mem::take(hashes), *n);
            *n += 1;
            self.write_tile(level, number, &full, None)?;
            hash = root_of(&full);
            level = level.saturating_add(1);
        }
    }

    fn write_bundle(&mut self, width: Option<u8>) -> Result<(), WriteError> {
        let entries = std::mem::take(&mut self.bundle);
        if entries.is_empty() {
            return Ok(());
        }
        let bytes = tile::encode_bundle(&entries).map_err(|error| WriteError::Bad(error.to_string()))?;
        self.write(&tile::entries_path(self.bundles, width), &bytes)?;
        self.bundles += 1;
        Ok(())
    }

    fn write_tile(&self, level: u8, n: u64, hashes: &[Hash], width: Option<u8>) -> Result<(), WriteError> {
        let bytes = tile::encode_tile(hashes).map_err(|error| WriteError::Bad(error.to_string()))?;
        self.write(&tile::tile_path(level, n, width), &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.new_file(name)?.write_all(bytes).map_err(|error| WriteError::Io(self.dir.join(name), error))
    }

    fn new_file(&self, name: &str) -> Result<File, WriteError> {
        let path = self.dir.join(name);
        let made = path
            .parent()
            .map_or(Ok(()), |parent| DirBuilder::new().recursive(true).mode(0o700).create(parent));
        made.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path))
            .map_err(|error| WriteError::Io(path, error))
    }
}

fn read_checkpoint(text: &str) -> Result<(Checkpoint, crate::core::ledger::note::SignedNote), WriteError> {
    SignedCheckpoint::read(text).map_err(|error| WriteError::Bad(format!("a bad checkpoint ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ledger::hash::empty_hash;

    fn export(dir: &Path, size: u64) -> Checkpoint {
        let mut writer = Writer::create(dir, false).unwrap();
        for n in 0..size {
            writer.entry(format!("entry {n}")).unwrap();
        }
        let checkpoint = Checkpoint { origin: "a".into(), size, root: writer.tree.root() };
        writer.finish("the head", &checkpoint).unwrap();
        checkpoint
    }

    /// Reads an export as any tlog-tiles client does, and returns its entries.
    fn read_back(dir: &Path, checkpoint: &Checkpoint) -> Vec<String> {
        let size = checkpoint.size;
        let mut entries = Vec::new();
        for n in 0..size.div_ceil(256) {
            let width = if (n + 1) * 256 > size { tile::partial_width(0, size) } else { None };
            let bytes = std::fs::read(dir.join(tile::entries_path(n, width))).unwrap();
            let bundle = tile::parse_bundle(&bytes).unwrap();
            entries.extend(bundle.iter().map(|entry| String::from_utf8(entry.to_vec()).unwrap()));
        }
        let mut hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry.as_bytes())).collect();
        for level in 0.. {
            for (n, expected) in hashes.chunks(256).enumerate() {
                let width = if expected.len() < 256 { tile::partial_width(level, size) } else { None };
                let bytes = std::fs::read(dir.join(tile::tile_path(level, n as u64, width))).unwrap();
                assert_eq!(tile::parse_tile(&bytes).unwrap(), expected, "tile {level}/{n} of {size}");
            }
            hashes = hashes.chunks_exact(256).map(root_of).collect();
            if hashes.is_empty() {
                assert!(!dir.join(tile::tile_path(level + 1, 0, Some(1))).exists());
                break;
            }
        }
        entries
    }

    #[test]
    fn an_export_holds_every_entry_and_every_tile_at_its_place() {
        for size in [1, 255, 256, 257, 600, 65_537] {
            let dir = tempfile::tempdir().unwrap();
            let checkpoint = export(dir.path(), size);
            let expected: Vec<String> = (0..size).map(|n| format!("entry {n}")).collect();
            assert!(read_back(dir.path(), &checkpoint) == expected, "size {size}");
            assert_eq!(std::fs::read_to_string(dir.path().join("checkpoint")).unwrap(), "the head");
        }
    }

    #[test]
    fn entries_that_do_not_give_the_root_leave_no_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path(), false).unwrap();
        writer.entry("x".into()).unwrap();
        let other = Checkpoint { origin: "a".into(), size: 1, root: empty_hash() };
        assert!(matches!(writer.finish("the head", &other), Err(WriteError::Root(1))));
        assert!(!dir.path().join("checkpoint").exists());
    }

    #[test]
    fn an_export_is_closed_to_others_and_never_written_over_files() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("out");
        export(&dir, 1);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(Writer::create(&dir, false), Err(WriteError::Taken(_))));
    }

    #[test]
    fn details_are_written_only_where_they_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Writer::create(&dir.path().join("a"), false).unwrap().detail("{}").is_err());
        let mut writer = Writer::create(&dir.path().join("b"), true).unwrap();
        writer.entry("x".into()).unwrap();
        writer.detail("{\"seq\":0}").unwrap();
        let checkpoint = Checkpoint { origin: "a".into(), size: 1, root: writer.tree.root() };
        writer.finish("the head", &checkpoint).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("b/details.jsonl")).unwrap(), "{\"seq\":0}\n");
    }
}
