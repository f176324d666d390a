//! The key slots: the only place of every secret that must be destroyable.
//!
//! Owns the two copies `keys/<generation>.a` and `.b`, and the index (kind, id) → slot. Must never write a secret that
//! is not wrapped, keep one in memory, or decide whether a half-written slot is to be kept: the ledger knows.
//! Invariant 7: a destroyed slot is zero in both copies, written past the cache, synced and read back.
//! While a change of the master key is under way there are two generations, each complete: what is made or destroyed then
//! is made or destroyed in both before it counts (`slots/rotate.rs`).
//!
//! What a pair of copies means (a copy *opens* when check sum, fields and wrapping are right):
//!
//! | a, b | meaning |
//! |---|---|
//! | both free | free |
//! | both open, byte for byte alike | live |
//! | one opens, the other is free or damaged | half: repair it or destroy it |
//! | none opens, not both free | destroyed; its remains are to be wiped |
//! | both open, not alike; or one name in two slots | contradiction: refused |

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::direct::{AlignedBuffer, BLOCK_BYTES};
use super::durable::{DiskError, create_new_durable};
use super::reserve;
use crate::core::format::slot::{SLOT_BYTES, SlotBytes, SlotId, SlotKind};
use crate::shell::crypt::{MasterKey, Secret};

mod check;
mod generation;
mod pair;
mod rotate;
pub use check::SlotCheck;
use generation::Generation;
use pair::{Pair, Side};

/// The note in `keys/` that the master key was put back from a backup; the next start records it.
pub const RESTORED_NOTE: &str = "restored";

/// Why a slot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// No slot with this kind and id opens.
    #[error("there is no key of this name: it was destroyed, or never made")]
    NotFound,
    /// A slot of this kind and id is there already.
    #[error("a key of this name exists already")]
    Exists,
    /// There are slots, but the master key opens none.
    #[error("the master key opens no slot of {}: give the credential of this generation", .0.display())]
    WrongMasterKey(PathBuf),
    /// The two copies contradict each other.
    #[error("{} contradicts its other copy at offset {offset}: run \"greffierctl doctor\"", path.display())]
    Contradiction {
        /// Copy a.
        path: PathBuf,
        /// Offset of the slot in it.
        offset: u64,
    },
    /// A slot that opened when the daemon started opens no more.
    #[error("{} and its other copy are both damaged at offset {offset}: this key is lost", path.display())]
    Damaged {
        /// Copy a.
        path: PathBuf,
        /// Offset of the slot in both copies.
        offset: u64,
    },
    /// What was written did not read back.
    #[error("{} does not keep what is written at offset {offset}: replace the disk", path.display())]
    NotKept {
        /// The copy.
        path: PathBuf,
        /// Offset of the block in it.
        offset: u64,
    },
    /// The file is longer than any this program makes.
    #[error("{} is too long to be a key file", .0.display())]
    TooLong(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The kernel gave no randomness.
    #[error("no randomness for a key")]
    Randomness(#[source] io::Error),
}

/// A slot of which only one copy opens: a creation or a destruction was cut short, or a copy is damaged. The ledger
/// tells which: [`KeySlots::repair`] keeps it, [`KeySlots::destroy`] ends it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HalfSlot {
    /// What the secret is for.
    pub kind: SlotKind,
    /// Which secret.
    pub id: SlotId,
    /// The copy that does not open.
    pub path: PathBuf,
    /// Offset of the slot in it.
    pub offset: u64,
}

/// The slots in force. Usable from any thread.
pub struct KeySlots {
    keys_dir: PathBuf,
    generations: RwLock<Generations>,
    index: Mutex<Index>,
    /// Held while the files change. Reading needs it not: rewriting a block changes no byte of its other slots.
    writing: Mutex<()>,
}

/// A secret has the same number in every generation.
#[derive(Clone)]
struct Generations {
    in_force: Arc<Generation>,
    /// The one before, until it is overwritten and removed.
    old: Option<Arc<Generation>>,
}

impl Generations {
    fn all(&self) -> impl Iterator<Item = &Arc<Generation>> {
        std::iter::once(&self.in_force).chain(&self.old)
    }
}

#[derive(Default)]
struct Index {
    places: HashMap<(SlotKind, SlotId), Place>,
    /// Free slots, highest number first.
    free: Vec<u64>,
    /// Slots with remains that do not open.
    remains: Vec<u64>,
    /// Whether one of the remains is undamaged: the master key is wrong, or the slot was put there by hand.
    closed: bool,
    /// Number of slots in the files.
    slots: u64,
}

#[derive(Clone, Copy)]
struct Place {
    number: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    /// Only this copy opens.
    Half(Side),
    /// A creation or destruction failed half way: it opens no more, but can still be destroyed.
    Doomed,
}

impl KeySlots {
    /// Makes the two empty files of `generation`; one that exists already is refused.
    pub fn init(keys_dir: &Path, generation: u64) -> Result<(), DiskError> {
        Side::BOTH.iter().try_for_each(|copy| create_new_durable(keys_dir, &copy.file_name(generation), &[]))
    }

