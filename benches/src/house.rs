//! A whole house for one measurement: an archive made by `greffierctl init`, a private bus, the daemon as it is shipped.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greffier::shell::bus::client;
use greffier::shell::users;
use zbus::Connection;

use crate::Outcome;

/// The account that destroys what is due, and has the catalogue made anew.
pub const CONTROLLER: &str = "sys";
/// The account that views, seals and reads the ledger here; every Debian has it.
pub const VIEWER: &str = "games";
/// Accounts that view here, [`VIEWER`] among them: of one user no more than 16 calls are answered at a time.
pub const VIEWERS: [&str; 8] = [VIEWER, "man", "lp", "mail", "news", "uucp", "proxy", "www-data"];
pub const ORIGIN: &str = "bench.example/greffier";

/// An archive and what runs on it. Dropped, it ends both processes.
pub struct House {
    dir: PathBuf,
    programs: PathBuf,
    bus: Child,
    daemon: Option<Child>,
}

impl House {
    /// Sets up an empty archive in `dir`. The daemon is not started yet.
    pub fn set_up(dir: PathBuf) -> Outcome<Self> {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        // Built into the same folder as this program, by the same profile.
        let programs = std::env::current_exe()?.parent().ok_or("this program has no folder")?.to_owned();
        let path = |name: &str| dir.join(name);
        let made = Command::new(programs.join("greffierctl"))
            .args(["init", "--origin", ORIGIN, "--insecure-key-file"])
            .arg(path("master.key"))
            .arg("--config-dir")
            .arg(path("etc"))
            .arg("--state-dir")
            .arg(path("state"))
            .arg("--spool-dir")
            .arg(path("spool"))
            .arg("--run-dir")
            .arg(path("run"))
            .output()
            .map_err(|error| format!("{}: {error}: build the product first", programs.display()))?;
        if !made.status.success() {
            return Err(format!("greffierctl init: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let at = dir.display();
        std::fs::write(path("etc/greffier.toml"), CONFIG.replace("@DIR@", &at.to_string()))?;
        // The grants come last in it.
        let others = VIEWERS.iter().filter(|user| **user != VIEWER);
        let others =
            others.map(|user| format!("views-{user} = {{ user = \"{user}\", role = \"viewer\" }}\n"));
        let policy = POLICY.replace("@VIEWER@", VIEWER) + &others.collect::<String>();
        std::fs::write(path("etc/policy.toml"), policy)?;
        let bus_policy = repo.join("policy/org.greffier.Archive1.conf");
        let bus_config =
            BUS.replace("@DIR@", &at.to_string()).replace("@POLICY@", &bus_policy.display().to_string());
        std::fs::write(path("bus.conf"), bus_config)?;
        let bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", path("bus.conf").display()))
            .args(["--nofork", "--nopidfile"])
            .stdout(Stdio::null())
            // It complains where it may not raise its own limits.
            .stderr(Stdio::null())
            .spawn()?;
        let house = Self { dir, programs, bus, daemon: None };
        wait_for("the private bus", || house.path("bus").exists())?;
        std::fs::set_permissions(house.path("bus"), std::fs::Permissions::from_mode(0o777))?;
        Ok(house)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.path("bus").display())
    }

    /// Starts the daemon and waits until it says that it is ready: how long that took.
    pub fn start(&mut self) -> Outcome<Duration> {
        let notify = self.path("notify");
        let _absent = std::fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify)?;
        socket.set_read_timeout(Some(Duration::from_secs(600)))?;
        let log = std::fs::File::create(self.path("log"))?;
        let began = Instant::now();
        let daemon = Command::new(self.program("greffierd"))
            .arg("--config")
            .arg(self.path("etc/greffier.toml"))
            .env("NOTIFY_SOCKET", &notify)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let daemon = self.daemon.insert(daemon);
        loop {
            let mut message = [0; 4096];
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            match socket.recv(&mut message) {
                Ok(length) if message[..length].starts_with(b"READY=1") => return Ok(began.elapsed()),
                Ok(_) => {}
                Err(_) if daemon.try_wait()?.is_none() && began.elapsed() < Duration::from_secs(1200) => {}
                Err(error) => {
                    let log = std::fs::read_to_string(self.path("log"))?;
                    return Err(format!("the daemon did not start: {error}\n{log}").into());
                }
            }
        }
    }

    /// Stops the daemon in order.
    pub fn stop(&mut self) -> Outcome<()> {
        if let Some(mut daemon) = self.daemon.take() {
            end(&mut daemon)?;
        }
        Ok(())
    }

    /// The process id of the daemon.
    pub fn daemon_pid(&self) -> Outcome<u32> {
        Ok(self.daemon.as_ref().ok_or("the daemon does not run")?.id())
    }

    /// Runs `act` on a thread of the viewer's, with a connection of his own to the bus.
    pub fn as_viewer<T: Send>(&self, act: impl AsyncFnOnce(Connection) -> Outcome<T> + Send) -> Outcome<T> {
        self.acting_as(VIEWER, act)
    }

    /// The same as another account.
    pub fn acting_as<T: Send>(
        &self,
        user: &str,
        act: impl AsyncFnOnce(Connection) -> Outcome<T> + Send,
    ) -> Outcome<T> {
        let address = self.address();
        as_user(user, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let bus = client::connect(Some(&address), client::LONG_ANSWER).await?;
                act(bus).await
            })
        })
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _best_effort = self.stop();
        let _best_effort = end(&mut self.bus);
    }
}

/// Runs `act` on a thread of `user`'s; threads that it starts are his too.
pub fn as_user<T: Send>(user: &str, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    let uid = users::uid_of(user)?.ok_or_else(|| format!("there is no account {user}"))?;
    let act = move || {
        let uid = rustix::thread::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        act()
    };
    std::thread::scope(|scope| scope.spawn(act).join().map_err(|_| "a measuring thread panicked")?)
}

fn end(child: &mut Child) -> Outcome<()> {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    child.wait()?;
    Ok(())
}

fn wait_for(what: &str, there: impl Fn() -> bool) -> Outcome<()> {
    for _ in 0..1000 {
        if there() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("{what} did not come").into())
}

const CONFIG: &str = r#"
origin = "bench.example/greffier"
policy = "@DIR@/etc/policy.toml"
state_dir = "@DIR@/state"
spool_dir = "@DIR@/spool"
run_dir = "@DIR@/run"

[bus]
address = "unix:path=@DIR@/bus"
polkit = false
allow_switched_user = true

[key]
insecure_key_file = "@DIR@/master.key"

[limits]
min_free_bytes = 67_108_864
"#;

pub const POLICY: &str = r#"
format = 1
controller = "Benchmarks"

[reasons]
incident = { text = "Theft, damage or assault" }

[purposes]
security = { kinds = ["footage"], reasons = ["incident"] }

[classes]
month = { max = "P30D", from = "sealed" }

[sources]
entrance = { kind = "footage", zone = "entrance", purposes = ["security"], class = "month" }

[roles]
viewer = { verbs = ["search", "view"] }
recorder = { verbs = ["seal"] }
auditor = { verbs = ["read-ledger"] }
controller = { verbs = ["purge", "administer"] }

[grants]
views = { user = "@VIEWER@", role = "viewer" }
records = { user = "@VIEWER@", role = "recorder" }
audits = { user = "@VIEWER@", role = "auditor" }
controls = { user = "sys", role = "controller" }
"#;

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=@DIR@/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>@POLICY@</include>
</busconfig>
"#;
