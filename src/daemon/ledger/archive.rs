//! Roll-over: full bundles leave the tail for their own files, beside the commits and not between them.
//!
//! The archivist is one thread. It takes full bundles in order and writes details · bundles · tiles ([`write_bundles`]), makes
//! the key for the details of a later bundle and the blocks of a later tail before they are needed. No commit waits for it: the
//! tail holds everything until the writer, told that the files are durable, moves its base behind them and, when the tail has
//! grown long, puts a new one in its place. So there is no commit point here: a crash anywhere leaves a tail that still holds
//! everything, and files that the next attempt finds equal byte for byte. Recovery calls the same [`write_bundles`].
//! Must never take an entry that is not durable in the tail.

use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::batch::Stored;
use super::read::detail_secret;
use super::writer::BUNDLE;
use crate::core::ledger::details::encode_details;
use crate::core::ledger::hash::Hash;
use crate::core::ledger::tile::{
    details_path, encode_bundle, encode_tile, entries_path, parse_tile, tile_path, tiles_completed_by,
};
use crate::core::ledger::tree::root_of;
use crate::shell::crypt::Secret;
use crate::shell::disk::ledger_files::{LedgerDir, SpareTail};
use crate::shell::disk::slots::{KeySlots, SlotError};

/// Bytes of a full tile.
const TILE_BYTES: u64 = BUNDLE * 32;
/// Bundles written together at most: their folders are synced once.
const GROUP: usize = if cfg!(test) { 8 } else { 32 };
/// How long a full bundle waits for others.
const GATHER: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 250 });
/// Room in a tail to come, in bytes.
const SPARE_BYTES: u64 = if cfg!(test) { 1 << 16 } else { 4 << 20 };

/// 256 entries with the number of their bundle.
pub(super) struct FullBundle {
    pub(super) n: u64,
    pub(super) stored: Vec<Stored>,
}

/// What the archivist is asked for.
enum Order {
    Bundle(FullBundle),
    /// The key for the details of this bundle.
    Key(u64),
    Spare,
}

/// What has become durable.
pub(super) enum Done {
    /// The files of all bundles up to this one.
    Bundles(u64),
    /// Blocks for a new tail.
    Spare(SpareTail),
}

/// The keys of details: two threads make them, one at a time.
pub(super) struct DetailSlots {
    pub(super) slots: Arc<KeySlots>,
    making: Mutex<()>,
}

impl DetailSlots {
    pub(super) fn new(slots: Arc<KeySlots>) -> Self {
        Self { slots, making: Mutex::new(()) }
    }
    /// The key of bundle `n`, made durable if there is none.
    pub(super) fn secret(&self, n: u64) -> Result<Secret, SlotError> {
        // What a panic left half made is a slot that does not open, and is made again.
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        detail_secret(&self.slots, n)
    }
}

/// The thread and the ways to and from it.
pub(super) struct Archivist {
    orders: mpsc::Sender<Order>,
    done: mpsc::Receiver<io::Result<Done>>,
    thread: JoinHandle<()>,
    spare_ordered: bool,
}

