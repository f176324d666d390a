//! The trailer of a sealed recording: all that rebuilds the catalogue when everything else is lost.
//!
//! Owns its fields and its one text form. It is personal (name, subject), so it stands only sealed. Must never be
//! printed: there is no `Debug`.

use serde::{Deserialize, Serialize};

use super::FormatError;
use super::layout::MAX_TRAILER_BYTES;
use crate::core::ids::{ClassId, Digest, Kind, RecordingId, SourceId};
use crate::core::time::Timestamp;

/// The recording, as it was when sealed. Written as one line of JSON, keys in this order, absent when empty.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    /// Version of the trailer: 1.
    pub v: u8,
    /// The recording.
    pub id: RecordingId,
    /// Where it comes from.
    pub source: SourceId,
    /// What it is.
    pub kind: Kind,
    /// Start of the interval recorded.
    pub start: Timestamp,
    /// End of the interval recorded.
    pub end: Timestamp,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// Length of the original, in bytes.
    pub bytes: u64,
    /// SHA-256 of the original bytes.
    pub sha256: Digest,
    /// Media type, such as `video/mp4`.
    pub media: String,
    /// Retention class.
    pub class: ClassId,
    /// Before this it is not purged without a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Timestamp>,
    /// By this it is purged, unless held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Timestamp>,
    /// Name of the file that was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The person whose own recording it is, as the recorder names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Trailer {
    /// The JSON line. Fails when names make it longer than [`MAX_TRAILER_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|_| FormatError::new("the trailer cannot be written as JSON", 0))?;
        if bytes.len() > MAX_TRAILER_BYTES {
            return Err(FormatError::new("the trailer is longer than 64 KiB: shorten name or subject", 0));
        }
        Ok(bytes)
    }

    /// Reads the JSON line of the recording `id`, of which `plain_bytes` are stored.
    pub fn parse(bytes: &[u8], id: RecordingId, plain_bytes: u64) -> Result<Self, FormatError> {
        if bytes.len() > MAX_TRAILER_BYTES {
            return Err(FormatError::new("the trailer is longer than 64 KiB", 0));
        }
        let trailer: Self =
            serde_json::from_slice(bytes).map_err(|_| FormatError::new("the trailer is not readable", 0))?;
        if trailer.v != 1 {
            return Err(FormatError::new("unknown version of the trailer", 0));
        }
        if trailer.id != id || trailer.bytes != plain_bytes {
            return Err(FormatError::new("the trailer tells of another recording", 0));
        }
        Ok(trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer() -> Trailer {
        let at = |text: &str| text.parse().unwrap();
        Trailer {
            v: 1,
            id: RecordingId::from_bytes([3; 16]),
            source: "entrance".parse().unwrap(),
            kind: Kind::Footage,
            start: at("2026-05-12T10:00:00Z"),
            end: at("2026-05-12T10:15:00Z"),
            sealed: at("2026-05-12T10:16:00Z"),
            bytes: 12,
            sha256: Digest([4; 32]),
            media: "video/mp4".to_owned(),
            class: "short".parse().unwrap(),
            earliest: None,
            latest: Some(at("2026-06-11T10:16:00Z")),
            name: Some("cam1 \"é\".mp4".to_owned()),
            subject: None,
        }
    }

    #[test]
    fn a_trailer_has_one_text() {
        let bytes = trailer().encode().unwrap();
        assert!(Trailer::parse(&bytes, trailer().id, 12).is_ok_and(|read| read == trailer()));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("{\"v\":1,\"id\":\"") && !text.contains("subject") && !text.contains('\n'));
    }

    #[test]
    fn a_trailer_of_another_recording_or_length_is_refused() {
        let bytes = trailer().encode().unwrap();
        assert!(Trailer::parse(&bytes, RecordingId::from_bytes([0; 16]), 12).is_err());
        assert!(Trailer::parse(&bytes, trailer().id, 13).is_err());
        assert!(Trailer::parse(b"{}", trailer().id, 12).is_err());
    }

    #[test]
    fn an_overlong_name_is_refused_when_writing() {
        let long = Trailer { name: Some("x".repeat(70_000)), ..trailer() };
        assert!(long.encode().is_err());
    }
}
