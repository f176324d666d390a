//! Durable files: ledger, objects, key slots, catalogue.
#![forbid(unsafe_code)]
