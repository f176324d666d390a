//! A new generation under a new master key, and the end of the one before (design §6).
//!
//! System calls, in order. N is the new generation:
//!
//! 1. `open(O_CREAT|O_EXCL)`, zeros, `fsync` of `N.a.new`, `N.b.new`; `fsync(keys/)`
//! 2. each stripe of 1 MiB: read from the old files, every live slot wrapped anew under its number, `write` and `fdatasync` of
//!    `N.a.new`, then of `N.b.new`; both read back past the cache, and each slot opened under the new master key
//! 3. `rename(N.b.new, N.b)`, `fsync(keys/)`
//! 4. `rename(N.a.new, N.a)`: the **commit point**; `fsync(keys/)`
//! 5. zeros over the files of the generation before, `fdatasync`, read back, `unlink`; `fsync(keys/)`
//!
//! Nobody makes or destroys a slot during 1 to 4: these wait, about a second for 100,000 slots; reading goes on. A generation
//! counts when its copy a has its name. Before 4 the old one is complete and the new one is thrown away; after it the new one
//! is complete and the old one is thrown away. Between 4 and the end of 5 both are, because what is made or destroyed is made
//! or destroyed in both before it counts: so also when 4 failed and nobody knows whether it is durable. Must never name a
//! generation that lacks a slot, nor remove one while it is not known that another stands on the disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::pair::{Pair, Side, UNFINISHED};
use super::{AlignedBuffer, BLOCK_BYTES, DiskError, Generation, Generations, KeySlots, SLOT_BYTES};
use super::{SlotError, State, offset_of};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::shell::crypt::MasterKey;
use crate::shell::disk::durable::sync_dir;
use crate::shell::disk::shred::overwrite_and_remove;

/// Blocks copied at once.
const STRIPE_BLOCKS: usize = 256;

/// The files in `keys/`, by the generation they belong to.
#[derive(Default)]
struct Names {
    /// Generations whose copy a has its name.
    named: Vec<u64>,
    /// Generations of which only copy b has: never complete, or copy a was lost.
    b_alone: Vec<u64>,
    /// Every file, with its generation, whether it has its name or not.
    files: Vec<(u64, PathBuf)>,
}

impl Names {
    fn read(keys_dir: &Path) -> Result<Self, DiskError> {
        let mut names = Self::default();
        for entry in std::fs::read_dir(keys_dir).map_err(DiskError::when("list", keys_dir))? {
            let path = entry.map_err(DiskError::when("list", keys_dir))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let finished = name.strip_suffix(UNFINISHED);
            let Some((number, copy)) = finished.unwrap_or(name).split_once('.') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match (copy, finished.is_none()) {
                ("a", true) => names.named.push(number),
                ("b", true) => names.b_alone.push(number),
                ("a" | "b", false) => {}
                _ => continue,
            }
            names.files.push((number, path));
        }
        names.files.sort_unstable();
        let Self { named, b_alone, .. } = &mut names;
        b_alone.retain(|number| !named.contains(number));
        Ok(names)
    }

    /// The generation in force: the highest that is complete.
    fn in_force(&self) -> Option<u64> {
        self.named.iter().max().or(self.b_alone.iter().max()).copied()
    }

    /// The files that are not of generation `in_force`, or have no name of it yet.
    fn beside(self, in_force: u64) -> Vec<PathBuf> {
        let unfinished = |path: &Path| path.as_os_str().as_encoded_bytes().ends_with(UNFINISHED.as_bytes());
        let files = self.files.into_iter().filter(|(number, path)| *number != in_force || unfinished(path));
        files.map(|(_, path)| path).collect()
    }
}

impl KeySlots {
    /// The generation in force in `keys_dir`, if there is any.
    pub fn in_force(keys_dir: &Path) -> Result<Option<u64>, DiskError> {
        Ok(Names::read(keys_dir)?.in_force())
    }

