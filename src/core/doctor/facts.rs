//! What was looked at. `None`: it could not be looked at, or need not be there.

use crate::core::medium::Medium;
use crate::core::space::Bounds;
use crate::core::time::Timestamp;

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Directories and files.
    pub places: PlaceFacts,
    /// The files of the key slots, and the master key.
    pub keys: KeyFacts,
    /// The ledger and what tells of it; `None` while the service runs.
    pub ledger: Option<LedgerFacts>,
    /// The machine.
    pub system: SystemFacts,
    /// What could not be looked at, and why.
    pub not_looked_at: Vec<(String, String)>,
}

/// What a place is for, which says how it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// State directory and what is in it: a directory, 0700.
    Private,
    /// A directory in which others must not write.
    Directory,
    /// A file that others must not write.
    File,
    /// The folder of a source in the spool: a directory, 1730.
    SpoolFolder,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A link, a device, anything else.
    Other,
}

/// One place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its path.
    pub path: String,
    /// What it is for.
    pub role: Role,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, with the sticky bit.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
}

/// Directories and files.
#[derive(Debug, Clone, Default)]
pub struct PlaceFacts {
    /// Path of the state directory.
    pub state_dir: String,
    /// Why the state directory cannot be opened: a code of ours and a sentence.
    pub unusable: Option<(&'static str, String)>,
    /// Who must own all of it.
    pub owner_uid: u32,
    /// All places.
    pub nodes: Vec<Node>,
    /// File system of the state directory.
    pub medium: Option<Medium>,
    /// Bytes free there.
    pub free_bytes: Option<u64>,
    /// Below what something stops, as configured.
    pub bounds: Bounds,
    /// Path of the spool, and whether it is a tmpfs or lies on an encrypted volume.
    pub spool: Option<(String, bool)>,
}

/// Where the master key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A credential of this name; whether its encrypted file is there, and its mode.
    Credential {
        /// The name.
        name: String,
        /// The file, if it is there.
        file: Option<String>,
    },
    /// A plain file with this mode; `None`: it is missing.
    Plain {
        /// The file.
        path: String,
        /// Permission bits.
        mode: Option<u32>,
    },
}

/// The files of the key slots, and the master key.
#[derive(Debug, Clone, Default)]
pub struct KeyFacts {
    /// The newest generation; `None`: there is no key file.
    pub generation: Option<u64>,
    /// Copies of it that are missing or cannot be read, by path.
    pub copies_missing: Vec<String>,
    /// Slots whose check sum is right in one copy only, or which differ. `None`: not looked at.
    pub half: Option<u64>,
    /// Slots in use whose check sum is right in neither copy.
    pub damaged: Option<u64>,
    /// The master key.
    pub master: Option<Secret>,
    /// Files that a change of the master key makes and removes again, by path. `None`: not looked at, as while the service,
    /// which may be changing it, runs.
    pub left_by_rotation: Option<Vec<String>>,
}

/// The ledger and what tells of it.
#[derive(Debug, Clone, Default)]
pub struct LedgerFacts {
    /// Why it cannot be read.
    pub unusable: Option<String>,
    /// Whether its clock is suspect.
    pub clock_suspect: bool,
    /// Recordings that are damaged.
    pub damaged: u64,
    /// Its entries.
    pub entries: u64,
    /// When the last was written.
    pub last: Option<Timestamp>,
    /// Path of the second copy of the checkpoint.
    pub second_path: String,
    /// Entries of the second copy; `None` when there is none.
    pub second_entries: Option<u64>,
    /// Whether it lies on the same device as the ledger.
    pub second_same_disk: bool,
    /// Entries that the catalogue holds; `None`: it cannot be used.
    pub catalogue_entries: Option<u64>,
}

/// A file that the system reads for us: the bus policy, the actions of polkit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusPolicy {
    /// As shipped, here.
    Same(String),
    /// Another, here.
    Differs(String),
    /// None.
    Missing,
}

/// The unit of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// Where it is; `None`: not installed.
    pub path: Option<String>,
    /// Whether it is as shipped, but for its prefix.
    pub as_shipped: bool,
    /// Whether it starts with the machine.
    pub enabled: bool,
    /// Drop-ins, path and text.
    pub drop_ins: Vec<(String, String)>,
}

/// The machine.
#[derive(Debug, Clone, Default)]
pub struct SystemFacts {
    /// The time, as read.
    pub now: Option<Timestamp>,
    /// Whether the kernel says that its clock is synchronised.
    pub synchronised: Option<bool>,
    /// Whether the system bus is used.
    pub system_bus: bool,
    /// The bus policy file.
    pub bus_policy: Option<BusPolicy>,
    /// Whether polkit may be asked, by configuration, and whether it is installed.
    pub polkit: Option<(bool, bool)>,
    /// The actions of polkit, where it is installed and may be asked.
    pub polkit_actions: Option<BusPolicy>,
    /// Whether systemd runs this machine.
    pub systemd: bool,
    /// The unit.
    pub unit: UnitFacts,
    /// Whether `/dev/fuse` is there.
    pub fuse: bool,
    /// Swap areas that are neither compressed memory nor on an encrypted volume.
    pub clear_swap: Vec<String>,
    /// `kernel.core_pattern`.
    pub core_pattern: Option<String>,
    /// State and reason of the service, when it runs.
    pub service: Option<(String, String)>,
}
