//! Read leases (`fcntl(2)`, `F_SETLEASE`): the kernel's word that nobody has a file open for writing.
//!
//! Owns the three calls. Must never decide what a broken lease means.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `F_SETSIG` of `asm-generic/fcntl.h`; the `libc` crate names it for few targets.
const F_SETSIG: libc::c_int = 10;

/// Takes a read lease on `file`, which must be a regular file opened read-only.
///
/// Errors: `WouldBlock` while anybody has the file open for writing (or mapped writable); `PermissionDenied` without
/// `CAP_LEASE` on another user's file; `InvalidInput` where the file system knows no leases.
///
/// Who opens the file for writing or truncates it later is held back by the kernel for up to
/// `/proc/sys/fs/lease-break-time` seconds, and [`holds_read_lease`] turns false. The lease ends when `file` is closed.
pub fn take_read_lease(file: impl AsFd) -> io::Result<()> {
    // The kernel announces a break with SIGIO, whose default action ends the process. SIGURG is ignored by default.
    command(&file, F_SETSIG, libc::SIGURG)?;
    command(&file, libc::F_SETLEASE, libc::F_RDLCK).map(|_| ())
}

/// Whether the lease on `file` still stands: false from the moment somebody began to break it.
pub fn holds_read_lease(file: impl AsFd) -> io::Result<bool> {
    Ok(command(&file, libc::F_GETLEASE, 0)? == libc::F_RDLCK)
}

/// Gives the lease back, which lets a waiting writer go on.
pub fn release_lease(file: impl AsFd) -> io::Result<()> {
    command(&file, libc::F_SETLEASE, libc::F_UNLCK).map(|_| ())
}

fn command(file: &impl AsFd, command: libc::c_int, argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the descriptor is borrowed, so it is open for the whole call; the three commands used here take an
    // integer or nothing, so the kernel reads and writes no memory of this process.
    let answer = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};

    #[test]
    fn a_lease_is_refused_while_the_file_is_open_for_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("call.wav");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(take_read_lease(&reader).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(writer);
        take_read_lease(&reader).unwrap();
        assert!(holds_read_lease(&reader).unwrap());
    }

    #[test]
    fn a_break_shows_and_does_not_end_the_process() {
        use std::os::unix::fs::OpenOptionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("call.wav");
        File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        take_read_lease(&reader).unwrap();
        let writer = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert_eq!(writer.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!holds_read_lease(&reader).unwrap());
        release_lease(&reader).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap();
    }
}
