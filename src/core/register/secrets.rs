//! Free text that holds a password (R70): clients' passwords and identifiers are not kept here.
//!
//! Best effort, by the words that people write before one. Must never store or repeat what it looked at.

/// Words after which a secret follows, behind a colon or an equals sign.
const WORDS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "pin",
    "login code",
    "mot de passe",
    "mdp",
    "code secret",
    "code pin",
    "passwort",
];

/// Whether a text seems to tell a password: one of the words, then `:` or `=`, then something.
pub fn tells_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    let begins = |at: usize| {
        text.get(..at).and_then(|before| before.chars().next_back()).is_none_or(|c| !c.is_alphanumeric())
    };
    WORDS.iter().any(|word| {
        text.match_indices(word).filter(|(at, _)| begins(*at)).any(|(at, word)| {
            let rest = text.get(at + word.len()..).unwrap_or_default().trim_start();
            rest.strip_prefix([':', '=']).is_some_and(|secret| !secret.trim().is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_password_is_found_and_talk_about_one_is_not() {
        for secret in
            ["password: hunter2", "Mot de passe : soleil", "his PIN=1234", "log in with pwd =x", "mdp:\tabc"]
        {
            assert!(tells_secret(secret), "{secret:?}");
        }
        for harmless in [
            "",
            "he forgot his password",
            "The password was changed.",
            "opinion: none",
            "spin: left",
            "password:",
            "le mot de passe a fuité",
        ] {
            assert!(!tells_secret(harmless), "{harmless:?}");
        }
    }
}
