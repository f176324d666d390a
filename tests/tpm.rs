//! The master key bound to a TPM: the real `systemd-creds` against a software TPM of this test.
//!
//! A device would need a module of the kernel; `swtpm` answers the same commands over a socket, and systemd finds it by
//! `SYSTEMD_TPM2_DEVICE`. Without it the test says so and proves nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use greffier::shell::crypt::MasterKey;
use greffier::shell::disk::master_place::{MasterPlace, MasterPlaceError, Which};

/// The real program, with the secret of the host and the TPM that stand in its folder. The TPM is switched on for each call: the kernel's
/// resource manager, which would close the sessions that systemd 252 leaves open, stands before devices only. It is told of the end
/// (TPM2_Shutdown), because it counts an end without warning as an attack.
const PROGRAM: &str = r#"#!/bin/bash
export SYSTEMD_CREDENTIAL_SECRET="@DIR@/host.secret"
[ -d "@DIR@/tpm" ] || exec systemd-creds "$@"
swtpm socket --tpm2 --flags not-need-init,startup-clear --tpmstate dir="@DIR@/tpm" \
    --server type=tcp,port=@PORT@,disconnect --ctrl type=tcp,port=@CONTROL@ --daemon --pid file="@DIR@/tpm.pid" >&2 || exit
export SYSTEMD_TPM2_DEVICE=swtpm:host=127.0.0.1,port=@PORT@
systemd-creds "$@"
code=$?
exec 3<>/dev/tcp/127.0.0.1/@PORT@ && printf '\x80\x01\0\0\0\x0c\0\0\x01\x45\0\0' >&3 && head -c 10 <&3 >/dev/null
exec 3>&-
kill "$(cat "@DIR@/tpm.pid")"
while [ -e "@DIR@/tpm.pid" ]; do sleep 0.02; done
exit $code
"#;

/// Two free ports in sequence: systemd's driver looks for the control port behind the other.
fn two_ports() -> (u16, u16) {
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    let pair = || {
        let first = bind(0)?;
        let port = first.local_addr().ok()?.port();
        let control = port.checked_add(1)?;
        bind(control).map(|_| (port, control))
    };
    (0..100).find_map(|_| pair()).unwrap()
}

/// The place `store` of the key, on a machine whose secret and TPM are those of `machine`.
fn place(store: &Path, machine: &Path) -> MasterPlace {
    let (port, control) = two_ports();
    let program = machine.join("creds");
    let script = PROGRAM.replace("@DIR@", machine.to_str().unwrap());
    fs::write(
        &program,
        script.replace("@PORT@", &port.to_string()).replace("@CONTROL@", &control.to_string()),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    MasterPlace::Credential { name: "greffier.master".into(), store: store.to_owned(), program }
}

fn holds(place: &MasterPlace, which: Which, master: &MasterKey) -> bool {
    place.load(which).unwrap().is_some_and(|it| it.is_same_as(master))
}

/// Binds a key by hand, as an administrator does who wants the TPM alone.
fn bind(place: &MasterPlace, key: &str, master: &MasterKey) {
    let MasterPlace::Credential { program, .. } = place else { return };
    let plain = tempfile::NamedTempFile::new().unwrap();
    master.write_to(&mut plain.as_file()).unwrap();
    let path = place.path(Which::Usual);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let with = format!("--with-key={key}");
    let bound = Command::new(program)
        .args(["encrypt", &with, "--name=greffier.master"])
        .args([plain.path(), &path])
        .output()
        .unwrap();
    assert!(bound.status.success(), "{}", String::from_utf8_lossy(&bound.stderr));
}

#[test]
fn a_master_key_bound_to_a_tpm_is_changed_and_opened_by_no_other_machine() {
    if Command::new("swtpm").arg("--version").output().is_err() {
        eprintln!("NOT TESTED with a TPM: there is no swtpm here");
        return;
    }
    for key in ["tpm2", "host+tpm2"] {
        let dir = tempfile::tempdir().unwrap();
        let [store, machine, other] = ["store", "machine", "other"].map(|name| dir.path().join(name));
        for machine in [&machine, &other] {
            fs::create_dir_all(machine.join("tpm")).unwrap();
        }
        let here = place(&store, &machine);
        let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        bind(&here, key, &old);
        assert!(holds(&here, Which::Usual, &old));

        // A change of the key as `keys rotate` makes it: both readable meanwhile, one at the end, bound to the same.
        here.create(Which::Next, &new).unwrap();
        assert!(holds(&here, Which::Usual, &old) && holds(&here, Which::Next, &new));
        here.settle(&new).unwrap();
        assert!(holds(&here, Which::Usual, &new) && !here.exists(Which::Next));
        let kept = fs::read(here.path(Which::Usual)).unwrap();

        // The disk and even the secret of the host in the hands of somebody without this TPM.
        if let Ok(secret) = fs::read(machine.join("host.secret")) {
            fs::write(other.join("host.secret"), secret).unwrap();
        }
        let elsewhere = place(&store, &other).load(Which::Usual).map(|found| found.is_some());
        assert!(
            matches!(elsewhere, Err(MasterPlaceError::Refused { doing: "decrypt", .. })),
            "{elsewhere:?}"
        );

        // With a TPM that does not answer a new key is not bound to less: nothing is written.
        fs::remove_dir_all(machine.join("tpm")).unwrap();
        assert!(here.create(Which::Next, &old).is_err() && !here.exists(Which::Next));
        assert_eq!(fs::read(here.path(Which::Usual)).unwrap(), kept);
    }
}
