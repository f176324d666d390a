//! Sealing a file into the archive, from the spool or from the bus (design §6).
//!
//! In order: key slot durable · object written to an unnamed file, synced, read back and matched · source file unchanged ·
//! object linked, directory synced · `recording.sealed` durable: the commit point. The caller removes the spool file after
//! that. Before the commit point everything is taken back; a crash leaves what recovery takes back (invariant 6).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::errors::chain;
use super::ledger::{Desk, Proposal};
use super::person::{Person, allowed, decide_for};
use super::service::Service;
use super::space::Promise;
use crate::core::access::Recorded;
use crate::core::event::{Because, Detail, Draft, Event, Outcome, Sealed, SpoolFile, Subject};
use crate::core::format::header::Header;
use crate::core::format::slot::SlotKind;
use crate::core::format::trailer::Trailer;
use crate::core::ids::{RecordingId, RuleId, SourceId};
use crate::core::policy::{Decision, Denial, DenialKind, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::retention::period_bounds;
use crate::core::time::Timestamp;
use crate::shell::bus::archive::SealRequest;
use crate::shell::crypt::{ChunkSealer, Secret};
use crate::shell::disk::object::{StagedObject, will_read_through};
use crate::shell::sys::lease;
use crate::shell::{entropy, journal, media, message_id, passed};

/// What falls due within this is told to the retention task; of the rest it learns at its next run, a minute later.
const SOON_MICROS: i64 = 61_000_000;

/// A file on its way into the archive.
pub(super) struct Incoming<'a> {
    pub(super) file: &'a File,
    pub(super) source: SourceId,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    pub(super) modified: Option<Timestamp>,
    pub(super) born: Option<Timestamp>,
    pub(super) name: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) spool: Option<SpoolFile>,
    /// Who passed it over the bus; nobody when it was left in the spool.
    pub(super) by: Option<Person>,
    /// What is known of who left it.
    pub(super) detail: Detail,
}

/// Why a file was not sealed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// Not a file that is taken over the bus.
    #[error(transparent)]
    NotTaken(#[from] passed::NotTaken),
    /// Somebody may still write.
    #[error("the file is open for writing somewhere; close it first")]
    OpenForWriting,
    /// It changed meanwhile.
    #[error("the file changed while it was sealed")]
    Changed,
    /// The policy does not know the source any more.
    #[error("the source is not in the policy")]
    UnknownSource,
    /// The interval is not one.
    #[error("the recording would end before it starts")]
    Interval,
    /// Too little space.
    #[error("less space would be free than limits.min_free_bytes")]
    Space,
    /// The service ends; nothing was made of it.
    #[error("the service is stopping")]
    Stopping,
    /// Disk, keys.
    #[error("the store cannot take it")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledger.
    #[error("the ledger did not record it")]
    Ledger(#[from] Refusal),
}

impl SealError {
    fn store(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(error.into())
    }

    /// The word in the ledger; `None` when the ledger itself refused.
    fn as_str(&self) -> Option<&'static str> {
        match self {
            Self::NotTaken(_) => Some("not-taken"),
            Self::OpenForWriting => Some("open-for-writing"),
            Self::Changed => Some("changed"),
            Self::UnknownSource => Some("unknown-source"),
            Self::Interval => Some("interval"),
            Self::Space => Some("no-space"),
            Self::Store(_) => Some("store-failed"),
            Self::Stopping | Self::Ledger(_) => None,
        }
    }
}

/// Reads a file from its start by position, so that nobody else's offset matters.
pub(super) struct FromStart<'a>(pub(super) &'a File, pub(super) u64);

impl Read for FromStart<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read_at(buf, self.1)?;
        self.1 += read as u64;
        Ok(read)
    }
}

/// The same until the service stops: then reading fails, and what was made of it is taken back. The room that was promised
/// is used up meanwhile.
struct UntilStopped<'a, 'p> {
    file: FromStart<'a>,
    service: &'a Service,
    room: &'a mut Promise<'p>,
}

impl Read for UntilStopped<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if *self.service.stopping.borrow() {
            return Err(io::Error::other("the service is stopping"));
        }
        let read = self.file.read(buf)?;
        self.room.read_up_to(self.file.1);
        Ok(read)
    }
}

/// What is sealed and linked, but not yet recorded.
struct Linked {
    id: RecordingId,
    sealed: Sealed,
}

