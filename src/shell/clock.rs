//! The only clock.
#![forbid(unsafe_code)]
