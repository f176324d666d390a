//! `play`: a player as our child, with the recording as an inherited descriptor.
//!
//! Must stay the parent until the player has ended: the session ends when this program leaves the bus.

use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::FdFlags;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use zbus::Connection;
use zbus::export::ordered_stream::OrderedStreamExt;

use super::args::OpenArgs;
use super::open::{self, Opened};
use super::player::Player;
use crate::shell::bus::client::Failure;
use crate::shell::terminal;

/// How long a player may take to end after Ctrl-C, which the terminal sends to it too.
const GRACE: Duration = Duration::from_secs(3);

/// Opens the recording and plays it. The exit code is the player's, 128 + signal when a signal ended it.
pub async fn play(bus: &Connection, args: &OpenArgs, player: Player) -> Result<u8, Failure> {
    let Opened { session, descriptor } = open::open(bus, args, "seek").await?;
    let mut ended = session.receive_ended().await?;

    // The one descriptor that the player inherits; ours is closed as soon as it has its own.
    rustix::io::fcntl_setfd(&descriptor, FdFlags::empty()).map_err(|errno| {
        Failure::Unavailable(format!("The recording cannot be handed to a player ({errno})."))
    })?;
    let media = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let mut child =
        Command::new(&player.program).args(player.arguments(&media)).spawn().map_err(|error| {
            Failure::Usage(format!("The player {} cannot be started ({error}).", player.program.display()))
        })?;
    drop(descriptor);

    let mut stop = std::pin::pin!(interrupted());
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = &mut stop => break stopped(&mut child).await,
            Some(signal) = ended.next() => {
                if let Some(words) = signal.args().ok().and_then(|signal| why_ended(&signal.why)) {
                    eprintln!("The session has ended: {words}.");
                }
            }
        }
    };
    // It may have ended with the player already; then there is nothing to close.
    let _ = session.close().await;
    let status = status.map_err(|error| Failure::Unavailable(format!("The player was lost ({error}).")))?;
    Ok(exit_code(status))
}

/// Words for the `why` of the signal `Ended`; none when the viewer or the player ended the session.
fn why_ended(why: &str) -> Option<String> {
    let words = match why {
        "released" | "closed" => return None,
        "expired" => "its time is over",
        "purged" => "the recording was destroyed",
        "restricted" => "a hold restricts the recording",
        "mandate-withdrawn" => "the mandate was withdrawn",
        "rights-ended" => "your grant or mandate allows it no more",
        "policy-changed" => "the policy does not allow it any more",
        "limit-reached" => "the bytes that a day allows were read",
        "service-stopped" => "the service stopped",
        "ledger-unavailable" => "the service cannot write its ledger",
        other => return Some(terminal::clean(other)),
    };
    Some(words.to_owned())
}

/// Ctrl-C, or the wish of a service manager or a closing terminal.
async fn interrupted() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

async fn stopped(child: &mut Child) -> std::io::Result<ExitStatus> {
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.kill().await?;
            child.wait().await
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_player() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(2)), 130, "ended by SIGINT");
    }
}
