//! Where the master key stands outside the daemon: an encrypted systemd credential, or a plain file.
//!
//! Owns two names: the usual one, and `<name>.next` while a change of the key is under way. Whichever the crash leaves, one of them
//! holds the key that opens the key files. Must never leave the plain key in a file, unless that was asked for by name, nor give it
//! to a program in an argument or in the environment; and never replaces a file.
//!
//! System calls of [`MasterPlace::create`]: `O_TMPFILE`, `write`, `fsync`, `linkat`, `fsync` of the folder; then the file is read again and
//! must give the same key. Of [`MasterPlace::settle`]: sealed, in memory · usual name overwritten and unlinked (`shred.rs`), folder
//! synced · created anew · `.next` overwritten and unlinked, folder synced.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::durable::{DiskError, create_new_durable, sync_dir};
use super::shred::overwrite_and_remove;
use crate::shell::crypt::{MASTER_KEY_BYTES, MasterKey};

/// Where systemd looks for encrypted credentials.
pub const STORE: &str = "/etc/credstore.encrypted";
/// A credential is a few hundred bytes of base64; more is none of ours.
const MAX_SEALED_BYTES: usize = 65_536;
/// The first bytes of a credential, decoded, say what it is encrypted to: TPM, secret of the host, or both.
const SEAL_KIND_BYTES: usize = 16;

/// Where the master key stands.
#[derive(Debug, Clone)]
pub enum MasterPlace {
    /// A systemd credential, encrypted to the TPM or to a secret of this host.
    Credential {
        /// Its name.
        name: String,
        /// The folder it lies in.
        store: PathBuf,
        /// `systemd-creds`.
        program: PathBuf,
    },
    /// A plain file.
    PlainFile(PathBuf),
}

/// One of the two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that the configuration names.
    Usual,
    /// While a change of the key is under way.
    Next,
}

