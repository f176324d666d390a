//! The files of a policy: `policy.toml`, then `policy.d/*.toml` in the order of their names (design §8).
//!
//! Owns which files those are; the service and `policy check` read the same ones. Reads at most a little more than a policy
//! may have, so that a file given by mistake costs no memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The name that the main file has in the digest, whatever it is called on disk.
const MAIN: &str = "policy.toml";
/// A policy is at most 1 MiB.
const READ_BYTES_MAX: u64 = 2 << 20;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {why}", path.display())]
pub struct Unreadable {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// Relative names and texts; empty when there is no main file.
pub fn read(main: &Path) -> Result<Vec<(String, String)>, Unreadable> {
    let Some(text) = read_text(main)? else { return Ok(Vec::new()) };
    let mut files = vec![(MAIN.to_owned(), text)];
    let folder = main.parent().unwrap_or(Path::new("")).join("policy.d");
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(unreadable(&folder, error)),
        Ok(entries) => entries,
    };
    let mut more = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&folder, error))?;
        let name = entry.file_name();
        // What a shell makes of `policy.d/*.toml`: hidden files are not in it.
        if !name.as_encoded_bytes().ends_with(b".toml") || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = name.to_str().ok_or_else(|| unreadable(&entry.path(), "its name is not UTF-8"))?;
        let text = read_text(&entry.path())?.ok_or_else(|| unreadable(&entry.path(), "it is gone"))?;
        more.push((format!("policy.d/{name}"), text));
    }
    more.sort();
    files.extend(more);
    Ok(files)
}

fn read_text(path: &Path) -> Result<Option<String>, Unreadable> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, error)),
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(unreadable(path, "it is not a regular file"));
    }
    let mut text = String::new();
    file.take(READ_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    Ok(Some(text))
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Unreadable {
    Unreadable { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_of_the_shell_pattern() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("policy.toml");
        assert!(read(&main).unwrap().is_empty());
        std::fs::create_dir(dir.path().join("policy.d")).unwrap();
        for name in
            ["policy.toml", "policy.d/b.toml", "policy.d/a.toml", "policy.d/.c.toml", "policy.d/d.txt"]
        {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let names: Vec<String> = read(&main).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["policy.toml", "policy.d/a.toml", "policy.d/b.toml"]);
    }
}
