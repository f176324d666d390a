//! The receipt: one file that proves one entry, for whoever has the log key (C2SP tlog-proof).
//!
//! Owns what stands in the line `extra`: the entry line, and with its detail a newline and the detail line, which opens
//! the commitment of the entry. Neither holds a newline. Must never trust a part: who reads a receipt checks inclusion,
//! signatures and commitment. Invariant 10: every length has its bound before anything is decoded.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use data_encoding::BASE64;

use super::checkpoint::{Checkpoint, CheckpointError, MAX_SIZE, SignedCheckpoint};
use super::hash::{Hash, decode_base64, leaf_hash};
use super::note::{MAX_NOTE_BYTES, SignedNote};
use super::proof::{MAX_PROOF_HASHES, ProofError, verify_inclusion};
use super::tail::MAX_DETAIL_BYTES;
use super::tile::MAX_ENTRY_BYTES;

/// First line of every tlog-proof.
const VERSION: &str = "c2sp.org/tlog-proof@v1";
/// Entry, newline, detail.
const MAX_EXTRA_BYTES: usize = MAX_ENTRY_BYTES + 1 + MAX_DETAIL_BYTES;
/// Longest receipt, in bytes: the extra line, the hashes, the note, and the short lines.
pub const MAX_RECEIPT_BYTES: usize =
    MAX_EXTRA_BYTES.div_ceil(3) * 4 + MAX_PROOF_HASHES * 45 + MAX_NOTE_BYTES + 128;

/// An entry, its inclusion proof, and the signed head that the proof leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    index: u64,
    entry: Vec<u8>,
    detail: Option<Vec<u8>>,
    path: Vec<Hash>,
    note: String,
    head: (Checkpoint, SignedNote),
}

