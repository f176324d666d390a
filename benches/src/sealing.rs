//! Sealing through the bus: in memory, where nothing but our own work is measured, and on the disk, beside programs that
//! encrypt the same file onto the same disk.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use greffier::shell::bus::client::RecordingsProxy;

use crate::Outcome;
use crate::house::House;
use crate::measure::{alternate, seconds};
use crate::opening::{media_file, seal};
use crate::others::{self, Gocryptfs};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 5;
const DISK_PAIRS: usize = 3;
/// More than all runs in memory take together.
const TOUCHED_MIB: usize = 3072;
const LARGE: usize = 256 << 20;
const FOUR: usize = 64 << 20;

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    in_memory(places, table)?;
    on_disk(places, table)
}

fn in_memory(places: &Places, table: &mut Table) -> Outcome<()> {
    touch_memory(places)?;
    let mut house = House::set_up(places.in_memory("seal")?)?;
    house.start()?;

    let name = "sealing one file of 256 MiB, tmpfs";
    let large = media_file(places, "media-large", LARGE)?;
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok() {
        let found = alternate(
            PAIRS,
            || Ok(mib(seconds(|| seal_in_turn(&house, std::slice::from_ref(&large)))?, LARGE)),
            || Ok(mib(seconds(|| openssl(&large))?, LARGE)),
        )?;
        table.add(Row::compared(name, "openssl dgst -sha256", "MiB/s", &found, Goal::AtLeast(0.85)));
    } else {
        table.skip(name, "there is no openssl to compare with");
    }
    std::fs::remove_file(large)?;

    let four: Vec<PathBuf> =
        (0..4).map(|number| media_file(places, &format!("media-{number}"), FOUR)).collect::<Outcome<_>>()?;
    let found = alternate(
        PAIRS,
        || Ok(mib(seconds(|| seal_at_once(&house, &four))?, 4 * FOUR)),
        || Ok(mib(seconds(|| seal_in_turn(&house, &four))?, 4 * FOUR)),
    )?;
    table.add(Row::compared(
        "sealing four files of 64 MiB at once, tmpfs",
        "one after the other",
        "MiB/s",
        &found,
        Goal::AtLeast(1.3),
    ));
    house.stop()
}

fn mib(seconds: f64, bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20) / seconds
}

/// On a virtual machine memory that was never used is given by the host, page by page: that is not sealing.
fn touch_memory(places: &Places) -> Outcome<()> {
    let file = places.in_memory("touched")?.join("file");
    let mut touched = File::create(&file)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..TOUCHED_MIB {
        touched.write_all(&zeros)?;
    }
    Ok(std::fs::remove_file(file)?)
}

fn on_disk(places: &Places, table: &mut Table) -> Outcome<()> {
    let mut house = House::set_up(places.on_disk("seal")?)?;
    house.start()?;
    let media = media_file(places, "media-disk", LARGE)?;
    let mut beside = |against: &'static str, goal: Goal, other: &dyn Fn() -> Outcome<()>| -> Outcome<()> {
        let found = alternate(
            DISK_PAIRS,
            || Ok(mib(seconds(|| seal_in_turn(&house, std::slice::from_ref(&media)))?, LARGE)),
            || Ok(mib(seconds(other)?, LARGE)),
        )?;
        table.add(Row::compared("sealing one file of 256 MiB, disk", against, "MiB/s", &found, goal));
        Ok(())
    };
    let mut left_out = Vec::new();
    match Gocryptfs::missing() {
        Some(why) => left_out.push(why),
        None => {
            let gocryptfs = Gocryptfs::mount(&places.on_disk("gocryptfs-seal")?)?;
            beside("gocryptfs, write and fsync", Goal::AtLeast(1.5), &|| {
                gocryptfs.write(&media, "media").map(|_| ())
            })?;
        }
    }
    if others::is_there("restic") {
        // It would find the file there already: each run has a repository of its own.
        let dir = places.on_disk("restic")?;
        for run in 1..=DISK_PAIRS + 1 {
            others::restic_init(&dir.join(run.to_string()))?;
        }
        let runs = Cell::new(0);
        beside("restic backup", Goal::AtLeast(4.0), &|| {
            runs.set(runs.get() + 1);
            others::restic_backup(&dir.join(runs.get().to_string()), &media)
        })?;
    } else {
        left_out.push("there is no restic to compare with");
    }
    if others::is_there("age") {
        let (recipient, out) = (others::age_recipient()?, places.on_disk("age")?.join("media.age"));
        beside("age, and fsync", Goal::Shown, &|| others::age(&recipient, &media, &out))?;
    } else {
        left_out.push("there is no age to compare with");
    }
    left_out.iter().for_each(|why| table.skip("sealing one file of 256 MiB, disk", why));
    house.stop()
}

fn seal_in_turn(house: &House, files: &[PathBuf]) -> Outcome<()> {
    house.as_viewer(async |bus| {
        let recordings = RecordingsProxy::new(&bus).await?;
        for file in files {
            seal(&recordings, file).await?;
        }
        Ok(())
    })
}

fn seal_at_once(house: &House, files: &[PathBuf]) -> Outcome<()> {
    house.as_viewer(async |bus| {
        let recordings = RecordingsProxy::new(&bus).await?;
        let [a, b, c, d] = files else { return Err("four files are sealed at once".into()) };
        tokio::try_join!(
            seal(&recordings, a),
            seal(&recordings, b),
            seal(&recordings, c),
            seal(&recordings, d)
        )?;
        Ok(())
    })
}

fn openssl(file: &std::path::Path) -> Outcome<()> {
    let status =
        Command::new("openssl").args(["dgst", "-sha256"]).arg(file).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err("openssl dgst failed".into()) }
}
