//! Opening a recording: the request, and the session that comes back.

use std::os::fd::OwnedFd;

use zbus::Connection;
use zbus::wire::Variant;

use super::args::OpenArgs;
use crate::shell::bus::client::agent::Agent;
use crate::shell::bus::client::{Failure, RecordingsProxy, Request, SessionProxy};

/// A recording that is open for us. It ends when this value's descriptor and its copies are closed, at `close`, at its
/// time, or when this program leaves the bus.
pub struct Opened<'a> {
    /// The session on the bus.
    pub session: SessionProxy<'a>,
    /// The accountable descriptor.
    pub descriptor: OwnedFd,
}

/// Opens a recording. `mode` is `seek` or `stream`.
pub async fn open<'a>(
    bus: &'a Connection,
    args: &OpenArgs,
    mode: &'static str,
) -> Result<Opened<'a>, Failure> {
    let mut request =
        Request::from([("reason", Variant::from(args.reason.as_str())), ("mode", Variant::from(mode))]);
    if let Some(purpose) = &args.purpose {
        request.insert("purpose", Variant::from(purpose.as_str()));
    }
    if let Some(case) = &args.case {
        request.insert("case", Variant::from(case.as_str()));
    }
    if let Some(text) = &args.text {
        request.insert("text", Variant::from(text.as_str()));
    }
    if args.emergency {
        request.insert("emergency", Variant::from(true));
    }
    if let Some(until) = args.until {
        request.insert("until", Variant::from(until.to_string()));
    }
    if let Some(mandate) = &args.mandate {
        request.insert("mandate", Variant::from(mandate.as_str()));
    }
    if let Some(approval) = args.approval {
        request.insert("approval", Variant::from(approval.to_string()));
    }
    // The rules may ask this person to authenticate again.
    let agent = Agent::start().await;
    let opened = RecordingsProxy::new(bus).await?.open(&args.id.to_string(), request).await;
    agent.end().await;
    let (path, descriptor, _) = opened?;
    let session = SessionProxy::new(bus, path).await?;
    Ok(Opened { session, descriptor: descriptor.into() })
}
