//! The digest of a policy: what an outsider repeats with `sha256sum` (design §8).

use sha2::{Digest as _, Sha256};

use super::PolicyFile;
use crate::core::ids::Digest;

/// The file that every policy has; it comes first.
pub(super) const MAIN: &str = "policy.toml";

/// SHA-256 of the lines `<sha256 hex>  <relative name>\n`: `policy.toml` first and the files of `policy.d` by the bytes
/// of their names, the order in which `LC_ALL=C sha256sum policy.toml policy.d/*.toml` prints them.
pub(super) fn digest(files: &[PolicyFile]) -> Digest {
    let mut files: Vec<&PolicyFile> = files.iter().collect();
    files.sort_by_key(|file| in_order(&file.name));
    let mut lines = Sha256::new();
    for file in files {
        let text = Digest(Sha256::digest(file.text.as_bytes()).into());
        lines.update(format!("{text}  {}\n", file.name));
    }
    Digest(lines.finalize().into())
}

/// The order of the files of a policy: `policy.toml`, then by the bytes of their names.
pub(super) fn in_order(name: &str) -> (bool, String) {
    (name != MAIN, name.to_owned())
}
