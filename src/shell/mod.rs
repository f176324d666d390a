//! The room of effects: one folder each. It decides nothing.
//!
//! Owns every contact with clock, randomness, disk, keys, bus, FUSE and the kernel. Must never choose who may do what
//! or what is purged; no folder calls another's files (only `sys` serves all).

#[cfg(feature = "bus")]
pub mod bus;
#[cfg(feature = "shell")]
pub mod clock;
#[cfg(feature = "shell")]
pub mod crypt;
#[cfg(feature = "shell")]
pub mod disk;
#[cfg(feature = "shell")]
pub mod entropy;
#[cfg(feature = "daemon")]
pub mod fuse;
#[cfg(feature = "daemon")]
pub mod journal;
#[cfg(feature = "daemon")]
pub mod media;
#[cfg(feature = "daemon")]
pub mod message_id;
#[cfg(feature = "daemon")]
pub mod passed;
#[cfg(feature = "shell")]
pub mod policy_files;
#[cfg(feature = "shell")]
pub mod sys;
#[cfg(feature = "daemon")]
pub mod systemd;
#[cfg(any(feature = "ctl", feature = "view"))]
pub mod terminal;
#[cfg(feature = "shell")]
pub mod users;
#[cfg(feature = "daemon")]
pub mod watch;
