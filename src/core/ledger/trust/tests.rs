//! Tests of trust policies.

use super::super::cosignature::{cosignature_line, line_text, signed_message};
use super::super::note::{SignedNote, signature_line};
use super::*;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const BODY: &str = "log.example/a\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

fn log_key(name: &str, seed: u8) -> (SigningKey, VerifierKey) {
    let private = SigningKey::from_bytes(&[seed; 32]);
    let public = VerifierKey::new(name, private.verifying_key().as_bytes()).unwrap();
    (private, public)
}

fn witness_key(seed: u8) -> (SigningKey, CosignatureKey) {
    let private = SigningKey::from_bytes(&[seed; 32]);
    let name = format!("w{seed}.example");
    let public = CosignatureKey::new(&name, private.verifying_key().as_bytes()).unwrap();
    (private, public)
}

/// A checkpoint of `log.example/a`, signed by its log (seed 99) and by the witnesses of these seeds.
fn checkpoint(witnesses: &[u8]) -> SignedNote {
    let (private, log) = log_key("log.example/a", 99);
    let mut text = format!("{BODY}\n{}", signature_line(&log, &private.sign(BODY.as_bytes()).to_bytes()));
    for seed in witnesses {
        let (private, key) = witness_key(*seed);
        let signature = private.sign(signed_message(100, BODY).as_bytes()).to_bytes();
        text += &line_text(&cosignature_line(&key, 100, &signature));
    }
    SignedNote::parse(&text).unwrap()
}

/// The example of the specification, with keys of seeds 1 to 6.
fn example() -> String {
    let w = |seed: u8| witness_key(seed).1.to_string();
    format!(
        "# who signs\nlog {}\n\nwitness X1 {}\nwitness\tX2 {}  https://x2.example/submit\n  witness X3 {}\t\n\
         group X-witnesses 2 X1 X2 X3\n\nwitness Y1 {}\nwitness Y2 {}\nwitness Y3 {}\n\
         group Y-witnesses any Y1 Y2 Y3\n\n\t # both\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        log_key("log.example/a", 99).1,
        w(1),
        w(2),
        w(3),
        w(4),
        w(5),
        w(6)
    )
}

fn names<'a>(names: impl Iterator<Item = &'a Octets>) -> Vec<String> {
    names.map(ToString::to_string).collect()
}

#[test]
fn the_example_of_the_specification_needs_two_of_x_and_one_of_y() {
    let policy = TrustPolicy::parse(example().as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 6));
    assert_eq!(
        policy.witnesses()[1].url.as_ref().and_then(Octets::as_str),
        Some("https://x2.example/submit")
    );
    for (signed, reached) in [
        (vec![], false),
        (vec![1, 2, 3], false),
        (vec![1, 4, 5, 6], false),
        (vec![1, 3, 5], true),
        (vec![1, 2, 3, 4, 5, 6], true),
    ] {
        let verdict = policy.judge(&checkpoint(&signed));
        assert_eq!(verdict.quorum_reached(), reached, "{signed:?} {verdict:?}");
        assert_eq!(verdict.is_valid(), reached);
        assert_eq!(names(verdict.signed()).len(), signed.len());
        assert_eq!(names(verdict.missing()).len(), 6 - signed.len());
    }
    let verdict = policy.judge(&checkpoint(&[1, 4]));
    assert_eq!(verdict.witnesses[0].standing, Standing::Signed(100));
    let lacking: Vec<_> = verdict.lacking.iter().map(|it| (it.name.to_string(), it.have, it.need)).collect();
    let expected = [("X-and-Y", 1, 2), ("X-witnesses", 1, 2), ("X2", 0, 1), ("X3", 0, 1)];
    assert_eq!(lacking, expected.map(|(name, have, need)| (name.to_owned(), have, need)));
}

#[test]
fn a_quorum_is_a_witness_or_none_and_a_log_is_one_of_those_listed() {
    let w1 = format!("witness one {}\n", witness_key(1).1);
    let one = TrustPolicy::parse(format!("{w1}quorum one\n").as_bytes()).unwrap();
    let verdict = one.judge(&checkpoint(&[1]));
    assert!(verdict.is_valid() && verdict.log == LogStanding::NoneListed);
    assert!(!one.judge(&checkpoint(&[2])).is_valid());
    // A line after the quorum is read too.
    let none = TrustPolicy::parse(format!("quorum none\n{w1}").as_bytes()).unwrap();
    assert!(none.judge(&checkpoint(&[])).is_valid());

    // Signed by a listed log whose name is not the origin, or by none of them.
    for (log, valid) in [
        (log_key("log.example/a", 99).1, true),
        (log_key("log.example/a", 98).1, false),
        (log_key("log.example/b", 99).1, false),
    ] {
        let policy =
            TrustPolicy::parse(format!("log {log} https://log.example\nquorum none\n").as_bytes()).unwrap();
        let verdict = policy.judge(&checkpoint(&[]));
        assert_eq!((verdict.is_valid(), verdict.quorum_reached()), (valid, true), "{log}");
    }
}

