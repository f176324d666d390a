//! The way through the entries, in order: bytes, chain, tree, tiles, keys, time, details, conduct.
//!
//! An entry has up to three witnesses: its own bytes, the hash in its tile, and the `prev` of the entry after it. Two against
//! one say which is damaged. After that the walk goes on with the hash that was signed, so that one flipped bit is one finding.

use super::checkpoints::{Checkpoints, Keys};
use super::conduct::Conduct;
use super::details::{Details, Places};
use super::files::Folder;
use super::findings::{Code, Report, sentence};
use super::ledger::Failure;
use super::source::{Bundle, Clocks, Facts, Sealed};
use super::store::Store;
use super::tiles::{Tile, Tiles};
use crate::core::event::{Event, EventError, Record};
use crate::core::ledger::entry::{Entry, EntryError};
use crate::core::ledger::epoch::EpochKeys;
use crate::core::ledger::hash::{Hash, empty_hash};
use crate::core::ledger::tile::{FULL_U64, tile_path};
use crate::core::ledger::tree::Frontier;

/// Everything carried from entry to entry.
#[derive(Debug)]
pub struct Walk {
    pub report: Report,
    pub epochs: EpochKeys,
    pub tree: Frontier,
    /// Leaf hash of the last entry, as signed.
    pub prev: Hash,
    pub details: Details,
    pub checkpoints: Checkpoints,
    pub tiles: Tiles,
    /// The first entry that could not be read, if any.
    pub blind_from: Option<u64>,
    folder: Folder,
    filed: u64,
    pub conduct: Conduct,
    /// The store beside the ledger, if it is to be compared.
    pub store: Option<Store>,
    before: Option<Clocks>,
}

/// What the witnesses say of one entry.
enum Verdict {
    /// The bytes are what was signed.
    Good(Hash),
    /// They are, but the tile says otherwise.
    TileDamaged(Hash),
    /// They are not; the hash that was signed, if anything still tells it.
    Damaged(Option<Hash>),
}

impl Walk {
    /// Before entry 0. Full tiles must have files below `filed` entries.
    pub fn new(
        folder: Folder,
        filed: u64,
        epochs: EpochKeys,
        details: Details,
        checkpoints: Checkpoints,
        report: Report,
    ) -> Self {
        Self {
            report,
            epochs,
            tree: Frontier::new(),
            prev: empty_hash(),
            details,
            checkpoints,
            tiles: Tiles::default(),
            blind_from: None,
            folder,
            filed,
            conduct: Conduct::default(),
            store: None,
            before: None,
        }
    }

    /// Goes through one bundle; entry by entry if anything in it or before it is amiss. `next_prev` is what the entry after it
    /// says of its last entry; for the last entry of all, the root that the head signs decides. False when the way ends here
    /// because nothing tells the hash of an entry any more.
    pub fn bundle(
        &mut self,
        mut bundle: Bundle,
        next_prev: Option<Hash>,
        root: Option<Hash>,
    ) -> Result<bool, Failure> {
        match bundle.facts.take() {
            Some(facts) if facts.prev == self.prev => self.sound_bundle(&bundle, facts),
            _ => self.doubtful_bundle(&bundle, next_prev, root),
        }
    }

    fn sound_bundle(&mut self, bundle: &Bundle, mut facts: Facts) -> Result<bool, Failure> {
        self.note_tile(bundle);
        let done = self.details.take(bundle.first, &bundle.details, facts.account.as_ref(), &mut self.report);
        let root = facts.root.filter(|_| !self.checkpoints.any_within(bundle.first, bundle.first + FULL_U64));
        for ((seq, fact), place) in (bundle.first..).zip(&mut facts.entries).zip(0..) {
            self.judge_time(seq, fact.clocks);
            if !done {
                self.details.check(seq, fact.detail, &mut self.report);
            }
            self.check_sealed(bundle, seq, fact.detail);
            if self.blind_from.is_none() {
                if let Some(entry) = &fact.announces {
                    self.note_keys(entry);
                }
                self.judge_conduct(seq, fact.record.as_mut(), fact.detail, bundle);
            }
            if let (None, Some((_, leaf))) = (root, bundle.entry(place)) {
                self.advance(leaf)?;
            }
        }
        self.report_sealed(bundle);
        if let (Some(root), Some(last)) = (root, bundle.last_leaf()) {
            self.advance_bundle(root, last)?;
        }
        Ok(true)
    }

