//! `status` and `reload`.

use serde_json::Value;
use zbus::Connection;

use super::print;
use crate::shell::bus::client::{Failure, ManagerProxy, fields};
use crate::shell::terminal::{self, Form};

/// Prints state and numbers. Exit code 1 when the service is `closed`: it serves, seals and purges nothing.
pub async fn status(bus: &Connection, form: Form) -> Result<u8, Failure> {
    let mut object = fields::to_json(&ManagerProxy::new(bus).await?.status().await?);
    // Absent when there is nothing to say, as everywhere.
    object.retain(|_, value| value.as_str() != Some(""));
    let closed = object.get("state").and_then(Value::as_str) == Some("closed");
    print(&terminal::facts(form, &["state", "why", "version"], &object))?;
    Ok(u8::from(closed))
}

/// Asks for the policy to be read again. A bad policy is something found, not a wrong question: exit code 1.
pub async fn reload(bus: &Connection) -> Result<u8, Failure> {
    let reloaded = ManagerProxy::new(bus).await?.reload().await.map_err(Failure::from);
    reloaded.map_err(|failure| match failure {
        Failure::Usage(sentence) => Failure::Refused(sentence),
        other => other,
    })?;
    eprintln!("The policy was read and is in force.");
    Ok(0)
}
