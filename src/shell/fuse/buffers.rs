//! The buffers that plaintext passes through on its way to the kernel.
//!
//! Owns their number and their wiping. Must never grow with the number of reads: one buffer for each thread that
//! ever read at the same time, and one for each session that reads ahead (`ahead`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize as _;

/// The largest READ the kernel sends: what `max_write` promises in the handshake.
pub const MAX_READ_BYTES: u32 = 1024 * 1024;

/// Buffers waiting for their next read. They still hold plaintext until [`Buffers::wipe`] or the end.
#[derive(Default)]
pub struct Buffers(Arc<Idle>);

#[derive(Default)]
struct Idle(Mutex<Vec<Box<[u8]>>>);

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.lock().iter_mut().for_each(|bytes| bytes.zeroize());
    }
}

impl Buffers {
    /// A buffer of [`MAX_READ_BYTES`], from the idle ones when there is one.
    pub fn take(&self) -> Buffer {
        let idle = self.0.lock().pop();
        let bytes = idle.unwrap_or_else(|| vec![0; MAX_READ_BYTES as usize].into());
        Buffer { bytes, home: Arc::clone(&self.0) }
    }

    /// Overwrites the idle buffers.
    pub fn wipe(&self) {
        self.0.lock().iter_mut().for_each(|bytes| bytes.zeroize());
    }
}

/// One buffer in use; it goes back when dropped.
pub struct Buffer {
    bytes: Box<[u8]>,
    home: Arc<Idle>,
}

impl Buffer {
    /// Its bytes, whatever the last read left in them.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Overwrites it.
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.lock().push(bytes);
    }
}