/// A text that is not a receipt, or parts that make none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Longer than any receipt.
    #[error("it has more than {MAX_RECEIPT_BYTES} bytes")]
    TooLong,
    /// The lines are not those of a tlog-proof.
    #[error("line {line}: {why}")]
    Format {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The entry or the detail is no single line, or too long.
    #[error("{0}")]
    Content(&'static str),
    /// What follows the empty line.
    #[error("after the empty line: {0}")]
    Checkpoint(#[from] CheckpointError),
}

impl Receipt {
    /// Puts a receipt together. Checks the form, not that it proves anything.
    pub fn new(
        index: u64,
        entry: Vec<u8>,
        path: Vec<Hash>,
        checkpoint: String,
    ) -> Result<Self, ReceiptError> {
        if entry.is_empty() || entry.len() > MAX_ENTRY_BYTES || entry.contains(&b'\n') {
            return Err(ReceiptError::Content("the entry is not one line of at most 65535 bytes"));
        }
        if path.len() > MAX_PROOF_HASHES {
            return Err(ReceiptError::Content("the proof has more than 64 hashes"));
        }
        if index >= MAX_SIZE {
            return Err(ReceiptError::Content("the index is 2^53 or more"));
        }
        let head = SignedCheckpoint::read(&checkpoint)?;
        Ok(Self { index, entry, detail: None, path, note: checkpoint, head })
    }

    /// The same with the detail line, which opens the commitment of the entry.
    pub fn with_detail(self, detail: Vec<u8>) -> Result<Self, ReceiptError> {
        if detail.is_empty() || detail.len() > MAX_DETAIL_BYTES || detail.contains(&b'\n') {
            return Err(ReceiptError::Content("the detail is not one line of at most 2 MiB"));
        }
        Ok(Self { detail: Some(detail), ..self })
    }

    /// Number of the entry.
    pub fn index(&self) -> u64 {
        self.index
    }
    /// The entry line, the bytes that are hashed.
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }
    /// The detail line, if the receipt opens it.
    pub fn detail(&self) -> Option<&[u8]> {
        self.detail.as_deref()
    }
    /// The inclusion proof, from the leaf's sibling up.
    pub fn path(&self) -> &[Hash] {
        &self.path
    }
    /// What the signed head says, and its note: not verified.
    pub fn head(&self) -> (&Checkpoint, &SignedNote) {
        (&self.head.0, &self.head.1)
    }
    /// The signed head as it was written.
    pub fn checkpoint(&self) -> &str {
        &self.note
    }

    /// Whether the entry is in the tree of the head. Who signed the head is another question.
    pub fn verify_inclusion(&self) -> Result<(), ProofError> {
        let Checkpoint { size, root, .. } = &self.head.0;
        verify_inclusion(self.index, *size, &leaf_hash(&self.entry), &self.path, root)
    }
}

impl fmt::Display for Receipt {
    /// The file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut extra = self.entry.clone();
        if let Some(detail) = &self.detail {
            extra.push(b'\n');
            extra.extend_from_slice(detail);
        }
        writeln!(f, "{VERSION}\nextra {}\nindex {}", BASE64.encode(&extra), self.index)?;
        for hash in &self.path {
            writeln!(f, "{hash}")?;
        }
        f.write_char('\n')?;
        f.write_str(&self.note)
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    /// Reads exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLong);
        }
        let wrong = |line, why| ReceiptError::Format { line, why };
        let (proof, checkpoint) =
            text.split_once("\n\n").ok_or(wrong(1, "no empty line follows, so there is no checkpoint"))?;
        let mut lines = proof.split('\n');
        if lines.next() != Some(VERSION) {
            return Err(wrong(1, "it is not c2sp.org/tlog-proof@v1"));
        }
        let extra = lines
            .next()
            .and_then(|line| line.strip_prefix("extra "))
            .ok_or(wrong(2, "it has no extra data, so the entry is not here"))?;
        let extra = decode_base64(extra.as_bytes()).ok_or(wrong(2, "the extra data is not base64"))?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(plain_number)
            .ok_or(wrong(3, "it is not \"index\" and a plain number below 2^53"))?;
        let mut path = Vec::new();
        for (line, hash) in (4..).zip(lines) {
            if path.len() == MAX_PROOF_HASHES {
                return Err(wrong(line, "the proof has more than 64 hashes"));
            }
            path.push(hash.parse().map_err(|_| wrong(line, "it is not the base64 of a hash"))?);
        }
        let mut parts = extra.splitn(2, |byte| *byte == b'\n');
        let entry = parts.next().unwrap_or_default().to_vec();
        let receipt = Self::new(index, entry, path, checkpoint.to_owned())?;
        match parts.next() {
            None => Ok(receipt),
            Some(detail) => receipt.with_detail(detail.to_vec()),
        }
    }
}

