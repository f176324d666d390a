//! `ledger publish DIR`: the directory that any web server can offer and any tlog-tiles client can read.
//!
//! Owns the order: what is there is checked, then comes what is new, then the head, which is the commit point. Whatever
//! stops it, the old head stands with all its files, and another run goes on. Must never publish a head that a verifier
//! would not take, a personal part, or the tail.

mod cosigned;
mod place;

use std::path::Path;

use serde_json::json;
use zbus::Connection;

use super::ledger::{self, Line, Pages};
use super::tree::{Place as _, TreeWriter, WriteError, read_checkpoint};
use super::{print, sentence};
use crate::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::core::ledger::entry::Entry;
use crate::core::ledger::epoch::EpochKeys;
use crate::core::ledger::hash::{Hash, empty_hash};
use crate::core::ledger::note::VerifierKey;
use crate::core::ledger::tile::{self, FULL_U64};
use crate::shell::bus::client::{Failure, LedgerProxy};
use crate::shell::terminal::{self, Form};
pub use cosigned::cosigned;
#[cfg(feature = "witness")]
pub use cosigned::read_policy;
use place::{PublishError, Published};

/// Publishes the ledger up to the head of now.
pub async fn publish(bus: &Connection, form: Form, dir: &Path) -> Result<u8, Failure> {
    let ledger = LedgerProxy::new(bus).await?;
    let key: VerifierKey =
        ledger.verifier_key().await?.trim_end().parse().map_err(|error| {
            Failure::Unavailable(format!("The service sent a bad verifier key: {error}."))
        })?;
    // Before the first question that becomes an entry.
    let place = Published::open(dir, &key).map_err(failed)?;
    let (text, head) = ledger::head(&ledger).await?;
    check_head(&place, &text, &head, &key).map_err(failed)?;
    let closings = closings(ledger::epochs(&ledger).await?, &head).map_err(|error| failed(error.into()))?;

    let mut walk = Walk {
        place,
        tree: TreeWriter::new(),
        keys: EpochKeys::new(key),
        prev: empty_hash(),
        closings: closings.into_iter().peekable(),
    };
    while walk.size() < head.size {
        match walk.published() {
            Some(lines) => {
                lines.into_iter().try_for_each(|line| walk.entry(line, Side::Dir)).map_err(failed)?
            }
            None => {
                let end = (walk.size() / FULL_U64 + 1) * FULL_U64;
                let mut pages = Pages::new(&ledger, walk.size(), end.min(head.size), false);
                while let Some(page) = pages.next().await? {
                    for (_, line) in page.into_iter().filter(|(kind, _)| *kind == Line::Entry) {
                        walk.entry(line, Side::Service).map_err(failed)?;
                    }
                }
            }
        }
    }
    let added = walk.finish(&text, &head).map_err(failed)?;
    report(form, dir, &head, added)?;
    Ok(0)
}

/// What was published, for people and for programs.
fn report(form: Form, dir: &Path, head: &Checkpoint, added: u64) -> Result<(), Failure> {
    let facts = json!({
        "dir": dir.to_string_lossy(), "entries": head.size, "root": head.root.to_string(), "written": added,
    });
    print(&terminal::facts(
        form,
        &["dir", "entries", "written"],
        &facts.as_object().cloned().unwrap_or_default(),
    ))
}

/// The published head must be an earlier one of the same ledger, as far as the two heads alone can show.
fn check_head(
    place: &Published,
    text: &str,
    head: &Checkpoint,
    key: &VerifierKey,
) -> Result<(), PublishError> {
    let bad = |why: String| WriteError::Bad(format!("a bad checkpoint ({why})"));
    let (_, note) = SignedCheckpoint::read(text).map_err(|error| bad(error.to_string()))?;
    note.verify(key).map_err(|error| bad(error.to_string()))?;
    if head.origin != key.name() {
        return Err(bad(format!("it is of {}", head.origin)).into());
    }
    match place.head() {
        Some((_, old)) if old.size > head.size => {
            let (dir, published, now) = (place.dir().to_owned(), old.size, head.size);
            Err(PublishError::Larger { dir, published, now })
        }
        Some((_, old)) if old.size == head.size && old.root != head.root => Err(fork(place)),
        _ => Ok(()),
    }
}

fn fork(place: &Published) -> PublishError {
    PublishError::Fork { dir: place.dir().to_owned(), published: place.covered() }
}

