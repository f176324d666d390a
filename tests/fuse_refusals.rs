//! What a descriptor refuses: other users, the page cache, and everybody before the entry is recorded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may panic: that is how a test fails"
)]

mod fuse_support;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use fuse_support::*;
use greffier::core::ids::SessionId;
use greffier::shell::fuse::{FuseError, FuseEvent};
use rustix::fs::Advice;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

fn reopen(descriptor: &OwnedFd) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn foreign(event: FuseEvent) -> (SessionId, u32, String) {
    match event {
        FuseEvent::ForeignAccess { session, uid, executable, .. } => {
            let name = executable.and_then(|path| path.file_name()?.to_str().map(str::to_owned));
            (session, uid, name.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn inv9_another_user_can_neither_read_nor_reopen_and_is_reported_once() {
    let bench = Bench::start();
    let (session, control, descriptor) = bench.serve();
    let cat = run_as(STRANGER, &descriptor, "cat", &[]);
    assert_eq!((cat.status.code(), cat.stdout), (Some(1), Vec::new()));
    assert_eq!(foreign(bench.event()), (session, STRANGER, "cat".into()));
    as_user(STRANGER, || {
        assert_eq!(errno(file(&descriptor).read_at(&mut [0; 10], 0)), Errno::ACCESS);
        assert_eq!(errno(reopen(&descriptor)), Errno::ACCESS);
    });
    assert!(bench.events.try_recv().is_err(), "told a second time");
    // uid 0 is another user too.
    assert_eq!(errno(file(&descriptor).read_at(&mut [0; 10], 0)), Errno::ACCESS);
    assert_eq!(errno(reopen(&descriptor)), Errno::ACCESS);
    assert_eq!(foreign(bench.event()).1, 0);
    let usage = bench.mount.usage(&session).unwrap();
    assert_eq!((control.asked(), usage.bytes_read, usage.foreign_refusals), (0, 0, 5));
}

/// Maps one page of standard input and prints it. Perl stands on every Debian and can call any system call.
fn map(uid: u32, descriptor: &OwnedFd, flags: u32) -> std::process::Output {
    let number = if cfg!(target_arch = "x86_64") { 9 } else { 222 };
    let script = format!(
        "my $at = syscall({number}, 0, 4096, 1, {flags}, 0, 0); \
         if ($at == -1) {{ print 'errno ', $! + 0; exit 3 }} print unpack('P16', pack('J', $at));"
    );
    run_as(uid, descriptor, "perl", &["-e", &script])
}
const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const SIGBUS: i32 = 7;

#[test]
fn inv9_nothing_that_fills_the_page_cache_gets_a_byte_not_even_for_the_owner() {
    use std::os::unix::process::ExitStatusExt as _;
    let bench = Bench::start();
    let (session, control, descriptor) = bench.serve();
    for uid in [OWNER, STRANGER] {
        let private = map(uid, &descriptor, MAP_PRIVATE);
        assert_eq!((private.status.signal(), private.stdout), (Some(SIGBUS), Vec::new()), "private, {uid}");
        let shared = map(uid, &descriptor, MAP_SHARED);
        let refused = format!("errno {}", Errno::NODEV.raw_os_error());
        assert_eq!(String::from_utf8_lossy(&shared.stdout), refused, "shared, {uid}");
        as_user(uid, || {
            let (read_end, write_end) = rustix::pipe::pipe().unwrap();
            let file = file(&descriptor);
            let spliced =
                rustix::pipe::splice(&file, Some(&mut 0), &write_end, None, 4096, SpliceFlags::NONBLOCK);
            assert_eq!(spliced, Err(Errno::ACCESS), "splice, {uid}");
            let sent = rustix::fs::sendfile(&write_end, &file, Some(&mut 0), 4096);
            assert_eq!(sent, Err(Errno::ACCESS), "sendfile, {uid}");
            let target = File::from(rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::empty()).unwrap());
            let copied = rustix::fs::copy_file_range(&file, Some(&mut 0), &target, None, 4096);
            assert!(copied.is_err(), "copy_file_range, {uid}");
            // Read-ahead reports no error; it must not get content either.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::WillNeed);
            drop(read_end);
        });
    }
    assert_eq!(control.asked(), 0, "content was asked for");
    assert_eq!(bench.mount.usage(&session).unwrap().bytes_read, 0);

    // And what the owner reads the right way does not become readable the wrong way.
    as_user(OWNER, || file(&descriptor).read_exact_at(&mut [0; 8192], 0).unwrap());
    assert_eq!(map(OWNER, &descriptor, MAP_PRIVATE).status.signal(), Some(SIGBUS));
    assert_eq!(map(STRANGER, &descriptor, MAP_PRIVATE).status.signal(), Some(SIGBUS));
}

#[test]
fn inv1_before_it_is_armed_nobody_reads() {
    let bench = Bench::start();
    let (session, control) = bench.prepare(true);
    let descriptor = bench.mount.open_descriptor(&session).unwrap();
    as_user(OWNER, || {
        assert_eq!(errno(file(&descriptor).read_at(&mut [0; 10], 0)), Errno::ACCESS);
        assert_eq!(errno(reopen(&descriptor)), Errno::ACCESS);
    });
    assert_eq!(control.asked(), 0);
    bench.mount.arm(&session, &granted()).unwrap();
    as_user(OWNER, || {
        file(&descriptor).read_exact_at(&mut [0; 10], 0).unwrap();
        reopen(&descriptor).unwrap();
    });
}

#[test]
fn it_cannot_be_written_or_run() {
    let bench = Bench::start();
    let (_, _, descriptor) = bench.serve();
    as_user(OWNER, || {
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        assert_eq!(errno(OpenOptions::new().write(true).open(&path)), Errno::ROFS);
        assert_eq!(errno(OpenOptions::new().read(true).write(true).open(&path)), Errno::ROFS);
        assert!(std::process::Command::new(&path).status().is_err());
    });
}

#[test]
fn uid_0_cannot_own_a_session_and_a_session_is_served_once() {
    let bench = Bench::start();
    let serving = |session, owner_uid| greffier::shell::fuse::Serving {
        session,
        owner_uid,
        until: START.parse().unwrap(),
        until_up_micros: 0,
        seekable: true,
        content: Box::new(Nothing),
    };
    let session = SessionId::from_bytes([9; 16]);
    assert!(matches!(bench.mount.prepare(serving(session, 0)), Err(FuseError::RootOwner)));
    bench.mount.prepare(serving(session, OWNER)).unwrap();
    assert!(matches!(bench.mount.prepare(serving(session, OWNER)), Err(FuseError::Duplicate(_))));
}

struct Nothing;
impl greffier::shell::fuse::Plaintext for Nothing {
    fn len_bytes(&self) -> u64 {
        0
    }
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}
