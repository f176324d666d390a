//! Where the entries come from: the bundles of the ledger, read, split, hashed and looked at one by one.
//!
//! Splitting is lenient, so that one flipped bit is named and not the whole file: what cannot be split is simply not there.
//! Everything here is about one bundle and can run beside the others; what depends on order is done by `walk`.

use std::io::{self, BufRead as _, BufReader, Read as _};

use super::details::{Account, Chunk, Lines, Places};
use super::files::{FileError, Folder, Stream};
use super::tiles::{Tile, read_tile};
use crate::core::event::{EventError, Record};
use crate::core::ledger::entry::Entry;
use crate::core::ledger::hash::{Hash, leaf_hash};
use crate::core::ledger::tail::MAX_DETAIL_BYTES;
use crate::core::ledger::tile::{FULL, FULL_U64, MAX_BUNDLE_BYTES, details_path, entries_path};
use crate::core::ledger::tree::root_of;
use crate::core::time::{BootId, Timestamp};

/// Up to 256 consecutive entries.
#[derive(Debug)]
pub struct Bundle {
    /// Number of its first entry.
    pub first: u64,
    /// How many entries belong here.
    pub expected: usize,
    /// The entries that could be split, and their leaf hashes.
    entries: Vec<(std::ops::Range<usize>, Hash)>,
    bytes: Vec<u8>,
    /// Whether bytes follow the last entry.
    pub excess: bool,
    /// The level-0 tile beside it; `None` for entries of a tail, which have none.
    pub tile: Option<Tile>,
    /// The details in clear that were read for it.
    pub details: Chunk,
    /// The details under a key, as a live ledger has them.
    pub sealed: Sealed,
    /// What its entries say, if nothing in it contradicts anything else in it.
    pub facts: Option<Facts>,
}

/// Details that only the ledger's own machine can open.
#[derive(Debug)]
pub enum Sealed {
    /// They are not to be here.
    NotHere,
    /// The entries that have one.
    Of(Places),
    /// They cannot be read, in one sentence.
    Bad(String),
}

/// A sound bundle, ready for what must be done in order.
#[derive(Debug)]
pub struct Facts {
    /// What its first entry says of the entry before.
    pub prev: Hash,
    /// Root over its entries, if there are 256.
    pub root: Option<Hash>,
    /// The details in clear, if they are all in their place.
    pub account: Option<Account>,
    /// Each entry.
    pub entries: Vec<Fact>,
}

/// What the rest of the verification needs to know of an entry.
#[derive(Debug)]
pub struct Fact {
    /// When it was written.
    pub clocks: Clocks,
    /// What it commits to.
    pub detail: Option<Hash>,
    /// The entry itself, if it announces keys or must.
    pub announces: Option<Box<Entry<'static>>>,
    /// What it means.
    pub record: Result<Record, EventError>,
}

/// The clocks of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pub time: Timestamp,
    pub boot: BootId,
    pub up_micros: u64,
    /// Whether the entry says that the clock is not trusted.
    pub suspect: bool,
}

impl Clocks {
    pub fn of(entry: &Entry<'_>) -> Self {
        let Entry { time, boot, up_micros, .. } = *entry;
        Self { time, boot, up_micros, suspect: entry.event == "ledger.clock-suspect" }
    }
}

