//! Sealing a short text to X25519 recipients in the age format, version 1 (C2SP `age`), which the program `age` opens.
//!
//! Owns the header, the wrapping of the file key and the one chunk of the payload. Only seals: the daemon has no identity to open with,
//! and needs none of the parsers and schemes of a whole implementation. Must never seal to a recipient that it could not read whole.

use std::io;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, Nonce};
use aws_lc_rs::{agreement, hkdf, hmac};
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

use super::aead_key;
use crate::shell::entropy;

const HUMAN_PART: &str = "age";
const FILE_KEY_BYTES: usize = 16;
/// A payload up to this length is one chunk.
const CHUNK_BYTES: usize = 65_536;

/// Whom a backup is sealed to: `age1…`, as `age-keygen` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeRecipient([u8; 32]);

/// A text that is no recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a recipient of age (age1 and 58 letters and digits, X25519 only)")]
pub struct NoRecipient;

impl std::str::FromStr for AgeRecipient {
    type Err = NoRecipient;
    fn from_str(text: &str) -> Result<Self, NoRecipient> {
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| NoRecipient)?;
        let bytes: Vec<u8> = checked.byte_iter().take(33).collect();
        let key: [u8; 32] = bytes.try_into().map_err(|_| NoRecipient)?;
        // The zero point gives every sender the same shared secret.
        let usable = checked.hrp().as_str() == HUMAN_PART && key != [0; 32];
        usable.then_some(Self(key)).ok_or(NoRecipient)
    }
}

/// 32 bytes drawn by HKDF-SHA-256.
struct KeyLength;
impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let drawn = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let info = [info];
    let filled = drawn.expand(&info, KeyLength).and_then(|out| out.fill(key.as_mut_slice()));
    filled.map(|()| key).map_err(|_| refused())
}

fn refused() -> io::Error {
    io::Error::other("the cipher library refused to seal a backup")
}

fn seal(key: &[u8; 32], nonce: [u8; 12], text: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Zeroizing::new(text.to_vec());
    let key = aead_key(&CHACHA20_POLY1305, key);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut bytes).map_err(|_| refused())?;
    Ok(bytes.iter().chain(tag.as_ref()).copied().collect())
}

/// Seals `text`, at most 64 KiB, so that each of `recipients` can open it alone.
///
/// # Errors
/// No randomness; no recipient, one that is no point of the curve, or a longer text.
pub fn seal_to(recipients: &[AgeRecipient], text: &[u8]) -> io::Result<Vec<u8>> {
    if recipients.is_empty() || text.is_empty() || text.len() > CHUNK_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nobody, or nothing, to seal to"));
    }
    let mut file_key = Zeroizing::new([0; FILE_KEY_BYTES]);
    entropy::fill(file_key.as_mut_slice())?;
    let mut file = b"age-encryption.org/v1\n".to_vec();
    for recipient in recipients {
        file.extend(stanza(recipient, &file_key)?.into_bytes());
    }
    file.extend(b"---");
    let mac_key = derive(&[], file_key.as_slice(), b"header")?;
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, mac_key.as_slice()), &file);
    file.extend(format!(" {}\n", BASE64_NOPAD.encode(mac.as_ref())).into_bytes());

    let salt: [u8; 16] = entropy::array()?;
    file.extend(salt);
    let mut last_chunk = [0; 12];
    if let Some(flag) = last_chunk.last_mut() {
        *flag = 1;
    }
    file.extend(seal(&*derive(&salt, file_key.as_slice(), b"payload")?, last_chunk, text)?);
    Ok(file)
}

/// The file key for one recipient: an ephemeral key, and what the key agreed with it wraps.
fn stanza(recipient: &AgeRecipient, file_key: &[u8; FILE_KEY_BYTES]) -> io::Result<String> {
    let mut ephemeral = Zeroizing::new([0; 32]);
    entropy::fill(ephemeral.as_mut_slice())?;
    let ephemeral = agreement::PrivateKey::from_private_key(&agreement::X25519, ephemeral.as_slice())
        .map_err(|_| refused())?;
    let share = ephemeral.compute_public_key().map_err(|_| refused())?;
    let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, recipient.0);
    let wrapped = agreement::agree(&ephemeral, peer, refused(), |shared| {
        let salt: Vec<u8> = share.as_ref().iter().chain(&recipient.0).copied().collect();
        seal(&*derive(&salt, shared, b"age-encryption.org/v1/X25519")?, [0; 12], file_key)
    })?;
    Ok(format!("-> X25519 {}\n{}\n", BASE64_NOPAD.encode(share.as_ref()), BASE64_NOPAD.encode(&wrapped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the test vectors of the format.
    const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn a_recipient_is_read_whole_or_not_at_all() {
        assert!(RECIPIENT.parse::<AgeRecipient>().is_ok());
        for at in 0..RECIPIENT.len() {
            let mut changed = RECIPIENT.as_bytes().to_vec();
            changed[at] = if changed[at] == b'q' { b'p' } else { b'q' };
            assert!(String::from_utf8(changed).unwrap().parse::<AgeRecipient>().is_err(), "{at}");
            assert!(RECIPIENT[..at].parse::<AgeRecipient>().is_err(), "{at}");
        }
        let zero = bech32::encode::<Bech32>(bech32::Hrp::parse("age").unwrap(), &[0; 32]).unwrap();
        assert!(zero.parse::<AgeRecipient>().is_err());
        let secret =
            bech32::encode::<Bech32>(bech32::Hrp::parse("age-secret-key-").unwrap(), &[1; 32]).unwrap();
        assert!(secret.parse::<AgeRecipient>().is_err(), "an identity is nobody's recipient");
    }

    /// The independent implementation opens what this seals, for each recipient.
    #[cfg(feature = "ctl")]
    #[test]
    fn each_recipient_opens_it_alone_and_a_changed_byte_opens_for_nobody() {
        let identities = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
        let recipients: Vec<AgeRecipient> =
            identities.iter().map(|it| it.to_public().to_string().parse().unwrap()).collect();
        let text = b"some key\n".repeat(100);
        let sealed = seal_to(&recipients, &text).unwrap();
        for identity in &identities {
            assert_eq!(age::decrypt(identity, &sealed).unwrap(), text);
        }
        assert!(age::decrypt(&age::x25519::Identity::generate(), &sealed).is_err());
        for at in (0..sealed.len()).step_by(7) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(age::decrypt(&identities[1], &changed).is_err(), "{at}");
        }
        assert!(seal_to(&[], &text).is_err());
        assert!(seal_to(&recipients, &vec![0; CHUNK_BYTES + 1]).is_err());
        assert_eq!(
            age::decrypt(&identities[0], &seal_to(&recipients, &vec![7; CHUNK_BYTES]).unwrap())
                .unwrap()
                .len(),
            CHUNK_BYTES
        );
    }
}
