//! The only randomness.
#![forbid(unsafe_code)]