    /// Opens the generation in force under the first of `masters` that opens it; gives its place among them too. A crash
    /// leaves several master keys: which one counts, the files say.
    pub fn open_in_force(keys_dir: &Path, masters: Vec<MasterKey>) -> Result<(Self, usize), SlotError> {
        let missing = || DiskError::when("find a key file in", keys_dir)(std::io::ErrorKind::NotFound);
        let generation = Self::in_force(keys_dir)?.ok_or_else(missing)?;
        let mut wrong = SlotError::WrongMasterKey(keys_dir.to_owned());
        for (place, master) in masters.into_iter().enumerate() {
            match Self::open(keys_dir, master, generation) {
                Ok(slots) => return Ok((slots, place)),
                Err(error @ SlotError::WrongMasterKey(_)) => wrong = error,
                Err(error) => return Err(error),
            }
        }
        Err(wrong)
    }

    /// Every key file in `keys_dir` but those of the generation in force: what a change of the master key makes and, unless a
    /// crash comes between, removes again.
    pub fn leftovers(keys_dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
        let names = Names::read(keys_dir)?;
        Ok(names.in_force().map(|number| names.beside(number)).unwrap_or_default())
    }

    /// Overwrites and removes every file of another generation than the one in force: what a crash left. How many.
    pub fn remove_leftovers(&self) -> Result<usize, SlotError> {
        let _writing = self.writing();
        let files = Names::read(&self.keys_dir)?.beside(self.generation());
        for path in &files {
            overwrite_and_remove(path)?;
        }
        if !files.is_empty() {
            sync_dir(&self.keys_dir)?;
        }
        Ok(files.len())
    }

    /// Wraps every secret anew under `master`, in a generation that is in force when this returns: 1 to 4 above. The old one
    /// stays until [`KeySlots::remove_old`]. After an error [`KeySlots::generation`] tells whether it is in force all the same: then whether
    /// that is durable is not known, and both are kept up.
    pub fn rewrap(&self, master: MasterKey) -> Result<(), SlotError> {
        self.remove_old()?;
        let _writing = self.writing();
        let old = self.generations().in_force;
        let number = old.number.saturating_add(1);
        // Looked at before anything is written or removed: a generation that was put there by hand while this runs is nobody's to lose by
        // a change of keys. A copy b alone is what a failed attempt left.
        let found = Self::in_force(&self.keys_dir)?;
        if found != Some(old.number) {
            let path = self.keys_dir.join(Side::A.file_name(found.unwrap_or(number)));
            return Err(SlotError::Contradiction { path, offset: 0 });
        }
        let prepared = self.prepare(&old, master, number);
        let mut new = match prepared {
            Ok(new) => new,
            Err(error) => {
                self.give_up(number);
                return Err(error);
            }
        };
        if let Err(error) = new.pair.name(Side::A, number) {
            let named = self.keys_dir.join(Side::A.file_name(number));
            match named.symlink_metadata() {
                Err(looked) if looked.kind() == std::io::ErrorKind::NotFound => self.give_up(number),
                // It has its name, or nobody knows: both are kept up from here on.
                _ => self.put_in_force(new, old),
            }
            return Err(error.into());
        }
        self.put_in_force(new, old);
        Ok(sync_dir(&self.keys_dir)?)
    }

    /// 5 above: the end of the generation before. Nothing when there is none.
    pub fn remove_old(&self) -> Result<(), SlotError> {
        let _writing = self.writing();
        let generations = self.generations();
        let Some(old) = generations.old else { return Ok(()) };
        // The name of its successor must be durable first; whether it is, a failed rename or sync left open.
        let new = &generations.in_force;
        let named = self.keys_dir.join(Side::A.file_name(new.number));
        named.symlink_metadata().map_err(DiskError::when("find", &named))?;
        sync_dir(&self.keys_dir)?;
        for copy in Side::BOTH {
            overwrite_and_remove(old.pair.path(copy))?;
        }
        sync_dir(&self.keys_dir)?;
        self.set_generations(Generations { in_force: new.clone(), old: None });
        Ok(())
    }

