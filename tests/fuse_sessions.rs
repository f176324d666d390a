//! Many sessions at once, each with an account of its own; and that nothing of a recording is left in memory when the session
//! that served it has ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may panic: that is how a test fails"
)]
#![allow(clippy::disallowed_methods, reason = "the two settings of this test, said where they are read")]

mod fuse_support;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use fuse_support::*;
use greffier::core::format::header::Header;
use greffier::core::format::trailer::Trailer;
use greffier::core::ids::{Kind, RecordingId, SessionId};
use greffier::shell::crypt::{ChunkSealer, Secret};
use greffier::shell::disk::object::{ObjectStore, SealedReader};
use greffier::shell::fuse::{FuseEvent, Plaintext, Serving, Usage};
use rustix::io::Errno;

/// The two tests run one after the other: one looks through the memory of both.
static ALONE: Mutex<()> = Mutex::new(());

const SESSIONS: usize = 256;
/// Longer than a part that is read ahead.
const LONG: usize = 64 * 1024;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a session must have in its account.
#[derive(Default)]
struct Model {
    read: Vec<(u64, u64)>,
}

impl Model {
    fn agrees(mut self, usage: &Usage, seed: u64) {
        let bytes: u64 = self.read.iter().map(|(from, to)| to - from).sum();
        assert_eq!((usage.bytes_read, usage.reads), (bytes, self.read.len() as u64), "seed {seed}");
        self.read.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, to) in self.read {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        assert_eq!(usage.ranges, merged, "seed {seed}");
    }
}

/// Reads as `dice` says, here and there and in sequence, and remembers what.
fn read_some(file: &File, dice: &mut Dice, model: &mut Model) {
    let in_sequence = dice.below(8) == 0;
    let (length, count) = if in_sequence { (LONG, 4) } else { (1 + dice.below(3000) as usize, 1) };
    let mut at = dice.below(SIZE + 100);
    for _ in 0..count {
        let mut part = vec![0; length];
        let read = file.read_at(&mut part, at).unwrap();
        assert_eq!(read as u64, SIZE.saturating_sub(at).min(length as u64));
        if read == 0 {
            return;
        }
        // All of a short one, both ends of a long one.
        for from in [0, read.saturating_sub(100)] {
            let to = read.min(from + 3000);
            assert!(part[from..to] == bytes(at + from as u64, at + to as u64), "{read} bytes at {at}");
        }
        model.read.push((at, at + read as u64));
        at += read as u64;
    }
}

#[test]
fn inv9_256_sessions_at_once_are_each_accounted_to_the_byte() {
    let _alone = ALONE.lock();
    let seed: u64 = std::env::var("GREFFIER_SEED").map_or(1, |seed| seed.parse().unwrap());
    let rounds = std::env::var("GREFFIER_SOAK").map_or(4, |_| 40);
    println!("GREFFIER_SEED={seed}");
    let bench = Bench::start();
    let served: Vec<_> = (0..SESSIONS).map(|_| bench.serve()).collect();
    const READERS: usize = 8;
    let models: Vec<Vec<Model>> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let served = &served;
                scope.spawn(move || {
                    as_user(OWNER, || {
                        let mut dice = Dice(seed.wrapping_mul(1000) + reader as u64);
                        let mine: Vec<File> =
                            served.iter().skip(reader).step_by(READERS).map(|(_, _, it)| file(it)).collect();
                        let mut models: Vec<Model> = mine.iter().map(|_| Model::default()).collect();
                        for _ in 0..rounds * mine.len() {
                            let at = dice.below(mine.len() as u64) as usize;
                            read_some(&mine[at], &mut dice, &mut models[at]);
                        }
                        models
                    })
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let mut models: Vec<_> = models.into_iter().map(Vec::into_iter).collect();
    for (number, (session, _, descriptor)) in served.iter().enumerate() {
        let usage = bench.mount.revoke(session).unwrap();
        assert!(bench.mount.wait_settled(session, SOON));
        models[number % READERS].next().unwrap().agrees(&usage, seed);
        as_user(OWNER, || assert_eq!(errno(file(descriptor).read_at(&mut [0; 1], 0)), Errno::STALE));
        bench.mount.forget(session);
    }
    assert!(bench.events.try_recv().is_err(), "nothing but reads of the owners took place");
}

/// The first word of each 64 bytes of the recording, masked: so it stands nowhere but in the recording.
const MASKED: u64 = 0x5EA1_0FF1_CE00_D00D;
const MASK: u64 = 0xA5A5_5A5A_C3C3_3C3C;
const LINE: u64 = 64;
const RECORDING_BYTES: u64 = 1 << 20;

/// Makes the recording while it is read: no other copy of it exists in this process.
struct Marked(u64);

impl Read for Marked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = (RECORDING_BYTES - self.0).min(out.len() as u64) / LINE * LINE;
        for line in out.chunks_exact_mut(LINE as usize).take((left / LINE) as usize) {
            line[..8].copy_from_slice(&(std::hint::black_box(MASKED) ^ MASK).to_le_bytes());
            line[8..16].copy_from_slice(&(!(std::hint::black_box(MASKED) ^ MASK)).to_le_bytes());
            line[16..].fill(self.0 as u8);
        }
        self.0 += left;
        Ok(left as usize)
    }
}

