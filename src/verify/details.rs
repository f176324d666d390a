//! The details of an export in clear (`details.jsonl`), each matched to its entry by number and commitment; and the account
//! of details that should be here and are not.
//!
//! [`Lines`] cuts the stream into one chunk a bundle, [`Details`] takes the chunks in the order of the entries. Must never
//! hold more than a chunk of bounded size; of lines in the wrong place only their hashes are kept.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::Range;

use serde::Deserialize;

use super::files::Stream;
use super::findings::{Code, Report};
use crate::core::ledger::hash::{Hash, detail_commitment};
use crate::core::ledger::tail::MAX_DETAIL_BYTES;
use crate::core::ledger::tile::FULL_U64;

/// The name of the file in an export.
pub const DETAILS_FILE: &str = "details.jsonl";

/// Most lines in a chunk: twice what a bundle can need.
const MAX_CHUNK_LINES: usize = 512;
/// From here on the lines of a chunk are hashed at once and not kept.
const MAX_CHUNK_BYTES: usize = 8 << 20;
/// Most lines in the wrong place that are remembered at a time.
const MAX_WAITING: usize = 1 << 16;

/// The stream of detail lines.
#[derive(Debug)]
pub struct Lines {
    reader: Option<BufReader<Stream>>,
    /// The line that belongs to a later chunk.
    next: Option<(Option<u64>, Vec<u8>)>,
}

/// Consecutive lines: those of one bundle, if all is well.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// A line of details: the entry that it names (`None` when it cannot be read: then it can only be of the next entry that
/// commits to a detail), and its text or what became of it.
#[derive(Debug)]
struct Line {
    seq: Option<u64>,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Here(Range<usize>),
    Hashed(Hash),
}

/// A line that was in no account, by its hash.
#[derive(Debug)]
struct Waiting {
    seq: Option<u64>,
    commitment: Hash,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl Lines {
    /// From the open file.
    pub fn new(file: Stream) -> Self {
        Self { reader: Some(BufReader::with_capacity(1 << 17, file)), next: None }
    }

    /// The lines up to the first that names entry `end` or a later one.
    pub fn chunk(&mut self, end: u64) -> io::Result<Chunk> {
        let mut chunk = Chunk::default();
        while chunk.lines.len() < MAX_CHUNK_LINES {
            let from = chunk.bytes.len();
            let seq = match self.next.take() {
                Some((seq, text)) => {
                    chunk.bytes.extend_from_slice(&text);
                    seq
                }
                None if self.read_line(&mut chunk.bytes)? => {
                    number_of(chunk.bytes.get(from..).unwrap_or_default())
                }
                None => break,
            };
            if seq.is_some_and(|seq| seq >= end) {
                self.next = Some((seq, chunk.bytes.split_off(from)));
                break;
            }
            let text = if chunk.bytes.len() <= MAX_CHUNK_BYTES {
                Text::Here(from..chunk.bytes.len())
            } else {
                let commitment = detail_commitment(chunk.bytes.get(from..).unwrap_or_default());
                chunk.bytes.truncate(from);
                Text::Hashed(commitment)
            };
            chunk.lines.push(Line { seq, text });
        }
        Ok(chunk)
    }

    /// Appends the next line without its end; false when there is none.
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let read = reader.take(MAX_DETAIL_BYTES as u64 + 1).read_until(b'\n', bytes)?;
        let complete = read > 0 && bytes.pop_if(|last| *last == b'\n').is_some();
        if !complete {
            // Too long, or the file ends within it: no later line can be found.
            self.reader = None;
        }
        Ok(read > 0)
    }
}

/// The entry that a line names. As the daemon writes it the number comes first; any other order of keys is as good.
fn number_of(line: &[u8]) -> Option<u64> {
    let canonical = || {
        let rest = line.strip_prefix(b"{\"seq\":")?;
        let digits = rest.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = rest.split_at_checked(digits)?;
        let plain = number.first() != Some(&b'0') || number.len() == 1;
        let ended = rest.starts_with(b",\"salt\":\"") && rest.ends_with(b"}");
        std::str::from_utf8(number).ok()?.parse().ok().filter(|_| plain && ended)
    };
    canonical().or_else(|| serde_json::from_slice::<Numbered>(line).ok().map(|line| line.seq))
}

impl Chunk {
    /// How much memory it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Matches all lines to the entries of a bundle from `first` on, by what these commit to; `None` when anything is
    /// amiss: then the entries are gone through one by one.
    pub fn account(&self, first: u64, commitments: impl Iterator<Item = Option<Hash>>) -> Option<Account> {
        let mut account = Account::default();
        let mut lines = self.lines.iter().peekable();
        for (seq, commitment) in (first..).zip(commitments) {
            let Some(commitment) = commitment else { continue };
            match lines.next_if(|line| line.seq == Some(seq)) {
                Some(line) if self.commitment(line) == commitment => account.matched += 1,
                Some(_) => return None,
                None => account.missing.set(seq),
            }
        }
        lines.next().is_none().then_some(account)
    }

    /// The detail of entry `seq`, if it is here and the one that the entry commits to.
    pub fn text_of(&self, seq: u64, commitment: Option<Hash>) -> Option<&[u8]> {
        let line = self.lines.iter().find(|line| line.seq == Some(seq))?;
        match &line.text {
            Text::Here(range) => {
                self.bytes.get(range.clone()).filter(|text| commitment == Some(detail_commitment(text)))
            }
            Text::Hashed(_) => None,
        }
    }

    fn commitment(&self, line: &Line) -> Hash {
        match &line.text {
            Text::Here(range) => detail_commitment(self.bytes.get(range.clone()).unwrap_or_default()),
            Text::Hashed(commitment) => *commitment,
        }
    }
}

/// Some of the 256 entries of a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Places([u64; 4]);

