//! Destroying 10,000 recordings that are due while 16 viewers read through their descriptors. On the disk: each purge syncs
//! its key slot, its folder and its entries.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use greffier::shell::bus::client::{RecordingsProxy, Request, RetentionProxy, fields};

use crate::Outcome;
use crate::archive::fill_due;
use crate::house::{CONTROLLER, House};
use crate::measure::Compared;
use crate::opening::{media_file, seal};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const RECORDINGS: u64 = 10_000;
const VIEWERS: usize = 16;
const SIZE: usize = 4 << 20;
const READ: usize = 128 << 10;
/// How long the viewers read alone.
const ALONE: Duration = Duration::from_secs(3);

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let mut house = House::set_up(places.on_disk("purge")?)?;
    // Far more than usual: they wait until a person orders the run.
    fill_due(&house, RECORDINGS, -1)?;
    house.start()?;
    let media = media_file(places, "media-purge", SIZE)?;
    let (order, ordered) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let (alone, during, purged, took) = std::thread::scope(|scope| {
        let house = &house;
        // A thread of root's, which can become the controller's; the viewer's threads cannot.
        scope.spawn(move || ordered.recv().is_ok().then(|| tell.send(run_retention(house))));
        view_and_purge(house, &media, order, told)
    })?;
    table.add(Row::alone(
        format!("purging 10,000 recordings while {VIEWERS} viewers read"),
        "/s",
        purged as f64 / took,
        Goal::Shown,
    ));
    let found = Compared { ours: during, against: alone, ratio: during / alone };
    table.add(Row::compared(
        format!("reading of {VIEWERS} viewers while 10,000 recordings are purged"),
        "the same viewers alone",
        "MiB/s",
        &found,
        Goal::Shown,
    ));
    house.stop()
}

/// MiB a second of the viewers alone and during the purge; how many were purged, and in how many seconds.
fn view_and_purge(
    house: &House,
    media: &Path,
    order: mpsc::Sender<()>,
    told: mpsc::Receiver<Outcome<u64>>,
) -> Outcome<(f64, f64, u64, f64)> {
    house.as_viewer(async move |bus| {
        let recordings = RecordingsProxy::new(&bus).await?;
        let id = seal(&recordings, media).await?;
        let (mut files, mut sessions) = (Vec::new(), Vec::new());
        for _ in 0..VIEWERS {
            let request = Request::from([("reason", "incident".into())]);
            let (session, descriptor, _info) = recordings.open(&id, request).await?;
            files.push(File::from(std::os::fd::OwnedFd::from(descriptor)));
            sessions.push(session);
        }
        let (over, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            // Threads of the viewer's: a descriptor answers nobody else.
            let readers: Vec<_> =
                files.iter().map(|file| scope.spawn(|| read_until(file, &over, &bytes))).collect();
            // Time to come up to speed.
            std::thread::sleep(Duration::from_millis(500));
            let (before, since) = (bytes.load(Ordering::Relaxed), Instant::now());
            std::thread::sleep(ALONE);
            let alone = rate(&bytes, before, since);
            let (before, since) = (bytes.load(Ordering::Relaxed), Instant::now());
            let purged = order
                .send(())
                .map_err(|_| "the controller left")
                .and_then(|()| told.recv().map_err(|_| "the controller said nothing"));
            let (during, took) = (rate(&bytes, before, since), since.elapsed().as_secs_f64());
            over.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().map_err(|_| "a viewer panicked")??;
            }
            Ok((alone, during, purged??, took))
        })
    })
}

fn rate(bytes: &AtomicU64, before: u64, since: Instant) -> f64 {
    (bytes.load(Ordering::Relaxed) - before) as f64 / f64::from(1 << 20) / since.elapsed().as_secs_f64()
}

fn run_retention(house: &House) -> Outcome<u64> {
    let report = house.acting_as(CONTROLLER, async |bus| {
        Ok(fields::to_json(&RetentionProxy::new(&bus).await?.run().await?))
    })?;
    let purged = report.get("purged").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if purged < RECORDINGS { Err(format!("{report:?}: not all were purged").into()) } else { Ok(purged) }
}

fn read_until(file: &File, over: &AtomicBool, bytes: &AtomicU64) -> Outcome<()> {
    let mut buffer = vec![0; READ];
    let mut at = 0;
    while !over.load(Ordering::Relaxed) {
        file.read_exact_at(&mut buffer, at as u64)?;
        bytes.fetch_add(READ as u64, Ordering::Relaxed);
        at = (at + READ) % SIZE;
    }
    Ok(())
}