/// How many lines of the recording stand in the memory of this process.
fn lines_in_memory() -> usize {
    const PAGE: usize = 4096;
    let zeros = [0; PAGE];
    let mut window = vec![0_u8; 1 << 20];
    let own =
        window.as_ptr() as u64 / PAGE as u64 * PAGE as u64..window.as_ptr() as u64 + window.len() as u64;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (mut at, to) = (number(from), number(to));
        while at < to {
            let wanted = (to - at).min(window.len() as u64) as usize;
            // What was unmapped since is gone.
            let Ok(read) = memory.read_at(&mut window[..wanted], at) else { break };
            for (page, bytes) in window[..read].chunks(PAGE).enumerate() {
                // Most memory was never touched; comparing is quick, looking is not.
                if bytes == &zeros[..bytes.len()] || own.contains(&(at + (page * PAGE) as u64)) {
                    continue;
                }
                for pair in bytes.as_chunks::<8>().0.windows(2) {
                    let word = u64::from_le_bytes(pair[0]);
                    if word ^ MASK == MASKED && u64::from_le_bytes(pair[1]) == !word {
                        found += 1;
                    }
                }
            }
            at += read.max(1) as u64;
        }
    }
    window.fill(0);
    std::hint::black_box(&window);
    found
}

struct Sealed(SealedReader);

impl Plaintext for Sealed {
    fn len_bytes(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, out).map_err(io::Error::other)
    }
}

fn sealed(store: &ObjectStore, secret: &Secret) -> RecordingId {
    let id = RecordingId::from_bytes([3; 16]);
    let at = START.parse().unwrap();
    let trailer = |sha256, bytes| Trailer {
        v: 1,
        id,
        source: "door".parse().unwrap(),
        kind: Kind::Footage,
        start: at,
        end: at,
        sealed: at,
        bytes,
        sha256,
        media: "video/mp4".into(),
        class: "short".parse().unwrap(),
        earliest: None,
        latest: None,
        name: None,
        subject: None,
    };
    let sealer = ChunkSealer::new(secret, Header { id });
    store.seal(Marked(0), sealer, trailer).unwrap().link().unwrap();
    id
}

#[test]
fn inv9_when_a_session_ends_nothing_of_the_recording_is_left_in_memory() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let store = ObjectStore::open(dir.path()).unwrap();
    let secret = Secret::generate().unwrap();
    let id = sealed(&store, &secret);
    assert_eq!(lines_in_memory(), 0, "sealing left something");

    for end in ["closed or revoked", "expired", "stopped, then revoked", "the mount ends"] {
        let bench = Bench::start();
        let session = SessionId::from_bytes([5; 16]);
        let until =
            START.parse::<greffier::core::time::Timestamp>().unwrap().saturating_add_micros(1_000_000);
        let content = Box::new(Sealed(SealedReader::open(&store, id, &secret).unwrap()));
        let serving =
            Serving { session, owner_uid: OWNER, until, until_up_micros: u64::MAX, seekable: true, content };
        bench.mount.prepare(serving).unwrap();
        let descriptor = bench.mount.open_descriptor(&session).unwrap();
        bench.mount.arm(&session, &granted()).unwrap();
        // Another process reads, so that what it got is not in the memory of this one: in sequence, so that the mount
        // reads ahead, then a part of a chunk, which is kept.
        read_through(&descriptor, &["bs=128k", "count=4"]);
        read_through(&descriptor, &["bs=1000", "count=3", "skip=900"]);
        assert!(lines_in_memory() > 1000, "the test does not see what is there");
        match end {
            "closed or revoked" => end_of(&bench, &session),
            "expired" => {
                bench.now.lock().unwrap().time = until;
                as_user(OWNER, || assert_eq!(errno(file(&descriptor).read_at(&mut [0; 1], 0)), Errno::STALE));
                assert!(matches!(bench.event(), FuseEvent::Expired(named) if named == session));
                // What the daemon does on this event.
                end_of(&bench, &session);
            }
            "stopped, then revoked" => {
                bench.mount.stop(&session);
                end_of(&bench, &session);
                bench.mount.forget(&session);
            }
            _ => drop(bench.mount),
        }
        assert_eq!(lines_in_memory(), 0, "{end}");
    }
}

/// What the daemon does whatever ends a session; it waits like this before it purges.
fn end_of(bench: &Bench, session: &SessionId) {
    bench.mount.revoke(session).unwrap();
    assert!(bench.mount.wait_settled(session, SOON));
}

fn read_through(descriptor: &OwnedFd, how: &[&str]) {
    let arguments = [&["if=/proc/self/fd/0", "of=/dev/null", "status=none"], how].concat();
    let dd = run_as(OWNER, descriptor, "dd", &arguments);
    assert!(dd.status.success(), "{}", String::from_utf8_lossy(&dd.stderr));
}
