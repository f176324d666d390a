//! Opening the ledger: read what is durable, fold it, check it, start the writer. Recovery is this same path.
//!
//! In order: tail header · bundles folded and chained up to it · tail recovered up to its last valid checkpoint · second
//! place compared · closing checkpoint kept if the crash came between · torn end replaced by a new tail that says so · full
//! bundles rolled over · writer started. Fatal errors change nothing on disk and name the file.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock, mpsc};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::archive::DetailSlots;
use super::batch::{Batch, Scratch};
use super::fold::{BundleError, Fold, Tail};
use super::read::{Reader, Recent};
use super::restore::known_head;
use super::writer::{DetailKeys, Keys, Writer};
use super::{Availability, Committed, Head, Ledger, Shared, evidence, restore};
use crate::core::event::{Draft, Event, LedgerCreated, LedgerRecovered, Record};
use crate::core::ledger::epoch::EpochKeys;
use crate::core::ledger::hash::{Hash, empty_hash};
use crate::core::ledger::note::VerifierKey;
use crate::core::ledger::restore::{KnownHead, Standing, judge_order};
use crate::core::ledger::tail::{self, TailError, TailHeader};
use crate::core::ledger::tile::{MAX_BUNDLE_BYTES, entries_path};
use crate::core::ledger::tree::Frontier;
use crate::core::policy::{Flood, House, Policy};
use crate::core::register::standing;
use crate::core::register::told::Told;
use crate::core::retention::{DetailFacts, LastSeen};
use crate::shell::clock::SystemClock;
use crate::shell::crypt::Signer;
use crate::shell::disk::ledger_files::LedgerDir;
use crate::shell::disk::slots::KeySlots;

/// What opening needs.
pub struct OpenLedger {
    /// The folder `ledger/`.
    pub dir: PathBuf,
    /// Where the last checkpoint stands a second time.
    pub second_place: PathBuf,
    /// The stable key.
    pub log: Signer,
    /// The stable key as a vkey, with the origin as its name.
    pub log_key: VerifierKey,
    /// Every epoch key that opens in a slot: one, or two after a crash during rekeying.
    pub epochs: Vec<Signer>,
    /// For detail keys.
    pub slots: Arc<KeySlots>,
    /// The clock.
    pub clock: Arc<SystemClock>,
    /// Facts of the house.
    pub house: House,
    /// Where the catalogue stands: size and root. What was committed after it is returned.
    pub catalogue_at: Option<(u64, [u8; 32])>,
}

/// The ledger, open.
pub struct Opened {
    /// To record.
    pub ledger: Ledger,
    /// To read entries back.
    pub reader: Arc<Reader>,
    /// When the run before wrote its last entry; `None` for a new ledger.
    pub last: Option<LastSeen>,
    /// Whether the run before ended without saying so.
    pub after_crash: bool,
    /// The details that are there.
    pub details: DetailFacts,
    /// Entries the catalogue has not seen; `None` when it does not belong to this ledger or lies ahead of it.
    pub catalogue_behind: Option<Vec<Record>>,
    /// Whether the ledger was created just now.
    pub created: bool,
    /// Every batch from now on.
    pub committed: mpsc::Receiver<Committed>,
    /// The root at the size of the head.
    pub root: [u8; 32],
    /// The writer.
    pub thread: JoinHandle<()>,
}

/// A ledger that cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be read or written.
    #[error("the ledger in {} cannot be read or written", .0.display())]
    Io(PathBuf, #[source] std::io::Error),
    /// The tail contradicts itself.
    #[error("the ledger is damaged; restore it from a backup or ask the auditor, nothing was changed")]
    Tail(#[source] TailError),
    /// The tail holds no batch, although none takes its place without one.
    #[error("ledger/tail lost its entries; restore it from a backup or ask the auditor, nothing was changed")]
    NoBatch,
    /// A bundle or an entry in it.
    #[error(
        "the ledger is damaged: {file}, entry {entry}; restore the file from a backup, nothing was changed"
    )]
    Bundle {
        /// Which file.
        file: String,
        /// Which entry.
        entry: u64,
        /// What is wrong.
        source: BundleError,
    },
    /// Files of the ledger exist, but the one that ties them together does not.
    #[error("{0} is missing although the ledger has entries; restore it from a backup, nothing was changed")]
    Missing(String),
    /// The second place, a kept checkpoint or a bundle knows a later or another ledger.
    #[error(
        "the ledger was rolled back: it has {size} entries, but {} was written when it had {seen}{beside}. \
         If it was put back from a backup on purpose, run `greffierctl doctor --accept-restore`; the ledger will say so, and whoever \
         keeps later checkpoints will see it",
        path.display()
    )]
    RolledBack {
        /// Entries here.
        size: u64,
        /// Entries there.
        seen: u64,
        /// Says so when the roots differ.
        beside: &'static str,
        /// The file that knows.
        path: PathBuf,
    },
    /// No slot holds the epoch key that the ledger names.
    #[error("no key slot holds the epoch key in force; restore keys/ from a backup")]
    EpochKey,
}

