//! The file `scrub` of the state directory: how far the reading of the store has come.
//!
//! Owns its name. Must never be needed: without it the reading begins anew.

use std::fs;
use std::io;
use std::path::Path;

use super::durable::{DiskError, sync_dir, write_file_atomic};
use super::ledger_files::read_bounded;
use crate::core::scrub::Place;

const NAME: &str = "scrub";

/// The place in `state_dir`; `None` when there is none that can be used.
pub fn load(state_dir: &Path) -> Result<Option<Place>, DiskError> {
    let path = state_dir.join(NAME);
    let bytes = read_bounded(&path, Place::MAX_BYTES as u64);
    match bytes {
        Ok(bytes) => Ok(bytes.and_then(|bytes| Place::parse(&bytes).ok())),
        // Longer than any that this program writes.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(DiskError::when("read", &path)(error)),
    }
}

/// Replaces the place, durably when this returns.
pub fn save(state_dir: &Path, place: &Place) -> Result<(), DiskError> {
    let bytes = place.encode().map_err(io::Error::other);
    let bytes = bytes.map_err(DiskError::when("replace", &state_dir.join(NAME)))?;
    write_file_atomic(state_dir, NAME, &bytes)
}

/// Forgets the place: the reading came to its end, or begins anew.
pub fn forget(state_dir: &Path) -> Result<(), DiskError> {
    let path = state_dir.join(NAME);
    match fs::remove_file(&path) {
        Ok(()) => sync_dir(state_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DiskError::when("remove", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stays_until_it_is_forgotten_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        let place = Place::start("2026-05-12T10:00:00Z".parse().unwrap());
        save(dir.path(), &place).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(place));
        for bad in [vec![], b"rubbish\n".to_vec(), vec![b'x'; 1 << 20]] {
            fs::write(dir.path().join(NAME), bad).unwrap();
            assert_eq!(load(dir.path()).unwrap(), None);
        }
        forget(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
    }
}
