//! `greffierctl ledger witness` against witnesses over loopback, honest and other, and what `publish` makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(all(test, feature = "witness", feature = "daemon"))]

mod publish_support;
mod support;
mod witness_support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ed25519_dalek::{Signer as _, SigningKey};
use greffier::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use greffier::core::ledger::hash::{Hash, leaf_hash};
use greffier::core::ledger::note::{SignedNote, VerifierKey};
use greffier::core::ledger::tile::{encode_tile, partial_width, tile_path};
use greffier::core::ledger::tree::root_of;
use greffier::core::ledger::trust::TrustPolicy;
use publish_support::{answer, checkpoint, ctl, desk, grow, published};
use support::{House, flip_bit};
use witness_support::{Conduct, Witness};

const CTL: &str = env!("CARGO_BIN_EXE_greffierctl");
const ORIGIN: &str = "log.example/test";

/// A published directory of any size, its witnesses, and the place of the client.
struct Site {
    dir: tempfile::TempDir,
    key: SigningKey,
    witnesses: Vec<Witness>,
}

impl Site {
    fn new(witnesses: &[&str]) -> Self {
        let key = SigningKey::from_bytes(&[11; 32]);
        let vkey = vkey(&key).to_string();
        let witnesses = witnesses.iter().map(|name| Witness::start(name, &vkey)).collect();
        Self { dir: tempfile::tempdir().unwrap(), key, witnesses }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes a ledger of so many entries; two of the same `kind` begin alike.
    fn publish(&self, size: u64, kind: &str) {
        let mut hashes: Vec<Hash> = (0..size).map(|n| leaf_hash(format!("{kind} {n}").as_bytes())).collect();
        let head = Checkpoint { origin: ORIGIN.into(), size, root: root_of(&hashes) };
        for level in 0.. {
            for (n, tile) in (0..).zip(hashes.chunks(256)) {
                let width = if tile.len() < 256 { partial_width(level, size) } else { None };
                let path = self.path("public").join(tile_path(level, n, width));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, encode_tile(tile).unwrap()).unwrap();
            }
            hashes = hashes.chunks_exact(256).map(root_of).collect();
            if hashes.is_empty() {
                break;
            }
        }
        let epoch = SigningKey::from_bytes(&[12; 32]);
        let sign = |key: &SigningKey| key.sign(head.body().as_bytes()).to_bytes();
        let text = SignedCheckpoint::assemble(
            &head,
            &vkey(&self.key),
            &sign(&self.key),
            &vkey(&epoch),
            &sign(&epoch),
        );
        fs::write(self.path("public/checkpoint"), text).unwrap();
    }

    /// A policy of all witnesses that asks for `quorum` of them.
    fn policy(&self, quorum: usize) -> String {
        let lines: String = self.witnesses.iter().map(Witness::policy_line).collect();
        let names: Vec<&str> = self.witnesses.iter().map(|witness| witness.name.as_str()).collect();
        format!("log {}\n{lines}group all {quorum} {}\nquorum all\n", vkey(&self.key), names.join(" "))
    }

    fn run(&self, policy: &str) -> (i32, String) {
        answer(&self.command(policy).output().unwrap())
    }

    fn command(&self, policy: &str) -> Command {
        fs::write(self.path("policy"), policy).unwrap();
        let mut command = Command::new(CTL);
        command
            .args(["ledger", "witness", "--json", "--timeout", "2"])
            .arg(self.path("public"))
            .arg("--policy")
            .arg(self.path("policy"))
            .arg("--state")
            .arg(self.path("state"));
        command
    }

    /// The cosigned checkpoint under a policy: whether it is valid, and who signed.
    fn judged(&self, policy: &str) -> (bool, Vec<String>) {
        let note = SignedNote::parse(&fs::read_to_string(self.path("state/checkpoint")).unwrap()).unwrap();
        let verdict = TrustPolicy::parse(policy.as_bytes()).unwrap().judge(&note);
        (verdict.is_valid(), verdict.signed().map(ToString::to_string).collect())
    }
}

fn vkey(key: &SigningKey) -> VerifierKey {
    VerifierKey::new(ORIGIN, key.verifying_key().as_bytes()).unwrap()
}

