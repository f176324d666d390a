//! greffier: the clerk of an archive of recordings.
//!
//! Rooms, in the order in which they may use each other (design §4; `tests/rooms.rs` keeps the order):
//!
//! - [`core`]: pure. Decisions, formats, the rules of the ledger. No effect, no clock, no randomness, no private key.
//! - `shell`: effects, one folder each. It decides nothing.
//! - `daemon`: order. What happens after what, and where the commit points are.
//! - `ctl`, `view`, [`verify`]: the three other programs.

pub mod core;
#[cfg(feature = "ctl")]
pub mod ctl;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(any(feature = "shell", feature = "bus"))]
pub mod shell;
pub mod verify;
#[cfg(feature = "view")]
pub mod view;
