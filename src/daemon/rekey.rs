//! A new epoch key, at each start and each period (design §5), so that who takes the machine later cannot sign the past.
//!
//! In order: new key durable in a slot · `ledger.rekeyed` durable under the old one: the commit point · its checkpoint durable
//! in `checkpoints/` · old slot destroyed, old key wiped in memory. A crash between any two leaves two slots; which key is
//! in force, the ledger says at the next start, which changes the key again and destroys all others. Must never destroy a
//! slot before the ledger has said that its key is left behind.

use std::sync::Arc;
use std::time::Duration;

use super::errors::chain;
use super::health::Part;
use super::service::Service;
use crate::core::format::slot::{SlotId, SlotKind};
use crate::core::refusal::Refusal;
use crate::shell::crypt::{BulkSha256, Secret, Signer};
use crate::shell::disk::slots::SlotError;

/// How long after a failure the next attempt is made.
const AGAIN: Duration = Duration::from_secs(60);
/// A head is kept in `checkpoints/` at least this often.
const KEPT_HEAD: Duration = Duration::from_secs(86_400);

/// Why the epoch key was not changed, or the old one not destroyed. The next attempt brings both to an end.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// A slot.
    #[error("the slot of an epoch key cannot be used")]
    Slot(#[from] SlotError),
    /// The ledger. Whether the new key is in force is decided by what becomes durable.
    #[error("{0}")]
    Ledger(Refusal),
}

impl Service {
    /// Changes the epoch key, and destroys every other.
    pub(super) async fn rekey(self: &Arc<Self>) -> Result<(), RekeyError> {
        let service = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            let secret = Secret::generate().map_err(SlotError::Randomness)?;
            let signer = Signer::new(&secret);
            let id = epoch_id(&signer.public());
            service.slots.create(SlotKind::Epoch, id, &secret)?;
            Ok::<_, SlotError>((signer, id))
        });
        let (signer, id) = made.await.map_err(|_| RekeyError::Ledger(Refusal::internal()))??;
        // The writer drops, and so wipes, the old key when it takes the new one.
        self.ledger.rekey(signer).await.map_err(RekeyError::Ledger)?;
        let service = self.clone();
        let destroyed = tokio::task::spawn_blocking(move || service.destroy_epoch_keys_but(&id));
        Ok(destroyed.await.map_err(|_| RekeyError::Ledger(Refusal::internal()))??)
    }

    /// Destroys the epoch keys that the ledger has left behind.
    fn destroy_epoch_keys_but(&self, current: &SlotId) -> Result<(), SlotError> {
        let mut old = self.slots.list(SlotKind::Epoch).into_iter().filter(|id| id != current);
        old.try_for_each(|id| self.slots.destroy(SlotKind::Epoch, &id).map(|_| ()))
    }

    /// Changes the key each period, and keeps one head a day where the period is longer.
    pub(super) async fn follow_rekey(self: Arc<Self>) {
        let period = Duration::from_secs(self.config.ledger.rekey.about_seconds());
        let mut stopping = self.stopping.subscribe();
        let mut left = period;
        loop {
            let wait = left.min(KEPT_HEAD);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.changed() => return,
            }
            left = left.saturating_sub(wait);
            if !left.is_zero() {
                self.keep_head().await;
                continue;
            }
            match self.rekey().await {
                Ok(()) => {
                    self.health.mend(Part::Rekey);
                    left = period;
                }
                Err(error) => {
                    log::error!("the epoch key was not changed: {}", chain(&error));
                    let why = "The key that signs the ledger could not be changed; the journal says why.";
                    self.health.degrade(Part::Rekey, why);
                    left = AGAIN;
                }
            }
        }
    }

    async fn keep_head(self: &Arc<Self>) {
        let service = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let head = service.ledger.head();
            service.reader.keep_checkpoint(head.size, &head.checkpoint)
        });
        if let Ok(Err(error)) = kept.await {
            log::warn!("the head of the day could not be kept, ignoring: {error}");
        }
    }
}

/// The slot id of an epoch key: the first 16 bytes of SHA-256(public key).
fn epoch_id(public: &[u8; 32]) -> SlotId {
    let mut digest = BulkSha256::new();
    digest.update(public);
    let digest = digest.finish().0;
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(slot, byte)| *slot = byte);
    id
}
