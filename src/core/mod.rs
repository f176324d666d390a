//! The pure room: the same arguments give the same answer, today and in ten years.
//!
//! Owns words, decisions, formats and the rules of the ledger. Must never read a clock, a file, the environment or
//! randomness, log, await, or hold a private key.
#![forbid(unsafe_code)]

pub mod access;
pub mod doctor;
pub mod event;
pub mod format;
pub mod ids;
pub mod ledger;
pub mod medium;
pub mod policy;
pub mod refusal;
pub mod register;
pub mod retention;
pub mod scrub;
pub mod space;
pub mod state;
pub mod time;
