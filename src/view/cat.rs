//! `cat`: a recording written to standard output, once, from start to end.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};

use zbus::Connection;

use super::args::OpenArgs;
use super::open::{self, Opened};
use crate::shell::bus::client::Failure;

/// Bytes copied at once: large enough that a read is one request to the service, of the size it likes.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A terminal must not get the bytes of a recording.
pub fn check_output() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "Standard output is a terminal, so nothing was opened; send the recording to a pipe or a file."
                .into(),
        ));
    }
    Ok(())
}

/// Copies the recording. Ends early, and well, when the reader of the pipe has gone.
pub async fn cat(bus: &Connection, args: &OpenArgs) -> Result<u8, Failure> {
    let Opened { session, descriptor } = open::open(bus, args, "stream").await?;
    let copying = tokio::task::spawn_blocking(move || copy(File::from(descriptor), io::stdout().lock()));
    let result = tokio::select! {
        result = copying => result.unwrap_or_else(|error| Err(Stopped::Reading(io::Error::other(error)))),
        _ = tokio::signal::ctrl_c() => return Ok(130),
    };
    // It ends with the last copy of the descriptor anyway; this only makes it end now.
    let _ = session.close().await;
    match result {
        Ok(()) => Ok(0),
        Err(Stopped::Writing(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        Err(Stopped::Writing(error)) => Err(Failure::Refused(format!(
            "The output cannot be written ({error}); what was read stays recorded."
        ))),
        Err(Stopped::Reading(error))
            if error.raw_os_error() == Some(rustix::io::Errno::STALE.raw_os_error()) =>
        {
            Err(Failure::Refused(
                "The session ended before the recording did; open it again if you may.".into(),
            ))
        }
        Err(Stopped::Reading(error)) => {
            Err(Failure::Refused(format!("The recording cannot be read ({error}).")))
        }
    }
}

/// Where a copy stopped.
#[derive(Debug)]
enum Stopped {
    Reading(io::Error),
    Writing(io::Error),
}

/// Plain reads and writes. `io::copy` would try `sendfile` and `splice`, which an accountable descriptor refuses
/// because they fill the page cache with plaintext (design §7).
fn copy(mut from: impl Read, mut to: impl Write) -> Result<(), Stopped> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return to.flush().map_err(Stopped::Writing),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Stopped::Reading(error)),
        };
        to.write_all(buffer.get(..length).unwrap_or_default()).map_err(Stopped::Writing)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied_once() {
        let bytes: Vec<u8> = (0..3 * BUFFER_BYTES + 17).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut out = Vec::new();
        copy(bytes.as_slice(), &mut out).unwrap();
        assert!(out == bytes);
    }

    #[test]
    fn an_error_says_on_which_side_it_was() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::StaleNetworkFileHandle.into())
            }
        }
        assert!(matches!(copy(Fails, Vec::new()), Err(Stopped::Reading(_))));
        let mut full = [0_u8; 3];
        assert!(matches!(copy(&b"abcd"[..], full.as_mut_slice()), Err(Stopped::Writing(_))));
    }
}
