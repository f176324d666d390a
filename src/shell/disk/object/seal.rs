//! Writing a sealed recording.
//!
//! Owns the order of design §6: object to an unnamed file, `fsync`, cache dropped, read back from the medium and
//! matched; then the link and the `fsync` of its directory. Invariant 6: an object has a name only after all of this.
//! The first four are done stretch by stretch, so that they overlap (`crew`); the system calls of one recording are
//! `write`, `fdatasync`, `fadvise`, `read` for each stretch, and `ftruncate`, `fsync` in place of `fdatasync` for the last.
//!
//! Matched means: every chunk read back opens under the data key, so it is the ciphertext that was made here; and the
//! CRC-32C of all plaintext read back is the one that was taken while hashing, so what was sealed is what was hashed.

use std::fs::File;
use std::io::Read;

use super::{ObjectError, ObjectStore};
use crate::core::format::trailer::Trailer;
use crate::core::ids::{Digest, RecordingId};
use crate::shell::crypt::ChunkSealer;
use crate::shell::disk::direct::DirectFile;
use crate::shell::disk::durable::{DiskError, link_unnamed, sync_dir, unnamed_file};

mod checking;
mod crew;
mod hashing;
mod sealing;

use checking::Checking;
use crew::Crew;
use hashing::Hashing;
use sealing::Sealing;

/// A sealed recording without a name: durable, read back, matched. Dropped, it leaves nothing.
pub struct StagedObject {
    store: ObjectStore,
    file: File,
    id: RecordingId,
    sha256: Digest,
    plain_bytes: u64,
}

impl ObjectStore {
    /// Seals `source`, read once to its end, under the id in the header of `sealer`. `build_trailer` is told the
    /// SHA-256 and the length of what was read; these and the id are set in the trailer whatever it says. Memory is
    /// bounded, whatever the length.
    pub fn seal(
        &self,
        source: impl Read + Send,
        sealer: ChunkSealer,
        build_trailer: impl FnOnce(Digest, u64) -> Trailer + Send,
    ) -> Result<StagedObject, ObjectError> {
        let id = sealer.header().id;
        let path = self.path(id);
        let file = unnamed_file(&self.dir).map_err(DiskError::when("make an unnamed file in", &self.dir))?;
        let file = DirectFile::from_file(file);

        let checking = Checking::new(&sealer);
        let crew =
            Crew::new(&file, &path, Hashing::new(source), Sealing::new(sealer, build_trailer), checking);
        let (totals, crc_read_back) = crew.run()?;
        if crc_read_back != totals.crc {
            return Err(ObjectError::NotKept(path));
        }
        let (sha256, plain_bytes) = (totals.sha256, totals.bytes);
        Ok(StagedObject { store: self.clone(), file: file.into_file(), id, sha256, plain_bytes })
    }
}

impl StagedObject {
    /// The recording.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// SHA-256 of the original bytes.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Length of the original, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Gives the object its name, durably when this returns. Never replaces: an object of this id makes it fail with
    /// `ErrorKind::AlreadyExists`.
    pub fn link(self) -> Result<(), ObjectError> {
        let folder = self.store.make_folder(self.id)?;
        let path = self.store.path(self.id);
        link_unnamed(&self.file, &path).map_err(DiskError::when("link", &path))?;
        Ok(sync_dir(&folder)?)
    }
}
