//! `greffier.toml`: read whole, checked whole, before anything else happens.
//!
//! Owns its keys and defaults (`policy/greffier.toml.init` is the commented form). An unknown key is an error. Must
//! never open anything but the file itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::core::event::{DetailRule, Event};
use crate::core::space::Bounds;
use crate::core::time::Period;

/// The configuration of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// First line of every checkpoint; fixed by `greffierctl init`.
    pub origin: String,
    /// The policy file; `policy.d/*.toml` beside it is read too.
    #[serde(default = "default_policy")]
    pub policy: PathBuf,
    /// Ledger, objects, keys, catalogue.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Where recorders leave files, one folder a source.
    #[serde(default = "default_spool_dir")]
    pub spool_dir: PathBuf,
    /// Runtime files.
    #[serde(default = "default_run_dir")]
    pub run_dir: PathBuf,
    /// Where the last checkpoint is written a second time; default `checkpoint` in `run_dir`.
    pub second_checkpoint: Option<PathBuf>,
    /// The message bus.
    #[serde(default)]
    pub bus: Bus,
    /// The master key.
    pub key: Key,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// The ledger.
    #[serde(default)]
    pub ledger: Ledger,
    /// Reading the whole store.
    #[serde(default)]
    pub scrub: Scrub,
}

/// `[bus]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// `system`, or the address of a private bus.
    pub address: String,
    /// Whether polkit may be asked. Rules that need it refuse when it is false.
    pub polkit: bool,
    /// Serve callers whose login uid differs from their uid (`su`, `sudo -u`). For demonstrations.
    pub allow_switched_user: bool,
}

impl Default for Bus {
    fn default() -> Self {
        Self { address: "system".into(), polkit: true, allow_switched_user: false }
    }
}

/// `[key]`: exactly one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Name of the systemd credential that holds the master key.
    pub credential: Option<String>,
    /// A plain file with the master key. The state becomes `degraded`.
    pub insecure_key_file: Option<PathBuf>,
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A session ends after this, whatever the policy says.
    pub session_max: Period,
    /// A file is taken this long after its last writer closed it, in milliseconds, at most an hour.
    pub spool_settle_ms: u64,
    /// An opening in an emergency must be reviewed within this.
    pub emergency_review: Period,
    /// Files in `.refused/` are destroyed after this.
    pub refused_keep: Period,
    /// With less free space, in bytes, sealing waits.
    pub min_free_bytes: u64,
    /// With less, the state says so. Default: twice `min_free_bytes`.
    pub warn_free_bytes: Option<u64>,
    /// With less, nothing is opened, searched or read. Default: a sixteenth of `min_free_bytes`.
    pub serve_free_bytes: Option<u64>,
    /// Blocks set aside for the ledger, in bytes. Default: a sixty-fourth of `min_free_bytes`, at most 64 MiB.
    pub reserve_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        let period = |text: &str, seconds| text.parse().unwrap_or(Period::seconds(seconds));
        Self {
            session_max: period("PT1H", 3600),
            spool_settle_ms: 2000,
            emergency_review: period("P3D", 3 * 86_400),
            refused_keep: period("P7D", 7 * 86_400),
            min_free_bytes: Bounds::SEAL_BYTES,
            warn_free_bytes: None,
            serve_free_bytes: None,
            reserve_bytes: None,
        }
    }
}

/// No default reserve is larger, in bytes.
const MOST_RESERVE_BYTES: u64 = 64 << 20;

impl Limits {
    /// Below how much free space what stops.
    pub fn bounds(&self) -> Bounds {
        Bounds::new(self.min_free_bytes, self.warn_free_bytes, self.serve_free_bytes)
    }

    /// How much is set aside for the ledger, in bytes.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes.unwrap_or((self.min_free_bytes / 64).min(MOST_RESERVE_BYTES))
    }
}

/// `[scrub]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// How fast `store scrub` reads where its caller does not say, in MiB a second; 0 is without a limit.
    pub rate_mib_s: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { rate_mib_s: 32 }
    }
}

/// `[ledger]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// The epoch key changes at each start, and this long after it changed last.
    pub rekey: Period,
    /// While the service runs, an entry is written at least this often.
    pub heartbeat: Period,
    /// Details are destroyed this long after all that they tell of has ended.
    pub details_keep: Period,
    /// The same for single events, by name.
    pub details_keep_for: BTreeMap<String, Period>,
}

impl Default for Ledger {
    fn default() -> Self {
        let period = |text: &str, seconds| text.parse().unwrap_or(Period::seconds(seconds));
        Self {
            rekey: period("P1D", 86_400),
            heartbeat: period("PT1H", 3600),
            details_keep: period("P1Y", 366 * 86_400),
            details_keep_for: BTreeMap::new(),
        }
    }
}

impl Ledger {
    /// What is wrong with a value.
    fn wrong(&self) -> Option<&'static str> {
        let carries = |name: &String| {
            Event::LIST.iter().any(|(event, rule)| event == name && *rule != DetailRule::Forbidden)
        };
        if !(1..=MOST_SECONDS).contains(&self.rekey.about_seconds()) {
            return Some("ledger.rekey must be between a second and a year");
        }
        if !(1..=MOST_SECONDS).contains(&self.heartbeat.about_seconds()) {
            return Some("ledger.heartbeat must be between a second and a year");
        }
        if !self.details_keep_for.keys().all(carries) {
            return Some(
                "ledger.details_keep_for names what is no event with a detail; greffier-ledger(5) lists them",
            );
        }
        None
    }
}

