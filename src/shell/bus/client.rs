//! The bus as a caller sees it: proxies of `org.greffier.Archive1`, the connection, and what an error means.
//!
//! Owns names, signatures and the translation of bus errors into [`Failure`]. Must never decide what a caller may
//! do, read the environment, or rewrite a sentence that the service sent.

pub mod agent;
pub mod fields;
pub mod search;

use std::collections::HashMap;
use std::time::Duration;

use zbus::wire::{Fd, OwnedFd, OwnedObjectPath, OwnedVariant, Variant};
use zbus::{Connection, connection, fdo};

use crate::core::ids::HoldId;

/// A request `a{sv}`: the keys of design §11.
pub type Request<'a> = HashMap<&'static str, Variant<'a>>;
/// A reply `a{sv}`: the keys of design §11.
pub type Fields = HashMap<String, OwnedVariant>;

/// The longest wait for an answer: a person may be typing a password into a dialog of polkit.
pub const ANSWER: Duration = Duration::from_secs(120);
/// The longest wait where the service works through whole recordings (sealing, purging).
pub const LONG_ANSWER: Duration = Duration::from_secs(6 * 3600);
/// The most lines that one `Ledger.Read` returns.
pub const READ_LINES_MAX: u32 = 256;
/// The most rows that one `Recordings.Search` returns.
pub const SEARCH_ROWS_MAX: u32 = 1000;

const HOLDS: &str = "/org/greffier/Archive1/hold/";

