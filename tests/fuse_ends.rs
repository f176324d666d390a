//! How sessions and the mount itself end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may panic: that is how a test fails"
)]

mod fuse_support;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use fuse_support::*;
use greffier::shell::fuse::FuseEvent;
use rustix::io::Errno;

#[test]
fn inv9_a_revoked_descriptor_gives_estale_and_a_final_account() {
    let bench = Bench::start();
    let (session, control, descriptor) = bench.serve();
    as_user(OWNER, || file(&descriptor).read_exact_at(&mut [0; 1000], 5000).unwrap());
    let usage = bench.mount.revoke(&session).unwrap();
    assert_eq!((usage.ranges.as_slice(), usage.bytes_read), ([(5000, 6000)].as_slice(), 1000));
    // The thread of the mount that answered may still be on its way out of the read.
    assert!(bench.mount.wait_settled(&session, SOON));
    assert_eq!(Arc::strong_count(&control), 1, "the content is still in memory");
    let asked = control.asked();
    as_user(OWNER, || {
        assert_eq!(errno(file(&descriptor).read_at(&mut [0; 10], 5000)), Errno::STALE);
        assert_eq!(errno(File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))), Errno::STALE);
    });
    assert!(bench.mount.arm(&session, &granted()).is_err(), "a revoked session came back");
    assert!(bench.mount.open_descriptor(&session).is_err());
    bench.mount.forget(&session);
    as_user(OWNER, || assert_eq!(errno(file(&descriptor).read_at(&mut [0; 10], 5000)), Errno::STALE));
    assert!(bench.mount.usage(&session).is_none());
    assert_eq!(control.asked(), asked);
}

#[test]
fn inv9_a_reader_blocked_by_the_disk_gets_the_error_when_its_session_ends_and_no_byte() {
    let bench = Bench::start();
    let (session, control, descriptor) = bench.serve();
    control.close_gate(true);
    std::thread::scope(|scope| {
        let _open = OpenAtTheEnd(&control);
        let caught = scope.spawn(|| as_user(OWNER, || errno(file(&descriptor).read_at(&mut [0; 10], 0))));
        control.wait_for_reader();
        let usage = bench.mount.revoke(&session).unwrap();
        // The disk has not answered yet, and the reader has.
        assert_eq!(caught.join().unwrap(), Errno::STALE);
        assert_eq!((usage.bytes_read, usage.ranges.len(), usage.settled), (0, 0, false));
        assert!(!bench.mount.wait_settled(&session, std::time::Duration::from_millis(10)));
        control.close_gate(false);
    });
    assert!(bench.mount.wait_settled(&session, SOON));
    let usage = bench.mount.revoke(&session).unwrap();
    assert_eq!((usage.bytes_read, usage.settled), (0, true));
    assert_eq!(Arc::strong_count(&control), 1);
}

#[test]
fn inv3_a_session_that_is_stopped_answers_its_blocked_reader_before_anything_else_is_done() {
    // What a ledger that cannot be written, or a purge, does first: the account comes later.
    let bench = Bench::start();
    let (session, control, descriptor) = bench.serve();
    as_user(OWNER, || file(&descriptor).read_exact_at(&mut [0; 10], 0).unwrap());
    control.close_gate(true);
    std::thread::scope(|scope| {
        let _open = OpenAtTheEnd(&control);
        let caught = scope.spawn(|| as_user(OWNER, || errno(file(&descriptor).read_at(&mut [0; 10], 9000))));
        control.wait_for_reader();
        bench.mount.stop(&session);
        assert_eq!(caught.join().unwrap(), Errno::STALE);
        let usage = bench.mount.usage(&session).unwrap();
        assert_eq!((usage.bytes_read, usage.ranges.as_slice()), (10, [(0, 10)].as_slice()));
    });
    assert!(bench.mount.wait_settled(&session, SOON));
    assert_eq!(Arc::strong_count(&control), 1, "the content is still in memory");
    assert_eq!(bench.mount.revoke(&session).unwrap().bytes_read, 10, "a byte was entered after the end");
}

#[test]
fn inv9_the_end_of_the_mount_answers_a_blocked_reader() {
    let bench = Bench::start();
    let (_, control, descriptor) = bench.serve();
    control.close_gate(true);
    std::thread::scope(|scope| {
        let _open = OpenAtTheEnd(&control);
        let (done, caught) = std::sync::mpsc::channel();
        let descriptor = &descriptor;
        scope.spawn(move || {
            done.send(as_user(OWNER, || errno(file(descriptor).read_at(&mut [0; 10], 0)))).unwrap();
        });
        control.wait_for_reader();
        // It waits for its threads, one of which the disk holds.
        let ending = scope.spawn(move || drop(bench));
        assert_eq!(caught.recv_timeout(SOON).expect("the reader still waits"), Errno::STALE);
        control.close_gate(false);
        ending.join().unwrap();
    });
    assert_eq!(Arc::strong_count(&control), 1, "the content is still in memory");
}

/// Lets the readers go when a test fails: else it would wait for them for ever.
struct OpenAtTheEnd<'a>(&'a Control);

impl Drop for OpenAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.close_gate(false);
    }
}

