//! The spool watcher.
#![forbid(unsafe_code)]
