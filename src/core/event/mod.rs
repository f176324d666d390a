//! Every event as a type: its public part, its personal part, the canonical line (design §5).
