//! One verification from end to end: what kind of folder it is, the walk through its entries, its head, what is left over.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::archive::{ArchiveError, Unpacking};
use super::checkpoints::{Checkpoints, Keys, read_signed_by_log};
use super::details::{DETAILS_FILE, Details, Lines};
use super::files::{FileError, Folder, Source};
use super::findings::{Class, Code, Report, sentence};
use super::pipeline;
use super::source::{Bundle, Feed, Loaded};
use super::statistics::Statistics;
use super::store::Store;
use super::tail::{check_tail, read_header};
use super::trust;
use super::walk::Walk;
use crate::core::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::core::ledger::epoch::EpochKeys;
use crate::core::ledger::hash::Hash;
use crate::core::ledger::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::core::ledger::tail::TailHeader;
use crate::core::time::Timestamp;

/// What to check, and against what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the ledger is.
    pub source: Source,
    /// The pinned log key.
    pub key: VerifierKey,
    /// Checkpoints from earlier visits: name for messages, text.
    pub pinned: Vec<(String, String)>,
    /// The time of the visit: what should have been purged, or written, by then. `None`: the time of the last entry.
    pub visit: Option<Timestamp>,
    /// Whose cosignatures the heads must carry, as a C2SP tlog-policy: name for messages, text.
    pub policy: Option<(String, String)>,
    /// The state directory whose `objects/` is compared with the ledger.
    pub store: Option<PathBuf>,
    /// Where a compressed archive is unpacked, to a file without a name.
    pub scratch: PathBuf,
    /// Most bytes that an archive may unpack to.
    pub max_unpacked_bytes: u64,
    /// Threads that read and hash; `None`: as many as the machine has, or none besides when the ledger is small.
    pub threads: Option<NonZeroUsize>,
}

impl Options {
    /// Most bytes that an archive may unpack to, unless told otherwise: 64 GiB.
    pub const MAX_UNPACKED_BYTES: u64 = 1 << 36;
    /// Where a compressed archive is unpacked, unless told otherwise: not `/tmp`, which is often memory.
    pub const SCRATCH: &str = "/var/tmp";

    /// The ledger at `source`, trusting `key`; nothing else is compared.
    pub fn new(source: Source, key: VerifierKey) -> Self {
        Self {
            source,
            key,
            pinned: Vec::new(),
            visit: None,
            policy: None,
            store: None,
            scratch: Self::SCRATCH.into(),
            max_unpacked_bytes: Self::MAX_UNPACKED_BYTES,
            threads: None,
        }
    }

    /// What messages call the source.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Path(path) => path.display().to_string(),
            Source::Stdin => "standard input".into(),
            Source::Memory(_) => "the memory given".into(),
        }
    }
}

/// Why nothing can be said: exit 2.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An argument is wrong.
    #[error("{0}")]
    Usage(String),
    /// The folder or a file cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Unreadable(sentence(&error))
    }
}
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(format!("cannot read {DETAILS_FILE}: {error}"))
    }
}

/// What was checked.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Name of the ledger.
    pub origin: String,
    /// Entries read.
    pub entries: u64,
    /// The signed head, if there is one.
    pub head: Option<Checkpoint>,
    /// Epoch keys announced.
    pub epochs: usize,
    /// Details here in clear that match their entry.
    pub details_matched: u64,
    /// Details not here in clear.
    pub details_absent: u64,
}

/// The outcome: findings and summary.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Everything found.
    pub report: Report,
    /// What was checked.
    pub summary: Summary,
    /// What the entries tell in numbers, up to the first that could not be read.
    pub statistics: Statistics,
}

impl Verdict {
    /// 0 sound, 1 findings, 3 sound as far as it goes, but incomplete.
    pub fn exit_code(&self) -> u8 {
        if self.report.count_down_to(Class::History) > 0 {
            1
        } else if self.report.count_down_to(Class::Incomplete) > 0 {
            3
        } else {
            0
        }
    }
}

/// A live ledger with its tail, or an export (or published directory) with its head.
enum Form {
    Live { tail: Vec<u8>, header: Option<TailHeader> },
    Export { text: String, head: Option<Checkpoint> },
}

/// Longest tail read: 256 entries with the longest details make half of it.
const MAX_TAIL_BYTES: usize = 1 << 30;

/// How often a ledger in service that goes on while it is read is read again.
const TRIES: usize = 3;

/// Checks one ledger. Errors are about what cannot be read at all; everything else is in the verdict.
///
/// The tail of a ledger in service is read first, the details last: those that were destroyed in between look missing,
/// because the entry that says so came later. Then it is read again.
pub fn verify_ledger(options: &Options) -> Result<Verdict, Failure> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let (verdict, form) = verify_once(options)?;
        if tries == 0 || !verdict.report.has(Code::DetailMissing) || !form.went_on(options)? {
            return Ok(verdict);
        }
    }
}