/// A year.
const MOST_SECONDS: u64 = 366 * 86_400;

fn default_policy() -> PathBuf {
    "/etc/greffier/policy.toml".into()
}
fn default_state_dir() -> PathBuf {
    "/var/lib/greffier".into()
}
fn default_spool_dir() -> PathBuf {
    "/var/spool/greffier".into()
}
fn default_run_dir() -> PathBuf {
    "/run/greffier".into()
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read; `greffierctl init` writes one", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist.
    #[error("{}:{line}: {why}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// Why, in one line.
        why: String,
    },
    /// A value that cannot be.
    #[error("{}: {what}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// What to change.
        what: &'static str,
    },
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            ConfigError::Parse { path: path.to_owned(), line, why }
        })?;
        let value = |what| Err(ConfigError::Value { path: path.to_owned(), what });
        match (&config.key.credential, &config.key.insecure_key_file) {
            (Some(_), Some(_)) => return value("[key] has both credential and insecure_key_file; keep one"),
            (None, None) => return value("[key] needs credential or insecure_key_file"),
            _ => {}
        }
        if config.limits.spool_settle_ms > 3_600_000 {
            return value("limits.spool_settle_ms is more than an hour (3600000)");
        }
        let Bounds { warn_bytes, seal_bytes, serve_bytes } = config.limits.bounds();
        if warn_bytes < seal_bytes || seal_bytes < serve_bytes {
            return value(
                "limits: warn_free_bytes must be at least min_free_bytes, and that at least serve_free_bytes",
            );
        }
        if let Some(what) = config.ledger.wrong() {
            return value(what);
        }
        Ok(config)
    }

    /// Where the second copy of the last checkpoint is written.
    pub fn second_checkpoint(&self) -> PathBuf {
        self.second_checkpoint.clone().unwrap_or_else(|| self.run_dir.join("checkpoint"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("greffier.toml"))
    }

    #[test]
    fn the_smallest_configuration_has_the_defaults_of_the_manual() {
        let config = parse("origin = \"a.example/g\"\n[key]\ncredential = \"greffier.master\"").unwrap();
        assert_eq!(config.limits.session_max.to_string(), "PT1H");
        assert_eq!(config.limits.refused_keep.to_string(), "P7D");
        assert_eq!(config.second_checkpoint(), Path::new("/run/greffier/checkpoint"));
        assert_eq!(config.ledger.rekey.to_string(), "P1D");
        assert_eq!(config.ledger.heartbeat.to_string(), "PT1H");
        assert_eq!(config.ledger.details_keep.to_string(), "P1Y");
        assert!(config.bus.polkit && !config.bus.allow_switched_user);
    }

    #[test]
    fn periods_of_the_ledger_are_checked() {
        let with =
            |line: &str| parse(&format!("origin = \"a\"\n[key]\ncredential = \"x\"\n[ledger]\n{line}"));
        let config = with("details_keep_for = { \"access.opened\" = \"P3Y\" }").unwrap();
        assert_eq!(config.ledger.details_keep_for["access.opened"].to_string(), "P3Y");
        for bad in [
            "rekey = \"PT0S\"",
            "heartbeat = \"P2Y\"",
            "details_keep = \"a year\"",
            "details_keep_for = { \"access.peeked\" = \"P3Y\" }",
            "details_keep_for = { \"purge.done\" = \"P3Y\" }",
            "keep = \"P1Y\"",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_bounds_of_free_space_follow_one_another() {
        let with =
            |line: &str| parse(&format!("origin = \"a\"\n[key]\ncredential = \"x\"\n[limits]\n{line}"));
        let bounds = |line: &str| {
            let limits = with(line).unwrap().limits;
            let Bounds { warn_bytes, seal_bytes, serve_bytes } = limits.bounds();
            (warn_bytes >> 20, seal_bytes >> 20, serve_bytes >> 20, limits.reserve_bytes() >> 20)
        };
        assert_eq!(bounds(""), (2048, 1024, 64, 16));
        assert_eq!(bounds("min_free_bytes = 107374182400"), (204_800, 102_400, 6400, 64));
        assert_eq!(bounds("min_free_bytes = 0"), (0, 0, 0, 0));
        assert_eq!(bounds("serve_free_bytes = 104857600\nreserve_bytes = 0"), (2048, 1024, 100, 0));
        for bad in ["warn_free_bytes = 1", "serve_free_bytes = 1073741825", "reserve_bytes = -1"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_key_or_two_master_keys_are_errors() {
        let error = parse("origin = \"a\"\ncolour = 1\n[key]\ncredential = \"x\"").unwrap_err().to_string();
        assert!(error.starts_with("greffier.toml:2: ") && error.contains("colour"), "{error}");
        assert!(parse("origin = \"a\"\n[key]\ncredential = \"x\"\ninsecure_key_file = \"y\"").is_err());
        assert!(parse("origin = \"a\"\n[key]").is_err());
    }
}
