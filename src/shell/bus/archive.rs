//! What the bus needs from the daemon: one trait, in plain types. The daemon implements it; the interfaces translate.
//!
//! Must never mention a D-Bus type: translation happens in `wire`, order in `daemon`.

use std::future::Future;
use std::os::fd::OwnedFd;

pub mod registers;

use self::registers::{RegisterAct, RegisterFilter, RegisterKind, RegisterRow};
use super::caller::Caller;
use crate::core::event::HoldKind;
use crate::core::ids::{ApprovalId, HoldId, Kind, MandateId, RecordingId, SessionId};
use crate::core::refusal::Refusal;
use crate::core::scrub::Counts;
use crate::core::time::Timestamp;

/// The answer of one call.
pub type Answer<T> = Result<T, Refusal>;

/// `Search`'s filter. Ids that the caller typed are text here: whether they exist is not the bus's to say.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The reason code, as typed.
    pub reason: String,
    /// Only these sources; empty means all that may be searched.
    pub sources: Vec<String>,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only what ends after this.
    pub from: Option<Timestamp>,
    /// Only what starts before this.
    pub to: Option<Timestamp>,
    /// Only with, or only without, a hold.
    pub held: Option<bool>,
}

/// `Open`'s request.
#[derive(Debug, Clone, Default)]
pub struct OpenRequest {
    /// The purpose, as typed; may be absent.
    pub purpose: Option<String>,
    /// The reason code, as typed.
    pub reason: String,
    /// Case reference.
    pub case: Option<String>,
    /// Free text.
    pub text: Option<String>,
    /// Not seekable.
    pub stream: bool,
    /// End of the session wished for.
    pub until: Option<Timestamp>,
    /// The mandate under which it is opened.
    pub mandate: Option<MandateId>,
    /// The approval that it uses.
    pub approval: Option<ApprovalId>,
    /// Break-glass: at once, and loud. Comes with a text.
    pub emergency: bool,
}

/// `Seal`'s metadata.
#[derive(Debug, Clone, Default)]
pub struct SealRequest {
    /// The source, as typed.
    pub source: String,
    /// First instant it shows.
    pub start: Option<Timestamp>,
    /// Last instant it shows.
    pub end: Option<Timestamp>,
    /// File name.
    pub name: Option<String>,
    /// Person recorded.
    pub subject: Option<String>,
}

/// `Hold`'s request.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// The recording, as typed.
    pub recording: String,
    /// Which kind.
    pub kind: HoldKind,
    /// Why.
    pub ground: String,
    /// Reference of the demand.
    pub reference: Option<String>,
    /// When it must be reviewed.
    pub review: Option<Timestamp>,
}

/// What is told of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRow {
    /// Its id.
    pub id: RecordingId,
    /// Its source.
    pub source: String,
    /// What it is.
    pub kind: Kind,
    /// First instant.
    pub start: Timestamp,
    /// Last instant.
    pub end: Timestamp,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// Size.
    pub bytes: u64,
    /// Media type.
    pub media: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Retention class.
    pub class: String,
    /// Purged at the latest.
    pub expires: Timestamp,
    /// Whether a hold stands.
    pub held: bool,
    /// Whether it is known to be damaged, and so cannot be opened.
    pub damaged: bool,
}

/// What `Open` gives.
#[derive(Debug)]
pub struct OpenedRecording {
    /// The session.
    pub session: SessionId,
    /// The accountable descriptor.
    pub descriptor: OwnedFd,
    /// Size.
    pub bytes: u64,
    /// Media type.
    pub media: String,
    /// End of the session at the latest.
    pub expires: Timestamp,
    /// The entry that grants it.
    pub entry: u64,
}

/// What `Session.Info` gives.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// What is open.
    pub recording: RecordingId,
    /// Since when.
    pub opened: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// Bytes read.
    pub bytes_read: u64,
    /// Ranges read, `[first, end)`.
    pub ranges: Vec<(u64, u64)>,
}

/// One line of a purge plan.
#[derive(Debug, Clone)]
pub struct PlanRow {
    /// Which recording.
    pub recording: RecordingId,
    /// `purge`, `keep` or `held`.
    pub action: String,
    /// When it is due.
    pub due: Timestamp,
    /// Why.
    pub why: String,
}

