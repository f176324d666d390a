//! Caller identity on a private bus, with real processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::*;

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

/// A test that waits for ever tells nothing.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A bus daemon of this test, ended with it.
struct PrivateBus {
    daemon: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl PrivateBus {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("bus.conf");
        let socket = dir.path().join("socket");
        std::fs::write(&config, CONFIG.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--print-address", "--config-file"])
            .arg(&config)
            .stdout(Stdio::piped())
            // It complains that it may not raise its own limit of open files.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed by `make check`");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim_end().to_owned(), _dir: dir }
    }

    async fn connect(&self) -> zbus::Connection {
        zbus::connection::Builder::address(self.address.as_str())
            .method_timeout(TIMEOUT)
            .build()
            .await
            .unwrap()
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Another process with a connection: this test program, running only `the_other_process`.
struct Other {
    process: Child,
    _stdin: ChildStdin,
    name: OwnedUniqueName,
}

impl Other {
    fn start(bus: &PrivateBus) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shell::bus::caller::tests::the_other_process", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        writeln!(stdin, "{}", bus.address).unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // The test harness may have begun the same line.
        let name =
            lines.map(Result::unwrap).find_map(|line| Some(line.split_once("name=")?.1.to_owned())).unwrap();
        Self { process, _stdin: stdin, name: name.try_into().unwrap() }
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test]
#[ignore = "not a test: the process that other tests start"]
async fn the_other_process() {
    let mut address = String::new();
    std::io::stdin().read_line(&mut address).unwrap();
    let connection =
        zbus::connection::Builder::address(address.trim_end()).method_timeout(TIMEOUT).build().await.unwrap();
    println!("name={}", connection.unique_name().unwrap());
    let _ = std::io::stdin().read_line(&mut address);
}

#[tokio::test]
async fn a_caller_is_named_by_the_bus_and_described_by_the_kernel() {
    let bus = PrivateBus::start();
    let connection = bus.connect().await;
    let callers = Callers::new(&connection).await.unwrap();
    let other = Other::start(&bus);
    let caller = callers.identify(&other.name).await.unwrap();
    assert_eq!(caller.uid, rustix::process::getuid().as_raw());
    assert_eq!(caller.pid, Some(other.process.id()));
    assert_eq!(caller.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    assert_eq!(caller.login_uid, read_number(Path::new("/proc/self/loginuid")));
    assert_eq!(caller.bus_name, other.name.as_str());
    assert!(caller.confirmed);
    assert_eq!(callers.identify(&other.name).await.unwrap(), caller, "the second call answers alike");
}

#[tokio::test]
async fn a_process_that_ended_is_unconfirmed_and_leaves_no_evidence() {
    let bus = PrivateBus::start();
    let connection = bus.connect().await;
    let callers = Callers::new(&connection).await.unwrap();
    let mut other = Other::start(&bus);
    assert!(callers.identify(&other.name).await.unwrap().confirmed);
    other.end();
    let caller = callers.identify(&other.name).await.unwrap();
    assert_eq!(caller.uid, rustix::process::getuid().as_raw());
    assert!(!caller.confirmed);
    assert_eq!((caller.exe, caller.unit, caller.login_uid), (None, None, None));
}

#[tokio::test]
async fn a_connection_that_is_gone_is_nobody() {
    let bus = PrivateBus::start();
    let connection = bus.connect().await;
    let callers = Callers::new(&connection).await.unwrap();
    let mut other = Other::start(&bus);
    callers.identify(&other.name).await.unwrap();
    other.end();
    // The bus daemon notices the closed socket in its own time.
    while DBusProxy::new(&connection)
        .await
        .unwrap()
        .name_has_owner(other.name.inner().clone().into())
        .await
        .unwrap()
    {
        tokio::task::yield_now().await;
    }
    callers.forget(&other.name);
    let answer = callers.identify(&other.name).await;
    assert!(matches!(answer, Err(CallerError::Bus { .. })), "{answer:?}");
}

#[tokio::test]
async fn the_table_of_known_connections_is_bounded() {
    let bus = PrivateBus::start();
    let connection = bus.connect().await;
    let callers = Callers::new(&connection).await.unwrap();
    for number in 0..MAX_KNOWN {
        let name = OwnedUniqueName::try_from(format!(":9.{number}")).unwrap();
        callers.known().insert(name, Arc::new(Peer { uid: 1, pid: None, process: None }));
    }
    let own = connection.unique_name().unwrap();
    assert!(callers.identify(own).await.unwrap().confirmed);
    assert_eq!(callers.known().len(), 1);
}

#[test]
fn the_unit_is_the_one_the_system_named() {
    let cases: [(&[u8], Option<&str>); 6] = [
        (b"0::/system.slice/asterisk.service\n", Some("asterisk.service")),
        (b"0::/user.slice/user-1000.slice/session-3.scope\n", Some("session-3.scope")),
        // The part below user@ belongs to the user, who may name it like a system service.
        (b"0::/user.slice/user-7.slice/user@7.service/app.slice/greffierd.service\n", Some("user@7.service")),
        (b"12:cpu:/x.service\n1:name=systemd:/system.slice/cron.service\n", Some("cron.service")),
        (b"0::/\n", None),
        (b"", None),
    ];
    for (cgroup, unit) in cases {
        assert_eq!(unit_of(cgroup).as_deref(), unit);
    }
}

#[test]
fn inv10_text_of_a_process_is_bounded_and_utf8() {
    assert_eq!(bounded(b"/bin/\xFFx"), "/bin/\u{FFFD}x");
    for length in [MAX_TEXT_BYTES - 1, MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1, 5000] {
        let text = bounded("é".repeat(length).as_bytes());
        assert!(text.len() <= MAX_TEXT_BYTES && text.chars().all(|c| c == 'é'), "{length}");
    }
}

#[test]
fn an_unset_login_uid_is_nobody_and_not_a_uid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("loginuid");
    for (text, number) in
        [("4294967295", None), ("1000\n", Some(1000)), ("0", Some(0)), ("", None), ("-1", None)]
    {
        std::fs::write(&file, text).unwrap();
        assert_eq!(read_number(&file), number, "{text:?}");
    }
    assert_eq!(read_number(&dir.path().join("absent")), None);
}