impl Service {
    /// Seals `incoming` and records it. `unchanged` is asked once more between reading and linking. Blocks on the disk.
    pub(super) fn seal_blocking(
        &self,
        incoming: Incoming<'_>,
        unchanged: impl FnOnce() -> io::Result<bool>,
    ) -> Result<Recorded<RecordingId>, SealError> {
        if self.is_closed() {
            let sentence = "The ledger cannot be written, so nothing is sealed; try again later.";
            return Err(Refusal::new(RefusalKind::LedgerUnavailable, sentence).into());
        }
        let (source, by) = (incoming.source.clone(), incoming.by.clone());
        let mut detail = incoming.detail.clone();
        detail.name = incoming.name.clone();
        detail.subject = incoming.subject.clone();
        let Linked { id, sealed } = self.make_object(incoming, unchanged)?;
        let latest = sealed.latest;
        let recorded = self.ledger.record_blocking(move |desk| {
            if let Some(person) = by {
                // Decided again, in the writer's order.
                match may_seal(desk, &person, source.as_str()) {
                    Ok((_, rule)) => {
                        detail = Detail { subject: detail.subject, name: detail.name, ..person.detail(&rule) }
                    }
                    Err(denial) => return person.refused(desk, Verb::Seal, denial, not_allowed(source)),
                }
            }
            let subject = Subject::recording(id, source);
            let draft = Draft::fact(Event::RecordingSealed(sealed)).about(subject);
            let draft = if detail == Detail::default() { draft } else { draft.with_detail(detail) };
            Ok(Proposal::new(draft, Ok(id)))
        });
        // The retention task may sleep until something later falls due.
        if recorded.is_ok() && latest.micros_since(self.clock.now().time) < SOON_MICROS {
            self.retention_changed.notify_one();
        }
        recorded.and_then(allowed).map_err(|refusal| {
            // The entry may be in doubt and become durable later: then the object must be there. The next start removes
            // it if not.
            if refusal.kind != RefusalKind::LedgerUnavailable {
                self.take_back(id);
            }
            refusal.into()
        })
    }

    fn make_object(
        &self,
        incoming: Incoming<'_>,
        unchanged: impl FnOnce() -> io::Result<bool>,
    ) -> Result<Linked, SealError> {
        let bytes = incoming.file.metadata().map_err(SealError::store)?.len();
        // Held until the object stands or is taken back: what is sealed meanwhile is admitted beside it.
        let mut room = self.room_for(bytes).map_err(SealError::store)?.ok_or(SealError::Space)?;
        let policy = self.policy_in_force();
        let source = policy.source(&incoming.source).ok_or(SealError::UnknownSource)?.clone();
        let class = policy.class(&source.class).ok_or(SealError::UnknownSource)?;
        let now = self.clock.now().time;
        let (start, end) = interval(&incoming, now)?;
        let bounds = period_bounds(class, now, start);

        let mut first = [0u8; 64];
        let read = incoming.file.read_at(&mut first, 0).map_err(SealError::store)?;
        let media = media::media_type(first.get(..read).unwrap_or_default()).to_owned();
        let id = RecordingId::from_bytes(entropy::array().map_err(SealError::store)?);
        let secret = Secret::generate().map_err(SealError::store)?;
        let trailer = Trailer {
            v: 1,
            id,
            source: incoming.source.clone(),
            kind: source.kind,
            start,
            end,
            sealed: now,
            bytes: 0,
            sha256: crate::core::ids::Digest([0; 32]),
            media: media.clone(),
            class: source.class.clone(),
            earliest: Some(bounds.earliest),
            latest: Some(bounds.latest),
            name: incoming.name.clone(),
            subject: incoming.subject.clone(),
        };

        let created = self.slots.create(SlotKind::Data, *id.as_bytes(), &secret).map_err(SealError::store);
        let staged = created
            .and_then(|()| {
                let sealer = ChunkSealer::new(&secret, Header { id });
                will_read_through(incoming.file);
                let file = FromStart(incoming.file, 0);
                let source = UntilStopped { file, service: self, room: &mut room };
                self.store.seal(source, sealer, |_, _| trailer).map_err(SealError::store)
            })
            .map_err(|error| if *self.stopping.borrow() { SealError::Stopping } else { error })
            .and_then(|staged| if *self.stopping.borrow() { Err(SealError::Stopping) } else { Ok(staged) })
            .and_then(|staged| match unchanged() {
                Ok(true) => Ok(staged),
                Ok(false) => Err(SealError::Changed),
                Err(error) => Err(SealError::store(error)),
            });
        let linked = staged.and_then(|staged: StagedObject| {
            let (bytes, sha256) = (staged.plain_bytes(), staged.sha256());
            staged.link().map_err(SealError::store).map(|()| (bytes, sha256))
        });
        let (bytes, sha256) = linked.inspect_err(|_| self.take_back(id))?;
        let sealed = Sealed {
            kind: source.kind,
            start,
            end,
            class: source.class,
            bytes,
            sha256,
            media,
            earliest: bounds.earliest,
            latest: bounds.latest,
            spool: incoming.spool,
        };
        Ok(Linked { id, sealed })
    }

    /// Removes what was made for a recording that no entry names.
    pub(super) fn take_back(&self, id: RecordingId) {
        let destroyed = self.slots.destroy(SlotKind::Data, id.as_bytes()).map(|_| ());
        if let Err(error) = destroyed {
            log::warn!("the key of an unfinished recording stays until the next start: {}", chain(&error));
        }
        if let Err(error) = self.store.remove(id) {
            log::warn!("the object of an unfinished recording stays until the next start: {}", chain(&error));
        }
    }

