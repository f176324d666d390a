//! `policy check`: would this policy be loaded, and what is odd about it; `policy diff`: what another one changes. Works without the
//! service.
//!
//! Must never change a file, and reads exactly the files that the service reads.

mod explain;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::print;
use crate::core::policy::{
    Difference, LintFacts, MAX_PROFILE_BYTES, Policy, PolicyFile, Profile, UserName, diff, lint,
};
use crate::shell::bus::client::Failure;
use crate::shell::clock::SystemClock;
use crate::shell::terminal::{self, Form};
use crate::shell::users;

pub use explain::{explain, explain_recording};

const MAIN: &str = "policy.toml";
/// A policy is at most 1 MiB; of a file given by mistake no more than this is read.
const READ_BYTES_MAX: u64 = 2 << 20;

/// One line of the answer.
struct Finding {
    level: &'static str,
    file: String,
    line: u32,
    /// Of a warning: which it is.
    code: Option<&'static str>,
    reason: String,
}

/// Prints errors and warnings. Exit code 0 when the policy would be loaded, 1 when it would be refused. `profiles`: where those are that
/// it names.
pub fn check(path: &Path, profiles: &Path, form: Form) -> Result<u8, Failure> {
    let folder = Folder::of(path);
    let files = folder.read()?;
    let (findings, code) = match Policy::parse(&files) {
        Err(errors) => (errors.iter().map(|e| folder.finding(None, &e.file, e.line, &e.reason)).collect(), 1),
        Ok(policy) => (warnings(&policy, &folder, profiles)?, 0),
    };
    print(&render(form, &findings))?;
    let errors = findings.iter().filter(|finding| finding.level == "error").count();
    match (errors, findings.len()) {
        (0, 0) => eprintln!("The policy is sound."),
        (0, n) => eprintln!("The policy would be loaded; warnings: {n}."),
        (n, _) => eprintln!("The policy would be refused and the old one stay in force; errors: {n}."),
    }
    Ok(code)
}

/// Prints who gains and who loses what. Exit code 0 when nothing differs, 1 when something does, 2 when one of them is no policy.
pub fn compare(old: &Path, new: &Path, form: Form) -> Result<u8, Failure> {
    let found = diff(&read_policy(old)?, &read_policy(new)?);
    let object = |it: &Difference| {
        let Difference { user, change, sentence } = it;
        let user = user.as_ref().map(UserName::as_str);
        json!({ "user": user, "change": change.as_str(), "sentence": sentence })
    };
    let text = match form {
        Form::Json => {
            let objects: Vec<_> = found.iter().filter_map(|it| object(it).as_object().cloned()).collect();
            terminal::rows(form, &[], &objects)
        }
        _ => found.iter().map(|it| terminal::clean(&it.sentence) + "\n").collect(),
    };
    print(&text)?;
    match found.len() {
        0 => eprintln!("The two say the same."),
        n => eprintln!("Differences: {n}."),
    }
    Ok(u8::from(!found.is_empty()))
}

/// A policy that must be sound.
fn read_policy(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&Folder::of(path).read()?).map_err(|errors| {
        let first = errors.iter().next().map(ToString::to_string).unwrap_or_default();
        Failure::Usage(format!(
            "{} is no policy that would be loaded ({first}); see `greffierctl policy check`.",
            path.display()
        ))
    })
}

fn clock() -> Result<SystemClock, Failure> {
    SystemClock::new().map_err(|error| {
        Failure::Refused(format!("The clock cannot be read ({error}); nothing was checked."))
    })
}

/// Those of the profiles that a policy names that are there.
fn read_profiles(policy: &Policy, dir: &Path) -> Result<Vec<Profile>, Failure> {
    let mut found = Vec::new();
    for name in policy.profiles() {
        let path = dir.join(format!("{name}.toml"));
        if !path.exists() {
            continue;
        }
        let mut text = String::new();
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let read = file.take(MAX_PROFILE_BYTES as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| unreadable(&path, &error))?;
        let profile = Profile::parse(&text)
            .map_err(|error| Failure::Usage(format!("{} is no profile: {error}.", path.display())))?;
        found.push(profile);
    }
    Ok(found)
}

fn warnings(policy: &Policy, folder: &Folder, profiles: &Path) -> Result<Vec<Finding>, Failure> {
    let clock = clock()?;
    let today = clock.now().time.date_in(clock.local_time_zone());
    let profiles = read_profiles(policy, profiles)?;
    let facts = LintFacts { without_account: without_account(policy), today, profiles };
    let warnings = lint(policy, &facts);
    Ok(warnings.iter().map(|w| folder.finding(Some(w.code), &w.file, w.line, &w.sentence)).collect())
}

