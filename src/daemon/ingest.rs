//! The spool: files that recorders leave are taken, sealed, recorded, removed (design §13, invariant 6).
//!
//! In order, for each file: left alone for `spool_settle_ms` · read lease, rename into `.taking/` · sealed and recorded
//! (`seal`) · removed. What is no regular file goes to `.refused/` with an entry. Must never remove a file that has no
//! durable entry, nor take one that is still written. What was put aside is destroyed after `limits.refused_keep`, with
//! an entry.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::errors::chain;
use super::health::Part;
use super::ledger::Proposal;
use super::seal::{FromStart, Incoming, SealError};
use super::service::Service;
use crate::core::event::{Because, Detail, Draft, Event, Outcome, SpoolFile, Subject, Who};
use crate::core::ids::{Digest, SourceId};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::core::space::Level;
use crate::core::time::{Period, Timestamp};
use crate::shell::crypt::BulkSha256;
use crate::shell::journal::{self, MessageId};
use crate::shell::message_id;
use crate::shell::users;
use crate::shell::watch::{Facts, Kept, Spool, SpoolError, SpoolEvent, Taken, Watcher};

/// Files that are sealed at the same time: one for each core of a small machine.
const WORKERS: usize = 2;
/// How long after a failure a file is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often folders are looked through even without an event, for what no event announces.
const RESCAN: Duration = Duration::from_secs(60);

/// How often what was put aside is looked through.
const CLEAR: Duration = Duration::from_secs(600);

/// One file in one folder.
type Candidate = (SourceId, OsString);

/// The files that wait for a worker, or for another attempt: each waits once, however often it is announced.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<HashSet<Candidate>>>);

impl Pending {
    /// Whether it was not there yet.
    fn add(&self, candidate: &Candidate) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(candidate.clone())
    }
    fn remove(&self, candidate: &Candidate) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(candidate);
    }
}

/// Watches, takes and seals until the service stops.
pub(super) async fn run(service: Arc<Service>, spool: Spool) {
    let (work, queue) = mpsc::unbounded_channel::<(Candidate, Instant)>();
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let pending = Pending::default();
    for _ in 0..WORKERS {
        let worker = Worker {
            service: service.clone(),
            spool: spool.clone(),
            queue: queue.clone(),
            pending: pending.clone(),
            again: work.clone(),
        };
        tokio::spawn(worker.run());
    }
    let announce = |candidate: Candidate| {
        if pending.add(&candidate) {
            let _stopped = work.send((candidate, service.clock.monotonic()));
        }
    };
    let mut watcher = match Watcher::new(spool.clone()) {
        Ok(watcher) => watcher,
        Err(error) => {
            log::error!("the spool cannot be watched: {error}");
            service.health.degrade(Part::Spool, "The spool cannot be watched; restart the service.");
            return;
        }
    };
    let mut watched = BTreeSet::new();
    let mut recovered = BTreeSet::new();
    let mut policy_changed = service.policy_changed();
    let mut rescan = tokio::time::interval(RESCAN);
    let mut clear = tokio::time::interval(CLEAR);
    loop {
        let mut scan = BTreeSet::new();
        tokio::select! {
            event = watcher.next() => match event {
                Ok(SpoolEvent::Candidate { source, name }) => announce((source, name)),
                Ok(SpoolEvent::Rescan) => scan.clone_from(&watched),
                Ok(SpoolEvent::Gone { source }) => { watched.remove(&source); }
                Err(error) => {
                    log::error!("the spool cannot be watched: {error}");
                    service.health.degrade(Part::Spool, "The spool cannot be watched; restart the service.");
                    return;
                }
            },
            _ = rescan.tick() => {
                follow_sources(&service, &mut watcher, &mut watched, &mut recovered).await;
                scan.clone_from(&watched);
            }
            _ = clear.tick() => {
                let (service, spool, sources) = (service.clone(), spool.clone(), watched.clone());
                tokio::task::spawn_blocking(move || {
                    sources.iter().for_each(|source| service.clear_refused(&spool, source));
                });
            }
            changed = policy_changed.changed() => {
                if changed.is_err() { return; }
                follow_sources(&service, &mut watcher, &mut watched, &mut recovered).await;
                scan.clone_from(&watched);
            }
        }
        for source in scan {
            let (spool, folder) = (spool.clone(), source.clone());
            let found = tokio::task::spawn_blocking(move || spool.scan(&folder)).await;
            match found.unwrap_or_else(|error| Err(SpoolError::Disk(std::io::Error::other(error)))) {
                Ok(found) => found.names.into_iter().for_each(|name| announce((source.clone(), name))),
                Err(error) => log::warn!("the spool folder of {source} cannot be listed: {error}"),
            }
        }
    }
}

