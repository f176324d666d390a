//! Keys: wrapping, AEAD streams, signing. Key bytes never leave this folder.
#![forbid(unsafe_code)]
