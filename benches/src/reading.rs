//! Reading through a descriptor: what decryption costs beside the same mount serving the same bytes from memory, and
//! beside gocryptfs, which reads the same file from the same memory.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use greffier::core::access::Recorded;
use greffier::core::format::header::Header;
use greffier::core::format::trailer::Trailer;
use greffier::core::ids::{Kind, RecordingId, SessionId};
use greffier::core::policy::{
    AccessRequest, Decision, Facts, House, Permit, Policy, PolicyFile, Principal, Target, Verb, decide,
};
use greffier::shell::clock::SystemClock;
use greffier::shell::crypt::{ChunkSealer, Secret};
use greffier::shell::disk::object::{ObjectStore, SealedReader};
use greffier::shell::fuse::{FuseMount, Plaintext, Serving};
use greffier::shell::users;
use rustix::fs::Advice;

use crate::Outcome;
use crate::house::{VIEWER, as_user};
use crate::measure::{alternate, seconds};
use crate::opening::media_file;
use crate::others::Gocryptfs;
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 9;
const SIZE: usize = 256 << 20;
const READ: usize = 128 << 10;
const RANDOM_READS: usize = 8192;
/// As many as the daemon has.
const THREADS: usize = 2;

struct Sealed(SealedReader);

impl Plaintext for Sealed {
    fn len_bytes(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, buf).map_err(std::io::Error::other)
    }
}

struct Clear(Arc<Vec<u8>>);

impl Plaintext for Clear {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let media = media_file(places, "media-read", SIZE)?;
    let (id, secret) = (RecordingId::from_bytes([9; 16]), Secret::generate()?);
    let store = ObjectStore::open(&places.in_memory("objects-read")?)?;
    let sealer = ChunkSealer::new(&secret, Header { id });
    let epoch = "2026-01-01T00:00:00Z";
    let (start, source, class) = (epoch.parse()?, "entrance".parse()?, "month".parse()?);
    store
        .seal(File::open(&media)?, sealer, |sha256, bytes| Trailer {
            v: 1,
            id,
            source,
            kind: Kind::Footage,
            start,
            end: start,
            sealed: start,
            bytes,
            sha256,
            media: "video/mp4".into(),
            class,
            earliest: None,
            latest: None,
            name: None,
            subject: None,
        })?
        .link()?;

    let clock = Arc::new(SystemClock::new()?);
    let now = clock.now();
    let mount = FuseMount::start(THREADS, Box::new(|_| {}), Box::new(move || clock.now()))?;
    let serve = |number: u8, seekable: bool, content: Box<dyn Plaintext>| -> Outcome<File> {
        let session = SessionId::from_bytes([number; 16]);
        let permit = permit(now.time)?;
        mount.prepare(Serving {
            session,
            owner_uid: permit.uid(),
            until: now.time.saturating_add_micros(3_600_000_000),
            until_up_micros: now.up_micros + 3_600_000_000,
            seekable,
            content,
        })?;
        mount.arm(&session, &Recorded::for_test(permit))?;
        Ok(File::from(mount.open_descriptor(&session)?))
    };
    let reader =
        || -> Outcome<Box<Sealed>> { Ok(Box::new(Sealed(SealedReader::open(&store, id, &secret)?))) };
    let bytes = Arc::new(std::fs::read(&media)?);
    let sealed = serve(1, true, reader()?)?;
    let clear = serve(2, true, Box::new(Clear(Arc::clone(&bytes))))?;
    let in_memory = "same mount, unencrypted from memory";
    let found = as_user(VIEWER, || alternate(PAIRS, || in_sequence(&sealed), || in_sequence(&clear)))?;
    let name = "reading through a descriptor, 128 KiB";
    table.add(Row::compared(name, in_memory, "MiB/s", &found, Goal::AtLeast(0.8)));

