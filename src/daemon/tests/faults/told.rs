//! A small model of what the daemon owes: what it told somebody, by when, and what must therefore stand after a start.
//!
//! It knows positions in the sequence of recorded calls: what was acknowledged before a cut must be there after it, what had
//! not begun must not. It folds entries by itself, with a few sets, and does not ask the daemon's state what should be there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::*;
use crate::core::event::{Outcome, Record};
use crate::core::format::slot::{SLOT_BYTES, SlotBytes, WRAPPED_BYTES};
use crate::core::ledger::entry::Entry;
use crate::daemon::projection::row;
use crate::shell::crypt::BulkSha256;
use crate::shell::disk::catalogue::Query;
use crate::shell::disk::object::SealedReader;
use crate::verify::{Class, Options, Source, verify_ledger};

/// A place in the sequence of calls.
pub(super) type At = usize;
/// After everything.
pub(super) const END: At = usize::MAX;

#[derive(Default)]
pub(super) struct Told {
    /// Every entry, as acknowledged.
    lines: Vec<Arc<[u8]>>,
    /// How many entries were acknowledged, and since when.
    heads: Arc<Mutex<Vec<(At, u64)>>>,
    /// Whatever was to be sealed.
    contents: HashMap<Digest, Vec<u8>>,
    /// What was left in the spool, and since when.
    pub(super) left: Vec<(At, Vec<u8>)>,
    /// What a run could purge, from when it began.
    pub(super) purges: Vec<(At, BTreeSet<RecordingId>)>,
    /// Holds that somebody began to lift.
    pub(super) lifts: Vec<(At, HoldId)>,
    /// Sessions of which bytes were read.
    pub(super) opened: Vec<(At, SessionId)>,
    /// Wrapped keys that stood in the key files.
    wrapped: HashSet<[u8; WRAPPED_BYTES]>,
    /// Those that are destroyed, and since when.
    destroyed: HashMap<[u8; WRAPPED_BYTES], At>,
}

/// What entries say, with a few sets.
#[derive(Default)]
struct Said {
    sealed: BTreeMap<RecordingId, Digest>,
    purged: BTreeSet<RecordingId>,
    holds: BTreeMap<HoldId, RecordingId>,
    granted: BTreeSet<SessionId>,
    /// Changes of the master key: ordered, done, failed.
    rotations: [u64; 3],
    damaged: Vec<String>,
}

fn record(line: &[u8]) -> Record {
    Record::from_entry(&Entry::parse(line).unwrap()).unwrap()
}

impl Said {
    fn by<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut said = Self::default();
        for line in lines {
            let record = record(line);
            let (id, session) = (record.subject.recording, record.subject.session);
            match (&record.event, record.outcome) {
                (Event::RecordingSealed(sealed), _) => drop(said.sealed.insert(id.unwrap(), sealed.sha256)),
                (Event::PurgeDone(_), _) => drop(said.purged.insert(id.unwrap())),
                (Event::HoldPlaced(placed), Outcome::Done | Outcome::Granted) => {
                    said.holds.insert(placed.hold, id.unwrap());
                }
                (Event::HoldLifted(lifted), Outcome::Done | Outcome::Granted) => {
                    said.holds.remove(&lifted.hold);
                }
                (Event::AccessOpened(_), Outcome::Granted) => drop(said.granted.insert(session.unwrap())),
                (Event::KeyRotationOrdered(_), Outcome::Done) => said.rotations[0] += 1,
                (Event::KeyRotated(_), _) => said.rotations[1] += 1,
                (Event::KeyRotationFailed(_), _) => said.rotations[2] += 1,
                (Event::StoreDamaged(damaged), _) => said.damaged.push(format!("{id:?}: {damaged:?}")),
                _ => {}
            }
        }
        said
    }
}

impl Told {
    /// Bytes that nobody has sealed before.
    pub(super) fn new_content(&mut self) -> Vec<u8> {
        let number = self.contents.len();
        let mut content = format!("moving pictures, number {number}. ").into_bytes();
        // Lengths differ too: it names the file in the spool. One in four takes more than a chunk.
        content.resize(if number % 4 == 3 { 70_000 } else { 300 } + number, b'.');
        self.contents.insert(digest(&content), content.clone());
        content
    }