/// One line of a plan of what happens to details of the ledger.
#[derive(Debug, Clone)]
pub struct DetailPlanRow {
    /// The first entry.
    pub first: u64,
    /// The entry after the last.
    pub end: u64,
    /// How many details between them it is about.
    pub details: u64,
    /// `destroy` or `keep`.
    pub action: String,
    /// When the first of them is due; absent while something that they tell of has not ended.
    pub due: Option<Timestamp>,
    /// Why.
    pub why: String,
}

/// One open review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewRow {
    /// The entry that raised it.
    pub entry: u64,
    /// Why it was raised.
    pub why: String,
    /// When.
    pub raised: Timestamp,
    /// Late after this.
    pub due: Timestamp,
    /// The recording that it is about, where it is about one.
    pub recording: Option<RecordingId>,
    /// The session.
    pub session: Option<SessionId>,
}

/// What a run of the retention did.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// Destroyed.
    pub purged: u64,
    /// Kept because a hold stands.
    pub held: u64,
    /// Could not be destroyed; the journal says why.
    pub failed: u64,
    /// Why nothing was purged, if so.
    pub blocked: Option<String>,
}

/// `Manager.Scrub`'s request.
#[derive(Debug, Clone, Default)]
pub struct ScrubRequest {
    /// How fast to read, in MiB a second; 0 without a limit; `None` as configured.
    pub rate_mib_s: Option<u64>,
    /// Only this recording, as typed.
    pub recording: Option<String>,
    /// Begin anew although an earlier scrub did not come to its end.
    pub restart: bool,
}

/// How far a scrub is; numbers alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Which scrub since the service started; 0 before the first.
    pub number: u64,
    /// Whether it runs.
    pub running: bool,
    /// Recordings in the archive when it began.
    pub recordings_total: u64,
    /// Bytes of these recordings.
    pub bytes_total: u64,
    /// How fast it reads at most, in bytes a second; 0 without a limit.
    pub bytes_per_s: u64,
    /// What was read.
    pub counts: Counts,
}

/// Something that a scrub found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubFinding {
    /// The recording, where it is about one.
    pub recording: Option<RecordingId>,
    /// The word of `store.damaged`.
    pub what: String,
    /// Bytes from the start of the file.
    pub offset: Option<u64>,
}

/// Numbers for everybody.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// `ready`, `degraded` or `closed`.
    pub state: String,
    /// Why it is not ready.
    pub why: String,
    /// Entries in the ledger.
    pub entries: u64,
    /// Recordings in the archive.
    pub recordings: u64,
    /// Holds that stand.
    pub holds: u64,
    /// Sessions that run.
    pub sessions: u64,
    /// Reviews that are open.
    pub reviews_open: u64,
    /// Those of them that are late.
    pub reviews_overdue: u64,
    /// Recordings whose purge is due.
    pub due: u64,
    /// How full the disk is: `ample`, `low`, `tight` or `full`.
    pub space: String,
    /// Free bytes on the disk of the state directory.
    pub free: u64,
    /// Its file system, by name.
    pub medium: String,
    /// Files on the private mount, those just being prepared or forgotten included.
    pub served: u64,
    /// Recordings in the catalogue that is being rebuilt, and how many there are.
    pub rebuilding: Option<(u64, u64)>,
}