/// Searching, opening, sealing.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Recordings",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1"
)]
pub trait Recordings {
    /// One page of rows and the cursor of the next page; an empty cursor is the end. `limit`: 1 to 1000.
    fn search(&self, filter: Request<'_>, limit: u32, cursor: &str) -> zbus::Result<(Vec<Fields>, String)>;
    /// What is known of one recording.
    fn describe(&self, id: &str) -> zbus::Result<Fields>;
    /// Session, descriptor and facts of a recording opened for a reason.
    #[zbus(allow_interactive_auth)]
    fn open(&self, id: &str, request: Request<'_>) -> zbus::Result<(OwnedObjectPath, OwnedFd, Fields)>;
    /// Id and ledger entry of a file sealed into the archive.
    fn seal(&self, file: Fd<'_>, metadata: Request<'_>) -> zbus::Result<(String, u64)>;
}

/// One opened recording.
#[zbus::proxy(interface = "org.greffier.Archive1.Session", default_service = "org.greffier.Archive1")]
pub trait Session {
    /// Ends the session.
    fn close(&self) -> zbus::Result<()>;
    /// Recording, opened, expires, bytes read, ranges.
    fn info(&self) -> zbus::Result<Fields>;
    /// Sent to the owner alone when the session has ended.
    #[zbus(signal)]
    fn ended(&self, why: String) -> zbus::Result<()>;
}

/// Retention and holds.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Retention",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1"
)]
pub trait Retention {
    /// What a run would do now, and why.
    fn plan(&self) -> zbus::Result<Vec<Fields>>;
    /// What happens to the details of the ledger.
    fn plan_details(&self) -> zbus::Result<Vec<Fields>>;
    /// Purges what is due.
    fn run(&self) -> zbus::Result<Fields>;
    /// Trusts the wall clock again after a jump.
    fn confirm_clock(&self) -> zbus::Result<()>;
    /// Places a hold; the object of that hold.
    fn hold(&self, request: Request<'_>) -> zbus::Result<OwnedObjectPath>;
}

/// One hold.
#[zbus::proxy(interface = "org.greffier.Archive1.Hold", default_service = "org.greffier.Archive1")]
pub trait Hold {
    /// Ends the hold; the purge it stopped falls due again.
    fn lift(&self, request: Request<'_>) -> zbus::Result<()>;
}

/// Grants, mandates, approvals, the charter.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Registers",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1"
)]
pub trait Registers {
    /// The rows that the caller may see.
    fn list(&self, register: &str, filter: Request<'_>) -> zbus::Result<Vec<Fields>>;
    /// Records an act; the id of what it is about, and the entry.
    fn record(&self, register: &str, act: &str, request: Request<'_>) -> zbus::Result<(String, u64)>;
}

/// Reviews.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Reviews",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1"
)]
pub trait Reviews {
    /// Every open one.
    fn pending(&self) -> zbus::Result<Vec<Fields>>;
    /// Ends one; the entry.
    fn done(&self, review: u64, request: Request<'_>) -> zbus::Result<u64>;
}

/// The ledger. Reading it is an access too.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Ledger",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1"
)]
pub trait Ledger {
    /// The signed checkpoint of now, as a signed note.
    fn head(&self) -> zbus::Result<String>;
    /// Entries from number `from`, at most `count` (and at most 256 lines and 4 MiB). With `details: true` each entry
    /// that has a detail is directly followed by its detail line; the two are never in different replies.
    fn read(&self, from: u64, count: u32, request: Request<'_>) -> zbus::Result<Vec<String>>;
    /// The closing checkpoints of earlier key epochs, oldest first: at most `count`, without the first `from` of them.
    fn epochs(&self, from: u64, count: u32) -> zbus::Result<Vec<String>>;
    /// A file that proves that this entry is in the ledger: a C2SP tlog-proof.
    fn receipt(&self, entry: u64) -> zbus::Result<String>;
    /// The hashes that prove that the ledger of `new` entries begins with that of `old`, in base64.
    fn consistency(&self, old: u64, new: u64) -> zbus::Result<Vec<String>>;
    /// First line of every checkpoint.
    #[zbus(property(emits_changed_signal = "false"))]
    fn origin(&self) -> fdo::Result<String>;
    /// The line an auditor needs.
    #[zbus(property(emits_changed_signal = "false"))]
    fn verifier_key(&self) -> fdo::Result<String>;
}

/// The service itself.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Manager",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1"
)]
pub trait Manager {
    /// State, why, version and numbers; everybody may ask.
    fn status(&self) -> zbus::Result<Fields>;
    /// Reads the policy again.
    fn reload(&self) -> zbus::Result<()>;
    /// Changes the master key.
    fn rotate_keys(&self, request: Request<'_>) -> zbus::Result<()>;
    /// The master key sealed to age recipients, and the entry that says so.
    fn backup_keys(&self, request: Request<'_>) -> zbus::Result<(Vec<u8>, u64)>;
    /// Records a drill; the entry.
    fn check_backup(&self, request: Request<'_>) -> zbus::Result<u64>;
    /// Makes the catalogue anew; answers when that is done.
    fn rebuild_index(&self) -> zbus::Result<()>;
    /// Begins to read the whole store; the object that shows how far it is.
    fn scrub(&self, request: Request<'_>) -> zbus::Result<OwnedObjectPath>;
}

/// The scrub that runs, or ran last.
#[zbus::proxy(
    interface = "org.greffier.Archive1.Scrub",
    default_service = "org.greffier.Archive1",
    default_path = "/org/greffier/Archive1/scrub"
)]
pub trait Scrub {
    /// Ends it.
    fn cancel(&self) -> zbus::Result<()>;
    /// What it has found.
    fn findings(&self) -> zbus::Result<Vec<Fields>>;
}

/// All numbers of the scrub at one moment.
pub async fn scrub_numbers(bus: &Connection) -> Result<Fields, Failure> {
    let (service, path) = (Some("org.greffier.Archive1"), "/org/greffier/Archive1/scrub");
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = bus.call_method(service, path, properties, "GetAll", &"org.greffier.Archive1.Scrub").await?;
    Ok(reply.body().deserialize()?)
}

/// Connects to the bus at `address`, a D-Bus address; `None` or `system` is the system bus. No call on it waits longer
/// than `answer`: the library itself would wait for ever.
pub async fn connect(address: Option<&str>, answer: Duration) -> Result<Connection, Failure> {
    let builder = match address {
        None | Some("system") => connection::Builder::system(),
        Some(address) => connection::Builder::address(address),
    };
    builder.method_timeout(answer).build().await.map_err(|error| match error {
        zbus::Error::Address(_) => Failure::Usage(format!(
            "The bus address {:?} cannot be read; write one like unix:path=/run/dbus/system_bus_socket.",
            address.unwrap_or("system")
        )),
        other => Failure::Unavailable(format!(
            "The message bus cannot be reached ({other}); check that it runs, or name another with --bus."
        )),
    })
}

/// The object of a hold.
pub fn hold_path(id: &HoldId) -> String {
    format!("{HOLDS}{id}")
}

/// The id at the end of an object path of a session or a hold.
pub fn last_part(path: &OwnedObjectPath) -> &str {
    path.as_str().rsplit('/').next().unwrap_or_default()
}

/// Why a program could not do what was asked, by exit code. The text is the sentence for the person, as the service
/// sent it where it sent one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The service answered no, or something bad was found.
    #[error("{0}")]
    Refused(String),
    /// The question was wrong, or names something that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// There was nobody to ask, or the service cannot answer now.
    #[error("{0}")]
    Unavailable(String),
}

impl Failure {
    /// 1 refused, 2 wrong usage, 3 service unavailable (design §12).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 3,
        }
    }

    /// From the name of a bus error and the sentence that came with it.
    fn from_reply(name: &str, sentence: Option<String>) -> Self {
        let Some(short) = name.strip_prefix("org.greffier.Archive1.Error.") else {
            let what = sentence.unwrap_or_else(|| name.to_owned());
            return Self::Unavailable(format!("The bus answered: {what}"));
        };
        let sentence =
            sentence.filter(|s| !s.is_empty()).unwrap_or_else(|| format!("The service answered {short}."));
        match short {
            "InvalidArgument" => Self::Usage(sentence),
            "LedgerUnavailable" | "Closed" | "Internal" => Self::Unavailable(sentence),
            _ => Self::Refused(sentence),
        }
    }
}