impl OpenLedger {
    /// Opens the ledger, or creates it when there is none.
    pub fn open(self) -> Result<Opened, OpenError> {
        let files = LedgerDir::new(self.dir.clone());
        self.open_in(files)
    }

    /// The same with these files, which the tests let fail.
    pub(super) fn open_in(mut self, files: LedgerDir) -> Result<Opened, OpenError> {
        let dir = self.dir.clone();
        let failed = |error| OpenError::Io(dir.clone(), error);
        let second = evidence::signed_head(&self.second_place, &self.log_key)
            .map_err(|error| OpenError::Io(self.second_place.clone(), error))?;
        let order = restore::read_order(&files).map_err(failed)?;
        // What an administrator gave up is not held against the ledger, if the order is for this ledger: judged below.
        let given_up = second.as_ref().filter(|seen| order.is_some_and(|it| it.known == known_head(seen)));
        let given_up = given_up.map(|seen| seen.size);
        let second = second.filter(|_| given_up.is_none());
        let bytes = files.read_tail().map_err(failed)?;
        let created = bytes.is_none();
        if created && files.read(&entries_path(0, None), MAX_BUNDLE_BYTES as u64).map_err(failed)?.is_some() {
            return Err(OpenError::Missing("ledger/tail".into()));
        }
        let header = match &bytes {
            Some(bytes) => {
                TailHeader::decode(bytes).map_err(|error| OpenError::Tail(TailError::Header(error)))?
            }
            None => TailHeader {
                log_id: tail::log_id(&self.log_key),
                tail_number: 0,
                prev: empty_hash(),
                base: Frontier::new(),
            },
        };
        let known = evidence::acknowledged(&files, &self.log_key, header.base.size()).map_err(failed)?;
        let second_size = second.as_ref().map_or(0, |seen| seen.size);

        let catalogue = self.catalogue_at.map(|(size, root)| (size, Hash(root)));
        let mut fold =
            Fold::new(self.log_key.clone(), second.as_ref().map(|seen| (seen.size, seen.root)), catalogue);
        fold.bundles(&files, &header)?;
        let base = (fold.frontier.clone(), fold.prev);
        let Tail { stored, checkpoint, end, dropped_bytes } = match &bytes {
            Some(bytes) => fold.tail(bytes, known.size.max(second_size))?,
            None => Tail { stored: Vec::new(), checkpoint: String::new(), end: 0, dropped_bytes: 0 },
        };
        let size = fold.frontier.size();
        if let Some(seen) = second.filter(|_| !fold.second_matches) {
            let beside = if seen.size <= size { ", with another content" } else { "" };
            return Err(OpenError::RolledBack { size, seen: seen.size, beside, path: self.second_place });
        }
        let here = KnownHead { size, root: fold.frontier.root() };
        let standing = order.map(|order| (judge_order(&order, here, fold.state.restored()), order));
        if let Some(seen) = given_up.filter(|_| standing.is_some_and(|(it, _)| it == Standing::Foreign)) {
            return Err(OpenError::RolledBack { size, seen, beside: "", path: self.second_place });
        }
        if known.size > size {
            return Err(OpenError::RolledBack { size, seen: known.size, beside: "", path: known.path });
        }

        let (epoch, epoch_key) = self.choose_epoch_key(fold.epochs.latest().map(|(_, key)| key))?;
        let log_id = tail::log_id(&self.log_key);
        let (jobs, messages) = mpsc::channel();
        let (committed_to, committed) = mpsc::channel();
        let head = Head { size, checkpoint: checkpoint.as_str().into() };
        let shared = Arc::new(Shared {
            availability: watch::Sender::new(Availability::Open),
            head: watch::Sender::new(head),
            recent: RwLock::new(Recent::new(base.0.size(), stored)),
            turned_away: AtomicU64::new(0),
        });
        let mut writer = Writer {
            files: files.clone(),
            tail: None,
            tail_number: header.tail_number,
            log_id,
            keys: Keys { log: self.log, log_key: self.log_key, epoch, epoch_key },
            details: DetailKeys {
                slots: Arc::new(DetailSlots::new(self.slots.clone())),
                log_id: log_id.0,
                current: None,
            },
            archivist: None,
            handed: base.0.size(),
            key_ordered: 0,
            spare: None,
            tail_base: base.0.size(),
            clock: self.clock,
            state: fold.state,
            policy: Arc::new(Policy::empty()),
            house: self.house,
            flood: Flood::new(),
            told: Told::default(),
            standing: standing::Standing::default(),
            base,
            frontier: fold.frontier,
            prev: fold.prev,
            checkpoint,
            shared: shared.clone(),
            committed: committed_to,
            closing_due: false,
            key_missing: false,
            stopped: false,
            interrupt: Vec::new(),
            scratch: Scratch::new(),
            frames: Vec::new(),
            answered: None,
            patience: 0,
        };
        let (last, after_crash) = (writer.state.last(), writer.state.running());
        if created {
            writer.create().map_err(failed)?;
        } else {
            writer.take_up(&fold.epochs, end, dropped_bytes).map_err(failed)?;
        }
        if let Some((standing, order)) = standing {
            writer.carry_out(&order, standing, &self.second_place).map_err(failed)?;
        }
        let root = writer.frontier.root().0;
        let ledger = Ledger { jobs, shared };
        let reader = Arc::new(Reader::new(ledger.clone(), files, self.slots, log_id.0));
        let thread = spawn(writer, messages).map_err(failed)?;
        let (catalogue_behind, details) = (fold.behind, fold.details);
        Ok(Opened {
            ledger,
            reader,
            last,
            after_crash,
            details,
            catalogue_behind,
            created,
            committed,
            root,
            thread,
        })
    }

