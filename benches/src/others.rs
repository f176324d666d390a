//! The programs that reading and sealing are compared with, each on the same file: gocryptfs, restic, age.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

const PASSWORD: &str = "bench";

/// Whether `program` is installed.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn run(command: &mut Command) -> Outcome<()> {
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
}

/// A mounted gocryptfs; dropped, it is unmounted.
pub struct Gocryptfs {
    mount: PathBuf,
}

impl Gocryptfs {
    /// Why there can be none, if so.
    pub fn missing() -> Option<&'static str> {
        match (is_there("gocryptfs"), is_there("fusermount3") || is_there("fusermount")) {
            (false, _) => Some("there is no gocryptfs to compare with"),
            (_, false) => Some("gocryptfs needs the package fuse3"),
            _ => None,
        }
    }

    /// A new one below `dir`.
    pub fn mount(dir: &Path) -> Outcome<Self> {
        let (cipher, mount) = (dir.join("cipher"), dir.join("clear"));
        std::fs::create_dir(&cipher)?;
        std::fs::create_dir(&mount)?;
        let password = format!("echo {PASSWORD}");
        let common = ["-q", "-nosyslog", "-extpass", &password];
        run(Command::new("gocryptfs").args(common).args(["-init", "-scryptn", "10"]).arg(&cipher))?;
        // It goes to the background by itself, and would hold our standard output open: null, not a pipe.
        let status = Command::new("gocryptfs")
            .args(common)
            .args([&cipher, &mount])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("gocryptfs could not mount: {status}").into());
        }
        Ok(Self { mount })
    }

    /// Writes `file` into it as `name`, durably.
    pub fn write(&self, file: &Path, name: &str) -> Outcome<PathBuf> {
        let to = self.mount.join(name);
        let (mut from, mut into) = (File::open(file)?, File::create(&to)?);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = std::io::Read::read(&mut from, &mut buffer)?;
            if read == 0 {
                break;
            }
            std::io::Write::write_all(&mut into, &buffer[..read])?;
        }
        into.sync_all()?;
        Ok(to)
    }
}

impl Drop for Gocryptfs {
    fn drop(&mut self) {
        let _best_effort = rustix::mount::unmount(&self.mount, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Makes a restic repository in `dir`.
pub fn restic_init(dir: &Path) -> Outcome<()> {
    run(restic(dir).arg("init"))
}

/// Backs `file` up into the repository in `dir`.
pub fn restic_backup(dir: &Path, file: &Path) -> Outcome<()> {
    run(restic(dir).arg("backup").arg(file))
}

fn restic(dir: &Path) -> Command {
    let mut command = Command::new("restic");
    command.env("RESTIC_PASSWORD", PASSWORD).args(["--no-cache", "-q", "-r"]).arg(dir);
    command
}

/// A recipient of age, whose key is kept nowhere.
pub fn age_recipient() -> Outcome<String> {
    let made = Command::new("age-keygen").stderr(Stdio::null()).output()?;
    let text = String::from_utf8(made.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("# public key: "));
    Ok(line.ok_or("age-keygen names no public key")?.to_owned())
}

/// Encrypts `file` to `out`, durably.
pub fn age(recipient: &str, file: &Path, out: &Path) -> Outcome<()> {
    run(Command::new("age").args(["-r", recipient, "-o"]).arg(out).arg(file))?;
    Ok(File::open(out)?.sync_all()?)
}
