//! Receipts and consistency proofs from the real service on a real bus, checked by the auditor's program.
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
use std::process::{Command, Output};

use greffier::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use greffier::core::ledger::hash::Hash;
use greffier::core::ledger::proof::verify_consistency;
use greffier::core::ledger::receipt::Receipt;
use support::House;
use support::user::{ROOT, Refused, User};

const VERIFY: &str = env!("CARGO_BIN_EXE_greffier-verify");

fn receipt(user: &User, entry: u64) -> Result<String, Refused> {
    user.run(move |client| client.ask(ROOT, "Ledger", "Receipt", &entry))
}

fn consistency(user: &User, old: u64, new: u64) -> Result<Vec<String>, Refused> {
    user.run(move |client| client.ask(ROOT, "Ledger", "Consistency", &(old, new)))
}

fn head(user: &User) -> Checkpoint {
    let text: String = user.run(|client| client.ask(ROOT, "Ledger", "Head", &())).unwrap();
    SignedCheckpoint::read(&text).unwrap().0
}

/// The epoch key in force, as the ledger announces it.
fn epoch_key(house: &House) -> String {
    let mut keys = house.durable().into_iter().map(|entry| entry.data("epoch_key"));
    keys.rfind(|key| !key.is_empty()).unwrap()
}

fn verify(house: &House, text: &str, more: &[&str]) -> Output {
    let file = house.path("one.tlog-proof");
    fs::write(&file, text).unwrap();
    Command::new(VERIFY).arg("receipt").arg(file).args(["--key", &house.vkey]).args(more).output().unwrap()
}