impl Bundle {
    /// From entries that stand elsewhere, and the places of those that have a sealed detail there.
    pub fn of_lines<'a>(first: u64, lines: impl Iterator<Item = &'a [u8]>, sealed: Places) -> Self {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for line in lines {
            let from = bytes.len();
            bytes.extend_from_slice(line);
            entries.push((from..bytes.len(), leaf_hash(line)));
        }
        let expected = entries.len();
        let (details, sealed) = (Chunk::default(), Sealed::Of(sealed));
        let mut bundle =
            Self { first, expected, entries, bytes, excess: false, tile: None, details, sealed, facts: None };
        bundle.facts = Facts::of(&bundle);
        bundle
    }

    /// About how much memory it holds, in bytes: what entries say is held once more, taken apart.
    pub fn held_bytes(&self) -> usize {
        2 * self.bytes.len() + self.details.bytes()
    }

    /// Entry `place` of the bundle and its leaf hash, if it could be split.
    pub fn entry(&self, place: usize) -> Option<(&[u8], Hash)> {
        let (range, leaf) = self.entries.get(place)?;
        Some((self.bytes.get(range.clone())?, *leaf))
    }

    /// The leaf hash of its last entry, if all are there.
    pub fn last_leaf(&self) -> Option<Hash> {
        self.entries.get(self.expected.checked_sub(1)?).map(|(_, leaf)| *leaf)
    }

    /// What its first entry says the entry before it is.
    pub fn claimed_prev(&self) -> Option<Hash> {
        let parsed = || self.entry(0).and_then(|(line, _)| Entry::parse(line).ok()).map(|entry| entry.prev);
        self.facts.as_ref().map(|facts| facts.prev).or_else(parsed)
    }

    /// The hash that the tile has for entry `place`.
    pub fn tile_hash(&self, place: usize) -> Option<Hash> {
        match &self.tile {
            Some(Tile::Hashes(hashes)) => hashes.get(place).copied(),
            _ => None,
        }
    }

    /// `exact`: the file is the one of just these entries, not a full bundle that stands in for a partial one.
    fn split(first: u64, expected: usize, bytes: Vec<u8>, exact: bool, tile: Tile) -> Self {
        let mut entries = Vec::with_capacity(expected);
        let mut at = 0;
        while entries.len() < expected {
            let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<2>) else { break };
            let from = at + 2;
            let end = from + usize::from(u16::from_be_bytes(*length));
            let Some(line) = bytes.get(from..end) else { break };
            entries.push((from..end, leaf_hash(line)));
            at = end;
        }
        let excess = exact && entries.len() == expected && at < bytes.len();
        let (details, sealed, tile) = (Chunk::default(), Sealed::NotHere, Some(tile));
        Self { first, expected, entries, bytes, excess, tile, details, sealed, facts: None }
    }
}

impl Facts {
    /// `None` when anything in the bundle is amiss: it is then gone through entry by entry.
    fn of(bundle: &Bundle) -> Option<Self> {
        let tile_agrees = match &bundle.tile {
            None | Some(Tile::Missing) => true,
            Some(Tile::Bad(_)) => false,
            Some(Tile::Hashes(hashes)) => {
                hashes.len() >= bundle.expected
                    && bundle.entries.iter().zip(hashes).all(|((_, leaf), hash)| leaf == hash)
            }
        };
        if !tile_agrees || bundle.excess || bundle.entries.len() != bundle.expected {
            return None;
        }
        let mut entries = Vec::with_capacity(bundle.expected);
        let mut first_prev = None;
        let mut before = None;
        for ((range, leaf), seq) in bundle.entries.iter().zip(bundle.first..) {
            let entry = Entry::parse(bundle.bytes.get(range.clone())?).ok()?;
            if entry.seq != seq || before.is_some_and(|before| before != entry.prev) {
                return None;
            }
            first_prev.get_or_insert(entry.prev);
            before = Some(*leaf);
            let announces = seq == 0 || ["ledger.created", "ledger.rekeyed"].contains(&&*entry.event);
            let announces = announces.then(|| Box::new(entry.clone().into_owned()));
            let (clocks, detail) = (Clocks::of(&entry), entry.detail);
            entries.push(Fact { clocks, detail, announces, record: Record::of(entry) });
        }
        let root = (bundle.expected == FULL)
            .then(|| root_of(&bundle.entries.iter().map(|(_, leaf)| *leaf).collect::<Vec<_>>()));
        let account = bundle.details.account(bundle.first, entries.iter().map(|fact| fact.detail));
        Some(Self { prev: first_prev?, root, account, entries })
    }
}

/// What the next step of reading gave.
#[derive(Debug)]
pub enum Loaded {
    /// A bundle.
    Bundle(Box<Bundle>),
    /// None there.
    Missing(String),
    /// Something that is not read, in one sentence.
    Refused(String),
}

/// One bundle to be read.
#[derive(Debug)]
pub struct Job {
    n: u64,
    expected: usize,
    details: Chunk,
}

impl Job {
    /// How much memory it holds already, in bytes.
    pub fn bytes(&self) -> usize {
        self.details.bytes()
    }
}

/// The bundles of the first `size` entries, in order; all that are there when the size is not known.
#[derive(Debug)]
pub struct Feed {
    reader: Reader,
    size: Option<u64>,
    n: u64,
    lines: Option<Lines>,
}

/// Reads bundles; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    folder: Folder,
    /// With no size known, the ledger ends where the bundles end.
    size_known: bool,
    /// Whether sealed details stand beside the bundles.
    sealed: bool,
}

