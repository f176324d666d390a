//! Order: what happens after what, and where the commit points are.
//!
//! Owns the steps of starting, sealing, opening, purging and recovering. Must never parse bytes, encode an entry or hold
//! a rule of the policy: it asks `core`, then tells `shell`.
#![forbid(unsafe_code)]

mod clock;
pub mod config;
mod details;
mod errors;
mod facts;
mod health;
mod heartbeat;
mod holds;
mod index;
mod ingest;
mod keys;
pub mod ledger;
mod ledger_access;
mod open;
mod own;
mod permitted;
mod person;
mod policy;
mod projection;
mod purge;
mod reauth;
mod recover;
mod registers;
mod rekey;
mod reviews;
mod run;
mod scrub;
mod seal;
mod search;
mod serve;
mod service;
mod sessions;
mod space;
#[cfg(test)]
mod tests;
mod told;

use std::path::{Path, PathBuf};

/// Runs the daemon; returns the exit code: 0 stopped by order, 1 otherwise. One line says why.
pub fn main(config: &Path, credentials: Option<PathBuf>) -> u8 {
    // A second logger in one process is a mistake of ours that costs nothing but lines.
    let _first = crate::shell::journal::install("greffierd", log::LevelFilter::Info);
    match run::run(config, &run::Environment { credentials }) {
        Ok(()) => 0,
        Err(fatal) => {
            log::error!("greffierd ends: {}", errors::chain(&fatal));
            1
        }
    }
}
