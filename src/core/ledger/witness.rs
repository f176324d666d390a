//! The client's side of C2SP tlog-witness: what is sent to `add-checkpoint`, and what the answer means.
//!
//! Owns the two texts. Must never send, and must never take a cosignature for one that its key has not confirmed: an
//! answer comes from the network.

use super::checkpoint::{Checkpoint, CheckpointError, MAX_SIZE, SignedCheckpoint};
use super::cosignature::{CosignatureError, CosignatureKey};
use super::hash::{Hash, empty_hash};
use super::note::{MAX_SIGNATURES, NoteSignature, SignedNote};

/// Most lines of a consistency proof that may be sent.
pub const MAX_PROOF_LINES: usize = 63;
/// Longest answer that is read, in bytes: sixty-four signatures with the longest names and of the largest type.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// `Content-Type` of an answer 409.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A request that tlog-witness does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be sent")]
    Checkpoint(#[from] CheckpointError),
    /// The witness would know more entries than the checkpoint has.
    #[error("the old size {old} is larger than the checkpoint, which has {size} entries")]
    OldSize {
        /// Size that the witness is thought to know.
        old: u64,
        /// Size of the checkpoint.
        size: u64,
    },
    /// A proof where none belongs, or one that is too long.
    #[error("a consistency proof of {lines} hashes from {old} to {size} entries")]
    Proof {
        /// Hashes in the proof.
        lines: usize,
        /// Size that the witness is thought to know.
        old: u64,
        /// Size of the checkpoint.
        size: u64,
    },
    /// An empty tree with another root than the hash of nothing.
    #[error("the root of an empty ledger is the hash of nothing, and this is not it")]
    EmptyRoot,
}

/// The body of `add-checkpoint`: the old size, the proof from it, and the checkpoint as it stands in its file.
pub fn add_checkpoint(old: u64, proof: &[Hash], checkpoint: &str) -> Result<String, RequestError> {
    let (Checkpoint { size, root, .. }, _) = SignedCheckpoint::read(checkpoint)?;
    if old > size {
        return Err(RequestError::OldSize { old, size });
    }
    // From nothing to anything, and from a tree to itself, there is nothing to prove.
    let must_be_empty = old == 0 || old == size;
    if must_be_empty != proof.is_empty() || proof.len() > MAX_PROOF_LINES {
        return Err(RequestError::Proof { lines: proof.len(), old, size });
    }
    if size == 0 && root != empty_hash() {
        return Err(RequestError::EmptyRoot);
    }
    let lines: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
    Ok(format!("old {old}\n{lines}\n{checkpoint}"))
}

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200: signature lines, of which nothing is known yet.
    Signed(Vec<NoteSignature>),
    /// 409: the size that the witness knows.
    Conflict(u64),
    /// Anything else: its number, and what that number means here.
    Refused {
        /// HTTP status.
        status: u16,
        /// What the witness says with it.
        why: &'static str,
    },
}

/// An answer that tlog-witness does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the witness answered {status} with something else than {expected}")]
pub struct AnswerError {
    /// HTTP status.
    pub status: u16,
    /// What belongs there.
    pub expected: &'static str,
}

/// Reads an answer of at most `MAX_ANSWER_BYTES`. The content type counts for 409 only.
pub fn read_answer(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Answer, AnswerError> {
    let error = |expected| AnswerError { status, expected };
    match status {
        200 => {
            let lines = signature_lines(body).ok_or_else(|| error("signature lines"))?;
            Ok(Answer::Signed(lines))
        }
        409 => {
            let media = content_type.and_then(|it| it.split(';').next()).map(str::trim);
            let size = size_line(body).filter(|_| media.is_some_and(|it| it.eq_ignore_ascii_case(SIZE_TYPE)));
            size.map(Answer::Conflict).ok_or_else(|| error("the size that it knows, as text/x.tlog.size"))
        }
        status => Ok(Answer::Refused { status, why: meaning(status) }),
    }
}

/// What a status of `add-checkpoint` says.
fn meaning(status: u16) -> &'static str {
    match status {
        400 => "it calls the request malformed",
        403 => {
            "it knows no key that signed this checkpoint, or a signature does not verify; give it the vkey of the ledger"
        }
        404 => {
            "it does not know a ledger of this origin, or its address is wrong; ask its operator to add the vkey"
        }
        422 => {
            "the new entries do not follow from those that it has seen; this is what a changed ledger looks like"
        }
        429 => "it was asked too often; try later",
        300..400 => {
            "it points elsewhere, and no redirection is followed; write the new address into the policy"
        }
        500..600 => "it has trouble of its own; try later",
        _ => "which tlog-witness does not know",
    }
}

