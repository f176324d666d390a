//! The private mount behind accountable descriptors (design §7).
#![forbid(unsafe_code)]
