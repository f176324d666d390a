//! Which player, and the words it is started with.
//!
//! Owns the list of known players. Must never start a shell: arguments go to the player as they stand.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::shell::bus::client::Failure;

/// Players used when none is named, with what makes each end when the recording ends.
const KNOWN: [(&str, &[&str]); 3] =
    [("mpv", &[]), ("vlc", &["--play-and-exit"]), ("ffplay", &["-hide_banner", "-autoexit"])];

/// A player that exists.
#[derive(Debug, PartialEq, Eq)]
pub struct Player {
    /// The program.
    pub program: PathBuf,
    arguments: Vec<OsString>,
}

impl Player {
    /// The player named, or the first known one on `path`.
    pub fn choose(named: &[OsString], path: &OsStr) -> Result<Self, Failure> {
        if let Some((program, arguments)) = named.split_first() {
            let found = find(program, path).ok_or_else(|| {
                let program = program.to_string_lossy();
                Failure::Usage(format!("The player {program} is not on the PATH; nothing was opened."))
            })?;
            return Ok(Self { program: found, arguments: arguments.to_vec() });
        }
        let known = |(name, arguments): &(&str, &[&str])| {
            find(name.as_ref(), path)
                .map(|program| Self { program, arguments: arguments.iter().map(OsString::from).collect() })
        };
        KNOWN.iter().find_map(known).ok_or_else(|| {
            Failure::Usage(
                "No player (mpv, vlc, ffplay) is on the PATH, so nothing was opened; name one after --, as in \
                 `play ID --reason CODE -- PLAYER`, or use `cat ID --reason CODE` to write the recording to a pipe."
                    .into(),
            )
        })
    }

    /// The arguments, with `media` in each place of `{}`, or last.
    pub fn arguments(&self, media: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = self
            .arguments
            .iter()
            .map(|word| if word == "{}" { media.into() } else { word.clone() })
            .collect();
        if !self.arguments.iter().any(|word| word == "{}") {
            arguments.push(media.into());
        }
        arguments
    }
}

fn find(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|file| is_executable(file));
    }
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(programs: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in programs {
            std::fs::write(dir.path().join(name), "").unwrap();
            std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[test]
    fn the_first_known_player_is_used() {
        let dir = dir_with(&["ffplay", "vlc"]);
        let player = Player::choose(&[], dir.path().as_os_str()).unwrap();
        assert_eq!(player.program, dir.path().join("vlc"));
        assert_eq!(player.arguments("/proc/self/fd/9"), ["--play-and-exit", "/proc/self/fd/9"]);
    }

    #[test]
    fn without_a_player_the_message_names_cat_and_the_two_dashes() {
        let dir = dir_with(&[]);
        std::fs::write(dir.path().join("mpv"), "not executable").unwrap();
        let failure = Player::choose(&[], dir.path().as_os_str()).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let text = failure.to_string();
        assert!(text.contains("cat ID") && text.contains("-- PLAYER"), "{text}");
    }

    #[test]
    fn the_recording_stands_where_the_braces_are() {
        let dir = dir_with(&["p"]);
        let words: Vec<OsString> = ["p", "-i", "{}", "-o", "x"].map(OsString::from).to_vec();
        let player = Player::choose(&words, dir.path().as_os_str()).unwrap();
        assert_eq!(player.arguments("M"), ["-i", "M", "-o", "x"]);
        assert!(Player::choose(&["absent".into()], dir.path().as_os_str()).is_err());
    }
}
