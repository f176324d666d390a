//! What is measured against: the plain way of doing the same work, as fast as we can write it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use greffier::core::ledger::hash::{detail_commitment, leaf_hash};
use greffier::core::ledger::tree::Frontier;
use greffier::shell::crypt::{Secret, Signer};

use crate::Outcome;

/// A file whose blocks are allocated and written with zeros before, so that `fdatasync` has no metadata to write.
pub struct PreparedFile {
    file: File,
    end: u64,
}

impl PreparedFile {
    /// With room for `bytes`.
    pub fn make(path: &Path, bytes: u64) -> Outcome<Self> {
        let file = File::create(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..bytes).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, end: 0 })
    }

    /// Begins again at the start: the blocks are used again, as those of a ledger's next tail are.
    pub fn rewind(&mut self) {
        self.end = 0;
    }

    /// `write` and `fdatasync`.
    pub fn append(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.file.sync_data()?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// The bytes of one entry and of what belongs to it, as the ledger stores them.
pub struct EntryBytes {
    pub line: Vec<u8>,
    pub detail: Vec<u8>,
    /// Both frames in the tail, with their overhead.
    pub frames: usize,
    /// The frame of the checkpoint that ends a batch.
    pub checkpoint_frame: usize,
}

/// Hashes, signs and syncs batches of these sizes, on one thread.
pub fn one_thread(entry: &EntryBytes, batches: &[usize], file: &mut PreparedFile) -> Outcome<()> {
    let (log, epoch) = (Signer::new(&Secret::generate()?), Signer::new(&Secret::generate()?));
    let mut tree = Frontier::new();
    for &size in batches {
        for _ in 0..size {
            std::hint::black_box(detail_commitment(&entry.detail));
            tree.push(leaf_hash(&entry.line));
        }
        let head = tree.root().0;
        std::hint::black_box((log.sign(&head), epoch.sign(&head)));
        file.append(&vec![1; size * entry.frames + entry.checkpoint_frame])?;
    }
    Ok(())
}

/// SQLite as an application would use it for the same: a table, WAL, every insert a transaction, every commit synced.
pub struct Sqlite(rusqlite::Connection);

impl Sqlite {
    pub fn make(path: &Path) -> Outcome<Self> {
        let connection = rusqlite::Connection::open(path)?;
        connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
        connection.execute_batch(
            "PRAGMA synchronous=FULL; CREATE TABLE entry (seq INTEGER PRIMARY KEY, line BLOB NOT NULL, detail BLOB)",
        )?;
        Ok(Self(connection))
    }

    pub fn insert(&self, entry: &EntryBytes, count: u64) -> Outcome<()> {
        let mut insert = self.0.prepare_cached("INSERT INTO entry (line, detail) VALUES (?1, ?2)")?;
        for _ in 0..count {
            insert.execute((&entry.line, &entry.detail))?;
        }
        Ok(())
    }
}
