//! The buffers that plaintext passes through on its way to the kernel.
//!
//! Owns their number and their wiping. Must never grow with the number of reads: one buffer for each thread that
//! ever read at the same time.

use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize as _;

/// The largest READ the kernel sends: what `max_write` promises in the handshake.
pub const MAX_READ_BYTES: u32 = 1024 * 1024;

/// Buffers waiting for their next read. They still hold plaintext until [`Buffers::wipe`] or the end.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    /// A buffer of [`MAX_READ_BYTES`], from the idle ones when there is one.
    pub fn take(&self) -> Buffer<'_> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: idle.unwrap_or_else(|| vec![0; MAX_READ_BYTES as usize].into()), home: self }
    }

    /// Overwrites the idle buffers.
    pub fn wipe(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(|bytes| bytes.zeroize());
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// One buffer in use; it goes back when dropped.
pub struct Buffer<'a> {
    bytes: Box<[u8]>,
    home: &'a Buffers,
}

impl Buffer<'_> {
    /// Its bytes, whatever the last read left in them.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}
