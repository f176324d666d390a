//! What the owner of a session can do with its descriptor, and that all of it is in the account.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may panic: that is how a test fails"
)]

mod fuse_support;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use fuse_support::*;
use greffier::shell::fuse::{FuseEvent, Serving};
use rustix::io::Errno;

#[test]
fn the_owner_reads_the_recording_byte_for_byte() {
    let bench = Bench::start();
    let (_, _, descriptor) = bench.serve();
    as_user(OWNER, || {
        let mut whole = Vec::new();
        file(&descriptor).read_to_end(&mut whole).unwrap();
        assert!(whole == bytes(0, SIZE), "{} bytes came", whole.len());

        let mut file = file(&descriptor);
        for (from, length) in [(0, 1), (65_535, 2), (SIZE - 10, 10), (1_048_576 - 3, 1_048_576 + 9), (7, 0)] {
            let mut part = vec![0; length];
            file.read_exact_at(&mut part, from).unwrap();
            assert!(part == bytes(from, from + length as u64), "{length} bytes at {from}");
        }
        assert_eq!(file.seek(SeekFrom::End(-5)).unwrap(), SIZE - 5);
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).unwrap();
        assert_eq!(tail, bytes(SIZE - 5, SIZE));
        assert_eq!(file.read_at(&mut [0; 16], SIZE + 1).unwrap(), 0);
    });
}

#[test]
fn programs_of_the_owner_can_use_it_as_a_file() {
    let bench = Bench::start();
    let (session, _, descriptor) = bench.serve();
    let cat = run_as(OWNER, &descriptor, "cat", &[]);
    assert!(cat.stdout == bytes(0, SIZE));
    let again = run_as(OWNER, &descriptor, "cat", &["/proc/self/fd/0"]);
    assert!(again.stdout == bytes(0, SIZE), "{}", String::from_utf8_lossy(&again.stderr));
    let dd = run_as(
        OWNER,
        &descriptor,
        "dd",
        &["if=/proc/self/fd/0", "bs=1000", "skip=5", "count=3", "status=none"],
    );
    assert!(dd.stdout == bytes(5000, 8000));
    let stat = run_as(OWNER, &descriptor, "stat", &["-L", "-c", "%s %a %u %F", "/proc/self/fd/0"]);
    let expected = format!("{SIZE} 400 {OWNER} regular file\n");
    assert_eq!(String::from_utf8_lossy(&stat.stdout), expected);

    let usage = bench.mount.usage(&session).unwrap();
    assert_eq!(usage.ranges, [(0, SIZE)]);
    assert_eq!(usage.bytes_read, 2 * SIZE + 3000);
    let names: Vec<_> = usage.executables.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(names, ["cat", "dd"]);
}

#[test]
fn a_stream_cannot_seek_and_starts_at_the_start() {
    let bench = Bench::start();
    let (session, _) = bench.prepare(false);
    let descriptor = bench.mount.open_descriptor(&session).unwrap();
    bench.mount.arm(&session, &granted()).unwrap();
    as_user(OWNER, || {
        let mut file = file(&descriptor);
        assert_eq!(errno(file.seek(SeekFrom::Start(10))), Errno::SPIPE);
        assert_eq!(errno(file.read_at(&mut [0; 10], 10)), Errno::SPIPE);
        let mut whole = Vec::new();
        file.read_to_end(&mut whole).unwrap();
        assert!(whole == bytes(0, SIZE));
        let again = std::fs::File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap();
        assert_eq!(errno(again.read_at(&mut [0; 10], 10)), Errno::SPIPE);
    });
}

#[test]
fn inv9_the_account_is_exact_to_the_byte() {
    let bench = Bench::start();
    let (session, _, descriptor) = bench.serve();
    as_user(OWNER, || {
        let file = file(&descriptor);
        for (from, length) in [(100u64, 50usize), (150, 50), (10_000, 1), (120, 10), (SIZE - 3, 100)] {
            file.read_at(&mut vec![0; length], from).unwrap();
        }
    });
    let usage = bench.mount.usage(&session).unwrap();
    assert_eq!(usage.ranges, [(100, 200), (10_000, 10_001), (SIZE - 3, SIZE)]);
    assert_eq!(usage.bytes_read, 50 + 50 + 1 + 10 + 3);
    assert_eq!(usage.reads, 5);
    assert_eq!(usage.first_read, Some(START.parse().unwrap()));
    assert_eq!(usage.foreign_refusals, 0);
}

#[test]
fn several_readers_at_once_get_their_own_bytes() {
    let bench = Bench::start();
    let (session, _, descriptor) = bench.serve();
    std::thread::scope(|scope| {
        for reader in 0..4u64 {
            let descriptor = &descriptor;
            scope.spawn(move || {
                as_user(OWNER, || {
                    let file = file(descriptor);
                    for step in 0..50 {
                        let from = (reader * 700_001 + step * 9_973) % (SIZE - 9_000);
                        let mut part = vec![0; 9_000];
                        file.read_exact_at(&mut part, from).unwrap();
                        assert!(part == bytes(from, from + 9_000));
                    }
                });
            });
        }
    });
    assert_eq!(bench.mount.usage(&session).unwrap().bytes_read, 4 * 50 * 9_000);
}

#[test]
fn a_damaged_part_is_an_error_told_once_and_the_rest_still_reads() {
    let bench = Bench::start();
    let (session, control, descriptor) = bench.serve();
    control.damaged_at.store(500_000, std::sync::atomic::Ordering::SeqCst);
    as_user(OWNER, || {
        let file = file(&descriptor);
        assert_eq!(errno(file.read_at(&mut [0; 10], 499_995)), Errno::IO);
        assert_eq!(errno(file.read_at(&mut [0; 10], 499_995)), Errno::IO);
        file.read_exact_at(&mut [0; 10], 600_000).unwrap();
    });
    match bench.event() {
        FuseEvent::DamagedRead { session: named, offset, error } => {
            assert_eq!((named, offset), (session, 499_995));
            assert_eq!(error.to_string(), "chunk 7 does not open");
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.events.try_recv().is_err());
    assert_eq!(bench.mount.usage(&session).unwrap().ranges, [(600_000, 600_010)]);
}

#[test]
fn a_panic_in_one_read_is_an_error_of_that_read() {
    struct Panics;
    impl greffier::shell::fuse::Plaintext for Panics {
        fn len_bytes(&self) -> u64 {
            100
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            assert!(offset < 50, "as the test wants it");
            buf.fill(1);
            Ok(buf.len())
        }
    }
    let bench = Bench::start();
    let session = greffier::core::ids::SessionId::from_bytes([7; 16]);
    let until = "2026-05-13T00:00:00Z".parse().unwrap();
    let content = Box::new(Panics);
    let serving =
        Serving { session, owner_uid: OWNER, until, until_up_micros: u64::MAX, seekable: true, content };
    bench.mount.prepare(serving).unwrap();
    let descriptor = bench.mount.open_descriptor(&session).unwrap();
    bench.mount.arm(&session, &granted()).unwrap();
    as_user(OWNER, || {
        // More often than there are threads: each of them lives on.
        for _ in 0..5 {
            assert_eq!(errno(file(&descriptor).read_at(&mut [0; 10], 60)), Errno::IO);
        }
        assert_eq!(file(&descriptor).read_at(&mut [0; 10], 0).unwrap(), 10);
    });
    // The thread of the mount that answered may still be on its way out of the read.
    bench.mount.revoke(&session).unwrap();
    assert!(bench.mount.wait_settled(&session, std::time::Duration::from_secs(20)));
}
