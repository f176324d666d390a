//! Reading through a descriptor: what decryption costs beside the same mount serving the same bytes from memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use greffier::core::access::Recorded;
use greffier::core::format::header::Header;
use greffier::core::format::trailer::Trailer;
use greffier::core::ids::{Kind, RecordingId, SessionId};
use greffier::core::policy::{
    AccessRequest, Decision, House, Permit, Policy, PolicyFile, Principal, Target, Verb, decide,
};
use greffier::shell::clock::SystemClock;
use greffier::shell::crypt::{ChunkSealer, Secret};
use greffier::shell::disk::object::{ObjectStore, SealedReader};
use greffier::shell::fuse::{FuseMount, Plaintext, Serving};
use greffier::shell::users;

use crate::Outcome;
use crate::house::{VIEWER, as_user};
use crate::measure::{alternate, seconds};
use crate::opening::media_file;
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 9;
const SIZE: usize = 256 << 20;
const READ: usize = 128 << 10;
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
    let serve = |number: u8, content: Box<dyn Plaintext>| -> Outcome<File> {
        let session = SessionId::from_bytes([number; 16]);
        let permit = permit(now.time)?;
        mount.prepare(Serving {
            session,
            owner_uid: permit.uid(),
            until: now.time.saturating_add_micros(3_600_000_000),
            until_up_micros: now.up_micros + 3_600_000_000,
            seekable: true,
            content,
        })?;
        mount.arm(&session, &Recorded::for_test(permit))?;
        Ok(File::from(mount.open_descriptor(&session)?))
    };
    let sealed = serve(1, Box::new(Sealed(SealedReader::open(&store, id, &secret)?)))?;
    let clear = serve(2, Box::new(Clear(Arc::new(std::fs::read(&media)?))))?;
    let found = as_user(VIEWER, || alternate(PAIRS, || mib_per_second(&sealed), || mib_per_second(&clear)))?;
    table.add(Row::compared(
        "reading through a descriptor, 128 KiB",
        "same mount, unencrypted from memory",
        "MiB/s",
        &found,
        Goal::AtLeast(0.8),
    ));
    Ok(())
}

fn mib_per_second(file: &File) -> Outcome<f64> {
    let mut buffer = vec![0; READ];
    let took = seconds(|| {
        (0..SIZE).step_by(READ).try_for_each(|at| Ok(file.read_exact_at(&mut buffer, at as u64)?))
    })?;
    Ok(SIZE as f64 / f64::from(1 << 20) / took)
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
    let request = AccessRequest {
        who: Principal { uid, user: Some(VIEWER.parse()?), login_uid: None },
        verb: Verb::View,
        target: Target::Source("entrance".parse()?),
        purpose: None,
        reason: Some("incident".parse()?),
        case_given: false,
        until: None,
    };
    match decide(&policy, &house, &request, now) {
        Decision::Allow(permit) => Ok(permit),
        Decision::Deny(denial) => Err(denial.sentence.into()),
    }
}
