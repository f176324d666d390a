//! Details expire on a file system of its own, whose raw image is then searched (design §5, invariant 7); and a ledger put back
//! from a backup goes on by order. The real daemon, on a private bus, with an ext4 image mounted by loop: this needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use greffier::core::format::slot::{SLOT_BYTES, Slot, SlotBytes, SlotKind};
use support::{House, noise, stage, until};

/// An ext4 file system in a file.
struct Image {
    file: PathBuf,
    at: PathBuf,
    mounted: bool,
}

impl Image {
    fn make(dir: &Path) -> Self {
        let (file, at) = (dir.join("image"), dir.join("disk"));
        fs::File::create(&file).unwrap().set_len(48 << 20).unwrap();
        done(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", "lazy_itable_init=0"])
                .arg(&file)
                .output()
                .unwrap(),
        );
        fs::create_dir(&at).unwrap();
        let mut image = Self { file, at, mounted: false };
        image.mount();
        image
    }
    fn mount(&mut self) {
        done(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.at).output().unwrap());
        self.mounted = true;
    }
    /// The whole device, as it is when nothing is cached any more.
    fn raw(&mut self) -> Vec<u8> {
        done(Command::new("umount").arg(&self.at).output().unwrap());
        self.mounted = false;
        fs::read(&self.file).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _gone_with_the_machine = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

fn done(output: Output) {
    assert!(output.status.success(), "these tests need root and a loop device: {output:?}");
}

/// How often `bytes` stand in `device`.
fn times(device: &[u8], bytes: &[u8]) -> usize {
    device.windows(bytes.len()).filter(|window| window[0] == bytes[0] && *window == bytes).count()
}

/// Every detail key in the slots: wrapped as it stands there, and in clear.
fn detail_keys(house: &House) -> Vec<(u64, [u8; 48], Vec<u8>)> {
    let master = fs::read(house.path("etc/master.key")).unwrap();
    let master = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &master).unwrap());
    let file = fs::read(house.state.join("keys/1.a")).unwrap();
    let slots = file.as_chunks::<SLOT_BYTES>().0;
    let found = (0..).zip(slots).filter_map(|(number, bytes)| {
        let SlotBytes::InUse(slot) = SlotBytes::parse(bytes) else { return None };
        if slot.kind != SlotKind::Detail {
            return None;
        }
        let aad = Aad::from(Slot::associated_data(slot.kind, &slot.id, 1, number));
        let mut clear = slot.wrapped.to_vec();
        let nonce = Nonce::assume_unique_for_key(slot.nonce);
        let clear =
            master.open_in_place(nonce, aad, &mut clear).expect("the master key opens every slot").to_vec();
        Some((u64::from_be_bytes(slot.id[8..].try_into().unwrap()), slot.wrapped, clear))
    });
    found.collect()
}

