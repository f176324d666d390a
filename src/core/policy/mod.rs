//! Who may do what, and why: Policy, AccessRequest, decide().
