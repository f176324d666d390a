//! Between `a{sv}` and our types: every key known, every length bounded, every time RFC 3339.
//!
//! An unknown key is an error that names it, never ignored (design §11). Must never decide whether an id exists.

pub mod registers;

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use zbus::wire::{OwnedVariant, Variant};

use super::archive::{
    DetailPlanRow, Filter, HoldRequest, OpenRequest, PlanRow, RecordingRow, ReviewRow, RunReport,
    ScrubFinding, ScrubRequest, SealRequest, SessionInfo, Status,
};
use crate::core::event::{Detail, HoldKind};
use crate::core::ids::Kind;
use crate::core::ledger::checkpoint::MAX_SIZE;
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::register::secrets::tells_secret;
use crate::core::time::Timestamp;

/// An `a{sv}` as it travels.
pub type Dict = HashMap<String, OwnedVariant>;

/// The keys of one request, taken out one by one; what is left at the end is unknown.
pub struct Keys {
    dict: Dict,
    known: Vec<&'static str>,
}

impl Keys {
    /// Starts with everything.
    pub fn new(dict: Dict) -> Self {
        Self { dict, known: Vec::new() }
    }

    /// A text that must be there.
    fn needed(&mut self, key: &'static str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| Refusal::invalid(format!("The key \"{key}\" is missing.")))
    }

