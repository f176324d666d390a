//! The walls between the rooms (design §4), and the promises that text can show: read from the files, so that breaking
//! one fails a test and names the line of thought to repair.
//!
//! Each rule is a function from texts to complaints; the tests below feed it our files, and samples that must fail.

#![cfg(test)]

#[path = "rooms/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{code_only, paths, tokens, without_tests};

/// Files over 500 lines, each with the reason why it is not split.
const LONG_FILES: [(&str, &str); 0] = [];

/// Folders of `shell` that use another's, besides `sys`, which serves all.
const SHELL_EDGES: [(&str, &str, &str); 5] = [
    ("crypt", "entropy", "keys, salts and nonces are drawn in the one place that draws"),
    ("disk", "crypt", "a slot or an object on disk is what crypt made of it; key bytes never leave crypt"),
    ("systemd", "crypt", "the credential becomes a key without passing through other hands"),
    ("journal", "message_id", "a message names its id"),
    ("watch", "disk", "renames and unlinks of the spool pass the seam where tests let calls fail"),
];

/// Crates that may stand in the pure room: they compute, and do nothing else.
const PURE_CRATES: [&str; 10] = [
    "crc32c",
    "data_encoding",
    "ed25519_dalek",
    "jiff",
    "serde",
    "serde_json",
    "sha2",
    "smol_str",
    "thiserror",
    "toml",
];

/// What opens a connection to another machine, and the one folder that may: no service, no recorder, no key is near it.
const NETWORK: [&str; 3] = ["rustls", "rustls_native_certs", "ureq"];
const NETWORK_FOLDER: [&str; 2] = ["ctl", "witness"];

/// Crates that the verifier may use besides: arguments, escaped HTML, and archives with the unlinked file that
/// one is unpacked to.
const VERIFIER_CRATES: [&str; 5] = ["clap", "maud", "ruzstd", "tar", "tempfile"];

/// What of `std` has effects. `std::time::Duration` alone is a number.
const EFFECTS: [&str; 9] =
    ["env", "fs", "io", "net", "os", "process", "thread", "time::Instant", "time::SystemTime"];

/// What of `std::fs` changes a disk: the verifier reads.
const WRITES: [&str; 13] = [
    "DirBuilder",
    "OpenOptions",
    "copy",
    "create_dir",
    "create_dir_all",
    "hard_link",
    "remove_dir",
    "remove_dir_all",
    "remove_file",
    "rename",
    "set_permissions",
    "set_times",
    "write",
];

/// Why code in `module` (names below `crate`) may not name `path`; `None` when it may. `crates` are our dependencies.
fn wall(module: &[&str], path: &[String], crates: &BTreeSet<String>) -> Option<String> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (first, rest) = path.split_first()?;
    let room = module.first().copied().unwrap_or("");
    if *first == "crate" {
        return inner_wall(module, rest);
    }
    let below = |list: &[&str]| list.iter().any(|entry| starts_with(rest, entry));
    let effect = *first == "std" && below(&EFFECTS);
    match room {
        "core" if effect => Some("core has no effects: take the fact as an argument".into()),
        "core" if crates.contains(*first) && !PURE_CRATES.contains(first) => {
            Some(format!("core does not use the crate {first}: only crates that compute"))
        }
        "core" if starts_with(&path, "ed25519_dalek::SigningKey") => {
            Some("core never holds a private key".into())
        }
        "core" if path.ends_with(&["now"]) || starts_with(&path, "jiff::tz::TimeZone::system") => {
            Some("core has no clock: take `now` and the zone as arguments".into())
        }
        "verify"
            if crates.contains(*first)
                && !VERIFIER_CRATES.contains(first)
                && !PURE_CRATES.contains(first) =>
        {
            Some(format!("the verifier builds without the crate {first}"))
        }
        "verify"
            if *first == "std"
                && rest.first() == Some(&"fs")
                && WRITES.iter().any(|w| rest.get(1) == Some(w)) =>
        {
            Some("the verifier only reads".into())
        }
        "verify" if *first == "std" && below(&["net", "time::SystemTime", "time::Instant"]) => {
            Some("the verifier needs no network and no clock".into())
        }
        _ if NETWORK.contains(first) && !module.starts_with(&NETWORK_FOLDER) => {
            Some("only ctl/witness has a network".into())
        }
        _ if *first == "std" && below(&["net"]) => {
            Some("nobody opens a socket of the network by hand".into())
        }
        _ => None,
    }
}

