//! Reading and writing past the page cache (`O_DIRECT`), in whole 4 KiB blocks.
//!
//! Owns alignment, and the fallback where a file system refuses `O_DIRECT`: then writes are synced, and the cache is
//! dropped before what must come from the medium is read. Says so by [`DirectFile::is_direct`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, OFlags};

use super::fault::{Op, on_file, write_at};

/// The block in which direct files are read and written, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// A buffer that starts on a block boundary.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len.saturating_add(BLOCK_BYTES)];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self { bytes, start, len }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// The bytes, to change.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// A file read and written at block boundaries.
pub struct DirectFile {
    file: File,
    direct: bool,
}

impl DirectFile {
    /// Turns `file` to direct reading and writing. What it wrote before must have been synced.
    pub fn from_file(file: File) -> Self {
        let direct = rustix::fs::fcntl_getfl(&file)
            .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags | OFlags::DIRECT))
            .is_ok();
        Self { file, direct }
    }

    /// Whether the page cache is bypassed.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// The file, for its length and for closing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file, in the mode it has now.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Reads from the medium at `offset`, a multiple of the block, until `buffer` is full or the file ends; returns
    /// the bytes read.
    pub fn read_at(&self, buffer: &mut AlignedBuffer, offset: u64) -> io::Result<usize> {
        if !self.direct {
            drop_cache(&self.file)?;
        }
        let mut done = 0;
        while let Some(rest) = buffer.as_mut_slice().get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A direct read that ends inside a block has met the end of the file; going on would be unaligned.
            if self.direct && done % BLOCK_BYTES != 0 {
                break;
            }
        }
        Ok(done)
    }

    /// Writes `buffer`, whole blocks, at `offset` of this file, named `path`, a multiple of the block, and makes it durable.
    pub fn write_at(&self, path: &Path, buffer: &AlignedBuffer, offset: u64) -> io::Result<()> {
        write_at(Op::Write, path, &self.file, buffer.as_slice(), offset)?;
        on_file(Op::Sync, path, &self.file, || self.file.sync_data())
    }
}

/// Asks the kernel to forget the cached pages of `file`; those not yet written stay.
pub fn drop_cache(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn what_is_written_directly_reads_back_and_the_end_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; BLOCK_BYTES + 10]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let file = DirectFile::from_file(file);
        let mut buffer = AlignedBuffer::zeroed(2 * BLOCK_BYTES);
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), BLOCK_BYTES + 10);
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        block.as_mut_slice().fill(9);
        file.write_at(&path, &block, 0).unwrap();
        file.read_at(&mut buffer, 0).unwrap();
        assert_eq!(buffer.as_slice()[BLOCK_BYTES - 1..=BLOCK_BYTES], [9, 7]);
    }

    #[test]
    fn without_direct_access_the_same_bytes_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; 2 * BLOCK_BYTES]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let file = DirectFile { file, direct: false };
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        block.as_mut_slice().fill(9);
        file.write_at(&path, &block, BLOCK_BYTES as u64).unwrap();
        let mut buffer = AlignedBuffer::zeroed(3 * BLOCK_BYTES);
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 2 * BLOCK_BYTES);
        assert_eq!(buffer.as_slice()[BLOCK_BYTES - 1..=BLOCK_BYTES], [7, 9]);
    }
}