    /// 1 to 3.
    fn prepare(&self, old: &Generation, master: MasterKey, number: u64) -> Result<Generation, SlotError> {
        self.give_up(number);
        let wanted: HashMap<u64, (SlotKind, SlotId)> = {
            let index = self.index();
            let open = index.places.iter().filter(|(_, place)| place.state != State::Doomed);
            open.map(|(name, place)| (place.number, *name)).collect()
        };
        let pair = Pair::create_unfinished(&self.keys_dir, number, old.pair.blocks()?)?;
        let mut new = Generation { master, number, pair };
        copy(old, &new, &wanted)?;
        verify(&new, &wanted)?;
        new.pair.name(Side::B, number)?;
        sync_dir(&self.keys_dir)?;
        Ok(new)
    }

    /// Removes what a failed attempt left. What cannot be removed counts for nothing, and the next start tries again.
    fn give_up(&self, number: u64) {
        let [a, b] = Side::BOTH.map(|copy| copy.file_name(number));
        for name in [a + UNFINISHED, b.clone() + UNFINISHED, b] {
            if let Err(error) = overwrite_and_remove(&self.keys_dir.join(name)) {
                log::warn!("an unfinished key file could not be removed, ignoring: {error}");
            }
        }
    }

    fn put_in_force(&self, new: Generation, old: Arc<Generation>) {
        self.set_generations(Generations { in_force: Arc::new(new), old: Some(old) });
        // Both copies of the new generation are whole.
        for place in self.index().places.values_mut().filter(|place| matches!(place.state, State::Half(_))) {
            place.state = State::Live;
        }
    }

    fn set_generations(&self, generations: Generations) {
        *self.generations.write().unwrap_or_else(PoisonError::into_inner) = generations;
    }
}

/// Fills the files of `new`, slot by slot under the same numbers.
fn copy(
    old: &Generation,
    new: &Generation,
    wanted: &HashMap<u64, (SlotKind, SlotId)>,
) -> Result<(), SlotError> {
    let slots = old.pair.slots()?;
    let stripe_slots = (STRIPE_BLOCKS * BLOCK_BYTES / SLOT_BYTES) as u64;
    let mut stripe = AlignedBuffer::zeroed(BLOCK_BYTES * STRIPE_BLOCKS);
    let mut used = false;
    old.pair.scan(|number, a, b| {
        if let Some((kind, id)) = wanted.get(&number) {
            let found = old.open(number, a).or_else(|| old.open(number, b));
            let (_, secret) = found
                .filter(|(slot, _)| (slot.kind, slot.id) == (*kind, *id))
                .ok_or_else(|| old.damaged(number))?;
            let wrapped = new.wrap(*kind, id, number, &secret)?.encode();
            let within = usize::try_from(number % stripe_slots).unwrap_or_default() * SLOT_BYTES;
            if let Some(to) = stripe.as_mut_slice().get_mut(within..within + SLOT_BYTES) {
                to.copy_from_slice(&wrapped);
                used = true;
            }
        }
        if (number + 1) % stripe_slots == 0 || number + 1 == slots {
            if used {
                let first = number - number % stripe_slots;
                let length = usize::try_from(number + 1 - first).unwrap_or_default() * SLOT_BYTES;
                let mut blocks = AlignedBuffer::zeroed(length);
                blocks.as_mut_slice().iter_mut().zip(stripe.as_slice()).for_each(|(to, from)| *to = *from);
                for copy in Side::BOTH {
                    new.pair.write_blocks(copy, &blocks, offset_of(first))?;
                }
            }
            stripe.as_mut_slice().fill(0);
            used = false;
        }
        Ok(())
    })
}

/// Reads both files from the medium: every slot that is wanted opens in both copies, and no other is in use.
fn verify(new: &Generation, wanted: &HashMap<u64, (SlotKind, SlotId)>) -> Result<(), SlotError> {
    new.pair.scan(|number, a, b| {
        let right = match wanted.get(&number) {
            None => *a == [0; SLOT_BYTES],
            Some(name) => new.open(number, a).is_some_and(|(slot, _)| (slot.kind, slot.id) == *name),
        };
        if right && a == b {
            return Ok(());
        }
        Err(SlotError::NotKept { path: new.pair.path(Side::A).to_owned(), offset: offset_of(number) })
    })
}

#[cfg(test)]
mod tests;
