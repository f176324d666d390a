//! The tail: the file that a batch is appended to (design §5). Header block, then frames.
//!
//! Owns its bytes: header, frames, and what counts as a torn end. Must never accept an entry that no checkpoint with both
//! signatures covers. All of it is hostile until checked (invariant 10).

mod frame;
mod header;
mod recover;

pub use frame::{
    FRAME_OVERHEAD_BYTES, Frame, FrameError, FrameKind, Frames, MAX_CHECKPOINT_BYTES, MAX_DETAIL_BYTES, Stop,
    checkpoints_after, encode_frame, scan,
};
pub use header::{HEADER_BYTES, HeaderError, TailHeader, log_id};
pub use recover::{RecoveredEntry, RecoveredTail, TailError, recover};
