//! The message bus: interfaces (signatures and translation only), caller identity, client proxies.
#![forbid(unsafe_code)]
