//! A thread with a table of descriptors of its own (unshare(2), close_range(2)).
//!
//! Must never touch the table of the other threads.
#![expect(unsafe_code, reason = "no safe crate at hand offers a table of descriptors for one thread")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a table of descriptors of its own that holds copies of `kept` and nothing else, and returns
/// these copies. Everything that other threads hold stays open there, and they must keep `kept` open until this returns.
///
/// To be called first thing on a new thread: what it already owns would be closed under it.
///
/// # Errors
/// The kernel refuses; or one of `kept` is not open.
pub fn keep_only(kept: [RawFd; 2]) -> io::Result<[OwnedFd; 2]> {
    // SAFETY: with this flag alone only the table of this thread changes, and the copies have the same numbers.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    let [low, high] = if kept[0] < kept[1] { kept } else { [kept[1], kept[0]] };
    for (first, last) in [(0, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        if first <= last {
            close_range(first, last)?;
        }
    }
    // SAFETY: both numbers are open in this table alone, where nothing else owns them.
    Ok(kept.map(|number| unsafe { OwnedFd::from_raw_fd(number) }))
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    let number = |fd: RawFd| libc::c_uint::try_from(fd).map_err(io::Error::other);
    // SAFETY: closes copies in the table of this thread, which by contract owns none of them.
    let answer = unsafe { libc::close_range(number(first)?, number(last)?, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_thread_has_only_what_it_keeps_and_the_others_lose_nothing() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = File::open("/proc/version").unwrap();
        let (numbers, other) = ([theirs.as_raw_fd(), file.as_raw_fd()], ours.as_raw_fd());
        let answer = std::thread::spawn(move || {
            let [socket, file] = keep_only(numbers).unwrap();
            let closed = rustix::io::fcntl_getfd(rustix_borrow(other)).is_err();
            let mut start = [0; 5];
            File::from(file).read_exact(&mut start).unwrap();
            UnixStream::from(socket).write_all(&start).unwrap();
            closed
        });
        assert!(answer.join().unwrap(), "the thread still holds a descriptor of the others");
        let mut start = [0; 5];
        (&ours).read_exact(&mut start).unwrap();
        assert_eq!(&start, b"Linux");
        drop(file);
    }

    fn rustix_borrow(number: RawFd) -> std::os::fd::BorrowedFd<'static> {
        // SAFETY: only asked whether it is open.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
    }
}
