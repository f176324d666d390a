//! A search from the caller's side: the filter, page after page.
//!
//! Owns the keys of the filter and the walk through the pages. Must never ask for more rows than were wanted: each
//! page is an access of its own, with an entry in the ledger.

use serde_json::{Map, Value};
use zbus::Connection;
use zbus::wire::Variant;

use super::{Failure, RecordingsProxy, Request, SEARCH_ROWS_MAX, fields};
use crate::core::ids::{Kind, ReasonCode, SourceId};
use crate::core::time::Timestamp;

/// What to look for. Empty fields do not limit.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Why (required; it stands in the ledger).
    pub reason: ReasonCode,
    /// Only these sources.
    pub sources: Vec<SourceId>,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only what ends after this instant.
    pub from: Option<Timestamp>,
    /// Only what starts before this instant.
    pub to: Option<Timestamp>,
    /// Only what is under a hold.
    pub held: bool,
}

impl Filter {
    fn request(&self) -> Request<'static> {
        let mut request = Request::from([("reason", Variant::from(self.reason.to_string()))]);
        if !self.sources.is_empty() {
            let sources: Vec<String> = self.sources.iter().map(ToString::to_string).collect();
            request.insert("source", Variant::from(sources));
        }
        if let Some(kind) = self.kind {
            request.insert("kind", Variant::from(kind.as_str()));
        }
        if let Some(from) = self.from {
            request.insert("from", Variant::from(from.to_string()));
        }
        if let Some(to) = self.to {
            request.insert("to", Variant::from(to.to_string()));
        }
        if self.held {
            request.insert("held", Variant::from(true));
        }
        request
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The rows, as objects.
    pub rows: Vec<Map<String, Value>>,
    /// More match than were asked for.
    pub more: bool,
}

/// At most `limit` recordings that match.
pub async fn search(connection: &Connection, filter: &Filter, limit: u32) -> Result<Found, Failure> {
    let recordings = RecordingsProxy::new(connection).await?;
    let mut found = Found { rows: Vec::new(), more: false };
    let (mut wanted, mut cursor) = (limit, String::new());
    while wanted > 0 {
        let (rows, next) = recordings.search(filter.request(), wanted.min(SEARCH_ROWS_MAX), &cursor).await?;
        wanted = wanted.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        found.rows.extend(rows.iter().map(fields::to_json));
        found.more = !next.is_empty();
        if next.is_empty() || next == cursor {
            break;
        }
        cursor = next;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_sends_only_what_limits() {
        let mut filter = Filter {
            reason: "incident".parse().unwrap(),
            sources: Vec::new(),
            kind: None,
            from: None,
            to: None,
            held: false,
        };
        assert_eq!(filter.request().keys().copied().collect::<Vec<_>>(), ["reason"]);
        filter.sources.push("entrance".parse().unwrap());
        filter.kind = Some(Kind::Footage);
        filter.from = Some("2026-05-12T10:00:00Z".parse().unwrap());
        filter.held = true;
        let request = filter.request();
        assert_eq!(request["source"], Variant::from(vec!["entrance".to_owned()]));
        assert_eq!(request["kind"], Variant::from("footage"));
        assert_eq!(request["from"], Variant::from("2026-05-12T10:00:00.000000Z"));
        assert_eq!(request["held"], Variant::from(true));
        assert!(!request.contains_key("to"));
    }
}
