//! SHA-256 over the bytes of a recording.
//!
//! Owns the fast implementation for bulk data. It gives what `sha256sum` gives (FIPS 180-4).

use aws_lc_rs::digest::{Context, SHA256};

use crate::core::ids::Digest;

/// A running SHA-256.
pub struct BulkSha256(Context);

impl BulkSha256 {
    /// Of nothing yet.
    #[expect(clippy::new_without_default, reason = "a running digest has no default state worth a trait")]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256() {
        let mut digest = BulkSha256::new();
        digest.update(b"a");
        digest.update(b"bc");
        let text = digest.finish().to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
