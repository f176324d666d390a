//! The ledger of a house opened in this process, and archives of many recordings that were never recorded.
//!
//! A synthetic recording has its entry, its key slot and its object's name, all that start, search and decisions touch;
//! the object is empty. What a measurement opens is sealed through the bus.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use greffier::core::event::{Draft, Event, Sealed, SpoolFile, Subject};
use greffier::core::format::slot::{SLOT_BYTES, SlotKind};
use greffier::core::ids::{Digest, Kind, RecordingId};
use greffier::core::ledger::note::VerifierKey;
use greffier::core::policy;
use greffier::core::time::Timestamp;
use greffier::daemon::ledger::{OpenLedger, Opened, Proposal};
use greffier::shell::clock::SystemClock;
use greffier::shell::crypt::{MasterKey, Secret, Signer};
use greffier::shell::disk::slots::KeySlots;
use greffier::shell::disk::statedir::StateDir;

use crate::Outcome;
use crate::house::House;

/// `init` makes this generation of keys.
const GENERATION: u64 = 1;
const SLOTS_PER_BLOCK: usize = 4096 / SLOT_BYTES;
/// A bundle: one batch of entries.
const BATCH: u64 = 256;
const DAY_MICROS: i64 = 86_400_000_000;
/// The recordings lie within so many days before now.
pub const SPAN_DAYS: i64 = 365;

/// The ledger of a house whose daemon does not run.
pub struct OpenedLedger {
    pub opened: Opened,
    pub clock: Arc<SystemClock>,
    _state_dir: StateDir,
}

/// Opens it as the daemon would.
pub fn open_ledger(house: &House) -> Outcome<OpenedLedger> {
    let state_dir = StateDir::open(&house.path("state"))?;
    let slots = Arc::new(KeySlots::open(&state_dir.keys(), master_key(house)?, GENERATION)?);
    let log = Signer::new(&slots.open_secret(SlotKind::Log, &[0; 16])?);
    let log_key: VerifierKey =
        std::fs::read_to_string(state_dir.ledger().join("vkey"))?.trim_end().parse()?;
    let epochs = slots.list(SlotKind::Epoch);
    let epochs: Result<_, _> = epochs
        .iter()
        .map(|id| slots.open_secret(SlotKind::Epoch, id).map(|secret| Signer::new(&secret)))
        .collect();
    let clock = Arc::new(SystemClock::new()?);
    let opened = OpenLedger {
        dir: state_dir.ledger(),
        second_place: house.path("run/checkpoint"),
        log,
        log_key,
        epochs: epochs?,
        slots,
        clock: clock.clone(),
        house: policy::House {
            time_zone: clock.local_time_zone().clone(),
            session_max: "PT1H".parse()?,
            allow_switched_user: true,
        },
        catalogue_at: None,
    }
    .open()?;
    Ok(OpenedLedger { opened, clock, _state_dir: state_dir })
}

impl OpenedLedger {
    /// Ends the writer; everything it acknowledged is in the files.
    pub fn close(self) -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.opened.ledger.stop());
        self.opened.thread.join().map_err(|_| "the ledger's writer panicked")?;
        Ok(())
    }
}

fn master_key(house: &House) -> Outcome<MasterKey> {
    Ok(MasterKey::read_from(&mut File::open(house.path("master.key"))?)?)
}

/// Fills a new house with `count` recordings that fall due in a month.
pub fn fill(house: &House, count: u64) -> Outcome<()> {
    fill_due(house, count, 30)
}

/// The same with recordings that fall due so many days from now.
pub fn fill_due(house: &House, count: u64, due_days: i64) -> Outcome<()> {
    let ledger = open_ledger(house)?;
    let now = ledger.clock.now().time;
    for first in (0..count).step_by(usize::try_from(BATCH)?) {
        let drafts = (first..count.min(first + BATCH)).map(|number| sealed(number, count, now, due_days));
        let mut drafts = drafts.collect::<Outcome<Vec<Draft>>>()?.into_iter();
        let Some(draft) = drafts.next() else { break };
        let proposal = drafts.fold(Proposal::new(draft, ()), Proposal::and);
        let _entry = ledger.opened.ledger.record_blocking(move |_| Ok(proposal))?;
    }
    ledger.close()?;
    add_slots(house, count)?;
    add_objects(house, count)
}

/// No two alike, spread over the whole space like random ones.
fn id(number: u64) -> RecordingId {
    let mixed = u128::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    RecordingId::from_bytes(mixed.to_be_bytes())
}

fn sealed(number: u64, count: u64, now: Timestamp, due_days: i64) -> Outcome<Draft> {
    // In the order of their start, as they come.
    let ago = (SPAN_DAYS * DAY_MICROS / i64::try_from(count)?) * i64::try_from(count - number)?;
    let start = now.saturating_add_micros(-ago);
    let event = Event::RecordingSealed(Sealed {
        kind: Kind::Footage,
        start,
        end: start.saturating_add_micros(600_000_000),
        class: "month".parse()?,
        bytes: 65_536,
        sha256: Digest([7; 32]),
        media: "video/mp4".into(),
        earliest: now.saturating_add_micros(due_days.min(0) * DAY_MICROS),
        latest: now.saturating_add_micros(due_days * DAY_MICROS),
        spool: Some(SpoolFile {
            device: 65_024,
            inode: number + 1_000_000,
            size_bytes: 65_536,
            modified: Some(start),
        }),
    });
    Ok(Draft::fact(event).about(Subject::recording(id(number), "entrance".parse()?)))
}

/// Writes the key slots of all recordings behind those that are there, into both copies, with one sync each.
fn add_slots(house: &House, count: u64) -> Outcome<()> {
    let master = master_key(house)?;
    let copies = ["a", "b"].map(|copy| house.path(&format!("state/keys/{GENERATION}.{copy}")));
    let before = std::fs::metadata(&copies[0])?.len();
    let first = before / SLOT_BYTES as u64;
    let mut bytes = Vec::new();
    for number in 0..count {
        let secret = Secret::generate()?;
        let slot = master.wrap(SlotKind::Data, id(number).as_bytes(), GENERATION, first + number, &secret)?;
        bytes.extend_from_slice(&slot.encode());
    }
    bytes.resize(bytes.len().next_multiple_of(SLOTS_PER_BLOCK * SLOT_BYTES), 0);
    for copy in copies {
        let file = File::options().write(true).open(copy)?;
        file.write_all_at(&bytes, before)?;
        file.sync_all()?;
    }
    Ok(())
}

fn add_objects(house: &House, count: u64) -> Outcome<()> {
    let objects = house.path("state/objects");
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..count {
        let name = id(number).to_string();
        folders.entry(name.chars().take(2).collect()).or_default().push(name);
    }
    for (folder, names) in folders {
        let folder = objects.join(folder);
        std::fs::create_dir_all(&folder)?;
        for name in names {
            File::create(folder.join(name))?;
        }
    }
    Ok(())
}