    /// `Recordings.Seal`: a file passed over the bus.
    pub(super) async fn seal_passed(
        self: &Arc<Self>,
        person: Person,
        file: OwnedFd,
        request: SealRequest,
    ) -> Result<(RecordingId, u64), Refusal> {
        let (asked_by, typed) = (person.clone(), request.source.clone());
        let foreseen = self.ledger.look(move |desk| may_seal(desk, &asked_by, &typed)).await?;
        let (source, rule) = match foreseen {
            Ok(allowed) => allowed,
            Err(denial) => {
                let recorded = self.ledger.record(move |desk| {
                    let said = Detail {
                        asked: Some(request.source.chars().take(64).collect()),
                        ..Detail::default()
                    };
                    let known = request.source.parse().ok().filter(|it| desk.policy.source(it).is_some());
                    let draft = known.map_or_else(|| rejected("not-allowed"), not_allowed);
                    person.refused::<()>(desk, Verb::Seal, denial, draft.with_detail(said))
                });
                let _recorded = allowed(recorded.await?)?;
                return Err(Refusal::internal());
            }
        };
        let (service, by, into) = (self.clone(), person.clone(), source.clone());
        let sealed =
            tokio::task::spawn_blocking(move || service.seal_file(File::from(file), by, into, request));
        let sealed = sealed.await.map_err(|_| Refusal::internal())?;
        let error = match sealed {
            Ok(sealed) => {
                let (id, entry) = (*sealed.value(), sealed.entry());
                journal::record(
                    log::Level::Info,
                    message_id::RECORDING_SEALED,
                    &format!("recording {id} was sealed as entry {entry}"),
                    &[("recording", &id.to_string()), ("entry", &entry.to_string())],
                );
                return Ok((id, entry));
            }
            Err(SealError::Ledger(refusal)) => return Err(refusal),
            Err(error) => error,
        };
        if let Some(why) = error.as_str() {
            let draft = rejected(why).outcome(Outcome::Failed).about(Subject::source(source));
            let draft = draft.with_detail(person.detail(&rule));
            let _recorded = self.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await?;
        }
        Err(match error {
            SealError::Store(_) => {
                log::error!("a file passed over the bus could not be sealed: {}", chain(&error));
                Refusal::internal()
            }
            SealError::Stopping => {
                let sentence = "The service is stopping, so nothing was sealed; try again in a moment.";
                Refusal::new(RefusalKind::Closed, sentence)
            }
            SealError::Space => Refusal::new(RefusalKind::LimitReached, format!("Not sealed: {error}.")),
            SealError::NotTaken(error) => Refusal::invalid(error.to_string()),
            error => Refusal::invalid(format!("Not sealed: {error}. Try again once that is mended.")),
        })
    }

    /// Blocks on the disk.
    fn seal_file(
        &self,
        file: File,
        by: Person,
        source: SourceId,
        request: SealRequest,
    ) -> Result<Recorded<RecordingId>, SealError> {
        let before = passed::accept(&file)?;
        let leased = lease::take_read_lease(&file).is_ok();
        if !leased && !before.immutable {
            return Err(SealError::OpenForWriting);
        }
        let incoming = Incoming {
            file: &file,
            source,
            start: request.start,
            end: request.end,
            modified: before.modified,
            born: before.born,
            name: request.name,
            subject: request.subject,
            spool: None,
            by: Some(by),
            detail: Detail::default(),
        };
        let unchanged =
            || Ok(passed::unchanged(&file, &before)? && (!leased || lease::holds_read_lease(&file)?));
        self.seal_blocking(incoming, unchanged)
    }
}

/// Whether `person` may seal into the source of that name, and by which rule.
fn may_seal(desk: &Desk<'_>, person: &Person, typed: &str) -> Result<(SourceId, RuleId), Denial> {
    let known = typed.parse::<SourceId>().ok().filter(|source| desk.policy.source(source).is_some());
    let target = known.clone().map_or(Target::Service, Target::Source);
    match (known, decide_for(desk, person, &person.asks(Verb::Seal, target, None))) {
        (Some(source), Decision::Allow(permit)) => Ok((source, permit.rule().clone())),
        (None, Decision::Allow(_)) => Err(unknown_source()),
        (_, Decision::Deny(denial)) => Err(denial),
    }
}

fn rejected(why: &str) -> Draft {
    Draft::fact(Event::RecordingRejected(Because { why: why.into() }))
}

fn not_allowed(source: SourceId) -> Draft {
    rejected("not-allowed").about(Subject::source(source))
}

fn unknown_source() -> Denial {
    let sentence = "Refused by rule builtin.unknown: the policy has no such source.".into();
    Denial::new(RuleId::builtin("unknown"), DenialKind::Denied, sentence)
}

/// Start and end: as the caller says; else the end is the modification time and the start the birth time if not later.
fn interval(incoming: &Incoming<'_>, now: Timestamp) -> Result<(Timestamp, Timestamp), SealError> {
    let end = incoming.end.or(incoming.modified).unwrap_or(now);
    let born = incoming.born.filter(|born| *born <= end);
    let start = incoming.start.or(born).unwrap_or(end);
    if start <= end { Ok((start, end)) } else { Err(SealError::Interval) }
}
