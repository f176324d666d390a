//! Measuring: alternating runs, medians, and the clocks of this process and of another.

use std::time::Instant;

use crate::Outcome;

/// The middle value; of an even number of values, the higher of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Medians of several alternating runs.
pub struct Compared {
    pub ours: f64,
    pub against: f64,
    /// The median of the ratios of the pairs, not the ratio of the medians: what slows the machine slows both of a pair.
    pub ratio: f64,
}

/// Runs both in turn, `pairs` times, after one pair that does not count. Who begins changes each time.
pub fn alternate(
    pairs: usize,
    mut ours: impl FnMut() -> Outcome<f64>,
    mut against: impl FnMut() -> Outcome<f64>,
) -> Outcome<Compared> {
    let (mut us, mut them, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let (a, b) = if pair % 2 == 0 {
            let a = ours()?;
            (a, against()?)
        } else {
            let b = against()?;
            (ours()?, b)
        };
        if pair > 0 {
            us.push(a);
            them.push(b);
            ratios.push(a / b);
        }
    }
    Ok(Compared { ours: median(us), against: median(them), ratio: median(ratios) })
}

/// How many seconds `work` takes.
pub fn seconds<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

/// Processor time that process `pid` has used, in seconds, ended threads included.
pub fn cpu_seconds(pid: u32) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; user and system time are fields 14 and 15.
    let after_name = stat.rsplit_once(") ").ok_or("/proc/PID/stat has another form")?.1;
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident memory of process `pid`, in MiB.
pub fn resident_mib(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
