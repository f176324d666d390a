//! Durable entries: the ledger's writer in this process, on the disk, against the plain ways of making bytes durable.

use std::sync::mpsc::Receiver;

use greffier::core::event::{Detail, Draft, Event, Outcome as Ended, Searched, Subject, Who};
use greffier::core::ledger::entry::Entry;
use greffier::core::ledger::tail::{FRAME_OVERHEAD_BYTES, FrameKind, HEADER_BYTES, TailHeader, scan};
use greffier::daemon::ledger::{Committed, Ledger, Proposal, Reader};

use crate::Outcome;
use crate::archive::open_ledger;
use crate::baseline::{EntryBytes, PreparedFile, Sqlite, one_thread};
use crate::house::House;
use crate::measure::{Compared, alternate, median, seconds};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 7;
/// Entries of one run with one caller: four bundles, so what a bundle costs is in it.
const ENTRIES: u64 = 1024;
const CALLERS: u64 = 64;
const RECEIPTS: u64 = 5000;
/// From one receipt to the next, in entries: no two neighbours share a bundle.
const STRIDE: u64 = 7919;
/// Entries of each caller when there are 64.
const EACH: u64 = 128;
/// Entries of all callers together, whatever their number.
const TOGETHER: u64 = CALLERS * EACH;

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let house = House::set_up(places.on_disk("ledger")?)?;
    let writer = open_ledger(&house)?;
    let (ledger, committed) = (&writer.opened.ledger, &writer.opened.committed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    // Fewer than a bundle: they still stand in the tail, which tells their size.
    record(ledger, 100)?;
    let entry = entry_bytes(&house, &writer.opened.reader)?;
    let _created = sizes(committed);

    let mut file = PreparedFile::make(&places.on_disk("plain")?.join("file"), 64 << 20)?;
    let one = vec![1; entry.frames + entry.checkpoint_frame];
    let per_second = |seconds: f64, count: u64| count as f64 / seconds;
    let found = alternate(
        PAIRS,
        || Ok(per_second(seconds(|| record(ledger, ENTRIES))?, ENTRIES)),
        || {
            file.rewind();
            Ok(per_second(seconds(|| (0..ENTRIES).try_for_each(|_| file.append(&one)))?, ENTRIES))
        },
    )?;
    let name = "durable entries, one caller";
    table.add(Row::compared(name, "write + fdatasync", "entries/s", &found, Goal::AtLeast(0.6)));

    let sqlite = Sqlite::make(&places.on_disk("sqlite")?.join("db"))?;
    let found = alternate(
        PAIRS,
        || Ok(per_second(seconds(|| record(ledger, ENTRIES))?, ENTRIES)),
        || Ok(per_second(seconds(|| sqlite.insert(&entry, ENTRIES))?, ENTRIES)),
    )?;
    table.add(Row::compared(name, "SQLite, WAL, FULL", "entries/s", &found, Goal::AtLeast(0.8)));

    let many = |callers: u64| runtime.block_on(record_from_many(ledger, callers, TOGETHER / callers));
    let found = alternate(
        PAIRS,
        || Ok(per_second(seconds(|| many(CALLERS))?, TOGETHER)),
        || Ok(per_second(seconds(|| record(ledger, ENTRIES))?, ENTRIES)),
    )?;
    let name = "durable entries, 64 callers";
    table.add(Row::compared(name, "one caller", "entries/s", &found, Goal::AtLeast(6.0)));

    // The same batches: their sizes come from the run just before.
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let _before = sizes(committed);
    for _ in 0..PAIRS {
        let us = per_second(seconds(|| many(CALLERS))?, TOGETHER);
        let batches = sizes(committed);
        file.rewind();
        let them = per_second(seconds(|| one_thread(&entry, &batches, &mut file))?, TOGETHER);
        ours.push(us);
        theirs.push(them);
        ratios.push(us / them);
    }
    let found = Compared { ours: median(ours), against: median(theirs), ratio: median(ratios) };
    table.add(Row::compared(
        name,
        "hashing, signing, syncing the same batches on one thread",
        "entries/s",
        &found,
        Goal::AtLeast(0.8),
    ));

    for callers in [1, 16, CALLERS, 256] {
        let runs =
            (0..PAIRS).map(|_| Ok(per_second(seconds(|| many(callers))?, TOGETHER / callers * callers)));
        let found = median(runs.collect::<Outcome<_>>()?);
        table.add(Row::alone(format!("durable entries, {callers} callers"), "entries/s", found, Goal::Shown));
    }

    let made = median((0..PAIRS).map(|_| receipts(ledger, &writer.opened.reader)).collect::<Outcome<_>>()?);
    table.add(Row::alone("receipts made, one thread", "receipts/s", made, Goal::Shown));
    writer.close()
}

