//! Verifying an export with details, against nothing but hashing the same bytes on two threads.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use greffier::daemon::ledger::Proposal;
use greffier::shell::users;
use greffier::verify::{Options, Source, verify_ledger};
use sha2::{Digest as _, Sha256};

use crate::Outcome;
use crate::archive::open_ledger;
use crate::house::{House, VIEWER};
use crate::ledger::draft;
use crate::measure::{alternate, seconds};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 7;
const ENTRIES: u64 = 50_000;
const BATCH: u64 = 200;

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let mut house = House::set_up(places.in_memory("verify")?)?;
    let writer = open_ledger(&house)?;
    for _ in 0..ENTRIES / BATCH {
        let batch = (1..BATCH).fold(Proposal::new(draft(), ()), |proposal, _| proposal.and(draft()));
        let _entry = writer.opened.ledger.record_blocking(move |_| Ok(batch))?;
    }
    writer.close()?;
    house.start()?;
    let dir = export(&house)?;
    house.stop()?;

    let key = std::fs::read_to_string(house.path("state/ledger/vkey"))?.trim_end().parse()?;
    let options = Options::new(Source::Path(dir.clone()), key);
    let bytes = contents(&dir)?.concat();
    let mib = bytes.len() as f64 / f64::from(1 << 20);
    let verify = || {
        let verdict = verify_ledger(&options)?;
        if verdict.exit_code() != 0 || verdict.summary.details_matched < ENTRIES {
            return Err(format!("the export is not sound: {:?}", verdict.summary).into());
        }
        Ok(())
    };
    let found = alternate(PAIRS, || Ok(mib / seconds(verify)?), || Ok(mib / seconds(|| hash(&bytes))?))?;
    table.add(Row::compared(
        "verifying 50,000 entries with details",
        "two threads of sha2 over the same bytes",
        "MiB/s",
        &found,
        Goal::AtLeast(0.7),
    ));
    Ok(())
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
