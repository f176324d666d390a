//! The agent for terminals: `pkttyagent`, our child for as long as a call may need it, so that polkit can ask for a password where
//! no desktop does.
//!
//! Owns its start and its end. Must never see what is typed: the agent reads the terminal itself. Where there is no terminal, or
//! no such program, nothing is started, and the service says in its refusal what to do.

use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

const PROGRAM: &str = "pkttyagent";
/// The longest wait until it is registered; without it the call goes on.
const READY: Duration = Duration::from_secs(10);
/// How long it may take to give the terminal back.
const END: Duration = Duration::from_secs(2);

/// An agent that runs, or none. Call [`Agent::end`] when the answer is there.
#[derive(Debug)]
pub struct Agent(Option<Child>);

impl Agent {
    /// Starts one for this process, if a person sits at a terminal, and waits until polkit knows it. In a session with an agent of
    /// its own that one stays the one that is asked.
    pub async fn start() -> Self {
        let person = io::stdin().is_terminal() || io::stderr().is_terminal();
        // Root holds no grant, so is never asked.
        if !person || rustix::process::geteuid().is_root() {
            return Self(None);
        }
        Self(start().await.ok())
    }

    /// None: for what asks nobody.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Ends it, and waits until it has given the terminal back.
    pub async fn end(self) {
        let Some(mut child) = self.0 else { return };
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ended = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(END, child.wait()).await.is_err() {
            let _ended = child.kill().await;
        }
    }
}

async fn start() -> io::Result<Child> {
    let (ready, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // The one descriptor that it inherits; it closes it when polkit knows it, or by ending.
    rustix::io::fcntl_setfd(&told, FdFlags::empty())?;
    let child = Command::new(PROGRAM)
        .arg("--process")
        .arg(std::process::id().to_string())
        // Outside a session polkit 122 passes a fallback over.
        .args(in_session().then_some("--fallback"))
        .arg("--notify-fd")
        .arg(told.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    drop(told);
    let _registered = tokio::time::timeout(READY, closed(ready)).await;
    Ok(child)
}

/// Whether this process belongs to a session of the login manager.
fn in_session() -> bool {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    cgroup
        .lines()
        .any(|line| line.rsplit('/').any(|part| part.starts_with("session-") && part.ends_with(".scope")))
}

/// Waits until nobody can write into the pipe any more.
async fn closed(ready: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&ready, true)?;
    let ready = pipe::Receiver::from_owned_fd(ready)?;
    loop {
        ready.readable().await?;
        match ready.try_read(&mut [0; 16]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
