//! What happens in the spool, as the kernel tells it.
//!
//! Owns the inotify queue. Must never take a file itself, nor lose one: an overflow becomes [`SpoolEvent::Rescan`].

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd as _;

use futures_util::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};

use crate::core::ids::SourceId;

use super::{Spool, SpoolError};

/// Room for about a hundred events of the longest names.
const BUFFER_BYTES: usize = 32 * 1024;

/// What the daemon must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolEvent {
    /// Something in a source's folder: try to take it. The same file may be announced more than once, or too early:
    /// [`Spool::take`] tells.
    Candidate {
        /// Whose folder.
        source: SourceId,
        /// Its name there.
        name: OsString,
    },
    /// Events were lost: scan all folders.
    Rescan,
    /// The folder of a source was removed or renamed; it is not watched any more.
    Gone {
        /// Whose folder.
        source: SourceId,
    },
}

/// The watch on the folders of all sources.
pub struct Watcher {
    spool: Spool,
    stream: EventStream<Vec<u8>>,
    sources: HashMap<WatchDescriptor, SourceId>,
}

impl Watcher {
    /// Watches nothing yet. Needs a tokio runtime with I/O.
    pub fn new(spool: Spool) -> io::Result<Self> {
        let stream = Inotify::init()?.into_event_stream(vec![0; BUFFER_BYTES])?;
        Ok(Self { spool, stream, sources: HashMap::new() })
    }

    /// Watches the folder of `source`, which must exist, and makes `.taking` and `.refused` in it.
    /// What lies there already is not announced: scan after this, not before.
    pub fn watch_source(&mut self, source: &SourceId) -> Result<(), SpoolError> {
        let folder = self.spool.claim(source)?;
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::MOVE_SELF
            | WatchMask::DELETE_SELF
            | WatchMask::EXCL_UNLINK
            | WatchMask::ONLYDIR;
        // By descriptor, so that what is watched is what was checked.
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let watch = self.stream.watches().add(path, mask).map_err(SpoolError::Disk)?;
        self.sources.insert(watch, source.clone());
        Ok(())
    }

    /// Watches the folder of `source` no more.
    pub fn unwatch_source(&mut self, source: &SourceId) -> io::Result<()> {
        let found =
            self.sources.iter().find(|(_, watched)| *watched == source).map(|(watch, _)| watch.clone());
        let Some(watch) = found else { return Ok(()) };
        self.sources.remove(&watch);
        self.stream.watches().remove(watch)
    }

    /// Waits for the next event. Cancelling it loses none.
    pub async fn next(&mut self) -> io::Result<SpoolEvent> {
        loop {
            let event = self.stream.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
            let told = interpret(event.mask, event.name, self.sources.get(&event.wd));
            match told {
                Some(SpoolEvent::Candidate { source, name })
                    if event.mask.contains(EventMask::CREATE)
                        && self.spool.is_new_and_empty(&source, &name) => {}
                Some(SpoolEvent::Gone { source }) => {
                    self.sources.remove(&event.wd);
                    // Gone by itself when the folder was deleted; a renamed one must be let go.
                    let _ = self.stream.watches().remove(event.wd);
                    return Ok(SpoolEvent::Gone { source });
                }
                Some(told) => return Ok(told),
                None => {}
            }
        }
    }
}

/// What one event of the kernel means. Links, pipes, and files that get their name when complete are told by CREATE
/// alone.
fn interpret(mask: EventMask, name: Option<OsString>, source: Option<&SourceId>) -> Option<SpoolEvent> {
    if mask.contains(EventMask::Q_OVERFLOW) {
        return Some(SpoolEvent::Rescan);
    }
    let source = source?.clone();
    if mask
        .intersects(EventMask::MOVE_SELF | EventMask::DELETE_SELF | EventMask::UNMOUNT | EventMask::IGNORED)
    {
        return Some(SpoolEvent::Gone { source });
    }
    let name = name.filter(|name| !name.as_encoded_bytes().starts_with(b"."))?;
    Some(SpoolEvent::Candidate { source, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceId {
        "entrance".parse().unwrap()
    }

    #[test]
    fn an_overflow_means_rescan_and_names_no_source() {
        assert_eq!(interpret(EventMask::Q_OVERFLOW, None, None), Some(SpoolEvent::Rescan));
    }

    #[test]
    fn closed_moved_and_made_are_candidates() {
        for mask in [EventMask::CLOSE_WRITE, EventMask::MOVED_TO, EventMask::CREATE] {
            let expected = SpoolEvent::Candidate { source: source(), name: "a.mp4".into() };
            assert_eq!(interpret(mask, Some("a.mp4".into()), Some(&source())), Some(expected));
            assert_eq!(interpret(mask, Some(".a.mp4.part".into()), Some(&source())), None);
            assert_eq!(interpret(mask, Some("a.mp4".into()), None), None);
        }
    }

    #[test]
    fn a_removed_folder_is_told() {
        for mask in [EventMask::DELETE_SELF, EventMask::MOVE_SELF, EventMask::IGNORED] {
            assert_eq!(interpret(mask, None, Some(&source())), Some(SpoolEvent::Gone { source: source() }));
        }
    }
}
