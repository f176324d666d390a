//! The only unsafe code: system calls that no safe crate offers. No logic.
//!
//! Each block says why it is sound. What `rustix` or `nix` offers must not be repeated here.
#![allow(unsafe_code, reason = "this folder is the one place for it (design §4)")]

pub mod lease;
pub mod locked;
pub mod memory;
pub mod ntp;
pub mod own_table;
pub mod shadow;