/// A search by a person, as the bus brings it.
pub fn draft() -> Draft {
    let searched = Searched {
        what: "search".into(),
        sources: "entrance".parse().into_iter().collect(),
        from: None,
        to: None,
    };
    let who = Who {
        uid: 1000,
        user: Some("camille".into()),
        pid: Some(4321),
        exe: Some("/usr/bin/greffier-view".into()),
        login_uid: Some(1000),
        bus_name: Some(":1.234".into()),
        ..Who::default()
    };
    let detail = Detail { who: Some(who), rule: Some("guard-views".into()), ..Detail::default() };
    Draft::fact(Event::AccessSearched(searched))
        .outcome(Ended::Granted)
        .about(Subject { reason: "incident".parse().ok(), ..Subject::default() })
        .with_detail(detail)
}

fn record(ledger: &Ledger, count: u64) -> Outcome<()> {
    for _ in 0..count {
        let _entry = ledger.record_blocking(|_| Ok(Proposal::new(draft(), ())))?;
    }
    Ok(())
}

/// Receipts a second, of entries all over the ledger: most stand in bundles and tiles, the last ones in the tail.
fn receipts(ledger: &Ledger, reader: &Reader) -> Outcome<f64> {
    let head = ledger.head();
    let made = seconds(|| {
        for n in 0..RECEIPTS {
            let _receipt = reader.receipt(n * STRIDE % head.size, &head)?;
        }
        Ok(())
    })?;
    Ok(RECEIPTS as f64 / made)
}

async fn record_from_many(ledger: &Ledger, callers: u64, each: u64) -> Outcome<()> {
    let callers = (0..callers).map(|_| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for _ in 0..each {
                let _entry = ledger.record(|_| Ok(Proposal::new(draft(), ()))).await?;
            }
            Outcome::Ok(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    Ok(())
}

/// The sizes of the batches since the last time.
fn sizes(committed: &Receiver<Committed>) -> Vec<usize> {
    committed.try_iter().map(|batch| batch.records.len()).collect()
}

/// The last entry of the tail, and how long its frames are.
fn entry_bytes(house: &House, reader: &Reader) -> Outcome<EntryBytes> {
    let tail = std::fs::read(house.path("state/ledger/tail"))?;
    let number = TailHeader::decode(&tail)?.tail_number;
    let last = |kind| {
        let of_kind = scan(&tail, number, HEADER_BYTES).filter(|frame| frame.kind == kind);
        of_kind.last().map(|frame| frame.payload).ok_or("the tail lacks a frame")
    };
    let (line, sealed, checkpoint) =
        (last(FrameKind::Entry)?, last(FrameKind::Detail)?, last(FrameKind::Checkpoint)?);
    let seq = Entry::parse(line)?.seq;
    let detail = reader.entries(seq, 1, usize::MAX)?.first().map(|line| reader.detail(line)).transpose()?;
    Ok(EntryBytes {
        line: line.to_vec(),
        detail: detail.flatten().ok_or("the entry has no detail")?,
        frames: line.len() + sealed.len() + 2 * FRAME_OVERHEAD_BYTES,
        checkpoint_frame: checkpoint.len() + FRAME_OVERHEAD_BYTES,
    })
}
