//! The log: the journal when the service manager connected us to it, else one line on stderr for each message.
//!
//! Owns the set-up and the one way to log an event. The log is not evidence, the ledger is: nothing here may hold what
//! only the ledger's details may (names of files, free text, persons recorded).
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};
use systemd_journal_logger::{JournalLog, connected_to_journal};

pub use super::message_id::MessageId;

/// Sets up logging for this process, once, before the first message.
///
/// # Errors
/// It was set up already.
pub fn install(identifier: &str, most_verbose: LevelFilter) -> Result<(), SetLoggerError> {
    log::set_max_level(most_verbose);
    let journal = if connected_to_journal() { JournalLog::empty().ok() } else { None };
    match journal {
        Some(journal) => {
            let _first = JOURNAL.set(identifier.to_owned());
            journal.with_syslog_identifier(identifier.to_owned()).install()
        }
        None => log::set_boxed_logger(Box::new(StderrLog)),
    }
}

/// Logs one event. `fields` become fields of the journal entry, in upper case; `id` becomes `MESSAGE_ID`.
pub fn record(level: Level, id: MessageId, message: &str, fields: &[(&str, &str)]) {
    if level > log::max_level() {
        return;
    }
    let mut all = Vec::with_capacity(fields.len() + 1);
    all.push(("MESSAGE_ID", id.as_str()));
    all.extend_from_slice(fields);
    log::logger().log(
        &Record::builder()
            .level(level)
            .target("greffier")
            .key_values(&all.as_slice())
            .args(format_args!("{message}"))
            .build(),
    );
}

/// Logs what must wake somebody: priority alert, which the crate `log` has no level for. Fields and values as in [`record`], without
/// line feeds; what is one is a space.
pub fn alert(id: MessageId, message: &str, fields: &[(&str, &str)]) {
    let Some(identifier) = JOURNAL.get() else { return record(Level::Error, id, message, fields) };
    let head = [
        ("PRIORITY", "1"),
        ("MESSAGE_ID", id.as_str()),
        ("SYSLOG_IDENTIFIER", identifier.as_str()),
        ("MESSAGE", message),
    ];
    let mut datagram = String::new();
    for (name, value) in head.iter().chain(fields) {
        let value = value.replace(|c: char| c.is_control(), " ");
        // Writing to a String cannot fail.
        let _ = writeln!(datagram, "{}={value}", name.to_ascii_uppercase());
    }
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(datagram.as_bytes(), SOCKET));
    if sent.is_err() {
        record(Level::Error, id, message, fields);
    }
}

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// How this process calls itself there; unset when it does not log there.
static JOURNAL: OnceLock<String> = OnceLock::new();

/// Lines on stderr: `warning: message key=value …`.
struct StderrLog;

impl Log for StderrLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        let mut line = line(record);
        line.push('\n');
        // One write, so that lines of several threads do not mix. There is nowhere to report a failing stderr.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
    fn flush(&self) {}
}

fn line(record: &Record<'_>) -> String {
    let level = match record.level() {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let mut line = Line(format!("{level}: "));
    line.push_printable(&record.args().to_string());
    // `Line` never fails a visit.
    let _ = record.key_values().visit(&mut line);
    line.0
}

struct Line(String);

impl Line {
    /// Control characters escaped: a value can neither forge a line nor steer a terminal.
    fn push_printable(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
        }
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = value.to_string();
        let bare =
            !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '='));
        self.0.push(' ');
        self.push_printable(key.as_str());
        self.0.push('=');
        if bare {
            self.push_printable(&value);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_neither_forge_a_line_nor_a_field() {
        let fields: &[(&str, &str)] =
            &[("source", "entrance"), ("why", "a b\ninfo: forged x=\"1\""), ("empty", "")];
        let text = line(
            &Record::builder()
                .level(Level::Warn)
                .key_values(&fields)
                .args(format_args!("first\nsecond \u{1b}[2J"))
                .build(),
        );
        assert_eq!(
            text,
            "warning: first\\nsecond \\u{1b}[2J source=entrance why=\"a b\\ninfo: forged x=\\\"1\\\"\" empty=\"\""
        );
    }

    /// Runs `the_journal_process` where `/run` is empty, with a stderr that the journal is said to own.
    #[test]
    fn events_reach_the_journal_with_their_fields() {
        use std::os::unix::fs::MetadataExt as _;
        use std::process::Command;
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let owned = stderr.as_file().metadata().unwrap();
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let output = command
            .args(["--mount", "sh", "-c"])
            .arg("mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && exec \"$0\" \"$@\"")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "shell::journal::tests::the_journal_process", "--ignored", "--nocapture"])
            .env("JOURNAL_STREAM", format!("{}:{}", owned.dev(), owned.ino()))
            .stderr(stderr.reopen().unwrap())
            .output()
            .unwrap();
        let complaints = std::fs::read_to_string(stderr.path()).unwrap();
        assert!(output.status.success(), "{}{complaints}", String::from_utf8_lossy(&output.stdout));
    }

    #[test]
    #[ignore = "not a test: the process that another test starts"]
    fn the_journal_process() {
        let journal = std::os::unix::net::UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        journal.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        install("greffierd", LevelFilter::Info).unwrap();
        let id = super::super::message_id::LEDGER_CLOSED;
        record(Level::Debug, id, "too much detail", &[]);
        record(
            Level::Error,
            id,
            "the ledger is closed",
            &[("entry", "412"), ("why", "disk full\nPRIORITY=7")],
        );
        let mut buffer = [0; 4096];
        // The first one is empty: the logger's question whether anybody listens.
        assert_eq!(journal.recv(&mut buffer).unwrap(), 0);
        let length = journal.recv(&mut buffer).unwrap();
        let entry = fields(&buffer[..length]);
        for (name, value) in [
            ("MESSAGE", "the ledger is closed"),
            ("MESSAGE_ID", id.as_str()),
            ("PRIORITY", "3"),
            ("SYSLOG_IDENTIFIER", "greffierd"),
            ("ENTRY", "412"),
            ("WHY", "disk full\nPRIORITY=7"),
        ] {
            let values: Vec<_> = entry.iter().filter(|field| field.0 == name).map(|field| &field.1).collect();
            assert_eq!(values, [value], "{name}");
        }
        alert(super::super::message_id::ACCESS_EMERGENCY, "an emergency\nPRIORITY=7", &[("entry", "9")]);
        let length = journal.recv(&mut buffer).unwrap();
        let entry = fields(&buffer[..length]);
        let is = |name: &str, value: &str| {
            entry.iter().filter(|field| field.0 == name).all(|field| field.1 == value)
        };
        assert!(entry.len() == 5 && is("PRIORITY", "1") && is("ENTRY", "9"), "{entry:?}");
        assert!(is("MESSAGE", "an emergency PRIORITY=7"), "{entry:?}");
    }

    /// One datagram of systemd's journal: `NAME=value` lines, or name, line feed, length u64le, value, line feed.
    fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while let Some(end) = datagram.iter().position(|&b| b == b'\n') {
            let (line, rest) = (&datagram[..end], &datagram[end + 1..]);
            if let Some(equals) = line.iter().position(|&b| b == b'=') {
                fields.push((text(&line[..equals]), text(&line[equals + 1..])));
                datagram = rest;
            } else {
                let (length, rest) = rest.split_first_chunk::<8>().unwrap();
                let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
                fields.push((text(line), text(value)));
                datagram = &rest[1..];
            }
        }
        fields
    }
}
