//! What stands before the daemon starts: a directory that other accounts can pass, a private bus, a configuration.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{ORIGIN, let_through, until};

/// A temporary directory on a disk, not on a tmpfs.
pub fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("greffier-test.").tempdir_in("/var/tmp").unwrap();
    let_through(dir.path());
    dir
}

/// Starts a bus with the rules of a system bus: everybody may connect, the installed policy says who owns the name.
pub fn bus(dir: &Path) -> (Child, String) {
    fs::create_dir(dir.join("bus")).unwrap();
    let address = format!("unix:path={}", dir.join("bus/socket").display());
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/org.greffier.Archive1.conf");
    let config = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{address}</listen>
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
  <include>{}</include>
  <include ignore_missing="yes">/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf</include>
</busconfig>
"#,
        policy.display()
    );
    fs::write(dir.join("bus/bus.conf"), config).unwrap();
    let log = fs::File::create(dir.join("bus/log")).unwrap();
    let bus = Command::new("dbus-daemon")
        .arg("--config-file")
        .arg(dir.join("bus/bus.conf"))
        .args(["--nofork", "--nopidfile"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("dbus-daemon must be installed");
    until("the bus listens", || dir.join("bus/socket").exists().then_some(()));
    (bus, address)
}

/// `greffierctl init`; the verifier key that it prints.
pub fn init(dir: &Path, state: &Path, ctl: &str) -> String {
    let output = Command::new(ctl)
        .args(["init", "--origin", ORIGIN, "--insecure-key-file"])
        .arg(dir.join("etc/master.key"))
        .arg("--config-dir")
        .arg(dir.join("etc"))
        .arg("--state-dir")
        .arg(state)
        .arg("--spool-dir")
        .arg(dir.join("spool"))
        .arg("--run-dir")
        .arg(dir.join("run"))
        .output()
        .unwrap();
    assert!(output.status.success(), "init: {output:?}");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let vkey = said.split_whitespace().find(|word| word.starts_with(&format!("{ORIGIN}+")));
    vkey.expect("init prints the verifier key").to_owned()
}

/// The configuration, with the pace of a test.
pub fn configure(dir: &Path, state: &Path, address: &str) {
    let text = format!(
        r#"origin = "{ORIGIN}"
policy = "{etc}/policy.toml"
state_dir = "{state}"
spool_dir = "{dir}/spool"
run_dir = "{dir}/run"

[bus]
address = "{address}"
polkit = false
allow_switched_user = true

[key]
insecure_key_file = "{etc}/master.key"

[limits]
spool_settle_ms = 50
min_free_bytes = 1_048_576
"#,
        etc = dir.join("etc").display(),
        state = state.display(),
        dir = dir.display(),
    );
    fs::write(dir.join("etc/greffier.toml"), text).unwrap();
}
