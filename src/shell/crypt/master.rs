//! The master key: it wraps every secret of the key slots.
//!
//! Owns the associated data and nonces of the wrapping (design §6). Must never be written anywhere but into the place
//! where it stands (`disk/master_place.rs`), nor, unless sealed to the recipients of a backup, given to anybody.

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::{DoesNotOpen, aead_key};
use crate::core::format::slot::{Slot, SlotId, SlotKind, WRAPPED_BYTES};
use crate::shell::entropy;
use crate::shell::sys::locked::Locked;

/// Length of the master key and so of its credential, in bytes.
pub const MASTER_KEY_BYTES: usize = 32;

/// The master key.
pub struct MasterKey {
    secret: Secret,
    cipher: Locked<LessSafeKey>,
}

impl MasterKey {
    /// A new random master key.
    pub fn generate() -> io::Result<Self> {
        Secret::generate().map(Self::new)
    }

    /// From the 32 bytes of the credential; the caller wipes its copy.
    pub fn from_bytes(bytes: &[u8; MASTER_KEY_BYTES]) -> Self {
        let mut secret = Secret::zeroed();
        secret.bytes_mut().copy_from_slice(bytes);
        Self::new(secret)
    }

    /// Reads the credential: exactly 32 bytes, else `InvalidData`.
    pub fn read_from(credential: &mut impl Read) -> io::Result<Self> {
        let mut secret = Secret::zeroed();
        let wrong_length = || io::Error::new(io::ErrorKind::InvalidData, "a master key has 32 bytes");
        credential.read_exact(secret.bytes_mut()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => wrong_length(),
            _ => error,
        })?;
        let mut more = Zeroizing::new([0; 1]);
        if credential.read(more.as_mut_slice())? != 0 {
            return Err(wrong_length());
        }
        Ok(Self::new(secret))
    }

    /// Writes the 32 bytes, for the place where the master key stands: to `systemd-creds encrypt`, or to the insecure key file.
    pub fn write_to(&self, credential: &mut impl Write) -> io::Result<()> {
        credential.write_all(self.secret.bytes())
    }

    /// Whether both are the same key; takes the same time whatever they are.
    pub fn is_same_as(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.secret.bytes(), other.secret.bytes()).is_ok()
    }

    fn new(secret: Secret) -> Self {
        let cipher = aead_key(&AES_256_GCM_SIV, secret.bytes());
        Self { secret, cipher }
    }

    /// Wraps `secret` for slot `number` of `generation`, under a random nonce.
    pub fn wrap(
        &self,
        kind: SlotKind,
        id: &SlotId,
        generation: u64,
        number: u64,
        secret: &Secret,
    ) -> io::Result<Slot> {
        let nonce = entropy::array()?;
        let aad = Slot::associated_data(kind, id, generation, number);
        // The copy becomes ciphertext in place; wiped all the same, should sealing fail.
        let mut copy = Zeroizing::new(*secret.bytes());
        let tag = self
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                copy.as_mut_slice(),
            )
            .map_err(|_| io::Error::other("the cipher library refused to wrap a key"))?;
        let mut wrapped = [0; WRAPPED_BYTES];
        for (to, from) in wrapped.iter_mut().zip(copy.iter().chain(tag.as_ref())) {
            *to = *from;
        }
        Ok(Slot { kind, id: *id, nonce, wrapped })
    }

    /// Unwraps the secret of slot `number` of `generation`.
    pub fn unwrap(&self, slot: &Slot, generation: u64, number: u64) -> Result<Secret, DoesNotOpen> {
        let aad = Slot::associated_data(slot.kind, &slot.id, generation, number);
        let (ciphertext, tag) = slot.wrapped.split_at(32);
        let mut secret = Secret::zeroed();
        self.cipher
            .open_separate_gather(
                Nonce::assume_unique_for_key(slot.nonce),
                Aad::from(aad),
                ciphertext,
                tag,
                secret.bytes_mut(),
            )
            .map_err(|_| DoesNotOpen)?;
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_secret_opens_only_in_its_slot_under_its_master_key() {
        let master = MasterKey::generate().unwrap();
        let secret = Secret::generate().unwrap();
        let slot = master.wrap(SlotKind::Data, &[1; 16], 3, 9, &secret).unwrap();
        assert!(master.unwrap(&slot, 3, 9).is_ok_and(|open| open.bytes() == secret.bytes()));
        assert!(master.unwrap(&slot, 4, 9).is_err());
        assert!(master.unwrap(&slot, 3, 8).is_err());
        assert!(master.unwrap(&Slot { kind: SlotKind::Log, ..slot }, 3, 9).is_err());
        assert!(master.unwrap(&Slot { id: [2; 16], ..slot }, 3, 9).is_err());
        assert!(MasterKey::generate().unwrap().unwrap(&slot, 3, 9).is_err());
    }

    #[test]
    fn a_credential_has_exactly_32_bytes() {
        let master = MasterKey::generate().unwrap();
        let mut credential = Vec::new();
        master.write_to(&mut credential).unwrap();
        let slot = master.wrap(SlotKind::Log, &[1; 16], 1, 0, &Secret::generate().unwrap()).unwrap();
        let again = MasterKey::read_from(&mut credential.as_slice()).unwrap();
        assert!(again.unwrap(&slot, 1, 0).is_ok());
        assert!(MasterKey::read_from(&mut &credential[..31]).is_err());
        credential.push(b'\n');
        assert!(MasterKey::read_from(&mut credential.as_slice()).is_err());
    }
}