/// The users that the policy names and this machine does not know.
fn without_account(policy: &Policy) -> BTreeSet<UserName> {
    let mut absent = BTreeSet::new();
    for user in policy.users() {
        match users::uid_of(user.as_str()) {
            Ok(Some(_)) => {}
            Ok(None) => {
                absent.insert(user.clone());
            }
            // A directory server that does not answer says nothing about the account.
            Err(error) => eprintln!("Whether {user} has an account could not be found out ({error})."),
        }
    }
    absent
}

/// Errors as compilers write them; JSON has the parts.
fn render(form: Form, findings: &[Finding]) -> String {
    if form == Form::Json {
        let object = |finding: &Finding| {
            let Finding { level, file, line, code, reason } = finding;
            json!({ "level": level, "file": file, "line": line, "code": code, "reason": reason })
        };
        let objects: Vec<Map<String, Value>> =
            findings.iter().filter_map(|finding| object(finding).as_object().cloned()).collect();
        return terminal::rows(form, &[], &objects);
    }
    let line = |finding: &Finding| {
        let Finding { file, line, code, reason, .. } = finding;
        let text = match code {
            None => format!("{file}:{line}: {reason}"),
            Some(code) => format!("{file}:{line}: warning: {reason} [{code}]"),
        };
        terminal::clean(&text) + "\n"
    };
    findings.iter().map(line).collect()
}

/// Where the files of a policy are.
struct Folder {
    dir: PathBuf,
    main: PathBuf,
}

impl Folder {
    /// `path` is the main file (under any name, to check it before it is put in place), or the folder that holds it.
    fn of(path: &Path) -> Self {
        if path.is_dir() {
            return Self { dir: path.to_owned(), main: path.join(MAIN) };
        }
        Self { dir: path.parent().unwrap_or(Path::new("")).to_owned(), main: path.to_owned() }
    }

    /// `policy.toml`, then what `policy.d/*.toml` means to a shell.
    fn read(&self) -> Result<Vec<PolicyFile>, Failure> {
        let mut files = vec![PolicyFile { name: MAIN.into(), text: read(&self.main)? }];
        let more = self.dir.join("policy.d");
        let entries = match std::fs::read_dir(&more) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            entries => entries.map_err(|error| unreadable(&more, &error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| unreadable(&more, &error))?.file_name();
            names.push(name.into_string().map_err(|name| {
                Failure::Usage(format!("{} is not UTF-8; rename it.", more.join(name).display()))
            })?);
        }
        names.retain(|name| name.ends_with(".toml") && !name.starts_with('.'));
        names.sort_unstable();
        for name in names {
            let text = read(&more.join(&name))?;
            files.push(PolicyFile { name: format!("policy.d/{name}"), text });
        }
        Ok(files)
    }

    /// `code`: of a warning; an error has none.
    fn finding(&self, code: Option<&'static str>, file: &str, line: u32, reason: &str) -> Finding {
        let level = if code.is_some() { "warning" } else { "error" };
        let path = if file == MAIN { self.main.clone() } else { self.dir.join(file) };
        Finding { level, file: path.to_string_lossy().into_owned(), line, code, reason: reason.to_owned() }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(READ_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be read ({error}).", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_the_digest_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("policy.d")).unwrap();
        for name in
            ["policy.toml", "policy.d/20.toml", "policy.d/10.toml", "policy.d/.x.toml", "policy.d/x.bak"]
        {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        for path in [dir.path().to_owned(), dir.path().join("policy.toml")] {
            let files = Folder::of(&path).read().unwrap();
            let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, ["policy.toml", "policy.d/10.toml", "policy.d/20.toml"]);
        }
    }

    #[test]
    fn a_finding_names_the_file_as_it_was_given() {
        let folder = Folder { dir: "/p".into(), main: "/p/new.toml".into() };
        let findings =
            [folder.finding(None, MAIN, 3, "x"), folder.finding(Some("unused"), "policy.d/a.toml", 1, "y")];
        assert_eq!(
            render(Form::Lines, &findings),
            "/p/new.toml:3: x\n/p/policy.d/a.toml:1: warning: y [unused]\n"
        );
        let json = render(Form::Json, &findings);
        assert!(
            json.starts_with(r#"{"code":null,"file":"/p/new.toml","level":"error","line":3,"reason":"x"}"#),
            "{json}"
        );
    }
}
