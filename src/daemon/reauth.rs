//! Authenticating again (R25): polkit is asked before the writer's turn, never in it, so that no call waits behind the dialog of
//! another person.
//!
//! In order: would the policy allow it to a person who has authenticated again, and only to such a one · a dialog, one at a time
//! for each name on the bus, a bounded number in all · the answer goes with the person into the decision that is recorded.
//! Fails closed: whatever is not a fresh authentication refuses, by `builtin.reauth`, in words that say what to do.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::health::Part;
use super::ledger::Desk;
use super::person::{Person, decide_for, may_for};
use super::service::Service;
use crate::core::ids::{HoldId, RecordingId};
use crate::core::policy::{AccessRequest, Decision, Denial, Target, Verb};
use crate::core::refusal::Refusal;
use crate::shell::bus::polkit::{self, Answer, Question};

/// How long a person may take to answer the dialog. Clients wait longer for the answer of a call.
const LIMIT: Duration = Duration::from_secs(90);
/// Dialogs that may be open at the same time.
const DIALOGS: usize = 32;

/// Whether the person has authenticated again for what is being decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reauth {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// Yes.
    Done,
    /// No, and this is what to tell the person.
    Failed(String),
}

impl Reauth {
    /// The refusal as it is recorded and told: when only this was missing, with what came of asking.
    pub fn told(&self, denial: Denial) -> Denial {
        match self {
            Self::Failed(words) if denial.lacks_only_reauthentication() => {
                let sentence = format!("Refused by rule {}: {words}.", denial.rule);
                Denial { sentence, needed: Vec::new(), ..denial }
            }
            _ => denial,
        }
    }
    /// What the decision is told.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }
}

/// What a call is about, as far as it is known before the writer's turn. Ids are as typed.
#[derive(Debug, Clone)]
pub(super) enum About {
    /// The service.
    Nothing,
    /// A recording.
    Recording(String),
    /// The recording under a hold.
    Hold(HoldId),
    /// A source.
    Source(String),
}

impl About {
    /// Absent: there is no such thing, and nobody is asked for it.
    fn target(self, desk: &Desk<'_>) -> Option<Target> {
        let recording = |id: RecordingId| {
            Some(Target::Recording { id, source: desk.state.recording(&id)?.source.clone() })
        };
        match self {
            Self::Nothing => Some(Target::Service),
            Self::Recording(id) => recording(id.parse().ok()?),
            Self::Hold(id) => recording(desk.state.holds().get(&id)?.recording),
            Self::Source(source) => Some(Target::Source(source.parse().ok()?)),
        }
    }
}

fn denied(decision: Decision) -> Option<Denial> {
    match decision {
        Decision::Deny(denial) => Some(denial),
        Decision::Allow(_) => None,
    }
}

/// The dialog for a request: identifiers only, nothing that somebody typed.
pub(super) fn question(person: &Person, request: &AccessRequest) -> Question {
    let recording = match &request.target {
        Target::Recording { id, .. } => Some(id.to_string()),
        Target::Source(_) | Target::Service => None,
    };
    let details = [
        ("recording", recording),
        ("source", request.target.source().map(ToString::to_string)),
        ("reason", request.reason.as_ref().map(ToString::to_string)),
        ("purpose", request.purpose.as_ref().map(ToString::to_string)),
        ("verb", Some(request.verb.to_string())),
    ];
    let action = if request.emergency { "emergency" } else { request.verb.as_str() };
    Question {
        bus_name: person.bus_name.clone(),
        action: action.to_owned(),
        details: details.into_iter().map(|(key, value)| (key, value.unwrap_or_else(|| "-".into()))).collect(),
    }
}

/// The dialogs that are open.
#[derive(Debug, Default)]
pub(super) struct Dialogs {
    by_name: Mutex<HashMap<String, Arc<Notify>>>,
}

/// The right to one dialog. Dropped, it is over.
#[derive(Debug)]
struct Turn<'a> {
    dialogs: &'a Dialogs,
    name: String,
    gone: Arc<Notify>,
}

/// Why there is no turn.
#[derive(Debug, PartialEq, Eq)]
enum NoTurn {
    /// This caller has one open.
    Same,
    /// Too many are open.
    Full,
}

impl Dialogs {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &str) -> Result<Turn<'_>, NoTurn> {
        let mut open = self.open();
        if open.contains_key(name) {
            return Err(NoTurn::Same);
        }
        if open.len() >= DIALOGS {
            return Err(NoTurn::Full);
        }
        let gone = Arc::new(Notify::new());
        open.insert(name.to_owned(), gone.clone());
        Ok(Turn { dialogs: self, name: name.to_owned(), gone })
    }

    /// A name left the bus: its dialog is closed.
    pub(super) fn left(&self, name: &str) {
        if let Some(gone) = self.open().get(name) {
            gone.notify_one();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.dialogs.open().remove(&self.name);
    }
}

