//! State machines folded from events: holds.
