//! Verifying an export with details: against nothing but hashing the same bytes on two threads, and against the verification
//! of as many entries of a sealed journal. And how many receipts the service gives.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use greffier::core::ledger::hash::{detail_commitment, leaf_hash};
use greffier::core::ledger::tree::root_of;
use greffier::daemon::ledger::Proposal;
use greffier::shell::bus::client::LedgerProxy;
use greffier::shell::users;
use greffier::verify::{Options, Source, verify_ledger};
use sha2::{Digest as _, Sha256};

use crate::Outcome;
use crate::archive::open_ledger;
use crate::full;
use crate::house::{House, VIEWER};
use crate::journal::Journal;
use crate::ledger::draft;
use crate::measure::{alternate, median, seconds};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 7;
const BATCH: u64 = 200;
/// Receipts of one run.
const RECEIPTS: u64 = 1024;

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let (entries, words) = if full() { (1_000_000, "1,000,000") } else { (50_000, "50,000") };
    let name = format!("verifying {words} entries with details");
    let mut house = House::set_up(places.in_memory("verify")?)?;
    let writer = open_ledger(&house)?;
    for _ in 0..entries / BATCH {
        let batch = (1..BATCH).fold(Proposal::new(draft(), ()), |proposal, _| proposal.and(draft()));
        let _entry = writer.opened.ledger.record_blocking(move |_| Ok(batch))?;
    }
    writer.close()?;
    house.start()?;
    let dir = export(&house)?;
    for callers in [1, 16] {
        let found = (0..PAIRS).map(|run| receipts(&house, entries, callers, run as u64));
        let found = median(found.collect::<Outcome<_>>()?);
        table.add(Row::alone(
            format!("receipts over the bus, {callers} at once, each one recorded"),
            "receipts/s",
            found,
            Goal::Shown,
        ));
    }
    house.stop()?;

    let key = std::fs::read_to_string(house.path("state/ledger/vkey"))?.trim_end().parse()?;
    let options = Options::new(Source::Path(dir.clone()), key);
    let bytes = contents(&dir)?.concat();
    let mib = bytes.len() as f64 / f64::from(1 << 20);
    let verify = || {
        let verdict = verify_ledger(&options)?;
        if verdict.exit_code() != 0 || verdict.summary.details_matched < entries {
            return Err(format!("the export is not sound: {:?}", verdict.summary).into());
        }
        Ok(())
    };
    let found = alternate(PAIRS, || Ok(mib / seconds(verify)?), || Ok(mib / seconds(|| hash(&bytes))?))?;
    table.add(Row::compared(
        name.as_str(),
        "two threads of sha2 over the same bytes",
        "MiB/s",
        &found,
        Goal::AtLeast(0.7),
    ));

    let (lines, details) = parts(&dir)?;
    let found = alternate(
        PAIRS,
        || Ok(mib / seconds(verify)?),
        || Ok(mib / seconds(|| hash_each(&lines, &details))?),
    )?;
    table.add(Row::compared(
        name.as_str(),
        "two threads of sha2 over each entry, each detail and the tree: what no verifier can leave out",
        "MiB/s",
        &found,
        Goal::Shown,
    ));

    match Journal::seal(&places.in_memory("journal")?, entries)? {
        None => table.skip(&name, "systemd-journal-remote is not installed"),
        Some(journal) => {
            let per_second = |seconds: f64| entries as f64 / seconds;
            let found = alternate(
                PAIRS,
                || Ok(per_second(seconds(verify)?)),
                || Ok(per_second(seconds(|| journal.verify())?)),
            )?;
            let against = "journalctl --verify, as many sealed entries";
            table.add(Row::compared(name, against, "entries/s", &found, Goal::AtLeast(20.0)));
        }
    }
    Ok(())
}

/// Receipts per second, for entries all over the ledger.
fn receipts(house: &House, entries: u64, callers: u64, run: u64) -> Outcome<f64> {
    house.as_viewer(async |bus| {
        let ledger = LedgerProxy::new(&bus).await?;
        let began = Instant::now();
        let ask = async |caller: u64| {
            for n in 0..RECEIPTS / callers {
                // A step that meets every part of the ledger.
                let entry = (run + caller + n * callers).wrapping_mul(7919) % entries;
                let _receipt = ledger.receipt(entry).await?;
            }
            Outcome::Ok(())
        };
        futures_util::future::try_join_all((0..callers).map(ask)).await?;
        Ok(RECEIPTS as f64 / began.elapsed().as_secs_f64())
    })
}

/// As an auditor takes it away, with details.
fn export(house: &House) -> Outcome<PathBuf> {
    // Where the auditor may run it, and where he may write.
    let (program, dir) = (house.path("greffierctl"), house.path("export"));
    std::fs::copy(house.program("greffierctl"), &program)?;
    let uid = users::uid_of(VIEWER)?.ok_or("there is no account of the viewer")?;
    std::fs::create_dir(&dir)?;
    std::os::unix::fs::chown(&dir, Some(uid), None)?;
    let output = Command::new(program)
        .args(["--bus", &house.address(), "ledger", "export", "--with-details"])
        .arg(&dir)
        .uid(uid)
        .output()?;
    if output.status.success() { Ok(dir) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

/// Every file of the export.
fn contents(dir: &Path) -> Outcome<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(contents(&path)?);
        } else {
            files.push(std::fs::read(path)?);
        }
    }
    Ok(files)
}

/// The entries of an export, and its details.
fn parts(dir: &Path) -> Outcome<(Vec<Vec<u8>>, Vec<Vec<u8>>)> {
    let mut lines = Vec::new();
    for bundle in contents(&dir.join("tile/entries"))? {
        let mut rest = bundle.as_slice();
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (line, more) = more.split_at(usize::from(u16::from_be_bytes(*length)).min(more.len()));
            lines.push(line.to_vec());
            rest = more;
        }
    }
    let details = std::fs::read(dir.join("details.jsonl"))?;
    let details = details.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok((lines, details.map(<[u8]>::to_vec).collect()))
}

/// Leaf hashes, commitments and inner nodes, half on each thread.
fn hash_each(lines: &[Vec<u8>], details: &[Vec<u8>]) -> Outcome<()> {
    let work = |lines: &[Vec<u8>], details: &[Vec<u8>]| {
        let leaves: Vec<_> = lines.iter().map(|line| leaf_hash(line)).collect();
        std::hint::black_box(root_of(&leaves));
        for line in details {
            std::hint::black_box(detail_commitment(line));
        }
    };
    let (a, b) = (lines.split_at(lines.len() / 2), details.split_at(details.len() / 2));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(a.0, b.0));
        work(a.1, b.1);
        other.join().map_err(|_| "a hashing thread panicked")
    })?;
    Ok(())
}

/// Half of the bytes on each thread.
fn hash(bytes: &[u8]) -> Outcome<()> {
    let (a, b) = bytes.split_at(bytes.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| std::hint::black_box(Sha256::digest(a)));
        std::hint::black_box(Sha256::digest(b));
        other.join().map_err(|_| "a hashing thread panicked")
    })?;
    Ok(())
}
