//! The chunks and the trailer of a sealed recording, AES-256-GCM.
//!
//! Owns which nonce goes with which associated data (design §6). A data key seals one recording once: a second
//! sealing under it would repeat nonces, so [`ChunkSealer`] is made from a fresh secret and consumed by the sealing.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce};
use aws_lc_rs::error::Unspecified;

use super::secret::Secret;
use super::{DoesNotOpen, aead_key};
use crate::core::format::header::{HEADER_BYTES, Header};
use crate::core::format::layout::{FOOTER_BYTES, TAG_BYTES, chunk_nonce, trailer_nonce};
use crate::shell::sys::locked::Locked;

/// Seals the chunks of one recording.
pub struct ChunkSealer {
    header: Header,
    aad: [u8; HEADER_BYTES],
    key: Arc<Locked<LessSafeKey>>,
}

impl ChunkSealer {
    /// For a new recording and its new data key.
    pub fn new(secret: &Secret, header: Header) -> Self {
        Self { header, aad: header.encode(), key: Arc::new(aead_key(&AES_256_GCM, secret.bytes())) }
    }

    /// The header, which is associated data of every chunk.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What opens the recording that is being sealed.
    pub fn opener(&self) -> ChunkOpener {
        ChunkOpener { aad: self.aad, key: Arc::clone(&self.key) }
    }

    /// Encrypts chunk `index` in place and returns its tag. Each index once.
    pub fn seal_chunk(
        &mut self,
        index: u64,
        last: bool,
        chunk: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Unspecified> {
        let nonce = Nonce::assume_unique_for_key(chunk_nonce(index, last));
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&self.aad), chunk)?;
        tag.as_ref().try_into().map_err(|_| Unspecified)
    }

    /// Encrypts the trailer in place and returns its tag.
    pub fn seal_trailer(
        self,
        chunks: u64,
        footer: &[u8; FOOTER_BYTES],
        trailer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Unspecified> {
        let nonce = Nonce::assume_unique_for_key(trailer_nonce(chunks));
        let aad = trailer_aad(&self.aad, footer);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad.as_slice()), trailer)?;
        tag.as_ref().try_into().map_err(|_| Unspecified)
    }
}

/// Opens chunks of one recording, from any thread, in any order.
pub struct ChunkOpener {
    aad: [u8; HEADER_BYTES],
    key: Arc<Locked<LessSafeKey>>,
}

impl ChunkOpener {
    /// For a recording, its header as read from the file.
    pub fn new(secret: &Secret, header: Header) -> Self {
        Self { aad: header.encode(), key: Arc::new(aead_key(&AES_256_GCM, secret.bytes())) }
    }

    /// Decrypts chunk `index` from `sealed` (ciphertext ‖ tag) into `out`, which is exactly 16 bytes shorter.
    /// On error `out` is zero.
    pub fn open_chunk(
        &self,
        index: u64,
        last: bool,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), DoesNotOpen> {
        self.open(chunk_nonce(index, last), &self.aad, sealed, out)
    }

    /// Decrypts the trailer from `sealed` (ciphertext ‖ tag) into `out`, which is exactly 16 bytes shorter.
    /// On error `out` is zero.
    pub fn open_trailer(
        &self,
        chunks: u64,
        footer: &[u8; FOOTER_BYTES],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), DoesNotOpen> {
        self.open(trailer_nonce(chunks), &trailer_aad(&self.aad, footer), sealed, out)
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<(), DoesNotOpen> {
        let opened = sealed.split_at_checked(out.len()).ok_or(DoesNotOpen).and_then(|(ciphertext, tag)| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.key
                .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out)
                .map_err(|_| DoesNotOpen)
        });
        if opened.is_err() {
            // What a cipher leaves after a wrong tag is not plaintext of ours: nobody may see it.
            out.fill(0);
        }
        opened
    }
}

fn trailer_aad(header: &[u8; HEADER_BYTES], footer: &[u8; FOOTER_BYTES]) -> Vec<u8> {
    header.iter().chain(footer).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::RecordingId;

    #[test]
    fn a_chunk_opens_only_at_its_place_in_its_recording() {
        let secret = Secret::generate().unwrap();
        let header = Header { id: RecordingId::from_bytes([1; 16]) };
        let mut sealed = b"some plaintext".to_vec();
        let tag = ChunkSealer::new(&secret, header).seal_chunk(5, false, &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);

        let opener = ChunkOpener::new(&secret, header);
        let mut out = [0; 14];
        assert_eq!(opener.open_chunk(5, false, &sealed, &mut out), Ok(()));
        assert_eq!(&out, b"some plaintext");
        assert_eq!(opener.open_chunk(5, true, &sealed, &mut out), Err(DoesNotOpen));
        assert_eq!(out, [0; 14], "nothing is left of a failed opening");
        assert_eq!(opener.open_chunk(6, false, &sealed, &mut out), Err(DoesNotOpen));
        assert_eq!(opener.open_chunk(5, false, &sealed[..13], &mut out), Err(DoesNotOpen));
        let other = ChunkOpener::new(&secret, Header { id: RecordingId::from_bytes([2; 16]) });
        assert_eq!(other.open_chunk(5, false, &sealed, &mut out), Err(DoesNotOpen));
    }

    #[test]
    fn a_trailer_opens_only_with_its_footer() {
        let secret = Secret::generate().unwrap();
        let header = Header { id: RecordingId::from_bytes([1; 16]) };
        let mut sealed = b"{}".to_vec();
        let sealer = ChunkSealer::new(&secret, header);
        let opener = sealer.opener();
        let tag = sealer.seal_trailer(1, &[7; FOOTER_BYTES], &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        let mut out = [0; 2];
        assert_eq!(opener.open_trailer(1, &[7; FOOTER_BYTES], &sealed, &mut out), Ok(()));
        assert_eq!(&out, b"{}");
        assert!(opener.open_trailer(1, &[8; FOOTER_BYTES], &sealed, &mut out).is_err());
        assert!(opener.open_trailer(2, &[7; FOOTER_BYTES], &sealed, &mut out).is_err());
    }
}
