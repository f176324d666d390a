//! Sealing and reading against a model, and against damage.

use super::*;
use crate::core::format::header::Header;
use crate::core::format::layout::CHUNK_BYTES;
use crate::core::format::trailer::Trailer;
use crate::core::ids::{Digest, Kind};
use crate::shell::crypt::{BulkSha256, ChunkSealer, Secret};
use proptest::prelude::*;

const ID: RecordingId = RecordingId::from_bytes([0x5A; 16]);

struct Store {
    _dir: tempfile::TempDir,
    store: ObjectStore,
    secret: Secret,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ObjectStore::open(dir.path()).unwrap();
        Self { _dir: dir, store, secret: Secret::generate().unwrap() }
    }
    fn stage(&self, plain: &[u8]) -> StagedObject {
        let sealer = ChunkSealer::new(&self.secret, Header { id: ID });
        self.store.seal(plain, sealer, trailer).unwrap()
    }
    fn seal(&self, plain: &[u8]) {
        self.stage(plain).link().unwrap();
    }
    fn reader(&self) -> Result<SealedReader, ObjectError> {
        SealedReader::open(&self.store, ID, &self.secret)
    }
    /// Everything that a reader can give, or the first error.
    fn read_all(&self) -> Result<Vec<u8>, ObjectError> {
        let reader = self.reader()?;
        let mut out = vec![0; usize::try_from(reader.len()).unwrap() + 1];
        let count = reader.read_at(0, &mut out)?;
        out.truncate(count);
        Ok(out)
    }
    fn overwrite(&self, bytes: &[u8]) {
        fs::write(self.store.path(ID), bytes).unwrap();
    }
}

fn trailer(sha256: Digest, bytes: u64) -> Trailer {
    let at: crate::core::time::Timestamp = "2026-05-12T10:00:00Z".parse().unwrap();
    Trailer {
        v: 1,
        id: ID,
        source: "entrance".parse().unwrap(),
        kind: Kind::Footage,
        start: at,
        end: at,
        sealed: at,
        bytes,
        sha256,
        media: "video/mp4".to_owned(),
        class: "short".parse().unwrap(),
        earliest: None,
        latest: None,
        name: Some("a.mp4".to_owned()),
        subject: None,
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut word = 0x1234_5678_9ABC_DEF1_u64;
    let step = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(length).collect()
}

#[test]
fn every_length_around_a_chunk_and_a_piece_comes_back() {
    const MIB: usize = 1 << 20;
    for length in
        [0, 1, 4095, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, MIB - 1, MIB, MIB + 1, 7 * MIB + 12_345]
    {
        let (store, plain) = (Store::new(), noise(length));
        let staged = store.stage(&plain);
        let mut sha256 = BulkSha256::new();
        sha256.update(&plain);
        assert_eq!((staged.sha256(), staged.plain_bytes()), (sha256.finish(), length as u64));
        let sha256 = staged.sha256();
        staged.link().unwrap();
        let reader = store.reader().unwrap();
        assert!(*reader.trailer() == trailer(sha256, length as u64));
        assert!(store.read_all().unwrap() == plain, "{length} bytes");
        assert_eq!(reader.read_at(length as u64, &mut [0; 1]).unwrap(), 0);
        assert_eq!(reader.read_at(u64::MAX, &mut [0; 1]).unwrap(), 0);
    }
}

/// Gives what it has in parts of any length, now and then nothing but `Interrupted`.
struct Parts<'a>(&'a [u8], usize);

impl io::Read for Parts<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = (self.1 * 31 + 7) % 100_003;
        if self.1.is_multiple_of(13) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = (self.1 + 1).min(out.len()).min(self.0.len());
        let (part, rest) = self.0.split_at(count);
        out[..count].copy_from_slice(part);
        self.0 = rest;
        Ok(count)
    }
}

#[test]
fn a_recording_of_several_stretches_that_comes_in_parts_is_sealed_whole() {
    let (store, plain) = (Store::new(), noise((35 << 20) + 777));
    let sealer = ChunkSealer::new(&store.secret, Header { id: ID });
    let staged = store.store.seal(Parts(&plain, 1), sealer, trailer).unwrap();
    let mut sha256 = BulkSha256::new();
    sha256.update(&plain);
    assert_eq!((staged.sha256(), staged.plain_bytes()), (sha256.finish(), plain.len() as u64));
    staged.link().unwrap();
    assert!(store.read_all().unwrap() == plain);
}

