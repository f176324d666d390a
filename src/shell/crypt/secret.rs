//! One secret of 32 bytes, as it comes out of a slot.
//!
//! Owns the bytes while in memory. Must never show them outside `crypt`.

use std::io;

use crate::shell::entropy;
use crate::shell::sys::locked::Locked;

/// 32 secret bytes in locked memory, wiped when dropped. What they are used for decides the type made from them.
pub struct Secret(Locked<[u8; 32]>);

impl Secret {
    /// A new random secret.
    pub fn generate() -> io::Result<Self> {
        // In its place before it is filled: a move then copies the pointer, not the key.
        let mut secret = Self::zeroed();
        entropy::fill(secret.bytes_mut())?;
        Ok(secret)
    }

    /// An all-zero secret, for the callee to fill.
    pub(super) fn zeroed() -> Self {
        Self(Locked::new([0; 32]))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}
