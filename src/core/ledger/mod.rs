//! The rules of the ledger: hash, tree, checkpoint, tiles, tail frames. It signs nothing and writes nothing.

pub mod checkpoint;
pub mod cosignature;
pub mod details;
pub mod entry;
pub mod epoch;
pub mod hash;
pub mod note;
pub mod proof;
pub mod receipt;
pub mod restore;
pub mod tail;
pub mod tile;
pub mod tree;
pub mod trust;
pub mod witness;
