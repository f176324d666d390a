//! Accounts: what the name service (NSS) knows about users and groups.
//!
//! Owns every call of it. Must never decide by a group. **Every function here may block** for as long as a directory
//! server takes to answer: call them in `tokio::task::spawn_blocking`, never on the task that writes the ledger.
#![forbid(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};

use super::sys::shadow;
use crate::core::register::judge::AccountIs;

/// The name of the account `uid`; `None` when there is no such account. Blocks.
///
/// # Errors
/// The name service could not answer. That is not "no such account": ask again later.
pub fn name_of(uid: u32) -> io::Result<Option<String>> {
    Ok(found(User::from_uid(Uid::from_raw(uid)))?.map(|user| user.name))
}

/// The uid of the account `name`; `None` when there is no such account. Blocks.
///
/// # Errors
/// As [`name_of`].
pub fn uid_of(name: &str) -> io::Result<Option<u32>> {
    Ok(found(User::from_name(name))?.map(|user| user.uid.as_raw()))
}

/// Looks at the account `name`; `today` counts days from 1970. Blocks.
///
/// # Errors
/// As [`name_of`].
pub fn account(name: &str, today: i64) -> io::Result<AccountIs> {
    let Some(uid) = uid_of(name)? else { return Ok(AccountIs::Gone) };
    let locked = shadow::of(name)?.is_some_and(|it| {
        it.password_locked || it.expires_day.is_some_and(|day| i128::from(day) <= i128::from(today))
    });
    Ok(if locked { AccountIs::Locked } else { AccountIs::Usable(uid) })
}

/// The primary group of the account `name`: the group that may write into the spool of its source (design §13).
/// `None` when there is no such account. Blocks.
///
/// # Errors
/// As [`uid_of`].
pub fn primary_group_of(name: &str) -> io::Result<Option<u32>> {
    Ok(found(User::from_name(name))?.map(|user| user.gid.as_raw()))
}

/// The name of the group `gid`; `None` when there is no such group. Blocks.
///
/// # Errors
/// As [`name_of`].
pub fn group_name_of(gid: u32) -> io::Result<Option<String>> {
    Ok(found(Group::from_gid(Gid::from_raw(gid)))?.map(|group| group.name))
}

/// Some name services say "not found" by an error number (getpwnam(3), "ERRORS").
fn found<T>(answer: nix::Result<Option<T>>) -> io::Result<Option<T>> {
    match answer {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_root_both_ways() {
        assert_eq!(name_of(0).unwrap().as_deref(), Some("root"));
        assert_eq!(uid_of("root").unwrap(), Some(0));
        assert_eq!(primary_group_of("root").unwrap(), Some(0));
        assert_eq!(group_name_of(0).unwrap().as_deref(), Some("root"));
    }

    #[test]
    fn accounts_are_gone_or_usable() {
        assert_eq!(account("root", 0).unwrap(), AccountIs::Usable(0));
        assert_eq!(account("no-such-account-here", 0).unwrap(), AccountIs::Gone);
    }

    #[test]
    fn an_unknown_account_is_none_and_not_an_error() {
        assert_eq!(uid_of("no-such-account-here").unwrap(), None);
        assert_eq!(primary_group_of("no-such-account-here").unwrap(), None);
        assert_eq!(name_of(4_000_000_001).unwrap(), None);
    }

    #[test]
    fn an_error_of_the_name_service_is_not_an_absent_account() {
        assert!(found::<()>(Err(Errno::EIO)).is_err());
        assert!(matches!(found::<()>(Err(Errno::ENOENT)), Ok(None)));
        assert_eq!(uid_of("a\0b").unwrap(), None, "no account has such a name");
    }
}
