//! Ed25519 signatures of the log key and of the epoch keys (RFC 8032).
//!
//! Owns private signing keys while in memory. What is signed and when is the ledger's business.

use ed25519_dalek::{Signer as _, SigningKey};

use super::secret::Secret;

/// A private signing key.
pub struct Signer(Box<SigningKey>);

impl Signer {
    /// The key whose 32-byte seed is `secret`.
    pub fn new(secret: &Secret) -> Self {
        Self(Box::new(SigningKey::from_bytes(secret.bytes())))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, VerifyingKey};

    #[test]
    fn a_signature_verifies_strictly_under_the_public_key() {
        let signer = Signer::new(&Secret::generate().unwrap());
        let key = VerifyingKey::from_bytes(&signer.public()).unwrap();
        let signature = Signature::from_bytes(&signer.sign(b"head"));
        assert!(key.verify_strict(b"head", &signature).is_ok());
        assert!(key.verify_strict(b"other", &signature).is_err());
    }
}
