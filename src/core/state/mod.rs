//! The fold of the ledger: State, and what an event does to it.