    pub(super) fn content_of(&self, id: &RecordingId) -> Option<&Vec<u8>> {
        let said = Said::by(self.lines.iter().map(AsRef::as_ref));
        self.contents.get(said.sealed.get(id)?)
    }

    /// The same, after a restart of a copy of the house: everything in it was long before.
    pub(super) fn after_restart(&self) -> Self {
        Self {
            lines: self.lines.clone(),
            heads: Arc::new(Mutex::new(vec![(0, self.lines.len() as u64)])),
            contents: self.contents.clone(),
            left: self.left.clone(),
            purges: self.purges.clone(),
            lifts: self.lifts.clone(),
            opened: self.opened.clone(),
            wrapped: self.wrapped.clone(),
            destroyed: self.destroyed.clone(),
        }
    }

    /// From now on each head is taken down when it comes.
    pub(super) fn follow(&mut self, life: &Life, faults: &Arc<Faults>) {
        let (heads, mut head) = (self.heads.clone(), life.service().ledger.follow_head());
        let faults = faults.clone();
        life.runtime.spawn(async move {
            loop {
                let size = head.borrow_and_update().size;
                heads.lock().unwrap().push((faults.mark(), size));
                if head.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    pub(super) fn learn(&mut self, life: &Life, dir: &Path, now: At) {
        let reader = &life.service().reader;
        let size = life.service().ledger.head().size;
        let from = self.lines.len() as u64;
        let new = reader.entries(from, size.saturating_sub(from), usize::MAX).unwrap();
        self.lines.extend(new.into_iter().map(|line| line.line));
        self.heads.lock().unwrap().push((now, size.min(self.lines.len() as u64)));

        let there = wrapped_in(dir);
        for gone in self.wrapped.difference(&there) {
            self.destroyed.entry(*gone).or_insert(now);
        }
        self.wrapped.extend(there);
    }

    /// How many entries were acknowledged at `cut`.
    fn sure(&self, cut: At) -> usize {
        let heads = self.heads.lock().unwrap();
        let sure = heads.iter().filter(|(at, _)| *at <= cut).map(|(_, size)| *size).max();
        usize::try_from(sure.unwrap_or(0)).unwrap()
    }

    fn may_be_purged(&self, cut: At) -> BTreeSet<RecordingId> {
        let begun = self.purges.iter().filter(|(at, _)| *at < cut);
        begun.flat_map(|(_, due)| due.iter().copied()).collect()
    }

    /// Before a start: no key that was destroyed is on the disk (invariant 7).
    pub(super) fn check_keys(&self, dir: &Path, cut: At) {
        let there = wrapped_in(dir);
        let back = self.destroyed.iter().filter(|(key, at)| **at <= cut && there.contains(*key)).count();
        assert_eq!(back, 0, "destroyed keys are in the key files");
    }

    /// After a start, and again after the daemon went on with its spool and some more work.
    pub(super) fn check(&self, life: &Life, dir: &Path, cut: At) {
        self.check_now(life, dir, cut);
        drain(life, dir);
        self.check_spool_is_sealed(life, dir, cut);
        life.block(say(life.service(), 3)).unwrap();
        self.check_now(life, dir, cut);
        verify(life, dir);
    }

    fn check_now(&self, life: &Life, dir: &Path, cut: At) {
        let lines = life.service().reader.entries(0, u64::MAX, usize::MAX).unwrap();
        let lines: Vec<_> = lines.into_iter().map(|line| line.line).collect();
        let sure = self.sure(cut);
        assert!(lines.len() >= sure, "inv4: {} entries of {sure} acknowledged", lines.len());
        for (seq, (line, told)) in lines.iter().zip(self.lines.iter().take(sure)).enumerate() {
            assert_eq!(line, told, "inv4: entry {seq} was rewritten");
        }
        let said = Said::by(lines.iter().map(AsRef::as_ref));
        let owed = Said::by(self.lines.iter().take(sure).map(AsRef::as_ref));
        assert!(said.damaged.is_empty(), "inv6: {:?}", said.damaged);
        let state = life.state();
        let service = life.service();

        // Invariant 1: a byte was read, so the grant stands.
        for (at, session) in self.opened.iter().filter(|(at, _)| *at <= cut) {
            assert!(said.granted.contains(session), "inv1: session {session} read at {at}");
        }
        assert!(state.sessions().is_empty(), "sessions of the life before go on");

        // Invariant 6: what was acknowledged is there and reads.
        let may_be_purged = self.may_be_purged(cut);
        for (id, sha256) in owed.sealed.iter().filter(|(id, _)| !may_be_purged.contains(*id)) {
            assert!(state.recording(id).is_some_and(|it| !it.purging), "inv6: {id} is missing");
            assert_eq!(read_sealed(service, *id).as_ref(), self.contents.get(sha256), "inv6: {id}");
        }
        // Invariant 7: what is purged is gone, and what is not purged is whole.
        for id in owed.purged.iter().chain(&said.purged) {
            assert!(state.recording(id).is_none(), "inv7: {id} is back");
            assert!(!service.store.exists(*id).unwrap(), "inv7: the object of {id}");
            assert!(!service.slots.contains(SlotKind::Data, id.as_bytes()), "inv7: the key of {id}");
        }
        assert_eq!(state.purging().count(), 0, "a purge is neither done nor taken back");
        let recordings: BTreeSet<RecordingId> = state.recordings().map(|(id, _)| *id).collect();
        let objects: BTreeSet<RecordingId> = service.store.list().map(Result::unwrap).collect();
        let keys = service.slots.list(SlotKind::Data).into_iter().map(RecordingId::from_bytes).collect();
        assert_eq!(recordings, objects, "inv6: objects");
        assert_eq!(recordings, keys, "inv6: keys");
        assert!(service.slots.half().is_empty() && service.slots.remains().is_empty(), "half slots are left");
        for id in &recordings {
            let sha256 = state.recording(id).unwrap().sha256;
            assert_eq!(read_sealed(service, *id).as_ref(), self.contents.get(&sha256), "inv6: {id}");
        }
        check_master_key(&said, life, dir);
        // Invariant 12: holds stand.
        let lifting = |hold: &HoldId| self.lifts.iter().any(|(at, lifted)| lifted == hold && *at < cut);
        for (hold, id) in owed.holds.iter().filter(|(hold, _)| !lifting(hold)) {
            assert!(state.holds().get(hold).is_some_and(|it| it.recording == *id), "inv12: {hold}");
            assert!(recordings.contains(id), "inv12: {id} was purged under {hold}");
        }
        // Invariant 6: in the spool, or sealed, or both; or purged after that.
        let lying = lying_in(&dir.join("spool"));
        for (_, content) in self.left.iter().filter(|(at, _)| *at <= cut) {
            let sealed = said.sealed.values().any(|sha256| *sha256 == digest(content));
            assert!(sealed || lying.contains(content), "inv6: {} is in neither", text(content));
        }
        // Invariant 5: the catalogue says what the ledger says.
        check_catalogue(life, &state);
        // Details that the ledger destroyed do not open, all others do.
        for line in service.reader.entries(0, u64::MAX, usize::MAX).unwrap() {
            let opens =
                service.reader.detail(&line).unwrap_or_else(|error| panic!("entry {}: {error}", line.seq));
            let has_detail = Entry::parse(&line.line).unwrap().detail.is_some();
            let destroyed =
                state.destroyed_details().ranges().any(|(from, to)| from <= line.seq && line.seq < to);
            assert_eq!(opens.is_some(), has_detail && !destroyed, "the detail of entry {}", line.seq);
        }
    }

    fn check_spool_is_sealed(&self, life: &Life, dir: &Path, cut: At) {
        let lines = life.service().reader.entries(0, u64::MAX, usize::MAX).unwrap();
        let records = lines.iter().map(|line| record(&line.line));
        let sealed: Vec<Digest> = records
            .filter_map(|record| match record.event {
                Event::RecordingSealed(sealed) => Some(sealed.sha256),
                _ => None,
            })
            .collect();
        for (_, content) in self.left.iter().filter(|(at, _)| *at <= cut) {
            let times = sealed.iter().filter(|sha256| **sha256 == digest(content)).count();
            assert_eq!(times, 1, "inv6: {} was sealed so often", text(content));
        }
        let lying = lying_in(&dir.join("spool"));
        assert!(
            lying.is_empty(),
            "inv6: left in the spool: {:?}",
            lying.iter().map(|it| text(it)).collect::<Vec<_>>()
        );
    }
}

/// A change of the master key was done or never committed, its end is an entry, and nothing is left of what was before.
fn check_master_key(said: &Said, life: &Life, dir: &Path) {
    let (service, [ordered, done, failed]) = (life.service(), said.rotations);
    assert_eq!((ordered, life.state().rotation()), (done + failed, None), "a change of the key has no end");
    let generation = service.slots.generation();
    assert_eq!(generation, done + 1, "generations");
    let files = names(&dir.join("state/keys"));
    assert_eq!(files, [format!("{generation}.a"), format!("{generation}.b")], "inv7: key files");
    assert!(!dir.join("key.next").exists(), "inv7: the other master key is left");
    let in_place = key(dir);
    assert!(
        service.slots.with_master(|master, _| master.is_same_as(&in_place)),
        "the next start opens nothing"
    );
}

fn check_catalogue(life: &Life, state: &State) {
    let service = life.service();
    let size = service.ledger.head().size;
    life.block(service.catalogue.wait_for(size));
    let sources = SOURCES.iter().map(|source| source.parse().unwrap()).collect();
    let query =
        Query { sources: &sources, kind: None, from: None, to: None, held: None, limit: 1000, cursor: None };
    let page = service.catalogue.search(&query, &|_| true).expect("inv5: there is a catalogue").unwrap();
    let rows: BTreeMap<_, _> = page.rows.into_iter().map(|row| (row.id, row)).collect();
    let expected =
        state.recordings().map(|(id, it)| (*id, row(*id, it, state.holds().on(id).is_some(), None)));
    assert_eq!(rows, expected.collect(), "inv5: the catalogue");
}

/// The verifier finds nothing.
pub(super) fn verify(life: &Life, dir: &Path) {
    let key = life.service().verifier_key.parse().unwrap();
    let verdict = verify_ledger(&Options::new(Source::Path(dir.join("state/ledger")), key)).unwrap();
    let findings = verdict.report.findings();
    let bad: Vec<_> = findings.iter().filter(|it| it.code.class() != Class::Note).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(verdict.summary.entries, life.service().ledger.head().size);
}

fn read_sealed(service: &Service, id: RecordingId) -> Option<Vec<u8>> {
    let secret = service.slots.open_secret(SlotKind::Data, id.as_bytes()).ok()?;
    let reader = SealedReader::open(&service.store, id, &secret).ok()?;
    let mut bytes = vec![0; usize::try_from(reader.len()).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        match reader.read_at(done as u64, &mut bytes[done..]).ok()? {
            0 => return None,
            count => done += count,
        }
    }
    Some(bytes)
}

/// Every wrapped key in the key files.
fn wrapped_in(dir: &Path) -> HashSet<[u8; WRAPPED_BYTES]> {
    let mut wrapped = HashSet::new();
    for entry in std::fs::read_dir(dir.join("state/keys")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for slot in bytes.as_chunks::<SLOT_BYTES>().0 {
            if let SlotBytes::InUse(slot) = SlotBytes::parse(slot) {
                wrapped.insert(slot.wrapped);
            }
        }
    }
    wrapped
}

/// The contents of all files below a folder.
fn lying_in(folder: &Path) -> HashSet<Vec<u8>> {
    let mut lying = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                lying.insert(std::fs::read(path).unwrap());
            }
        }
    }
    lying
}

fn digest(content: &[u8]) -> Digest {
    let mut digest = BulkSha256::new();
    digest.update(content);
    digest.finish()
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned()
}