/// The closing checkpoints up to the head, smallest first: a key may have changed since the head was signed.
fn closings(texts: Vec<String>, head: &Checkpoint) -> Result<Vec<(Checkpoint, String)>, WriteError> {
    let mut closings = Vec::new();
    for text in texts {
        let checkpoint = read_checkpoint(&text)?;
        if checkpoint.size <= head.size {
            closings.push((checkpoint, text));
        }
    }
    closings.sort_by_key(|(checkpoint, _)| checkpoint.size);
    Ok(closings)
}

/// Where an entry was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Dir,
    Service,
}

/// The way through the ledger, entry after entry.
struct Walk {
    place: Published,
    tree: TreeWriter,
    keys: EpochKeys,
    prev: Hash,
    closings: std::iter::Peekable<std::vec::IntoIter<(Checkpoint, String)>>,
}

impl Walk {
    fn size(&self) -> u64 {
        self.tree.tree().size()
    }

    /// The entries of the next bundle, where they are published and whole.
    fn published(&self) -> Option<Vec<String>> {
        let size = self.size();
        if size.is_multiple_of(FULL_U64) { self.place.entries(size) } else { None }
    }

    /// The next entry. Those of the directory and those of the service must be of one chain.
    fn entry(&mut self, line: String, from: Side) -> Result<(), PublishError> {
        let seq = self.size();
        let wrong = |why: String| match from {
            Side::Dir => WriteError::Differs(self.place.dir().join(tile::entries_path(seq / FULL_U64, None))),
            Side::Service => WriteError::Bad(format!("an entry {seq} that is none ({why})")),
        };
        {
            let entry = Entry::parse(line.as_bytes()).map_err(|error| wrong(error.to_string()))?;
            if entry.seq != seq || entry.prev != self.prev {
                return Err(match from {
                    Side::Dir => wrong("it does not follow".into()).into(),
                    Side::Service => fork(&self.place),
                });
            }
            self.keys.note_entry(&entry).map_err(|error| wrong(error.to_string()))?;
        }
        self.prev = self.tree.entry(&mut self.place, line)?;
        let (size, covered) = (self.size(), self.place.covered());
        if self
            .place
            .head()
            .is_some_and(|(_, head)| head.size == size && head.root != self.tree.tree().root())
        {
            return Err(fork(&self.place));
        }
        if size == covered {
            // Readers of the published head still need its partial files.
            self.tree.partial(&mut self.place)?;
        }
        while let Some((checkpoint, text)) = self.closings.next_if(|(closing, _)| closing.size <= size) {
            if size <= covered && checkpoint.root != self.tree.tree().root() {
                return Err(fork(&self.place));
            }
            self.check(&checkpoint, &text)?;
            self.place.put(&format!("checkpoints/{}", checkpoint.size), checkpoint.size, text.as_bytes())?;
        }
        Ok(())
    }

    /// As a verifier does: the root of these entries, and both signatures.
    fn check(&self, checkpoint: &Checkpoint, text: &str) -> Result<(), WriteError> {
        let bad =
            |why: String| WriteError::Bad(format!("a bad checkpoint of {} entries ({why})", checkpoint.size));
        if (checkpoint.size, checkpoint.root) != (self.size(), self.tree.tree().root()) {
            return Err(WriteError::Root(self.size()));
        }
        let epoch = self.keys.in_force(checkpoint.size).ok_or_else(|| bad("no epoch key signs it".into()))?;
        SignedCheckpoint::verify(text, self.keys.log_key(), epoch).map_err(|error| bad(error.to_string()))?;
        Ok(())
    }

    /// Publishes the head, unless it is published already. How many files were written.
    fn finish(mut self, text: &str, head: &Checkpoint) -> Result<u64, PublishError> {
        self.check(head, text)?;
        self.place.put("origin", 0, format!("{}\n", head.origin).as_bytes())?;
        self.tree.close(&mut self.place, head)?;
        // The same head may stand there with cosignatures by now.
        if self.place.head().is_none_or(|(_, published)| published != head) {
            self.place.publish_head(text)?;
        }
        Ok(self.place.added())
    }
}

fn failed(error: PublishError) -> Failure {
    let sentence = sentence(&error);
    match error {
        PublishError::NotPublished(_) | PublishError::Private(..) | PublishError::OtherLedger { .. } => {
            Failure::Usage(sentence)
        }
        _ => Failure::Refused(sentence),
    }
}
