//! The spool: what recorders leave, and how the daemon takes it (design §13).
//!
//! Owns the watch on `<spool>/<source>/` and every rename and unlink in it. Must never follow a link, nor remove a file
//! that changed since it was read (invariant 6), nor decide what becomes of a file: that is the daemon's.
//!
//! Names that start with a dot are left alone: `.taking` and `.refused` are ours, and writers that rename when they
//! are done (rsync and others) use such names until then.
#![forbid(unsafe_code)]

mod aside;
mod entry;
mod folder;
mod taken;
mod watcher;

pub use aside::Leftover;
pub use entry::{Facts, Oddity};
pub use folder::{Refused, Scan, Spool, SpoolError, make_folder};
pub use taken::{Kept, Taken};
pub use watcher::{SpoolEvent, Watcher};
