//! The hash under which the catalogue knows a subject.
//!
//! Owns HMAC-SHA-256 (RFC 2104) under the key of the `subject` slot: without that key nobody can test a guess.

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::secret::Secret;
use crate::shell::sys::locked::Locked;

/// Hashes subjects.
pub struct SubjectMac(Locked<hmac::Key>);

impl SubjectMac {
    /// Under `secret`.
    pub fn new(secret: &Secret) -> Self {
        Self(Locked::new(hmac::Key::new(HMAC_SHA256, secret.bytes())))
    }

    /// The hash of `subject`, as written by the recorder.
    pub fn mac(&self, subject: &str) -> [u8; 32] {
        let mut mac = [0; 32];
        for (to, from) in mac.iter_mut().zip(hmac::sign(&self.0, subject.as_bytes()).as_ref()) {
            *to = *from;
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_subjects_hash_alike_under_one_key_only() {
        let mac = SubjectMac::new(&Secret::generate().unwrap());
        assert_eq!(mac.mac("martin"), mac.mac("martin"));
        assert_ne!(mac.mac("martin"), mac.mac("dupont"));
        assert_ne!(mac.mac("martin"), SubjectMac::new(&Secret::generate().unwrap()).mac("martin"));
    }
}