/// One or more signature lines and nothing else.
fn signature_lines(body: &[u8]) -> Option<Vec<NoteSignature>> {
    if body.len() > MAX_ANSWER_BYTES {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let lines = text.strip_suffix('\n')?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return None;
    }
    // Each line alone in a note, so that one reader of signature lines serves all.
    let line = |line: &str| {
        let note = SignedNote::parse(&format!("answer\n\n{line}\n")).ok()?;
        note.signatures().first().cloned()
    };
    lines.split('\n').map(line).collect()
}

/// A plain number below 2^53 and a newline.
fn size_line(body: &[u8]) -> Option<u64> {
    let digits = body.strip_suffix(b"\n")?;
    let plain = digits.len() <= 16
        && digits.iter().all(u8::is_ascii_digit)
        && (digits == b"0" || !digits.starts_with(b"0"));
    let size = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    (size < MAX_SIZE).then_some(size)
}

/// Signature lines without a good one of the witness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// No line is of its key.
    #[error("no line of the answer is of the key {0}")]
    NotItsKey(String),
    /// A line of its key is wrong.
    #[error("the answer is worth nothing")]
    Bad(#[from] CosignatureError),
    /// It stands for no time, which tlog-witness forbids.
    #[error("the cosignature of {0} bears no time")]
    NoTime(String),
}