    /// Opens both copies of `generation` and builds the index. A copy that is missing or shorter counts as free
    /// there. Changes no slot: see [`KeySlots::half`] and [`KeySlots::remains`] for what is left to decide.
    pub fn open(keys_dir: &Path, master: MasterKey, generation: u64) -> Result<Self, SlotError> {
        let generation = Generation { master, number: generation, pair: Pair::open(keys_dir, generation)? };
        let mut index = Index { slots: generation.pair.slots()?, ..Index::default() };
        generation.pair.scan(|number, a, b| index.add(&generation, number, a, b))?;
        index.free.reverse();
        if index.places.is_empty() && index.closed {
            return Err(SlotError::WrongMasterKey(generation.pair.path(Side::A).to_owned()));
        }
        let generations = Generations { in_force: Arc::new(generation), old: None };
        Ok(Self {
            keys_dir: keys_dir.to_owned(),
            generations: RwLock::new(generations),
            index: Mutex::new(index),
            writing: Mutex::new(()),
        })
    }

    /// The generation in force, part of every wrapping.
    pub fn generation(&self) -> u64 {
        self.generations().in_force.number
    }

    /// Lends the master key in force, and its generation.
    pub fn with_master<T>(&self, lend: impl FnOnce(&MasterKey, u64) -> T) -> T {
        let in_force = self.generations().in_force;
        lend(&in_force.master, in_force.number)
    }

    /// Whether both files are read and written past the page cache.
    pub fn is_direct(&self) -> bool {
        self.generations().all().all(|generation| generation.pair.is_direct())
    }

    /// The slots of which only one copy opens.
    pub fn half(&self) -> Vec<HalfSlot> {
        let in_force = self.generations().in_force;
        let index = self.index();
        let half = index.places.iter().filter_map(|(&(kind, id), place)| match place.state {
            State::Half(good) => {
                let path = in_force.pair.path(good.other()).to_owned();
                Some(HalfSlot { kind, id, path, offset: offset_of(place.number) })
            }
            _ => None,
        });
        let mut half: Vec<_> = half.collect();
        half.sort_unstable();
        half
    }

    /// The offsets, in both files, of slots that hold something that opens in neither copy.
    pub fn remains(&self) -> Vec<u64> {
        self.index().remains.iter().map(|&number| offset_of(number)).collect()
    }

