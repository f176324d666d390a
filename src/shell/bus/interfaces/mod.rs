//! The interfaces on the bus: signatures and documentation, nothing else (design §11).
//!
//! Each method: who calls, are there too many calls of that user, translate, ask the archive in a task of its own. A
//! panic there becomes `Internal`, never silence; no lock is held over a reply. Must never decide, nor take an identity
//! from an argument.

mod ledger;
mod manager;
mod recordings;
mod registers;
mod retention;
mod reviews;
mod scrub;

pub use ledger::LedgerInterface;
pub use manager::{ManagerInterface, announce_emergency, announce_state};
pub use recordings::{RecordingsInterface, SessionInterface, announce_end, session_path};
pub use registers::RegistersInterface;
pub use retention::{HoldInterface, RetentionInterface, hold_path};
pub use reviews::ReviewsInterface;
pub use scrub::{SCRUB, ScrubInterface};

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use zbus::message::Header;

use super::archive::{Answer, Archive};
use super::caller::{Caller, Callers};
use super::wire::BusError;
use crate::core::refusal::{Refusal, RefusalKind};

/// Well-known name on the bus.
pub const NAME: &str = "org.greffier.Archive1";
/// Root object.
pub const ROOT: &str = "/org/greffier/Archive1";
/// Calls of one user that may be in flight.
const IN_FLIGHT: u32 = 16;

/// What every interface holds.
pub struct Desk<A> {
    archive: Arc<A>,
    callers: Arc<Callers>,
    in_flight: Arc<Mutex<HashMap<u32, u32>>>,
}

impl<A> Clone for Desk<A> {
    fn clone(&self) -> Self {
        Self {
            archive: self.archive.clone(),
            callers: self.callers.clone(),
            in_flight: self.in_flight.clone(),
        }
    }
}

impl<A: Archive> Desk<A> {
    /// For the calls that arrive where `callers` looks.
    pub fn new(archive: Arc<A>, callers: Arc<Callers>) -> Self {
        Self { archive, callers, in_flight: Arc::default() }
    }

    /// Identifies the caller and runs `call` for him.
    async fn run<T, F>(
        &self,
        header: &Header<'_>,
        call: impl FnOnce(Arc<A>, Caller) -> F + Send,
    ) -> Result<T, BusError>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let nobody = || Refusal::new(RefusalKind::Denied, "The message bus does not say who you are.");
        let sender = header.sender().ok_or_else(nobody)?;
        let caller = self.callers.identify(sender).await.map_err(|error| {
            log::warn!("a caller could not be identified: {error}");
            nobody()
        })?;
        let _admitted = Admitted::new(&self.in_flight, caller.uid)?;
        let task = tokio::spawn(call(self.archive.clone(), caller));
        let answer = task.await.unwrap_or_else(|panic| {
            log::error!("a call panicked: {panic}");
            Err(Refusal::internal())
        });
        Ok(answer?)
    }
}

/// A call that counts against its user's bound until it ends.
struct Admitted {
    uid: u32,
    in_flight: Arc<Mutex<HashMap<u32, u32>>>,
}

impl Admitted {
    fn new(in_flight: &Arc<Mutex<HashMap<u32, u32>>>, uid: u32) -> Result<Self, Refusal> {
        let mut counts = in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid).or_default();
        if *count >= IN_FLIGHT {
            let sentence = format!("You have {IN_FLIGHT} calls in flight; wait for one to be answered.");
            return Err(Refusal::new(RefusalKind::LimitReached, sentence));
        }
        *count += 1;
        Ok(Self { uid, in_flight: in_flight.clone() })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventeenth_call_in_flight_is_refused_and_a_finished_one_makes_room() {
        let in_flight = Arc::default();
        let mut held: Vec<_> = (0..IN_FLIGHT).map(|_| Admitted::new(&in_flight, 5).unwrap()).collect();
        assert!(Admitted::new(&in_flight, 5).is_err());
        assert!(Admitted::new(&in_flight, 6).is_ok());
        held.pop();
        assert!(Admitted::new(&in_flight, 5).is_ok());
    }
}
