//! Sealing through the bus, in memory: nothing but our own work is measured.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use greffier::shell::bus::client::RecordingsProxy;

use crate::Outcome;
use crate::house::House;
use crate::measure::{alternate, seconds};
use crate::opening::{media_file, seal};
use crate::place::Places;
use crate::table::{Goal, Row, Table};

const PAIRS: usize = 5;
const LARGE: usize = 256 << 20;
const FOUR: usize = 64 << 20;

pub fn measure(places: &Places, table: &mut Table) -> Outcome<()> {
    let mut house = House::set_up(places.in_memory("seal")?)?;
    house.start()?;

    let name = "sealing one file of 256 MiB, tmpfs";
    let large = media_file(places, "media-large", LARGE)?;
    let mib = |seconds: f64, bytes: usize| bytes as f64 / f64::from(1 << 20) / seconds;
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