    /// The ids of `kind` that open, in order.
    pub fn list(&self, kind: SlotKind) -> Vec<SlotId> {
        let index = self.index();
        let live = index.places.iter().filter(|((k, _), place)| *k == kind && place.state != State::Doomed);
        let mut ids: Vec<_> = live.map(|(&(_, id), _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether a slot of this name opens.
    pub fn contains(&self, kind: SlotKind, id: &SlotId) -> bool {
        self.index().places.get(&(kind, *id)).is_some_and(|place| place.state != State::Doomed)
    }

    /// Wraps `secret` into a free slot; durable in both copies when this returns. After an error the name stays
    /// taken until it is destroyed, because a part may be on the disk.
    pub fn create(&self, kind: SlotKind, id: SlotId, secret: &Secret) -> Result<(), SlotError> {
        let _writing = self.writing();
        let generations = self.generations();
        let number = self.reserve(&generations, kind, id)?;
        for generation in generations.all() {
            let slot = generation.wrap(kind, &id, number, secret)?.encode();
            for copy in Side::BOTH {
                generation.pair.rewrite(copy, number, &slot)?;
            }
        }
        self.index().set(kind, id, State::Live);
        Ok(())
    }

    /// The secret, read from the disk: no copy of it is kept. A half slot opens from its good copy.
    pub fn open_secret(&self, kind: SlotKind, id: &SlotId) -> Result<Secret, SlotError> {
        loop {
            let generation = self.generations().in_force;
            match self.read_secret(&generation, kind, id) {
                // It went out of force, and was overwritten, while this was reading it: once more, from its successor.
                Err(_) if !Arc::ptr_eq(&generation, &self.generations().in_force) => {}
                answer => return answer,
            }
        }
    }

    fn read_secret(&self, from: &Generation, kind: SlotKind, id: &SlotId) -> Result<Secret, SlotError> {
        let place = self.index().places.get(&(kind, *id)).copied().ok_or(SlotError::NotFound)?;
        let copies: &[Side] = match &place.state {
            State::Live => &Side::BOTH,
            State::Half(good) => std::slice::from_ref(good),
            State::Doomed => &[],
        };
        let mut unread = None;
        for &copy in copies {
            match from.pair.read_slot(copy, place.number) {
                Ok(bytes) => match from.open(place.number, &bytes) {
                    Some((slot, secret)) if (slot.kind, slot.id) == (kind, *id) => return Ok(secret),
                    _ => {}
                },
                Err(error) => unread = Some(error),
            }
        }
        Err(match unread {
            Some(error) => error.into(),
            // Destroyed while this was reading, or damaged since it was indexed.
            None if !self.contains(kind, id) => SlotError::NotFound,
            None => from.damaged(place.number),
        })
    }

    /// Overwrites both copies with zeros, read back and durable when this returns. `false` when no slot of this name
    /// opens (destroyed before). After an error it opens no more in this process, and can be destroyed again.
    pub fn destroy(&self, kind: SlotKind, id: &SlotId) -> Result<bool, SlotError> {
        let _writing = self.writing();
        let Some(place) = self.index().set(kind, *id, State::Doomed) else { return Ok(false) };
        self.wipe(place.number)?;
        let mut index = self.index();
        index.places.remove(&(kind, *id));
        index.free.push(place.number);
        Ok(true)
    }

    /// Writes the good copy of a half slot over the other.
    pub fn repair(&self, half: &HalfSlot) -> Result<(), SlotError> {
        let _writing = self.writing();
        let place = self.index().places.get(&(half.kind, half.id)).copied().ok_or(SlotError::NotFound)?;
        let State::Half(good) = place.state else { return Err(SlotError::NotFound) };
        let in_force = self.generations().in_force;
        let bytes = in_force.pair.read_slot(good, place.number)?;
        // Read again just now: what no longer opens is not worth copying.
        in_force.open(place.number, &bytes).ok_or(SlotError::NotFound)?;
        in_force.pair.rewrite(good.other(), place.number, &bytes)?;
        self.index().set(half.kind, half.id, State::Live);
        Ok(())
    }

    /// Overwrites what is left of slots that open in neither copy, and returns how many there were.
    pub fn wipe_remains(&self) -> Result<usize, SlotError> {
        let _writing = self.writing();
        let remains = self.index().remains.clone();
        for &number in &remains {
            self.wipe(number)?;
            let mut index = self.index();
            index.remains.retain(|&other| other != number);
            index.free.push(number);
        }
        Ok(remains.len())
    }

    /// Takes a free slot for this name. It counts as doomed until its creation is complete.
    fn reserve(&self, generations: &Generations, kind: SlotKind, id: SlotId) -> Result<u64, SlotError> {
        if self.index().places.contains_key(&(kind, id)) {
            return Err(SlotError::Exists);
        }
        if self.index().free.is_empty() {
            // 128 bytes on the disk decide whether a purge can be recorded: they are worth the reserve.
            let mut grown = u64::MAX;
            for generation in generations.all() {
                let pair = &generation.pair;
                grown = grown.min(reserve::or_give_up(pair.folder(), 0, || pair.grow())?);
            }
            let mut index = self.index();
            let old = index.slots;
            index.free.extend((old..grown).rev());
            index.slots = grown;
        }
        let mut index = self.index();
        let path = || generations.in_force.pair.path(Side::A).to_owned();
        let number = index.free.pop().ok_or_else(|| SlotError::TooLong(path()))?;
        index.places.insert((kind, id), Place { number, state: State::Doomed });
        Ok(number)
    }

    fn wipe(&self, number: u64) -> Result<(), SlotError> {
        self.generations().all().try_for_each(|generation| generation.wipe(number))
    }

    fn generations(&self) -> Generations {
        self.generations.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // No step below a lock can leave the index half changed, so a panic elsewhere does not spoil it.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Changes the state of a name; the place, if there is one.
    fn set(&mut self, kind: SlotKind, id: SlotId, state: State) -> Option<Place> {
        let place = self.places.get_mut(&(kind, id))?;
        place.state = state;
        Some(*place)
    }

    /// Enters slot `number` as the table above says.
    fn add(
        &mut self,
        generation: &Generation,
        number: u64,
        a: &[u8; SLOT_BYTES],
        b: &[u8; SLOT_BYTES],
    ) -> Result<(), SlotError> {
        let zero = [0; SLOT_BYTES];
        if *a == zero && *b == zero {
            self.free.push(number);
            return Ok(());
        }
        let contradiction = || SlotError::Contradiction {
            path: generation.pair.path(Side::A).to_owned(),
            offset: offset_of(number),
        };
        let in_a = generation.open(number, a);
        let (slot, state) = match (in_a, a == b) {
            (Some((slot, _)), true) => (slot, State::Live),
            (None, true) => return self.add_remains(number, a, b),
            (in_a, false) => match (in_a, generation.open(number, b)) {
                (Some(_), Some(_)) => return Err(contradiction()),
                (Some((slot, _)), None) => (slot, State::Half(Side::A)),
                (None, Some((slot, _))) => (slot, State::Half(Side::B)),
                (None, None) => return self.add_remains(number, a, b),
            },
        };
        match self.places.entry((slot.kind, slot.id)) {
            Entry::Occupied(_) => Err(contradiction()),
            Entry::Vacant(vacant) => {
                vacant.insert(Place { number, state });
                Ok(())
            }
        }
    }

    fn add_remains(
        &mut self,
        number: u64,
        a: &[u8; SLOT_BYTES],
        b: &[u8; SLOT_BYTES],
    ) -> Result<(), SlotError> {
        self.remains.push(number);
        self.closed |= [a, b].iter().any(|copy| matches!(SlotBytes::parse(copy), SlotBytes::InUse(_)));
        Ok(())
    }
}

/// Offset of a slot in either file.
fn offset_of(number: u64) -> u64 {
    number.saturating_mul(SLOT_BYTES as u64)
}

#[cfg(test)]
mod tests;