    fn take<T: TryFrom<OwnedVariant>>(
        &mut self,
        key: &'static str,
        kind: &str,
    ) -> Result<Option<T>, Refusal> {
        self.known.push(key);
        let wrong = |_| Refusal::invalid(format!("The key \"{key}\" must be {kind}."));
        self.dict.remove(key).map(T::try_from).transpose().map_err(wrong)
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, Refusal> {
        let text: Option<String> = self.take(key, "a string (s)")?;
        if text.as_ref().is_some_and(|text| text.len() > Detail::MAX_TEXT_BYTES) {
            let max = Detail::MAX_TEXT_BYTES;
            return Err(Refusal::invalid(format!("The key \"{key}\" has more than {max} bytes.")));
        }
        if text.as_ref().is_some_and(|text| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')) {
            return Err(Refusal::invalid(format!("The key \"{key}\" holds a control character.")));
        }
        if text.as_deref().is_some_and(tells_secret) {
            return Err(Refusal::invalid(format!(
                "The key \"{key}\" seems to hold a password; the archive keeps none, so leave it out."
            )));
        }
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// An id; whether there is such a one is not looked at.
    fn id<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Result<Option<T>, Refusal> {
        let wrong = |error| Refusal::invalid(format!("The key \"{key}\": {error}."));
        self.text(key)?.map(|text| text.parse().map_err(wrong)).transpose()
    }

    fn time(&mut self, key: &'static str) -> Result<Option<Timestamp>, Refusal> {
        let wrong = |error| Refusal::invalid(format!("The key \"{key}\": {error}."));
        self.text(key)?.map(|text| text.parse().map_err(wrong)).transpose()
    }

    fn end<T>(self, value: T) -> Result<T, Refusal> {
        let Some(unknown) = self.dict.keys().min() else { return Ok(value) };
        let unknown: String = unknown.chars().take(64).filter(|c| !c.is_control()).collect();
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(Refusal::invalid(format!("The key \"{unknown}\" is unknown here; known keys: {known}.")))
    }
}

/// A request without keys.
pub fn no_keys(dict: Dict) -> Result<(), Refusal> {
    Keys::new(dict).end(())
}

/// The filter of `Search`.
pub fn filter(dict: Dict) -> Result<Filter, Refusal> {
    let mut keys = Keys::new(dict);
    let kind = keys.text("kind")?;
    let wrong_kind = |error| Refusal::invalid(format!("The key \"kind\": {error}."));
    let sources: Vec<String> = keys.take("source", "a list of strings (as)")?.unwrap_or_default();
    if sources.len() > 256 || sources.iter().any(|source| source.len() > 64) {
        return Err(Refusal::invalid(
            "The key \"source\" takes at most 256 source ids of at most 64 characters.",
        ));
    }
    let filter = Filter {
        reason: keys.text("reason")?.unwrap_or_default(),
        sources,
        kind: kind.map(|kind| kind.parse::<Kind>().map_err(wrong_kind)).transpose()?,
        from: keys.time("from")?,
        to: keys.time("to")?,
        held: keys.take("held", "a boolean (b)")?,
    };
    keys.end(filter)
}

/// The request of `Open`.
pub fn open_request(dict: Dict) -> Result<OpenRequest, Refusal> {
    let mut keys = Keys::new(dict);
    let stream = match keys.text("mode")?.as_deref() {
        None | Some("seek") => false,
        Some("stream") => true,
        Some(_) => return Err(Refusal::invalid("The key \"mode\" must be \"seek\" or \"stream\".")),
    };
    let request = OpenRequest {
        purpose: keys.text("purpose")?,
        reason: keys.text("reason")?.unwrap_or_default(),
        case: keys.text("case")?,
        text: keys.text("text")?,
        stream,
        until: keys.time("until")?,
        mandate: keys.id("mandate")?,
        approval: keys.id("approval")?,
        emergency: keys.take("emergency", "a boolean (b)")?.unwrap_or(false),
    };
    if request.emergency && request.text.is_none() {
        return Err(Refusal::invalid("An emergency needs the key \"text\": say what has happened."));
    }
    keys.end(request)
}

/// The metadata of `Seal`.
pub fn seal_request(dict: Dict) -> Result<SealRequest, Refusal> {
    let mut keys = Keys::new(dict);
    let source = keys.text("source")?.ok_or_else(|| Refusal::invalid("The key \"source\" is missing."))?;
    let request = SealRequest {
        source,
        start: keys.time("start")?,
        end: keys.time("end")?,
        name: keys.text("name")?,
        subject: keys.text("subject")?,
    };
    keys.end(request)
}

/// The request of `Hold`.
pub fn hold_request(dict: Dict) -> Result<HoldRequest, Refusal> {
    let mut keys = Keys::new(dict);
    let missing = |key| move || Refusal::invalid(format!("The key \"{key}\" is missing."));
    let kind = keys.text("kind")?.ok_or_else(missing("kind"))?;
    let words = HoldKind::ALL.map(HoldKind::as_str).join(", ");
    let kind = HoldKind::from_word(&kind)
        .ok_or_else(|| Refusal::invalid(format!("The key \"kind\" must be one of {words}.")))?;
    let request = HoldRequest {
        recording: keys.text("recording")?.ok_or_else(missing("recording"))?,
        kind,
        ground: keys.text("ground")?.ok_or_else(missing("ground"))?,
        reference: keys.text("reference")?,
        review: keys.time("review")?,
    };
    keys.end(request)
}

/// The request of `Lift`: why.
pub fn lift_request(dict: Dict) -> Result<Option<String>, Refusal> {
    let mut keys = Keys::new(dict);
    let ground = keys.text("ground")?;
    keys.end(ground)
}

/// The request of `Reviews.Done`: what was found.
pub fn review_request(dict: Dict) -> Result<String, Refusal> {
    let mut keys = Keys::new(dict);
    let text = keys.text("text")?.ok_or_else(|| Refusal::invalid("The key \"text\" is missing."))?;
    keys.end(text)
}

/// The request of `Manager.RotateKeys`: why.
pub fn rotate_request(dict: Dict) -> Result<Option<String>, Refusal> {
    let mut keys = Keys::new(dict);
    let ground = keys.text("ground")?;
    keys.end(ground)
}

/// The request of `Manager.BackupKeys`: the recipients.
pub fn backup_request(dict: Dict) -> Result<Vec<String>, Refusal> {
    let mut keys = Keys::new(dict);
    let to: Vec<String> = keys.take("to", "a list of strings (as)")?.unwrap_or_default();
    if to.is_empty() || to.len() > 16 || to.iter().any(|recipient| recipient.len() > 128) {
        return Err(Refusal::invalid("The key \"to\" takes 1 to 16 age recipients (age1...)."));
    }
    keys.end(to)
}

/// The request of `Manager.CheckBackup`: what the key in the backup answers, and its generation.
pub fn check_backup_request(dict: Dict) -> Result<(u64, String), Refusal> {
    let mut keys = Keys::new(dict);
    let generation = keys.take("generation", "a number (t)")?;
    let generation = generation.ok_or_else(|| Refusal::invalid("The key \"generation\" is missing."))?;
    entry(generation).map_err(|_| Refusal::invalid("Generations have numbers below 2^53."))?;
    let answer = keys.text("answer")?.ok_or_else(|| Refusal::invalid("The key \"answer\" is missing."))?;
    keys.end((generation, answer))
}

/// The request of `Ledger.Read`: whether details are wanted.
pub fn read_request(dict: Dict) -> Result<bool, Refusal> {
    let mut keys = Keys::new(dict);
    let details = keys.take("details", "a boolean (b)")?.unwrap_or(false);
    keys.end(details)
}

/// The entry of `Ledger.Receipt`.
pub fn entry(entry: u64) -> Result<u64, Refusal> {
    if entry < MAX_SIZE { Ok(entry) } else { Err(Refusal::invalid("Entries have numbers below 2^53.")) }
}

/// The sizes of `Ledger.Consistency`, the earlier first.
pub fn sizes(old: u64, new: u64) -> Result<(u64, u64), Refusal> {
    entry(new)?;
    if old <= new {
        Ok((old, new))
    } else {
        let sentence = format!("The earlier size comes first, and {old} is more than {new}.");
        Err(Refusal::invalid(sentence))
    }
}

/// Builds an `a{sv}`. A value that has no wire form does not exist among our types.
fn dict<const N: usize>(fields: [(&str, Variant<'_>); N]) -> Dict {
    let owned = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.try_into().ok()?)));
    owned.collect()
}

/// A row of `Search` and `Describe`.
pub fn row(row: RecordingRow) -> Dict {
    dict([
        ("id", row.id.to_string().into()),
        ("source", row.source.into()),
        ("kind", row.kind.as_str().into()),
        ("start", row.start.to_string().into()),
        ("end", row.end.to_string().into()),
        ("sealed", row.sealed.to_string().into()),
        ("bytes", row.bytes.into()),
        ("media", row.media.into()),
        ("sha256", row.sha256.into()),
        ("class", row.class.into()),
        ("expires", row.expires.to_string().into()),
        ("held", row.held.into()),
        ("damaged", row.damaged.into()),
    ])
}

/// The info of `Open`.
pub fn opened(bytes: u64, media: String, expires: Timestamp, entry: u64) -> Dict {
    dict([
        ("bytes", bytes.into()),
        ("media", media.into()),
        ("expires", expires.to_string().into()),
        ("entry", entry.into()),
    ])
}

/// `Session.Info`.
pub fn session(info: SessionInfo) -> Dict {
    dict([
        ("recording", info.recording.to_string().into()),
        ("opened", info.opened.to_string().into()),
        ("expires", info.expires.to_string().into()),
        ("bytes", info.bytes_read.into()),
        ("ranges", info.ranges.into()),
    ])
}

/// A row of `Retention.Plan`.
pub fn plan_row(row: PlanRow) -> Dict {
    dict([
        ("recording", row.recording.to_string().into()),
        ("action", row.action.into()),
        ("due", row.due.to_string().into()),
        ("why", row.why.into()),
    ])
}

/// A row of `Reviews.Pending`.
pub fn review_row(row: ReviewRow) -> Dict {
    let mut reply = dict([
        ("entry", row.entry.into()),
        ("why", row.why.into()),
        ("raised", row.raised.to_string().into()),
        ("due", row.due.to_string().into()),
    ]);
    if let Some(recording) = row.recording {
        reply.extend(dict([("recording", recording.to_string().into())]));
    }
    if let Some(session) = row.session {
        reply.extend(dict([("session", session.to_string().into())]));
    }
    reply
}

/// A row of `Retention.PlanDetails`.
pub fn detail_plan_row(row: DetailPlanRow) -> Dict {
    let mut reply = dict([
        ("first", row.first.into()),
        ("end", row.end.into()),
        ("details", row.details.into()),
        ("action", row.action.into()),
        ("why", row.why.into()),
    ]);
    if let Some(due) = row.due {
        reply.extend(dict([("due", due.to_string().into())]));
    }
    reply
}

/// The reply of `Retention.Run`.
pub fn run_report(report: RunReport) -> Dict {
    let mut reply = dict([
        ("purged", report.purged.into()),
        ("held", report.held.into()),
        ("failed", report.failed.into()),
    ]);
    if let Some(blocked) = report.blocked {
        reply.extend(dict([("blocked", blocked.into())]));
    }
    reply
}

/// The request of `Manager.Scrub`.
pub fn scrub_request(dict: Dict) -> Result<ScrubRequest, Refusal> {
    let mut keys = Keys::new(dict);
    let request = ScrubRequest {
        rate_mib_s: keys.take("rate", "a number (t), in MiB a second")?,
        recording: keys.text("recording")?,
        restart: keys.take("restart", "a boolean (b)")?.unwrap_or(false),
    };
    keys.end(request)
}

/// A row of `Scrub.Findings`.
pub fn scrub_finding(finding: ScrubFinding) -> Dict {
    let mut row = dict([("what", finding.what.into())]);
    if let Some(recording) = finding.recording {
        row.extend(dict([("recording", recording.to_string().into())]));
    }
    if let Some(offset) = finding.offset {
        row.extend(dict([("offset", offset.into())]));
    }
    row
}

/// The reply of `Manager.Status`.
pub fn status(status: Status) -> Dict {
    let mut reply = dict([
        ("state", status.state.into()),
        ("why", status.why.into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("entries", status.entries.into()),
        ("recordings", status.recordings.into()),
        ("holds", status.holds.into()),
        ("sessions", status.sessions.into()),
        ("reviews_open", status.reviews_open.into()),
        ("reviews_overdue", status.reviews_overdue.into()),
        ("due", status.due.into()),
        ("space", status.space.into()),
        ("free", status.free.into()),
        ("medium", status.medium.into()),
        ("served", status.served.into()),
    ]);
    if let Some((done, total)) = status.rebuilding {
        reply.extend(dict([("index_done", done.into()), ("index_total", total.into())]));
    }
    reply
}

/// The errors of design §11 on the wire.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.greffier.Archive1.Error")]
pub enum BusError {
    /// Needed by the library; none of our methods makes it.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// See [`RefusalKind::Denied`].
    Denied(String),
    /// See [`RefusalKind::NotFound`].
    NotFound(String),
    /// See [`RefusalKind::InvalidArgument`].
    InvalidArgument(String),
    /// See [`RefusalKind::ReasonRequired`].
    ReasonRequired(String),
    /// See [`RefusalKind::Held`].
    Held(String),
    /// See [`RefusalKind::ApprovalRequired`].
    ApprovalRequired(String),
    /// See [`RefusalKind::LimitReached`].
    LimitReached(String),
    /// See [`RefusalKind::LedgerUnavailable`].
    LedgerUnavailable(String),
    /// See [`RefusalKind::Closed`].
    Closed(String),
    /// See [`RefusalKind::Conflict`].
    Conflict(String),
    /// See [`RefusalKind::Internal`].
    Internal(String),
}

impl From<Refusal> for BusError {
    fn from(Refusal { kind, sentence }: Refusal) -> Self {
        match kind {
            RefusalKind::Denied => Self::Denied(sentence),
            RefusalKind::NotFound => Self::NotFound(sentence),
            RefusalKind::InvalidArgument => Self::InvalidArgument(sentence),
            RefusalKind::ReasonRequired => Self::ReasonRequired(sentence),
            RefusalKind::Held => Self::Held(sentence),
            RefusalKind::ApprovalRequired => Self::ApprovalRequired(sentence),
            RefusalKind::LimitReached => Self::LimitReached(sentence),
            RefusalKind::LedgerUnavailable => Self::LedgerUnavailable(sentence),
            RefusalKind::Closed => Self::Closed(sentence),
            RefusalKind::Conflict => Self::Conflict(sentence),
            RefusalKind::Internal => Self::Internal(sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: Variant<'_>) -> Dict {
        dict([(key, value)])
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let error = open_request(one("resaon", "incident".into())).unwrap_err();
        assert_eq!(error.kind, RefusalKind::InvalidArgument);
        assert!(error.sentence.contains("\"resaon\"") && error.sentence.contains("reason"), "{error}");
    }

    #[test]
    fn inv10_types_and_lengths_are_checked() {
        assert!(open_request(one("reason", 5u32.into())).is_err());
        assert!(open_request(one("text", "x".repeat(Detail::MAX_TEXT_BYTES + 1).into())).is_err());
        assert!(open_request(one("until", "tomorrow".into())).is_err());
        assert!(open_request(one("mode", "download".into())).is_err());
        assert!(filter(one("kind", "film".into())).is_err());
        assert!(open_request(one("text", "a\u{0}b".into())).is_err());
    }

    #[test]
    fn inv10_numbers_that_no_ledger_has_are_refused_before_anybody_is_asked() {
        assert_eq!(entry(MAX_SIZE - 1), Ok(MAX_SIZE - 1));
        assert!(entry(MAX_SIZE).is_err() && sizes(0, u64::MAX).is_err() && sizes(u64::MAX, 5).is_err());
        assert_eq!(sizes(5, 5), Ok((5, 5)));
        assert!(sizes(6, 5).unwrap_err().sentence.contains("6 is more than 5"));
    }

    #[test]
    fn a_row_has_exactly_the_keys_of_the_manual() {
        let id = crate::core::ids::RecordingId::from_bytes([1; 16]);
        let at: Timestamp = "2026-05-12T10:00:00Z".parse().unwrap();
        let text = String::new;
        let keys = row(RecordingRow {
            id,
            source: text(),
            kind: Kind::Call,
            start: at,
            end: at,
            sealed: at,
            bytes: 1,
            media: text(),
            sha256: text(),
            class: text(),
            expires: at,
            held: false,
            damaged: false,
        });
        let mut keys: Vec<_> = keys.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = [
            "bytes", "class", "damaged", "end", "expires", "held", "id", "kind", "media", "sealed", "sha256",
            "source", "start",
        ];
        assert_eq!(keys, expected);
    }
}