impl From<fdo::Error> for Failure {
    fn from(error: fdo::Error) -> Self {
        match error {
            fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Self::Unavailable(
                "greffier is not running on this bus; start it with: systemctl start greffierd".to_owned(),
            ),
            fdo::Error::NoReply(_) | fdo::Error::Disconnected(_) => Self::Unavailable(
                "The service stopped before it answered; look at: journalctl -u greffierd".to_owned(),
            ),
            fdo::Error::AccessDenied(_) => Self::Refused(
                "The bus does not let this account call the service; the administrator sets who may, in the D-Bus \
                 policy of greffier."
                    .to_owned(),
            ),
            fdo::Error::UnknownObject(_) => {
                Self::Refused("There is no such hold or session, or it has ended.".to_owned())
            }
            fdo::Error::UnknownMethod(_) | fdo::Error::UnknownInterface(_) | fdo::Error::UnknownProperty(_) => {
                Self::Unavailable(
                    "The service does not know this call; it has another version than this program.".to_owned(),
                )
            }
            fdo::Error::ZBus(inner) => Self::from(inner),
            other => Self::Unavailable(format!("The bus answered: {other}")),
        }
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, sentence, _) => Self::from_reply(name.as_str(), sentence),
            zbus::Error::FDO(inner) => Self::from(*inner),
            zbus::Error::InputOutput(io) if io.kind() == std::io::ErrorKind::TimedOut => Self::Unavailable(
                "The service did not answer in time; look at: journalctl -u greffierd".to_owned(),
            ),
            other => Self::Unavailable(format!("The bus connection failed ({other}); try again.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(name: &str) -> Failure {
        Failure::from_reply(&format!("org.greffier.Archive1.Error.{name}"), Some("As it came.".to_owned()))
    }

    #[test]
    fn every_error_of_the_contract_has_its_exit_code() {
        // A request without its reason was asked, refused and written down like any other that is refused.
        let refused = [
            "Denied",
            "NotFound",
            "ReasonRequired",
            "ApprovalRequired",
            "Held",
            "Expired",
            "LimitReached",
            "Conflict",
        ];
        for name in refused {
            assert_eq!(reply(name), Failure::Refused("As it came.".to_owned()), "{name}");
            assert_eq!(reply(name).exit_code(), 1);
        }
        assert_eq!(reply("InvalidArgument").exit_code(), 2);
        for name in ["LedgerUnavailable", "Closed", "Internal"] {
            assert_eq!(reply(name).exit_code(), 3, "{name}");
        }
    }

    #[test]
    fn a_service_that_is_not_there_is_unavailable() {
        assert_eq!(Failure::from(fdo::Error::ServiceUnknown(String::new())).exit_code(), 3);
        let timeout = std::io::Error::from(std::io::ErrorKind::TimedOut);
        assert_eq!(Failure::from(zbus::Error::InputOutput(timeout.into())).exit_code(), 3);
    }

    #[test]
    fn the_id_of_a_hold_is_the_end_of_its_path() {
        let id = HoldId::from_bytes([7; 16]);
        let path = OwnedObjectPath::try_from(hold_path(&id)).unwrap();
        assert_eq!(last_part(&path), id.to_string());
    }
}