/// The walls between our own rooms: `rest` is the path below `crate`.
fn inner_wall(module: &[&str], rest: &[&str]) -> Option<String> {
    let room = module.first().copied().unwrap_or("");
    let folder = module.get(1).copied().unwrap_or("");
    let target = rest.first().copied().unwrap_or("");
    let target_folder = rest.get(1).copied().unwrap_or("");
    let is_room = ["core", "shell", "daemon", "ctl", "view", "verify"].contains(&target);
    if !is_room || target == room && room != "shell" {
        return None;
    }
    let allowed = match (room, target) {
        // lib.rs and the head of shell only list what is there.
        ("", _) => true,
        ("bin", _) => target == folder,
        ("core", _) => false,
        ("verify", _) => target == "core",
        ("shell", "core") => folder != "sys",
        ("shell", "shell") => {
            let listed = |(from, to, _): &(&str, &str, &str)| *from == folder && *to == target_folder;
            folder.is_empty()
                || folder == target_folder
                || target_folder == "sys"
                || SHELL_EDGES.iter().any(listed)
        }
        ("daemon", _) => ["core", "shell"].contains(&target),
        // Without the service: `init` makes keys and folders, `keys` puts one back, `doctor` looks at them, `policy check` asks for accounts and the
        // local zone.
        ("ctl", "shell") if ["init", "doctor", "keys"].contains(&folder) => true,
        ("ctl", "shell") if folder == "policy" && ["clock", "users"].contains(&target_folder) => true,
        ("ctl" | "view", "shell") => ["bus", "terminal"].contains(&target_folder),
        ("ctl" | "view", _) => target == "core",
        _ => false,
    };
    (!allowed).then(|| format!("{} may not use {}", module.join("/"), rest.join("::")))
}

/// Whether `path` lies at or below `entry`, such as `time::Instant`.
fn starts_with(path: &[&str], entry: &str) -> bool {
    let names: Vec<&str> = entry.split("::").collect();
    path.starts_with(&names)
}

/// Everything wrong with one file of `src`. `name` is its path below `src`.
fn complaints(name: &str, text: &str, crates: &BTreeSet<String>) -> Vec<String> {
    let module = module_of(name);
    let module: Vec<&str> = module.iter().map(String::as_str).collect();
    let whole = code_only(text);
    let is_test_file = module.iter().any(|name| name.ends_with("tests"));
    let code = if is_test_file { String::new() } else { without_tests(&whole) };
    let words = tokens(&code);
    let has = |word: &str| words.iter().any(|token| token == word);
    let mut wrong: Vec<String> =
        paths(&code, &module).iter().filter_map(|path| wall(&module, path, crates)).collect();
    let mut say = |yes: bool, what: &str| {
        if yes {
            wrong.push(what.to_owned());
        }
    };

    say(!text.starts_with("//! "), "the file must open with //! and say what it owns and must never do");
    say(text.starts_with("//! placeholder"), "the file is a placeholder");
    let lines = text.lines().count();
    say(
        lines > 500 && !LONG_FILES.iter().any(|(file, _)| *file == name),
        "more than 500 lines: split it, or list why not",
    );

    let in_sys = module.starts_with(&["shell", "sys"]);
    say(!in_sys && has("unsafe"), "unsafe stands only in shell/sys");
    let is_head = match module.as_slice() {
        ["shell", folder] => *folder != "sys",
        ["bin", _] => true,
        [room] => *room != "shell",
        _ => false,
    };
    let forbids = whole.contains("#![forbid(unsafe_code)]");
    say(is_head && !forbids, "the head of a room says #![forbid(unsafe_code)]");

    let is_core = module.first() == Some(&"core");
    say(is_core && (has("async") || has("await")), "core is not asynchronous");
    let prints = ["println", "eprintln", "print", "eprint", "dbg"];
    say(
        is_core && words.windows(2).any(|w| prints.contains(&w[0].as_str()) && w[1] == "!"),
        "core prints nothing",
    );

    say(code.contains(".unwrap()"), "no unwrap outside tests");
    say(
        code.contains(".expect(") && !code.contains("clippy::expect_used"),
        "no expect outside tests without #[expect(clippy::expect_used, reason = \"the proof\")]",
    );
    say(!in_sys && code.contains("[allow("), "an exception is #[expect(…, reason = …)], never #[allow]");
    let exceptions =
        ["[expect(", "[allow("].map(|begin| code.split(begin).skip(1).collect::<Vec<_>>()).concat();
    let reasoned =
        |attribute: &str| attribute.split(']').next().is_some_and(|inner| inner.contains("reason"));
    say(!exceptions.iter().all(|attribute| reasoned(attribute)), "an exception gives its reason");

    let grants = name == "core/access.rs" || name == "daemon/ledger/writer.rs";
    say(
        has("after_sync") && !grants,
        "only the ledger's writer says that something is recorded: Recorded::after_sync",
    );
    wrong
}

