//! Bytes on disk: sealed recording, key slot, spool names.
