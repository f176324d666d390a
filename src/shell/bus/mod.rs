//! The message bus: interfaces (signatures and translation only), caller identity, client proxies.
#![forbid(unsafe_code)]

#[cfg(feature = "daemon")]
pub mod archive;
#[cfg(feature = "daemon")]
pub mod caller;
#[cfg(any(feature = "ctl", feature = "view"))]
pub mod client;
#[cfg(feature = "daemon")]
pub mod interfaces;
#[cfg(feature = "daemon")]
pub mod polkit;
#[cfg(feature = "daemon")]
pub mod wire;
