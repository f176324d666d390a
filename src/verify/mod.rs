//! `greffier-verify`: reads a ledger and says whether it is sound.
#![forbid(unsafe_code)]