    fn doubtful_bundle(
        &mut self,
        bundle: &Bundle,
        next_prev: Option<Hash>,
        root: Option<Hash>,
    ) -> Result<bool, Failure> {
        self.note_tile(bundle);
        self.details.take(bundle.first, &bundle.details, None, &mut self.report);
        let mut damaged = Run::default();
        let mut tile_damaged = Run::default();
        let mut whole = true;
        let mut next = bundle.entry(0).map(|(line, _)| Entry::parse(line));
        for (place, seq) in (0..bundle.expected).zip(bundle.first..) {
            let parsed = next.take();
            let stored = bundle.entry(place);
            next = bundle.entry(place + 1).map(|(line, _)| Entry::parse(line));
            let last = place + 1 == bundle.expected;
            let vouch = match &next {
                Some(Ok(entry)) => Some(entry.prev),
                _ if last => next_prev,
                _ => None,
            };
            let root = root.filter(|_| last);
            let readable = matches!(parsed, Some(Ok(_)));
            let hashes = (stored.map(|(_, leaf)| leaf), bundle.tile_hash(place));
            let signed = match self.weigh(hashes, vouch, readable, root) {
                Verdict::Good(leaf) => Some(leaf),
                Verdict::TileDamaged(leaf) => {
                    tile_damaged.add(seq);
                    Some(leaf)
                }
                Verdict::Damaged(signed) => {
                    damaged.add(seq);
                    self.lose_sight(seq);
                    signed
                }
            };
            if !damaged.ends_with(seq) {
                self.entry(seq, parsed, bundle);
            }
            let Some(signed) = signed else {
                whole = false;
                break;
            };
            self.advance(signed)?;
        }
        self.report_runs(bundle, damaged, tile_damaged);
        self.report_sealed(bundle);
        Ok(whole)
    }

    /// Damage to neighbours has one cause: one finding a bundle, with the first entry.
    fn report_runs(&mut self, bundle: &Bundle, damaged: Run, tile_damaged: Run) {
        if let Some(from) = damaged.first {
            let sentence = format!("its bytes are not those that were signed{}", damaged.others_in_words());
            self.report.add(Code::EntryDamaged, from, sentence);
        }
        if let Some(from) = tile_damaged.first {
            let path = tile_path(0, bundle.first / FULL_U64, None);
            let others = tile_damaged.others_in_words();
            let sentence = format!("{path} has another hash for it{others}; the entry itself is good");
            self.report.add(Code::TileDamaged, from, sentence);
        }
        if bundle.excess {
            let last = (bundle.first + bundle.expected as u64).checked_sub(1);
            self.report.add(Code::BundleDamaged, last, "its bundle goes on after its last entry");
        }
    }

