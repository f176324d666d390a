//! One secret of 32 bytes, as it comes out of a slot.
//!
//! Owns the bytes while in memory. Must never show them outside `crypt`.

use std::io;

use zeroize::Zeroize;

use crate::shell::entropy;

/// 32 secret bytes, wiped when dropped. What they are used for decides the type made from them.
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// A new random secret.
    pub fn generate() -> io::Result<Self> {
        // Boxed before it is filled: a move then copies the pointer, not the key.
        let mut bytes = Box::new([0; 32]);
        entropy::fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// An all-zero secret, for the callee to fill.
    pub(super) fn zeroed() -> Self {
        Self(Box::new([0; 32]))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}
