//! Memory that the allocator keeps although nobody uses it.
//!
//! Owns the one call. Must never decide when it is worth it.

/// Gives whole pages that are free in the allocator back to the kernel, in the middle of its memory too. Takes a few
/// milliseconds for each hundred MiB that are in use, and holds up allocations so long.
pub fn give_back_free_pages() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes the allocator's own locks and touches free memory alone; it is documented as safe to
    // call from several threads at once.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let blocks: Vec<Vec<u8>> = (0..1000_u32).map(|n| vec![n.to_le_bytes()[0]; 5000]).collect();
        let (kept, freed): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(at, _)| at % 7 == 0);
        drop(freed);
        super::give_back_free_pages();
        assert!(kept.iter().all(|(at, block)| block.iter().all(|byte| *byte == at.to_le_bytes()[0])));
    }
}
