//! `ledger witness DIR`: asks the witnesses of a trust policy to cosign the head that a directory publishes.
//!
//! Owns the order: the proof is checked here before it is sent, a cosignature before it is kept, and what is kept is
//! durable before the next witness is asked. Reads the published directory alone; must never ask the service, and never
//! keep a line that no key of the policy confirms.

mod http;
mod published;
mod state;

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::publish::read_policy;
use super::{print, sentence};
use crate::core::ledger::cosignature::{CosignatureError, CosignatureKey, with_lines};
use crate::core::ledger::note::{NoteSignature, SignedNote};
use crate::core::ledger::trust::{Key, Lacking, LogStanding, TrustPolicy, Verdict, Witness};
use crate::core::ledger::witness::{AcceptError, Answer, RequestError, accept, add_checkpoint};
use crate::core::time::Timestamp;
use crate::shell::bus::client::Failure;
use crate::shell::terminal::{self, Form};
use http::{Client, PostError};
use published::{DirError, Directory};
use state::{State, StateError};

/// What `ledger witness` works with.
#[derive(Debug)]
pub struct Task<'a> {
    /// The published directory.
    pub dir: &'a Path,
    /// The trust policy.
    pub policy: &'a Path,
    /// Where sizes and the cosigned checkpoint are kept.
    pub state: &'a Path,
    /// The longest wait for one request.
    pub patience: Duration,
}