fn configure(house: &House, section: &str) {
    let path = house.path("etc/greffier.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.split("\n[ledger]").next().unwrap().to_owned();
    fs::write(path, format!("{text}\n[ledger]\n{section}\n")).unwrap();
}

#[test]
fn inv7_expired_details_leave_no_name_and_no_key_on_the_raw_device() {
    const PROBES: [&str; 3] =
        ["Probe-Ground-Mrs-Example", "Probe-Lifted-Mr-Example", "Probe-Case-4711-Example"];
    let dir = stage::directory();
    let mut image = Image::make(dir.path());
    let mut house = House::in_dir(dir, Path::new("disk/state"));
    configure(&house, "");
    house.start();
    let id = house.seal("entrance", "clip.mp4", &noise(1, 5000));
    let (games, sys, news) = (house.user("games"), house.user("sys"), house.user("news"));
    let hold = sys.hold(&[("recording", &id), ("kind", "incident"), ("ground", PROBES[0])]).unwrap();
    sys.lift(&hold, &[("ground", PROBES[1])]).unwrap();
    let standing = sys.hold(&[("recording", &id), ("kind", "judicial"), ("ground", "it stands")]).unwrap();
    let opened = games.open(&id, &[("reason", "incident"), ("text", PROBES[2])]).unwrap();
    games.close(&opened.session).unwrap();
    drop(opened);
    while house.durable().len() < 260 {
        for _ in 0..20 {
            games.describe(&id).unwrap();
        }
    }
    let shown = news.read_ledger(0, 256).unwrap().join("\n");
    assert!(PROBES.iter().all(|probe| shown.contains(probe)), "they are there, for who may read them");
    drop((games, sys, news));
    // The first keys, and a word that the search must find.
    house.stop();
    let keys = detail_keys(&house);
    let (_, wrapped, clear) =
        keys.iter().find(|(bundle, ..)| *bundle == 0).expect("bundle 0 has its key").clone();
    fs::write(image.at.join("control"), "Probe-Control").unwrap();
    let before = image.raw();
    assert!(
        times(&before, b"Probe-Control") > 0 && times(&before, &wrapped) >= 2,
        "the search finds what is there"
    );
    image.mount();

    // Each detail is kept for a second from now on.
    let entries = house.durable();
    configure(&house, "details_keep = \"PT1S\"");
    house.start();
    let gone = until("details are destroyed", || house.of_event("ledger.details-destroyed").pop());
    assert_eq!(gone.number("bundle"), Some(0));
    let news = house.user("news");
    let shown = until("the old key is destroyed", || {
        let shown = news.read_ledger(0, 256).unwrap().join("\n");
        (!PROBES.iter().any(|probe| shown.contains(probe))).then_some(shown)
    });
    assert!(shown.contains("it stands"), "the detail of a standing hold stays");
    let rows = house.user("sys").run(|client| {
        client.ask::<Vec<support::user::Fields>, _>("/org/greffier/Archive1", "Retention", "PlanDetails", &())
    });
    assert!(rows.unwrap().iter().any(|row| support::user::text(row, "why") == "the hold stands"));
    drop(news);
    house.stop();
    let after = house.durable();
    assert!(after.iter().zip(&entries).all(|(new, old)| new.line == old.line), "no entry changed");
    assert!(detail_keys(&house).iter().all(|(_, _, other)| *other != clear));

    let device = image.raw();
    for probe in PROBES {
        assert_eq!(times(&device, probe.as_bytes()), 0, "{probe}");
    }
    assert!(times(&device, b"Probe-Control") > 0);
    assert_eq!(times(&device, &wrapped), 0, "the wrapped key");
    assert_eq!(times(&device, &clear), 0, "the key");
    image.mount();

    // It starts again, from the entries alone, and the hold stands.
    house.start();
    house.user("sys").lift(&standing, &[("ground", "over")]).unwrap();
    house.stop();
    drop(image);
}

fn ctl(house: &House, args: &[&str]) -> (Option<i32>, String) {
    let config = house.path("etc/greffier.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_greffierctl"))
        .args(args)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_state_directory_put_back_goes_on_by_order_and_says_so() {
    let mut house = House::open();
    house.user("games").search("incident").unwrap();
    let (code, said) = ctl(&house, &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not-looked-at") && said.contains("stop greffierd"), "{said}");
    let (code, said) = ctl(&house, &["doctor", "--accept-restore"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stop greffierd"), "{said}");
    house.stop();
    let (code, said) = ctl(&house, &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
    let keys = house.state.join("keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said) = ctl(&house, &["doctor"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("exposed") && said.contains("chmod 0700"), "{said}");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    let copy = |from: &Path, to: &Path| {
        done(Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap());
    };
    let backup = house.path("backup");
    copy(&house.state, &backup);
    // Two starts more: heads are kept that the backup does not have.
    house.start();
    house.stop();
    house.start();
    house.user("games").search("incident").unwrap();
    house.stop();
    let lost = house.durable().len();
    let pinned = house.path("pinned");
    fs::copy(house.path("run/checkpoint"), &pinned).unwrap();

    let later = house.path("later");
    fs::rename(&house.state, &later).unwrap();
    copy(&backup, &house.state);
    let (code, said) = house.refused_start();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("doctor --accept-restore") || house.log().contains("doctor --accept-restore"),
        "{said}"
    );
    let (code, said) = ctl(&house, &["doctor"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&lost.to_string()) && said.contains("--accept-restore"), "both are shown: {said}");
    let before = house.durable().len();
    let (code, said) = ctl(&house, &["doctor", "--accept-restore"]);
    assert_eq!(code, Some(0), "{said}");

    house.start();
    let restored = house.of_event("ledger.restored").pop().unwrap();
    assert_eq!(restored.number("size"), Some(before as u64));
    assert_eq!(restored.number("known_size"), Some(lost as u64));
    assert_eq!(restored.data("why"), "behind");
    house.user("games").search("incident").unwrap();
    house.stop();
    // Whoever keeps the later head sees it.
    let output = Command::new(env!("CARGO_BIN_EXE_greffier-verify"))
        .arg("ledger")
        .arg(house.state.join("ledger"))
        .args(["--key", &house.vkey, "--checkpoint"])
        .arg(&pinned)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    house.start();
    assert_eq!(house.of_event("ledger.restored").len(), 1);
    house.finish();
}
