//! What a failed read says of the recording: damage, or nothing (design §10).
//!
//! Owns the distinction, and what of it is told: of each session the first damage, and the first failure that is none. A
//! failure that passes must never use up the one report of damage.

use std::error::Error;
use std::io;

/// Reading failed inside the program, whatever the disk holds.
#[derive(Debug, thiserror::Error)]
#[error("reading the recording failed inside the program")]
pub struct ProgramFault;

/// Whether a read failed for want of memory or descriptors, or by a fault of the program: the recording is as it was.
pub fn damages_nothing(error: &io::Error) -> bool {
    is_exhausted(error) || error.get_ref().is_some_and(|inner| inner.is::<ProgramFault>())
}

/// Whether an error says, itself or by its cause, that the process or the machine has no descriptor or memory left: that
/// passes, and damages nothing.
fn is_exhausted(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&code)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What was told of one session.
#[derive(Debug, Default)]
pub struct Told {
    damage: bool,
    other: bool,
}

impl Told {
    /// Whether this is the first of its sort.
    pub fn is_first(&mut self, error: &io::Error) -> bool {
        let told = if damages_nothing(error) { &mut self.other } else { &mut self.damage };
        !std::mem::replace(told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Says(&'static str, #[source] io::Error);

    #[test]
    fn want_of_descriptors_is_no_damage() {
        let says = |code| Says("not opened", io::Error::from_raw_os_error(code));
        assert!(is_exhausted(&says(libc::EMFILE)) && is_exhausted(&says(libc::ENOMEM)));
        assert!(!is_exhausted(&says(libc::EIO)) && !is_exhausted(&says(libc::ENOENT)));
    }

    #[test]
    fn a_failure_that_passes_does_not_use_up_the_report_of_damage() {
        let mut told = Told::default();
        let want = || io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(told.is_first(&want()));
        assert!(!told.is_first(&want()) && !told.is_first(&io::Error::other(ProgramFault)));
        assert!(told.is_first(&io::Error::from_raw_os_error(libc::EIO)), "the damage is not told");
        assert!(!told.is_first(&io::Error::other("chunk 7 does not open")) && !told.is_first(&want()));
    }
}