fn verify_once(options: &Options) -> Result<(Verdict, Form), Failure> {
    let key = &options.key;
    let name = options.name();
    let policy = options.policy.as_ref().map(|(name, text)| trust::read_policy(name, text)).transpose()?;
    let unpacking = Unpacking { scratch: &options.scratch, max_bytes: options.max_unpacked_bytes };
    let folder =
        Folder::open_source(&options.source, unpacking).map_err(|error| cannot_open(&name, &error))?;
    let mut report = Report::default();
    // Before the tail: a ledger in service may close an epoch meanwhile, and then the tail is the newer one.
    let checkpoints = Checkpoints::new(&folder, &options.pinned, key, &mut report)?;
    let form = Form::look(&folder, key, &mut report)?.ok_or_else(|| {
        Failure::Unreadable(format!("{name} holds neither a tail nor a checkpoint: it is no ledger"))
    })?;
    let live = matches!(form, Form::Live { .. });
    let lines = if live { None } else { folder.open(DETAILS_FILE)?.map(Lines::new) };
    let details = Details::new(lines.is_some());
    let epochs = EpochKeys::new(key.clone());
    let filed = form.size().unwrap_or(u64::MAX);
    let mut walk = Walk::new(folder.clone(), filed, epochs, details, checkpoints, report);
    walk.store = options.store.as_deref().map(Store::open).transpose()?;
    walk.checkpoints.meet(&walk.tree, Keys { epochs: &walk.epochs, blind: false }, &mut walk.report)?;
    let mut feed = Feed::new(folder.clone(), form.size(), lines, live);
    let whole = walk_bundles(&mut walk, &mut feed, &form, options.threads)?;
    let head = match &form {
        Form::Live { tail, header: Some(header) } if whole => {
            check_tail(&mut walk, tail, header, &feed.reader())?
        }
        Form::Live { .. } => None,
        Form::Export { text, head: Some(head) } => {
            check_head(&mut walk, text, head, whole);
            Some((head.clone(), text.clone()))
        }
        Form::Export { .. } => None,
    };
    if let Some(policy) = &policy {
        let texts = head.iter().map(|(_, text)| ("the head", text.as_str()));
        let pinned = options.pinned.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        texts.chain(pinned).for_each(|(name, text)| trust::judge(policy, name, text, &mut walk.report));
    }
    let head = head.map(|(head, _)| head);
    let lines = feed.into_lines().filter(|_| whole);
    let verdict = finish(walk, &folder, &form, head, lines, whole, options.visit)?;
    Ok((verdict, form))
}

fn cannot_open(name: &str, error: &ArchiveError) -> Failure {
    Failure::Unreadable(match error {
        ArchiveError::Io(error) => format!("cannot read {name}: {error}"),
        ArchiveError::Member { .. } => format!("{name} is no archive of a ledger: {error}"),
        ArchiveError::Whole(why) => format!("cannot read {name}: {why}"),
    })
}

impl Form {
    fn look(folder: &Folder, key: &VerifierKey, report: &mut Report) -> Result<Option<Self>, Failure> {
        if let Some(tail) = folder.read("tail", MAX_TAIL_BYTES)? {
            let header = read_header(&tail, key).map_err(|why| report.add(Code::TailDamaged, None, why)).ok();
            return Ok(Some(Self::Live { tail, header }));
        }
        let Some(bytes) = folder.read("checkpoint", MAX_NOTE_BYTES)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let head = match SignedCheckpoint::read(&text) {
            Ok((head, _)) => Some(head),
            Err(error) => {
                report.add(Code::HeadDamaged, None, format!("checkpoint: {}", sentence(&error)));
                None
            }
        };
        Ok(Some(Self::Export { text, head }))
    }

    /// Whether this is a ledger in service that has written since it was read.
    fn went_on(&self, options: &Options) -> Result<bool, Failure> {
        let (Self::Live { tail, .. }, Source::Path(path)) = (self, &options.source) else { return Ok(false) };
        let unpacking = Unpacking { scratch: &options.scratch, max_bytes: options.max_unpacked_bytes };
        let folder = Folder::open_source(&options.source, unpacking)
            .map_err(|error| cannot_open(&path.display().to_string(), &error))?;
        Ok(folder.read("tail", MAX_TAIL_BYTES)?.as_ref() != Some(tail))
    }

    /// How many entries the bundles must hold; `None` when nothing readable says it.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Live { header, .. } => header.as_ref().map(|header| header.base.size()),
            Self::Export { head, .. } => head.as_ref().map(|head| head.size),
        }
    }

    /// What stands after the bundles and knows the hash of their last entry, or else the root over all of them.
    fn after_bundles(&self) -> (Option<Hash>, Option<Hash>) {
        match self {
            Self::Live { header, .. } => (header.as_ref().map(|header| header.prev), None),
            Self::Export { head, .. } => (None, head.as_ref().map(|head| head.root)),
        }
    }
}

