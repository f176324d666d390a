//! Order: what happens after what, and where the commit points are.
#![forbid(unsafe_code)]
