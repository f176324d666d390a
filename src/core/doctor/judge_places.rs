//! Directories, files, file system, space.

use super::{Facts, Found, Node, NodeKind, Role};
use crate::core::medium::Medium;

pub(super) fn judge(facts: &Facts, found: &mut Found) {
    let places = &facts.places;
    if let Some((code, why)) = &places.unusable {
        let next = match *code {
            "not-initialised" => "run greffierctl init",
            "format-newer" => "install the newer greffier, or restore a backup made with this one",
            _ => "mend what the sentence names, then run this again",
        };
        found.add(code, &places.state_dir, why.as_str(), next);
    }
    for node in &places.nodes {
        judge_node(node, places.owner_uid, found);
    }
    if let Some(sentence) = places.medium.as_ref().and_then(Medium::sentence) {
        found.add(
            "medium-not-in-place",
            &places.state_dir,
            sentence,
            "move the state directory to ext4 or XFS, without snapshots and without data=journal",
        );
    }
    if let Some(free) = places.free_bytes {
        let mib = |bytes: u64| bytes >> 20;
        let (free_mib, min_mib) = (mib(free), mib(places.bounds.seal_bytes));
        if free < places.bounds.seal_bytes {
            found.add(
                "space-short",
                &places.state_dir,
                format!("{free_mib} MiB are free, less than limits.min_free_bytes ({min_mib} MiB): nothing is sealed"),
                "make room, or lower limits.min_free_bytes",
            );
        } else if free < places.bounds.warn_bytes {
            found.add(
                "space-low",
                &places.state_dir,
                format!("{free_mib} MiB are free; below {min_mib} MiB nothing is sealed"),
                "make room before that",
            );
        }
    }
    if let Some((path, false)) = &places.spool {
        found.add(
            "spool-clear",
            path.as_str(),
            "it lies neither in memory nor on an encrypted volume: what recorders leave stays readable on the disk",
            "mount a tmpfs or an encrypted volume there",
        );
    }
}

fn judge_node(node: &Node, owner_uid: u32, found: &mut Found) {
    let path = node.path.as_str();
    let (kind, word) = match node.role {
        Role::File => (NodeKind::File, "a regular file"),
        Role::Private | Role::Directory | Role::SpoolFolder => (NodeKind::Directory, "a directory"),
    };
    if node.kind == NodeKind::Missing {
        return found.add(
            "missing",
            path,
            "it is missing",
            "put it back, or run greffierctl init on a new machine",
        );
    }
    if node.kind != kind {
        return found.add(
            "wrong-kind",
            path,
            format!("it is not {word}"),
            "move it away and find out who put it there",
        );
    }
    if node.uid != owner_uid {
        let what = format!("it belongs to uid {}, not to uid {owner_uid}", node.uid);
        found.add("wrong-owner", path, what, "find out who did so, then change its owner back");
    }
    let mode = node.mode & 0o7777;
    match node.role {
        Role::Private if mode & 0o077 != 0 => found.add(
            "exposed",
            path,
            format!("its mode is {mode:04o}: others can look into it"),
            format!("chmod 0700 {path}, and check who did so"),
        ),
        Role::Directory | Role::File if mode & 0o022 != 0 && mode & 0o1000 == 0 => found.add(
            "writable-by-others",
            path,
            format!("its mode is {mode:04o}: others can change it"),
            format!("chmod go-w {path}, and check what it holds"),
        ),
        Role::SpoolFolder if mode != 0o1730 => found.add(
            "spool-mode",
            path,
            format!("its mode is {mode:04o}, not 1730: others could read or replace what a recorder left"),
            format!("chmod 1730 {path}"),
        ),
        _ => {}
    }
}
