//! What the mount answers to the kernel: one directory that lists nothing, and one file for each session.
//!
//! Owns the answers and their error numbers. Must never answer a READ that has no lock owner (the kernel's page cache),
//! nor ask for `FUSE_DIRECT_IO_ALLOW_MMAP` (invariant 9).

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyXattr, Request,
};

use super::FuseEvent;
use super::ahead;
use super::buffers::MAX_READ_BYTES;
use super::served::{Reading, Refusal, Served};
use super::shared::Shared;

/// How long the kernel may remember size and owner of a file: they never change.
const ATTRIBUTES_HOLD: Duration = Duration::from_secs(3600);

/// The kernel's side of [`super::FuseMount`].
pub struct Archive(pub Arc<Shared>);

impl Archive {
    /// Turns a refusal into its error number, and tells the daemon what it must know.
    fn refuse(&self, served: &Served, request: &Request, refusal: Refusal) -> Errno {
        match refusal {
            Refusal::Foreign { first } => {
                if first {
                    (self.0.events)(FuseEvent::ForeignAccess {
                        session: served.session,
                        uid: request.uid(),
                        pid: request.pid(),
                        executable: executable_of(request.pid()),
                    });
                }
                Errno::EACCES
            }
            Refusal::CacheFill | Refusal::NotArmed => Errno::EACCES,
            Refusal::Expired { first } => {
                if first {
                    (self.0.events)(FuseEvent::Expired(served.session));
                }
                Errno::ESTALE
            }
            Refusal::OverLimit | Refusal::Revoked => Errno::ESTALE,
        }
    }

    fn note_reader(served: &Served, pid: u32) {
        if served.is_new_reader(pid)
            && let Some(executable) = executable_of(pid)
        {
            served.note_executable(executable);
        }
    }

    fn try_open(&self, request: &Request, inode: u64, flags: OpenFlags) -> Result<FopenFlags, Errno> {
        let served = self.0.by_inode(inode).ok_or(Errno::ESTALE)?;
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return Err(Errno::EACCES);
        }
        if self.0.is_daemon(request.pid()) {
            if !served.admits_daemon() {
                return Err(Errno::ESTALE);
            }
        } else {
            let now = (self.0.clock)();
            served.check(request.uid(), &now).map_err(|refusal| self.refuse(&served, request, refusal))?;
            Self::note_reader(&served, request.pid());
        }
        served.opened();
        let seekless = if served.seekable { FopenFlags::empty() } else { FopenFlags::FOPEN_NONSEEKABLE };
        Ok(FopenFlags::FOPEN_DIRECT_IO | seekless)
    }

    /// Admits a READ and has it answered: on this thread, or on another when the disk stands still.
    fn admit(&self, request: &Request, served: &Arc<Served>, read: Read, caches: bool, reply: ReplyData) {
        let now = (self.0.clock)();
        let reading = match served.begin_read(request.uid(), caches, &now, reply) {
            Ok(reading) => reading,
            Err((reply, refusal)) => return reply.error(self.refuse(served, request, refusal)),
        };
        Self::note_reader(served, request.pid());
        match self.0.turns.take() {
            Some(_turn) => answer(&self.0, reading, read),
            None => {
                let shared = Arc::clone(&self.0);
                self.0.helpers.run(Box::new(move || {
                    if !reading.is_answered() {
                        answer(&shared, reading, read);
                    }
                }));
            }
        }
    }
}

/// What a READ asks for.
#[derive(Clone, Copy)]
struct Read {
    offset: u64,
    size_bytes: u32,
}

/// Fills, grants and answers an admitted read. Waits for the disk.
fn answer(shared: &Shared, mut reading: Reading, Read { offset, size_bytes }: Read) {
    let wanted = usize::try_from(size_bytes.min(MAX_READ_BYTES)).unwrap_or(0);
    // Given back before `reading` ends: an end that waits for the read can wipe this buffer.
    let (mut buffer, filled) = ahead::fill(shared, &reading, offset, wanted);
    let length = match filled {
        Ok(length) => length,
        Err(error) => {
            buffer.wipe();
            let session = reading.served().session;
            if reading.served().is_first_failure(&error) {
                (shared.events)(FuseEvent::DamagedRead { session, offset, error });
            }
            drop(buffer);
            return reading.fail(Errno::EIO);
        }
    };
    let reply = match reading.grant(offset, length, &(shared.clock)()) {
        Ok(reply) => reply,
        Err(refusal) => {
            buffer.wipe();
            let served = reading.served();
            match refusal {
                Refusal::Expired { first: true } => (shared.events)(FuseEvent::Expired(served.session)),
                Refusal::OverLimit => {
                    (shared.events)(FuseEvent::OverLimit(served.session));
                    // A smaller read would still fit: the session is over all the same.
                    served.revoke();
                }
                _ => {}
            }
            drop(buffer);
            return reading.fail(Errno::ESTALE);
        }
    };
    // Said before the reply: the next READ may come before this thread goes on.
    let more = ahead::plan(shared, &reading, offset, length, wanted);
    reply.data(buffer.filled(length));
    drop(buffer);
    reading.written();
    if let Some(more) = more {
        more.read(shared, &reading);
    }
}

impl Filesystem for Archive {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // It bounds READ requests too: the kernel derives the largest one from it.
        config.set_max_write(MAX_READ_BYTES).map(|_| ()).map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        // Nobody but the daemon has a way to this directory; nobody but the daemon may find out what is in it.
        let found =
            (parent == INodeNo::ROOT && self.0.is_daemon(request.pid())).then(|| self.0.by_name(name));
        match found.flatten() {
            Some(served) => {
                reply.entry_with_ttls(&ATTRIBUTES_HOLD, &Duration::ZERO, &file(&served), Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        if inode == INodeNo::ROOT {
            return reply.attr(&ATTRIBUTES_HOLD, &attributes(1, FileType::Directory, 0, 0));
        }
        match self.0.by_inode(inode.0) {
            Some(served) => reply.attr(&ATTRIBUTES_HOLD, &file(&served)),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.try_open(request, inode.0, flags) {
            Ok(flags) => reply.opened(FileHandle(0), flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(served) = self.0.by_inode(inode.0) else { return reply.error(Errno::ESTALE) };
        self.admit(request, &served, Read { offset, size_bytes: size }, lock_owner.is_none(), reply);
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let last = self.0.by_inode(inode.0).filter(|served| served.released());
        reply.ok();
        if let Some(served) = last {
            (self.0.events)(FuseEvent::LastRelease(served.session));
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, _offset: u64, reply: ReplyDirectory) {
        reply.ok();
    }

    // What follows only keeps the library from logging a line for what any program may ask of any file.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
    fn getxattr(&self, _: &Request, _: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }
    fn listxattr(&self, _: &Request, _: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }
    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _offset: i64, _whence: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }
    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_bytes: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}

/// What runs as thread `pid`. Asked while the kernel holds the thread in its request, so it cannot have gone.
fn executable_of(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn file(served: &Served) -> FileAttr {
    attributes(served.inode, FileType::RegularFile, served.size_bytes, served.owner_uid)
}

fn attributes(inode: u64, kind: FileType, size_bytes: u64, uid: u32) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(inode),
        size: size_bytes,
        blocks: size_bytes.div_ceil(512),
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind,
        perm: if kind == FileType::Directory { 0o500 } else { 0o400 },
        nlink: 1,
        uid,
        gid: 0,
        rdev: 0,
        blksize: 128 * 1024,
        flags: 0,
    }
}