impl Archivist {
    pub(super) fn start(files: LedgerDir, details: Arc<DetailSlots>) -> io::Result<Self> {
        let (orders, taken) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        let work = move || {
            // The writer sees the end of the channel as a failure, and does the work itself.
            if let Err(error) = work(&files, &details, &taken, &tell) {
                let _gone = tell.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("archivist".into()).spawn(work)?;
        Ok(Self { orders, done, thread, spare_ordered: false })
    }

    pub(super) fn bundle(&self, bundle: FullBundle) {
        let _ended = self.orders.send(Order::Bundle(bundle));
    }
    pub(super) fn key(&self, n: u64) {
        let _ended = self.orders.send(Order::Key(n));
    }
    /// Asks for one spare tail at a time.
    pub(super) fn spare(&mut self) {
        if !std::mem::replace(&mut self.spare_ordered, true) {
            let _ended = self.orders.send(Order::Spare);
        }
    }
    /// Whether a spare tail was asked for and has not come.
    pub(super) fn owes_spare(&self) -> bool {
        self.spare_ordered
    }

    /// What has come. `wait`: until something comes.
    pub(super) fn take(&mut self, wait: bool) -> Option<io::Result<Done>> {
        let answer = if wait {
            self.done.recv().map_err(|_| mpsc::TryRecvError::Disconnected)
        } else {
            self.done.try_recv()
        };
        match answer {
            Ok(answer) => {
                self.spare_ordered &= !matches!(answer, Ok(Done::Spare(_)));
                Some(answer)
            }
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => {
                Some(Err(io::Error::other("the thread that writes bundles has ended")))
            }
        }
    }

    /// Ends the thread after what it was asked for; gives what it did meanwhile.
    pub(super) fn end(self) -> Vec<io::Result<Done>> {
        let Self { orders, done, thread, .. } = self;
        drop(orders);
        // A panic shows as work that was not done.
        let _panicked = thread.join();
        done.try_iter().collect()
    }
}

/// Ends with the first failure: the writer then does the work itself, in its own turn, until it succeeds.
fn work(
    files: &LedgerDir,
    details: &DetailSlots,
    orders: &mpsc::Receiver<Order>,
    tell: &mpsc::Sender<io::Result<Done>>,
) -> io::Result<()> {
    let mut full: Vec<FullBundle> = Vec::new();
    loop {
        let order = match full.is_empty() {
            true => orders.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            false => orders.recv_timeout(GATHER),
        };
        let ended = matches!(order, Err(mpsc::RecvTimeoutError::Disconnected));
        let gathered = order.is_err();
        match order {
            Ok(Order::Bundle(bundle)) => full.push(bundle),
            // Who needs it meets the same failure, and says so.
            Ok(Order::Key(n)) => drop(details.secret(n)),
            Ok(Order::Spare) => drop(tell.send(Ok(Done::Spare(files.spare_tail(SPARE_BYTES)?)))),
            Err(_) => {}
        }
        let last = full.last().map(|bundle| bundle.n);
        if let Some(last) = last.filter(|_| gathered || full.len() >= GROUP) {
            write_bundles(files, &full)?;
            full.clear();
            let _gone = tell.send(Ok(Done::Bundles(last)));
        }
        if ended {
            return Ok(());
        }
    }
}

/// Writes the files of these bundles, which follow each other: when it returns, all of them are durable.
pub(super) fn write_bundles(files: &LedgerDir, bundles: &[FullBundle]) -> io::Result<()> {
    let mut together = Vec::new();
    for FullBundle { n, stored } in bundles {
        let lines: Vec<_> = stored.iter().map(Stored::line).collect();
        let details: Vec<_> = stored.iter().map(Stored::detail).collect();
        let leaves: Vec<Hash> = stored.iter().map(|stored| stored.leaf).collect();
        together.push((details_path(*n), encode_details(&details).map_err(io::Error::other)?));
        together.push((entries_path(*n, None), encode_bundle(&lines).map_err(io::Error::other)?));
        for (level, tile) in tiles_completed_by(*n) {
            let hashes = if level == 0 {
                leaves.clone()
            } else {
                // It is made from tiles that must be there first.
                files.write_all_once(&std::mem::take(&mut together))?;
                roots_below(files, level, tile)?
            };
            together.push((tile_path(level, tile, None), encode_tile(&hashes).map_err(io::Error::other)?));
        }
    }
    files.write_all_once(&together)
}

/// The hashes of a tile above level 0: the roots of the 256 tiles below it.
fn roots_below(files: &LedgerDir, level: u8, tile: u64) -> io::Result<Vec<Hash>> {
    (tile * BUNDLE..(tile + 1) * BUNDLE)
        .map(|below| {
            let name = tile_path(level - 1, below, None);
            let bytes = files.read(&name, TILE_BYTES)?.ok_or_else(|| missing(&name))?;
            Ok(root_of(&parse_tile(&bytes).map_err(io::Error::other)?))
        })
        .collect()
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing"))
}
