//! `store scrub`: orders the reading of the whole store and shows how far it is.
//!
//! The scrub runs in the service: ending this program does not end it. Must never show a bar where nobody looks: it goes to
//! standard error, and only to a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Map, Value, json};
use zbus::Connection;
use zbus::wire::Variant;

use super::args::ScrubArgs;
use super::print;
use crate::shell::bus::client::{Failure, Fields, ManagerProxy, Request, ScrubProxy, fields, scrub_numbers};
use crate::shell::terminal::{self, Form};

/// How often a terminal is shown something new, and how often a line of JSON is written.
const LOOK: Duration = Duration::from_millis(500);
const JSON_EVERY: u32 = 20;
const MIB: f64 = 1_048_576.0;

/// The numbers of a scrub at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Numbers {
    number: u64,
    running: bool,
    rate: u64,
    recordings: u64,
    recordings_total: u64,
    bytes: u64,
    bytes_total: u64,
    keys: u64,
    damaged: u64,
    repaired: u64,
    unread: u64,
}

impl Numbers {
    fn of(fields: &Fields) -> Self {
        let fields = fields::to_json(fields);
        let of = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or(0);
        Self {
            number: of("Number"),
            running: fields.get("Running").and_then(Value::as_bool).unwrap_or(false),
            rate: of("Rate"),
            recordings: of("Recordings"),
            recordings_total: of("RecordingsTotal"),
            bytes: of("Bytes"),
            bytes_total: of("BytesTotal"),
            keys: of("Keys"),
            damaged: of("Damaged"),
            repaired: of("Repaired"),
            unread: of("Unread"),
        }
    }

    fn json(&self) -> Map<String, Value> {
        let object = json!({
            "running": self.running,
            "recordings": self.recordings,
            "recordings_total": self.recordings_total,
            "bytes": self.bytes,
            "bytes_total": self.bytes_total,
            "keys": self.keys,
            "damaged": self.damaged,
            "repaired": self.repaired,
            "unread": self.unread,
        });
        object.as_object().cloned().unwrap_or_default()
    }

    /// One line for a terminal.
    #[expect(clippy::cast_precision_loss, reason = "shown to a tenth")]
    fn bar(&self) -> String {
        let done =
            if self.bytes_total == 0 { 1.0 } else { (self.bytes as f64 / self.bytes_total as f64).min(1.0) };
        let filled = (0..24).map(|i| if f64::from(i) < done * 24.0 { '#' } else { '-' });
        let left = match self.rate {
            0 => String::new(),
            rate => {
                let minutes = self.bytes_total.saturating_sub(self.bytes) / rate / 60;
                format!(", {}:{:02} h left", minutes / 60, minutes % 60)
            }
        };
        format!(
            "[{}] {:.0} of {:.0} MiB, {} of {} recordings, {} damaged{left}",
            filled.collect::<String>(),
            (self.bytes.min(self.bytes_total)) as f64 / MIB,
            self.bytes_total as f64 / MIB,
            self.recordings,
            self.recordings_total,
            self.damaged
        )
    }
}

/// Orders a scrub and follows it to its end. Exit code 1 when something was found or it ended early.
pub async fn scrub(bus: &Connection, form: Form, args: &ScrubArgs) -> Result<u8, Failure> {
    if args.cancel {
        ScrubProxy::new(bus).await?.cancel().await?;
        eprintln!("The scrub ends; the next one goes on from there.");
        return Ok(0);
    }
    let mut request = Request::new();
    if let Some(rate) = args.rate {
        request.insert("rate", Variant::from(rate));
    }
    if let Some(id) = args.recording {
        request.insert("recording", Variant::from(id.to_string()));
    }
    if args.restart {
        request.insert("restart", Variant::from(true));
    }
    let _path = ManagerProxy::new(bus).await?.scrub(request).await?;
    let begun = Numbers::of(&scrub_numbers(bus).await?);
    let terminal = std::io::stderr().is_terminal();
    let (mut last, mut looks) = (begun.clone(), 0_u32);
    while last.running && last.number == begun.number {
        if form == Form::Json && looks.is_multiple_of(JSON_EVERY) {
            print(&terminal::rows(form, &[], &[last.json()]))?;
        }
        if terminal {
            eprint!("\r{}\u{1b}[K", last.bar());
        }
        looks += 1;
        tokio::time::sleep(LOOK).await;
        last = Numbers::of(&scrub_numbers(bus).await?);
    }
    if terminal {
        eprint!("\r\u{1b}[K");
    }
    if last.number != begun.number {
        return Err(Failure::Unavailable("Another scrub has begun since; this one has ended.".into()));
    }
    finish(bus, form, &last, args.recording.is_some()).await
}

/// What was found, then the numbers.
async fn finish(bus: &Connection, form: Form, last: &Numbers, one: bool) -> Result<u8, Failure> {
    if last.damaged + last.repaired > 0 {
        let found = ScrubProxy::new(bus).await?.findings().await?;
        let found: Vec<_> = found.iter().map(fields::to_json).collect();
        print(&terminal::rows(form, &["recording", "what", "offset"], &found))?;
    }
    if form == Form::Json {
        print(&terminal::rows(form, &[], &[last.json()]))?;
    }
    let early = !one && last.recordings + last.unread < last.recordings_total;
    eprintln!(
        "{} recordings and {} keys were read: {} damaged, {} copies of keys repaired, {} could not be looked at.",
        last.recordings, last.keys, last.damaged, last.repaired, last.unread
    );
    if early {
        eprintln!(
            "It may have ended before all was read: greffierctl store scrub goes on; the ledger says why it ended."
        );
    }
    if last.damaged > 0 {
        eprintln!(
            "The journal names file and offset. Put what is damaged back from a backup, then run this again."
        );
    }
    Ok(u8::from(last.damaged + last.unread > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end_and_says_what_is_left() {
        let numbers = Numbers {
            bytes: 1 << 30,
            bytes_total: 2 << 30,
            rate: 1 << 20,
            recordings: 1,
            recordings_total: 2,
            ..Numbers::default()
        };
        let bar = numbers.bar();
        assert!(bar.starts_with("[############------------] 1024 of 2048 MiB, 1 of 2 recordings"), "{bar}");
        assert!(bar.ends_with("0:17 h left"), "{bar}");
        let full = Numbers { bytes: 3 << 30, ..numbers };
        assert!(full.bar().starts_with("[########################] 2048 of 2048"), "{}", full.bar());
        assert!(Numbers::default().bar().contains("0 of 0 MiB"));
    }
}
