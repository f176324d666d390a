//! The store beside the ledger: each recording that is in the archive has its object, and nothing else is there.
//!
//! Objects are not opened: only their names, headers, footers and sizes are read. No link is followed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::findings::{Code, Report, sentence};
use super::ledger::Failure;
use crate::core::event::{Event, Outcome, Record};
use crate::core::format::header::{HEADER_BYTES, Header};
use crate::core::format::layout::{FOOTER_BYTES, Footer};
use crate::core::ids::RecordingId;
use crate::core::state::State;

/// The objects that are there.
#[derive(Debug)]
pub struct Store {
    objects: PathBuf,
    /// Each with whether the ledger says that it was purged.
    found: BTreeMap<RecordingId, bool>,
    /// What stands there and is no object.
    strangers: Vec<String>,
}

/// Most strangers named.
const MAX_STRANGERS: usize = 1000;

impl Store {
    /// Lists `objects/` of a state directory.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let objects = dir.join("objects");
        let cannot =
            |error: io::Error| Failure::Unreadable(format!("cannot read {}: {error}", objects.display()));
        let mut store = Self { objects: objects.clone(), found: BTreeMap::new(), strangers: Vec::new() };
        for folder in fs::read_dir(&objects).map_err(cannot)? {
            let folder = folder.map_err(cannot)?;
            let name = folder.file_name().to_string_lossy().into_owned();
            if name.len() != 2 || !folder.file_type().map_err(cannot)?.is_dir() {
                store.add_stranger(name);
                continue;
            }
            for object in fs::read_dir(folder.path()).map_err(cannot)? {
                let object = object.map_err(cannot)?;
                let file = object.file_name().to_string_lossy().into_owned();
                let id = file.parse().ok().filter(|_| file.starts_with(&name));
                match id.filter(|_| object.file_type().is_ok_and(|kind| kind.is_file())) {
                    Some(id) => {
                        store.found.insert(id, false);
                    }
                    None => store.add_stranger(format!("{name}/{file}")),
                }
            }
        }
        Ok(store)
    }

    fn add_stranger(&mut self, name: String) {
        if self.strangers.len() < MAX_STRANGERS {
            self.strangers.push(name);
        }
    }

    /// Takes in the next entry: after `purge.done` the object must be gone.
    pub fn note(&mut self, record: &Record) {
        let purged = record.outcome == Outcome::Done && matches!(record.event, Event::PurgeDone(_));
        let id = record.subject.recording.filter(|_| purged);
        if let Some(purged) = id.and_then(|id| self.found.get_mut(&id)) {
            *purged = true;
        }
    }

    /// After the last entry: compares what is there with the archive as the ledger tells it.
    pub fn finish(mut self, state: &State, report: &mut Report) {
        let mut recordings: Vec<_> = state.recordings().collect();
        recordings.sort_unstable_by_key(|(id, _)| **id);
        for (id, recording) in recordings {
            if self.found.remove(id).is_none() {
                // A purge that was decided removes the object before it is an entry.
                if !recording.purging {
                    let sentence =
                        format!("recording {id} is in the archive, but its object is not in the store");
                    report.add(Code::ObjectMissing, None, sentence);
                }
            } else if let Err(why) = self.check(*id, recording.bytes) {
                report.add(Code::ObjectDamaged, None, format!("the object of recording {id}: {why}"));
            }
        }
        for (id, purged) in &self.found {
            if *purged {
                let sentence = format!("recording {id} was purged, but its object is still in the store");
                report.add(Code::ObjectLeft, None, sentence);
            } else {
                let sentence = format!("object {id} is in the store, but no entry sealed it");
                report.add(Code::ObjectStranger, None, sentence);
            }
        }
        for name in &self.strangers {
            report.add(Code::ObjectStranger, None, format!("objects/{name} is no object of the store"));
        }
    }

    /// Why the object is not the one of a recording of so many bytes.
    fn check(&self, id: RecordingId, bytes: u64) -> Result<(), String> {
        let name = id.to_string();
        let path = self.objects.join(name.get(..2).unwrap_or_default()).join(&name);
        let io = |error: io::Error| format!("it cannot be read: {error}");
        // Between the listing and now it may have become anything.
        if !fs::symlink_metadata(&path).map_err(io)?.is_file() {
            return Err("it is not a regular file".into());
        }
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let (mut header, mut footer) = ([0; HEADER_BYTES], [0; FOOTER_BYTES]);
        let Some(footer_at) = length.checked_sub(FOOTER_BYTES as u64).filter(|at| *at >= HEADER_BYTES as u64)
        else {
            return Err("it is cut short".into());
        };
        file.read_exact_at(&mut header, 0).map_err(io)?;
        file.read_exact_at(&mut footer, footer_at).map_err(io)?;
        if Header::parse(&header).map_err(|error| sentence(&error))?.id != id {
            return Err("its header is that of another recording".into());
        }
        let footer = Footer::parse(&footer, length).map_err(|error| sentence(&error))?;
        match footer.layout.plain_bytes() {
            found if found == bytes => Ok(()),
            found => Err(format!("it holds {found} bytes instead of {bytes}")),
        }
    }
}