/// `core/ids.rs` is `[core, ids]`; `core/mod.rs` is `[core]`; `lib.rs` is the root.
fn module_of(name: &str) -> Vec<String> {
    let stem = name.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if stem == "lib" {
        return Vec::new();
    }
    // Each program belongs to the room that has its name.
    let program = |file: &str| match file {
        "greffierd" => "daemon".to_owned(),
        "greffierctl" => "ctl".to_owned(),
        other => other.trim_start_matches("greffier-").to_owned(),
    };
    match stem.split_once('/') {
        Some(("bin", file)) => vec!["bin".into(), program(file)],
        _ => stem.split('/').map(str::to_owned).collect(),
    }
}

/// Paths of this repository that a text names, such as `tests/rooms.rs`.
fn named_files(text: &str) -> BTreeSet<String> {
    let text = text.replace("\\-", "-");
    let folders =
        ["src/", "tests/", "docs/", "man/", "policy/", "systemd/", "benches/", "fuzz/", "packaging/"];
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_./-*<>{}$".contains(c);
    text.split(|c: char| !is_path(c))
        .map(|word| word.trim_end_matches(['.', '-']))
        .filter(|word| folders.iter().any(|folder| word.len() > folder.len() && word.starts_with(folder)))
        .filter(|word| !word.contains(['*', '<', '>', '{', '}', '$']))
        .map(str::to_owned)
        .collect()
}