    // A stream is read once, so each run has one of its own.
    let streams = |first: u8, content: &dyn Fn() -> Outcome<Box<dyn Plaintext>>| -> Outcome<Vec<File>> {
        (first..=first + PAIRS as u8).map(|number| serve(number, false, content()?)).collect()
    };
    let sealed_streams = streams(10, &|| Ok(reader()?))?;
    let clear_streams = streams(30, &|| Ok(Box::new(Clear(Arc::clone(&bytes)))))?;
    let (mut ours, mut theirs) = (sealed_streams.iter(), clear_streams.iter());
    let found = as_user(VIEWER, || {
        alternate(
            PAIRS,
            || stream(ours.next().ok_or("no stream")?),
            || stream(theirs.next().ok_or("no stream")?),
        )
    })?;
    table.add(Row::compared("reading a stream, 128 KiB", in_memory, "MiB/s", &found, Goal::Shown));

    let names = ["reading through a descriptor, sequential", "random 4 KiB reads through a descriptor"];
    if let Some(why) = Gocryptfs::missing() {
        names.iter().for_each(|name| table.skip(name, why));
        return Ok(());
    }
    let gocryptfs = Gocryptfs::mount(&places.in_memory("gocryptfs")?)?;
    let other = File::open(gocryptfs.write(&media, "media")?)?;
    // Its ciphertext stays in memory, as ours does; what the kernel kept in clear is dropped, or nobody would decrypt.
    let dropped = || {
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(rustix::fs::fadvise(
            &other,
            0,
            None,
            Advice::DontNeed,
        )?)
    };
    let found = as_user(VIEWER, || {
        alternate(PAIRS, || in_sequence(&sealed), || dropped().and_then(|()| in_sequence(&other)))
    })?;
    let [sequential, random] = names;
    let against = "gocryptfs, warm ciphertext";
    table.add(Row::compared(sequential, against, "MiB/s", &found, Goal::AtLeast(1.5)));
    let found = as_user(VIEWER, || {
        alternate(PAIRS, || at_random(&sealed), || dropped().and_then(|()| at_random(&other)))
    })?;
    table.add(Row::compared(random, against, "reads/s", &found, Goal::AtLeast(1.0)));
    Ok(())
}

fn in_sequence(file: &File) -> Outcome<f64> {
    let mut buffer = vec![0; READ];
    let took = seconds(|| {
        (0..SIZE).step_by(READ).try_for_each(|at| Ok(file.read_exact_at(&mut buffer, at as u64)?))
    })?;
    Ok(SIZE as f64 / f64::from(1 << 20) / took)
}

fn stream(mut file: &File) -> Outcome<f64> {
    let mut buffer = vec![0; READ];
    let took = seconds(|| (0..SIZE / READ).try_for_each(|_| Ok(file.read_exact(&mut buffer)?)))?;
    Ok(SIZE as f64 / f64::from(1 << 20) / took)
}

/// No block twice: the multiplier is odd, and there is a power of two of them.
fn at_random(file: &File) -> Outcome<f64> {
    const BLOCK: usize = 4096;
    let mut buffer = [0; BLOCK];
    let blocks = SIZE / BLOCK;
    let took = seconds(|| {
        (0..RANDOM_READS).try_for_each(|number| {
            let block = (number + 1).wrapping_mul(0x9E37_79B9) % blocks;
            Ok(file.read_exact_at(&mut buffer, (block * BLOCK) as u64)?)
        })
    })?;
    Ok(RANDOM_READS as f64 / took)
}

/// The mount asks for a permit, and only a decision makes one.
fn permit(now: greffier::core::time::Timestamp) -> Outcome<Permit> {
    let text = crate::house::POLICY.replace("@VIEWER@", VIEWER);
    let policy =
        Policy::parse(&[PolicyFile { name: "policy.toml".into(), text }]).map_err(|_| "the policy is bad")?;
    let house = House {
        time_zone: SystemClock::new()?.local_time_zone().clone(),
        session_max: "PT1H".parse()?,
        allow_switched_user: true,
    };
    let uid = users::uid_of(VIEWER)?.ok_or("there is no account of the viewer")?;
    let who = Principal { uid, user: Some(VIEWER.parse()?), login_uid: None };
    let target = Target::Source("entrance".parse()?);
    let request = AccessRequest { reason: Some("incident".parse()?), ..AccessRequest::new(who, Verb::View, target) };
    match decide(&policy, &house, &request, &Facts::none(), now) {
        Decision::Allow(permit) => Ok(permit),
        Decision::Deny(denial) => Err(denial.sentence.into()),
    }
}
