//! The end of a small file that held keys: overwritten where it lies, then removed.
//!
//! Owns the order zeros, `fdatasync`, read back past the cache, `unlink`. Whether that destroys the old bytes depends on the file
//! system (`core::medium`) and on what lies below it. Must never follow a link.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::direct::{AlignedBuffer, BLOCK_BYTES, DirectFile};
use super::durable::DiskError;
use super::fault::{Op, call, open};

/// Blocks overwritten at once.
const STRIPE_BLOCKS: u64 = 256;

/// Overwrites the file with zeros and removes it; `false` when there is none. The caller syncs the directory. After an error
/// the file may be there, its bytes old or zero, and this can be repeated.
///
/// # Errors
/// It is a link or no file, the disk refuses, or does not keep the zeros.
pub fn overwrite_and_remove(path: &Path) -> Result<bool, DiskError> {
    let writable = || {
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new().read(true).write(true).custom_flags(nofollow).open(path)
    };
    let file = match open(Op::Open, path, writable) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(DiskError::when("open to overwrite", path))?,
    };
    let length = file.metadata().map_err(DiskError::when("look at", path))?.len();
    let file = DirectFile::from_file(file);
    let mut done = 0;
    let blocks = length.div_ceil(BLOCK_BYTES as u64);
    while done < blocks {
        let count = STRIPE_BLOCKS.min(blocks - done);
        let offset = done * BLOCK_BYTES as u64;
        let zeros = AlignedBuffer::zeroed(usize::try_from(count).unwrap_or_default() * BLOCK_BYTES);
        // A file that ends within a block is lengthened to its end, which lies in the same block of the medium.
        file.write_at(path, &zeros, offset).map_err(DiskError::when("overwrite", path))?;
        let mut kept = AlignedBuffer::zeroed(zeros.as_slice().len());
        let read = file.read_at(&mut kept, offset).map_err(DiskError::when("read back", path))?;
        if read != kept.as_slice().len() || kept.as_slice().iter().any(|byte| *byte != 0) {
            return Err(DiskError::when("overwrite", path)(io::Error::other("the disk keeps other bytes")));
        }
        done += count;
    }
    call(Op::Remove, path, || std::fs::remove_file(path)).map_err(DiskError::when("remove", path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_file_is_zero_before_it_is_gone_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for length in [0, 32, 4096, 5000] {
            fs::write(&path, vec![7; length]).unwrap();
            // Another descriptor still reads what lies in its blocks.
            let witness = fs::File::open(&path).unwrap();
            assert!(overwrite_and_remove(&path).unwrap());
            assert!(!path.exists());
            let mut bytes = vec![1; length];
            witness.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0), "{length}");
            assert!(!overwrite_and_remove(&path).unwrap(), "once");
        }
        let other = dir.path().join("other");
        fs::write(&other, "stays").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(overwrite_and_remove(&path).is_err());
        assert_eq!(fs::read(&other).unwrap(), b"stays");
    }
}
