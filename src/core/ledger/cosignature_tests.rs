//! Tests of cosignatures. The signer is the tests' own: core holds no private key.

use super::*;
use data_encoding::BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

const BODY: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
/// Private key 00 01 … 1f; key and line were made with another implementation of Ed25519 and of the format.
const VKEY: &str = "witness.example.com/w1+a0059f11+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const LINE: &str = "— witness.example.com/w1 oAWfEQAAAABkGFDLBuRDazBLVac2NE+Y+IjbjQOcXLfF9CSDZVUIoS83rE1nFZsVE8YiWV6Ngr7lV8H6bdoBQGP/l73euDMQ9k+bBQ==\n";
/// The note that tlog-cosignature shows. It does not give the keys.
const SHOWN: &str = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
";

fn key(name: &str, seed: u8) -> (SigningKey, CosignatureKey) {
    let private = SigningKey::from_bytes(&[seed; 32]);
    let public = CosignatureKey::new(name, private.verifying_key().as_bytes()).unwrap();
    (private, public)
}

fn cosign(key: &(SigningKey, CosignatureKey), time: u64, body: &str) -> NoteSignature {
    cosignature_line(&key.1, time, &key.0.sign(signed_message(time, body).as_bytes()).to_bytes())
}

fn note(lines: &[NoteSignature]) -> SignedNote {
    let lines: String = lines.iter().map(line_text).collect();
    SignedNote::parse(&format!("{BODY}\n{lines}")).unwrap()
}

#[test]
fn a_cosignature_made_by_another_implementation_verifies() {
    let key: CosignatureKey = VKEY.parse().unwrap();
    assert_eq!(key.to_string(), VKEY);
    let note = SignedNote::parse(&format!("{BODY}\n{LINE}")).unwrap();
    assert_eq!(key.verify(&note), Ok(Some(1_679_315_147)));
    assert_eq!(line_text(&note.signatures()[0]), LINE);
}

#[test]
fn the_signed_message_is_that_of_the_specification() {
    let expected = format!("cosignature/v1\ntime 1679315147\n{BODY}");
    assert_eq!(signed_message(1_679_315_147, BODY), expected);
    // The example's own line is read; another key than its signer's does not call it good.
    let shown = SignedNote::parse(&format!("{BODY}\n{SHOWN}")).unwrap();
    assert_eq!(shown.signatures()[1].key_id, [0x8d, 0x66, 0xcf, 0x3f]);
    assert_eq!(VKEY.parse::<CosignatureKey>().unwrap().verify(&shown), Ok(None));
}

#[test]
fn keys_of_real_witnesses_and_of_other_types_are_told_apart() {
    let real = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    assert_eq!(real.parse::<CosignatureKey>().unwrap().to_string(), real);
    let vkey = |kind: u8, public: &[u8]| {
        let id = HEXLOWER.encode(&key_id_of("w.example", kind, public));
        format!("w.example+{id}+{}", BASE64.encode(&[&[kind], public].concat()))
    };
    let ml_dsa = vkey(ML_DSA_44, &[7; 1312]);
    let error = ml_dsa.parse::<CosignatureKey>().unwrap_err();
    assert_eq!(error, CosignatureError::NotSupported { kind: ML_DSA_44 });
    assert!(error.to_string().contains("ML-DSA-44"), "{error}");
    let plain = key("w.example", 1).1;
    let as_log = vkey(ED25519, plain.public());
    let wrong = as_log.parse::<CosignatureKey>().unwrap_err();
    assert!(matches!(wrong, CosignatureError::WrongKind { kind: ED25519, .. }), "{wrong}");
    assert!(VerifierKey::try_from(&as_log.parse::<Vkey>().unwrap()).is_ok());
    assert!(VerifierKey::try_from(&plain.to_string().parse::<Vkey>().unwrap()).is_err());
}

#[test]
fn a_cosignature_is_bound_to_its_time_its_text_and_its_key() {
    let witness = key("w.example/1", 3);
    let line = cosign(&witness, 1_700_000_000, BODY);
    assert_eq!(witness.1.verify(&note(std::slice::from_ref(&line))), Ok(Some(1_700_000_000)));
    let mut later = line.clone();
    later.signature[7] ^= 1;
    assert!(matches!(witness.1.verify(&note(&[later])), Err(CosignatureError::Bad(_))));
    let elsewhere = cosign(&witness, 1_700_000_000, &BODY.replace("20852163", "20852164"));
    assert!(matches!(witness.1.verify(&note(&[elsewhere])), Err(CosignatureError::Bad(_))));
    // The same key under another name, and another key under the same name, are unknown keys.
    for other in [key("w.example/2", 3), key("w.example/1", 4)] {
        assert_eq!(other.1.verify(&note(std::slice::from_ref(&line))), Ok(None));
    }
    // A plain signature over the text is none.
    let plain = witness.0.sign(BODY.as_bytes()).to_bytes();
    let plain = NoteSignature { signature: plain.to_vec(), ..line };
    assert!(witness.1.verify(&note(&[plain])).is_err());
}

