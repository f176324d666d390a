//! The two files of a generation, block by block.
//!
//! Owns the order a, sync, b, sync at the level of one slot: its caller rewrites copy a before copy b. Knows nothing of
//! what a slot means.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{AlignedBuffer, BLOCK_BYTES, DiskError, SLOT_BYTES, SlotError};
use crate::shell::disk::direct::DirectFile;
use crate::shell::disk::durable::sync_dir;
use crate::shell::disk::fault::{Op, call, on_file, open};

/// Blocks by which the files grow: 512 slots.
const GROWTH_BLOCKS: u32 = 16;
/// 2 GiB, 16 million slots: longer is not ours.
const MAX_BLOCKS: u64 = 1 << 19;
/// Blocks read at once when scanning.
const STRIPE_BLOCKS: usize = 256;

/// One of the two copies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) fn file_name(self, generation: u64) -> String {
        match self {
            Self::A => format!("{generation}.a"),
            Self::B => format!("{generation}.b"),
        }
    }
}

/// What follows the name of a file of a generation that is not complete yet.
pub(super) const UNFINISHED: &str = ".new";

struct OneFile {
    path: PathBuf,
    file: DirectFile,
}

/// Both files, of equal length, a whole number of blocks.
pub(super) struct Pair {
    a: OneFile,
    b: OneFile,
}

impl Pair {
    /// Opens both; the shorter one is lengthened with zeros, one that is missing is made.
    pub(super) fn open(keys_dir: &Path, generation: u64) -> Result<Self, SlotError> {
        let paths = Side::BOTH.map(|copy| keys_dir.join(copy.file_name(generation)));
        if paths.iter().all(|path| !path.exists()) {
            let [a, _] = &paths;
            return Err(DiskError::when("find", a)(std::io::Error::from(std::io::ErrorKind::NotFound)).into());
        }
        let [a, b] = paths.map(open_one);
        let (a, b) = (a?, b?);
        sync_dir(keys_dir)?;
        let blocks = a.blocks()?.max(b.blocks()?);
        if blocks > MAX_BLOCKS {
            return Err(SlotError::TooLong(a.path));
        }
        for one in [&a, &b] {
            one.lengthen(blocks)?;
        }
        Ok(Self { a, b })
    }

    /// Makes both files of a new generation, all free, under names that say that it is not complete.
    pub(super) fn create_unfinished(
        keys_dir: &Path,
        generation: u64,
        blocks: u64,
    ) -> Result<Self, SlotError> {
        let make = |copy: Side| {
            let path = keys_dir.join(copy.file_name(generation) + UNFINISHED);
            let new = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let file = open(Op::Open, &path, new).map_err(DiskError::when("make", &path))?;
            let one = OneFile { file: DirectFile::from_file(file), path };
            one.lengthen(blocks)?;
            Ok::<_, DiskError>(one)
        };
        let pair = Self { a: make(Side::A)?, b: make(Side::B)? };
        sync_dir(keys_dir)?;
        Ok(pair)
    }

