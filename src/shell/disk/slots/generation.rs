//! One generation: its two files and the master key that opens them.

use super::pair::{Pair, Side};
use super::{SLOT_BYTES, SlotError, offset_of};
use crate::core::format::slot::{Slot, SlotBytes, SlotId, SlotKind};
use crate::shell::crypt::{MasterKey, Secret};

pub(super) struct Generation {
    pub(super) master: MasterKey,
    pub(super) number: u64,
    pub(super) pair: Pair,
}

impl Generation {
    /// The secret in these bytes, if they open as slot `number` of this generation.
    pub(super) fn open(&self, number: u64, bytes: &[u8; SLOT_BYTES]) -> Option<(Slot, Secret)> {
        let SlotBytes::InUse(slot) = SlotBytes::parse(bytes) else { return None };
        let secret = self.master.unwrap(&slot, self.number, number).ok()?;
        Some((slot, secret))
    }

    pub(super) fn wrap(
        &self,
        kind: SlotKind,
        id: &SlotId,
        number: u64,
        secret: &Secret,
    ) -> Result<Slot, SlotError> {
        self.master.wrap(kind, id, self.number, number, secret).map_err(SlotError::Randomness)
    }

    /// Zeros over both copies of one slot.
    pub(super) fn wipe(&self, number: u64) -> Result<(), SlotError> {
        Side::BOTH.iter().try_for_each(|&copy| self.pair.rewrite(copy, number, &[0; SLOT_BYTES]))
    }

    pub(super) fn damaged(&self, number: u64) -> SlotError {
        SlotError::Damaged { path: self.pair.path(Side::A).to_owned(), offset: offset_of(number) }
    }
}