impl Service {
    /// Asks polkit to let a person authenticate again.
    pub(super) async fn ask_again(&self, question: Question) -> Reauth {
        let Some(bus) = self.bus().filter(|_| self.config.bus.polkit) else {
            return Reauth::Failed(
                "polkit is not asked here (bus.polkit = false), so nobody can authenticate again; tell the administrator"
                    .into(),
            );
        };
        let turn = match self.dialogs.begin(&question.bus_name) {
            Ok(turn) => turn,
            Err(NoTurn::Same) => {
                return Reauth::Failed(
                    "a dialog of yours is open already; answer that one, then repeat the request".into(),
                );
            }
            Err(NoTurn::Full) => {
                return Reauth::Failed(
                    "too many people are authenticating at this moment; repeat the request in a minute"
                        .into(),
                );
            }
        };
        let answer = polkit::authenticate(&bus.connection, &question, LIMIT, turn.gone.notified()).await;
        drop(turn);
        if let Answer::Unavailable(why) = &answer {
            log::error!("polkit cannot be asked: {why}");
            self.health.degrade(Part::Polkit, ABSENT);
        } else {
            self.health.mend(Part::Polkit);
        }
        judged(&answer)
    }

    /// The person, who has authenticated again where the policy lets only such a person do `verb`.
    pub(super) async fn authenticated(
        &self,
        person: Person,
        verb: Verb,
        about: About,
    ) -> Result<Person, Refusal> {
        if !self.asks_again.load(Ordering::Relaxed) {
            return Ok(person);
        }
        let asked = person.clone();
        let question = self.ledger.look(move |desk| {
            let request = asked.asks(verb, about.target(desk)?, None);
            let denial = match verb {
                // Where he may is asked source by source.
                Verb::Purge => may_for(desk, &asked, verb).err(),
                _ => denied(decide_for(desk, &asked, &request)),
            };
            denial.filter(Denial::lacks_only_reauthentication).map(|_| question(&asked, &request))
        });
        Ok(match question.await? {
            Some(question) => Person { reauth: self.ask_again(question).await, ..person },
            None => person,
        })
    }

    /// Says in the state whether polkit is missing where the policy in force needs it.
    pub(super) async fn look_for_polkit(&self) {
        let Some(bus) = self.bus() else { return };
        if !self.asks_again.load(Ordering::Relaxed) {
            return self.health.mend(Part::Polkit);
        }
        if !self.config.bus.polkit {
            self.health.degrade(Part::Polkit, OFF);
        } else if polkit::is_there(&bus.connection).await {
            self.health.mend(Part::Polkit);
        } else {
            self.health.degrade(Part::Polkit, ABSENT);
        }
    }
}

const ABSENT: &str = "polkit does not answer, and the policy wants people to authenticate again: those requests are refused. Start it with `systemctl start polkit`, and look whether its actions are installed: `pkaction | grep org.greffier`.";
const OFF: &str = "The policy wants people to authenticate again, and polkit may not be asked: those requests are refused. Set bus.polkit = true and restart the service, or change the policy.";

/// What an answer of polkit means for the decision.
fn judged(answer: &Answer) -> Reauth {
    let words = match answer {
        Answer::Authenticated => return Reauth::Done,
        Answer::Refused => {
            "you did not authenticate, or polkit refuses it; repeat the request and give your own password"
        }
        Answer::Dismissed => "you closed the dialog; repeat the request, and authenticate",
        Answer::NoAgent => {
            "nobody could ask you to authenticate: run this on a terminal, or in a desktop session with a polkit agent"
        }
        Answer::NotAsked => {
            "a rule of polkit lets it pass without asking you, and the policy wants you to authenticate; the administrator removes that rule"
        }
        Answer::Abandoned => "you did not authenticate in time; repeat the request",
        Answer::Unavailable(_) => {
            "polkit cannot be asked, so nobody can authenticate again; tell the administrator"
        }
    };
    Reauth::Failed(words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_authenticated_has_authenticated() {
        assert!(judged(&Answer::Authenticated).is_done());
        assert!(!Reauth::default().is_done());
        let others = [
            Answer::Refused,
            Answer::Dismissed,
            Answer::NoAgent,
            Answer::NotAsked,
            Answer::Abandoned,
            Answer::Unavailable(String::new()),
        ];
        let mut said = std::collections::BTreeSet::new();
        for answer in others {
            let Reauth::Failed(words) = judged(&answer) else { panic!("{answer:?} passes") };
            assert!(said.insert(words.clone()), "{words}");
        }
    }

    #[test]
    fn a_name_has_one_dialog_at_a_time_and_all_names_a_bounded_number() {
        let dialogs = Dialogs::default();
        let first = dialogs.begin(":1.1").unwrap();
        assert_eq!(dialogs.begin(":1.1").unwrap_err(), NoTurn::Same);
        let others: Vec<_> = (2..=DIALOGS).map(|n| dialogs.begin(&format!(":1.{n}")).unwrap()).collect();
        assert_eq!(dialogs.begin(":2.1").unwrap_err(), NoTurn::Full);
        drop(first);
        assert!(dialogs.begin(":1.1").is_ok());
        drop(others);
        assert!(dialogs.open().is_empty());
    }
}
