//! Keys: wrapping, AEAD streams, signing. Key bytes never leave this folder.
//!
//! Owns every key in memory. Keys have private fields and no `Debug`, stand in no error, lie in locked memory that no core dump holds
//! (`shell/sys/locked.rs`), and are wiped when dropped. Two exceptions: signing keys, which AWS-LC keeps in its own heap and wipes when it
//! frees them, and what a call leaves on the stack. Must never store a key, nor choose which one to use.
#![forbid(unsafe_code)]

#[cfg(feature = "daemon")]
mod age;
mod backup;
mod chunk;
mod detail;
mod digest;
mod master;
mod secret;
mod signer;
mod subject;

#[cfg(feature = "daemon")]
pub use age::{AgeRecipient, NoRecipient};
pub use backup::{KeyBackup, MAX_BACKUP_BYTES, NoBackup};
pub use chunk::{ChunkOpener, ChunkSealer};
pub use detail::{DETAIL_OVERHEAD_BYTES, DetailCipher};
pub use digest::BulkSha256;
pub use master::{MASTER_KEY_BYTES, MasterKey};
pub use secret::Secret;
pub use signer::Signer;
pub use subject::SubjectMac;

use aws_lc_rs::aead::{Algorithm, LessSafeKey, UnboundKey};

use crate::shell::sys::locked::{Locked, lock_failure};

/// Bytes that their key does not open: damaged, forged, or sealed under another key. Which, cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not open under their key")]
pub struct DoesNotOpen;

/// Why some of the memory that holds keys can be swapped out; `None` when all of it is locked.
pub fn unlocked_key_memory() -> Option<std::io::Error> {
    lock_failure()
}

/// An AEAD key of 32 bytes, in locked memory.
fn aead_key(algorithm: &'static Algorithm, bytes: &[u8; 32]) -> Locked<LessSafeKey> {
    #[expect(
        clippy::expect_used,
        reason = "both suites here take exactly 32 bytes, the one cause of failure"
    )]
    let key = UnboundKey::new(algorithm, bytes).expect("32-byte key");
    Locked::new(LessSafeKey::new(key))
}
