//! A slow medium: a file system of one file, whose reads can be kept waiting.
//!
//! It stands under the daemon as a disk does: the kernel holds the daemon's reads until this answers.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request, Session, SessionACL,
};
use rustix::mount::{MountFlags, UnmountFlags};

use super::PATIENCE;

const NAME: &str = "object";
const HOLDS: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Gate {
    closed: bool,
    waiting: Vec<(ReplyData, usize, usize)>,
}

struct Shared {
    bytes: Vec<u8>,
    gate: Mutex<Gate>,
    moved: Condvar,
}

impl Shared {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let dir = inode == INodeNo::ROOT;
        let epoch = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size: self.bytes.len() as u64,
            blocks: 1,
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind: if dir { FileType::Directory } else { FileType::RegularFile },
            perm: if dir { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn answer(&self, reply: ReplyData, from: usize, to: usize) {
        reply.data(&self.bytes[from.min(self.bytes.len())..to.min(self.bytes.len())]);
    }
}

struct OneFile(Arc<Shared>);

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&HOLDS, &self.0.attributes(INodeNo(2)), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }
    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&HOLDS, &self.0.attributes(inode));
    }
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }
    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let from = usize::try_from(offset).unwrap();
        let to = from + size as usize;
        let mut gate = self.0.gate.lock().unwrap();
        if gate.closed {
            gate.waiting.push((reply, from, to));
            self.0.moved.notify_all();
        } else {
            drop(gate);
            self.0.answer(reply, from, to);
        }
    }
}

/// One file on a slow medium, put in the place of a file that exists. Taken away when dropped.
pub struct SlowFile {
    shared: Arc<Shared>,
    at: PathBuf,
    mount: PathBuf,
}

impl SlowFile {
    /// Puts the file `at` on the slow medium, with what stands in it; `mount` is a folder to make.
    pub fn in_place_of(at: &Path, mount: PathBuf) -> Self {
        let bytes = fs::read(at).unwrap();
        let shared = Arc::new(Shared { bytes, gate: Mutex::default(), moved: Condvar::new() });
        let device = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
        fs::create_dir(&mount).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("slow", &mount, "fuse", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        let (device, mut config) = (device.into(), Config::default());
        config.acl = SessionACL::RootAndOwner;
        let files = OneFile(shared.clone());
        let session = Session::from_fd(files, device, SessionACL::RootAndOwner, config).unwrap();
        std::thread::spawn(move || session.run());
        rustix::mount::mount_bind(mount.join(NAME), at).unwrap();
        Self { shared, at: at.to_owned(), mount }
    }

    /// From now on reads wait.
    pub fn stand_still(&self) {
        self.shared.gate.lock().unwrap().closed = true;
    }

    /// Waits until so many reads wait.
    pub fn wait_for_reads(&self, count: usize) {
        let gate = self.shared.gate.lock().unwrap();
        let waited = self.shared.moved.wait_timeout_while(gate, PATIENCE, |gate| gate.waiting.len() < count);
        assert!(!waited.unwrap().1.timed_out(), "no read came to the medium");
    }

    /// Answers what waits, and everything after it.
    pub fn go_on(&self) {
        let mut gate = self.shared.gate.lock().unwrap();
        gate.closed = false;
        for (reply, from, to) in gate.waiting.drain(..) {
            self.shared.answer(reply, from, to);
        }
    }
}

impl Drop for SlowFile {
    fn drop(&mut self) {
        self.go_on();
        for at in [&self.at, &self.mount] {
            let _gone_with_the_machine = rustix::mount::unmount(at, UnmountFlags::DETACH);
        }
    }
}
