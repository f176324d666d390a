//! Looking at directories, files, keys, file systems and space, in one place. Changes nothing and judges nothing.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Places;
use super::system::is_encrypted;
use crate::core::doctor::{KeyFacts, Node, NodeKind, PlaceFacts, Role, Secret};
use crate::core::format::slot::{SLOT_BYTES, SlotBytes};
use crate::shell::disk::master_place::{MasterPlace, Which};
use crate::shell::disk::object::ObjectStore;
use crate::shell::disk::slots::KeySlots;
use crate::shell::disk::statedir::{magic_of, medium_of};

/// Folders of the spool that are looked at.
const MAX_SOURCES: usize = 4096;
/// Read at once from each copy of a key file.
const STRETCH_BYTES: usize = 1 << 20;
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58F6;

/// Directories, files, file system and space.
pub fn places(config: &Path, places: &Places, unusable: Option<(&'static str, String)>) -> PlaceFacts {
    let state = &places.state_dir;
    let mut nodes = vec![node(config, Role::File), node(&places.policy, Role::File)];
    nodes.extend(places.policy.parent().map(|dir| node(dir, Role::Directory)));
    if unusable.as_ref().is_none_or(|(code, _)| *code != "not-initialised") {
        nodes.push(node(state, Role::Private));
        nodes.extend(["ledger", "objects", "keys"].map(|name| node(&state.join(name), Role::Private)));
        // The database makes this one itself; the directory above it keeps others out.
        nodes.push(node(&state.join("catalogue"), Role::Directory));
    }
    nodes.push(node(&places.spool_dir, Role::Directory));
    nodes.extend(spool_folders(&places.spool_dir));
    if places.run_dir.exists() {
        nodes.push(node(&places.run_dir, Role::Directory));
    }
    // On a developer's machine the service runs under another account, which owns the state directory.
    let system_bus = places.bus.address.as_deref().is_none_or(|address| address == "system");
    let owner = fs::metadata(state).map(|meta| meta.uid());
    let owner_uid = if system_bus { 0 } else { owner.unwrap_or(0) };
    PlaceFacts {
        state_dir: state.display().to_string(),
        unusable,
        owner_uid,
        nodes,
        medium: medium_of(state).ok(),
        free_bytes: ObjectStore::open(state).and_then(|store| store.free_bytes()).ok(),
        bounds: places.limits.bounds(),
        spool: spool(&places.spool_dir),
    }
}

fn node(path: &Path, role: Role) -> Node {
    let of = |meta: Metadata| {
        let kind = match meta.file_type() {
            kind if kind.is_dir() => NodeKind::Directory,
            kind if kind.is_file() => NodeKind::File,
            _ => NodeKind::Other,
        };
        (kind, meta.mode() & 0o7777, meta.uid())
    };
    // A link in place of a directory of ours is not followed; /var/lib itself may be one.
    let (kind, mode, uid) = fs::symlink_metadata(path).map_or((NodeKind::Missing, 0, 0), of);
    Node { path: path.display().to_string(), role, kind, mode, uid }
}

fn spool_folders(spool: &Path) -> Vec<Node> {
    let entries = fs::read_dir(spool).into_iter().flatten().flatten().take(MAX_SOURCES);
    let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    let inner = |folder: &PathBuf| {
        let hidden = [".taking", ".refused"].map(|name| folder.join(name));
        hidden
            .into_iter()
            .filter(|path| path.exists())
            .map(|path| node(&path, Role::Private))
            .collect::<Vec<_>>()
    };
    folders.flat_map(|folder| [vec![node(&folder, Role::SpoolFolder)], inner(&folder)].concat()).collect()
}

fn spool(path: &Path) -> Option<(String, bool)> {
    let magic = magic_of(path).ok()?;
    let meta = fs::metadata(path).ok()?;
    let safe = [TMPFS, RAMFS].contains(&magic) || is_encrypted(meta.dev());
    Some((path.display().to_string(), safe))
}

/// The key files. `quiet`: nobody writes them, so their slots can be compared, and nobody is changing the master key.
pub fn keys(places: &Places, quiet: bool) -> KeyFacts {
    let dir = places.state_dir.join("keys");
    let generation = KeySlots::in_force(&dir).ok().flatten();
    let place = match (&places.key.insecure_key_file, &places.key.credential) {
        (Some(path), _) => Some(MasterPlace::PlainFile(path.clone())),
        (None, name) => name.as_deref().map(MasterPlace::credential),
    };
    let left_by_rotation = quiet.then(|| left_by_rotation(place.as_ref(), &dir));
    let master = place.map(secret);
    let mut facts = KeyFacts { generation, master, left_by_rotation, ..KeyFacts::default() };
    let Some(generation) = generation else { return facts };
    let paths = ["a", "b"].map(|copy| dir.join(format!("{generation}.{copy}")));
    let missing = paths.iter().filter(|path| File::open(path).is_err());
    facts.copies_missing = missing.map(|path| path.display().to_string()).collect();
    if quiet && facts.copies_missing.is_empty() {
        let [a, b] = paths;
        if let Ok((half, damaged)) = compare(&a, &b) {
            (facts.half, facts.damaged) = (Some(half), Some(damaged));
        }
    }
    facts
}

fn secret(place: MasterPlace) -> Secret {
    let path = place.path(Which::Usual);
    let shown = path.display().to_string();
    match place {
        MasterPlace::PlainFile(_) => {
            Secret::Plain { path: shown, mode: fs::metadata(path).ok().map(|meta| meta.mode() & 0o7777) }
        }
        MasterPlace::Credential { name, .. } => {
            Secret::Credential { name, file: path.exists().then_some(shown) }
        }
    }
}

/// Files of a change of the master key: beside the key files in force, and beside the master key.
fn left_by_rotation(master: Option<&MasterPlace>, keys_dir: &Path) -> Vec<String> {
    let next = master.filter(|place| place.exists(Which::Next)).map(|place| place.path(Which::Next));
    let files = KeySlots::leftovers(keys_dir).unwrap_or_default();
    files.into_iter().chain(next).map(|path| path.display().to_string()).collect()
}

/// Slots that are sound in one copy only, and in none. Without the master key: by their check sums.
fn compare(a: &Path, b: &Path) -> std::io::Result<(u64, u64)> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut in_a, mut in_b) = (Vec::new(), Vec::new());
    let (mut half, mut damaged) = (0, 0);
    loop {
        for (file, bytes) in [(&mut a, &mut in_a), (&mut b, &mut in_b)] {
            bytes.clear();
            file.take(STRETCH_BYTES as u64).read_to_end(bytes)?;
        }
        // What one copy lacks at its end is free there.
        let longest = in_a.len().max(in_b.len()).next_multiple_of(SLOT_BYTES);
        if longest == 0 {
            return Ok((half, damaged));
        }
        in_a.resize(longest, 0);
        in_b.resize(longest, 0);
        for (a, b) in in_a.as_chunks::<SLOT_BYTES>().0.iter().zip(in_b.as_chunks::<SLOT_BYTES>().0) {
            match (SlotBytes::parse(a), SlotBytes::parse(b)) {
                (SlotBytes::Free, SlotBytes::Free) => {}
                (SlotBytes::InUse(_), SlotBytes::InUse(_)) if a == b => {}
                (SlotBytes::InUse(_), _) | (_, SlotBytes::InUse(_)) => half += 1,
                _ => damaged += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::slot::{Slot, SlotKind, WRAPPED_BYTES};

    #[test]
    fn what_a_change_of_the_master_key_left_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = MasterPlace::PlainFile(dir.path().join("key"));
        let left = || {
            let paths = left_by_rotation(Some(&place), dir.path());
            paths.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left(), Vec::<String>::new(), "no key file at all is another finding");
        let write =
            |names: &[&str]| names.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        write(&["1.a", "1.b", "key", "index"]);
        assert_eq!(left(), Vec::<String>::new());
        // Before its name makes the new generation count, and after.
        write(&["2.a.new", "2.b", "key.next"]);
        assert_eq!(left(), ["2.a.new", "2.b", "key.next"]);
        fs::rename(dir.path().join("2.a.new"), dir.path().join("2.a")).unwrap();
        assert_eq!(left(), ["1.a", "1.b", "key.next"]);
    }

    #[test]
    fn slots_of_two_copies_are_compared_to_the_end_of_the_longer() {
        let dir = tempfile::tempdir().unwrap();
        let slot = |byte| {
            let wrapped = [byte; WRAPPED_BYTES];
            Slot { kind: SlotKind::Data, id: [byte; 16], nonce: [0; 12], wrapped }.encode().to_vec()
        };
        let free = vec![0; SLOT_BYTES];
        let torn = [vec![1; 7], vec![0; SLOT_BYTES - 7]].concat();
        let (a, b) = (dir.path().join("1.a"), dir.path().join("1.b"));
        // Sound, half, half, damaged, differing, and one more than b has.
        let of_a = [slot(1), slot(2), free.clone(), torn.clone(), slot(5), slot(6)].concat();
        let of_b = [slot(1), torn, slot(3), free, slot(7)].concat();
        fs::write(&a, of_a).unwrap();
        fs::write(&b, of_b).unwrap();
        assert_eq!(compare(&a, &b).unwrap(), (4, 1));
        assert_eq!(compare(&a, &a).unwrap().0, 0);
    }
}
