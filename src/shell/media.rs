//! What kind of media a file holds.
#![forbid(unsafe_code)]
