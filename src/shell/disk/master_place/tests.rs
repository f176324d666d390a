//! Both kinds of places, with a program in the place of `systemd-creds`, and every call failing.

use super::*;
use crate::shell::disk::fault::{Mode, watch};

/// Encrypts to base64 with a head that says what to, and decrypts under the same name only.
const PROGRAM: &str = r#"#!/bin/sh
set -e
case "$1" in
encrypt) { printf 'kind of seal 16.'; printf '%s\n' "$2"; cat; } | base64 -w0 ;;
decrypt) base64 -d >"$0.clear.$$"; trap 'rm -f "$0.clear.$$"' EXIT
    head -n1 "$0.clear.$$" | grep -aqx "kind of seal 16.$2" || { echo "another name" >&2; exit 1; }
    tail -n +2 "$0.clear.$$" ;;
esac
"#;

fn places(dir: &Path) -> [MasterPlace; 2] {
    use std::os::unix::fs::PermissionsExt;
    let program = dir.join("creds");
    std::fs::write(&program, PROGRAM).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = dir.join("store");
    std::fs::create_dir_all(&store).unwrap();
    let credential = MasterPlace::Credential { name: "greffier.master".into(), store, program };
    [credential, MasterPlace::PlainFile(dir.join("store/master.key"))]
}

fn holds(place: &MasterPlace, which: Which, master: &MasterKey) -> bool {
    place.load(which).unwrap().is_some_and(|it| it.is_same_as(master))
}

#[test]
fn a_key_is_written_for_its_owner_only_read_back_and_never_over_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    for place in places(dir.path()) {
        let master = MasterKey::generate().unwrap();
        place.create(Which::Usual, &master).unwrap();
        assert!(holds(&place, Which::Usual, &master));
        assert_eq!(place.path(Which::Usual).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(place.create(Which::Usual, &MasterKey::generate().unwrap()).is_err());
        assert!(holds(&place, Which::Usual, &master));
    }
    let [credential, _] = places(dir.path());
    let mut plain = Vec::new();
    credential.load(Which::Usual).unwrap().unwrap().write_to(&mut plain).unwrap();
    let stored = std::fs::read(credential.path(Which::Usual)).unwrap();
    assert!(!stored.windows(8).any(|part| part == &plain[..8]));
}

#[test]
fn a_program_that_fails_gives_its_own_words() {
    let error = run(Command::new("/bin/sh").args(["-c", "echo no secret here >&2; exit 1"]), "encrypt", b"x");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no secret here"), "{error}");
    assert!(
        run(Command::new("/bin/sh").args(["-c", "exit 0"]), "encrypt", b"x").is_err(),
        "no output is no credential"
    );
}

#[test]
fn a_credential_bound_to_something_else_than_the_old_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [place, _] = places(dir.path());
    place.create(Which::Usual, &MasterKey::generate().unwrap()).unwrap();
    let program = dir.path().join("creds");
    std::fs::write(&program, PROGRAM.replace("kind of seal 16", "kind of seal 99")).unwrap();
    let refused = place.create(Which::Next, &MasterKey::generate().unwrap());
    assert!(matches!(refused, Err(MasterPlaceError::OtherSeal(_))));
    assert!(!place.exists(Which::Next));
}

#[test]
fn the_end_of_a_change_may_be_cut_at_any_call_and_no_key_in_use_is_lost() {
    let modes = [
        Mode::Refused,
        Mode::DoneButFailed,
        Mode::Short,
        Mode::DiesBefore,
        Mode::DiesAfter,
        Mode::DiesWithin,
    ];
    // The plain file alone: the calls are the same, and a program for each case would take long.
    for mode in modes {
        for nth in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let [_, place] = places(dir.path());
            let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
            place.create(Which::Usual, &old).unwrap();
            place.create(Which::Next, &new).unwrap();
            let faults = watch(dir.path());
            faults.plan(nth, mode);
            let settled = place.settle(&new);
            let met = faults.clear();
            let holders = [Which::Usual, Which::Next].map(|which| holds(&place, which, &new));
            assert!(holders.contains(&true), "call {nth} {mode:?} {met:?}");
            place.settle(&new).unwrap();
            assert!(
                holds(&place, Which::Usual, &new) && !place.exists(Which::Next),
                "call {nth} {mode:?} {met:?}"
            );
            if met.is_none() {
                settled.unwrap();
                assert!(nth > 8, "the calls of both files were met");
                break;
            }
        }
    }
}

#[test]
fn a_key_that_stands_nowhere_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for place in places(dir.path()) {
        let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        place.create(Which::Usual, &old).unwrap();
        assert!(matches!(place.settle(&new), Err(MasterPlaceError::Nowhere(_))));
        assert!(holds(&place, Which::Usual, &old));
        // What an attempt that was given up left beside the key in use goes.
        place.create(Which::Next, &new).unwrap();
        place.settle(&old).unwrap();
        assert!(holds(&place, Which::Usual, &old) && !place.exists(Which::Next));
    }
}

#[test]
fn the_usual_credential_stays_until_the_new_one_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let [place, _] = places(dir.path());
    let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
    place.create(Which::Usual, &old).unwrap();
    place.create(Which::Next, &new).unwrap();
    let program = dir.path().join("creds");
    let failing = PROGRAM.replace("encrypt) ", "encrypt) echo no TPM >&2; exit 1; ");
    let otherwise =
        PROGRAM.replace("encrypt) { printf 'kind of seal 16.'", "encrypt) { printf 'kind of seal 99.'");
    for (changed, said) in [(failing, "no TPM"), (otherwise, "same TPM")] {
        std::fs::write(&program, changed).unwrap();
        let error = place.settle(&new).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(holds(&place, Which::Usual, &old) && holds(&place, Which::Next, &new));
    }
    std::fs::write(&program, PROGRAM).unwrap();
    // As a crash leaves it after the overwriting.
    std::fs::write(place.path(Which::Usual), [0; 4096]).unwrap();
    place.settle(&new).unwrap();
    assert!(holds(&place, Which::Usual, &new) && !place.exists(Which::Next));
}
