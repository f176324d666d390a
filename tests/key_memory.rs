//! What other processes, core dumps and swap can see of the memory of the real daemon: nothing (design §6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{House, noise, until};

/// Runs a program without the capability that looks into any process: then what the process itself allows decides.
const WITHOUT_PTRACE: [&str; 3] = ["setpriv", "--bounding-set", "-sys_ptrace"];

/// A program that hides nothing, to see what a program that does is spared.
struct Other(Child);

impl Other {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(WITHOUT_PTRACE[0]);
        let command = command.args(&WITHOUT_PTRACE[1..]).args(["sleep", "600"]).current_dir(dir);
        let other = Self(command.stdin(Stdio::null()).spawn().unwrap());
        until("it runs", || {
            let name = fs::read_to_string(format!("/proc/{}/comm", other.pid())).unwrap();
            (name.trim() == "sleep").then_some(())
        });
        other
    }
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Whether another process of root, without that capability, may look into `pid`: the kernel asks the same question for the
/// name of its program as for its memory and for a debugger.
fn can_be_looked_into(pid: u32) -> bool {
    let mut command = Command::new(WITHOUT_PTRACE[0]);
    command.args(&WITHOUT_PTRACE[1..]).arg("readlink").arg(format!("/proc/{pid}/exe"));
    command.output().unwrap().status.success()
}

/// A line of a file of `/proc`, without its name.
fn fact(pid: u32, file: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

/// Lets a process write a core of any size, whatever it said itself.
fn allow_core(pid: u32) {
    let set = |limit: &str| {
        let output = Command::new("prlimit").args(["--pid", &pid.to_string(), limit]).output().unwrap();
        output.status.success()
    };
    // Who may not raise the hard limit may raise the other up to it.
    if !set("--core=unlimited:unlimited") && !set("--core=unlimited:") {
        eprintln!("NOT TESTED with a core allowed: this machine does not let a limit be raised");
    }
}

fn cores_in(dir: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    found.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("core")).collect()
}

/// A house whose daemon runs in `dir`, with a recording open: keys are in memory.
fn house_in(dir: &str) -> (House, PathBuf) {
    let mut house = House::closed(Path::new("state"));
    let dir = house.path(dir);
    fs::create_dir(&dir).unwrap();
    let exec = format!("cd {} && exec {} \"$@\"", dir.display(), WITHOUT_PTRACE.join(" "));
    house.wrapper = ["sh", "-c", exec.as_str(), "sh"].map(String::from).to_vec();
    house.start();
    (house, dir)
}

#[test]
fn no_other_process_may_look_into_the_daemon_and_its_keys_stay_in_memory() {
    let (house, dir) = house_in("work");
    let pid = house.pid();
    let other = Other::start(&dir);
    assert!(can_be_looked_into(other.pid()), "this test would see nothing");
    assert!(!can_be_looked_into(pid), "the daemon is dumpable");

    let limit = fact(pid, "limits", "Max core file size");
    assert_eq!(limit.split_whitespace().next(), Some("0"));
    let locked: u64 = fact(pid, "status", "VmLck:").trim_end_matches(" kB").parse().unwrap();
    let (_, why) = house.user("games").state();
    if why.contains("not locked in memory") {
        eprintln!(
            "NOT TESTED: this machine does not let the daemon lock memory, and its state says so: {why}"
        );
    } else {
        assert!(locked > 0, "keys may be swapped out, and the state does not say so: {why}");
        // The mapping that is locked is the one that no dump holds and no child gets.
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
        let kept: Vec<Vec<&str>> = flags.map(|flags| flags.split_whitespace().collect()).collect();
        let locked: Vec<_> = kept.iter().filter(|flags| flags.contains(&"lo")).collect();
        assert!(!locked.is_empty(), "{kept:?}");
        for flags in locked {
            assert!(["dd", "wf"].iter().all(|flag| flags.contains(flag)), "{flags:?}");
        }
    }
    house.finish();
}

#[test]
fn a_daemon_that_aborts_writes_no_core_even_where_one_is_allowed() {
    let (mut house, dir) = house_in("work");
    let id = house.seal("entrance", "clip.mp4", &noise(1, 10_000));
    let games = house.user("games");
    let opened = games.open(&id, &[("reason", "incident")]).unwrap();
    games.read(&opened.file, 0, 100).unwrap();

    let elsewhere = house.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut other = Other::start(&elsewhere);
    allow_core(other.pid());
    kill_process(Pid::from_child(&other.0), Signal::ABORT).unwrap();
    let ended = other.0.wait().unwrap();
    if ended.core_dumped() {
        eprintln!("another process wrote {:?}", cores_in(&elsewhere));
    } else {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        eprintln!("NOT TESTED against a process that is dumped: the pattern here is {}", pattern.trim());
    }

    allow_core(house.pid());
    house.signal(Signal::ABORT);
    let ended = house.perished();
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()));
    // The kernel says so itself, wherever dumps go.
    assert!(!ended.core_dumped(), "a core was written: {ended}");
    assert_eq!(cores_in(&dir), [] as [PathBuf; 0]);
    drop((opened, games));
    house.start();
    house.finish();
}
