//! The only randomness.
//!
//! Owns the kernel's generator (`getrandom`). Must never fall back to anything else: no randomness, no work.
#![forbid(unsafe_code)]

use std::io;

use rustix::rand::GetRandomFlags;
use zeroize::Zeroize as _;

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

/// Bytes that one call brings: salts and nonces of a large batch.
const DRAWN_BYTES: usize = 2048;

/// Random bytes drawn ahead, for whoever needs many small pieces: one call to the kernel for all of them. Each byte is
/// given out once, and wiped here as it is; what is left is wiped at the end.
pub struct Drawn {
    bytes: [u8; DRAWN_BYTES],
    /// Bytes at the end that have not been given out.
    left: usize,
}

impl Drawn {
    /// Nothing drawn yet.
    #[expect(clippy::new_without_default, reason = "randomness has no default")]
    pub const fn new() -> Self {
        Self { bytes: [0; DRAWN_BYTES], left: 0 }
    }

    /// `N` random bytes, at most 64.
    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        const { assert!(N <= 64, "larger pieces are drawn by themselves") };
        if self.left < N {
            self.left = 0;
            fill(&mut self.bytes)?;
            self.left = self.bytes.len();
        }
        let rest = self.bytes.iter_mut().rev().take(self.left).rev();
        let mut piece = [0; N];
        piece.iter_mut().zip(rest).for_each(|(to, from)| *to = std::mem::take(from));
        self.left -= N;
        Ok(piece)
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(array::<32>().unwrap(), array::<32>().unwrap());
    }

    #[test]
    fn what_is_drawn_ahead_is_given_out_once_and_wiped() {
        let mut drawn = Drawn::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..DRAWN_BYTES {
            assert!(seen.insert(drawn.array::<16>().unwrap()), "sixteen bytes came twice");
            let given = drawn.bytes.len() - drawn.left;
            assert!(drawn.bytes[..given].iter().all(|byte| *byte == 0));
            assert!(
                seen.insert(
                    drawn
                        .array::<12>()
                        .unwrap()
                        .iter()
                        .chain(&[0; 4])
                        .copied()
                        .collect::<Vec<_>>()
                        .try_into()
                        .unwrap()
                )
            );
        }
    }
}