/// Watches exactly the folders of the sources in the policy, making those that are missing.
async fn follow_sources(
    service: &Arc<Service>,
    watcher: &mut Watcher,
    watched: &mut BTreeSet<SourceId>,
    recovered: &mut BTreeSet<SourceId>,
) {
    let policy = service.policy_in_force();
    let mut trouble = None;
    for (source, facts) in policy.sources() {
        if watched.contains(source) {
            continue;
        }
        let (spool, name) = (service.config.spool_dir.clone(), source.clone());
        let writer = facts.writer.clone();
        let made = tokio::task::spawn_blocking(move || {
            let gid = match &writer {
                Some(writer) => users::primary_group_of(writer.as_str())?,
                None => None,
            };
            crate::shell::watch::make_folder(&spool, &name, gid)
        });
        let made = made.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let watching = made.map_err(SpoolError::Disk).and_then(|()| watcher.watch_source(source));
        match watching {
            Ok(()) => {
                watched.insert(source.clone());
                // Once: later, what stands in `.taking` may be in a worker's hands.
                if recovered.insert(source.clone()) {
                    recover(service, source).await;
                }
            }
            Err(error) => {
                log::error!("the spool folder of {source} cannot be watched: {error}");
                trouble = Some(format!("The spool folder of {source} cannot be watched: {error}."));
            }
        }
    }
    let retired: Vec<SourceId> =
        watched.iter().filter(|source| policy.source(source).is_none()).cloned().collect();
    for source in retired {
        // A folder that is gone already needs no unwatching.
        let _gone = watcher.unwatch_source(&source);
        watched.remove(&source);
    }
    match trouble {
        Some(why) => service.health.degrade(Part::Spool, why),
        None => service.health.mend(Part::Spool),
    }
}

/// What a crash left in `.taking/`: sealed already, then it is removed; else it is sealed now.
pub(super) async fn recover(service: &Arc<Service>, source: &SourceId) {
    let (service, source) = (service.clone(), source.clone());
    let recovering = tokio::task::spawn_blocking(move || {
        let spool = match Spool::open(&service.config.spool_dir) {
            Ok(spool) => spool,
            Err(error) => return log::error!("the spool cannot be opened: {error}"),
        };
        if let Err(error) = spool.remove_empty_slots(&source) {
            log::warn!("empty folders in .taking and .refused of {source} stay: {error}");
        }
        match spool.leftovers(&source) {
            Ok(leftovers) => {
                for leftover in leftovers {
                    match spool.resume(&source, &leftover) {
                        Ok(taken) => {
                            if let Next::Again(Some(taken)) = service.seal_taken(&source, taken) {
                                put_back(&source, taken);
                            }
                        }
                        Err(error) => {
                            log::warn!("a file in .taking of {source} waits for the next start: {error}")
                        }
                    }
                }
            }
            Err(error) => log::error!("the folder .taking of {source} cannot be read: {error}"),
        }
    });
    let _done = recovering.await;
}

/// One of the tasks that seal.
struct Worker {
    service: Arc<Service>,
    spool: Spool,
    queue: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(Candidate, Instant)>>>,
    pending: Pending,
    again: mpsc::UnboundedSender<(Candidate, Instant)>,
}

impl Worker {
    async fn run(self) {
        let settle = Duration::from_millis(self.service.config.limits.spool_settle_ms);
        loop {
            let next = self.queue.lock().await.recv().await;
            let Some((candidate, since)) = next else { return };
            let waited = self.service.clock.monotonic().saturating_duration_since(since);
            tokio::time::sleep(settle.saturating_sub(waited)).await;
            self.pending.remove(&candidate);
            let (service, spool, (source, name)) =
                (self.service.clone(), self.spool.clone(), candidate.clone());
            let taken = tokio::task::spawn_blocking(move || service.take(&spool, &source, &name)).await;
            if let Ok(Next::Again(taken)) = taken {
                self.retry(candidate, since, taken).await;
            }
        }
    }

