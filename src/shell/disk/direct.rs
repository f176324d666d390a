//! Reading and writing past the page cache (`O_DIRECT`), in whole 4 KiB blocks.
//!
//! Owns alignment, and the fallback where a file system refuses `O_DIRECT`: then writes are synced, and the cache is
//! dropped before what must come from the medium is read. Says so by [`DirectFile::is_direct`]. Buffers are wiped: what is
//! sealed lies in them in clear.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, OFlags};
use zeroize::Zeroize as _;

use super::fault::{Op, on_file, write_at};

/// The block in which direct files are read and written, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// A buffer that starts on a block boundary; wiped when dropped.
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

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// A file read and written at block boundaries.
pub struct DirectFile {
    file: File,
    direct: AtomicBool,
}

impl DirectFile {
    /// Turns `file` to direct reading and writing. What it wrote before must have been synced.
    pub fn from_file(file: File) -> Self {
        let direct = rustix::fs::fcntl_getfl(&file)
            .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags | OFlags::DIRECT))
            .is_ok();
        Self { file, direct: AtomicBool::new(direct) }
    }

    /// Whether the page cache is bypassed.
    pub fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
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
        self.read_blocks(buffer.as_mut_slice(), offset)
    }

    /// The same into whole blocks of an [`AlignedBuffer`].
    pub fn read_blocks(&self, blocks: &mut [u8], offset: u64) -> io::Result<usize> {
        let direct = self.is_direct();
        if !direct {
            drop_cache(&self.file)?;
        }
        let mut done = 0;
        while let Some(rest) = blocks.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A direct read that ends inside a block has met the end of the file; going on would be unaligned.
            if direct && done % BLOCK_BYTES != 0 {
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

    /// Writes `blocks`, whole ones of an [`AlignedBuffer`], at `offset`, a multiple of the block. Durable after a sync, which
    /// is the caller's. `path` names the file for the tests of faults.
    pub fn write_blocks(&self, path: &Path, blocks: &[u8], offset: u64) -> io::Result<()> {
        match write_at(Op::Write, path, &self.file, blocks, offset) {
            // The file system takes `O_DIRECT` and wants another alignment.
            Err(error) if self.is_direct() && error.kind() == io::ErrorKind::InvalidInput => {
                let flags = rustix::fs::fcntl_getfl(&self.file)?;
                rustix::fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
                self.direct.store(false, Ordering::Relaxed);
                write_at(Op::Write, path, &self.file, blocks, offset)
            }
            written => written,
        }
    }
}

/// Asks the kernel to forget the cached pages of `file`; those not yet written stay.
pub fn drop_cache(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// The same for the blocks that `range` touches.
pub fn drop_cache_of(file: &File, range: Range<u64>) -> io::Result<()> {
    let start = range.start - range.start % BLOCK_BYTES as u64;
    // A length of nothing would mean: to the end.
    match NonZeroU64::new(range.end.next_multiple_of(BLOCK_BYTES as u64).saturating_sub(start)) {
        Some(length) => Ok(rustix::fs::fadvise(file, start, Some(length), Advice::DontNeed)?),
        None => Ok(()),
    }
}

/// Tells the kernel that `file` is read once from start to end. Only advice: whether it is taken changes nothing.
pub fn will_read_through(file: &File) {
    let _advice = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
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
        let file = DirectFile { file, direct: AtomicBool::new(false) };
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        block.as_mut_slice().fill(9);
        file.write_at(&path, &block, BLOCK_BYTES as u64).unwrap();
        let mut buffer = AlignedBuffer::zeroed(3 * BLOCK_BYTES);
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 2 * BLOCK_BYTES);
        assert_eq!(buffer.as_slice()[BLOCK_BYTES - 1..=BLOCK_BYTES], [7, 9]);
    }
}
