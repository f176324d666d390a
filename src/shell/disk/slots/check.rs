//! Looking at one slot on the medium, both copies, while the service works.
//!
//! Must never change a slot: it says what is there and enters it in the index, [`KeySlots::repair`] writes.

use super::generation::Generation;
use super::{HalfSlot, KeySlots, Side, SlotError, SlotId, SlotKind, State, offset_of};

/// What both copies of a slot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotCheck {
    /// Both open and are alike.
    Sound,
    /// One opens; the other is to be written again with [`KeySlots::repair`], if the ledger wants the key kept.
    Half(HalfSlot),
    /// None opens any more.
    Lost,
    /// There is no slot of this name, or it was destroyed meanwhile.
    Gone,
}

impl KeySlots {
    /// Reads both copies of a slot from the medium. No lock is held while all is well.
    pub fn check(&self, kind: SlotKind, id: &SlotId) -> Result<SlotCheck, SlotError> {
        let first = self.look(&self.generations().in_force, kind, id);
        if matches!(first, Ok(Some(SlotCheck::Sound))) && !self.is_half(kind, id) {
            return Ok(SlotCheck::Sound);
        }
        // Perhaps it was being written, or destroyed and made again between its copies, or its generation went out of force: what was
        // seen, an error too, counts for nothing. Now nobody writes.
        let _writing = self.writing();
        let in_force = self.generations().in_force;
        let Some(found) = self.look(&in_force, kind, id)? else { return Ok(SlotCheck::Gone) };
        let state = match &found {
            SlotCheck::Half(half) if half.path == in_force.pair.path(Side::A) => State::Half(Side::B),
            SlotCheck::Half(_) => State::Half(Side::A),
            // A copy that the medium did not give once and gives again is read from again.
            SlotCheck::Sound => State::Live,
            SlotCheck::Lost | SlotCheck::Gone => return Ok(found),
        };
        self.index().set(kind, *id, state);
        Ok(found)
    }

    fn is_half(&self, kind: SlotKind, id: &SlotId) -> bool {
        self.index().places.get(&(kind, *id)).is_some_and(|place| matches!(place.state, State::Half(_)))
    }

    fn look(
        &self,
        generation: &Generation,
        kind: SlotKind,
        id: &SlotId,
    ) -> Result<Option<SlotCheck>, SlotError> {
        let place = self.index().places.get(&(kind, *id)).copied();
        let Some(place) = place.filter(|place| place.state != State::Doomed) else { return Ok(None) };
        let number = place.number;
        let opens = |side| {
            // A block that the medium does not give is a copy that does not open.
            let bytes = generation.pair.read_slot(side, number).ok()?;
            let (slot, _secret) = generation.open(number, &bytes)?;
            ((slot.kind, slot.id) == (kind, *id)).then_some(bytes)
        };
        let half = |bad: Side| {
            let path = generation.pair.path(bad).to_owned();
            SlotCheck::Half(HalfSlot { kind, id: *id, path, offset: offset_of(number) })
        };
        match (opens(Side::A), opens(Side::B)) {
            (Some(a), Some(b)) if a == b => Ok(Some(SlotCheck::Sound)),
            (Some(_), Some(_)) => Err(SlotError::Contradiction {
                path: generation.pair.path(Side::A).to_owned(),
                offset: offset_of(number),
            }),
            (Some(_), None) => Ok(Some(half(Side::B))),
            (None, Some(_)) => Ok(Some(half(Side::A))),
            (None, None) => Ok(Some(SlotCheck::Lost)),
        }
    }
}