    /// The keys as far as the entries so far tell them.
    pub fn keys(&self) -> Keys<'_> {
        Keys { epochs: &self.epochs, blind: self.blind_from.is_some() }
    }

    fn weigh(
        &self,
        (leaf, tile): (Option<Hash>, Option<Hash>),
        vouch: Option<Hash>,
        readable: bool,
        root: Option<Hash>,
    ) -> Verdict {
        match (leaf, tile) {
            (None, tile) => Verdict::Damaged(tile.or(vouch)),
            (Some(leaf), None) if !readable && vouch.is_some_and(|hash| hash != leaf) => {
                Verdict::Damaged(vouch)
            }
            (Some(leaf), None) => Verdict::Good(leaf),
            (Some(leaf), Some(tile)) if leaf == tile => Verdict::Good(leaf),
            (Some(leaf), Some(tile)) => {
                let good = vouch.map_or_else(|| root == Some(self.root_with(leaf)), |hash| hash == leaf);
                if good { Verdict::TileDamaged(leaf) } else { Verdict::Damaged(Some(tile)) }
            }
        }
    }

    fn root_with(&self, leaf: Hash) -> Hash {
        let mut tree = self.tree.clone();
        tree.push(leaf);
        tree.root()
    }

    /// Judges an entry whose bytes are as signed.
    fn entry(&mut self, seq: u64, parsed: Option<Result<Entry<'_>, EntryError>>, bundle: &Bundle) {
        let entry = match parsed {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => {
                self.report.add(Code::EntryFormat, seq, sentence(&error));
                return self.lose_sight(seq);
            }
            None => return self.lose_sight(seq),
        };
        if entry.prev != self.prev {
            let sentence = "its prev is not the hash of the entry before it: one of the two was changed";
            self.report.add(Code::ChainBroken, seq, sentence);
        }
        if entry.seq != seq {
            self.report.add(Code::EntryOrder, seq, format!("it calls itself entry {}", entry.seq));
            return self.lose_sight(seq);
        }
        self.judge_time(seq, Clocks::of(&entry));
        self.details.check(seq, entry.detail, &mut self.report);
        self.check_sealed(bundle, seq, entry.detail);
        if self.blind_from.is_some() {
            return;
        }
        self.note_keys(&entry);
        let commitment = entry.detail;
        self.judge_conduct(seq, Record::of(entry).as_mut(), commitment, bundle);
    }

    fn judge_conduct(
        &mut self,
        seq: u64,
        record: Result<&mut Record, &mut EventError>,
        commitment: Option<Hash>,
        bundle: &Bundle,
    ) {
        let loads_policy = record.as_ref().is_ok_and(|record| matches!(record.event, Event::PolicyLoaded(_)));
        if let (Some(store), Ok(record)) = (&mut self.store, &record) {
            store.note(record);
        }
        self.conduct.judge(seq, record, &mut self.report);
        if let Some(text) = loads_policy.then(|| bundle.details.text_of(seq, commitment)).flatten() {
            self.conduct.policy_text(text);
        }
    }

    fn note_keys(&mut self, entry: &Entry<'_>) {
        if let Err(error) = self.epochs.note_entry(entry) {
            self.report.add(Code::KeyAnnouncement, error.seq, error.why);
        }
    }

    fn judge_time(&mut self, seq: u64, clocks: Clocks) {
        if let Some(before) = &self.before {
            if clocks.time < before.time && !clocks.suspect && !before.suspect {
                let sentence = format!("its time {} is before that of the entry before it", clocks.time);
                self.report.add(Code::TimeFalls, seq, sentence);
            }
            if clocks.boot == before.boot && clocks.up_micros < before.up_micros {
                let sentence = "its time since boot is less than before, in the same boot";
                self.report.add(Code::TimeFalls, seq, sentence);
            }
        }
        self.before = Some(clocks);
    }

    /// The detail of an entry of a live ledger: it cannot be opened here, but it must be there.
    fn check_sealed(&mut self, bundle: &Bundle, seq: u64, commitment: Option<Hash>) {
        let Sealed::Of(places) = &bundle.sealed else { return };
        match (places.has(seq), commitment) {
            (true, None) => {
                self.report.add(Code::DetailDamaged, seq, "a detail is here, but the entry commits to none");
            }
            (false, Some(_)) => {
                let mut missing = Places::default();
                missing.set(seq);
                self.details.add_missing(seq - seq % FULL_U64, missing);
            }
            _ => {}
        }
    }

    fn report_sealed(&mut self, bundle: &Bundle) {
        if let Sealed::Bad(sentence) = &bundle.sealed {
            self.report.add(Code::DetailDamaged, bundle.first, sentence.as_str());
        }
    }

    /// From here on an announcement of keys, a grant or a hold may be missing.
    fn lose_sight(&mut self, seq: u64) {
        self.before = None;
        if self.blind_from.is_none() {
            self.blind_from = Some(seq);
            self.report.add(
                Code::NotJudged,
                seq,
                "it cannot be read, so conduct and epoch keys are not judged after it",
            );
        }
        self.details.skip(seq);
    }

    fn advance(&mut self, signed: Hash) -> Result<(), Failure> {
        self.tree.push(signed);
        self.prev = signed;
        self.tiles.push(0, signed, self.filed, &self.folder, &mut self.report)?;
        self.meet()
    }

    /// All 256 entries of a bundle at once.
    fn advance_bundle(&mut self, root: Hash, last: Hash) -> Result<(), Failure> {
        if !self.tree.push_subtree(FULL_U64.trailing_zeros(), root) {
            return Err(Failure::Unreadable("a bundle does not begin at a multiple of 256".into()));
        }
        self.prev = last;
        self.tiles.push(1, root, self.filed, &self.folder, &mut self.report)?;
        self.meet()
    }

    fn meet(&mut self) -> Result<(), Failure> {
        let keys = Keys { epochs: &self.epochs, blind: self.blind_from.is_some() };
        Ok(self.checkpoints.meet(&self.tree, keys, &mut self.report)?)
    }

    fn note_tile(&mut self, bundle: &Bundle) {
        match &bundle.tile {
            Some(Tile::Missing) => self.tiles.add_missing(tile_path(0, bundle.first / FULL_U64, None)),
            Some(Tile::Bad(sentence)) => self.report.add(Code::TileDamaged, bundle.first, sentence.as_str()),
            Some(Tile::Hashes(_)) | None => {}
        }
    }
}

/// Some entries of one bundle: the first, the last, and how many there are besides the first.
#[derive(Debug, Default)]
struct Run {
    first: Option<u64>,
    last: Option<u64>,
    others: u64,
}

impl Run {
    fn add(&mut self, seq: u64) {
        self.others += u64::from(self.first.is_some());
        self.first.get_or_insert(seq);
        self.last = Some(seq);
    }
    fn ends_with(&self, seq: u64) -> bool {
        self.last == Some(seq)
    }
    fn others_in_words(&self) -> String {
        if self.others == 0 {
            String::new()
        } else {
            format!(", and so for {} others of its bundle", self.others)
        }
    }
}