#[test]
fn one_wrong_line_of_a_listed_key_spoils_the_note() {
    let policy = TrustPolicy::parse(example().as_bytes()).unwrap();
    let good = checkpoint(&[1, 2, 3, 4]);
    let (private, key) = witness_key(6);
    let forged = private.sign(signed_message(1, "other\n").as_bytes()).to_bytes();
    let text = format!("{good}{}", line_text(&cosignature_line(&key, 1, &forged)));
    let verdict = policy.judge(&SignedNote::parse(&text).unwrap());
    assert!(verdict.lacking.is_empty() && !verdict.quorum_reached());
    assert!(matches!(verdict.witnesses[5].standing, Standing::Bad(_)));
    // The same line of a key that nobody listed changes nothing.
    let (_, stranger) = witness_key(50);
    let text = format!("{good}{}", line_text(&cosignature_line(&stranger, 1, &forged)));
    assert!(policy.judge(&SignedNote::parse(&text).unwrap()).is_valid());
}

#[test]
fn a_key_of_a_type_that_is_not_checked_counts_as_missing() {
    let public = [&[6_u8][..], &[7; 1312]].concat();
    let digest = Sha256::digest([b"w.example\n".as_slice(), &public].concat());
    let vkey = format!("w.example+{}+{}", HEXLOWER.encode(&digest[..4]), BASE64.encode(&public));
    let text = format!("witness pq {vkey}\nwitness ed {}\ngroup g any pq ed\nquorum g\n", witness_key(1).1);
    let policy = TrustPolicy::parse(text.as_bytes()).unwrap();
    let verdict = policy.judge(&checkpoint(&[1]));
    assert!(verdict.is_valid());
    assert!(
        matches!(&verdict.witnesses[0].standing, Standing::NotSupported(why) if why.contains("ML-DSA-44"))
    );
    assert!(!policy.judge(&checkpoint(&[])).is_valid());
}

#[test]
fn the_example_that_is_installed_can_be_read_and_filled_in() {
    let text = include_str!("../../../../policy/trust-policy.example");
    assert!(TrustPolicy::parse(text.as_bytes()).unwrap().judge(&checkpoint(&[])).is_valid());
    let mut keys = [log_key("log.example/a", 99).1.to_string()]
        .into_iter()
        .chain((1..).map(|n| witness_key(n).1.to_string()));
    let fill = |line: &str| {
        let line = line.strip_prefix('#').filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        let words = line?.split_whitespace().map(|word| match word.ends_with("+KEY") {
            true => keys.next().unwrap(),
            false => word.to_owned(),
        });
        Some(words.collect::<Vec<_>>().join(" ") + "\n")
    };
    let filled: String = text.lines().filter_map(fill).collect();
    let policy = TrustPolicy::parse(filled.as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 3));
    assert!(policy.judge(&checkpoint(&[1, 3])).is_valid() && !policy.judge(&checkpoint(&[2])).is_valid());
}

#[test]
fn names_are_octets() {
    let text = format!("witness caf\u{e9} {}\nquorum caf\u{e9}\n", witness_key(1).1);
    assert!(TrustPolicy::parse(text.as_bytes()).unwrap().judge(&checkpoint(&[1])).is_valid());
    let mut latin = text.replace('\u{e9}', "~").into_bytes();
    latin.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xe9);
    let policy = TrustPolicy::parse(&latin).unwrap();
    assert_eq!(policy.witnesses()[0].name.as_bytes(), b"caf\xe9");
    assert!(policy.judge(&checkpoint(&[1])).is_valid());
    // A Kelvin sign is not a K.
    let kelvin = format!("witness K {}\nquorum \u{212a}\n", witness_key(1).1);
    assert_eq!(TrustPolicy::parse(kelvin.as_bytes()).unwrap_err().line, 2);
}

