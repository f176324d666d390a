//! Why a recording that may be opened cannot be: what is damaged for good, and what passes.

use crate::core::event::StoreDamaged;
use crate::core::ids::RuleId;
use crate::core::policy::{Denial, DenialKind};
use crate::core::scrub::Harm;
use crate::core::state::Damage;
use crate::daemon::errors;
use crate::shell::disk::object::ObjectError;
use crate::shell::{journal, message_id};

/// Why a recording that may be opened cannot be.
#[derive(Debug)]
pub(super) enum PrepareError {
    NoMount,
    Mount(String),
    Damaged {
        harm: Harm,
    },
    /// The ledger says so already: it is not looked at again, and no second entry says it.
    Known(Damage),
}

impl PrepareError {
    pub(super) fn key(error: crate::shell::disk::slots::SlotError) -> Self {
        use crate::shell::disk::slots::SlotError;
        let gone = matches!(error, SlotError::NotFound | SlotError::Damaged { .. });
        Self::of(gone.then_some(Harm::KeyMissing), "the key of a recording cannot be used", &error)
    }
    pub(super) fn object(error: ObjectError) -> Self {
        let harm = match error {
            ObjectError::Missing(_) => Some(Harm::ObjectMissing),
            ObjectError::Damaged { .. } => Some(Harm::ObjectDamaged),
            _ => None,
        };
        Self::of(harm, "a sealed recording cannot be used", &error)
    }
    /// `harm`: what is damaged for good. A disk that does not answer, descriptors or memory that ran out are no damage.
    fn of(harm: Option<Harm>, words: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        match harm {
            Some(harm) => Self::damaged(harm, words, error),
            None => Self::Mount(errors::chain(error)),
        }
    }
    fn damaged(harm: Harm, words: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let message = format!("{words}: {}", errors::chain(error));
        let what = [("what", harm.as_str())];
        journal::record(log::Level::Error, message_id::STORE_DAMAGED, &message, &what);
        Self::Damaged { harm }
    }
    pub(super) fn damage(&self) -> Option<StoreDamaged> {
        match self {
            Self::Damaged { harm } => {
                Some(StoreDamaged { what: harm.as_str().into(), offset: None, count: None })
            }
            Self::NoMount | Self::Mount(_) | Self::Known(_) => None,
        }
    }
    pub(super) fn denial(&self) -> Denial {
        let sentence = match self {
            Self::NoMount => "The service cannot make descriptors now; `greffierctl status` says why.",
            Self::Mount(error) => {
                log::error!("a descriptor could not be made: {error}");
                "The descriptor could not be made; the administrator finds the cause in the journal."
            }
            Self::Damaged { harm } | Self::Known(Damage { harm, .. }) => match harm {
                Harm::KeyMissing => {
                    "The key of this recording is damaged in both copies. The administrator puts keys/ back from a backup and starts the \
                     service again."
                }
                _ => {
                    "The sealed recording is damaged. The administrator finds its file in the journal, puts it back from a \
                     backup, and runs `greffierctl store scrub --recording` with its id: then it can be opened again."
                }
            },
        };
        Denial::new(RuleId::builtin("store"), DenialKind::Denied, sentence.into())
    }
}
