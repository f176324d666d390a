//! `greffier-view`: the program of viewers.
#![forbid(unsafe_code)]
