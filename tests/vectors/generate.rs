//! The conformance kit `tests/vectors/ledger/`: sound and malicious ledgers, one directory each, for every verifier.
//!
//! With `GREFFIER_WRITE_VECTORS=1` writes the kit; otherwise checks that the files in the tree are exactly what is written.
//! Nothing here is random or of today: fixed keys, a fixed clock. What a verifier must find is written by hand beside the deed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred entries")]
#![allow(clippy::disallowed_methods, reason = "the environment says whether to write")]
#![cfg(test)]

#[path = "../ledger_support/mod.rs"]
mod ledger_support;

mod conduct;
mod damage;
mod format;
mod history;
mod keys;
mod life;
mod sound;
mod vector;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use vector::{Vector, read_below};

fn all() -> Vec<Vector> {
    let mut all = sound::all();
    all.extend(damage::all());
    all.extend(history::all());
    all.extend(keys::all());
    all.extend(conduct::all());
    all.extend(format::all());
    all
}

#[test]
fn the_kit_in_the_tree_is_what_this_program_writes() {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ledger");
    let all = all();
    let names: BTreeSet<_> = all.iter().map(|vector| vector.name).collect();
    assert_eq!(names.len(), all.len(), "each name once");
    let mut wanted = BTreeMap::new();
    for vector in &all {
        assert!(vector.exit != 1 || !vector.found.is_empty(), "{}: nothing to be found", vector.name);
        for (path, bytes) in &vector.files {
            wanted.insert(format!("{}/{path}", vector.name), bytes.clone());
        }
        wanted.insert(format!("{}/expected", vector.name), vector.expected().into_bytes());
    }
    if std::env::var_os("GREFFIER_WRITE_VECTORS").is_some() {
        if kit.exists() {
            fs::remove_dir_all(&kit).unwrap();
        }
        for (path, bytes) in &wanted {
            ledger_support::write(&kit, path, bytes);
        }
    }
    let mut found = BTreeMap::new();
    read_below(&kit, "", &mut found);
    for (path, bytes) in &wanted {
        assert!(found.get(path) == Some(bytes), "{path} differs: GREFFIER_WRITE_VECTORS=1 writes it anew");
    }
    let more: Vec<_> = found.keys().filter(|path| !wanted.contains_key(*path)).collect();
    assert!(more.is_empty(), "nothing writes these: {more:?}");
}
