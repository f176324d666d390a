//! Who calls: the uid as the bus daemon reports it, and the evidence about the process behind it (design §7).
//!
//! Owns the questions to the bus daemon and the reads of `/proc`. The uid alone decides; everything else is written down
//! as seen. Must never take identity from an argument, and never believe a process id whose process may be another one
//! by now.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, OwnedUniqueName, UniqueName};

/// Connections whose process is kept by descriptor. More are served as well, only asked again.
const MAX_KNOWN: usize = 256;
/// Longest text kept from `/proc`: an executable's path can be made as long as its owner likes.
const MAX_TEXT_BYTES: usize = 512;
/// Longest `/proc` file read.
const MAX_PROC_BYTES: u64 = 16 * 1024;
/// What the kernel says for "nobody logged in" (`(uid_t)-1`).
const UNSET: u32 = u32::MAX;

/// One caller, as seen while the call is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The uid that the bus daemon took from the socket. It alone decides.
    pub uid: u32,
    /// The account's name. `None` from here: the daemon asks `shell::users`, which may block.
    pub user: Option<String>,
    /// Process id, in the daemon's own namespace.
    pub pid: Option<u32>,
    /// Executable, as the kernel names it; bytes that are not UTF-8 are replaced, long ones cut.
    pub exe: Option<String>,
    /// Audit login uid: who logged in, whatever `su` or `sudo` made of it since. `None`: nobody, or unknown.
    pub login_uid: Option<u32>,
    /// Audit session id.
    pub login_session: Option<u32>,
    /// The system unit, from the control group: a service, or the scope of a login session.
    pub unit: Option<String>,
    /// The unique name on the bus, which is never given to anybody else while the bus lives.
    pub bus_name: String,
    /// Whether the process lived, under this id, from before the evidence was read until after. Otherwise there is none
    /// (`pid` apart), and the detail says `"process":"unconfirmed"`.
    pub confirmed: bool,
}

/// Nobody can be named for this call, so it is refused.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// The bus daemon does not answer, or the caller is gone.
    #[error("the message bus does not say who {name} is; call again")]
    Bus {
        /// The unique name.
        name: String,
        /// What the bus said.
        source: zbus::fdo::Error,
    },
    /// The bus daemon knows no uid for this connection.
    #[error("the message bus reports no user id for {0}; only local callers are served")]
    NoUid(String),
}

/// Callers of one bus connection.
#[derive(Debug)]
pub struct Callers {
    bus: DBusProxy<'static>,
    known: Mutex<HashMap<OwnedUniqueName, Arc<Peer>>>,
}

/// What stays true for a connection as long as it lives.
#[derive(Debug)]
struct Peer {
    uid: u32,
    pid: Option<u32>,
    /// Opened while the bus still tied this pid to the connection.
    process: Option<OwnedFd>,
}

impl Callers {
    /// For the callers that reach us over `connection`.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn new(connection: &zbus::Connection) -> zbus::Result<Self> {
        Ok(Self { bus: DBusProxy::new(connection).await?, known: Mutex::default() })
    }

    /// Who `sender` is. Two questions to the bus daemon at the first call of a connection, none later.
    ///
    /// # Errors
    /// The caller cannot be named and has to be refused.
    pub async fn identify(&self, sender: &UniqueName<'_>) -> Result<Caller, CallerError> {
        let known = self.known().get(sender.as_str()).cloned();
        let peer = match known {
            Some(peer) => peer,
            None => {
                let peer = Arc::new(self.ask(sender).await?);
                let mut known = self.known();
                // A full table is emptied, not searched: every entry can be asked for again.
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                known.insert(sender.to_owned().into(), Arc::clone(&peer));
                peer
            }
        };
        Ok(seen(&peer, sender))
    }

    /// Closes what is held for a connection; to be called when `NameOwnerChanged` says that it is gone.
    pub fn forget(&self, sender: &str) {
        self.known().remove(sender);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<OwnedUniqueName, Arc<Peer>>> {
        // Nothing is left half done under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, sender: &UniqueName<'_>) -> Result<Peer, CallerError> {
        let name = || BusName::Unique(sender.to_owned());
        let failed = |source| CallerError::Bus { name: sender.to_string(), source };
        let credentials = self.bus.get_connection_credentials(name()).await.map_err(failed)?;
        let uid = credentials.unix_user_id().ok_or_else(|| CallerError::NoUid(sender.to_string()))?;
        let pid = credentials.process_id();
        // A bus daemon that hands out the process itself leaves nothing to confirm.
        if let Some(process) = credentials.into_process_fd() {
            return Ok(Peer { uid, pid, process: Some(process.into()) });
        }
        let mut process = pid.and_then(open_process);
        // Only if the connection still stands does the descriptor belong to the process that opened it.
        if process.is_some() && self.bus.get_connection_unix_process_id(name()).await.ok() != pid {
            process = None;
        }
        Ok(Peer { uid, pid, process })
    }
}

/// Reads the evidence, then looks whether the process was there all the time.
fn seen(peer: &Peer, sender: &UniqueName<'_>) -> Caller {
    let mut caller = Caller {
        uid: peer.uid,
        user: None,
        pid: peer.pid,
        exe: None,
        login_uid: None,
        login_session: None,
        unit: None,
        bus_name: sender.to_string(),
        confirmed: false,
    };
    if let (Some(pid), Some(process)) = (peer.pid, &peer.process) {
        // procfs answers from memory: too short to be worth another thread.
        let folder = Path::new("/proc").join(pid.to_string());
        let exe = fs::read_link(folder.join("exe")).ok().map(|path| bounded(path.as_os_str().as_bytes()));
        let login_uid = read_number(&folder.join("loginuid"));
        let login_session = read_number(&folder.join("sessionid"));
        let unit = read_start(&folder.join("cgroup")).ok().and_then(|text| unit_of(&text));
        if lives(process) {
            caller = Caller { exe, login_uid, login_session, unit, confirmed: true, ..caller };
        }
    }
    caller
}

fn open_process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// A process descriptor becomes readable when its process ends.
fn lives(process: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut ended, PollTimeout::ZERO) == Ok(0)
}

fn read_number(path: &Path) -> Option<u32> {
    let number = str::from_utf8(&read_start(path).ok()?).ok()?.trim_end().parse().ok()?;
    (number != UNSET).then_some(number)
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_PROC_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first service or scope on the control group's path. What comes below it is named by the user, not by the system.
fn unit_of(cgroup: &[u8]) -> Option<String> {
    let path = cgroup
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(b"0::").or_else(|| line.strip_prefix(b"1:name=systemd:")))?;
    let unit =
        path.split(|&b| b == b'/').find(|part| part.ends_with(b".service") || part.ends_with(b".scope"))?;
    Some(bounded(unit))
}

/// Text from outside: never longer than [`MAX_TEXT_BYTES`], always UTF-8.
fn bounded(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
