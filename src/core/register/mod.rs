//! Registers: state machines folded from events. This version keeps one, the holds.

pub mod holds;
