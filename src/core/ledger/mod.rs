//! The rules of the ledger: hash, tree, checkpoint, tiles, tail frames. It signs nothing and writes nothing.