/// The archive, as the bus may use it. Every method that tells of a recording or a person takes the caller first.
pub trait Archive: Send + Sync + 'static {
    /// Rows that `caller` may search, and the cursor of the next page.
    fn search(
        &self,
        caller: Caller,
        filter: Filter,
        limit: u32,
        cursor: String,
    ) -> impl Future<Output = Answer<(Vec<RecordingRow>, String)>> + Send;
    /// One row.
    fn describe(&self, caller: Caller, id: String) -> impl Future<Output = Answer<RecordingRow>> + Send;
    /// A session and its descriptor.
    fn open(
        &self,
        caller: Caller,
        id: String,
        request: OpenRequest,
    ) -> impl Future<Output = Answer<OpenedRecording>> + Send;
    /// A recording from a file; its id and entry.
    fn seal(
        &self,
        caller: Caller,
        file: OwnedFd,
        request: SealRequest,
    ) -> impl Future<Output = Answer<(RecordingId, u64)>> + Send;
    /// Ends a session of the caller.
    fn close(&self, caller: Caller, session: SessionId) -> impl Future<Output = Answer<()>> + Send;
    /// What a session has read.
    fn session_info(
        &self,
        caller: Caller,
        session: SessionId,
    ) -> impl Future<Output = Answer<SessionInfo>> + Send;
    /// What a run of the retention would do now.
    fn plan(&self, caller: Caller) -> impl Future<Output = Answer<Vec<PlanRow>>> + Send;
    /// What would happen to the details of the ledger now.
    fn plan_details(&self, caller: Caller) -> impl Future<Output = Answer<Vec<DetailPlanRow>>> + Send;
    /// Runs the retention.
    fn run(&self, caller: Caller) -> impl Future<Output = Answer<RunReport>> + Send;
    /// Trusts the wall clock again.
    fn confirm_clock(&self, caller: Caller) -> impl Future<Output = Answer<()>> + Send;
    /// Places a hold.
    fn hold(&self, caller: Caller, request: HoldRequest) -> impl Future<Output = Answer<HoldId>> + Send;
    /// Ends a hold.
    fn lift(
        &self,
        caller: Caller,
        hold: HoldId,
        ground: Option<String>,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Every open review.
    fn reviews(&self, caller: Caller) -> impl Future<Output = Answer<Vec<ReviewRow>>> + Send;
    /// Ends a review; the entry.
    fn review_done(
        &self,
        caller: Caller,
        review: u64,
        text: String,
    ) -> impl Future<Output = Answer<u64>> + Send;
    /// The live head, for auditors.
    fn head(&self, caller: Caller) -> impl Future<Output = Answer<String>> + Send;
    /// Entries, each followed by its detail when asked for.
    fn read(
        &self,
        caller: Caller,
        from: u64,
        count: u32,
        details: bool,
    ) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// Closing checkpoints of earlier key epochs, without the first `from`.
    fn epochs(
        &self,
        caller: Caller,
        from: u64,
        count: u32,
    ) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// The receipt of an entry, as a C2SP tlog-proof.
    fn receipt(&self, caller: Caller, entry: u64) -> impl Future<Output = Answer<String>> + Send;
    /// The hashes that prove that the ledger of `new` entries begins with that of `old`.
    fn consistency(
        &self,
        caller: Caller,
        old: u64,
        new: u64,
    ) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// The rows of a register that `caller` may see.
    fn list_register(
        &self,
        caller: Caller,
        register: RegisterKind,
        filter: RegisterFilter,
    ) -> impl Future<Output = Answer<Vec<RegisterRow>>> + Send;
    /// An act that a register records; the id of what it is about, and the entry.
    fn record_act(
        &self,
        caller: Caller,
        act: RegisterAct,
    ) -> impl Future<Output = Answer<(String, u64)>> + Send;
    /// Loads the policy again.
    fn reload(&self, caller: Caller) -> impl Future<Output = Answer<()>> + Send;
    /// Makes the catalogue anew from the ledger; the answer comes when it is done.
    fn rebuild_index(&self, caller: Caller) -> impl Future<Output = Answer<()>> + Send;
    /// Begins to read the whole store.
    fn scrub(&self, caller: Caller, request: ScrubRequest) -> impl Future<Output = Answer<()>> + Send;
    /// Ends the scrub that runs.
    fn cancel_scrub(&self, caller: Caller) -> impl Future<Output = Answer<()>> + Send;
    /// What the scrub that runs, or ran last, has found.
    fn scrub_findings(&self, caller: Caller) -> impl Future<Output = Answer<Vec<ScrubFinding>>> + Send;
    /// How far it is.
    fn scrub_progress(&self) -> ScrubProgress;
    /// Changes the master key.
    fn rotate_keys(&self, caller: Caller, ground: Option<String>) -> impl Future<Output = Answer<()>> + Send;
    /// The master key, sealed to age recipients, and the entry that says so.
    fn backup_keys(
        &self,
        caller: Caller,
        to: Vec<String>,
    ) -> impl Future<Output = Answer<(Vec<u8>, u64)>> + Send;
    /// Records a drill: whether what the key in a backup answers is what the key in force answers. The entry.
    fn check_backup(
        &self,
        caller: Caller,
        generation: u64,
        answer: String,
    ) -> impl Future<Output = Answer<u64>> + Send;
    /// Numbers for everybody.
    fn status(&self) -> impl Future<Output = Status> + Send;
    /// The last published head: at most one a minute.
    fn published_checkpoint(&self) -> String;
    /// First line of every checkpoint.
    fn origin(&self) -> String;
    /// The log key as a vkey line.
    fn verifier_key(&self) -> String;
    /// `ready`, `degraded` or `closed`, and why.
    fn state(&self) -> (String, String);
}
