//! Witnesses with test keys, and the trust policy that names them.

use ed25519_dalek::{Signer as _, SigningKey};
use greffier::core::ledger::cosignature::{CosignatureKey, cosignature_line, signed_message, with_lines};
use greffier::core::ledger::note::SignedNote;

use super::Site;

const TIME: u64 = 1_778_600_000;

pub struct Witness {
    pub private: SigningKey,
    pub public: CosignatureKey,
}

pub fn witness(seed: u8) -> Witness {
    let private = SigningKey::from_bytes(&[seed; 32]);
    let name = format!("witness.example/{seed}");
    let public = CosignatureKey::new(&name, private.verifying_key().as_bytes()).unwrap();
    Witness { private, public }
}

/// The head with the line of each witness.
pub fn cosigned(head: &str, witnesses: &[&Witness]) -> String {
    let note = SignedNote::parse(head).unwrap();
    let sign = |witness: &&Witness| {
        let signature = witness.private.sign(signed_message(TIME, note.text()).as_bytes()).to_bytes();
        cosignature_line(&witness.public, TIME, &signature)
    };
    let lines: Vec<_> = witnesses.iter().map(sign).collect();
    with_lines(&note, &lines).unwrap()
}

/// Two of the three witnesses.
pub fn policy(site: &Site, witnesses: &[&Witness; 3]) -> String {
    let [a, b, c] = witnesses.map(|witness| witness.public.to_string());
    format!(
        "log {}\nwitness a {a}\nwitness b {b}\nwitness c {c}\ngroup two 2 a b c\nquorum two\n",
        site.vkey()
    )
}
