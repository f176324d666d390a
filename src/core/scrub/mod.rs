//! Reading the whole store to find what a medium lost: what counts as harm, how fast to read, where to go on.
//!
//! Owns the words of harm in `store.damaged`, the comparison of an object with its entry, the pace and the place. Must never
//! read an object itself, nor look at a clock.

mod judge;
mod pace;
mod place;

pub use judge::{Harm, ObjectFacts, differs};
pub use pace::Pace;
pub use place::{Counts, Place, PlaceError};
