//! A policy with a mistake is refused with file, line and reason: one folder of `tests/cases/policy` for each.
#![expect(clippy::unwrap_used, reason = "what a test builds upon must be there, or the test fails")]

use std::path::{Path, PathBuf};

use greffier::core::policy::{Policy, PolicyFile};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/policy")
}

/// The files of one policy, as a loader reads them.
fn files(folder: &Path) -> Vec<PolicyFile> {
    let read = |name: String| PolicyFile { text: std::fs::read_to_string(folder.join(&name)).unwrap(), name };
    let mut files = vec![read("policy.toml".to_owned())];
    if let Ok(more) = std::fs::read_dir(folder.join("policy.d")) {
        files.extend(
            more.map(|entry| read(format!("policy.d/{}", entry.unwrap().file_name().to_str().unwrap()))),
        );
    }
    files
}

#[test]
fn each_mistake_is_named_with_file_line_and_reason() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(cases()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        count += 1;
        let expected = std::fs::read_to_string(folder.join("expected")).unwrap();
        let got = match Policy::parse(&files(&folder)) {
            Ok(_) => "accepted".to_owned(),
            Err(errors) => errors.to_string(),
        };
        let alike = got.lines().count() == expected.lines().count()
            && got.lines().zip(expected.lines()).all(|(got, expected)| got.starts_with(expected));
        if !alike {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            wrong.push(format!("{name}\n  expected {expected}  got {got}"));
        }
    }
    assert!(count >= 50, "only {count} cases found");
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_text_without_its_mistake_is_accepted() {
    // The cases differ from this text by one mistake each, so it must be good itself.
    let folder = cases().join("grant-unknown-role");
    let text = std::fs::read_to_string(folder.join("policy.toml")).unwrap().replace("viewr", "viewer");
    let policy = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text }]).unwrap();
    assert_eq!(policy.grants().count(), 1);
}

#[test]
fn file_names_sizes_and_presence_are_checked() {
    let file = |name: &str, text: &str| PolicyFile { name: name.into(), text: text.into() };
    let refused = |files: &[PolicyFile]| Policy::parse(files).unwrap_err().to_string();
    assert!(refused(&[]).starts_with("policy.toml:1: the file is missing"));
    for name in
        ["policy.d/.hidden.toml", "policy.d/a b.toml", "policy.d/a\nb.toml", "../policy.toml", "policy.d/a"]
    {
        let errors = refused(&[file("policy.toml", ""), file(name, "")]);
        assert!(errors.contains("must be called"), "{name:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors:?}");
    }
    assert!(refused(&[file("policy.toml", ""), file("policy.toml", "")]).contains("given twice"));
    let long = format!("format = 1\n#{}", "x".repeat(1 << 20));
    assert!(refused(&[file("policy.toml", &long)]).contains("at most 1048576 are read"));
}

#[test]
fn inv10_hostile_text_gives_errors_and_few_of_them() {
    let many: String = (0..5000).map(|i| format!("key{i} = 1\n")).collect();
    let long_key = format!("{} = 1\n", "k".repeat(100_000));
    let deep = format!("a = {}", "[".repeat(100_000));
    for text in [many, long_key, deep, "\u{feff}format = 1".into(), "\0".into(), "format = 1\r".into()] {
        let errors = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text }]).unwrap_err();
        assert!((1..=50).contains(&errors.iter().count()));
        assert!(errors.iter().all(|error| error.to_string().len() < 400));
    }
}
