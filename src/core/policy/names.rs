//! Two closed alphabets of a policy: the names of accounts and the verbs.

use std::fmt;
use std::str::FromStr;

/// The name of one account, as the system's user database writes it: `[A-Za-z0-9_.@-]{1,64}`, perhaps a last `$`. It
/// begins with neither `-` nor `.`, and is not a number, which would read as a uid.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Box<str>);

/// Text that is no account name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a user name must be 1 to 64 characters of letters, digits and \"_.@-\", not only digits")]
pub struct UserNameError;

impl UserName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether this is the account of uid 0, which can hold no grant.
    pub fn is_root(&self) -> bool {
        &*self.0 == "root"
    }
}
impl FromStr for UserName {
    type Err = UserNameError;
    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let stem = text.strip_suffix('$').unwrap_or(text);
        let alphabet = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
        let number = stem.bytes().all(|b| b.is_ascii_digit());
        let ok = (1..=64).contains(&text.len()) && alphabet && !number && !stem.starts_with(['-', '.']);
        if ok { Ok(Self(text.into())) } else { Err(UserNameError) }
    }
}
impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserName({self})")
    }
}

/// What a role allows (design §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Search, Describe.
    Search,
    /// Open.
    View,
    /// Seal.
    Seal,
    /// Place and review holds.
    Hold,
    /// Lift holds.
    Lift,
    /// Plan, Run, Erase.
    Purge,
    /// Ledger.Read, Receipt, Consistency, Head, export; Session.Info of others.
    ReadLedger,
    /// Reload, RotateKeys, ConfirmClock, Scrub, RebuildIndex.
    Administer,
    /// Accept or refuse, as a second person, what another person asks for.
    Approve,
    /// Give, change and withdraw mandates.
    Mandate,
    /// Propose, end and suspend grants in the register.
    Register,
    /// Confirm grants at their review, and look at what was done in an emergency.
    Review,
}

/// Text that is no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a verb must be one of search, view, seal, hold, lift, purge, read-ledger, administer, approve, mandate, register, review"
)]
pub struct VerbError;

impl Verb {
    /// Every verb, in the order of design §8.
    pub const ALL: [Self; 12] = [
        Self::Search,
        Self::View,
        Self::Seal,
        Self::Hold,
        Self::Lift,
        Self::Purge,
        Self::ReadLedger,
        Self::Administer,
        Self::Approve,
        Self::Mandate,
        Self::Register,
        Self::Review,
    ];
    /// The word used in the policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::View => "view",
            Self::Seal => "seal",
            Self::Hold => "hold",
            Self::Lift => "lift",
            Self::Purge => "purge",
            Self::ReadLedger => "read-ledger",
            Self::Administer => "administer",
            Self::Approve => "approve",
            Self::Mandate => "mandate",
            Self::Register => "register",
            Self::Review => "review",
        }
    }
    /// Whether this verb shows what a recording contains: no administrator may hold one (invariant 8).
    pub const fn shows_content(self) -> bool {
        matches!(self, Self::View)
    }
    /// Whether a request with this verb states a reason from the policy's list.
    pub const fn takes_reason(self) -> bool {
        matches!(self, Self::Search | Self::View)
    }
    /// Whether this verb acts on recordings, so that a list of sources means something.
    pub const fn takes_source(self) -> bool {
        matches!(
            self,
            Self::Search | Self::View | Self::Seal | Self::Hold | Self::Lift | Self::Purge | Self::Approve
        )
    }
    /// Whether what a rule asks for beside the grant (training, mandate, second person, re-authentication) is asked for
    /// with this verb. Searching shows no content, and whoever may not find a recording cannot ask for consent either.
    pub const fn takes_conditions(self) -> bool {
        !matches!(self, Self::Search)
    }
    /// Whether the consent of a second person can be asked for with this verb. Approving is such a consent itself.
    pub const fn takes_approval(self) -> bool {
        !matches!(self, Self::Search | Self::Approve)
    }
}
impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Verb {
    type Err = VerbError;
    fn from_str(text: &str) -> Result<Self, VerbError> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or(VerbError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_are_sane() {
        for good in ["doctor", "jean.dupont", "_apt", "host$", "d@example.org", "a1"] {
            assert!(good.parse::<UserName>().is_ok(), "{good:?}");
        }
        for bad in ["", "0", "1000", "-x", ".x", "a b", "%staff", "é", "a\n", "$", &"a".repeat(65)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_verb_reads_back() {
        for verb in Verb::ALL {
            assert_eq!(verb.as_str().parse(), Ok(verb));
        }
        assert!("extract".parse::<Verb>().is_err());
    }
}
