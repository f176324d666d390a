//! `greffier-verify`: argument parsing handed on, exit code handed back.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    greffier::verify::run()
}
