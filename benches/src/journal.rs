//! The journal of systemd, sealed (forward secure sealing), with as many entries: `journalctl --verify`.
//!
//! It is written by `systemd-journal-remote`, which seals as journald does, in a mount namespace of its own, so that the
//! machine's journal and its key are not touched.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

const WRITER: &str = "/lib/systemd/systemd-journal-remote";

/// A sealed journal and the key that verifies it.
pub struct Journal {
    /// A long one is several files.
    dir: PathBuf,
    key: String,
}

impl Journal {
    /// Seals `entries` entries in `dir`, like an archive that logs each access. `None`: the programs are not installed.
    pub fn seal(dir: &Path, entries: u64) -> Outcome<Option<Self>> {
        if !Path::new(WRITER).exists() {
            return Ok(None);
        }
        let source = dir.join("export");
        std::fs::write(&source, export(entries)?)?;
        std::fs::create_dir_all("/var/log/journal")?;
        let script = format!(
            r#"set -e
            mkdir -p log
            mount --bind log /var/log/journal
            mkdir -p /var/log/journal/$(cat /etc/machine-id)
            journalctl --setup-keys --interval=15min --force > key 2>/dev/null </dev/null
            {WRITER} --seal=yes --split-mode=none --output=/var/log/journal/$(cat /etc/machine-id)/remote.journal - < export
            mv /var/log/journal/$(cat /etc/machine-id)/*.journal log/"#
        );
        let made =
            Command::new("unshare").args(["--mount", "sh", "-c", &script]).current_dir(dir).output()?;
        if !made.status.success() {
            return Err(format!("the sealed journal: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        std::fs::remove_file(source)?;
        let key = std::fs::read_to_string(dir.join("key"))?.trim().to_owned();
        Ok(Some(Self { dir: dir.join("log"), key }))
    }

    /// Verifies it; any other word than PASS is an error.
    pub fn verify(&self) -> Outcome<()> {
        let output = Command::new("journalctl")
            .arg("--verify")
            .arg(format!("--verify-key={}", self.key))
            .arg(format!("--directory={}", self.dir.display()))
            .stdin(Stdio::null())
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        if output.status.success() && words.contains("PASS") && !words.contains("FAIL") {
            Ok(())
        } else {
            Err(words.into())
        }
    }
}

/// The entries in the journal's export format.
fn export(entries: u64) -> Outcome<String> {
    let id = |path: &str| Ok::<_, std::io::Error>(std::fs::read_to_string(path)?.trim().replace('-', ""));
    let (boot, machine) = (id("/proc/sys/kernel/random/boot_id")?, id("/etc/machine-id")?);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
    let mut text = String::new();
    for n in 0..entries {
        let at = u128::from(n) * 50;
        write!(
            text,
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={boot}\n_MACHINE_ID={machine}\n\
             MESSAGE=Access to recording {n} granted\nPRIORITY=5\n_UID=1000\n_PID=4321\n_COMM=greffier-view\n\
             GREFFIER_ENTRY={n}\nGREFFIER_REASON=incident\n\n",
            now + at,
            1_000_000 + at
        )?;
    }
    Ok(text)
}
