//! A finding that no test can produce is not known to work: each code stands in a test of the verifier.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use greffier::verify::Code;

#[test]
fn each_code_is_named_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files =
        |folder: &Path| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let of_verifier = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("verify_") && name.ends_with(".rs") && name != "verify_codes.rs"
    };
    let mut read: Vec<PathBuf> = files(&folder).into_iter().filter(of_verifier).collect();
    read.extend(files(&folder.join("verify_rules")));
    let texts: String = read.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| {
            let quoted = format!("\"{}\"", code.name());
            !texts.contains(&quoted)
                && !texts.contains(&format!("[{}]", code.name()))
                && !texts.contains(&format!("Code::{code:?}"))
        })
        .map(|code| code.name())
        .collect();
    assert_eq!(missing, [""; 0], "no test names these");
}
