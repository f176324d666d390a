//! Keys: wrapping, AEAD streams, signing. Key bytes never leave this folder.
//!
//! Owns every key in memory. Keys have private fields and no `Debug`, stand in no error, and are wiped when dropped
//! (the AEAD contexts by the library that made them). Must never store a key, nor choose which one to use.
#![forbid(unsafe_code)]

mod chunk;
mod detail;
mod digest;
mod master;
mod secret;
mod signer;
mod subject;

pub use chunk::{ChunkOpener, ChunkSealer};
pub use detail::{DETAIL_OVERHEAD_BYTES, DetailCipher};
pub use digest::BulkSha256;
pub use master::{MASTER_KEY_BYTES, MasterKey};
pub use secret::Secret;
pub use signer::Signer;
pub use subject::SubjectMac;

use aws_lc_rs::aead::{Algorithm, LessSafeKey, UnboundKey};

/// Bytes that their key does not open: damaged, forged, or sealed under another key. Which, cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not open under their key")]
pub struct DoesNotOpen;

/// An AEAD key of 32 bytes.
fn aead_key(algorithm: &'static Algorithm, bytes: &[u8; 32]) -> LessSafeKey {
    #[expect(
        clippy::expect_used,
        reason = "both suites here take exactly 32 bytes, the one cause of failure"
    )]
    let key = UnboundKey::new(algorithm, bytes).expect("32-byte key");
    LessSafeKey::new(key)
}