/// A master key that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum MasterPlaceError {
    /// The program is missing or could not be talked to.
    #[error("systemd-creds cannot be run; install systemd 250 or newer, or use an insecure key file")]
    Run(#[source] io::Error),
    /// The program said no.
    #[error("systemd-creds could not {doing} the master key ({said})")]
    Refused {
        /// `encrypt` or `decrypt`.
        doing: &'static str,
        /// Its words.
        said: String,
    },
    /// The new credential would be bound to something else than the old one.
    #[error(
        "the new credential would not be bound to the same TPM or host secret as {}: look whether the TPM can be used",
        .0.display()
    )]
    OtherSeal(PathBuf),
    /// What was written does not give the key back.
    #[error("{} does not give back the key that was written to it", .0.display())]
    NotKept(PathBuf),
    /// No file holds this key, so none may be removed.
    #[error("neither {} nor its .next holds the key in use: nothing was removed", .0.display())]
    Nowhere(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl MasterPlace {
    /// The credential `name` where systemd looks for it.
    pub fn credential(name: &str) -> Self {
        Self::Credential { name: name.into(), store: STORE.into(), program: "systemd-creds".into() }
    }

    /// The file that holds the key, encrypted or not.
    pub fn path(&self, which: Which) -> PathBuf {
        match self {
            Self::Credential { store, .. } => store.join(self.name(which)),
            Self::PlainFile(path) => path.with_file_name(self.name(which)),
        }
    }

    /// Name of the credential or of the file.
    pub fn name(&self, which: Which) -> String {
        let usual = match self {
            Self::Credential { name, .. } => name.clone(),
            Self::PlainFile(path) => {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
        };
        match which {
            Which::Usual => usual,
            Which::Next => usual + ".next",
        }
    }

    /// Whether there is a file of this name, of whatever kind.
    pub fn exists(&self, which: Which) -> bool {
        self.path(which).symlink_metadata().is_ok()
    }

    /// Writes the key: durable, and read back and matched, when this returns. Never over a file. After an error a file that was begun is
    /// there or not; [`MasterPlace::remove`] ends it.
    ///
    /// # Errors
    /// `systemd-creds` says no; the new credential is bound to something else than the one beside it; the disk refuses.
    pub fn create(&self, which: Which, master: &MasterKey) -> Result<(), MasterPlaceError> {
        let bytes = self.sealed(which, master)?;
        self.write(which, &bytes, master)
    }

    /// [`MasterPlace::create`] from what is sealed already.
    fn write(&self, which: Which, bytes: &[u8], master: &MasterKey) -> Result<(), MasterPlaceError> {
        let path = self.path(which);
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(DiskError::when("make", folder))?;
        create_new_durable(folder, &self.name(which), bytes)?;
        match self.load(which)? {
            Some(kept) if kept.is_same_as(master) => Ok(()),
            _ => Err(MasterPlaceError::NotKept(path)),
        }
    }

    /// What the file is to hold. In memory only: what can fail without a trace comes first.
    ///
    /// # Errors
    /// As [`MasterPlace::create`], the disk apart.
    pub fn sealed(&self, which: Which, master: &MasterKey) -> Result<Zeroizing<Vec<u8>>, MasterPlaceError> {
        self.sealed_like(&[Which::Usual, Which::Next], which, master)
    }

    /// The same, bound to what those of `like` are bound to that are there.
    fn sealed_like(
        &self,
        like: &[Which],
        which: Which,
        master: &MasterKey,
    ) -> Result<Zeroizing<Vec<u8>>, MasterPlaceError> {
        // Room for all of it from the start: a vector that grows leaves copies of the key behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(MASTER_KEY_BYTES));
        master.write_to(&mut *plain).map_err(MasterPlaceError::Run)?;
        let Self::Credential { program, .. } = self else { return Ok(plain) };
        let mut program = Command::new(program);
        program.args(["encrypt", &format!("--name={}", self.name(which))]);
        let beside: Vec<_> = like.iter().map(|beside| self.path(*beside)).collect();
        let mut kinds = Vec::new();
        for path in beside {
            let Some(old) = read_bounded(&path)? else { continue };
            kinds.push((path, seal_kind(&old)));
        }
        // Asked for by name: left to itself, `systemd-creds` passes a TPM over in a container.
        if let Some(key) = kinds.iter().find_map(|(_, kind)| with_key((*kind)?)) {
            program.arg(format!("--with-key={key}"));
        }
        let sealed = run(program.args(["-", "-"]), "encrypt", &plain)?;
        let other = kinds.into_iter().find(|(_, kind)| *kind != seal_kind(&sealed));
        if let Some((path, _)) = other {
            return Err(MasterPlaceError::OtherSeal(path));
        }
        Ok(sealed)
    }

    /// The key in the file; `None` when there is no file, or what it holds is no master key.
    ///
    /// # Errors
    /// The file cannot be read or decrypted.
    pub fn load(&self, which: Which) -> Result<Option<MasterKey>, MasterPlaceError> {
        let path = self.path(which);
        let Some(bytes) = read_bounded(&path)? else { return Ok(None) };
        let plain = match self {
            Self::PlainFile(_) => bytes,
            Self::Credential { program, .. } => {
                let name = format!("--name={}", self.name(which));
                let mut program = Command::new(program);
                run(program.args(["decrypt", &name, "-", "-"]), "decrypt", &bytes)?
            }
        };
        Ok(MasterKey::read_from(&mut plain.as_slice()).ok())
    }

    /// Overwrites and removes the file; nothing when there is none.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, which: Which) -> Result<(), MasterPlaceError> {
        let path = self.path(which);
        if overwrite_and_remove(&path)? {
            sync_dir(path.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(())
    }

    /// Brings what a change of the key left to an end: `master`, which opens the key files, stands alone under its usual name. Can be
    /// repeated. Nothing is removed before another file holds `master`.
    ///
    /// # Errors
    /// As [`MasterPlace::create`]; no file holds `master`.
    pub fn settle(&self, master: &MasterKey) -> Result<(), MasterPlaceError> {
        let holds =
            |which| Ok::<_, MasterPlaceError>(self.load(which)?.is_some_and(|it| it.is_same_as(master)));
        // A usual file that cannot be read is not the one: what counts is whether the other can.
        if !holds(Which::Usual).unwrap_or(false) {
            if !holds(Which::Next)? {
                return Err(MasterPlaceError::Nowhere(self.path(Which::Usual)));
            }
            // Sealed before anything is removed; like `.next` alone, because a crash may have left the usual file overwritten.
            let bytes = self.sealed_like(&[Which::Next], Which::Usual, master)?;
            self.remove(Which::Usual)?;
            self.write(Which::Usual, &bytes, master)?;
        }
        self.remove(Which::Next)
    }
}

/// Gives `input` to a program by a pipe and takes its answer by another.
fn run(
    program: &mut Command,
    doing: &'static str,
    input: &[u8],
) -> Result<Zeroizing<Vec<u8>>, MasterPlaceError> {
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().map_err(MasterPlaceError::Run)?;
    // A key or a credential fits into the pipe, so writing before reading cannot block; what fails here, the exit status explains.
    let given = child.stdin.take().map_or(Ok(()), |mut stdin| io::Write::write_all(&mut stdin, input));
    // Room from the start, as above: what a decryption answers is the key.
    let mut answer = Zeroizing::new(Vec::with_capacity(MAX_SEALED_BYTES));
    let read =
        child.stdout.take().map_or(Ok(0), |out| out.take(MAX_SEALED_BYTES as u64).read_to_end(&mut answer));
    let output = child.wait_with_output().map_err(MasterPlaceError::Run)?;
    if !output.status.success() || answer.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let said = if said.is_empty() { output.status.to_string() } else { said };
        return Err(MasterPlaceError::Refused { doing, said });
    }
    read.map_err(MasterPlaceError::Run)?;
    given.map_err(MasterPlaceError::Run)?;
    Ok(answer)
}

fn read_bounded(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(DiskError::when("open", path))?,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SEALED_BYTES));
    file.take(MAX_SEALED_BYTES as u64).read_to_end(&mut bytes).map_err(DiskError::when("read", path))?;
    Ok(Some(bytes))
}

/// What `systemd-creds encrypt --with-key=` calls a kind of seal, by the ids of systemd 252 (`creds-util.h`). One that is not here, such as
/// a TPM with a policy that somebody signed, is left to what it finds by itself.
fn with_key(kind: [u8; SEAL_KIND_BYTES]) -> Option<&'static str> {
    match u128::from_be_bytes(kind) {
        0x5a1c_6a86_df9d_4096_b1d5_a65e_0862_f19a => Some("host"),
        0x0c7c_c07b_1176_4591_9c4b_0bea_08bc_20fe => Some("tpm2"),
        0x93a8_9409_4874_4490_90ca_f2fc_93ca_b553 => Some("host+tpm2"),
        _ => None,
    }
}

/// What a credential is encrypted to. Not base64: nothing that we know.
fn seal_kind(credential: &[u8]) -> Option<[u8; SEAL_KIND_BYTES]> {
    let text: Vec<u8> = credential.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    // 24 characters hold the 16 bytes and no padding.
    let decoded = data_encoding::BASE64.decode(text.get(..24)?).ok()?;
    decoded.first_chunk().copied()
}

#[cfg(test)]
mod tests;
