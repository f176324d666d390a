//! Memory for keys: never swapped out (mlock(2)), left out of core dumps and empty after a fork (madvise(2)), zero when given back.
//!
//! Owns a pool of slots of 2 KiB, in chunks of 1 MiB that are mapped once and never unmapped. Where the kernel refuses to lock a chunk it is
//! used all the same, and [`lock_failure`] says so: whether to go on is not decided here. Knows nothing of what lies in a slot.
#![expect(unsafe_code, reason = "no safe crate at hand keeps a value of any type in locked memory")]

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering, compiler_fence};
use std::sync::{Mutex, PoisonError};

/// Room for one value, in bytes.
const SLOT_BYTES: usize = 2048;
/// Slots that are mapped and locked at once: 1 MiB.
const CHUNK_SLOTS: usize = 512;

/// The slots that nobody uses, by address.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Bytes mapped, and those of them that are locked.
static MAPPED: AtomicUsize = AtomicUsize::new(0);
static LOCKED: AtomicUsize = AtomicUsize::new(0);
/// What mlock(2) said when it last failed.
static ERRNO: AtomicI32 = AtomicI32::new(0);

/// A value in locked memory. Moving it moves a pointer; the value stays where it is, and its bytes are zero after the drop.
pub struct Locked<T>(NonNull<T>);

// SAFETY: the value belongs to this alone, as in a box.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as for a box.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    /// Moves `value` into locked memory. What the caller had of it on its stack is the caller's to wipe.
    pub fn new(value: T) -> Self {
        const {
            assert!(size_of::<T>() <= SLOT_BYTES && align_of::<T>() <= SLOT_BYTES, "too large for a slot");
        }
        let slot = take_slot().cast::<T>();
        // SAFETY: the slot is mapped, writable, large and aligned enough, and nobody else has it.
        unsafe { slot.write(value) };
        Self(slot)
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the slot holds a value from `new` until the drop.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, here.
        unsafe { self.0.drop_in_place() };
        let slot = self.0.cast::<u8>();
        for at in 0..SLOT_BYTES {
            // SAFETY: within the slot, which is mapped and still belongs to this alone. Volatile, so that it is done although nobody reads.
            unsafe { slot.add(at).write_volatile(0) };
        }
        compiler_fence(Ordering::SeqCst);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(slot.as_ptr().expose_provenance());
    }
}

/// Why some of the memory for keys is not locked; `None` when all of it is.
pub fn lock_failure() -> Option<io::Error> {
    let all = MAPPED.load(Ordering::SeqCst) == LOCKED.load(Ordering::SeqCst);
    (!all).then(|| io::Error::from_raw_os_error(ERRNO.load(Ordering::SeqCst)))
}

fn take_slot() -> NonNull<u8> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.is_empty() {
        let chunk = map_chunk();
        free.extend((0..CHUNK_SLOTS).rev().map(|slot| chunk + slot * SLOT_BYTES));
    }
    let slot = free.pop().and_then(|slot| NonNull::new(std::ptr::with_exposed_provenance_mut(slot)));
    // A chunk was just added when there was none, and no address in it is zero: as where an allocation fails, nothing can go on.
    slot.unwrap_or_else(|| std::process::abort())
}

fn map_chunk() -> usize {
    let length = SLOT_BYTES * CHUNK_SLOTS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping wherever the kernel likes; no memory of anybody changes.
    let chunk = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, kind, -1, 0) };
    if chunk == libc::MAP_FAILED {
        // As every allocation of this program that fails.
        std::process::abort();
    }
    MAPPED.fetch_add(length, Ordering::SeqCst);
    // SAFETY: the mapping is ours and as long as said; the calls change no byte of it.
    let locked = unsafe { libc::mlock(chunk, length) };
    if locked == 0 {
        LOCKED.fetch_add(length, Ordering::SeqCst);
    } else {
        ERRNO.store(io::Error::last_os_error().raw_os_error().unwrap_or_default(), Ordering::SeqCst);
    }
    for advice in [libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK] {
        // SAFETY: as above. A kernel that does not know the advice leaves the process itself, which is not dumpable.
        let _best_effort = unsafe { libc::madvise(chunk, length, advice) };
    }
    chunk.expose_provenance()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags and locked kilobytes of the mapping that holds `address`.
    fn mapping_of(address: usize) -> (String, u64) {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut inside, mut locked) = (false, 0);
        for line in maps.lines() {
            let range = line.split(' ').next().unwrap_or_default().split_once('-');
            let range = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = range {
                inside = (from..to).contains(&address);
            } else if let (true, Some(kilobytes)) = (inside, line.strip_prefix("Locked:")) {
                locked = kilobytes.trim().trim_end_matches(" kB").parse().unwrap();
            } else if let (true, Some(flags)) = (inside, line.strip_prefix("VmFlags:")) {
                return (flags.to_owned(), locked);
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn a_value_lies_in_memory_that_is_locked_and_left_out_of_dumps() {
        let value = Locked::new([7_u8; 32]);
        let (flags, locked) = mapping_of(std::ptr::from_ref(&*value).addr());
        let has = |flag: &str| flags.split_whitespace().any(|it| it == flag);
        assert!(has("dd") && has("wf"), "not left out of dumps or forks: {flags}");
        match lock_failure() {
            None => assert!(has("lo") && locked > 0, "not locked: {flags}"),
            Some(error) => assert!(!error.to_string().is_empty(), "refused, and said so"),
        }
    }

    #[test]
    fn a_slot_is_zero_when_it_is_given_back() {
        let value = Locked::new([0xA5_u8; 512]);
        let address = std::ptr::from_ref(&*value).expose_provenance();
        drop(value);
        // SAFETY: chunks are never unmapped; what another test may have put there since is not these bytes.
        let now =
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), 512) };
        assert_ne!(now, [0xA5; 512].as_slice());
    }

    #[test]
    fn values_stay_apart_and_are_dropped_once() {
        let counter = std::sync::Arc::new(());
        let values: Vec<_> = (0..3000_u64).map(|n| Locked::new((n, counter.clone()))).collect();
        for (n, value) in (0..).zip(&values) {
            let (number, _) = &**value;
            assert_eq!(*number, n);
        }
        assert_eq!(std::sync::Arc::strong_count(&counter), 3001);
        drop(values);
        assert_eq!(std::sync::Arc::strong_count(&counter), 1);
    }
}
