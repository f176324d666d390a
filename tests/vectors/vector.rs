//! One vector: the files of a ledger, what a verifier is told besides, and what it must find.
//!
//! Damage is done here to the bytes of a ledger that was sound, so that each vector differs from its neighbour in one thing.

use std::collections::BTreeMap;
use std::path::Path;

use super::ledger_support::Site;

/// What a verifier must find: a code, and the first entry that it is about.
pub type Found = (&'static str, Option<u64>);

/// A directory of the kit.
pub struct Vector {
    pub name: &'static str,
    /// What was done, in one sentence.
    pub what: &'static str,
    pub exit: u8,
    pub found: Vec<Found>,
    /// Path below the directory, and bytes: the ledger, `vkey`, and perhaps `checkpoint.pinned` and `policy`.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Vector {
    /// The export of a site, with details in clear; sound until something is done to it.
    pub fn of(name: &'static str, what: &'static str, site: &Site) -> Self {
        let dir = tempfile::tempdir().unwrap();
        site.export(dir.path(), true);
        Self::read(name, what, site, dir.path())
    }

    /// The live folder of a site, with its tail.
    pub fn live(name: &'static str, what: &'static str, site: &Site) -> Self {
        let dir = tempfile::tempdir().unwrap();
        site.live(dir.path());
        Self::read(name, what, site, dir.path())
    }

    fn read(name: &'static str, what: &'static str, site: &Site, dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        read_below(dir, "", &mut files);
        files.insert("vkey".into(), format!("{}\n", site.vkey()).into_bytes());
        Self { name, what, exit: 0, found: Vec::new(), files }
    }

    /// Exit 1 with these findings.
    pub fn finds(mut self, found: &[Found]) -> Self {
        self.exit = 1;
        self.found = first_of_each(found);
        self
    }

    /// Exit 3 with these findings.
    pub fn lacks(mut self, found: &[Found]) -> Self {
        self.exit = 3;
        self.found = found.to_vec();
        self
    }

    /// Exit 2: it is no ledger.
    pub fn unreadable(mut self) -> Self {
        self.exit = 2;
        self
    }

    pub fn with(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), bytes.into());
        self
    }

    pub fn pinned(self, text: &str) -> Self {
        self.with("checkpoint.pinned", text)
    }

    pub fn without(mut self, path: &str) -> Self {
        assert!(self.files.remove(path).is_some(), "{path} is not there");
        self
    }

    /// Without a whole folder.
    pub fn without_below(mut self, folder: &str) -> Self {
        let before = self.files.len();
        self.files.retain(|path, _| !path.starts_with(&format!("{folder}/")));
        assert!(self.files.len() < before, "{folder} is not there");
        self
    }

    pub fn rename(mut self, from: &str, to: &str) -> Self {
        let bytes = self.files.remove(from).unwrap_or_else(|| panic!("{from} is not there"));
        self.files.insert(to.into(), bytes);
        self
    }

    /// With the bytes of one file changed.
    pub fn change(mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let bytes = self.files.get_mut(path).unwrap_or_else(|| panic!("{path} is not there"));
        let before = bytes.clone();
        change(bytes);
        assert_ne!(*bytes, before, "{path} is as it was");
        self
    }

    /// With one bit flipped, `back` bytes before the end.
    pub fn flip_near_end(self, path: &str, back: usize) -> Self {
        self.change(path, |bytes| {
            let at = bytes.len() - back;
            bytes[at] ^= 1;
        })
    }

    /// With one bit flipped.
    pub fn flip(self, path: &str, byte: usize) -> Self {
        self.change(path, |bytes| bytes[byte] ^= 1)
    }

    /// With a text put in the place of another where it first stands.
    pub fn replace(self, path: &str, from: &str, to: &str) -> Self {
        self.change(path, |bytes| {
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            bytes.splice(at..at + from.len(), to.bytes());
        })
    }

    /// With a partial bundle of other entries under the same name.
    pub fn bundle(self, path: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Self {
        self.change(path, |bytes| {
            let mut lines: Vec<Vec<u8>> = greffier::core::ledger::tile::parse_bundle(bytes)
                .unwrap()
                .into_iter()
                .map(<[u8]>::to_vec)
                .collect();
            change(&mut lines);
            *bytes = greffier::core::ledger::tile::encode_bundle(&lines).unwrap();
        })
    }

    /// The text of the file `expected`.
    pub fn expected(&self) -> String {
        let mut lines: Vec<String> = self
            .found
            .iter()
            .map(|(code, entry)| {
                format!("{code} {}\n", entry.map_or("-".to_owned(), |entry| entry.to_string()))
            })
            .collect();
        lines.sort();
        format!("# {}\nexit {}\n{}", self.what, self.exit, lines.concat())
    }
}

/// Each code once, with the first entry that it is about.
fn first_of_each(found: &[Found]) -> Vec<Found> {
    let mut first = BTreeMap::new();
    for (code, entry) in found {
        let of = first.entry(*code).or_insert(*entry);
        *of = (*of).min(*entry);
    }
    first.into_iter().collect()
}

/// All files below a folder, by their path.
pub fn read_below(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_below(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}
