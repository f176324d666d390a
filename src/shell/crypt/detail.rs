//! Detail lines of the ledger, AES-256-GCM-SIV under one key per bundle of 256 entries (design §5).
//!
//! Owns nonce and associated data of a stored detail: nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes); associated data =
//! log id ‖ seq u64 LE.

use std::io;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce};

use super::secret::Secret;
use super::{DoesNotOpen, aead_key};
use crate::shell::entropy;
use crate::shell::sys::locked::Locked;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Bytes that a stored detail is longer than its line.
pub const DETAIL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Seals and opens the details of one bundle.
pub struct DetailCipher {
    log_id: [u8; 32],
    key: Locked<LessSafeKey>,
}

impl DetailCipher {
    /// For the bundle whose secret this is, in the log `log_id`.
    pub fn new(secret: &Secret, log_id: [u8; 32]) -> Self {
        Self { log_id, key: aead_key(&AES_256_GCM_SIV, secret.bytes()) }
    }

    /// The stored form of the detail line of entry `seq`. Fails only without randomness.
    pub fn seal_detail(&self, seq: u64, line: &[u8]) -> io::Result<Vec<u8>> {
        let mut stored = Vec::with_capacity(line.len() + DETAIL_OVERHEAD_BYTES);
        self.seal_onto(&mut stored, &mut entropy::Drawn::new(), seq, line)?;
        Ok(stored)
    }

    /// The same, appended to `stored`, with a nonce out of `drawn`. On failure what was appended is no detail.
    pub fn seal_onto(
        &self,
        stored: &mut Vec<u8>,
        drawn: &mut entropy::Drawn,
        seq: u64,
        line: &[u8],
    ) -> io::Result<()> {
        let nonce: [u8; NONCE_BYTES] = drawn.array()?;
        stored.extend_from_slice(&nonce);
        let begin = stored.len();
        stored.extend_from_slice(line);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.associated_data(seq)),
                stored.get_mut(begin..).unwrap_or_default(),
            )
            .map_err(|_| io::Error::other("the cipher library refused to seal a detail"))?;
        stored.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The detail line of entry `seq`.
    pub fn open_detail(&self, seq: u64, stored: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, sealed) = stored.split_first_chunk::<NONCE_BYTES>().ok_or(DoesNotOpen)?;
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(DoesNotOpen)?;
        let mut line = vec![0; ciphertext.len()];
        self.key
            .open_separate_gather(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.associated_data(seq)),
                ciphertext,
                tag,
                &mut line,
            )
            .map_err(|_| DoesNotOpen)?;
        Ok(line)
    }

    fn associated_data(&self, seq: u64) -> [u8; 40] {
        let mut aad = [0; 40];
        for (to, from) in aad.iter_mut().zip(self.log_id.iter().chain(&seq.to_le_bytes())) {
            *to = *from;
        }
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_opens_only_for_its_entry_of_its_log() {
        let secret = Secret::generate().unwrap();
        let cipher = DetailCipher::new(&secret, [1; 32]);
        let stored = cipher.seal_detail(7, b"{\"seq\":7}").unwrap();
        assert_eq!(stored.len(), 9 + DETAIL_OVERHEAD_BYTES);
        assert_eq!(cipher.open_detail(7, &stored).unwrap(), b"{\"seq\":7}");
        assert!(cipher.open_detail(8, &stored).is_err());
        assert!(DetailCipher::new(&secret, [2; 32]).open_detail(7, &stored).is_err());
        for i in 0..stored.len() {
            assert!(cipher.open_detail(7, &stored[..i]).is_err());
            let mut changed = stored.clone();
            changed[i] ^= 1;
            assert!(cipher.open_detail(7, &changed).is_err(), "byte {i}");
        }
    }

    #[test]
    fn the_same_line_is_never_stored_alike_twice() {
        let cipher = DetailCipher::new(&Secret::generate().unwrap(), [1; 32]);
        assert_ne!(cipher.seal_detail(7, b"x").unwrap(), cipher.seal_detail(7, b"x").unwrap());
    }
}