fn plain_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number < MAX_SIZE && number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::super::hash::empty_hash;
    use super::*;
    use proptest::prelude::*;

    fn checkpoint(size: u64, root: Hash) -> String {
        format!("example.org/log\n{size}\n{root}\n\n— example.org/log AAAAAAAA\n")
    }

    fn receipt() -> Receipt {
        let right = leaf_hash(b"second");
        let root = super::super::hash::node_hash(&leaf_hash(b"first"), &right);
        Receipt::new(0, b"first".to_vec(), vec![right], checkpoint(2, root)).unwrap()
    }

    #[test]
    fn a_receipt_is_a_tlog_proof_with_the_entry_as_extra_data() {
        let text = receipt().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["c2sp.org/tlog-proof@v1", "extra Zmlyc3Q=", "index 0"]);
        assert_eq!(lines[3], leaf_hash(b"second").to_string());
        assert_eq!(lines[4..7], ["", "example.org/log", "2"]);
        assert!(text.ends_with("\n— example.org/log AAAAAAAA\n"));
        assert_eq!(text.parse(), Ok(receipt()));
        assert_eq!(receipt().verify_inclusion(), Ok(()));
        let opened = receipt().with_detail(b"who".to_vec()).unwrap();
        assert_eq!(opened.to_string().lines().nth(1), Some("extra Zmlyc3QKd2hv"));
        assert_eq!(opened.to_string().parse(), Ok(opened));
    }

    #[test]
    fn inv10_every_other_text_is_refused_with_its_line() {
        let text = receipt().to_string();
        let hash = leaf_hash(b"second").to_string();
        let many = format!("{hash}\n").repeat(65);
        for (from, to, expected) in [
            ("@v1", "@v2", "line 1"),
            ("extra Zmlyc3Q=\n", "", "line 2"),
            ("Zmlyc3Q=", "Zmlyc3Q", "line 2"),
            ("Zmlyc3Q=", "Zmlyc3R=", "line 2"),
            ("extra Zmlyc3Q=", "extra ", "entry is not one line"),
            // An empty detail, and two.
            ("Zmlyc3Q=", "Zmlyc3QK", "detail is not one line"),
            ("Zmlyc3Q=", "Zmlyc3QKYQpi", "detail is not one line"),
            ("index 0", "index 00", "line 3"),
            ("index 0", "index +0", "line 3"),
            ("index 0", "index 9007199254740992", "line 3"),
            ("index 0", "0", "line 3"),
            (hash.as_str(), "not a hash", "line 4"),
            (hash.as_str(), many.trim_end(), "line 68"),
            ("\n\nexample", "\nexample", "line"),
            ("\n2\n", "\n02\n", "after the empty line"),
            ("— example.org/log AAAAAAAA\n", "", "after the empty line"),
            ("— example.org/log AAAAAAAA\n", "— example.org/log AAAAAAAA", "after the empty line"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let error = changed.parse::<Receipt>().unwrap_err().to_string();
            assert!(error.contains(expected), "{from:?} to {to:?}: {error}");
        }
        let long = "x".repeat(MAX_RECEIPT_BYTES + 1);
        assert_eq!(long.parse::<Receipt>(), Err(ReceiptError::TooLong));
    }

    #[test]
    fn the_longest_receipt_can_be_read_again() {
        let path = vec![empty_hash(); MAX_PROOF_HASHES];
        let longest = Receipt::new(7, vec![b'e'; MAX_ENTRY_BYTES], path, checkpoint(9, empty_hash()))
            .and_then(|receipt| receipt.with_detail(vec![b'd'; MAX_DETAIL_BYTES]))
            .unwrap();
        assert_eq!(longest.to_string().parse(), Ok(longest));
        let too_long = vec![b'e'; MAX_ENTRY_BYTES + 1];
        assert!(Receipt::new(7, too_long, Vec::new(), checkpoint(9, empty_hash())).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            index in 0..MAX_SIZE, entry in "[^\n]{1,80}", detail in prop::option::of("[^\n]{1,80}"),
            hashes in prop::collection::vec(any::<[u8; 32]>(), 0..=64), size in 0..MAX_SIZE,
        ) {
            let path: Vec<Hash> = hashes.into_iter().map(Hash).collect();
            let mut receipt =
                Receipt::new(index, entry.into_bytes(), path, checkpoint(size, empty_hash())).unwrap();
            if let Some(detail) = detail {
                receipt = receipt.with_detail(detail.into_bytes()).unwrap();
            }
            prop_assert_eq!(receipt.to_string().parse(), Ok(receipt));
        }

        #[test]
        fn inv10_any_text_is_read_without_panic(
            text in "(?s).{0,200}", place in 0..400_usize, put in any::<char>(),
        ) {
            let _ = text.parse::<Receipt>();
            // One character of a good one changed: refused, or another receipt that is written as it was read.
            let mut changed: Vec<char> = receipt().to_string().chars().collect();
            let place = place % changed.len();
            changed[place] = put;
            let changed: String = changed.into_iter().collect();
            if let Ok(receipt) = changed.parse::<Receipt>() {
                prop_assert_eq!(receipt.to_string(), changed);
            }
        }
    }
}