#[test]
fn mistakes_are_named_with_their_line() {
    let (w1, w2) = (witness_key(1).1.to_string(), witness_key(2).1.to_string());
    let log = log_key("log.example/a", 99).1.to_string();
    let log_again = log_key("log.example/other", 99).1.to_string();
    let same_key_other_name = CosignatureKey::new("other.example", witness_key(1).1.public()).unwrap();
    let a = format!("witness a {w1}\n");
    let ab = format!("{a}witness b {w2}\n");
    for (text, line, why) in [
        (String::new(), 1, "no quorum"),
        (a.clone(), 2, "no quorum"),
        ("quorum none".into(), 1, "newline"),
        ("quorum none\r\n".into(), 1, "0x0d"),
        ("# a\u{7f}\nquorum none\n".into(), 1, "0x7f"),
        ("quorum none\nquorum none\n".into(), 2, "line 1"),
        ("quorum a\n".into(), 1, "not defined"),
        (format!("quorum a\n{a}"), 1, "not defined"),
        ("quorum none none\n".into(), 1, "quorum NAME"),
        ("Quorum none\n".into(), 1, "unknown keyword"),
        ("log\nquorum none\n".into(), 1, "log VKEY"),
        (format!("log {log} u v\n"), 1, "log VKEY"),
        (format!("log {log}\nlog {log_again}\n"), 2, "line 1"),
        (format!("log {w1}\n"), 1, "type 0x04"),
        (format!("witness a {log}\n"), 1, "type 0x01"),
        (format!("{a}witness b {same_key_other_name}\n"), 2, "line 1"),
        (format!("{a}witness a {w2}\n"), 2, "\"a\" is defined"),
        (format!("witness none {w1}\n"), 1, "none"),
        (format!("witness a {}\n", w1.replace("w1", "w2")), 1, "key id"),
        (format!("witness a {w1} u v\n"), 1, "witness NAME"),
        (format!("{a}group a any a\n"), 2, "defined above"),
        (format!("{a}group none any a\n"), 2, "none"),
        (format!("{a}group g any\n"), 2, "group NAME"),
        (format!("{a}group g any g\n"), 2, "not defined"),
        (format!("{a}group g any none\n"), 2, "none"),
        (format!("{ab}group g any a a\n"), 3, "twice"),
        (format!("{ab}group g any a\ngroup h any a b\n"), 4, "line 3"),
        (format!("{ab}group g 0 a b\n"), 3, "1 to that"),
        (format!("{ab}group g 3 a b\n"), 3, "1 to that"),
        (format!("{ab}group g +1 a b\n"), 3, "1 to that"),
        (format!("{ab}group g All a b\n"), 3, "1 to that"),
        (format!("{ab}group g 99999999999999999999999 a b\n"), 3, "1 to that"),
    ] {
        let error = TrustPolicy::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.to_string().contains(why), "{text:?}: {error}");
    }
    // A group and its member are each the member of one group only, but the quorum may name any.
    let text = format!("{ab}group g 02 a b\ngroup h all g\nquorum a\n");
    assert!(TrustPolicy::parse(text.as_bytes()).is_ok());
}

#[test]
fn inv10_limits_are_far_beyond_32_and_kept() {
    let policy = |count: usize| {
        let mut text = String::new();
        let mut named = String::new();
        for n in 0..count {
            let seed = Sha256::digest(n.to_be_bytes()).into();
            let public = SigningKey::from_bytes(&seed).verifying_key();
            let key = CosignatureKey::new("w.example", public.as_bytes()).unwrap();
            text += &format!("witness w{n} {key}\n");
            named += &format!(" w{n}");
        }
        text += &format!("group g0 all{named}\n");
        for n in 1..count {
            text += &format!("group g{n} all g{}\n", n - 1);
        }
        TrustPolicy::parse(format!("{text}quorum g{}\n", count - 1).as_bytes())
    };
    let largest = policy(MAX_ITEMS).unwrap();
    assert_eq!(largest.judge(&checkpoint(&[])).lacking.len(), 2 * MAX_ITEMS);
    assert_eq!(policy(MAX_ITEMS + 1).unwrap_err().line, MAX_ITEMS + 1);
    assert!(TrustPolicy::parse(&vec![b'#'; MAX_POLICY_BYTES + 1]).is_err());
}

proptest! {
    /// Against a second reading of the rule: k of n of witnesses, then k of n of groups.
    #[test]
    fn a_quorum_agrees_with_counting(signed in prop::collection::btree_set(1..=6_u8, 0..=6), x in 1..=3_usize, y in 1..=3_usize, both in 1..=2_usize) {
        let text = example()
            .replace("X-witnesses 2", &format!("X-witnesses {x}"))
            .replace("Y-witnesses any", &format!("Y-witnesses {y}"))
            .replace("X-and-Y all", &format!("X-and-Y {both}"));
        let policy = TrustPolicy::parse(text.as_bytes()).unwrap();
        let count = |low: u8, high: u8| signed.iter().filter(|seed| (low..=high).contains(*seed)).count();
        let met = usize::from(count(1, 3) >= x) + usize::from(count(4, 6) >= y);
        let signed: Vec<u8> = signed.iter().copied().collect();
        prop_assert_eq!(policy.judge(&checkpoint(&signed)).is_valid(), met >= both);
    }

    #[test]
    fn inv10_any_octets_are_read_without_panic(
        lines in prop::collection::vec(prop::collection::vec(prop_oneof![
            Just(b"log ".to_vec()), Just(b"witness a ".to_vec()), Just(b"group ".to_vec()), Just(b"quorum ".to_vec()),
            Just(b"none".to_vec()), Just(b"any".to_vec()), prop::collection::vec(any::<u8>(), 0..8),
        ], 0..5), 0..6),
    ) {
        let _ = TrustPolicy::parse(&lines.iter().map(|line| line.concat()).collect::<Vec<_>>().join(&b'\n'));
    }
}
