//! `greffierctl`: the program of administrators, controllers and auditors.
#![forbid(unsafe_code)]
