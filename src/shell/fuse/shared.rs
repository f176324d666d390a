//! What the threads of the mount and the daemon have in common: the table of sessions.
//!
//! Owns inode numbers, which are never used twice. Must never keep content: that is [`Served`]'s.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::core::ids::SessionId;
use crate::core::time::Moment;

use super::buffers::Buffers;
use super::helpers::Helpers;
use super::served::Served;
use super::turns::Turns;
use super::{FuseEvent, Serving};

/// Shared by all threads of one mount.
pub struct Shared {
    /// Where events go. Called on a thread of the mount: it must not block.
    pub events: Box<dyn Fn(FuseEvent) + Send + Sync>,
    /// The clocks.
    pub clock: Box<dyn Fn() -> Moment + Send + Sync>,
    /// Buffers for replies.
    pub buffers: Buffers,
    /// Which threads of the mount may read the disk now.
    pub turns: Turns,
    /// Threads for reads that would keep the mount waiting.
    pub helpers: Arc<Helpers>,
    /// True once the daemon ends the mount itself.
    pub stopping: AtomicBool,
    opener: AtomicU32,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    last_inode: u64,
    by_inode: HashMap<u64, Arc<Served>>,
    by_session: HashMap<SessionId, Arc<Served>>,
}

/// Nobody is opening.
const NOBODY: u32 = 0;
/// The root directory has inode 1.
const ROOT_INODE: u64 = 1;

impl Shared {
    /// An empty table. `readers`: threads of the mount that may read the disk at the same time.
    pub fn new(
        events: Box<dyn Fn(FuseEvent) + Send + Sync>,
        clock: Box<dyn Fn() -> Moment + Send + Sync>,
        readers: usize,
    ) -> Self {
        let table = Table { last_inode: ROOT_INODE, ..Table::default() };
        Self {
            events,
            clock,
            buffers: Buffers::default(),
            turns: Turns::new(readers),
            helpers: Arc::default(),
            stopping: AtomicBool::new(false),
            opener: AtomicU32::new(NOBODY),
            table: RwLock::new(table),
        }
    }

    /// Enters a session; `None` when it is there already.
    pub fn insert(&self, serving: Serving) -> Option<Arc<Served>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.by_session.contains_key(&serving.session) {
            return None;
        }
        table.last_inode = table.last_inode.checked_add(1)?;
        let served = Arc::new(Served::new(serving, table.last_inode));
        table.by_inode.insert(served.inode, Arc::clone(&served));
        table.by_session.insert(served.session, Arc::clone(&served));
        Some(served)
    }

    /// Takes a session out: every later request for its file finds nothing.
    pub fn remove(&self, session: &SessionId) -> Option<Arc<Served>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let served = table.by_session.remove(session)?;
        table.by_inode.remove(&served.inode);
        Some(served)
    }

    /// The session with this inode.
    pub fn by_inode(&self, inode: u64) -> Option<Arc<Served>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_inode.get(&inode).cloned()
    }

    /// The session with this id.
    pub fn by_session(&self, session: &SessionId) -> Option<Arc<Served>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_session.get(session).cloned()
    }

    /// The session whose id is `name`.
    pub fn by_name(&self, name: &OsStr) -> Option<Arc<Served>> {
        self.by_session(&name.to_str()?.parse().ok()?)
    }

    /// All sessions.
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_inode.values().cloned().collect()
    }

    /// Says that the calling thread of the daemon is about to open, or has done so.
    pub fn set_opening(&self, opening: bool) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        self.opener.store(if opening { thread } else { NOBODY }, Ordering::SeqCst);
    }

    /// Whether a request of thread `pid` is the daemon's own opening. The kernel reports the thread, not the process.
    pub fn is_daemon(&self, pid: u32) -> bool {
        pid != NOBODY && pid == self.opener.load(Ordering::SeqCst)
    }
}
