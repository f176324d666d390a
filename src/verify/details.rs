//! The details of an export in clear (`details.jsonl`), each matched to its entry by number and commitment.
//!
//! Read as a stream beside the entries, in the same order. Must never hold more than one line.

use std::io::{self, BufRead as _, BufReader, Read as _};

use serde::Deserialize;

use super::files::Stream;
use super::findings::{Code, Report};
use crate::core::ledger::hash::{Hash, detail_commitment};
use crate::core::ledger::tail::MAX_DETAIL_BYTES;

/// The name of the file in an export.
pub const DETAILS_FILE: &str = "details.jsonl";

/// The stream of detail lines, or the fact that there is none.
#[derive(Debug)]
pub struct Details {
    reader: Option<BufReader<Stream>>,
    next: Option<Line>,
    matched: u64,
    absent: u64,
}

#[derive(Debug)]
struct Line {
    /// `None` when the line cannot be read: then it can only be of the next entry that commits to a detail.
    seq: Option<u64>,
    text: Vec<u8>,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl Details {
    /// From the open file; without one, every detail counts as sealed.
    pub fn new(file: Option<Stream>) -> io::Result<Self> {
        let mut details = Self { reader: file.map(BufReader::new), next: None, matched: 0, absent: 0 };
        details.advance()?;
        Ok(details)
    }

    /// Details that were matched to their entry.
    pub fn matched(&self) -> u64 {
        self.matched
    }
    /// Entries whose detail is not here: sealed, destroyed, or not exported.
    pub fn absent(&self) -> u64 {
        self.absent
    }

    /// The detail of entry `seq`, if it comes next and is the one that the entry commits to.
    pub fn peek(&self, seq: u64, commitment: Option<Hash>) -> Option<Vec<u8>> {
        let line = self.next.as_ref().filter(|line| line.seq == Some(seq))?;
        (commitment? == detail_commitment(&line.text)).then(|| line.text.clone())
    }

    /// Takes the detail of entry `seq`, if one is here, and compares it with the commitment.
    pub fn check(&mut self, seq: u64, commitment: Option<Hash>, report: &mut Report) -> io::Result<()> {
        self.pass_over_before(seq, report)?;
        let mine = self.next.as_ref().filter(|line| match line.seq {
            Some(of) => of == seq,
            None => commitment.is_some(),
        });
        let Some(line) = mine else {
            self.absent += u64::from(commitment.is_some());
            return Ok(());
        };
        match commitment {
            Some(hash) if hash == detail_commitment(&line.text) => self.matched += 1,
            Some(_) => report.add(Code::DetailDamaged, seq, "its detail is not the one that it commits to"),
            None => report.add(Code::DetailDamaged, seq, "a detail is here, but the entry commits to none"),
        }
        self.advance()
    }

    /// Leaves out the detail of an entry that cannot be read.
    pub fn skip(&mut self, seq: u64) -> io::Result<()> {
        if self.next.as_ref().is_some_and(|line| line.seq == Some(seq)) { self.advance() } else { Ok(()) }
    }

    /// After the last entry, `size`: nothing may be left.
    pub fn finish(&mut self, size: u64, report: &mut Report) -> io::Result<()> {
        self.pass_over_before(size, report)?;
        if self.next.is_some() {
            report.add(Code::DetailDamaged, None, "a detail is here that belongs to no entry");
        }
        Ok(())
    }

    fn pass_over_before(&mut self, seq: u64, report: &mut Report) -> io::Result<()> {
        while let Some(of) = self.next.as_ref().and_then(|line| line.seq).filter(|of| *of < seq) {
            report.add(Code::DetailDamaged, of, "a detail stands in the wrong place, or twice");
            self.advance()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        self.next = None;
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut text = Vec::new();
        reader.take(MAX_DETAIL_BYTES as u64 + 1).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            self.reader = None;
            return Ok(());
        }
        let complete = text.pop_if(|last| *last == b'\n').is_some();
        let seq = serde_json::from_slice::<Numbered>(&text).ok().map(|line| line.seq);
        if !complete {
            // Too long, or the file ends within it: no later line can be found.
            self.reader = None;
        }
        self.next = Some(Line { seq, text });
        Ok(())
    }
}
