//! Where the master key of a new archive goes.
//!
//! Must never leave the plain key in a file, unless that was asked for by name, nor in an argument of a program.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shell::crypt::MasterKey;
use crate::shell::disk::durable::{DiskError, create_new_durable, sync_dir};

const NAME: &str = "greffier.master";
const STORE: &str = "/etc/credstore.encrypted";
const FILE: &str = "/etc/credstore.encrypted/greffier.master";

/// Where the master key stands.
pub enum Place {
    /// A systemd credential, encrypted to the TPM or to a secret of this host.
    Credential,
    /// A plain file.
    PlainFile(PathBuf),
}

/// A master key that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The program is missing or could not be talked to.
    #[error("systemd-creds cannot be run; install systemd 250 or newer, or use --insecure-key-file")]
    Run(#[source] io::Error),
    /// The program said no.
    #[error("systemd-creds could not encrypt the master key ({0}); or use --insecure-key-file")]
    Refused(String),
    /// The plain file could not be written.
    #[error("the master key cannot be written to {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// The credential could not be stored.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Place {
    /// The file that holds the key, encrypted or not.
    pub fn path(&self) -> &Path {
        match self {
            Self::Credential => Path::new(FILE),
            Self::PlainFile(path) => path,
        }
    }

    /// The encrypted credential, still in memory; nothing for a plain file.
    pub fn seal(&self, master: &MasterKey) -> Result<Option<Vec<u8>>, CredentialError> {
        match self {
            Self::Credential => encrypt(Command::new("systemd-creds"), master).map(Some),
            Self::PlainFile(_) => Ok(None),
        }
    }

    /// Writes what `seal` gave, or the plain key; durable when this returns. Never over a file.
    pub fn write(&self, sealed: Option<Vec<u8>>, master: &MasterKey) -> Result<(), CredentialError> {
        match (self, sealed) {
            (Self::Credential, sealed) => {
                let store = Path::new(STORE);
                std::fs::create_dir_all(store).map_err(DiskError::when("make", store))?;
                Ok(create_new_durable(store, NAME, &sealed.unwrap_or_default())?)
            }
            (Self::PlainFile(path), _) => {
                let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                written
                    .and_then(|mut file| master.write_to(&mut file).and_then(|()| file.sync_all()))
                    .map_err(|error| CredentialError::Write(path.clone(), error))?;
                Ok(sync_dir(path.parent().unwrap_or(Path::new("/")))?)
            }
        }
    }
}

/// Gives the key to `systemd-creds` by a pipe and takes the encrypted form by another.
fn encrypt(mut program: Command, master: &MasterKey) -> Result<Vec<u8>, CredentialError> {
    let arguments = ["encrypt", &format!("--name={NAME}"), "-", "-"];
    let program = program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().map_err(CredentialError::Run)?;
    // 32 bytes fit into the pipe, so writing before reading cannot block; what fails here, the exit status explains.
    let given = child.stdin.take().map_or(Ok(()), |mut stdin| master.write_to(&mut stdin));
    let output = child.wait_with_output().map_err(CredentialError::Run)?;
    if !output.status.success() || output.stdout.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CredentialError::Refused(if said.is_empty() { output.status.to_string() } else { said }));
    }
    given.map_err(CredentialError::Run).map(|()| output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_encrypted_form_is_what_the_program_wrote() {
        let master = MasterKey::generate().unwrap();
        let mut plain = Vec::new();
        master.write_to(&mut plain).unwrap();
        assert_eq!(encrypt(sh("cat"), &master).unwrap(), plain);
    }

    #[test]
    fn a_program_that_fails_gives_its_own_words() {
        let master = MasterKey::generate().unwrap();
        let error = encrypt(sh("echo no secret here >&2; exit 1"), &master).unwrap_err();
        assert!(error.to_string().contains("no secret here"), "{error}");
        assert!(encrypt(sh("exit 0"), &master).is_err(), "no output is no credential");
    }

    #[test]
    fn a_plain_key_is_for_its_owner_only_and_never_replaces_a_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let place = Place::PlainFile(dir.path().join("key"));
        let master = MasterKey::generate().unwrap();
        place.write(None, &master).unwrap();
        assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(place.write(None, &master).is_err());
    }
}
