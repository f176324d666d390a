//! Destroying details of one bundle (design §5): what stays is encrypted under a new key, then the old key is destroyed.
//!
//! In order: 1. the new key durable in a slot · 2. what stays, under it, in a file beside the old one (`details/N.G`, G the
//! generation) · 3. `ledger.details-destroyed` durable: **the commit point** · 4. that file in the place of the old one ·
//! 5. the old slot destroyed. [`DetailFiles::prepare`] does 1 and 2, [`DetailFiles::settle`] 4 and 5. A second slot of a
//! bundle says that it is not settled; which of the two keys is in force, the ledger says. So a crash before 3 is taken
//! back and one after it finished, by the same `settle`.
//!
//! Must never touch a bundle whose details still stand in the tail, nor destroy a key that the ledger has in force.

use std::io;
use std::sync::Arc;

use super::writer::BUNDLE;
use super::{Desk, Ledger, Proposal};
use crate::core::event::{DetailsDestroyed, Draft, Event};
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::ledger::details::{MAX_DETAILS_FILE_BYTES, encode_details, parse_details};
use crate::core::ledger::tail::TailHeader;
use crate::core::ledger::tile::details_path;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::retention::BundlePlan;
use crate::core::state::{DetailKey, State};
use crate::shell::crypt::{DetailCipher, Secret};
use crate::shell::disk::ledger_files::LedgerDir;
use crate::shell::disk::slots::{KeySlots, SlotError};

/// Length of the header of a tail.
const HEADER_BYTES: u64 = 4096;

/// The files and keys of details.
pub struct DetailFiles {
    files: LedgerDir,
    slots: Arc<KeySlots>,
    log_id: [u8; 32],
}

/// Why details could not be destroyed. What was to stay is there.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// A file.
    #[error("{file} cannot be read or written")]
    File {
        /// Which one, below `ledger/`.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A slot.
    #[error("the key of the details of bundle {0} cannot be used")]
    Slot(u64, #[source] SlotError),
    /// A detail that must stay does not open.
    #[error(
        "details/{bundle}: the detail of entry {entry} must stay and cannot be opened; restore the file from a backup"
    )]
    Damaged {
        /// The bundle.
        bundle: u64,
        /// The entry.
        entry: u64,
    },
    /// The ledger, or a look at the clock, refused.
    #[error("{0}")]
    Refused(Refusal),
}

/// What became of an encrypted detail.
pub(super) enum Sealed {
    /// It opens.
    Opened(Vec<u8>),
    /// No key of its bundle is there: destroyed.
    NoKey,
    /// A key of its bundle is there, and does not open it.
    OtherKey,
}

/// The slot of the key of `generation` of the details of bundle `n`: two at most are in use at a time, so generations
/// take turns.
pub(super) fn detail_slot(n: u64, generation: u64) -> SlotId {
    (u128::from(generation & 1) << 64 | u128::from(n)).to_be_bytes()
}

/// The bundle and the turn of a slot.
fn bundle_of(id: &SlotId) -> Option<(u64, u64)> {
    let id = u128::from_be_bytes(*id);
    let turn = u64::try_from(id >> 64).ok().filter(|turn| *turn < 2)?;
    Some((u64::try_from(id & u128::from(u64::MAX)).ok()?, turn))
}

fn is_turn_of(in_force: DetailKey, turn: u64) -> bool {
    matches!(in_force, DetailKey::Generation(generation) if generation & 1 == turn)
}

/// Whether the ledger has the detail key in this slot in force. What is no slot of a bundle is not judged here.
pub fn detail_slot_in_force(state: &State, id: &SlotId) -> bool {
    bundle_of(id).is_none_or(|(n, turn)| is_turn_of(state.destroyed_details().key_of(n), turn))
}

/// The file of what stays, before it takes the place of the old one.
fn beside(bundle: u64, generation: u64) -> String {
    format!("{}.{generation}", details_path(bundle))
}

impl DetailFiles {
    pub(super) fn new(files: LedgerDir, slots: Arc<KeySlots>, log_id: [u8; 32]) -> Self {
        Self { files, slots, log_id }
    }

    /// Entries below the tail as it stands on the disk: their details stand in files alone.
    pub fn below_tail(&self) -> Result<u64, ExpireError> {
        let failed = |source| ExpireError::File { file: "tail".into(), source };
        let Some(bytes) = self.files.read_tail_header(HEADER_BYTES).map_err(failed)? else { return Ok(0) };
        let header = TailHeader::decode(&bytes).map_err(|error| failed(io::Error::other(error)))?;
        Ok(header.base.size())
    }

