//! Frames of the tail: type u8 · length u32 · payload · CRC-32C, little-endian, from offset 4096 on.
//!
//! Invariant: the CRC covers the tail number and the offset too, so a frame counts only in its own place of its own file.

use crc32c::{crc32c, crc32c_append};

use super::super::tile::MAX_ENTRY_BYTES;

/// Bytes of a frame besides its payload.
pub const FRAME_OVERHEAD_BYTES: usize = 9;
/// Longest encrypted detail.
pub const MAX_DETAIL_BYTES: usize = 2 * 1024 * 1024;
/// Longest signed checkpoint.
pub const MAX_CHECKPOINT_BYTES: usize = 8 * 1024;

/// What a frame holds. Type 0 is no frame: zeros, written in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The public line of an entry (type 1).
    Entry,
    /// The encrypted detail of the entry just before it (type 2).
    Detail,
    /// A signed checkpoint: the end of a batch (type 3).
    Checkpoint,
}

impl FrameKind {
    /// The byte in the file.
    pub const fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Detail => 2,
            Self::Checkpoint => 3,
        }
    }
    /// Most payload bytes.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Entry => MAX_ENTRY_BYTES,
            Self::Detail => MAX_DETAIL_BYTES,
            Self::Checkpoint => MAX_CHECKPOINT_BYTES,
        }
    }
    fn from_code(code: u8) -> Option<Self> {
        [Self::Entry, Self::Detail, Self::Checkpoint].into_iter().find(|kind| kind.code() == code)
    }
}

/// One frame with a right CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// What it holds.
    pub kind: FrameKind,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A payload that does not fit into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes do not fit into a frame that holds at most {max}")]
pub struct FrameError {
    bytes: usize,
    max: usize,
}

/// Why there are no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Only zeros follow, or nothing.
    End {
        /// Where the next frame goes.
        offset: u64,
    },
    /// Something follows that is not a frame.
    Damaged {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Appends one frame to `out`; `offset` is where it will stand in the file.
pub fn encode_frame(
    out: &mut Vec<u8>,
    tail_number: u64,
    offset: u64,
    kind: FrameKind,
    payload: &[u8],
) -> Result<(), FrameError> {
    let max = kind.max_bytes();
    let error = FrameError { bytes: payload.len(), max };
    let length = u32::try_from(payload.len()).map_err(|_| error)?;
    if payload.len() > max {
        return Err(error);
    }
    out.push(kind.code());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&frame_crc(tail_number, offset, kind, length, payload).to_le_bytes());
    Ok(())
}

/// The frames of a tail from `offset` (4096 for the first) on.
pub fn scan(file: &[u8], tail_number: u64, offset: usize) -> Frames<'_> {
    Frames { file, tail_number, offset, stop: None }
}

/// Iterator over frames, up to the first thing that is none; `stop` then says why.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    file: &'a [u8],
    tail_number: u64,
    offset: usize,
    stop: Option<Stop>,
}

impl Frames<'_> {
    /// Why the iteration ended; `None` before it has.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;
    fn next(&mut self) -> Option<Frame<'a>> {
        if self.stop.is_some() {
            return None;
        }
        match read_frame(self.file, self.tail_number, self.offset) {
            Ok(frame) => {
                self.offset =
                    self.offset.saturating_add(FRAME_OVERHEAD_BYTES).saturating_add(frame.payload.len());
                Some(frame)
            }
            Err(why) => {
                let offset = self.offset as u64;
                let zeros =
                    self.file.get(self.offset..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0));
                self.stop = Some(if zeros { Stop::End { offset } } else { Stop::Damaged { offset, why } });
                None
            }
        }
    }
}

/// Every checkpoint frame with a right CRC that begins after `offset`, wherever it begins: after a damaged place no boundary is
/// known. `opening` is how a checkpoint of this ledger begins (origin and newline); it keeps the search cheap.
pub fn checkpoints_after<'a>(
    file: &'a [u8],
    tail_number: u64,
    offset: u64,
    opening: &'a [u8],
) -> impl Iterator<Item = Frame<'a>> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(1);
    (from..file.len()).filter_map(move |place| {
        let payload = file.get(place.saturating_add(5)..)?;
        if file.get(place) != Some(&FrameKind::Checkpoint.code()) || !payload.starts_with(opening) {
            return None;
        }
        read_frame(file, tail_number, place).ok()
    })
}

fn read_frame(file: &[u8], tail_number: u64, offset: usize) -> Result<Frame<'_>, &'static str> {
    let rest = file.get(offset..).unwrap_or_default();
    let (&code, rest) = rest.split_first().ok_or("the file ends")?;
    let kind = FrameKind::from_code(code).ok_or("not a frame")?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or("a frame is cut off")?;
    let length = u32::from_le_bytes(*length);
    let length_bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if length_bytes > kind.max_bytes() {
        return Err("a frame is longer than its type allows");
    }
    let (payload, rest) = rest.split_at_checked(length_bytes).ok_or("a frame is cut off")?;
    let crc = rest.first_chunk::<4>().ok_or("a frame is cut off")?;
    let offset = offset as u64;
    if frame_crc(tail_number, offset, kind, length, payload) != u32::from_le_bytes(*crc) {
        return Err("the CRC of a frame is wrong");
    }
    Ok(Frame { offset, kind, payload })
}

fn frame_crc(tail_number: u64, offset: u64, kind: FrameKind, length: u32, payload: &[u8]) -> u32 {
    let mut place = [0; 21];
    let parts = tail_number.to_le_bytes().into_iter().chain(offset.to_le_bytes()).chain([kind.code()]);
    place.iter_mut().zip(parts.chain(length.to_le_bytes())).for_each(|(to, from)| *to = from);
    crc32c_append(crc32c(&place), payload)
}
