//! One key slot: 128 bytes that hold one wrapped secret.
//!
//! Owns the slot's fields, its check sum and the associated data of its wrapping. Must never hold a secret in clear.
//!
//! Offsets: state 0, kind 1, id 2, nonce 18, ciphertext and tag 30, reserved zero 78, CRC-32C of all before it 124.

use super::{FormatError, put, take};

/// Length of a slot, in bytes.
pub const SLOT_BYTES: usize = 128;
/// Length of a wrapped secret: 32 bytes and the tag.
pub const WRAPPED_BYTES: usize = 48;
/// Length of the associated data of a wrapping.
pub const SLOT_AAD_BYTES: usize = 33;

const STATE_IN_USE: u8 = 1;
const RESERVED: usize = 78;
const CRC: usize = 124;

/// What the secret in a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotKind {
    /// The data key of one recording; the id is the recording's.
    Data,
    /// The key of the details of one bundle of 256 entries.
    Detail,
    /// The private log key.
    Log,
    /// A private epoch key.
    Epoch,
    /// The key under which `subject` is hashed for the catalogue.
    Subject,
}

impl SlotKind {
    /// The byte in the slot.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Detail => 2,
            Self::Log => 3,
            Self::Epoch => 4,
            Self::Subject => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Data,
            2 => Self::Detail,
            3 => Self::Log,
            4 => Self::Epoch,
            5 => Self::Subject,
            _ => return None,
        })
    }
}

/// The id of a secret, unique within its kind.
pub type SlotId = [u8; 16];

/// A slot in use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// What the secret is for.
    pub kind: SlotKind,
    /// Which secret.
    pub id: SlotId,
    /// The nonce of the wrapping.
    pub nonce: [u8; 12],
    /// Ciphertext and tag (AES-256-GCM-SIV under the master key).
    pub wrapped: [u8; WRAPPED_BYTES],
}

/// What 128 bytes of a key file are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SlotBytes {
    /// All zero.
    Free,
    /// A slot in use, its check sum right. Whether it opens, only the master key can tell.
    InUse(Slot),
    /// Anything else.
    Damaged(FormatError),
}

impl Slot {
    /// The bytes, with their check sum.
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        put(&mut bytes, 0, &[STATE_IN_USE, self.kind.code()]);
        put(&mut bytes, 2, &self.id);
        put(&mut bytes, 18, &self.nonce);
        put(&mut bytes, 30, &self.wrapped);
        let crc = crc32c::crc32c(bytes.get(..CRC).unwrap_or_default());
        put(&mut bytes, CRC, &crc.to_le_bytes());
        bytes
    }

    /// The associated data of the wrapping: kind ‖ id ‖ generation u64 LE ‖ slot number u64 LE. A slot copied to
    /// another place or generation does not open there.
    pub fn associated_data(
        kind: SlotKind,
        id: &SlotId,
        generation: u64,
        number: u64,
    ) -> [u8; SLOT_AAD_BYTES] {
        let mut aad = [0; SLOT_AAD_BYTES];
        put(&mut aad, 0, &[kind.code()]);
        put(&mut aad, 1, id);
        put(&mut aad, 17, &generation.to_le_bytes());
        put(&mut aad, 25, &number.to_le_bytes());
        aad
    }
}

impl SlotBytes {
    /// Reads a slot.
    pub fn parse(bytes: &[u8; SLOT_BYTES]) -> Self {
        if bytes.iter().all(|&byte| byte == 0) {
            return Self::Free;
        }
        match parse_in_use(bytes) {
            Ok(slot) => Self::InUse(slot),
            Err(error) => Self::Damaged(error),
        }
    }
}

fn parse_in_use(bytes: &[u8; SLOT_BYTES]) -> Result<Slot, FormatError> {
    let crc = crc32c::crc32c(bytes.get(..CRC).unwrap_or_default());
    if take(bytes, CRC)? != crc.to_le_bytes() {
        return Err(FormatError::new("the check sum of the slot is wrong", CRC as u64));
    }
    if take(bytes, 0)? != [STATE_IN_USE] {
        return Err(FormatError::new("unknown state of the slot", 0));
    }
    let [code] = take(bytes, 1)?;
    let kind = SlotKind::from_code(code).ok_or(FormatError::new("unknown kind of secret", 1))?;
    if take::<{ CRC - RESERVED }>(bytes, RESERVED)? != [0; CRC - RESERVED] {
        return Err(FormatError::new("reserved bytes of the slot are not zero", RESERVED as u64));
    }
    Ok(Slot { kind, id: take(bytes, 2)?, nonce: take(bytes, 18)?, wrapped: take(bytes, 30)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot { kind: SlotKind::Epoch, id: [7; 16], nonce: [8; 12], wrapped: [9; 48] }
    }

    #[test]
    fn a_slot_reads_back_and_zero_is_free() {
        assert!(SlotBytes::parse(&slot().encode()) == SlotBytes::InUse(slot()));
        assert!(SlotBytes::parse(&[0; SLOT_BYTES]) == SlotBytes::Free);
    }

    #[test]
    fn inv10_every_flipped_bit_of_a_slot_is_damage() {
        let bytes = slot().encode();
        for i in 0..SLOT_BYTES {
            for bit in 0..8 {
                let mut changed = bytes;
                changed[i] ^= 1 << bit;
                assert!(matches!(SlotBytes::parse(&changed), SlotBytes::Damaged(_)), "byte {i} bit {bit}");
            }
        }
    }

    #[test]
    fn associated_data_differ_by_kind_id_generation_and_number() {
        let base = Slot::associated_data(SlotKind::Data, &[1; 16], 1, 1);
        for other in [
            Slot::associated_data(SlotKind::Detail, &[1; 16], 1, 1),
            Slot::associated_data(SlotKind::Data, &[2; 16], 1, 1),
            Slot::associated_data(SlotKind::Data, &[1; 16], 2, 1),
            Slot::associated_data(SlotKind::Data, &[1; 16], 1, 2),
        ] {
            assert_ne!(base, other);
        }
    }
}
