//! What the commands that work without the service need of its configuration.
//!
//! Lenient where `daemon::config` is strict: what stands there besides is the service's to check, and a command that mends
//! an archive must not be stopped by it. Must never change the file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::core::space::Bounds;
use crate::shell::bus::client::Failure;

/// The configuration as far as it says where things are.
#[derive(Debug, Deserialize)]
pub struct Places {
    /// First line of every checkpoint.
    pub origin: Option<String>,
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    #[serde(default = "run_dir")]
    pub run_dir: PathBuf,
    #[serde(default = "spool_dir")]
    pub spool_dir: PathBuf,
    #[serde(default = "policy")]
    pub policy: PathBuf,
    pub second_checkpoint: Option<PathBuf>,
    #[serde(default)]
    pub bus: Bus,
    #[serde(default)]
    pub key: Key,
    #[serde(default)]
    pub limits: Limits,
}

/// `[bus]`
#[derive(Debug, Default, Deserialize)]
pub struct Bus {
    pub address: Option<String>,
    pub polkit: Option<bool>,
}

/// `[key]`
#[derive(Debug, Default, Deserialize)]
pub struct Key {
    pub credential: Option<String>,
    pub insecure_key_file: Option<PathBuf>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
pub struct Limits {
    min_free_bytes: Option<u64>,
    warn_free_bytes: Option<u64>,
    serve_free_bytes: Option<u64>,
}

impl Limits {
    /// Below how much free space what stops.
    pub fn bounds(&self) -> Bounds {
        let seal_bytes = self.min_free_bytes.unwrap_or(Bounds::SEAL_BYTES);
        Bounds::new(seal_bytes, self.warn_free_bytes, self.serve_free_bytes)
    }
}

fn state_dir() -> PathBuf {
    "/var/lib/greffier".into()
}
fn run_dir() -> PathBuf {
    "/run/greffier".into()
}
fn spool_dir() -> PathBuf {
    "/var/spool/greffier".into()
}
fn policy() -> PathBuf {
    "/etc/greffier/policy.toml".into()
}

impl Places {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let usage = |error: &dyn std::error::Error| {
            Failure::Usage(format!(
                "{} cannot be read; name the configuration with --config: {error}.",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|error| usage(&error))?;
        toml::from_str(&text).map_err(|error| usage(&error))
    }

    /// Where the last checkpoint stands a second time.
    pub fn second_place(&self) -> PathBuf {
        self.second_checkpoint.clone().unwrap_or_else(|| self.run_dir.join("checkpoint"))
    }
}