impl Feed {
    /// From the first bundle on.
    pub fn new(folder: Folder, size: Option<u64>, lines: Option<Lines>, sealed: bool) -> Self {
        Self { reader: Reader { folder, size_known: size.is_some(), sealed }, size, n: 0, lines }
    }

    /// What reads the bundles.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// How many bundles there are at most.
    pub fn bundles(&self) -> u64 {
        self.size.map_or(u64::MAX, |size| size.div_ceil(FULL_U64))
    }

    /// The next bundle, with the details that belong to it.
    pub fn job(&mut self) -> Result<Option<Job>, std::io::Error> {
        let first = self.n.saturating_mul(FULL_U64);
        let left = self.size.unwrap_or(u64::MAX).saturating_sub(first);
        if left == 0 {
            return Ok(None);
        }
        let expected = usize::try_from(left.min(FULL_U64)).unwrap_or(FULL);
        let end = first.saturating_add(expected as u64);
        let details = self.lines.as_mut().map_or_else(|| Ok(Chunk::default()), |lines| lines.chunk(end))?;
        let job = Job { n: self.n, expected, details };
        self.n += 1;
        Ok(Some(job))
    }

    /// The detail lines that belong to no bundle.
    pub fn into_lines(self) -> Option<Lines> {
        self.lines
    }
}

impl Reader {
    /// Reads one bundle and all that can be said of it alone. `None` behind the end of a ledger whose size is not known.
    pub fn load(&self, job: Job) -> Result<Option<Loaded>, FileError> {
        let Job { n, expected, details } = job;
        let width = u8::try_from(expected).ok();
        let path = entries_path(n, width);
        let (bytes, exact) = match self.folder.read(&path, MAX_BUNDLE_BYTES) {
            Ok(None) if width.is_some() => {
                (self.folder.read(&entries_path(n, None), MAX_BUNDLE_BYTES), false)
            }
            other => (other, true),
        };
        Ok(Some(match bytes {
            Ok(Some(bytes)) => {
                let tile = read_tile(&self.folder, 0, n, width)?;
                let mut bundle = Bundle::split(n * FULL_U64, expected, bytes, exact, tile);
                bundle.details = details;
                bundle.facts = Facts::of(&bundle);
                if self.sealed {
                    bundle.sealed = self.load_sealed(n)?;
                }
                Loaded::Bundle(Box::new(bundle))
            }
            Ok(None) if !self.size_known => return Ok(None),
            Ok(None) => Loaded::Missing(path),
            Err(error @ FileError::Refused { .. }) => Loaded::Refused(error.to_string()),
            Err(error) => return Err(error),
        }))
    }

    /// The entries that a published bundle `n` would have, for comparison; `None` when there is no such file.
    pub fn load_beside(&self, n: u64) -> Result<Option<Loaded>, FileError> {
        Self { size_known: false, ..self.clone() }.load(Job { n, expected: FULL, details: Chunk::default() })
    }

    fn load_sealed(&self, n: u64) -> Result<Sealed, FileError> {
        let path = details_path(n);
        let stream = match self.folder.open(&path) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(Sealed::Of(Places::default())),
            Err(error @ FileError::Refused { .. }) => return Ok(Sealed::Bad(error.to_string())),
            Err(error) => return Err(error),
        };
        Ok(match places_of_details(stream) {
            Ok(places) => Sealed::Of(places),
            Err(why) => Sealed::Bad(format!("{path} cannot be read: {why}")),
        })
    }
}

/// Which of the 256 details of a file are there; their bytes are passed over, so that half a gigabyte fills no memory. The
/// form is the one of `core::ledger::details`.
fn places_of_details(stream: Stream) -> Result<Places, String> {
    let mut reader = BufReader::new(stream);
    let mut places = Places::default();
    for place in 0..FULL_U64 {
        let mut length = [0; 4];
        reader.read_exact(&mut length).map_err(|error| format!("detail {place}: {error}"))?;
        let length = u64::from(u32::from_le_bytes(length));
        if length > MAX_DETAIL_BYTES as u64 {
            return Err(format!("detail {place} is longer than any"));
        }
        let passed = io::copy(&mut reader.by_ref().take(length), &mut io::sink());
        if passed.map_err(|error| format!("detail {place}: {error}"))? != length {
            return Err(format!("detail {place} is cut off"));
        }
        if length > 0 {
            places.set(place);
        }
    }
    match reader.fill_buf().map(<[u8]>::is_empty) {
        Ok(true) => Ok(places),
        Ok(false) => Err("it goes on after 256 details".into()),
        Err(error) => Err(error.to_string()),
    }
}
