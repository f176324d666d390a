//! Registers: state machines folded from events. This version keeps the holds and the reviews; and the rule for heartbeats.

pub mod heartbeat;
pub mod holds;
pub mod reviews;
pub mod uses;