/// False when the way ended early.
fn walk_bundles(
    walk: &mut Walk,
    feed: &mut Feed,
    form: &Form,
    threads: Option<NonZeroUsize>,
) -> Result<bool, Failure> {
    // One bundle behind: its last entry is vouched for by the first of the next.
    let mut waiting: Option<Box<Bundle>> = None;
    let mut absent = None;
    let mut whole = true;
    pipeline::run(feed, threads, |loaded| {
        match loaded {
            Loaded::Bundle(bundle) => {
                let vouch = bundle.claimed_prev();
                if let Some(before) = waiting.replace(bundle) {
                    whole = walk.bundle(*before, vouch, None)?;
                }
            }
            Loaded::Missing(path) => absent = Some((Code::BundleMissing, format!("{path} is not here"))),
            Loaded::Refused(why) => absent = Some((Code::FileRefused, why)),
        }
        Ok(whole && absent.is_none())
    })?;
    if !whole {
        return Ok(false);
    }
    let (next_prev, root) = if absent.is_some() { (None, None) } else { form.after_bundles() };
    let whole = waiting.map_or(Ok(true), |last| walk.bundle(*last, next_prev, root))?;
    if let Some((code, sentence)) = absent {
        walk.report.add(code, walk.tree.size(), format!("{sentence}: nothing from here on was checked"));
        return Ok(false);
    }
    Ok(whole)
}

fn check_head(walk: &mut Walk, text: &str, head: &Checkpoint, whole: bool) {
    let last = head.size.checked_sub(1);
    // Without all entries the epoch key in force is not known.
    let signed =
        if whole { walk.keys().verify(text) } else { read_signed_by_log(text, walk.epochs.log_key()) };
    if let Err(error) = signed {
        let code = match error {
            CheckpointError::Format(_) => Code::HeadDamaged,
            _ => Code::HeadSignature,
        };
        walk.report.add(code, None, format!("checkpoint: {}", sentence(&error)));
    }
    if whole && walk.tree.root() != head.root {
        walk.report.add(
            Code::RootDiffers,
            last,
            "the entries up to here do not give the root that the head signs",
        );
    }
}

fn finish(
    mut walk: Walk,
    folder: &Folder,
    form: &Form,
    head: Option<Checkpoint>,
    mut lines: Option<Lines>,
    whole: bool,
    visit: Option<Timestamp>,
) -> Result<Verdict, Failure> {
    let size = walk.tree.size();
    // Where the ledger ends is known only if the head or the whole tail said it.
    if whole && form.size().is_some() && !walk.report.has(Code::TailDamaged) {
        if matches!(form, Form::Export { .. }) {
            walk.tiles.finish(size, folder, &mut walk.report)?;
        }
        // What could not be read may have said it.
        let blind = walk.blind_from.is_some();
        let destroyed = walk.conduct.state().destroyed_details();
        let is_destroyed = |seq| blind || destroyed.contains(seq);
        walk.details.finish(size, lines.as_mut(), is_destroyed, &mut walk.report)?;
        let log_key = walk.epochs.log_key().clone();
        walk.checkpoints.finish(size, &log_key, &mut walk.report)?;
    }
    match walk.store.take() {
        Some(store) if whole && walk.blind_from.is_none() => {
            store.finish(walk.conduct.state(), &mut walk.report);
        }
        Some(_) => {
            let sentence = "the store was not compared: entries are missing or cannot be read";
            walk.report.add(Code::NotJudged, None, sentence);
        }
        None => {}
    }
    walk.checkpoints.check_closed(
        &walk.epochs,
        head.as_ref().map_or(size, |head| head.size),
        &mut walk.report,
    );
    if let Some((path, count)) = walk.tiles.missing() {
        let sentence = format!("{count} tiles are not here, the first is {path}");
        walk.report.add(Code::TileMissing, None, sentence);
    }
    if head.is_none() && !walk.report.has(Code::HeadMissing) {
        walk.report.add(
            Code::HeadMissing,
            size.checked_sub(1),
            "no signed head covers the entries up to here",
        );
    }
    if walk.details.absent() > 0 {
        let sentence = format!("details sealed: {} are not here in clear", walk.details.absent());
        walk.report.add(Code::DetailsSealed, None, sentence);
    }
    let summary = Summary {
        origin: walk.epochs.log_key().name().to_owned(),
        entries: size,
        head,
        epochs: walk.epochs.announcements().count(),
        details_matched: walk.details.matched(),
        details_absent: walk.details.absent(),
    };
    let statistics = walk.conduct.finish(visit, &mut walk.report);
    Ok(Verdict { report: walk.report, summary, statistics })
}
