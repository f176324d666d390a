//! Whether an account is locked: one look at the shadow database by way of the name service (getspnam_r(3)).
//!
//! Must never give out a password hash, not even to the rest of this program: it is looked at here and wiped.
#![expect(unsafe_code, reason = "no safe crate at hand offers getspnam_r(3)")]

use std::ffi::{CStr, CString};
use std::io;

/// What the shadow database says of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadow {
    /// The password is locked: `passwd -l`, `usermod -L`. An account that never had one is not.
    pub password_locked: bool,
    /// The first day, counted from 1970, on which the account is no longer valid; absent when it has no end.
    pub expires_day: Option<libc::c_long>,
}

/// Room for the strings of one line.
const ROOM: usize = 16 * 1024;

/// Looks an account up; `None` when the database has no line for it. Blocks, and needs to be root.
///
/// # Errors
/// The name service could not answer.
pub fn of(name: &str) -> io::Result<Option<Shadow>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    // SAFETY: `spwd` is pointers and integers, for which all zero bytes are a valid value.
    let mut entry: libc::spwd = unsafe { std::mem::zeroed() };
    let mut room = vec![0_u8; ROOM];
    let mut found: *mut libc::spwd = std::ptr::null_mut();
    // SAFETY: every pointer is to live memory of the length given, and the call keeps none of them.
    let errno = unsafe {
        libc::getspnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr().cast(), room.len(), &raw mut found)
    };
    let answer = match errno {
        0 | libc::ENOENT | libc::ESRCH if found.is_null() => Ok(None),
        0 => {
            // SAFETY: the call succeeded, so the field points to a string that ends within `room`, or to nothing.
            let locked =
                !entry.sp_pwdp.is_null() && is_locked(unsafe { CStr::from_ptr(entry.sp_pwdp) }.to_bytes());
            let expires_day = Some(entry.sp_expire).filter(|day| *day >= 0);
            Ok(Some(Shadow { password_locked: locked, expires_day }))
        }
        errno => Err(io::Error::from_raw_os_error(errno)),
    };
    zeroize::Zeroize::zeroize(&mut room);
    answer
}

/// A hash behind an exclamation mark: somebody locked it. "!", "!!", "*" and "!*" are accounts that never had a password.
fn is_locked(field: &[u8]) -> bool {
    field.first() == Some(&b'!') && field.iter().any(|byte| !b"!*".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_password_that_was_locked_is_locked() {
        for (field, locked) in [
            ("", false),
            ("*", false),
            ("!", false),
            ("!!", false),
            ("!*", false),
            ("$y$a", false),
            ("!$y$a", true),
        ] {
            assert_eq!(is_locked(field.as_bytes()), locked, "{field:?}");
        }
    }

    #[test]
    fn an_unknown_account_has_no_line() {
        assert_eq!(of("no-such-account-here").ok().flatten(), None);
        assert_eq!(of("a\0b").unwrap(), None);
    }
}