#[test]
fn witnesses_follow_a_growing_ledger_with_proofs_from_the_tiles_alone() {
    let site = Site::new(&["w1.example", "w2.example"]);
    let policy = site.policy(2);
    let mut old = 0;
    // Powers of two, full tiles, one before and one after; from level 0 to level 2.
    for size in [1, 2, 5, 256, 257, 511, 512, 700, 65_536, 65_537, 66_000] {
        site.publish(size, "entry");
        let (code, said) = site.run(&policy);
        assert_eq!(code, 0, "{size}: {said}");
        assert!(said.contains("\"signed\":true") && said.contains("2027-01-15T08:00:00"), "{said}");
        assert_eq!(site.judged(&policy), (true, vec!["w1.example".into(), "w2.example".into()]));
        for witness in &site.witnesses {
            assert_eq!(witness.asked(), [old], "the size was remembered");
            assert_eq!(witness.seen.lock().unwrap().size, size);
        }
        // The same head again: the witness says when it has seen it, and nothing is doubled.
        if size == 700 {
            assert_eq!(site.run(&policy).0, 0);
            assert_eq!(
                site.witnesses.iter().map(|witness| witness.asked()).collect::<Vec<_>>(),
                [[700], [700]]
            );
            let text = fs::read_to_string(site.path("state/checkpoint")).unwrap();
            assert_eq!(text.matches('\u{2014}').count(), 4, "{text}");
        }
        old = size;
    }
    let text = fs::read_to_string(site.path("state/checkpoint")).unwrap();
    assert!(text.starts_with(&fs::read_to_string(site.path("public/checkpoint")).unwrap()), "{text}");
    assert_eq!(site.path("state/checkpoint").metadata().unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn a_size_that_is_not_known_is_asked_for_once() {
    let site = Site::new(&["w1.example"]);
    let policy = site.policy(1);
    site.publish(300, "entry");
    assert_eq!(site.run(&policy).0, 0);
    site.publish(900, "entry");
    // What was remembered is gone, or wrong: the witness tells.
    for (remembered, expected) in [(None, [0, 300]), (Some(512), [512, 900]), (Some(5000), [0, 900])] {
        site.witnesses[0].asked();
        let kept = site.path("state/witnesses.json");
        if let Some(size) = remembered {
            let vkey = &site.witnesses[0].vkey;
            let text =
                format!("{{\"format\":1,\"origin\":\"{ORIGIN}\",\"witnesses\":{{\"{vkey}\":{size}}}}}");
            fs::write(kept, text).unwrap();
        } else {
            fs::remove_file(kept).unwrap();
        }
        let (code, said) = site.run(&policy);
        assert_eq!(code, 0, "{said}");
        assert_eq!(site.witnesses[0].asked(), expected);
    }
    // One that tells another size each time is not asked for ever.
    site.witnesses[0].behaves(Conduct::Says(409, "text/x.tlog.size", b"17\n".to_vec()));
    let (code, said) = site.run(&policy);
    assert!(code == 0 && said.contains("17 entries"), "what was kept for this head still counts: {said}");
    site.publish(901, "entry");
    let (code, said) = site.run(&policy);
    assert!(code == 1 && said.contains("17 entries"), "{code} {said}");
}

#[test]
fn a_ledger_that_was_changed_or_put_back_gets_no_cosignature() {
    let site = Site::new(&["w1.example"]);
    let policy = site.policy(1);
    site.publish(600, "entry");
    assert_eq!(site.run(&policy).0, 0);
    let kept = fs::read(site.path("state/checkpoint")).unwrap();
    fs::remove_dir_all(site.path("public")).unwrap();
    site.publish(700, "other");
    let (code, said) = site.run(&policy);
    assert!(code == 1 && said.contains("422") && said.contains("changed ledger"), "{said}");
    fs::remove_dir_all(site.path("public")).unwrap();
    site.publish(400, "entry");
    let (code, said) = site.run(&policy);
    assert!(code == 1 && said.contains("600 entries and 400 are published"), "{said}");
    fs::remove_file(site.path("state/witnesses.json")).unwrap();
    let (code, said) = site.run(&policy);
    assert!(code == 1 && said.contains("600 entries and 400 are published"), "{said}");
    assert_eq!(fs::read(site.path("state/checkpoint")).unwrap(), kept);
    assert_eq!(site.witnesses[0].seen.lock().unwrap().size, 600);
}

#[test]
fn inv10_whatever_a_witness_answers_is_bounded_and_nothing_wrong_is_kept() {
    let site = Site::new(&["good.example", "bad.example"]);
    let (all, one) = (site.policy(2), site.policy(1));
    let bad = &site.witnesses[1];
    let cases = [
        (Conduct::Forges, "cannot be used", true),
        (Conduct::Stranger, "no line of the answer", true),
        (Conduct::OtherText, "cannot be used", true),
        (Conduct::NoTime, "bears no time", true),
        (Conduct::Says(400, "text/plain", vec![]), "answered 400", true),
        (Conduct::Says(403, "text/plain", vec![]), "answered 403", true),
        (Conduct::Says(404, "text/plain", b"no".to_vec()), "answered 404", true),
        (Conduct::Says(301, "text/plain", vec![]), "no redirection is followed", true),
        (Conduct::Says(307, "text/plain", vec![]), "no redirection is followed", true),
        (Conduct::Says(500, "text/html", b"<html>".to_vec()), "answered 500", true),
        (Conduct::Says(200, "text/html", b"<html>hello</html>\n".to_vec()), "signature lines", true),
        (Conduct::Says(200, "text/plain", vec![0xff; 300]), "signature lines", true),
        (Conduct::Says(200, "text/plain", vec![]), "signature lines", true),
        (Conduct::Says(200, "text/plain", vec![b'x'; 2_000_000]), "longer than", true),
        (Conduct::Says(409, "text/plain", b"7\n".to_vec()), "text/x.tlog.size", true),
        (Conduct::Says(409, "text/x.tlog.size", b"-1\n".to_vec()), "text/x.tlog.size", true),
        (Conduct::Says(409, "text/x.tlog.size", b"9007199254740993\n".to_vec()), "text/x.tlog.size", true),
        (Conduct::Endless, "longer than", true),
        (Conduct::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "cannot be reached", false),
        (Conduct::Raw(vec![b'a'; 300_000]), "cannot be reached", false),
        (Conduct::Raw(vec![]), "cannot be reached", false),
        (Conduct::Silent, "cannot be reached", false),
        (Conduct::Drips, "cannot be reached", false),
    ];
    for (size, (conduct, why, reached)) in (10..).zip(cases) {
        site.publish(size, "entry");
        bad.behaves(conduct.clone());
        let (code, said) = site.run(&all);
        assert_eq!(code, 1, "{conduct:?}: {said}");
        assert!(said.contains(why), "{conduct:?}: {said}");
        assert!(said.contains("all (1 of 2), bad.example"), "{conduct:?}: {said}");
        assert_eq!(site.judged(&one), (true, vec!["good.example".into()]), "{conduct:?}");
        // Asked alone, the difference between a witness that says no and one that is not there is the exit code.
        let alone = format!("log {}\n{}quorum {}\n", vkey(&site.key), bad.policy_line(), bad.name);
        assert_eq!(site.run(&alone).0, if reached { 1 } else { 3 }, "{conduct:?}");
        // Its record of an honest moment before must not stand in the way.
        let mut seen = bad.seen.lock().unwrap();
        (seen.size, seen.root) = (0, [0; 32]);
    }
}

#[test]
fn nobody_there_is_another_exit_code_than_wrong_usage() {
    let site = Site::new(&["w1.example"]);
    site.publish(10, "entry");
    let line = site.witnesses[0].policy_line();
    let log = format!("log {}\n", vkey(&site.key));
    let elsewhere = |url: &str| {
        let line = line.trim_end().rsplit_once(' ').unwrap().0;
        format!("{log}{line} {url}\nquorum w1.example\n")
    };
    assert_eq!(site.run(&elsewhere("http://127.0.0.1:9")).0, 3);
    assert_eq!(site.run(&elsewhere("https://w1.invalid/")).0, 3);
    let (code, said) = site.run(&elsewhere("ftp://127.0.0.1"));
    assert!(code == 3 && said.contains("no address of a witness"), "{said}");

    let good = format!("{log}{line}quorum w1.example\n");
    for (policy, expected, why) in [
        ("quorum", 2, "policy: line 1"),
        ("quorum none\n", 2, "no witness with an address"),
        (&good.replacen("log.example/test", "log.example/none", 1), 2, "line 1"),
        (
            &good.replacen(&log, &format!("log {}\n", vkey(&SigningKey::from_bytes(&[9; 32]))), 1),
            1,
            "not signed by a log",
        ),
        (&good, 0, "The quorum is reached"),
    ] {
        let (code, said) = site.run(policy);
        assert!(code == expected && said.contains(why), "{policy}: {code} {said}");
    }
    // A tile that does not give the root is found before anything is sent.
    site.witnesses[0].asked();
    site.publish(20, "entry");
    flip_bit(&site.path("public/tile/0/000.p/20"), 5);
    let (code, said) = site.run(&good);
    assert!(code == 1 && said.contains("tiles are not those"), "{said}");
    assert_eq!(site.witnesses[0].asked(), [0_u64; 0]);
    fs::remove_dir_all(site.path("public")).unwrap();
    assert_eq!(site.run(&good).0, 2);
}

#[test]
fn over_https_only_a_certificate_of_the_system_will_do() {
    let mut site = Site::new(&[]);
    site.witnesses = vec![Witness::start_tls("w1.example", &vkey(&site.key).to_string())];
    site.publish(300, "entry");
    let policy = site.policy(1);
    let (code, said) = site.run(&policy);
    assert!(code == 3 && said.contains("cannot be reached") && said.contains("ertificate"), "{said}");
    assert_eq!(site.witnesses[0].asked(), [0_u64; 0]);
    // The one variable by which another file of authorities is named.
    let trusting = site.command(&policy).env("SSL_CERT_FILE", witness_support::CERTIFICATE).output().unwrap();
    let (code, said) = answer(&trusting);
    assert_eq!(code, 0, "{said}");
    assert_eq!(site.witnesses[0].asked(), [0]);
}

#[test]
fn a_published_ledger_is_cosigned_and_the_cosignatures_are_published() {
    let house = House::open();
    let desk = desk(&house);
    let (dir, state) = (desk.join("public"), desk.join("state"));
    let (dir_text, state_text) = (dir.to_str().unwrap(), state.to_str().unwrap());
    let witnesses = ["w1.example", "w2.example"].map(|name| Witness::start(name, &house.vkey));
    let lines: String = witnesses.iter().map(Witness::policy_line).collect();
    let policy = format!("log {}\n{lines}group both all w1.example w2.example\nquorum both\n", house.vkey);
    let file = desk.join("trust");
    fs::write(&file, &policy).unwrap();
    let file = file.to_str().unwrap();
    let witness = || {
        let arguments = ["ledger", "witness", dir_text, "--policy", file, "--state", state_text];
        answer(&ctl(&house, &arguments).output().unwrap())
    };
    let merge = || {
        let cosigned = state.join("checkpoint");
        let arguments =
            ["ledger", "publish", dir_text, "--cosigned", cosigned.to_str().unwrap(), "--policy", file];
        answer(&ctl(&house, &arguments).output().unwrap())
    };
    let judge = |path: &Path| {
        let note = SignedNote::parse(&fs::read_to_string(path).unwrap()).unwrap();
        TrustPolicy::parse(policy.as_bytes()).unwrap().judge(&note).is_valid()
    };
    for growth in [0, 280, 280] {
        grow(&house, growth);
        let size = published(&house, &dir);
        assert!(!judge(&dir.join("checkpoint")));
        let entries = house.durable().len();
        let (code, said) = witness();
        assert_eq!(code, 0, "{said}");
        let (code, said) = merge();
        assert_eq!(code, 0, "{said}");
        assert!(judge(&dir.join("checkpoint")), "the published head bears the quorum");
        assert_eq!(checkpoint(&dir).0, size, "and is the same head");
        assert_eq!(house.durable().len(), entries, "neither step asked the service");
        let found = house.verify_dir(&dir);
        assert!(found.status.success(), "{found:?}");
        assert_eq!(merge().0, 0, "a second time changes nothing");
    }
    // A line that nobody in the policy signed, and one that claims a key of the ledger, stay out.
    let published_text = fs::read_to_string(dir.join("checkpoint")).unwrap();
    let cosigned = state.join("checkpoint");
    let line = published_text.lines().last().unwrap();
    let base64 = line.rsplit(' ').next().unwrap();
    let forged = format!(
        "{published_text}\u{2014} stranger.example {base64}\n\u{2014} {} {base64}\n",
        support::ORIGIN
    );
    fs::write(&cosigned, forged).unwrap();
    let (code, said) = merge();
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::read_to_string(dir.join("checkpoint")).unwrap(), published_text);
    // After a newer head the cosigned one is of another, and says so.
    published(&house, &dir);
    let (code, said) = merge();
    assert!(code == 1 && said.contains("send the published one"), "{said}");
    house.finish();
}
