//! Durable files: ledger, objects, key slots, catalogue.
//!
//! Owns what is on disk and in which order it gets there. Must never decide what to keep or destroy, nor report
//! something as done before it is on the medium.
#![forbid(unsafe_code)]

#[cfg(feature = "daemon")]
pub mod catalogue;
mod direct;
pub mod durable;
pub(crate) mod fault;
#[cfg(feature = "daemon")]
pub mod ledger_files;
pub mod lock;
pub mod master_place;
pub mod object;
pub mod reserve;
#[cfg(feature = "daemon")]
pub mod scrub_place;
pub mod shred;
pub mod slots;
pub mod statedir;