/// Why one witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum Miss {
    #[error("the policy gives no address for it")]
    NoAddress,
    #[error("{0}")]
    NotSupported(String),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("it answered {status}: {why}")]
    Refused { status: u16, why: &'static str },
    #[error(
        "it has seen {theirs} entries and {ours} are published: publish first, and if the ledger has no more, it was \
         put back to an earlier state"
    )]
    Behind { theirs: u64, ours: u64 },
    #[error("it says that it has seen {0} entries, and does not take a proof from there")]
    Wavers(u64),
    #[error("its answer cannot be used")]
    Accept(#[from] AcceptError),
    #[error("no proof can be made")]
    Dir(#[from] DirError),
    #[error("no request can be made")]
    Request(#[from] RequestError),
    #[error(transparent)]
    Lines(#[from] CosignatureError),
    #[error("what it signed could not be kept")]
    State(#[from] StateError),
}

impl Miss {
    /// Whether the witness was there at all.
    fn reached(&self) -> bool {
        !matches!(
            self,
            Self::NoAddress
                | Self::NotSupported(_)
                | Self::Post(PostError::Unreachable(_) | PostError::Address(_))
        )
    }
}

/// Asks every witness of the policy that has an address. Exit code: 0 the quorum is reached, 1 it is not, 3 no witness
/// could be reached (and it is not reached by what was kept before).
pub fn witness(form: Form, task: &Task<'_>) -> Result<u8, Failure> {
    let policy = read_policy(task.policy)?;
    if policy.witnesses().iter().all(|witness| witness.url.is_none()) {
        let file = task.policy.display();
        return Err(Failure::Usage(format!(
            "{file} gives no witness with an address: witness NAME VKEY URL."
        )));
    }
    let published = Directory::open(task.dir).map_err(|error| match error {
        DirError::Head(..) => Failure::Usage(sentence(&error)),
        _ => Failure::Refused(sentence(&error)),
    })?;
    if policy.judge(&published.note).log == LogStanding::Missing {
        return Err(Failure::Refused(format!(
            "{} is not signed by a log of {}; put the vkey of this ledger into its log line.",
            task.dir.join("checkpoint").display(),
            task.policy.display()
        )));
    }
    let state = State::open(task.state, &published.head.origin).map_err(|error| match error {
        StateError::Busy(_) => Failure::Refused(sentence(&error)),
        _ => Failure::Usage(sentence(&error)),
    })?;
    let mut round = Round::new(&policy, &published, state)?;
    let client = Client::new(task.patience);
    let outcomes: Vec<Result<u64, Miss>> =
        policy.witnesses().iter().map(|witness| round.ask(&client, witness)).collect();
    let verdict = policy.judge(&round.note);
    report(form, &policy, &outcomes)?;
    let anybody = outcomes.iter().any(|outcome| outcome.as_ref().err().is_none_or(Miss::reached));
    eprintln!("{}", terminal::clean(&words(&verdict, published.head.size, anybody)));
    Ok(match (verdict.is_valid(), anybody) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 3,
    })
}

/// One checkpoint on its way to all witnesses.
struct Round<'a> {
    published: &'a Directory,
    state: State,
    /// The checkpoint with the cosignatures so far.
    note: SignedNote,
}

impl<'a> Round<'a> {
    /// Begins with what is published, and the good cosignatures of the same head that were kept before.
    fn new(policy: &TrustPolicy, published: &'a Directory, state: State) -> Result<Self, Failure> {
        let kept = state.checkpoint().filter(|kept| kept.text() == published.note.text());
        let good = |line: &&NoteSignature| {
            policy.witnesses().iter().any(|witness| {
                matches!(&witness.key, Key::Supported(key) if key.verify_line(published.note.text(), line).is_ok())
            })
        };
        let lines: Vec<NoteSignature> =
            kept.iter().flat_map(SignedNote::signatures).filter(good).cloned().collect();
        let text = with_lines(&published.note, &lines).map_err(|error| Failure::Refused(sentence(&error)))?;
        let note = SignedNote::parse(&text).map_err(|error| Failure::Refused(sentence(&error)))?;
        Ok(Self { published, state, note })
    }

    /// Asks one witness; the time of its cosignature, in seconds since 1970, once that is kept.
    fn ask(&mut self, client: &Client, witness: &Witness) -> Result<u64, Miss> {
        let key = match &witness.key {
            Key::Supported(key) => key,
            Key::NotSupported { why, .. } => return Err(Miss::NotSupported(why.clone())),
        };
        let url = witness.url.as_ref().ok_or(Miss::NoAddress)?;
        let url = url.as_str().ok_or_else(|| Miss::Post(PostError::Address(url.to_string())))?;
        let name = key.to_string();
        let lines = self.send(client, url, self.state.size(&name))?;
        self.keep(key, &name, &lines)
    }

    /// Sends the head; once more when the witness has another size than thought.
    fn send(&self, client: &Client, url: &str, known: u64) -> Result<Vec<NoteSignature>, Miss> {
        let ours = self.published.head.size;
        // What is remembered beyond the head decides nothing: the witness says itself what it has seen.
        let mut old = if known > ours { 0 } else { known };
        for again in [true, false] {
            let proof = self.published.consistency(old)?;
            let body = add_checkpoint(old, &proof, &self.published.text)?;
            match client.add_checkpoint(url, &body)? {
                Answer::Signed(lines) => return Ok(lines),
                Answer::Refused { status, why } => return Err(Miss::Refused { status, why }),
                Answer::Conflict(theirs) if theirs > ours => return Err(Miss::Behind { theirs, ours }),
                Answer::Conflict(theirs) if theirs == old || !again => return Err(Miss::Wavers(theirs)),
                Answer::Conflict(theirs) => old = theirs,
            }
        }
        Err(Miss::Wavers(old))
    }

    fn keep(&mut self, key: &CosignatureKey, name: &str, lines: &[NoteSignature]) -> Result<u64, Miss> {
        let (line, time) = accept(&self.published.note, lines, key)?;
        let text = with_lines(&self.note, &[line])?;
        self.state.keep_checkpoint(&text)?;
        self.state.keep_size(name, self.published.head.size)?;
        // It is a note: it was written by `with_lines`, and its lines were read from one.
        if let Ok(note) = SignedNote::parse(&text) {
            self.note = note;
        }
        Ok(time)
    }
}

/// One line a witness.
fn report(form: Form, policy: &TrustPolicy, outcomes: &[Result<u64, Miss>]) -> Result<(), Failure> {
    let row = |(witness, outcome): (&Witness, &Result<u64, Miss>)| {
        let mut row = Map::new();
        row.insert("witness".into(), json!(witness.name.to_string()));
        row.insert("signed".into(), Value::Bool(outcome.is_ok()));
        match outcome {
            Ok(time) => row.insert("time".into(), json!(shown(*time))),
            Err(miss) => row.insert("why".into(), json!(sentence(miss))),
        };
        row
    };
    let rows: Vec<_> = policy.witnesses().iter().zip(outcomes).map(row).collect();
    print(&terminal::rows(form, &["witness", "signed", "time", "why"], &rows))
}

/// Seconds since 1970 as RFC 3339, where that goes.
fn shown(seconds: u64) -> String {
    let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    let time = micros.and_then(|micros| Timestamp::from_micros(micros).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// Whether it is enough, and what is missing.
fn words(verdict: &Verdict, size: u64, anybody: bool) -> String {
    if verdict.is_valid() {
        return format!("The quorum is reached for the checkpoint of {size} entries.");
    }
    if verdict.spoiled {
        return "The published checkpoint holds a wrong signature of a listed key, so nobody will take it; publish \
                again."
            .to_owned();
    }
    let lacking = |it: &Lacking| match it.need {
        1 if it.have == 0 => it.name.to_string(),
        need => format!("{} ({} of {need})", it.name, it.have),
    };
    let missing: Vec<String> = verdict.lacking.iter().map(lacking).collect();
    let reached = if anybody { "" } else { "No witness could be reached. " };
    format!(
        "{reached}The quorum is not reached for the checkpoint of {size} entries. Missing: {}.",
        missing.join(", ")
    )
}