/// The latest cosignature of `key` among `lines` over the text of `note`, and its time in seconds since 1970. Lines of
/// other keys are ignored, whatever they are; every line of this key must hold.
pub fn accept(
    note: &SignedNote,
    lines: &[NoteSignature],
    key: &CosignatureKey,
) -> Result<(NoteSignature, u64), AcceptError> {
    let mut best: Option<(NoteSignature, u64)> = None;
    for line in lines.iter().filter(|line| key.claims(line)) {
        let time = key.verify_line(note.text(), line)?;
        if time == 0 {
            return Err(AcceptError::NoTime(key.to_string()));
        }
        if best.as_ref().is_none_or(|(_, latest)| time > *latest) {
            best = Some((line.clone(), time));
        }
    }
    best.ok_or_else(|| AcceptError::NotItsKey(key.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::{cosignature_line, line_text, signed_message};
    use super::super::hash::leaf_hash;
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;

    /// The request that tlog-witness shows.
    const SHOWN: &str = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
";
    /// The answer that tlog-witness shows.
    const ANSWER: &str = "— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
— witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
— witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
";

    fn shown() -> (Vec<Hash>, &'static str) {
        let (head, checkpoint) = SHOWN.split_once("\n\n").unwrap();
        (head.lines().skip(1).map(|line| line.parse().unwrap()).collect(), checkpoint)
    }

    #[test]
    fn the_request_is_that_of_the_specification() {
        let (proof, checkpoint) = shown();
        assert_eq!(add_checkpoint(20_852_014, &proof, checkpoint).unwrap(), SHOWN);
        let first = add_checkpoint(0, &[], checkpoint).unwrap();
        assert_eq!(first, format!("old 0\n\n{checkpoint}"));
        let again = add_checkpoint(20_852_163, &[], checkpoint).unwrap();
        assert_eq!(again, format!("old 20852163\n\n{checkpoint}"));
    }

    #[test]
    fn a_request_that_every_witness_must_refuse_is_not_made() {
        let (proof, checkpoint) = shown();
        assert!(matches!(add_checkpoint(20_852_164, &[], checkpoint), Err(RequestError::OldSize { .. })));
        for (old, proof) in [(0, &proof[..]), (20_852_163, &proof), (5, &[]), (5, &[leaf_hash(b""); 64])] {
            let made = add_checkpoint(old, proof, checkpoint);
            assert!(matches!(made, Err(RequestError::Proof { .. })), "{old} {made:?}");
        }
        let empty = checkpoint.replace("20852163", "0");
        assert_eq!(add_checkpoint(0, &[], &empty), Err(RequestError::EmptyRoot));
        assert!(add_checkpoint(0, &[], "no checkpoint").is_err());
    }

    #[test]
    fn answers_are_read_as_the_specification_writes_them() {
        let Ok(Answer::Signed(lines)) = read_answer(200, None, ANSWER.as_bytes()) else { panic!() };
        assert_eq!(lines.iter().map(line_text).collect::<String>(), ANSWER);
        let size = |body: &str| read_answer(409, Some(SIZE_TYPE), body.as_bytes());
        assert_eq!(size("20852163\n"), Ok(Answer::Conflict(20_852_163)));
        assert_eq!(size("0\n"), Ok(Answer::Conflict(0)));
        assert!(read_answer(409, Some("Text/X.tlog.size; charset=utf-8"), b"7\n").is_ok());
        for status in [400, 403, 404, 422, 429, 301, 503, 99] {
            assert!(
                matches!(read_answer(status, None, b""), Ok(Answer::Refused { status: s, .. }) if s == status)
            );
        }
    }

    #[test]
    fn inv10_other_answers_are_errors() {
        let long = "9".repeat(400);
        for body in
            ["", "7", "07\n", "+7\n", "7\n\n", "-1\n", "9007199254740992\n", "99999999999999999999\n", &long]
        {
            assert!(read_answer(409, Some(SIZE_TYPE), body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(read_answer(409, Some("text/plain"), b"7\n").is_err());
        assert!(read_answer(409, None, b"7\n").is_err());
        let many = "— a AAAAAAA=\n".repeat(MAX_SIGNATURES + 1);
        let cut = &ANSWER[..ANSWER.len() - 1];
        let inner = ANSWER.replace("\n— witness.example/w2", "\n\n— witness.example/w2");
        for body in ["", "\n", "ok\n", cut, &many, &inner, &format!("\n{ANSWER}"), "— a\tb AAAAAAA=\n"] {
            assert!(read_answer(200, None, body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(read_answer(200, None, &[0xff, b'\n']).is_err());
        assert!(read_answer(200, None, &vec![b'x'; MAX_ANSWER_BYTES + 1]).is_err());
    }

    #[test]
    fn only_what_the_key_confirms_is_accepted() {
        let private = SigningKey::from_bytes(&[8; 32]);
        let key = CosignatureKey::new("w.example", private.verifying_key().as_bytes()).unwrap();
        let (_, checkpoint) = shown();
        let note = SignedNote::parse(checkpoint).unwrap();
        let sign = |time: u64, text: &str| {
            cosignature_line(&key, time, &private.sign(signed_message(time, text).as_bytes()).to_bytes())
        };
        let Ok(Answer::Signed(strangers)) = read_answer(200, None, ANSWER.as_bytes()) else { panic!() };
        assert!(matches!(accept(&note, &strangers, &key), Err(AcceptError::NotItsKey(_))));
        let good = sign(9, note.text());
        let lines = [strangers, vec![sign(7, note.text()), good.clone()]].concat();
        assert_eq!(accept(&note, &lines, &key), Ok((good.clone(), 9)));
        let forged = sign(10, "other\n");
        assert!(matches!(accept(&note, &[good, forged], &key), Err(AcceptError::Bad(_))));
        assert!(matches!(accept(&note, &[sign(0, note.text())], &key), Err(AcceptError::NoTime(_))));
    }

    proptest! {
        #[test]
        fn inv10_any_answer_is_read_without_panic(status in 100..600_u16, body in prop::collection::vec(any::<u8>(), 0..200), text in "(?s)(— [a-z]{1,4} [A-Za-z0-9+/=]{0,12}\n){0,3}.{0,9}") {
            let _ = read_answer(status, Some(SIZE_TYPE), &body);
            if let Ok(Answer::Signed(lines)) = read_answer(200, None, text.as_bytes()) {
                prop_assert_eq!(lines.iter().map(line_text).collect::<String>(), text);
            }
        }
    }
}
