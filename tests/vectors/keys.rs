//! Signatures and keys: one of two missing, of the wrong epoch, of a stranger, or in another form.

use data_encoding::BASE64;
use greffier::core::ledger::cosignature::{CosignatureKey, cosignature_line, line_text, signed_message};
use greffier::core::ledger::note::{SignedNote, VerifierKey};

use super::history::rewrite;
use super::ledger_support::{Key, ORIGIN, Site, raw};
use super::life::{at, confirm, day, life};
use super::vector::Vector;

/// Seeds of the epoch keys in the order of their use: of `ledger.created`, and of each rekeying.
const FIRST: u8 = 2;
const SECOND: u8 = 3;

pub fn all() -> Vec<Vector> {
    let mut all = heads();
    all.extend(announcements());
    all.extend(witnesses());
    all
}

fn heads() -> Vec<Vector> {
    let site = life();
    let new = |name, what| Vector::of(name, what, &site);
    let head = site.head();
    let line = |place: usize| head.lines().nth(place).unwrap().to_owned() + "\n";
    let signed_by = |seed: u8, size: u64| life().with_epoch(Key::new(seed), |site| site.head_at(size));
    let stranger = Key::new(200);
    vec![
        new("wrong-key", "the ledger is that of another log key than the one given")
            .with("vkey", format!("{}\n", stranger.public))
            .finds(&[
                ("head-signature", None),
                ("checkpoint-damaged", Some(2)),
                ("checkpoint-damaged", Some(at::REKEYED)),
                ("key-announcement", Some(0)),
            ]),
        new("head-log-key-alone", "the head is signed by the log key alone")
            .replace("checkpoint", &line(5), "")
            .finds(&[("head-signature", None)]),
        new("head-epoch-key-alone", "the head is signed by the epoch key alone")
            .replace("checkpoint", &line(4), "")
            .finds(&[("head-signature", None)]),
        new("head-log-key-twice", "the head is signed twice by the log key")
            .replace("checkpoint", &line(5), &line(4))
            .finds(&[("head-signature", None)]),
        new("key-change-unannounced", "the head is signed by an epoch key that no entry announces")
            .with("checkpoint", signed_by(77, at::SIZE))
            .finds(&[("head-signature", None)]),
        new(
            "head-by-destroyed-key",
            "the head is signed by the epoch key of the first day, which was destroyed",
        )
        .with("checkpoint", signed_by(SECOND, at::SIZE))
        .finds(&[("head-signature", None)]),
        new("head-by-first-key", "the head is signed by the first epoch key of all")
            .with("checkpoint", signed_by(FIRST, at::SIZE))
            .finds(&[("head-signature", None)]),
        Vector::of(
            "past-by-key-of-today",
            "a head of the first day, signed with the key of the second",
            &day(),
        )
        .with("checkpoint", life().head_at(at::STOPPED + 1))
        .finds(&[("head-signature", None)]),
        new("kept-log-key-alone", "a closing checkpoint is signed by the log key alone")
            .change("checkpoints/16", |bytes| {
                let text = String::from_utf8(bytes.clone()).unwrap();
                *bytes = text.lines().take(5).map(|line| format!("{line}\n")).collect::<String>().into();
            })
            .finds(&[("checkpoint-damaged", Some(at::REKEYED))]),
        new(
            "key-change-signed-by-the-new-key",
            "the checkpoint that closes an epoch is signed by the next key",
        )
        .with("checkpoints/16", site.head_at(at::REKEYED + 1))
        .finds(&[("checkpoint-damaged", Some(at::REKEYED))]),
        new(
            "signature-of-a-stranger",
            "a signature line of a key that nobody knows proves nothing and harms nothing",
        )
        .change("checkpoint", |bytes| {
            let body = head.split_once("\n\n").unwrap().0.to_owned() + "\n";
            bytes.extend(stranger_line("witness.example", &stranger, &body).as_bytes());
        }),
        new("signature-line-wrong-twice", "a second signature line of the log key that does not match")
            .change("checkpoint", |bytes| {
                let line = malformed(&line(4), |signature| signature[10] ^= 1);
                bytes.extend(line.as_bytes());
            })
            .finds(&[("head-signature", None)]),
        new("signature-malleable", "a signature in its other form, s + L: not the one that was made")
            .change("checkpoint", |bytes| {
                *bytes =
                    head.replace(&line(5), &malformed(&line(5), |signature| add_order(signature))).into();
            })
            .finds(&[("head-signature", None)]),
        new("signature-in-pieces", "a signature in two pieces of base64, each with its padding")
            .change("checkpoint", |bytes| {
                let (name, base64) =
                    line(5).trim_end().rsplit_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
                let raw = BASE64.decode(base64.as_bytes()).unwrap();
                let pieces = BASE64.encode(&raw[..1]) + &BASE64.encode(&raw[1..]);
                *bytes = head.replace(&line(5), &format!("{name} {pieces}\n")).into();
            })
            .finds(&[("head-damaged", None), ("head-missing", None)]),
        new("signature-short", "a signature of 63 bytes")
            .change("checkpoint", |bytes| {
                *bytes =
                    head.replace(&line(5), &malformed(&line(5), |signature| signature.truncate(63))).into();
            })
            .finds(&[("head-signature", None)]),
    ]
}

