//! From `Open` to the first byte, with the whole daemon, on the disk.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use greffier::shell::bus::client::{RecordingsProxy, Request, SessionProxy};
use zbus::Connection;
use zbus::fdo::PeerProxy;
use zbus::wire::Fd;

use crate::Outcome;
use crate::baseline::PreparedFile;
use crate::house::{House, VIEWERS};
use crate::measure::{Compared, median};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const RUNS: usize = 7;
const OPENS: usize = 40;
/// Callers of each of [`VIEWERS`]: 64 in all.
const CALLERS_EACH: usize = 8;
const OPENS_EACH: usize = 4;
/// How long the first caller waits for the last to have connected.
const GATHER: Duration = Duration::from_secs(10);
/// What a commit of one entry writes, about.
const COMMIT_BYTES: usize = 1536;

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let mut house = House::set_up(places.on_disk("open")?)?;
    house.start()?;
    let mut file = PreparedFile::make(&places.on_disk("plain-open")?.join("file"), 4 << 20)?;
    let media = media_file(places, "media-open", 1 << 20)?;

    let found = house.as_viewer(async |bus| {
        let recordings = RecordingsProxy::new(&bus).await?;
        let id = seal(&recordings, &media).await?;
        // Alone: nobody else has anything to write meanwhile.
        let peer = PeerProxy::new(&bus, "org.greffier.Archive1", "/org/greffier/Archive1").await?;
        let (mut ours, mut against, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..=RUNS {
            let (mut opens, mut syncs, mut trips) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..OPENS {
                let began = Instant::now();
                file.append(&[1; COMMIT_BYTES])?;
                syncs.push(began.elapsed().as_secs_f64());
                let began = Instant::now();
                peer.ping().await?;
                trips.push(began.elapsed().as_secs_f64());
                opens.push(open_and_read(&bus, &recordings, &id).await?);
            }
            file.rewind();
            let (us, them) = (median(opens), median(syncs) + 2.0 * median(trips));
            if run > 0 {
                ours.push(us * 1e3);
                against.push(them * 1e3);
                ratios.push(us / them);
            }
        }
        Ok(Compared { ours: median(ours), against: median(against), ratio: median(ratios) })
    })?;
    table.add(Row::compared(
        "Open to first byte, median, object warm",
        "one fdatasync + two bus round trips",
        "ms",
        &found,
        Goal::AtMost(2.0),
    ));
    let id = house.as_viewer(async |bus| seal(&RecordingsProxy::new(&bus).await?, &media).await)?;
    let (mut many, mut one, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let alone = house.as_viewer(async |bus| opens(&bus, &id, OPENS).await)?;
        let (us, them) = (median(many_at_once(&house, &id)?), median(alone));
        if run > 0 {
            many.push(us * 1e3);
            one.push(them * 1e3);
            ratios.push(us / them);
        }
    }
    let found = Compared { ours: median(many), against: median(one), ratio: median(ratios) };
    table.add(Row::compared(
        "Open to first byte, median, 64 callers at once",
        "one caller",
        "ms",
        &found,
        Goal::Shown,
    ));
    house.stop()
}

/// One caller, opening again and again. How many seconds each took.
async fn opens(bus: &Connection, id: &str, count: usize) -> Outcome<Vec<f64>> {
    let recordings = RecordingsProxy::new(bus).await?;
    let mut took = Vec::new();
    for _ in 0..count {
        took.push(open_and_read(bus, &recordings, id).await?);
    }
    Ok(took)
}

/// The same with callers of all viewers at once.
fn many_at_once(house: &House, id: &str) -> Outcome<Vec<f64>> {
    let ready = AtomicUsize::new(0);
    let ready = &ready;
    let callers = |user| {
        house.acting_as(user, async move |bus| {
            ready.fetch_add(1, Ordering::SeqCst);
            let began = Instant::now();
            while ready.load(Ordering::SeqCst) < VIEWERS.len() && began.elapsed() < GATHER {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let callers = (0..CALLERS_EACH).map(|_| opens(&bus, id, OPENS_EACH));
            Ok(try_join_all(callers).await?.concat())
        })
    };
    std::thread::scope(|scope| {
        // Threads of root's, each of which becomes one viewer's.
        let threads: Vec<_> = VIEWERS.iter().map(|user| scope.spawn(move || callers(user))).collect();
        let mut took = Vec::new();
        for thread in threads {
            took.extend(thread.join().map_err(|_| "a caller panicked")??);
        }
        Ok(took)
    })
}

/// Opens, reads the first bytes, closes. How many seconds until the first byte was there.
pub async fn open_and_read(bus: &Connection, recordings: &RecordingsProxy<'_>, id: &str) -> Outcome<f64> {
    let began = Instant::now();
    let (session, descriptor, _info) =
        recordings.open(id, Request::from([("reason", "incident".into())])).await?;
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(descriptor));
    let mut first = [0; 4096];
    file.read_exact_at(&mut first, 0)?;
    let took = began.elapsed().as_secs_f64();
    SessionProxy::new(bus, session).await?.close().await?;
    Ok(took)
}

/// A file of `bytes` in memory that no compression would make smaller.
pub fn media_file(places: &Places, name: &str, bytes: usize) -> Outcome<std::path::PathBuf> {
    let path = places.in_memory(name)?.join("media");
    let words =
        (0..bytes.div_ceil(8) as u64).map(|at| (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
    let mut content: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    content.truncate(bytes);
    std::fs::write(&path, content)?;
    Ok(path)
}

/// Seals a file through the bus: the id of the recording.
pub async fn seal(recordings: &RecordingsProxy<'_>, path: &std::path::Path) -> Outcome<String> {
    let file = std::fs::File::open(path)?;
    let metadata = Request::from([("source", "entrance".into()), ("name", "media".into())]);
    Ok(recordings.seal(Fd::from(&file), metadata).await?.0)
}
