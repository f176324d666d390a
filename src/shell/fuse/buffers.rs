//! The buffers that plaintext passes through on its way to the kernel.
//!
//! Owns their number and their wiping. Must never grow with the number of reads: one buffer for each thread that
//! ever read at the same time, and those that [`super::ahead`] bounds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize as _;

use super::ahead::MOST_PARTS;

/// The largest READ the kernel sends: what `max_write` promises in the handshake.
pub const MAX_READ_BYTES: u32 = 1024 * 1024;

/// Most that wait for their next read: as many as read at the same time, or ahead, while no disk stands still.
const MOST_IDLE: usize = MOST_PARTS + 4;

/// Buffers waiting for their next read. They still hold plaintext until [`Buffers::wipe`] or the end.
#[derive(Default)]
pub struct Buffers(Arc<Idle>);

#[derive(Default)]
struct Idle(Mutex<Vec<Part>>);

/// The memory of one buffer, and how much of it may hold plaintext: only that is overwritten, or the end of a session would
/// cost what all the others have read.
struct Part {
    bytes: Box<[u8]>,
    used: usize,
}

impl Part {
    fn wipe(&mut self) {
        self.bytes.get_mut(..self.used).unwrap_or_default().zeroize();
        self.used = 0;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffers {
    /// A buffer of [`MAX_READ_BYTES`], from the idle ones when there is one.
    pub fn take(&self) -> Buffer {
        let idle = self.0.lock().pop();
        let part = idle.unwrap_or_else(|| Part { bytes: vec![0; MAX_READ_BYTES as usize].into(), used: 0 });
        Buffer { part: Some(part), home: Arc::clone(&self.0) }
    }

    /// Overwrites the idle buffers.
    pub fn wipe(&self) {
        // Beside the lock: whoever reads meanwhile does not wait.
        let mut parts = std::mem::take(&mut *self.0.lock());
        parts.iter_mut().for_each(Part::wipe);
        let mut idle = self.0.lock();
        parts.truncate(MOST_IDLE.saturating_sub(idle.len()));
        idle.append(&mut parts);
    }
}

/// One buffer in use; it goes back when dropped.
pub struct Buffer {
    /// Absent only while it goes back.
    part: Option<Part>,
    home: Arc<Idle>,
}

impl Buffer {
    /// Its first `length` bytes, at most all, to be filled: whatever the last read left in them.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        let Some(part) = &mut self.part else { return Default::default() };
        let length = length.min(part.bytes.len());
        part.used = part.used.max(length);
        part.bytes.get_mut(..length).unwrap_or_default()
    }

    /// Its first `length` bytes.
    pub fn filled(&self, length: usize) -> &[u8] {
        self.part.as_ref().and_then(|part| part.bytes.get(..length)).unwrap_or_default()
    }

    /// Overwrites it.
    pub fn wipe(&mut self) {
        self.part.iter_mut().for_each(Part::wipe);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self.home.lock();
        if idle.len() < MOST_IDLE {
            idle.extend(self.part.take());
        }
    }
}
