//! One row of the catalogue: what may be known of a recording without opening it.
//!
//! Owns the stored form and the answer of a search. Must never hold a file name, a call id, a telephone number
//! or free text (design §6).

use std::collections::BTreeSet;

use super::key::{self, Cursor, ORDER, Place};
use crate::core::ids::{ClassId, Digest, Kind, RecordingId, SourceId};
use crate::core::time::Timestamp;

/// One recording in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The recording.
    pub id: RecordingId,
    /// Where it comes from.
    pub source: SourceId,
    /// What it is.
    pub kind: Kind,
    /// When it begins, as the recorder or the file system says.
    pub start: Timestamp,
    /// When it ends; never before `start` in a sound row.
    pub end: Timestamp,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// Length of the original in bytes.
    pub bytes: u64,
    /// Media type, `type/subtype`.
    pub media: String,
    /// SHA-256 of the original bytes.
    pub sha256: Digest,
    /// Retention class.
    pub class: ClassId,
    /// Latest purge time: when it has to be gone.
    pub latest: Timestamp,
    /// Whether a hold lies on it.
    pub held: bool,
    /// HMAC-SHA-256 of the subject, for "own recordings"; absent when the recorder named nobody.
    pub subject: Option<Digest>,
}

impl Row {
    /// Where it stands in the order.
    pub(super) fn key(&self) -> Vec<u8> {
        key::ordered_key(ORDER, &key::lane(&self.source, self.kind), Place::of(self))
    }

    /// What its key does not say: end, sealed, latest, bytes (8 bytes each), SHA-256, held (1), subject (1 or 33), class
    /// (length and text), media type (the rest).
    pub(super) fn to_value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(192);
        for time in [self.end, self.sealed, self.latest] {
            value.extend_from_slice(&key::time_bytes(time));
        }
        value.extend_from_slice(&self.bytes.to_be_bytes());
        value.extend_from_slice(&self.sha256.0);
        value.push(u8::from(self.held));
        value.push(u8::from(self.subject.is_some()));
        if let Some(subject) = &self.subject {
            value.extend_from_slice(&subject.0);
        }
        // A class id has at most 64 bytes.
        value.push(u8::try_from(self.class.as_str().len()).unwrap_or(u8::MAX));
        value.extend_from_slice(self.class.as_str().as_bytes());
        value.extend_from_slice(self.media.as_bytes());
        value
    }

    /// The row at `key`, in either table; `None` when the bytes are not one of ours.
    pub(super) fn from_stored(key: &[u8], value: &[u8]) -> Option<Self> {
        let (source, kind) = key::lane_of(key)?;
        let Place { start, id } = Place::from_key(key)?;
        let (end, rest) = value.split_first_chunk::<8>()?;
        let (sealed, rest) = rest.split_first_chunk::<8>()?;
        let (latest, rest) = rest.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        let (sha256, rest) = rest.split_first_chunk::<32>()?;
        let ([held, has_subject], rest) = rest.split_first_chunk::<2>()?;
        let (subject, rest) = if flag(*has_subject)? {
            let (subject, rest) = rest.split_first_chunk::<32>()?;
            (Some(Digest(*subject)), rest)
        } else {
            (None, rest)
        };
        let (class_length, rest) = rest.split_first()?;
        let (class, media) = rest.split_at_checked(usize::from(*class_length))?;
        Some(Self {
            id,
            source,
            kind,
            start,
            end: key::time_from(*end)?,
            sealed: key::time_from(*sealed)?,
            bytes: u64::from_be_bytes(*bytes),
            media: str::from_utf8(media).ok()?.to_owned(),
            sha256: Digest(*sha256),
            class: str::from_utf8(class).ok()?.parse().ok()?,
            latest: key::time_from(*latest)?,
            held: flag(*held)?,
            subject,
        })
    }
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// What a batch does to the catalogue, in the order of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most are rows, and they live for one batch")]
pub enum Change {
    /// A recording entered the archive, or its row changed.
    Put(Row),
    /// A recording was purged. Unknown: nothing happens.
    Remove(RecordingId),
    /// The first hold was placed or the last one lifted. Unknown: nothing happens.
    SetHeld(RecordingId, bool),
}

/// What to search. The caller's rights are in `sources`: nothing outside it is touched.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The sources that the caller may search.
    pub sources: &'a BTreeSet<SourceId>,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only recordings that end after this instant, or start at it or later.
    pub from: Option<Timestamp>,
    /// Only recordings that start before this instant.
    pub to: Option<Timestamp>,
    /// Only recordings with a hold (`true`) or without one (`false`).
    pub held: Option<bool>,
    /// At most this many rows; 0 gives none.
    pub limit: usize,
    /// Go on after this row.
    pub cursor: Option<Cursor>,
}

/// A part of an answer, ordered by start, then id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where the next page goes on; absent when this is the last one.
    pub next_cursor: Option<Cursor>,
}