#[test]
fn inv6_whichever_call_fails_while_sealing_nothing_is_left() {
    use crate::shell::disk::fault::{Mode, watch};
    let (store, plain) = (Store::new(), noise((17 << 20) + 5));
    let faults = watch(&store.store.dir);
    for mode in [Mode::Refused, Mode::DoneButFailed, Mode::Short] {
        let mut failures = 0;
        for nth in (1..).step_by(7) {
            faults.plan(nth, mode);
            let sealer = ChunkSealer::new(&Secret::generate().unwrap(), Header { id: ID });
            let sealed = store.store.seal(&plain[..], sealer, trailer);
            match faults.clear() {
                Some(_) => failures += u64::from(sealed.is_err()),
                None => {
                    assert!(sealed.is_ok());
                    // Writing 35 pieces, reading them back, syncing twice, cutting.
                    assert!(failures >= 10 && failures == nth / 7, "{failures} of {nth}");
                    break;
                }
            }
            drop(sealed);
            assert_eq!(store.store.list().count(), 0, "call {nth}");
        }
    }
}

#[test]
fn a_source_that_panics_fails_its_own_sealing_alone() {
    struct Panics;
    impl io::Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("as the test wants it")
        }
    }
    let store = Store::new();
    let sealer = ChunkSealer::new(&store.secret, Header { id: ID });
    let source = io::Read::chain(&[1_u8; 3_000_000][..], Panics);
    assert!(matches!(store.store.seal(source, sealer, trailer), Err(ObjectError::Source(_))));
    assert_eq!(store.store.list().count(), 0);
}

#[test]
fn small_reads_in_sequence_from_many_threads_agree() {
    let (store, plain) = (Store::new(), noise(5 * CHUNK_BYTES + 77));
    store.seal(&plain);
    let reader = store.reader().unwrap();
    std::thread::scope(|scope| {
        for step in [1000, 4096, 65_536, 100_000] {
            let (reader, plain) = (&reader, &plain);
            scope.spawn(move || {
                let mut read = Vec::new();
                let mut out = vec![0; step];
                loop {
                    let count = reader.read_at(read.len() as u64, &mut out).unwrap();
                    if count == 0 {
                        break;
                    }
                    read.extend_from_slice(&out[..count]);
                }
                assert!(read == *plain);
            });
        }
    });
}

#[test]
fn inv6_a_staged_object_leaves_nothing_and_never_replaces() {
    let store = Store::new();
    drop(store.stage(b"dropped"));
    assert_eq!(store.store.list().count(), 0);
    assert!(!store.store.exists(ID).unwrap());

    store.seal(b"first");
    let refused = store.stage(b"second").link().unwrap_err();
    assert!(
        matches!(refused, ObjectError::Disk(error) if error.source.kind() == io::ErrorKind::AlreadyExists)
    );
    assert_eq!(store.read_all().unwrap(), b"first");
    assert_eq!(store.store.list().map(Result::unwrap).collect::<Vec<_>>(), [ID]);
    assert!(store.store.remove(ID).unwrap());
    assert!(!store.store.remove(ID).unwrap());
    assert!(matches!(store.reader(), Err(ObjectError::Missing(_))));
}

#[test]
fn inv6_a_source_that_fails_leaves_nothing() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("lease broken"))
        }
    }
    let store = Store::new();
    let sealer = ChunkSealer::new(&store.secret, Header { id: ID });
    let source = io::Read::chain(&[1_u8; 3_000_000][..], Broken);
    assert!(matches!(store.store.seal(source, sealer, trailer), Err(ObjectError::Source(_))));
    assert_eq!(store.store.list().count(), 0);
}

#[test]
fn inv10_every_flipped_byte_is_detected() {
    for length in [0, 1, 300] {
        let (store, plain) = (Store::new(), noise(length));
        store.seal(&plain);
        let good = fs::read(store.store.path(ID)).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x04;
            store.overwrite(&bad);
            let error = store.read_all().expect_err("a flipped byte");
            assert!(error.to_string().contains(&ID.to_string()), "byte {i}: {error}");
        }
    }
}