/// 128-bit ids in hex, as the journal writes them.
fn message_ids(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| {
            word.len() == 32 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
        .map(str::to_owned)
        .collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder`, sorted.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn our_crates() -> BTreeSet<String> {
    let manifest = read(&repository().join("Cargo.toml"));
    let all = manifest.split_once("\n[dependencies]\n").unwrap().1;
    let all = all.split_once("\n[profile").unwrap().0;
    all.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_")).collect()
}

#[test]
fn rooms_keep_their_walls() {
    let (root, crates) = (repository().join("src"), our_crates());
    let files = files_below(&root);
    assert!(files.len() > 20 && crates.contains("tokio"), "the files or the crates were not found");
    let mut wrong = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")) {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        wrong.extend(complaints(name, &read(path), &crates).iter().map(|what| format!("src/{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_name_only_files_that_exist() {
    let mut wrong = Vec::new();
    let folders =
        ["docs", "man", "src", "systemd", "policy"].map(|folder| files_below(&repository().join(folder)));
    for path in
        folders.iter().flatten().chain([&repository().join("README.md"), &repository().join("Makefile")])
    {
        let missing = named_files(&read(path)).into_iter().filter(|name| !repository().join(name).exists());
        wrong.extend(missing.map(|name| format!("{} names {name}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_message_catalogue_explains_every_message_id() {
    let code = message_ids(&read(&repository().join("src/shell/message_id.rs")));
    let catalogue = message_ids(&read(&repository().join("systemd/greffier.catalog")));
    assert!(!code.is_empty());
    assert_eq!(code, catalogue);
}

#[test]
fn long_files_are_listed_only_while_they_are_long() {
    for (name, reason) in LONG_FILES {
        let lines = read(&repository().join("src").join(name)).lines().count();
        assert!(lines > 500 && !reason.is_empty(), "{name} has {lines} lines");
    }
}

/// What [`complaints`] says of a sample.
fn of(name: &str, code: &str) -> String {
    let crates = ["tokio", "zbus", "sha2", "clap", "ed25519_dalek", "log", "ureq"].map(str::to_owned).into();
    complaints(name, &format!("//! Sample.\n#![forbid(unsafe_code)]\n{code}"), &crates).join("; ")
}

#[test]
fn a_breach_of_a_wall_is_found() {
    for (name, code, why) in [
        ("core/ids.rs", "use std::{fmt, fs::File};", "no effects"),
        ("core/ids.rs", "fn f() { std::env::var(x); }", "no effects"),
        ("core/ids.rs", "use std::time::{Duration, SystemTime};", "no effects"),
        ("core/ids.rs", "use tokio::sync::Mutex;", "crate tokio"),
        ("core/ids.rs", "fn f() { log::warn!(x) }", "crate log"),
        ("core/ids.rs", "use crate::shell::clock;", "may not use shell::clock"),
        ("core/policy/mod.rs", "use super::super::daemon::run;", "may not use daemon::run"),
        ("core/ids.rs", "use ed25519_dalek::{SigningKey, VerifyingKey};", "private key"),
        ("core/ids.rs", "fn f() { let t = jiff::Timestamp::now(); }", "no clock"),
        ("core/ids.rs", "async fn f() {}", "not asynchronous"),
        ("core/ids.rs", "fn f() { println!(); }", "prints nothing"),
        ("shell/disk/a.rs", "use crate::shell::bus::Caller;", "shell/disk/a may not use shell::bus"),
        ("shell/bus/a.rs", "use super::super::crypt::Secret;", "may not use shell::crypt"),
        ("shell/fuse/mod.rs", "use crate::daemon::run;", "may not use daemon::run"),
        ("shell/sys/a.rs", "use crate::core::ids::Kind;", "may not use core::ids"),
        ("daemon/run.rs", "use crate::{core::ids, ctl::args};", "may not use ctl::args"),
        ("view/open.rs", "use crate::shell::disk::slots;", "may not use shell::disk"),
        ("ctl/ledger.rs", "use crate::shell::crypt::Secret;", "may not use shell::crypt"),
        ("ctl/ledger.rs", "use ureq::Agent;", "only ctl/witness"),
        ("daemon/run.rs", "fn f() { ureq::post(x) }", "only ctl/witness"),
        ("daemon/run.rs", "use std::net::TcpStream;", "by hand"),
        ("verify/mod.rs", "use crate::shell::terminal;", "may not use shell::terminal"),
        ("verify/mod.rs", "fn f() { std::fs::remove_file(x); }", "only reads"),
        ("verify/mod.rs", "use zbus::Connection;", "without the crate zbus"),
        ("bin/greffier-verify.rs", "fn main() { greffier::daemon::run() }", "may not use daemon"),
    ] {
        let said = of(name, code);
        assert!(said.contains(why), "{name}: {code}: {said:?}");
    }
}

#[test]
fn a_breach_of_a_promise_is_found() {
    for (name, code, why) in [
        ("daemon/run.rs", "fn f() { x.unwrap() }", "no unwrap"),
        ("daemon/run.rs", "fn f() { x.expect(y) }", "no expect"),
        ("daemon/run.rs", "#[allow(dead_code)] fn f() {}", "never #[allow]"),
        ("daemon/run.rs", "#[expect(dead_code)] fn f() {}", "gives its reason"),
        ("daemon/run.rs", "fn f() { unsafe { g() } }", "only in shell/sys"),
        ("daemon/run.rs", "fn f() { Recorded::after_sync(x) }", "after_sync"),
        ("daemon/run.rs", &"// more\n".repeat(500), "more than 500 lines"),
    ] {
        let said = of(name, code);
        assert!(said.contains(why), "{name}: {code}: {said:?}");
    }
    let crates = BTreeSet::new();
    assert!(complaints("ctl/a.rs", "use std::fmt;", &crates).concat().contains("open with //!"));
    assert!(complaints("shell/disk/mod.rs", "//! Disk.", &crates).concat().contains("forbid(unsafe_code)"));
    assert!(
        named_files("see `src/core/ids.rs`, docs/law.md. and /etc/src/x, policy/").contains("docs/law.md")
    );
    assert_eq!(named_files("x/src/a.rs, src/<room>/mod.rs, src/, man/*.8"), BTreeSet::new());
}

#[test]
fn what_is_allowed_is_let_through() {
    for (name, code) in [
        ("core/ids.rs", "use std::{fmt, time::Duration}; use sha2::Sha256; use super::time::Period;"),
        ("core/ids.rs", "//! tokio::spawn\n#[cfg(test)]\nmod tests { use std::fs; fn f() { x.unwrap(); } }"),
        ("core/ids/tests.rs", "use std::fs; fn f() { x.unwrap(); }"),
        (
            "shell/disk/slots.rs",
            "use crate::shell::crypt::Secret; use crate::shell::sys::x; use crate::core::ids::Kind;",
        ),
        ("shell/sys/mod.rs", "fn f() { unsafe { libc::getpid() } }"),
        ("daemon/run.rs", "use crate::shell::disk; use crate::core::ids; use super::config;"),
        ("daemon/run.rs", "#[expect(clippy::expect_used, reason = \"proof\")] fn f() { x.expect(y) }"),
        ("daemon/ledger/writer.rs", "fn f() { Recorded::after_sync(x) }"),
        ("ctl/init.rs", "use crate::shell::crypt::MasterKey;"),
        ("view/open.rs", "use crate::shell::bus::client::Failure;"),
        ("ctl/witness/http.rs", "use ureq::Agent;"),
        ("verify/mod.rs", "use std::fs::{File, read_dir}; use clap::Parser;"),
        ("bin/greffierctl.rs", "fn main() { greffier::ctl::run() }"),
    ] {
        assert_eq!(of(name, code), "", "{name}: {code}");
    }
}