    /// The epoch key in force: the one the ledger announced last, or for a new ledger the only one there is.
    fn choose_epoch_key(
        &mut self,
        announced: Option<&VerifierKey>,
    ) -> Result<(Signer, VerifierKey), OpenError> {
        for (at, signer) in self.epochs.iter().enumerate() {
            let key =
                VerifierKey::new(self.log_key.name(), &signer.public()).map_err(|_| OpenError::EpochKey)?;
            if announced.is_none_or(|announced| *announced == key) {
                return Ok((self.epochs.swap_remove(at), key));
            }
        }
        Err(OpenError::EpochKey)
    }
}

impl Writer {
    /// The first entry of a new ledger.
    fn create(&mut self) -> std::io::Result<()> {
        self.new_tail_with(Event::LedgerCreated(LedgerCreated {
            origin: self.keys.log_key.name().to_owned(),
            log_key: self.keys.log_key.to_string(),
            epoch_key: self.keys.epoch_key.to_string(),
        }))
    }

    /// Makes the files what they must be for the next append.
    fn take_up(&mut self, epochs: &EpochKeys, end: u64, dropped_bytes: u64) -> std::io::Result<()> {
        if epochs.latest().is_some_and(|(seq, _)| seq > 0 && seq + 1 == self.frontier.size()) {
            self.keep_closing_checkpoint()?;
        }
        if dropped_bytes == 0 {
            self.tail = Some(self.files.open_tail(end)?);
        } else {
            log::warn!("a torn end of the ledger was dropped: {dropped_bytes} bytes that nobody was told of");
            // In the tail that lacks it: a crash between the two would drop in silence (invariant 4).
            self.new_tail_with(Event::LedgerRecovered(LedgerRecovered {
                why: "torn-tail".into(),
                dropped_bytes,
                since: None,
                turned_away: 0,
            }))?;
        }
        self.roll_over()?;
        self.shorten_tail()
    }

    /// A new tail with everything durable since the base, and with this entry.
    pub(super) fn new_tail_with(&mut self, event: Event) -> std::io::Result<()> {
        let mut batch = Batch::default();
        self.stage(&mut batch).append(Draft::fact(event)).map_err(std::io::Error::other)?;
        batch.checkpoint = self.sign();
        self.replace_tail(Some(&batch))?;
        self.accept(batch);
        Ok(())
    }
}

fn spawn(writer: Writer, messages: mpsc::Receiver<super::Message>) -> std::io::Result<JoinHandle<()>> {
    /// A writer that panicked leaves a state that nobody may trust: end at once, the next start recovers.
    struct AbortOnPanic;
    impl Drop for AbortOnPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::process::abort();
            }
        }
    }
    std::thread::Builder::new().name("ledger".into()).spawn(move || {
        let _guard = AbortOnPanic;
        writer.run(&messages);
    })
}
