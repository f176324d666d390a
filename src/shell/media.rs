//! What kind of media a file holds, by its first bytes.
//!
//! A hint for catalogue and player. Must never decide about access or retention: the bytes are the recorder's word.
#![forbid(unsafe_code)]

/// What is said of bytes that nothing recognises.
const UNKNOWN: &str = "application/octet-stream";

/// How many first bytes are enough for [`media_type`].
pub const ENOUGH_BYTES: usize = 4096;

/// The media type (RFC 6838) of a file that starts with `first_bytes`; `application/octet-stream` when unknown.
pub fn media_type(first_bytes: &[u8]) -> &'static str {
    match infer::get(first_bytes) {
        Some(kind) => kind.mime_type(),
        None if is_transport_stream(first_bytes) => "video/mp2t",
        None => UNKNOWN,
    }
}

/// MPEG transport stream (ISO/IEC 13818-1): packets of 188 bytes, each starting with 0x47. Many cameras write it.
fn is_transport_stream(bytes: &[u8]) -> bool {
    [0, 188, 376].iter().all(|&at| bytes.get(at) == Some(&0x47))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_containers_are_named() {
        assert_eq!(media_type(b"RIFF\x24\0\0\0WAVEfmt "), "audio/x-wav");
        assert_eq!(media_type(b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2"), "video/mp4");
        let mut stream = vec![0u8; 3 * 188];
        stream.iter_mut().step_by(188).for_each(|byte| *byte = 0x47);
        assert_eq!(media_type(&stream), "video/mp2t");
    }

    #[test]
    fn the_rest_is_octets() {
        for bytes in [&b""[..], b"G", b"\0", &[0xFF; 64]] {
            assert_eq!(media_type(bytes), UNKNOWN);
        }
    }
}