#[test]
fn inv10_a_file_cut_short_or_extended_is_refused_when_opened() {
    let (store, plain) = (Store::new(), noise(CHUNK_BYTES + 500));
    store.seal(&plain);
    let good = fs::read(store.store.path(ID)).unwrap();
    for length in (0..good.len()).step_by(97).chain([good.len() - 1]) {
        store.overwrite(&good[..length]);
        assert!(matches!(store.reader(), Err(ObjectError::Damaged { .. })), "{length} bytes");
    }
    for more in [1, 24, CHUNK_BYTES + 16] {
        let mut longer = good.clone();
        longer.extend(vec![0; more]);
        store.overwrite(&longer);
        assert!(store.reader().is_err());
        // A chunk pushed in before the ending: the footer no longer agrees.
        let mut stuffed = good.clone();
        stuffed.splice(64..64, vec![0; more]);
        store.overwrite(&stuffed);
        assert!(store.reader().is_err());
    }
}

#[test]
fn inv10_swapped_chunks_do_not_open_and_whole_ones_still_do() {
    let (store, plain) = (Store::new(), noise(3 * CHUNK_BYTES));
    store.seal(&plain);
    let mut bytes = fs::read(store.store.path(ID)).unwrap();
    let (first, second) = bytes[64..].split_at_mut(CHUNK_BYTES + 16);
    first.swap_with_slice(&mut second[..CHUNK_BYTES + 16]);
    store.overwrite(&bytes);
    let reader = store.reader().unwrap();
    let mut out = vec![0; CHUNK_BYTES];
    let error = reader.read_at(70_000, &mut out[..10]).unwrap_err();
    assert!(matches!(error, ObjectError::Damaged { offset, .. } if offset == 64 + 65_552));
    assert_eq!(reader.read_at(2 * CHUNK_BYTES as u64, &mut out).unwrap(), CHUNK_BYTES);
    assert!(out == plain[2 * CHUNK_BYTES..]);
}

#[test]
fn another_key_or_another_name_does_not_open() {
    let store = Store::new();
    store.seal(b"plain");
    let other = SealedReader::open(&store.store, ID, &Secret::generate().unwrap());
    assert!(matches!(other, Err(ObjectError::Damaged { .. })));
    let twin = RecordingId::from_bytes([1; 16]);
    fs::create_dir_all(store.store.path(twin).parent().unwrap()).unwrap();
    fs::copy(store.store.path(ID), store.store.path(twin)).unwrap();
    assert!(SealedReader::open(&store.store, twin, &store.secret).is_err());
}

#[test]
fn a_foreign_name_is_told_and_the_listing_goes_on() {
    let store = Store::new();
    store.seal(b"plain");
    fs::write(store.store.dir.join("note.txt"), "").unwrap();
    fs::create_dir(store.store.dir.join("zz")).unwrap();
    fs::copy(store.store.path(ID), store.store.dir.join("zz").join(ID.to_string())).unwrap();
    let (found, foreign): (Vec<_>, Vec<_>) = store.store.list().partition(Result::is_ok);
    assert_eq!((found.len(), foreign.len()), (1, 2));
}

#[test]
fn nothing_in_clear_stands_in_the_object() {
    let store = Store::new();
    let plain = b"the words of a patient ".repeat(4000);
    store.seal(&plain);
    let bytes = fs::read(store.store.path(ID)).unwrap();
    for clear in [&b"the words of a"[..], b"a.mp4", b"entrance"] {
        assert!(!bytes.windows(clear.len()).any(|part| part == clear));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn reads_at_any_offset_agree_with_the_plaintext(
        length in prop_oneof![0..5usize, 65_000..66_000usize, 0..400_000usize],
        reads in prop::collection::vec((0..400_000u64, 0..200_000usize), 1..20),
    ) {
        let (store, plain) = (Store::new(), noise(length));
        store.seal(&plain);
        let reader = store.reader().unwrap();
        for (offset, wanted) in reads {
            let mut out = vec![0; wanted];
            let count = reader.read_at(offset, &mut out).unwrap();
            let from = usize::try_from(offset).unwrap().min(length);
            let to = (from + wanted).min(length);
            prop_assert!(out[..count] == plain[from..to]);
        }
    }
}
