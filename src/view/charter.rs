//! `charter`: the rules of the house that everybody acknowledges before the first opening.

use serde_json::{Map, Value};
use zbus::Connection;
use zbus::wire::Variant;

use super::print;
use crate::shell::bus::client::{Failure, RegistersProxy, Request, fields};
use crate::shell::terminal::{self, Form};

/// Prints the charter in force, and acknowledges it when that is asked for. Exit code 1 while it is not acknowledged.
pub async fn charter(bus: &Connection, form: Form, acknowledge: bool) -> Result<u8, Failure> {
    let registers = RegistersProxy::new(bus).await?;
    let rows = registers.list("charter", Request::new()).await?;
    // The first row is the charter itself; those after it tell auditors of others.
    let Some(charter) = rows.first().map(fields::to_json) else {
        eprintln!("The policy has no charter; nothing has to be acknowledged.");
        return Ok(0);
    };
    print(&match form {
        Form::Json => terminal::rows(form, &[], std::slice::from_ref(&charter)),
        Form::Lines | Form::Table => format!("{}\n", terminal::clean(text(&charter, "text"))),
    })?;
    let version = text(&charter, "version");
    if acknowledge {
        let request = Request::from([("version", Variant::from(version))]);
        let (_, entry) = registers.record("charter", "acknowledge", request).await?;
        eprintln!("You have acknowledged version {} (entry {entry}).", terminal::clean(version));
        return Ok(0);
    }
    if text(&charter, "state") == "acknowledged" {
        eprintln!("You have acknowledged this version.");
        return Ok(0);
    }
    eprintln!("You have not acknowledged this version: greffier-view charter --acknowledge");
    Ok(1)
}

fn text<'a>(charter: &'a Map<String, Value>, key: &str) -> &'a str {
    charter.get(key).and_then(Value::as_str).unwrap_or_default()
}
