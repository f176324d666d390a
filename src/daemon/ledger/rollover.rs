//! The writer's side of roll-over (design §5): what goes to the archivist, what comes back, when a new tail takes its place.
//!
//! Owns the base: entries before it stand in their files and are forgotten. Must never move it before the files are durable,
//! nor let a commit wait for the archivist unless too much is in memory.

use std::io;
use std::sync::PoisonError;

use super::archive::{Archivist, Done, FullBundle, write_bundles};
use super::writer::{BUNDLE, Writer};
use crate::core::ledger::tile::FULL;
use crate::shell::disk::ledger_files::TailFile;

/// A tail is replaced when it is longer, in bytes, and holds bundles that stand in their files. A start reads all of it.
const LONG_TAIL_BYTES: u64 = if cfg!(test) { 1 } else { 2 << 20 };
/// A new tail is not begun with more than this, in bytes, while the old one can still grow.
const SHORT_TAIL_BYTES: u64 = 1 << 20;
/// A tail that has become this long, in bytes, is replaced whatever must be carried over.
const LONGEST_TAIL_BYTES: u64 = 32 << 20;
/// Entries in memory that wait for the archivist; beyond, commits wait too.
const MAX_BACKLOG: u64 = 64 * BUNDLE;

impl Writer {
    /// Gives full bundles to the archivist. They are durable in the tail.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        while self.frontier.size() - self.handed >= BUNDLE {
            let bundle = self.full_bundle(self.handed);
            self.archivist()?.bundle(bundle);
            self.handed += BUNDLE;
        }
        let next = self.frontier.size() / BUNDLE + 1;
        if self.details.current.is_some() && self.key_ordered < next {
            self.archivist()?.key(next);
            self.key_ordered = next;
        }
        Ok(())
    }

    fn archivist(&mut self) -> io::Result<&mut Archivist> {
        if self.archivist.is_none() {
            self.archivist = Some(Archivist::start(self.files.clone(), self.details.slots.clone())?);
        }
        self.archivist.as_mut().ok_or_else(|| io::Error::other("there is no archivist"))
    }

    fn full_bundle(&self, from: u64) -> FullBundle {
        let skip = usize::try_from(from - self.base.0.size()).unwrap_or(usize::MAX);
        let stored = self.shared.recent().stored.iter().skip(skip).take(FULL).cloned().collect();
        FullBundle { n: from / BUNDLE, stored }
    }

    pub(super) fn awaits_archivist(&self) -> bool {
        let busy = |it: &Archivist| it.owes_spare() || self.handed > self.base.0.size();
        self.archivist.as_ref().is_some_and(busy)
    }

    /// Takes what the archivist has made durable; waits for it when too much is in memory.
    pub(super) fn collect(&mut self) -> io::Result<()> {
        loop {
            let behind = self.handed - self.base.0.size() > MAX_BACKLOG;
            match self.archivist.as_mut().and_then(|it| it.take(behind)) {
                None => break,
                Some(done) => self.note(done?),
            }
        }
        let length = self.tail.as_ref().map_or(0, TailFile::end);
        if length <= LONG_TAIL_BYTES || self.base.0.size() == self.tail_base {
            return Ok(());
        }
        // Much of it has no files yet: a new tail would be as long, and commits would wait while it is written.
        if self.shared.recent().frame_bytes > SHORT_TAIL_BYTES && length < LONGEST_TAIL_BYTES {
            return Ok(());
        }
        if self.spare.is_some() { self.replace_tail(None) } else { self.archivist().map(Archivist::spare) }
    }

    fn note(&mut self, done: Done) {
        match done {
            Done::Bundles(last) => self.move_base((last + 1) * BUNDLE),
            Done::Spare(spare) => self.spare = Some(spare),
        }
    }

    /// The entries before `to` stand in their files.
    fn move_base(&mut self, to: u64) {
        let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
        let (tree, prev) = &mut self.base;
        let count = usize::try_from(to.saturating_sub(tree.size())).unwrap_or(usize::MAX);
        for stored in recent.stored.iter().take(count) {
            tree.push(stored.leaf);
            *prev = stored.leaf;
        }
        recent.forget_before(to);
        drop(recent);
        self.handed = self.handed.max(to);
    }

    /// Ends the archivist, and counts what it did. What it could not do is done by [`Self::roll_over`].
    pub(super) fn settle(&mut self) {
        let done = self.archivist.take().map(Archivist::end).unwrap_or_default();
        done.into_iter().flatten().for_each(|done| self.note(done));
        self.handed = self.base.0.size();
        self.key_ordered = 0;
    }

    /// Writes every full bundle out of the memory, here and now. Recovery and trouble call it.
    pub(super) fn roll_over(&mut self) -> io::Result<()> {
        while self.frontier.size() - self.base.0.size() >= BUNDLE {
            let bundle = self.full_bundle(self.base.0.size());
            write_bundles(&self.files, std::slice::from_ref(&bundle))?;
            self.move_base((bundle.n + 1) * BUNDLE);
        }
        Ok(())
    }

    /// A new tail without the entries that stand in their files.
    pub(super) fn shorten_tail(&mut self) -> io::Result<()> {
        if self.base.0.size() > self.tail_base { self.replace_tail(None) } else { Ok(()) }
    }

    /// Before the end: what a start would have to do.
    pub(super) fn tidy(&mut self) -> io::Result<()> {
        self.settle();
        if self.tail.is_none() {
            return Ok(());
        }
        self.roll_over()?;
        self.shorten_tail()
    }
}
