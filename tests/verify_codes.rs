//! A finding that no test can produce is not known to work: each code stands in a test of the verifier.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use greffier::verify::Code;

#[test]
fn each_code_is_named_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut texts = String::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("verify_") && name.ends_with(".rs") && name != "verify_codes.rs" {
            texts += &fs::read_to_string(&path).unwrap();
        }
    }
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
