//! The service manager: what the daemon tells it, and the credential it hands over.
//!
//! Must never fail a request: without a service manager telling it something does nothing. Credential bytes are wiped
//! when dropped, and stand in no error.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use zeroize::Zeroizing;

/// A credential longer than this is none of ours.
const MAX_CREDENTIAL_BYTES: usize = 4096;

/// Start-up is over, with one line of status.
///
/// # Errors
/// The service manager's socket is named but cannot be reached; the same for the functions below.
pub fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// One line of status, shown by `systemctl status`.
///
/// # Errors
/// As [`ready`].
pub fn status(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(status))])
}

/// The daemon began to stop.
///
/// # Errors
/// As [`ready`].
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// The daemon lives. To be called each [`watchdog_period`].
///
/// # Errors
/// As [`ready`].
pub fn watchdog() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// How often [`watchdog`] is to be called: half the time the unit allows. `None` when it asks for none.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|period| !period.is_zero())
}

/// Reads the credential `name` from the folder that `$CREDENTIALS_DIRECTORY` names.
///
/// # Errors
/// It is missing, unreadable, empty, longer than 4096 bytes, or not a regular file.
pub fn read_credential(credentials_dir: &Path, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(credentials_dir.join(name))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the credential is not a regular file"));
    }
    // Room for all of it from the start: a vector that grows leaves copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_CREDENTIAL_BYTES + 1));
    file.take(MAX_CREDENTIAL_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.is_empty() || bytes.len() > MAX_CREDENTIAL_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the credential is empty or longer than 4096 bytes",
        ));
    }
    Ok(bytes)
}

/// Assignments are separated by line feeds: text of ours must not smuggle one in.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_read_whole_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_credential(dir.path(), "greffier.master").is_err(), "missing");
        let file = dir.path().join("greffier.master");
        for (length, good) in [(0, false), (1, true), (32, true), (4096, true), (4097, false)] {
            std::fs::write(&file, vec![7; length]).unwrap();
            let read = read_credential(dir.path(), "greffier.master");
            assert_eq!(read.is_ok(), good, "{length}");
            if let Ok(bytes) = read {
                assert_eq!(*bytes, vec![7; length]);
            }
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(read_credential(dir.path(), "greffier.master").is_err(), "a folder");
    }

    #[test]
    fn a_status_stays_one_assignment() {
        assert_eq!(one_line("a\nREADY=1\0b"), "a READY=1 b");
    }
}
