//! The master key: opened at start, changed by order, given out sealed (design §6).
//!
//! A rotation, in order: permission · `key.rotation-ordered` durable · the credential in use read and matched · new credential, `.next`, durable
//! and read back · every slot wrapped anew in a new generation, whose name is the commit point (`shell/disk/slots/rotate.rs`) · old generation
//! overwritten and removed · old credential overwritten and removed, the new one under its usual name (`shell/disk/master_place.rs`) ·
//! `key.rotated` durable. A start does the same: what was not committed is thrown away and done again because the order stands, what was
//! is brought to its end. Sessions, sealing and purging go on meanwhile. Must never remove a key file or a credential while it is
//! not known that another opens what stands in force.

use crate::core::format::slot::SlotKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::Config;
use super::errors::chain;
use super::health::Part;
use super::ledger::Proposal;
use super::person::{Person, allowed, decide_for};
use super::run::{Environment, Fatal};
use super::service::Service;
use crate::core::event::{Because, Detail, Draft, Event, KeyBackedUp, KeyGeneration, KeyRotation, Outcome};
use crate::core::policy::{Decision, Target, Verb};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::crypt::{AgeRecipient, BulkSha256, MasterKey, Secret, SubjectMac, unlocked_key_memory};
use crate::shell::disk::durable::sync_dir;
use crate::shell::disk::ledger_files::read_bounded;
use crate::shell::disk::master_place::{MasterPlace, MasterPlaceError, Which};
use crate::shell::disk::slots::{KeySlots, RESTORED_NOTE, SlotError};
use crate::shell::disk::statedir::StateDir;
use crate::shell::{entropy, systemd};

/// Why the master key was not changed, or its change not brought to an end.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    /// The place where the master key stands.
    #[error("the new master key cannot be kept")]
    Place(#[from] MasterPlaceError),
    /// The key files.
    #[error("the keys cannot be wrapped anew")]
    Slots(#[from] SlotError),
    /// What is kept there is not what is in use.
    #[error("{} does not hold the master key in use, so a new one beside it would not be found", .0.display())]
    NotInUse(PathBuf),
}

impl RotateError {
    /// The word in the entry.
    fn word(&self) -> &'static str {
        match self {
            Self::Place(_) => "credential",
            Self::Slots(_) => "key-files",
            Self::NotInUse(_) => "credential-not-in-use",
        }
    }
}

/// What a start found.
pub(super) struct OpenedKeys {
    pub(super) slots: KeySlots,
    pub(super) place: MasterPlace,
    /// What a change of the key left and could not be brought to an end.
    pub(super) unfinished: Option<String>,
}

/// Opens the generation in force under whichever master key opens it, and ends what a change of the key left.
pub(super) fn open(
    config: &Config,
    state_dir: &StateDir,
    environment: &Environment,
) -> Result<OpenedKeys, Fatal> {
    let place = match (&config.key.insecure_key_file, &config.key.credential) {
        (Some(path), _) => MasterPlace::PlainFile(path.clone()),
        // `Config::load` saw that one of the two is there.
        (None, name) => MasterPlace::credential(name.as_deref().unwrap_or_default()),
    };
    let masters = masters(&place, environment)?;
    let (slots, _) = KeySlots::open_in_force(&state_dir.keys(), masters)?;
    let removed = slots.remove_leftovers()?;
    if removed > 0 {
        log::info!("{removed} key files of another generation were overwritten and removed");
    }
    // Looked at only when there is something to end: on other days nothing here needs the host's secret or the TPM.
    let settled = match place.exists(Which::Next) {
        true => slots.with_master(|master, _| place.settle(master)),
        false => Ok(()),
    };
    let unfinished = settled.err().map(|error| {
        let why = chain(&error);
        log::error!("the credential of a changed master key is not in its place: {why}");
        "A change of the master key is not finished: the credential is not in its place; the journal says why.".into()
    });
    Ok(OpenedKeys { slots, place, unfinished })
}