#[test]
fn inv9_readers_beyond_every_thread_of_the_mount_get_the_error_too_and_nobody_else_waits() {
    const READERS: u32 = 40;
    let bench = Bench::start();
    let (slow, control, descriptor) = bench.serve();
    let (_, _, other) = bench.serve();
    let (descriptor, other) = (&descriptor, &other);
    control.close_gate(true);
    std::thread::scope(|scope| {
        let _open = OpenAtTheEnd(&control);
        let read = move |at: u32| {
            as_user(OWNER, move || errno(file(descriptor).read_at(&mut [0; 10], u64::from(at))))
        };
        let caught: Vec<_> = (0..READERS).map(|at| scope.spawn(move || read(at))).collect();
        // More than the mount has threads.
        control.wait_for_readers(READERS);
        let quick = move || {
            let (done, is_done) = std::sync::mpsc::channel();
            scope.spawn(move || {
                as_user(OWNER, || file(other).read_exact_at(&mut [0; 1000], 0).unwrap());
                done.send(()).unwrap();
            });
            is_done.recv_timeout(SOON).expect("another session waits for the slow one");
        };
        quick();
        let usage = bench.mount.revoke(&slow).unwrap();
        for reader in caught {
            assert_eq!(reader.join().unwrap(), Errno::STALE);
        }
        assert_eq!((usage.bytes_read, usage.settled), (0, false));
        quick();
    });
    assert!(bench.mount.wait_settled(&slow, SOON));
    let (_, _, third) = bench.serve();
    as_user(OWNER, || file(&third).read_exact_at(&mut [0; 1000], 0).unwrap());
}

#[test]
fn inv9_whichever_clock_reaches_the_end_first_ends_the_permit() {
    for wall in [true, false] {
        let bench = Bench::start();
        let (session, _, descriptor) = bench.serve();
        let read = || as_user(OWNER, || file(&descriptor).read_at(&mut [0; 10], 0));
        {
            let mut now = bench.now.lock().unwrap();
            now.time = now.time.saturating_add_micros(if wall { 3_600_000_000 - 1 } else { -86_400_000_000 });
            now.up_micros += if wall { 0 } else { 3_600_000_000 - 1 };
        }
        read().unwrap();
        {
            let mut now = bench.now.lock().unwrap();
            now.time = now.time.saturating_add_micros(i64::from(wall));
            now.up_micros += u64::from(!wall);
        }
        assert_eq!(errno(read()), Errno::STALE);
        assert_eq!(errno(read()), Errno::STALE);
        assert!(matches!(bench.event(), FuseEvent::Expired(named) if named == session));
        assert!(bench.events.try_recv().is_err(), "told twice");
    }
}

#[test]
fn the_last_close_is_told_once_and_not_before() {
    let bench = Bench::start();
    let (session, _, descriptor) = bench.serve();
    let copy = descriptor.try_clone().unwrap();
    let again = as_user(OWNER, || File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap());
    drop(descriptor);
    drop(copy);
    // The reopened file keeps the session alive; that it still reads shows that nothing was told too early.
    as_user(OWNER, || again.read_exact_at(&mut [0; 10], 0).unwrap());
    assert!(bench.events.try_recv().is_err());
    drop(again);
    assert!(matches!(bench.event(), FuseEvent::LastRelease(named) if named == session));
}

#[test]
fn a_session_can_be_released_after_its_revocation() {
    let bench = Bench::start();
    let (session, _, descriptor) = bench.serve();
    bench.mount.revoke(&session).unwrap();
    drop(descriptor);
    assert!(matches!(bench.event(), FuseEvent::LastRelease(named) if named == session));
}

#[test]
fn the_mount_ends_although_a_client_holds_a_descriptor() {
    let bench = Bench::start();
    let (_, control, descriptor) = bench.serve();
    as_user(OWNER, || file(&descriptor).read_exact_at(&mut [0; 10], 0).unwrap());
    let (done, ended) = std::sync::mpsc::channel();
    let Bench { mount, events, .. } = bench;
    std::thread::spawn(move || {
        drop(mount);
        done.send(()).unwrap();
    });
    ended.recv_timeout(SOON / 4).expect("the mount did not end");
    assert!(as_user(OWNER, || file(&descriptor).read_at(&mut [0; 10], 0)).is_err());
    assert_eq!(Arc::strong_count(&control), 1, "the content is still in memory");
    // Ended on purpose: no alarm, and no thread is left that could raise one.
    assert!(matches!(events.recv(), Err(std::sync::mpsc::RecvError)));
}

#[test]
fn a_mount_that_ends_by_itself_says_so() {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let bench = Bench::start();
    let (_, _, descriptor) = bench.serve();
    let connection = rustix::fs::minor(rustix::fs::fstat(&descriptor).unwrap().st_dev);
    let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_create(&context).unwrap();
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    let control = rustix::mount::fsmount(&context, flags, attributes).unwrap();
    let abort = format!("{connection}/abort");
    let abort =
        rustix::fs::openat(&control, abort, rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty()).unwrap();
    rustix::io::write(&abort, b"1").unwrap();
    assert!(matches!(bench.event(), FuseEvent::Stopped(_)));
    assert!(as_user(OWNER, || file(&descriptor).read_at(&mut [0; 10], 0)).is_err());
}