    /// Tries again after a while, and not at once because a file that is put back is announced.
    async fn retry(&self, candidate: Candidate, since: Instant, taken: Option<Taken>) {
        let waits_already = !self.pending.add(&candidate);
        if let Some(taken) = taken {
            let source = candidate.0.clone();
            let _done = tokio::task::spawn_blocking(move || put_back(&source, taken)).await;
        }
        if waits_already {
            return;
        }
        let (again, service) = (self.again.clone(), self.service.clone());
        tokio::spawn(async move {
            if service.space.level() >= Level::Tight {
                // As soon as there is room, and not before.
                service.space.sealing_goes_on().await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
            let _stopped = again.send((candidate, since));
        });
    }
}

/// What becomes of a candidate.
pub(super) enum Next {
    /// Nothing more: it is sealed, refused, gone, or will be announced again.
    Settled,
    /// It is tried again after a while, once it is back in the spool if it was taken.
    Again(Option<Taken>),
}

fn put_back(source: &SourceId, taken: Taken) {
    if let Err(error) = taken.put_back() {
        log::error!("a file of {source} stays in .taking until the next start: {error}");
    }
}

impl Service {
    /// Takes one file and seals it. Blocks on the disk.
    pub(super) fn take(&self, spool: &Spool, source: &SourceId, name: &OsStr) -> Next {
        // With little room a file stays where it is, untouched.
        if self.is_closed() || *self.stopping.borrow() || self.space.level() >= Level::Tight {
            return Next::Again(None);
        }
        match spool.take(source, name) {
            Ok(taken) => self.seal_taken(source, taken),
            Err(SpoolError::Odd(oddity)) => {
                self.refuse(spool, source, name, oddity.as_str());
                Next::Settled
            }
            // Its last writer closes it and thereby announces it; the regular scan sees it in any case.
            Err(SpoolError::StillWriting | SpoolError::Gone | SpoolError::Ignored) => Next::Settled,
            Err(error @ (SpoolError::NotOurs(_) | SpoolError::Disk(_))) => {
                log::error!("a file in the spool folder of {source} cannot be taken: {error}");
                self.health
                    .degrade(Part::Spool, format!("The spool folder of {source} cannot be used: {error}."));
                Next::Again(None)
            }
        }
    }

    /// Seals a file that stands in `.taking/`, then removes it.
    fn seal_taken(&self, source: &SourceId, taken: Taken) -> Next {
        let facts = *taken.facts();
        let file = spool_file(&facts);
        let seen = file.clone();
        let sealed_before = self.ledger.look_blocking(move |desk| {
            let id = desk.state.sealed_from(&seen)?;
            desk.state.recording(&id).map(|recording| recording.sha256)
        });
        let outcome = match sealed_before {
            // A crash, or a ledger that could not be written, came between the entry and the removal. The content
            // decides: number, size and time may be those of a file that is long gone.
            Ok(Some(sha256)) if sha256_of(taken.file()).is_ok_and(|it| it == sha256) => Ok(()),
            Ok(_) => self.seal_incoming(source, &taken, file, &facts),
            Err(refusal) => Err(SealError::Ledger(refusal)),
        };
        match outcome.map(|()| taken.remove()) {
            Ok(Ok(())) => Next::Settled,
            Ok(Err(Kept::Changed)) => {
                log::warn!("a file of {source} changed after it was sealed; what it is now is sealed too");
                Next::Again(Some(taken))
            }
            Ok(Err(Kept::Disk(error))) => {
                log::error!("a sealed file of {source} stays in .taking until the next start: {error}");
                Next::Settled
            }
            Err(SealError::Stopping) => {
                log::info!("a file of {source} stays in .taking until the next start");
                Next::Again(Some(taken))
            }
            // The state says so, once.
            Err(SealError::Space) => Next::Again(Some(taken)),
            Err(error) => {
                journal::record(
                    log::Level::Error,
                    message_id::RECORDING_REFUSED,
                    &format!("a file of {source} was not sealed and stays in the spool: {}", chain(&error)),
                    &[("source", source.as_str())],
                );
                Next::Again(Some(taken))
            }
        }
    }

    fn seal_incoming(
        &self,
        source: &SourceId,
        taken: &Taken,
        file: SpoolFile,
        facts: &Facts,
    ) -> Result<(), SealError> {
        let name = taken.original_name().to_string_lossy().into_owned();
        let incoming = Incoming {
            file: taken.file(),
            source: source.clone(),
            start: None,
            end: None,
            modified: facts.modified,
            born: facts.born,
            name: Some(name),
            subject: None,
            spool: Some(file),
            by: None,
            detail: Detail::by(Who { uid: facts.uid, ..Who::default() }),
        };
        let recorded = self.seal_blocking(incoming, || taken.unchanged())?;
        let (id, entry) = (recorded.value().to_string(), recorded.entry().to_string());
        journal::record(
            log::Level::Info,
            message_id::RECORDING_SEALED,
            &format!("recording {id} of {source} was sealed as entry {entry}"),
            &[("source", source.as_str()), ("recording", &id), ("entry", &entry)],
        );
        Ok(())
    }