/// The auditor's program finds the receipt sound, and it is of the entry that stands on the disk.
fn sound(house: &House, text: &str, entry: u64) -> Receipt {
    let output = verify(house, text, &["--epoch-key", &epoch_key(house)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = verify(house, text, &[]);
    assert_eq!(output.status.code(), Some(3), "without the epoch key: {output:?}");
    let receipt: Receipt = text.parse().unwrap();
    assert_eq!(receipt.index(), entry);
    let durable = &house.durable()[usize::try_from(entry).unwrap()];
    assert_eq!(receipt.entry(), durable.line.as_bytes());
    receipt
}

/// Lets the ledger grow beyond its first bundle.
fn grow(auditor: &User, size: u64) {
    while head(auditor).size < size {
        auditor.read_ledger(0, 1).unwrap();
    }
}

#[test]
fn a_receipt_from_the_tail_from_a_bundle_and_after_a_restart_is_verified_by_the_auditor() {
    let mut house = House::open();
    let news = house.user("news");
    for entry in [0, 2] {
        sound(&house, &receipt(&news, entry).unwrap(), entry);
    }
    grow(&news, 300);
    let size = head(&news).size;
    for entry in [0, 100, 255, 256, size - 1] {
        let receipt = sound(&house, &receipt(&news, entry).unwrap(), entry);
        // Before the answer left, the question was in the ledger that the answer is about.
        let covered = house.durable().into_iter().rfind(|entry| entry.event() == "ledger.proved").unwrap();
        assert!(receipt.head().0.size > covered.seq());
        assert_eq!(receipt.detail(), None);
    }
    let before = receipt(&news, 120).unwrap();
    drop(news);
    house.stop();
    house.start();
    let news = house.user("news");
    for entry in [0, 255, 256, head(&news).size - 1] {
        sound(&house, &receipt(&news, entry).unwrap(), entry);
    }
    // An earlier receipt stays what it was; the epoch key that signed it is in the ledger, before the last one.
    let output = verify(&house, &before, &[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let output = verify(&house, &before, &["--epoch-key", &epoch_key(&house)]);
    assert_eq!(output.status.code(), Some(1), "that key came later: {output:?}");

    // With its detail, as an auditor may read it.
    let opened: Receipt = receipt(&news, 120).unwrap().parse().unwrap();
    let lines = news.read_ledger(120, 1).unwrap();
    assert_eq!(opened.entry(), lines[0].as_bytes());
    let opened = opened.with_detail(lines[1].clone().into_bytes()).unwrap();
    let text = opened.to_string();
    sound(&house, &text, 120);
    // One letter of the account's name changed.
    let changed = lines[1].replace("\"user\":\"news\"", "\"user\":\"mews\"");
    assert_ne!(changed, lines[1]);
    let forged = opened.with_detail(changed.into_bytes()).unwrap().to_string();
    let output = verify(&house, &forged, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("[detail-damaged]"), "{output:?}");
    house.finish();
}

#[test]
fn inv2_a_proof_and_its_refusal_are_entries_that_say_who_and_what() {
    let house = House::open();
    let (news, games, nobody) = (house.user("news"), house.user("games"), house.user("nobody"));
    let before = house.durable().len();
    receipt(&news, 1).unwrap();
    consistency(&news, 1, 3).unwrap();
    let refused = [
        receipt(&games, 1).unwrap_err(),
        receipt(&nobody, 0).unwrap_err(),
        consistency(&games, 1, 3).unwrap_err(),
    ];
    let entries = house.durable().split_off(before);
    let said: Vec<_> = entries
        .iter()
        .map(|entry| {
            (entry.event().to_owned(), entry.get("outcome"), entry.data("what"), entry.number("entry"))
        })
        .collect();
    let proved = |outcome: &str, what: &str, entry| {
        ("ledger.proved".to_owned(), outcome.to_owned(), what.to_owned(), entry)
    };
    assert_eq!(
        said,
        [
            proved("granted", "receipt", Some(1)),
            proved("granted", "consistency", None),
            proved("denied", "receipt", Some(1)),
            proved("denied", "receipt", Some(0)),
            proved("denied", "consistency", None),
        ]
    );
    assert_eq!((entries[1].number("old"), entries[1].number("new")), (Some(1), Some(3)));
    for (answer, entry) in refused.iter().zip(&entries[2..]) {
        assert_eq!((answer.name.as_str(), answer.entry()), ("Denied", Some(entry.seq())), "{answer:?}");
    }
    let lines = news.read_ledger(before as u64, 5).unwrap();
    let detail = |line: usize| serde_json::from_str::<serde_json::Value>(&lines[line]).unwrap();
    assert_eq!((&detail(1)["who"]["user"], &detail(1)["rule"]), (&"news".into(), &"audit".into()));
    assert_eq!(detail(5)["who"]["user"], "games");
    house.finish();
}

#[test]
fn a_consistency_proof_joins_two_heads_of_the_auditor() {
    let mut house = House::open();
    let news = house.user("news");
    let mut heads = vec![head(&news)];
    grow(&news, 290);
    heads.push(head(&news));
    drop(news);
    house.stop();
    house.start();
    let news = house.user("news");
    heads.push(head(&news));
    for (old, new) in [(0, 0), (0, 1), (0, 2), (1, 2)] {
        let (old, new) = (&heads[old], &heads[new]);
        let proof = consistency(&news, old.size, new.size).unwrap();
        let proof: Vec<Hash> = proof.iter().map(|line| line.parse().unwrap()).collect();
        verify_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
        if old != new {
            let other = Hash([7; 32]);
            assert!(verify_consistency(old.size, &other, new.size, &new.root, &proof).is_err());
        }
    }
    assert!(consistency(&news, 0, heads[2].size).unwrap().is_empty(), "everything begins with nothing");
    house.finish();
}

#[test]
fn what_is_not_in_the_ledger_yet_is_refused_in_words_and_recorded() {
    let house = House::open();
    let news = house.user("news");
    let size = head(&news).size;
    let before = house.durable().len();
    let refused = [
        receipt(&news, size).unwrap_err(),
        receipt(&news, (1 << 53) - 1).unwrap_err(),
        consistency(&news, 1, size + 10).unwrap_err(),
    ];
    let entries = house.durable().split_off(before);
    assert_eq!(entries.len(), refused.len());
    for (answer, entry) in refused.iter().zip(&entries) {
        assert_eq!(answer.name, "NotFound");
        assert!(answer.sentence.starts_with("The ledger had "), "{answer:?}");
        assert_eq!(answer.entry(), Some(entry.seq()));
        assert_eq!((entry.event(), entry.get("outcome").as_str()), ("ledger.proved", "failed"));
    }
    // Numbers that no ledger has are no question, and no entry.
    for answer in [
        receipt(&news, 1 << 53).unwrap_err(),
        receipt(&news, u64::MAX).unwrap_err(),
        consistency(&news, 3, 2).unwrap_err(),
        consistency(&news, 0, u64::MAX).unwrap_err(),
    ] {
        assert_eq!((answer.name.as_str(), answer.entry()), ("InvalidArgument", None), "{answer:?}");
    }
    assert_eq!(house.durable().len(), before + refused.len());
    house.finish();
}
