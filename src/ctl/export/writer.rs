//! A ledger written to a folder of its own: bundles, tiles, checkpoints, details in clear.
//!
//! Owns the files of an export, which nobody but its owner can read. Must never write over a file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::core::ledger::checkpoint::Checkpoint;
use crate::ctl::tree::{Place, TreeWriter, WriteError, read_checkpoint};

/// The export under way.
pub struct Writer {
    files: NewFiles,
    tree: TreeWriter,
    details: Option<BufWriter<File>>,
}

/// A folder in which every file is new.
struct NewFiles {
    dir: PathBuf,
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
        let files = NewFiles { dir: dir.to_owned() };
        let details =
            if with_details { Some(BufWriter::new(files.new_file("details.jsonl")?)) } else { None };
        Ok(Self { files, tree: TreeWriter::new(), details })
    }

    /// The next entry, as the bytes that were hashed.
    pub fn entry(&mut self, line: String) -> Result<(), WriteError> {
        self.tree.entry(&mut self.files, line).map(|_| ())
    }

    /// The detail of an entry.
    pub fn detail(&mut self, line: &str) -> Result<(), WriteError> {
        let path = self.files.dir.join("details.jsonl");
        let unasked = || WriteError::Bad("a personal part that was not asked for".into());
        let file = self.details.as_mut().ok_or_else(unasked)?;
        writeln!(file, "{line}").map_err(|error| WriteError::Io(path, error))
    }

    /// The closing checkpoint of an earlier epoch, unless it is of more entries than the head: a key may have changed since
    /// the head was signed, and a verifier would miss the entries.
    pub fn epoch_checkpoint(&mut self, text: &str, head: &Checkpoint) -> Result<(), WriteError> {
        let size = read_checkpoint(text)?.size;
        if size > head.size {
            return Ok(());
        }
        self.files.put(&format!("checkpoints/{size}"), size, text.as_bytes())
    }

    /// A file of one line.
    pub fn line(&mut self, name: &str, text: &str) -> Result<(), WriteError> {
        self.files.put(name, 0, format!("{}\n", text.trim_end()).as_bytes())
    }

    /// Writes what is partial, checks the root, and writes `checkpoint`, last and durably.
    pub fn finish(mut self, text: &str, checkpoint: &Checkpoint) -> Result<(), WriteError> {
        self.tree.close(&mut self.files, checkpoint)?;
        if let Some(details) = self.details.take() {
            let path = self.files.dir.join("details.jsonl");
            details.into_inner().map_err(|error| WriteError::Io(path, error.into_error()))?;
        }
        self.files.sync()?;
        self.files.put("checkpoint", checkpoint.size, text.as_bytes())?;
        self.files.sync()
    }
}

impl NewFiles {
    /// One sync of the file system instead of one a file: an export of a million entries has thousands.
    fn sync(&self) -> Result<(), WriteError> {
        let io = |error| WriteError::Io(self.dir.clone(), error);
        let dir = File::open(&self.dir).map_err(io)?;
        rustix::fs::syncfs(&dir).map_err(|errno| io(errno.into()))
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

impl Place for NewFiles {
    fn put(&mut self, name: &str, _: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.new_file(name)?.write_all(bytes).map_err(|error| WriteError::Io(self.dir.join(name), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ledger::hash::{Hash, empty_hash, leaf_hash};
    use crate::core::ledger::tile;
    use crate::core::ledger::tree::root_of;

    fn export(dir: &Path, size: u64) -> Checkpoint {
        let mut writer = Writer::create(dir, false).unwrap();
        for n in 0..size {
            writer.entry(format!("entry {n}")).unwrap();
        }
        let checkpoint = Checkpoint { origin: "a".into(), size, root: writer.tree.tree().root() };
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
    fn a_closing_checkpoint_beyond_the_head_stays_out() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("out");
        let mut writer = Writer::create(&dir, false).unwrap();
        let head = Checkpoint { origin: "a".into(), size: 7, root: empty_hash() };
        for size in [6, 7, 8] {
            let text = format!("{}\n\u{2014} a AAAAAAA=\n", Checkpoint { size, ..head.clone() }.body());
            writer.epoch_checkpoint(&text, &head).unwrap();
        }
        let kept = [6, 7, 8].map(|size| dir.join(format!("checkpoints/{size}")).exists());
        assert_eq!(kept, [true, true, false]);
    }

    #[test]
    fn details_are_written_only_where_they_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Writer::create(&dir.path().join("a"), false).unwrap().detail("{}").is_err());
        let mut writer = Writer::create(&dir.path().join("b"), true).unwrap();
        writer.entry("x".into()).unwrap();
        writer.detail("{\"seq\":0}").unwrap();
        let checkpoint = Checkpoint { origin: "a".into(), size: 1, root: writer.tree.tree().root() };
        writer.finish("the head", &checkpoint).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("b/details.jsonl")).unwrap(), "{\"seq\":0}\n");
    }
}
