//! `review …`: what must be looked at by somebody who had no part in it.

use zbus::Connection;
use zbus::wire::Variant;

use super::print;
use crate::shell::bus::client::{Failure, Request, ReviewsProxy, fields};
use crate::shell::terminal::{self, Form};

/// The columns of a list of reviews.
const COLUMNS: [&str; 6] = ["entry", "why", "raised", "due", "recording", "session"];

/// Shows the reviews that are open.
pub async fn list(bus: &Connection, form: Form) -> Result<u8, Failure> {
    let rows = ReviewsProxy::new(bus).await?.pending().await?;
    let rows: Vec<_> = rows.iter().map(fields::to_json).collect();
    print(&terminal::rows(form, &COLUMNS, &rows))?;
    if rows.is_empty() {
        eprintln!("No review is open.");
    }
    Ok(0)
}

/// Ends one.
pub async fn done(bus: &Connection, entry: u64, text: &str) -> Result<u8, Failure> {
    let request = Request::from([("text", Variant::from(text))]);
    let recorded = ReviewsProxy::new(bus).await?.done(entry, request).await?;
    eprintln!("The review is done, entry {recorded}.");
    Ok(0)
}