fn announcements() -> Vec<Vector> {
    let after = |name, what, announced: &str| {
        let mut site = day();
        let data = format!(r#"{{"epoch_key":"{announced}"}}"#);
        let seq = site.add("ledger.rekeyed", |entry| {
            entry.data = raw(&data);
        });
        Vector::of(name, what, &site).finds(&[("key-announcement", Some(seq))])
    };
    let other_name = VerifierKey::new("example.net/other", Key::new(9).public.public()).unwrap();
    let created = |change: &dyn Fn(String) -> String| {
        let mut site = Site::new();
        confirm(&mut site);
        rewrite(&mut site, |lines| {
            lines[0] = change(String::from_utf8(lines[0].clone()).unwrap()).into_bytes();
        });
        site
    };
    let stranger = Key::new(200).public.to_string();
    let own = Site::new().vkey();
    vec![
        after(
            "epoch-key-reused",
            "the epoch key announced is the one in force",
            &Key::new(SECOND).public.to_string(),
        ),
        after("epoch-key-is-log-key", "the epoch key announced is the log key", &own),
        after(
            "epoch-key-of-another-name",
            "the epoch key announced has another name",
            &other_name.to_string(),
        ),
        after(
            "epoch-key-is-none",
            "the epoch key announced is no verifier key",
            &format!("{ORIGIN}+00000000+AQ=="),
        ),
        Vector::of(
            "created-for-another-key",
            "ledger.created names another log key",
            &created(&|line| line.replace(&own, &stranger)),
        )
        .finds(&[("head-damaged", None), ("key-announcement", Some(0))]),
        Vector::of(
            "created-with-log-key-as-epoch-key",
            "ledger.created announces the log key as epoch key",
            &{
                let epoch = Key::new(FIRST).public.to_string();
                created(&|line| line.replace(&epoch, &own))
            },
        )
        .finds(&[("head-damaged", None), ("key-announcement", Some(0))]),
        Vector::of("created-missing", "the first entry is not ledger.created", &{
            let mut site = Site::new();
            confirm(&mut site);
            rewrite(&mut site, |lines| drop(lines.remove(0)));
            site
        })
        .finds(&[
            ("chain-broken", Some(0)),
            ("event-out-of-place", Some(0)),
            ("head-damaged", None),
            ("key-announcement", Some(0)),
        ]),
        Vector::of("created-twice", "ledger.created stands there a second time", &{
            let mut site = day();
            let data =
                format!(r#"{{"origin":"{ORIGIN}","log_key":"{own}","epoch_key":"{}"}}"#, Key::new(9).public);
            site.add("ledger.created", |entry| {
                entry.data = raw(&data);
            });
            site
        })
        .finds(&[("event-out-of-place", Some(at::STOPPED + 1)), ("key-announcement", Some(at::STOPPED + 1))]),
    ]
}

/// A witness, by the seed of its key.
fn witness(seed: u8) -> (Key, CosignatureKey) {
    let key = Key::new(seed);
    let public = CosignatureKey::new(&format!("witness.example/w{seed}"), key.public.public()).unwrap();
    (key, public)
}

/// The line with which a witness cosigns a head.
fn cosignature(seed: u8, head: &str) -> String {
    use ed25519_dalek::Signer as _;
    let (key, public) = witness(seed);
    let time = 1_781_341_200;
    let message = signed_message(time, SignedNote::parse(head).unwrap().text());
    line_text(&cosignature_line(&public, time, &key.private.sign(message.as_bytes()).to_bytes()))
}

fn witnesses() -> Vec<Vector> {
    const ONE: u8 = 201;
    const TWO: u8 = 202;
    const STRANGER: u8 = 203;
    let site = life();
    let head = site.head();
    let policy = |quorum: &str| {
        let [one, two] = [ONE, TWO].map(|seed| witness(seed).1);
        format!(
            "# Two witnesses.\nlog {}\nwitness one {one}\nwitness two {two}\ngroup them {quorum} one two\nquorum them\n",
            site.vkey()
        )
    };
    let new = |name, what, quorum, lines: &[String]| {
        Vector::of(name, what, &site)
            .with("policy", policy(quorum))
            .with("checkpoint", head.clone() + &lines.concat())
    };
    let (one, two) = (cosignature(ONE, &head), cosignature(TWO, &head));
    let bad = malformed(&two, |signature| signature[20] ^= 1);
    vec![
        new(
            "sound-cosigned",
            "both witnesses of the policy cosigned the head",
            "all",
            &[one.clone(), two.clone()],
        ),
        new(
            "sound-cosigned-by-one-of-two",
            "one of two witnesses cosigned the head: enough",
            "any",
            std::slice::from_ref(&two),
        ),
        new("cosignature-missing", "no witness cosigned the head", "any", &[])
            .lacks(&[("quorum-missing", None)]),
        new(
            "cosignature-by-a-stranger",
            "a witness and a stranger cosigned the head, where two witnesses must",
            "all",
            &[one.clone(), cosignature(STRANGER, &head)],
        )
        .lacks(&[("quorum-missing", None)]),
        new("cosignature-bad", "the cosignature of a witness does not verify", "any", &[one.clone(), bad])
            .finds(&[("cosignature-bad", None)]),
        new(
            "cosignature-of-another-head",
            "a witness cosigned another head",
            "all",
            &[one.clone(), cosignature(TWO, &day().head())],
        )
        .finds(&[("cosignature-bad", None), ("quorum-missing", None)]),
        new(
            "cosignature-as-plain-signature",
            "the key of a witness signed like a log",
            "all",
            &[one.clone(), {
                let body = head.split_once("\n\n").unwrap().0.to_owned() + "\n";
                stranger_line("witness.example/w202", &Key::new(TWO), &body)
            }],
        )
        .lacks(&[("quorum-missing", None)]),
        new(
            "cosigned-but-not-signed",
            "both witnesses cosigned a head that only the log key signed",
            "all",
            &[one, two],
        )
        .replace("checkpoint", &(head.lines().nth(5).unwrap().to_owned() + "\n"), "")
        .finds(&[("head-signature", None)]),
    ]
}

/// A plain signature line of another key.
fn stranger_line(name: &str, key: &Key, body: &str) -> String {
    use ed25519_dalek::Signer as _;
    let public = VerifierKey::new(name, key.public.public()).unwrap();
    greffier::core::ledger::note::signature_line(&public, &key.private.sign(body.as_bytes()).to_bytes())
}

/// A signature line with its 64 bytes changed.
pub fn malformed(line: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let (name, base64) = line.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = BASE64.decode(base64.as_bytes()).unwrap();
    let mut signature = bytes.split_off(4);
    change(&mut signature);
    bytes.extend(signature);
    format!("{name} {}\n", BASE64.encode(&bytes))
}

/// s becomes s + L, L the order of the group: the same signature to a verifier that is not strict.
fn add_order(signature: &mut [u8]) {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = (sum & 0xFF) as u8;
        carry = sum >> 8;
    }
}