    /// Puts aside what is no recording, and records it.
    fn refuse(&self, spool: &Spool, source: &SourceId, name: &OsStr, oddity: &'static str) {
        let refused = match spool.refuse(source, name) {
            Ok(refused) => refused,
            Err(SpoolError::Gone) => return,
            Err(error) => return log::error!("what is no recording stays in the spool of {source}: {error}"),
        };
        let why = refused.oddity.map_or(oddity, |oddity| oddity.as_str());
        let said = Detail {
            name: Some(name.to_string_lossy().into_owned()),
            ..Detail::by(Who { uid: refused.facts.uid, ..Who::default() })
        };
        let draft = Draft::fact(Event::RecordingRejected(Because { why: why.into() }))
            .outcome(Outcome::Failed)
            .about(Subject::source(source.clone()))
            .with_detail(said);
        let recorded = self.ledger.record_blocking(move |_| Ok(Proposal::new(draft, ())));
        let entry = recorded.map_or_else(|refusal| refusal.to_string(), |it| it.entry().to_string());
        let id: MessageId = message_id::RECORDING_REFUSED;
        let fields = [("source", source.as_str()), ("entry", entry.as_str())];
        journal::record(
            log::Level::Warn,
            id,
            &format!("a {why} in the spool of {source} was put aside"),
            &fields,
        );
    }

    /// Destroys what has stood in `.refused/` for `limits.refused_keep`; the entry comes first. Blocks on the disk.
    pub(super) fn clear_refused(&self, spool: &Spool, source: &SourceId) {
        let refused = match spool.refused(source) {
            Ok(refused) => refused,
            Err(error) => return log::warn!("the folder .refused of {source} cannot be listed: {error}"),
        };
        let (now, keep) = (self.clock.now().time, &self.config.limits.refused_keep);
        for old in refused.iter().filter(|it| is_over(it.since, keep, now)) {
            let said = Detail {
                name: Some(old.original_name.to_string_lossy().into_owned()),
                ..Detail::by(Who { uid: old.facts.uid, ..Who::default() })
            };
            let why = Because { why: "refused-file-destroyed".into() };
            let draft = Draft::fact(Event::RecordingRejected(why)).about(Subject::source(source.clone()));
            let recorded = self.ledger.record_blocking(move |desk| {
                // A clock that jumped makes nothing old (invariant 11).
                if desk.state.clock_suspect() {
                    return Err(Refusal::new(RefusalKind::Conflict, "The clock is suspect."));
                }
                Ok(Proposal::new(draft.with_detail(said), ()))
            });
            match recorded.map(|_| spool.clear_refused(source, old)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::error!("what was put aside of {source} cannot be destroyed: {error}"),
                Err(_) => return,
            }
        }
    }
}

/// Whether something put aside at `since` has stood there for `keep`. What has no time stays.
fn is_over(since: Option<Timestamp>, keep: &Period, now: Timestamp) -> bool {
    since.and_then(|since| since.checked_add(keep).ok()).is_some_and(|end| end <= now)
}

pub(super) fn sha256_of(file: &File) -> std::io::Result<Digest> {
    let mut digest = BulkSha256::new();
    let mut from_start = FromStart(file, 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = from_start.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => digest.update(bytes),
            _ => return Ok(digest.finish()),
        }
    }
}

/// What the ledger keeps of a spool file, to know it again.
pub(super) fn spool_file(facts: &Facts) -> SpoolFile {
    SpoolFile {
        device: facts.device,
        inode: facts.inode,
        size_bytes: facts.size_bytes,
        modified: facts.modified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_is_destroyed_after_its_period_and_not_before() {
        let since: Timestamp = "2026-05-12T10:00:00Z".parse().unwrap();
        let week: Period = "P7D".parse().unwrap();
        let end = since.checked_add(&week).unwrap();
        assert!(!is_over(Some(since), &week, end.saturating_add_micros(-1)));
        assert!(is_over(Some(since), &week, end));
        assert!(!is_over(None, &week, end));
    }

    #[test]
    fn a_file_waits_once_however_often_it_is_announced() {
        let (pending, candidate) = (Pending::default(), ("entrance".parse().unwrap(), "a.mp4".into()));
        assert!(pending.add(&candidate));
        assert!(!pending.add(&candidate));
        pending.remove(&candidate);
        assert!(pending.add(&candidate));
    }

    #[test]
    fn inv6_the_content_is_read_from_its_start_wherever_the_file_stands() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), b"abc").unwrap();
        let mut file = File::open(path.path()).unwrap();
        file.read_exact(&mut [0; 2]).unwrap();
        let digest = sha256_of(&file).unwrap().to_string();
        assert!(digest.starts_with("ba7816bf"), "{digest}");
    }
}