impl Places {
    /// Adds the place of entry `seq`.
    pub fn set(&mut self, seq: u64) {
        let (word, bit) = Self::place(seq);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }
    /// Whether entry `seq` is among them.
    pub fn has(&self, seq: u64) -> bool {
        let (word, bit) = Self::place(seq);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
    fn place(seq: u64) -> (usize, u64) {
        let place = seq % FULL_U64;
        (usize::try_from(place / 64).unwrap_or(usize::MAX), 1 << (place % 64))
    }
    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
    /// The entries, where the bundle begins with entry `first`.
    pub fn entries(self, first: u64) -> impl Iterator<Item = u64> {
        let places = (0_u64..).zip(self.0).flat_map(|(n, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| n * 64 + bit)
        });
        places.map(move |place| first + place)
    }
}

/// The details of one bundle.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account {
    /// How many are here in clear and match.
    pub matched: u64,
    /// Which entries commit to one that is not here in clear.
    pub missing: Places,
}

/// What was found of all details so far.
#[derive(Debug)]
pub struct Details {
    lines: bool,
    waiting: VecDeque<Waiting>,
    matched: u64,
    absent: u64,
    /// Bundle by its first entry, and the entries in it whose detail should be here in some form and is not.
    missing: Vec<(u64, Places)>,
}

impl Details {
    /// `lines`: whether they are here in clear; without, every detail counts as sealed.
    pub fn new(lines: bool) -> Self {
        Self { lines, waiting: VecDeque::new(), matched: 0, absent: 0, missing: Vec::new() }
    }

    /// Details that were matched to their entry.
    pub fn matched(&self) -> u64 {
        self.matched
    }
    /// Entries whose detail is not here in clear: sealed, destroyed, or not exported.
    pub fn absent(&self) -> u64 {
        self.absent
    }

    /// Takes in the chunk that was read for the next bundle. With the account of it nothing more is to be done for the
    /// bundle: true. Else each of its entries must be checked.
    pub fn take(
        &mut self,
        first: u64,
        chunk: &Chunk,
        account: Option<&Account>,
        report: &mut Report,
    ) -> bool {
        if let Some(account) = account.filter(|_| self.waiting.is_empty()) {
            self.matched += account.matched;
            self.absent += account.missing.count();
            if self.lines {
                self.add_missing(first, account.missing);
            }
            return true;
        }
        if self.waiting.len() > MAX_WAITING {
            let sentence = format!(
                "too many details before this entry stand in the wrong place: {} more are left out",
                chunk.lines.len()
            );
            report.add(Code::DetailDamaged, first, sentence);
            return false;
        }
        for line in &chunk.lines {
            self.waiting.push_back(Waiting { seq: line.seq, commitment: chunk.commitment(line) });
        }
        false
    }

    /// Compares what is waiting with entry `seq` and what it commits to.
    pub fn check(&mut self, seq: u64, commitment: Option<Hash>, report: &mut Report) {
        self.pass_over_before(seq, report);
        let mine = self.waiting.pop_front_if(|line| match line.seq {
            Some(of) => of == seq,
            None => commitment.is_some(),
        });
        match (mine, commitment) {
            (None, None) => {}
            (None, Some(_)) => {
                self.absent += 1;
                if self.lines {
                    let mut places = Places::default();
                    places.set(seq);
                    self.add_missing(seq - seq % FULL_U64, places);
                }
            }
            (Some(line), Some(hash)) if line.commitment == hash => self.matched += 1,
            (Some(_), Some(_)) => {
                report.add(Code::DetailDamaged, seq, "its detail is not the one that it commits to");
            }
            (Some(_), None) => {
                report.add(Code::DetailDamaged, seq, "a detail is here, but the entry commits to none");
            }
        }
    }

    /// Leaves out the detail of an entry that cannot be read.
    pub fn skip(&mut self, seq: u64) {
        self.waiting.pop_front_if(|line| line.seq == Some(seq));
    }

    /// Notes entries of the bundle from `first` on whose detail is in no form where it should be.
    pub fn add_missing(&mut self, first: u64, places: Places) {
        match self.missing.last_mut() {
            _ if places == Places::default() => {}
            Some((of, before)) if *of == first => {
                places.entries(first).for_each(|seq| before.set(seq));
            }
            _ => self.missing.push((first, places)),
        }
    }

    /// After the last entry, `size`: nothing may be left, and nothing may be missing that no entry says is destroyed.
    pub fn finish(
        &mut self,
        size: u64,
        rest: Option<&mut Lines>,
        is_destroyed: impl Fn(u64) -> bool,
        report: &mut Report,
    ) -> io::Result<()> {
        let rest = rest.map_or_else(|| Ok(Chunk::default()), |lines| lines.chunk(u64::MAX))?;
        self.take(size, &rest, None, report);
        self.pass_over_before(size, report);
        if !self.waiting.is_empty() {
            report.add(Code::DetailDamaged, None, "a detail is here that belongs to no entry");
        }
        for (first, places) in &self.missing {
            let mut missing = places.entries(*first).filter(|seq| !is_destroyed(*seq));
            if let Some(seq) = missing.next() {
                let others = match missing.count() {
                    0 => String::new(),
                    others => format!(", and so for {others} others of its bundle"),
                };
                report.add(
                    Code::DetailMissing,
                    seq,
                    format!("its detail is not here, and no entry says that it was destroyed{others}"),
                );
            }
        }
        Ok(())
    }

    fn pass_over_before(&mut self, seq: u64, report: &mut Report) {
        while let Some(line) = self.waiting.pop_front_if(|line| line.seq.is_some_and(|of| of < seq)) {
            report.add(Code::DetailDamaged, line.seq, "a detail stands in the wrong place, or twice");
        }
    }
}
