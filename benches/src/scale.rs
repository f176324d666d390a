//! What must not grow with the archive: searching, opening, starting, idle memory. All in memory, so that no disk's
//! sync hides the work; archives are synthetic (see `archive`), the daemon is as it is shipped.

use std::time::{Duration, Instant};

use greffier::core::time::Timestamp;
use greffier::shell::bus::client::{ManagerProxy, RecordingsProxy, Request};
use zbus::Connection;

use crate::archive::{SPAN_DAYS, fill};
use crate::house::{CONTROLLER, House};
use crate::measure::{alternate, cpu_seconds, median, resident_mib};
use crate::opening::{media_file, open_and_read, seal};
use crate::place::Places;
use crate::table::{Goal, Row, Table};
use crate::{Outcome, full};

const PAIRS: usize = 7;
const SEARCHES: u64 = 50;
const PAGE: u32 = 100;
const STARTS: usize = 5;
/// Long enough for what a start leaves to do.
const SETTLE: Duration = Duration::from_secs(3);

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let full = full();
    let (large, large_words) = if full { (1_000_000, "1,000,000") } else { (100_000, "100,000") };
    let opens = if full { 10_000 } else { 1_400 };

    let mut middle = House::set_up(places.in_memory("middle")?)?;
    fill(&middle, 10_000)?;
    // Once to build the catalogue, as after an upgrade; then as on any day.
    middle.start()?;
    middle.stop()?;
    middle.start()?;
    std::thread::sleep(SETTLE);
    let resident = resident_mib(middle.daemon_pid()?)?;
    table.add(Row::alone("resident memory, idle, 10,000 recordings", "MiB", resident, Goal::AtMost(24.0)));

    let mut big = House::set_up(places.in_memory("big")?)?;
    fill(&big, large)?;
    big.start()?;
    big.stop()?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(big.start()?.as_secs_f64());
        big.stop()?;
    }
    // The goal of three seconds is for a million.
    let bound = 3.0 * large as f64 / 1e6;
    table.add(Row::alone(
        format!("start with {large_words} recordings, catalogue intact"),
        "s",
        median(starts),
        Goal::AtMost(bound),
    ));

    big.start()?;
    let mut rebuilds = Vec::new();
    for _ in 0..STARTS {
        rebuilds.push(large as f64 / rebuild_seconds(&big)?);
    }
    table.add(Row::alone(
        format!("catalogue rebuilt while serving, {large_words} recordings"),
        "entries/s",
        median(rebuilds),
        Goal::AtLeast(100_000.0),
    ));
    let found = alternate(PAIRS, || search_ms(&big), || search_ms(&middle))?;
    table.add(Row::compared(
        format!("search page of {PAGE} in {large_words} recordings"),
        "the same in 10,000",
        "ms",
        &found,
        Goal::AtMost(1.5),
    ));
    middle.stop()?;

    // The goal is for 100,000 against 1,000, whatever else is measured.
    drop(middle);
    if full {
        big.stop()?;
        big = House::set_up(places.in_memory("hundred")?)?;
        fill(&big, 100_000)?;
        big.start()?;
    }
    let mut small = House::set_up(places.in_memory("small")?)?;
    fill(&small, 1_000)?;
    small.start()?;
    let media = media_file(places, "media-scale", 64 << 10)?;
    let in_big = big.as_viewer(async |bus| seal(&RecordingsProxy::new(&bus).await?, &media).await)?;
    let in_small = small.as_viewer(async |bus| seal(&RecordingsProxy::new(&bus).await?, &media).await)?;
    let each = opens / PAIRS as u64;
    let found = alternate(
        PAIRS,
        || cpu_ms_per_open(&big, &in_big, each),
        || cpu_ms_per_open(&small, &in_small, each),
    )?;
    table.add(Row::compared(
        format!("CPU time per Open, first read and Close, mean of {opens}, archive of 100,000"),
        "archive of 1,000",
        "ms",
        &found,
        Goal::AtMost(1.3),
    ));
    big.stop()?;
    small.stop()
}

/// How long `RebuildIndex` takes to answer.
fn rebuild_seconds(house: &House) -> Outcome<f64> {
    house.acting_as(CONTROLLER, async |bus| {
        let manager = ManagerProxy::new(&bus).await?;
        let began = Instant::now();
        manager.rebuild_index().await?;
        Ok(began.elapsed().as_secs_f64())
    })
}

/// Median time of one page from anywhere in the archive, in milliseconds: the whole call, entry included.
fn search_ms(house: &House) -> Outcome<f64> {
    house.as_viewer(async |bus: Connection| {
        let recordings = RecordingsProxy::new(&bus).await?;
        let mut took = Vec::new();
        for number in 0..SEARCHES {
            let from = long_ago(number)?.to_string();
            let filter = Request::from([("reason", "incident".into()), ("from", from.into())]);
            let began = Instant::now();
            let (rows, _next) = recordings.search(filter, PAGE, "").await?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            if rows.len() != PAGE as usize {
                return Err(format!("a page has {} rows", rows.len()).into());
            }
        }
        Ok(median(took))
    })
}

/// An instant in the first nine tenths of the archive.
fn long_ago(number: u64) -> Outcome<Timestamp> {
    let now = greffier::shell::clock::SystemClock::new()?.now().time;
    let part = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let span = SPAN_DAYS * 86_400_000_000;
    let ago = span / 10 + i64::try_from(part)? * (span / 10 * 9 >> 32);
    Ok(now.saturating_add_micros(-ago))
}

fn cpu_ms_per_open(house: &House, id: &str, count: u64) -> Outcome<f64> {
    let pid = house.daemon_pid()?;
    house.as_viewer(async |bus| {
        let recordings = RecordingsProxy::new(&bus).await?;
        let before = cpu_seconds(pid)?;
        for _ in 0..count {
            open_and_read(&bus, &recordings, id).await?;
        }
        Ok((cpu_seconds(pid)? - before) * 1e3 / count as f64)
    })
}