/// The master keys at hand, the usual one first.
fn masters(place: &MasterPlace, environment: &Environment) -> Result<Vec<MasterKey>, Fatal> {
    let failed = |what: String| move |source| Fatal::MasterKey { what, source };
    let mut masters = Vec::new();
    let mut wrong = None;
    for which in [Which::Usual, Which::Next] {
        let read = match place {
            MasterPlace::PlainFile(_) => {
                std::fs::File::open(place.path(which)).and_then(|mut file| MasterKey::read_from(&mut file))
            }
            MasterPlace::Credential { .. } => {
                let missing =
                    || std::io::Error::new(std::io::ErrorKind::NotFound, "there are no credentials");
                let dir = environment.credentials.as_deref().ok_or_else(missing);
                dir.and_then(|dir| systemd::read_credential(dir, &place.name(which)))
                    .and_then(|bytes| MasterKey::read_from(&mut bytes.as_slice()))
            }
        };
        match read {
            Ok(master) => masters.push(master),
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    let what = match place {
        MasterPlace::PlainFile(path) => {
            format!("{} must be the file that `greffierctl init` wrote", path.display())
        }
        MasterPlace::Credential { name, .. } => format!("the unit must load the credential {name}"),
    };
    match wrong {
        Some(error) if masters.is_empty() => Err(failed(what)(error)),
        _ => Ok(masters),
    }
}

impl Service {
    /// Says so when keys can be swapped out. Looked at again from time to time: more keys need more memory.
    pub(super) fn judge_key_memory(&self) {
        if let Some(error) = unlocked_key_memory() {
            let why = format!(
                "Keys are not locked in memory ({error}) and may be written to swap: give the unit CAP_IPC_LOCK or a larger LimitMEMLOCK=, or \
                 turn swap off."
            );
            self.health.degrade(Part::KeyMemory, why);
        }
    }

    /// `Manager.RotateKeys`.
    pub(super) async fn rotate_keys_for(
        self: &Arc<Self>,
        person: Person,
        ground: Option<String>,
    ) -> Result<(), Refusal> {
        let conflict = || {
            Refusal::new(RefusalKind::Conflict, "The master key is being changed; wait until that has ended.")
        };
        let _one = self.rotating.try_lock().map_err(|_| conflict())?;
        let asking = person.clone();
        let before = self.ledger.look(move |desk| {
            let asks = asking.asks(Verb::Administer, Target::Service, None);
            let permitted = matches!(decide_for(desk, &asking, &asks), Decision::Allow(_));
            desk.state.rotation().filter(|_| permitted).cloned()
        });
        // One that is committed and lacks its end, because what was before could not be removed. No new one is ordered over it: its
        // own end would never be told.
        if let Some(before) = before.await?.filter(|before| before.to <= self.slots.generation()) {
            self.end(before).await?;
        }
        let from = self.slots.generation();
        let rotation = KeyRotation { from, to: from.saturating_add(1) };
        let ordered = rotation.clone();
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(Event::KeyRotationOrdered(ordered));
            let said = Detail { ground, ..Detail::default() };
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let detail = Detail { ground: said.ground, ..person.detail(permit.rule()) };
                    Ok(person.permitted(desk, Some(&permit), draft.with_detail(detail), ()))
                }
                Decision::Deny(denial) => {
                    person.refused(desk, Verb::Administer, denial, draft.with_detail(said))
                }
            }
        });
        let _recorded = allowed(recorded.await?)?;
        self.rotate(rotation).await
    }

    /// Carries out what the ledger has ordered and a crash cut short.
    pub(super) async fn resume_rotation(self: &Arc<Self>) {
        let _one = self.rotating.lock().await;
        let ordered = self.ledger.look(|desk| desk.state.rotation().cloned()).await;
        let Ok(Some(rotation)) = ordered else { return };
        log::info!("a change of the master key was cut short and goes on");
        let resumed = if self.slots.generation() >= rotation.to {
            self.end(rotation).await
        } else {
            self.rotate(rotation).await
        };
        if let Err(refusal) = resumed {
            self.health.degrade(Part::Rotation, refusal.sentence);
        }
    }

    async fn rotate(self: &Arc<Self>, rotation: KeyRotation) -> Result<(), Refusal> {
        let service = self.clone();
        let to = rotation.to;
        let turned = tokio::task::spawn_blocking(move || service.rotate_blocking(to)).await;
        let error = match turned {
            Ok(Ok(())) => return self.rotated(rotation).await,
            Ok(Err(error)) => error,
            Err(panic) => {
                log::error!("changing the master key panicked: {panic}");
                return Err(Refusal::internal());
            }
        };
        if self.slots.generation() >= to {
            return Err(self.not_ended(&error));
        }
        let why = chain(&error);
        log::error!("the master key was not changed: {why}");
        let failed = Draft::fact(Event::KeyRotationFailed(Because { why: error.word().into() }));
        let _recorded = self.ledger.record(move |_| Ok(Proposal::new(failed, ()))).await?;
        Err(Refusal::new(
            RefusalKind::Internal,
            format!("The master key was not changed and the old one stays in force: {why}."),
        ))
    }

    /// Ends a change that is committed. When what was before cannot be removed, the order stays open.
    async fn end(self: &Arc<Self>, rotation: KeyRotation) -> Result<(), Refusal> {
        let service = self.clone();
        match tokio::task::spawn_blocking(move || service.end_rotation()).await {
            Ok(Ok(())) => self.rotated(rotation).await,
            Ok(Err(error)) => Err(self.not_ended(&error)),
            Err(panic) => {
                log::error!("ending the change of the master key panicked: {panic}");
                Err(Refusal::internal())
            }
        }
    }

    fn not_ended(&self, error: &RotateError) -> Refusal {
        let why = chain(error);
        log::error!("the master key is changed, but its change is not finished: {why}");
        let sentence = "The master key is changed, but what was before could not be removed: both are kept up. Mend the cause, which \
                        the journal names, then run `greffierctl keys rotate` again or restart the service.";
        self.health.degrade(Part::Rotation, sentence);
        Refusal::new(RefusalKind::Internal, format!("{sentence} ({why})"))
    }

    /// The last step.
    async fn rotated(&self, rotation: KeyRotation) -> Result<(), Refusal> {
        let to = rotation.to;
        let done = Draft::fact(Event::KeyRotated(rotation));
        let recorded = self.ledger.record(move |_| Ok(Proposal::new(done, ()))).await?;
        self.health.mend(Part::Rotation);
        log::info!(entry = recorded.entry(); "the master key was changed: generation {to} is in force");
        Ok(())
    }

    fn rotate_blocking(&self, to: u64) -> Result<(), RotateError> {
        let place = &self.master_place;
        self.end_rotation()?;
        let in_use = place.load(Which::Usual)?;
        let same = |kept: MasterKey| self.slots.with_master(|master, _| master.is_same_as(&kept));
        if !in_use.is_some_and(same) {
            return Err(RotateError::NotInUse(place.path(Which::Usual)));
        }
        let master = MasterKey::generate().map_err(SlotError::Randomness)?;
        let turned = place
            .create(Which::Next, &master)
            .map_err(RotateError::from)
            .and_then(|()| Ok(self.slots.rewrap(master)?));
        if turned.is_err() && self.slots.generation() < to {
            // Not committed: nothing opens under this key.
            if let Err(error) = place.remove(Which::Next) {
                log::warn!("an unused new credential could not be removed, ignoring: {}", chain(&error));
            }
        }
        turned?;
        self.end_rotation()
    }

    /// Old generation, then old credential. Nothing when there is neither.
    fn end_rotation(&self) -> Result<(), RotateError> {
        self.slots.remove_old()?;
        if self.master_place.exists(Which::Next) {
            self.slots.with_master(|master, _| self.master_place.settle(master))?;
        }
        Ok(())
    }

    /// `Manager.BackupKeys`: sealed in memory, then the entry, then the answer.
    pub(super) async fn backup_keys_for(
        &self,
        person: Person,
        to: Vec<String>,
    ) -> Result<(Vec<u8>, u64), Refusal> {
        let recipients = to.iter().map(|text| {
            let no_recipient =
                |error| Refusal::invalid(format!("The recipient {:?}: {error}.", shortened(text)));
            text.parse::<AgeRecipient>().map_err(no_recipient)
        });
        let recipients: Vec<AgeRecipient> = recipients.collect::<Result<_, _>>()?;
        let sealed = self.slots.with_master(|master, generation| {
            Ok((master.seal_backup(&self.config.origin, generation, &recipients)?, generation))
        });
        let (sealed, generation) = sealed.map_err(|error: std::io::Error| {
            log::error!("a backup of the keys could not be sealed: {error}");
            Refusal::internal()
        })?;
        let mut digest = BulkSha256::new();
        digest.update(&sealed);
        let backup = KeyBackedUp { generation, recipients: recipients.len() as u64, sha256: digest.finish() };
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(Event::KeyBackedUp(backup));
            let said = Detail { text: Some(to.join(" ")), ..Detail::default() };
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let detail = Detail { text: said.text, ..person.detail(permit.rule()) };
                    Ok(person.permitted(desk, Some(&permit), draft.with_detail(detail), ()))
                }
                Decision::Deny(denial) => {
                    person.refused(desk, Verb::Administer, denial, draft.with_detail(said))
                }
            }
        });
        let recorded = allowed(recorded.await?)?;
        log::info!(entry = recorded.entry(); "the master key was given out, sealed");
        Ok((sealed, recorded.entry()))
    }

    /// `Manager.CheckBackup`.
    pub(super) async fn check_backup_for(
        &self,
        person: Person,
        generation: u64,
        answer: String,
    ) -> Result<u64, Refusal> {
        let right = self.slots.with_master(|master, in_force| {
            in_force == generation && master.answer(&self.config.origin, in_force) == answer
        });
        let recorded = self.ledger.record(move |desk| {
            let draft = Draft::fact(Event::KeyBackupChecked(KeyGeneration { generation }));
            match decide_for(desk, &person, &person.asks(Verb::Administer, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let outcome = if right { Outcome::Done } else { Outcome::Failed };
                    let draft = draft.outcome(outcome).with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, ()))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Administer, denial, draft),
            }
        });
        let entry = allowed(recorded.await?)?.entry();
        if right {
            return Ok(entry);
        }
        let sentence = format!(
            "The backup is of generation {generation} and does not hold the master key in force; make a new backup. Recorded as entry {entry}."
        );
        Err(Refusal::new(RefusalKind::Conflict, sentence))
    }

    /// Records that the master key was put back while the service was stopped, as the note says that `keys restore` left.
    pub(super) async fn record_restored_key(&self, state_dir: &StateDir) -> Result<(), Fatal> {
        let note = state_dir.keys().join(RESTORED_NOTE);
        if read_bounded(&note, 64)?.is_none() {
            return Ok(());
        }
        let restored = Event::KeyRestored(KeyGeneration { generation: self.slots.generation() });
        let recorded = self.ledger.record(move |_| Ok(Proposal::new(Draft::fact(restored), ())));
        let _recorded = recorded.await.map_err(|refusal| Fatal::Recovery(refusal.to_string()))?;
        std::fs::remove_file(&note)?;
        Ok(sync_dir(&state_dir.keys())?)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

/// The key under which the catalogue knows persons, and whether it is a new one.
pub(super) fn subject_key(slots: &KeySlots) -> Result<(SubjectMac, bool), SlotError> {
    if let Some(id) = slots.list(SlotKind::Subject).first() {
        return Ok((SubjectMac::new(&slots.open_secret(SlotKind::Subject, id)?), false));
    }
    let secret = Secret::generate().map_err(SlotError::Randomness)?;
    slots.create(SlotKind::Subject, entropy::array().map_err(SlotError::Randomness)?, &secret)?;
    Ok((SubjectMac::new(&secret), true))
}
