//! `retention plan|run|confirm-clock` and `hold place|lift`.

use serde_json::{Map, Value, json};
use zbus::Connection;
use zbus::wire::Variant;

use super::print;
use crate::core::ids::{HoldId, RecordingId};
use crate::core::time::Timestamp;
use crate::shell::bus::client::{self, Failure, HoldProxy, Request, RetentionProxy, fields};
use crate::shell::terminal::{self, Form};

/// The hold to place.
pub struct NewHold {
    /// What must not be purged.
    pub id: RecordingId,
    /// `judicial`, `incident`, `request` or `restriction`.
    pub kind: String,
    /// In words.
    pub ground: String,
    /// Of the requisition, the report or the request.
    pub reference: Option<String>,
    /// When somebody must look again.
    pub review: Option<Timestamp>,
}

/// Prints the plan. An empty one prints nothing on standard output.
pub async fn plan(bus: &Connection, form: Form) -> Result<u8, Failure> {
    let rows = RetentionProxy::new(bus).await?.plan().await?;
    let rows: Vec<Map<String, Value>> = rows.iter().map(fields::to_json).collect();
    print(&terminal::rows(form, &["recording", "action", "due", "why"], &rows))?;
    if rows.is_empty() {
        eprintln!("Nothing is due.");
    }
    Ok(0)
}

/// Prints what happens to the personal parts of the ledger.
pub async fn plan_details(bus: &Connection, form: Form) -> Result<u8, Failure> {
    let rows = RetentionProxy::new(bus).await?.plan_details().await?;
    let rows: Vec<Map<String, Value>> = rows.iter().map(fields::to_json).collect();
    print(&terminal::rows(form, &["first", "end", "details", "action", "due", "why"], &rows))?;
    if rows.is_empty() {
        eprintln!("The ledger holds no personal part.");
    }
    Ok(0)
}

/// Purges what is due, and prints the numbers. Exit code 1 when something could not be purged.
pub async fn run(bus: &Connection, form: Form) -> Result<u8, Failure> {
    let done = fields::to_json(&RetentionProxy::new(bus).await?.run().await?);
    print(&terminal::facts(form, &["purged", "held", "failed", "blocked"], &done))?;
    let failed = done.get("failed").and_then(Value::as_u64).unwrap_or(0) > 0;
    Ok(u8::from(failed || done.contains_key("blocked")))
}

/// Says that the wall clock is right after a jump, so that purges go on.
pub async fn confirm_clock(bus: &Connection) -> Result<u8, Failure> {
    RetentionProxy::new(bus).await?.confirm_clock().await?;
    eprintln!("The clock is trusted again; what is due will be purged.");
    Ok(0)
}

/// Places a hold and prints its id.
pub async fn hold(bus: &Connection, form: Form, new: &NewHold) -> Result<u8, Failure> {
    let mut request = Request::from([
        ("recording", Variant::from(new.id.to_string())),
        ("kind", Variant::from(new.kind.as_str())),
        ("ground", Variant::from(new.ground.as_str())),
    ]);
    if let Some(reference) = &new.reference {
        request.insert("reference", Variant::from(reference.as_str()));
    }
    if let Some(review) = new.review {
        request.insert("review", Variant::from(review.to_string()));
    }
    let path = RetentionProxy::new(bus).await?.hold(request).await?;
    let hold = client::last_part(&path);
    let object = json!({ "hold": hold, "recording": new.id });
    let object = object.as_object().cloned().unwrap_or_default();
    print(&match form {
        Form::Json => terminal::rows(form, &[], &[object]),
        Form::Lines | Form::Table => format!("{}\n", terminal::clean(hold)),
    })?;
    eprintln!("The recording will not be purged until this hold is lifted: greffierctl hold lift {hold}");
    Ok(0)
}

/// Lifts a hold.
pub async fn lift(bus: &Connection, hold: &HoldId, ground: Option<String>) -> Result<u8, Failure> {
    let proxy = HoldProxy::new(bus, client::hold_path(hold)).await?;
    let request = ground.map(|ground| ("ground", Variant::from(ground))).into_iter().collect();
    proxy.lift(request).await?;
    eprintln!("The hold is lifted.");
    Ok(0)
}
