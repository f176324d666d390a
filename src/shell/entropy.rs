//! The only randomness.
//!
//! Owns the kernel's generator (`getrandom`). Must never fall back to anything else: no randomness, no work.
#![forbid(unsafe_code)]

use std::io;

use rustix::rand::GetRandomFlags;

/// Fills `buffer` from the kernel's generator; waits at boot until it is seeded.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        #[expect(clippy::disallowed_methods, reason = "this file is where randomness comes from")]
        let filled = rustix::rand::getrandom(&mut *rest, GetRandomFlags::empty());
        match filled {
            Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `N` random bytes.
pub fn array<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(array::<32>().unwrap(), array::<32>().unwrap());
    }
}
