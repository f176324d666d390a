//! polkit, as the service asks it: does the person behind a name on the bus authenticate again, now?
//!
//! Owns the questions to polkitd and what each answer means. The subject is the name on the bus and never a process id, which
//! can be another process by now. Must never take a yes for an answer that polkit gave without asking anybody: what is wanted
//! is a person who authenticates, not a rule of polkit that allows.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zbus::wire::Variant;
use zbus::{Connection, fdo};

/// The name of polkitd on the bus.
pub const NAME: &str = "org.freedesktop.PolicyKit1";
/// What each action of `policy/polkit` begins with; a verb of the policy follows.
pub const ACTIONS: &str = "org.greffier.archive.";
/// The longest wait for an answer that needs no person.
const ANSWER: Duration = Duration::from_secs(25);
/// Flag of `CheckAuthorization`: a dialog may open.
const ALLOW_INTERACTION: u32 = 1;

/// Subject of a question: its kind, and what says who it is.
type Subject<'a> = (&'a str, HashMap<&'a str, Variant<'a>>);

#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    /// Whether the subject may do it, whether it could after a challenge, and facts about the answer.
    fn check_authorization(
        &self,
        subject: &Subject<'_>,
        action: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;
    /// Closes the dialog of a question.
    fn cancel_check_authorization(&self, cancellation: &str) -> zbus::Result<()>;
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The unique name of who must authenticate.
    pub bus_name: String,
    /// The action, without [`ACTIONS`].
    pub action: String,
    /// What the dialog may show, by the names that `policy/polkit` uses. Identifiers only: nothing that a caller typed.
    pub details: Vec<(&'static str, String)>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The person authenticated: just now, or a short time ago where a rule of polkit keeps that.
    Authenticated,
    /// Wrong, too often; or a rule of polkit says no.
    Refused,
    /// The person closed the dialog.
    Dismissed,
    /// Nobody could ask: no agent is registered for this caller.
    NoAgent,
    /// A rule of polkit allows it without asking anybody.
    NotAsked,
    /// No answer in time, or it was told to stop. The dialog is closed.
    Abandoned,
    /// There is no polkitd, it stopped meanwhile, or it does not know our actions.
    Unavailable(String),
}

/// Asks. `limit` is how long the person may take; when `stop` ends, the question is given up.
pub async fn authenticate(
    bus: &Connection,
    question: &Question,
    limit: Duration,
    stop: impl Future<Output = ()>,
) -> Answer {
    let authority = match AuthorityProxy::new(bus).await {
        Ok(authority) => authority,
        Err(error) => return Answer::Unavailable(error.to_string()),
    };
    let name = HashMap::from([("name", Variant::from(question.bus_name.as_str()))]);
    let subject: Subject<'_> = ("system-bus-name", name);
    let action = format!("{ACTIONS}{}", question.action);
    let details: HashMap<&str, &str> =
        question.details.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let ask =
        |flags, cancellation| authority.check_authorization(&subject, &action, &details, flags, cancellation);
    // First without a dialog: only so is it known whether polkit would ask at all.
    match tokio::time::timeout(ANSWER, ask(0, "")).await {
        Ok(Ok((false, true, _))) => {}
        Ok(Ok((true, _, facts))) if facts.contains_key("polkit.temporary_authorization_id") => {
            return Answer::Authenticated;
        }
        Ok(Ok((true, ..))) => return Answer::NotAsked,
        Ok(Ok((false, false, _))) => return Answer::Refused,
        Ok(Err(error)) => return Answer::Unavailable(error.to_string()),
        Err(_) => return Answer::Unavailable("it does not answer".into()),
    }
    let cancellation = cancellation();
    let answer = tokio::select! {
        answer = tokio::time::timeout(limit, ask(ALLOW_INTERACTION, &cancellation)) => answer.ok(),
        () = stop => None,
    };
    match answer {
        Some(Ok((true, ..))) => Answer::Authenticated,
        Some(Ok((false, true, _))) => Answer::NoAgent,
        Some(Ok((false, false, facts))) if facts.contains_key("polkit.dismissed") => Answer::Dismissed,
        Some(Ok((false, false, _))) => Answer::Refused,
        Some(Err(error)) => Answer::Unavailable(error.to_string()),
        None => {
            // It may have ended by itself.
            let _closed =
                tokio::time::timeout(ANSWER, authority.cancel_check_authorization(&cancellation)).await;
            Answer::Abandoned
        }
    }
}

/// A name for one question, which no other of this connection has.
fn cancellation() -> String {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    format!("greffier-{}", ASKED.fetch_add(1, Ordering::Relaxed))
}

/// Whether polkitd is on the bus, or would be started by a question.
pub async fn is_there(bus: &Connection) -> bool {
    let look = async {
        let bus = fdo::DBusProxy::new(bus).await?;
        if bus.name_has_owner(NAME.try_into()?).await? {
            return Ok(true);
        }
        Ok::<_, zbus::Error>(bus.list_activatable_names().await?.iter().any(|name| name.as_str() == NAME))
    };
    matches!(tokio::time::timeout(ANSWER, look).await, Ok(Ok(true)))
}
