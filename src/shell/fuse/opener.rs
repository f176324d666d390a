//! Opens files on our own mount, on a thread that does not hold the FUSE device.
//!
//! A thread that waits for an answer of FUSE cannot be killed, and as long as it lives so does its table of descriptors.
//! With the device in that table, a daemon killed while it opens would wait for ever for its own threads, which are gone:
//! the state directory stays locked until the machine is restarted. So this thread has a table of its own, with the mount
//! and a socket in it; when the others are gone the kernel closes the device, and the wait ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::detached;
use super::shared::Shared;
use crate::shell::sys::own_table;

/// Longest name that is asked for: a session id has 26 bytes.
const MAX_NAME_BYTES: usize = 64;

/// The way to the thread that opens. Dropping it ends the thread.
pub struct Opener(OwnedFd);

impl Opener {
    /// Starts the thread for the files of `mount`. `shared` is told when it opens: that request is the daemon's own.
    pub fn start(mount: &OwnedFd, shared: Arc<Shared>) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let numbers = [mount.as_raw_fd(), theirs.as_raw_fd()];
        let (ready, is_ready) = sync_channel(1);
        let work = move || {
            let table = own_table::keep_only(numbers);
            let _gave_up = ready.send(table.as_ref().map(|_| ()).map_err(|error| error.kind()));
            if let Ok([mount, socket]) = table {
                // Ends when the other side is closed.
                while serve(&mount, &socket, &shared).is_ok() {}
            }
        };
        std::thread::Builder::new().name("opener".into()).spawn(work)?;
        // `theirs` stays open here until the thread has its copy.
        is_ready.recv().map_err(io::Error::other)?.map_err(io::Error::from)?;
        drop(theirs);
        Ok(Self(ours))
    }

    /// Opens the file `name` of the mount, read-only.
    pub fn open(&self, name: &str) -> io::Result<OwnedFd> {
        let mut nothing = SendAncillaryBuffer::new(&mut []);
        sendmsg(&self.0, &[IoSlice::new(name.as_bytes())], &mut nothing, SendFlags::NOSIGNAL)?;
        let mut errno = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut descriptors = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut errno)], &mut descriptors, RecvFlags::CMSG_CLOEXEC)?;
        let opened = descriptors.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut opened) => opened.next(),
            _ => None,
        });
        match (opened, i32::from_le_bytes(errno)) {
            (Some(opened), _) => Ok(opened),
            (None, errno) if received.bytes == 4 && errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Answers one question.
fn serve(mount: &OwnedFd, socket: &OwnedFd, shared: &Shared) -> io::Result<()> {
    let mut name = [0; MAX_NAME_BYTES];
    let mut nothing = RecvAncillaryBuffer::new(&mut []);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut name)], &mut nothing, RecvFlags::empty())?;
    let name = name.get(..received.bytes).and_then(|name| str::from_utf8(name).ok());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    shared.set_opening(true);
    let opened = detached::open(mount, name);
    shared.set_opening(false);
    let errno = match &opened {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut descriptors = SendAncillaryBuffer::new(&mut space);
    let opened = opened.ok();
    let borrowed = opened.as_ref().map(|opened| [opened.as_fd()]);
    if let Some(opened) = &borrowed {
        descriptors.push(SendAncillaryMessage::ScmRights(opened));
    }
    sendmsg(socket, &[IoSlice::new(&errno.to_le_bytes())], &mut descriptors, SendFlags::NOSIGNAL)?;
    Ok(())
}
