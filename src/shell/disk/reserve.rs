//! The ledger's reserve (design §5): blocks of the disk that nobody else can take, given up piece by piece when it is full.
//!
//! Owns the file `reserve` in the state directory. Whoever writes the ledger or a key and meets a full disk gives up a piece
//! and tries once more ([`or_give_up`]); the daemon takes the blocks back when there is room ([`fill`]). The file holds nothing
//! and means nothing: it may be deleted at any moment. Must never be touched for a sealed recording.
//!
//! Giving up: `ftruncate` · `fsync`, because some file systems free blocks only then. Filling: `fallocate` · `fsync`.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::fault::{Op, call};

/// Given up at a time, in bytes: enough for a bundle of entries with details and tiles.
const PIECE_BYTES: u64 = 2 << 20;

/// Between the look at its length and the change of it nobody else may change it: it would grow a hole.
static CHANGING: Mutex<()> = Mutex::new(());

/// Its place.
fn place(state_dir: &Path) -> PathBuf {
    state_dir.join("reserve")
}

/// How many bytes stand in reserve; 0 when there is none.
pub fn held_bytes(state_dir: &Path) -> u64 {
    std::fs::metadata(place(state_dir)).map_or(0, |meta| meta.len())
}

/// Makes the reserve `bytes` long, with blocks behind all of it. A longer one is shortened.
///
/// # Errors
/// The disk has no room for it; then what was held before is still held.
pub fn fill(state_dir: &Path, bytes: u64) -> io::Result<()> {
    let _alone = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = place(state_dir);
    let held = held_bytes(state_dir);
    // A copy of the state directory may have its length and no blocks.
    let blocks = std::fs::metadata(&path).map_or(0, |meta| meta.blocks().saturating_mul(512));
    if held == bytes && blocks >= bytes {
        return Ok(());
    }
    let file = call(Op::Open, &path, || {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
    })?;
    if held > bytes {
        return shorten(&path, &file, bytes);
    }
    let allocated = call(Op::Write, &path, || allocate(&file, held, bytes));
    match allocated.and_then(|()| call(Op::Sync, &path, || file.sync_all())) {
        Ok(()) => Ok(()),
        Err(error) => {
            shorten(&path, &file, held)?;
            Err(error)
        }
    }
}

fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(file, flags, 0, to) {
        Ok(()) => Ok(()),
        // Zeros do the same on a file system that cannot allocate without writing.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            use std::os::unix::fs::FileExt as _;
            let zeros = vec![0u8; 64 * 1024];
            let mut at = from;
            while at < to {
                let step = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
                file.write_all_at(zeros.get(..step).unwrap_or_default(), at)?;
                at += step as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn shorten(path: &Path, file: &File, to: u64) -> io::Result<()> {
    call(Op::Write, path, || file.set_len(to))?;
    call(Op::Sync, path, || file.sync_all())
}

/// Gives up at least `bytes` of it, as far as it goes. Whether any was given up.
fn give_up(state_dir: &Path, bytes: u64) -> bool {
    let _alone = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = place(state_dir);
    let held = held_bytes(state_dir);
    if held == 0 {
        return false;
    }
    let left = held.saturating_sub(bytes.max(PIECE_BYTES));
    // One that cannot be given up leaves the attempt with its own error.
    OpenOptions::new().write(true).open(&path).and_then(|file| shorten(&path, &file, left)).is_ok()
}

/// Runs `attempt`; when the disk is full, gives up a piece of the reserve of `folder`'s state directory, at least `bytes`, and
/// runs it again, until it succeeds or nothing is left. `attempt` must be such that it can be repeated.
///
/// # Errors
/// Those of `attempt`.
pub fn or_give_up<T, E: Error + 'static>(
    folder: &Path,
    bytes: u64,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    loop {
        match attempt() {
            Err(error) if is_full(&error) && folder.parent().is_some_and(|state| give_up(state, bytes)) => {}
            answer => return answer,
        }
    }
}

/// Whether an error says, itself or by its cause, that the disk is full or a quota used up.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let full = [libc::ENOSPC, libc::EDQUOT];
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| full.contains(&code)) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::disk::durable::DiskError;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_reserve_has_blocks_behind_it_and_is_given_up_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(held_bytes(dir.path()), 0);
        fill(dir.path(), 5 * MIB).unwrap();
        fill(dir.path(), 5 * MIB).unwrap();
        let meta = std::fs::metadata(dir.path().join("reserve")).unwrap();
        assert!(meta.blocks() * 512 >= 5 * MIB && meta.mode() & 0o777 == 0o600);
        let ledger = dir.path().join("ledger");
        let mut tries = 0;
        let full = || io::Error::other(DiskError::when("write", &ledger)(io::Error::from_raw_os_error(28)));
        let got = or_give_up(&ledger, 1, || {
            tries += 1;
            if tries < 3 { Err(full()) } else { Ok(tries) }
        });
        assert_eq!((got.unwrap(), held_bytes(dir.path())), (3, MIB));
        fill(dir.path(), 2 * MIB).unwrap();
        assert_eq!(held_bytes(dir.path()), 2 * MIB);
        tries = 0;
        let never = or_give_up(&ledger, 1, || {
            tries += 1;
            Err::<(), _>(full())
        });
        assert!(never.is_err() && tries == 2 && held_bytes(dir.path()) == 0);
    }

    #[test]
    fn only_a_full_disk_costs_reserve() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), MIB).unwrap();
        let ledger = dir.path().join("ledger");
        let broken = or_give_up(&ledger, 1, || Err::<(), _>(io::Error::from_raw_os_error(libc::EIO)));
        assert!(broken.is_err() && held_bytes(dir.path()) == MIB);
        assert!(is_full(&io::Error::from_raw_os_error(libc::EDQUOT)));
        assert!(!is_full(&io::Error::other("No space left on device")));
    }
}