    /// Destroys the details that the plan names. `check` is asked again in the writer's order. Gives the entry.
    pub fn destroy(
        &self,
        ledger: &Ledger,
        plan: &BundlePlan,
        check: impl FnOnce(&mut Desk<'_>) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<u64, ExpireError> {
        let n = plan.bundle;
        let key_of = || ledger.look_blocking(move |desk| desk.state.destroyed_details().key_of(n));
        let in_force = key_of().map_err(ExpireError::Refused)?;
        if let Err(error) = self.prepare(plan, in_force) {
            self.settle(n, in_force)?;
            return Err(error);
        }
        let said = DetailsDestroyed {
            bundle: n,
            destroyed: plan.destroy.clone(),
            kept: plan.keep.clone(),
            generation: in_force.generation() + 1,
        };
        let recorded = ledger.record_blocking(move |desk| {
            check(desk)?;
            Ok(Proposal::new(Draft::fact(Event::LedgerDetailsDestroyed(said)), ()))
        });
        match recorded {
            Ok(recorded) => {
                self.settle(n, key_of().map_err(ExpireError::Refused)?)?;
                Ok(recorded.entry())
            }
            // In doubt: the entry may yet become durable. The next run, or the next start, asks the ledger.
            Err(refusal) if matches!(refusal.kind, RefusalKind::LedgerUnavailable | RefusalKind::Closed) => {
                Err(ExpireError::Refused(refusal))
            }
            Err(refusal) => {
                self.settle(n, in_force)?;
                Err(ExpireError::Refused(refusal))
            }
        }
    }

    /// Brings to an end what a crash or a failure left between the ledger and the files; gives the bundles.
    pub fn settle_all(&self, ledger: &Ledger) -> Result<Vec<u64>, ExpireError> {
        let details = ledger.look_blocking(|desk| desk.state.destroyed_details().clone());
        let details = details.map_err(ExpireError::Refused)?;
        let left = self.unsettled(|n| details.key_of(n));
        for n in &left {
            self.settle(*n, details.key_of(*n))?;
        }
        Ok(left)
    }

    /// Makes what stays durable under a new key, beside the old. Nothing is lost by it, and the ledger knows nothing yet.
    fn prepare(&self, plan: &BundlePlan, in_force: DetailKey) -> Result<(), ExpireError> {
        let n = plan.bundle;
        let generation = in_force.generation() + 1;
        if plan.keep.is_empty() {
            return Ok(());
        }
        let file = details_path(n);
        let failed = |file: &str| {
            let file = file.to_owned();
            move |source| ExpireError::File { file, source }
        };
        let slot = |error| ExpireError::Slot(n, error);
        let bytes =
            self.files.read(&file, MAX_DETAILS_FILE_BYTES).map_err(failed(&file))?.unwrap_or_default();
        let old = parse_details(&bytes).map_err(|error| failed(&file)(io::Error::other(error)))?;
        let old_id = detail_slot(n, in_force.generation());
        let old_key = self.slots.open_secret(SlotKind::Detail, &old_id).map_err(slot)?;
        let old_key = DetailCipher::new(&old_key, self.log_id);

        let secret = Secret::generate().map_err(SlotError::Randomness).map_err(slot)?;
        let id = detail_slot(n, generation);
        // What an earlier attempt left when the disk failed under it; the ledger never had it in force.
        self.slots.destroy(SlotKind::Detail, &id).map_err(slot)?;
        self.slots.create(SlotKind::Detail, id, &secret).map_err(slot)?;
        let new_key = DetailCipher::new(&secret, self.log_id);
        drop(secret);

        let stays = |seq: u64| plan.keep.iter().any(|(first, end)| *first <= seq && seq < *end);
        let mut kept = Vec::with_capacity(old.len());
        for (seq, detail) in (n * BUNDLE..).zip(old) {
            kept.push(match detail.filter(|_| stays(seq)) {
                None => None,
                Some(sealed) => {
                    let line = old_key
                        .open_detail(seq, sealed)
                        .map_err(|_| ExpireError::Damaged { bundle: n, entry: seq })?;
                    Some(new_key.seal_detail(seq, &line).map_err(failed(&file))?)
                }
            });
        }
        let kept: Vec<Option<&[u8]>> = kept.iter().map(Option::as_deref).collect();
        let name = beside(n, generation);
        let bytes = encode_details(&kept).map_err(|error| failed(&name)(io::Error::other(error)))?;
        self.files.replace(&name, &bytes).map_err(failed(&name))
    }

    /// Makes file and slots of a bundle what the ledger says: `in_force` is durable there. Can be repeated.
    fn settle(&self, n: u64, in_force: DetailKey) -> Result<(), ExpireError> {
        let file = details_path(n);
        let failed = |source| ExpireError::File { file: file.clone(), source };
        let generation = in_force.generation();
        // First, because a slot of the other turn is what tells that this is to be done.
        self.files.remove(&beside(n, generation + 1)).map_err(failed)?;
        let destroyed: &[u64] = match in_force {
            DetailKey::Generation(_) => {
                self.files.rename_over(&beside(n, generation), &file).map_err(failed)?;
                &[generation + 1]
            }
            DetailKey::Gone(_) => {
                self.files.remove(&file).map_err(failed)?;
                &[generation, generation + 1]
            }
        };
        for generation in destroyed {
            self.slots
                .destroy(SlotKind::Detail, &detail_slot(n, *generation))
                .map_err(|error| ExpireError::Slot(n, error))?;
        }
        Ok(())
    }

    /// The bundles that have a key which the ledger does not have in force: what [`DetailFiles::settle`] is for.
    pub(super) fn unsettled(&self, in_force: impl Fn(u64) -> DetailKey) -> Vec<u64> {
        let ids = self.slots.list(SlotKind::Detail);
        let left = ids.iter().filter_map(bundle_of).filter(|&(n, turn)| !is_turn_of(in_force(n), turn));
        let mut left: Vec<u64> = left.map(|(n, _)| n).collect();
        left.sort_unstable();
        left.dedup();
        left
    }

    /// Opens the detail of entry `seq` with any key of its bundle that is there.
    pub(super) fn open_detail(&self, seq: u64, sealed: &[u8]) -> io::Result<Sealed> {
        let mut found = Sealed::NoKey;
        for turn in [0, 1] {
            match self.slots.open_secret(SlotKind::Detail, &detail_slot(seq / BUNDLE, turn)) {
                Ok(secret) => match DetailCipher::new(&secret, self.log_id).open_detail(seq, sealed) {
                    Ok(line) => return Ok(Sealed::Opened(line)),
                    Err(_) => found = Sealed::OtherKey,
                },
                Err(SlotError::NotFound) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(found)
    }
}
