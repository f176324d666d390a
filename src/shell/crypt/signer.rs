//! Ed25519 signatures of the log key and of the epoch keys (RFC 8032).
//!
//! Owns private signing keys while in memory; AWS-LC wipes what it frees. What is signed and when is the ledger's business.
//! Two signatures stand in the way of every commit, and AWS-LC makes one in half the time of the library that verifies.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::secret::Secret;

/// A private signing key.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key whose 32-byte seed is `secret`.
    pub fn new(secret: &Secret) -> Self {
        #[expect(clippy::expect_used, reason = "every 32 bytes are a seed (RFC 8032), and these are 32")]
        Self(Ed25519KeyPair::from_seed_unchecked(secret.bytes()).expect("a seed of 32 bytes"))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.iter_mut().zip(self.0.sign(message).as_ref()).for_each(|(to, from)| *to = *from);
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, VerifyingKey};

    /// RFC 8032, 7.1, test 2; and the other library signs the same: a head signed twice has one signature.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        use data_encoding::HEXLOWER;
        use ed25519_dalek::Signer as _;
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let mut secret = Secret::zeroed();
        secret.bytes_mut().copy_from_slice(&HEXLOWER.decode(seed.as_bytes()).unwrap());
        let signer = Signer::new(&secret);
        assert_eq!(
            HEXLOWER.encode(&signer.public()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert!(
            HEXLOWER.encode(&signer.sign(&[0x72])).starts_with("92a009a9f0d4cab8720e820b5f642540a2b27b54")
        );
        let other = ed25519_dalek::SigningKey::from_bytes(secret.bytes());
        for message in [b"".as_slice(), b"head", &[7; 300]] {
            assert_eq!(signer.sign(message), other.sign(message).to_bytes());
        }
    }

    #[test]
    fn a_signature_verifies_strictly_under_the_public_key() {
        let signer = Signer::new(&Secret::generate().unwrap());
        let key = VerifyingKey::from_bytes(&signer.public()).unwrap();
        let signature = Signature::from_bytes(&signer.sign(b"head"));
        assert!(key.verify_strict(b"head", &signature).is_ok());
        assert!(key.verify_strict(b"other", &signature).is_err());
    }
}