#[test]
fn extension_lines_are_signed_too() {
    let witness = key("w.example/1", 3);
    let body = format!("{BODY}extension\n");
    let line = cosign(&witness, 5, &body);
    let read = |body: &str| SignedNote::parse(&format!("{body}\n{}", line_text(&line))).unwrap();
    assert_eq!(witness.1.verify(&read(&body)), Ok(Some(5)));
    assert!(witness.1.verify(&read(&body.replace("extension", "extensiom"))).is_err());
}

#[test]
fn a_time_beyond_63_bits_is_refused_though_signed() {
    let witness = key("w.example/1", 3);
    let last = i64::MAX.unsigned_abs();
    assert_eq!(witness.1.verify(&note(&[cosign(&witness, last, BODY)])), Ok(Some(last)));
    let beyond = witness.1.verify(&note(&[cosign(&witness, last + 1, BODY)]));
    assert!(matches!(beyond, Err(CosignatureError::Time(_))));
}

#[test]
fn one_wrong_line_of_a_known_key_spoils_the_note_and_the_latest_time_counts() {
    let witness = key("w.example/1", 3);
    let (early, late) = (cosign(&witness, 10, BODY), cosign(&witness, 20, BODY));
    assert_eq!(witness.1.verify(&note(&[late.clone(), early.clone()])), Ok(Some(20)));
    let forged = cosign(&witness, 30, "another\n1\n");
    assert!(witness.1.verify(&note(&[late, early, forged])).is_err());
}

#[test]
fn new_lines_take_the_place_of_old_ones_of_the_same_key() {
    let (a, b) = (key("w.example/a", 1), key("w.example/b", 2));
    let first = note(&[cosign(&a, 1, BODY), cosign(&b, 1, BODY)]);
    let merged = with_lines(&first, &[cosign(&a, 2, BODY), cosign(&a, 3, BODY)]).unwrap();
    let merged = SignedNote::parse(&merged).unwrap();
    assert_eq!(merged.signatures().len(), 2);
    assert_eq!((a.1.verify(&merged), b.1.verify(&merged)), (Ok(Some(3)), Ok(Some(1))));
    assert_eq!(with_lines(&merged, merged.signatures()).unwrap(), merged.to_string());
    let many: Vec<_> = (0..=MAX_SIGNATURES)
        .map(|n| NoteSignature { name: format!("k{n}"), key_id: [0; 4], signature: vec![1] })
        .collect();
    assert_eq!(with_lines(&merged, &many), Err(CosignatureError::TooMany));
}

#[test]
fn inv10_other_forms_of_keys_are_refused() {
    let mut weak = [0; 32];
    weak[0] = 1;
    assert!(CosignatureKey::new("a/b", &weak).is_err());
    let long = format!("{VKEY}{}", "A".repeat(MAX_VKEY_BYTES));
    for bad in [
        "",
        "a+b",
        &VKEY.replace("w1", "w2"),
        &VKEY.replace("a0059f11", "A0059F11"),
        &VKEY.replace("a0059f11", "a0059f1"),
        &VKEY.replace("witness.example.com/w1", "witness w1"),
        &VKEY[..VKEY.len() - 4],
        &long,
    ] {
        assert!(bad.parse::<CosignatureKey>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn inv10_any_line_and_any_key_are_read_without_panic(
        signature in prop::collection::vec(any::<u8>(), 1..90), text in "(?s).{0,120}", flip in 0..576_usize,
    ) {
        let witness = key("w.example/1", 3);
        let line = NoteSignature { name: "w.example/1".into(), key_id: witness.1.key_id(), signature };
        prop_assert!(witness.1.verify(&note(&[line])).is_err());
        let _ = text.parse::<Vkey>();
        let mut line = cosign(&witness, 1_700_000_000, BODY);
        line.signature[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(witness.1.verify(&note(&[line])).is_err());
    }
}