    /// Gives one file of a complete generation its name; the caller syncs the directory.
    pub(super) fn name(&mut self, copy: Side, generation: u64) -> Result<(), DiskError> {
        let one = match copy {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        let path = one.path.with_file_name(copy.file_name(generation));
        call(Op::Rename, &path, || std::fs::rename(&one.path, &path))
            .map_err(DiskError::when("name", &path))?;
        one.path = path;
        Ok(())
    }

    /// Length of the files, in blocks.
    pub(super) fn blocks(&self) -> Result<u64, DiskError> {
        self.a.blocks()
    }

    /// Writes whole blocks at `offset` of one copy; durable when this returns.
    pub(super) fn write_blocks(
        &self,
        copy: Side,
        blocks: &AlignedBuffer,
        offset: u64,
    ) -> Result<(), DiskError> {
        let one = self.one(copy);
        one.file.write_at(&one.path, blocks, offset).map_err(DiskError::when("write key slots of", &one.path))
    }

    pub(super) fn path(&self, copy: Side) -> &Path {
        &self.one(copy).path
    }

    /// The folder of both.
    pub(super) fn folder(&self) -> &Path {
        self.a.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn is_direct(&self) -> bool {
        self.a.file.is_direct() && self.b.file.is_direct()
    }

    /// Number of slots in each file.
    pub(super) fn slots(&self) -> Result<u64, DiskError> {
        Ok(self.a.blocks()? * (BLOCK_BYTES / SLOT_BYTES) as u64)
    }

    /// Gives every slot with both its copies to `each`, in order.
    pub(super) fn scan(
        &self,
        mut each: impl FnMut(u64, &[u8; SLOT_BYTES], &[u8; SLOT_BYTES]) -> Result<(), SlotError>,
    ) -> Result<(), SlotError> {
        let mut a = AlignedBuffer::zeroed(STRIPE_BLOCKS * BLOCK_BYTES);
        let mut b = AlignedBuffer::zeroed(STRIPE_BLOCKS * BLOCK_BYTES);
        let (mut number, slots) = (0, self.slots()?);
        while number < slots {
            let offset = number * SLOT_BYTES as u64;
            self.a.read_stripe(&mut a, offset);
            self.b.read_stripe(&mut b, offset);
            let pairs = a.as_slice().as_chunks().0.iter().zip(b.as_slice().as_chunks().0);
            for (a, b) in pairs {
                if number < slots {
                    each(number, a, b)?;
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// Reads one slot from the medium.
    pub(super) fn read_slot(&self, copy: Side, number: u64) -> Result<[u8; SLOT_BYTES], DiskError> {
        let (offset, within) = place(number);
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        let one = self.one(copy);
        one.read_block(&mut block, offset).map_err(DiskError::when("read a key slot of", &one.path))?;
        Ok(block
            .as_slice()
            .get(within..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .unwrap_or([0; SLOT_BYTES]))
    }

    /// Replaces one slot in one copy: durable and read back when this returns.
    pub(super) fn rewrite(&self, copy: Side, number: u64, slot: &[u8; SLOT_BYTES]) -> Result<(), SlotError> {
        let (offset, within) = place(number);
        let one = self.one(copy);
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        // A block that this copy cannot give is taken from the other: writing it may heal the medium.
        one.read_block(&mut block, offset)
            .or_else(|_| self.one(copy.other()).read_block(&mut block, offset))
            .map_err(DiskError::when("read the key slots around one of", &one.path))?;
        if let Some(bytes) = block.as_mut_slice().get_mut(within..within + SLOT_BYTES) {
            bytes.copy_from_slice(slot);
        }
        one.file
            .write_at(&one.path, &block, offset)
            .map_err(DiskError::when("write a key slot of", &one.path))?;
        let mut kept = AlignedBuffer::zeroed(BLOCK_BYTES);
        one.read_block(&mut kept, offset).map_err(DiskError::when("read back a key slot of", &one.path))?;
        if kept.as_slice() != block.as_slice() {
            return Err(SlotError::NotKept { path: one.path.clone(), offset });
        }
        Ok(())
    }

    /// Adds free slots to both files; returns how many slots there are then.
    pub(super) fn grow(&self) -> Result<u64, SlotError> {
        let blocks = self.a.blocks()?.max(self.b.blocks()?) + u64::from(GROWTH_BLOCKS);
        if blocks > MAX_BLOCKS {
            return Err(SlotError::TooLong(self.a.path.clone()));
        }
        self.a.lengthen(blocks)?;
        self.b.lengthen(blocks)?;
        Ok(self.slots()?)
    }

    fn one(&self, copy: Side) -> &OneFile {
        match copy {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

impl OneFile {
    /// Length in blocks; a part of a block counts.
    fn blocks(&self) -> Result<u64, DiskError> {
        let meta = self.file.file().metadata().map_err(DiskError::when("look at", &self.path))?;
        Ok(meta.len().div_ceil(BLOCK_BYTES as u64))
    }

    /// Writes zeros up to `blocks`, so that every slot has its place on the disk before it is needed.
    fn lengthen(&self, blocks: u64) -> Result<(), DiskError> {
        let file = self.file.file();
        let set_len = |blocks: u64| {
            let run = || file.set_len(blocks * BLOCK_BYTES as u64);
            on_file(Op::Extend, &self.path, file, run)
        };
        let lengthen = || {
            let old = file.metadata()?.len();
            if old == blocks * BLOCK_BYTES as u64 {
                return Ok(());
            }
            // A part of a block, left by a crash, first becomes whole.
            let mut whole = old.div_ceil(BLOCK_BYTES as u64);
            set_len(whole)?;
            let zeros = AlignedBuffer::zeroed(BLOCK_BYTES * GROWTH_BLOCKS as usize);
            while whole + u64::from(GROWTH_BLOCKS) <= blocks {
                self.file.write_at(&self.path, &zeros, whole * BLOCK_BYTES as u64)?;
                whole += u64::from(GROWTH_BLOCKS);
            }
            set_len(blocks)?;
            on_file(Op::Sync, &self.path, file, || file.sync_all())
        };
        lengthen().map_err(DiskError::when("lengthen", &self.path))
    }

    fn read_block(&self, block: &mut AlignedBuffer, offset: u64) -> std::io::Result<()> {
        let read = self.file.read_at(block, offset)?;
        if read == BLOCK_BYTES { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Fills `stripe` from `offset`. A block that the medium does not give is all ones: no slot in it opens.
    fn read_stripe(&self, stripe: &mut AlignedBuffer, offset: u64) {
        if self.file.read_at(stripe, offset).is_ok() {
            return;
        }
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        for (i, to) in stripe.as_mut_slice().chunks_mut(BLOCK_BYTES).enumerate() {
            match self.file.read_at(&mut block, offset + (i * BLOCK_BYTES) as u64) {
                Ok(_) => to.copy_from_slice(block.as_slice()),
                Err(_) => to.fill(0xFF),
            }
        }
    }
}

fn open_one(path: PathBuf) -> Result<OneFile, DiskError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let opened = open(Op::Open, &path, || options.open(&path)).map_err(DiskError::when("open", &path))?;
    Ok(OneFile { path, file: DirectFile::from_file(opened) })
}

/// Offset of the block, and of the slot within it.
fn place(number: u64) -> (u64, usize) {
    const SLOTS: u64 = (BLOCK_BYTES / SLOT_BYTES) as u64;
    let within = (number % SLOTS) as usize * SLOT_BYTES;
    (number / SLOTS * BLOCK_BYTES as u64, within)
}
