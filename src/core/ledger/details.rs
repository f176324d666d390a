//! The file of encrypted details beside a bundle: 256 items, each a length (u32, little-endian) and that many bytes;
//! length 0 for an entry without detail.
//!
//! Invariant 10: each length is checked against its bound and against what is there before it is used.

use super::tail::MAX_DETAIL_BYTES;
use super::tile::FULL;

/// The longest file of details.
pub const MAX_DETAILS_FILE_BYTES: u64 = (FULL * (4 + MAX_DETAIL_BYTES)) as u64;

/// A file of details that cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("details: offset {offset}: {why}")]
pub struct DetailsError {
    /// Where, in bytes from the start of the file.
    pub offset: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// The file for these details, in the order of their entries.
pub fn encode_details(details: &[Option<&[u8]>]) -> Result<Vec<u8>, DetailsError> {
    let mut bytes = Vec::new();
    for detail in details {
        let detail = detail.unwrap_or_default();
        let too_long = DetailsError { offset: bytes.len(), why: "a detail is too long" };
        let length =
            u32::try_from(detail.len()).ok().filter(|_| detail.len() <= MAX_DETAIL_BYTES).ok_or(too_long)?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(detail);
    }
    Ok(bytes)
}

/// The 256 details of a file.
pub fn parse_details(bytes: &[u8]) -> Result<Vec<Option<&[u8]>>, DetailsError> {
    let mut details = Vec::with_capacity(FULL);
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let fail = |why| DetailsError { offset, why };
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| fail("a length is cut off"))?;
        let length =
            usize::try_from(u32::from_le_bytes(*length)).map_err(|_| fail("a length is too large"))?;
        if length > MAX_DETAIL_BYTES {
            return Err(fail("a length is too large"));
        }
        let (detail, after) = after.split_at_checked(length).ok_or_else(|| fail("a detail is cut off"))?;
        details.push(Some(detail).filter(|detail| !detail.is_empty()));
        if details.len() > FULL {
            return Err(fail("more than 256 details"));
        }
        rest = after;
    }
    if details.len() == FULL {
        Ok(details)
    } else {
        Err(DetailsError { offset: bytes.len(), why: "fewer than 256 details" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv10_every_cut_and_every_wrong_length_is_an_error() {
        let details: Vec<Option<&[u8]>> =
            (0..FULL).map(|i| Some(&b"abc"[..]).filter(|_| i % 3 == 0)).collect();
        let bytes = encode_details(&details).unwrap();
        assert_eq!(parse_details(&bytes).unwrap(), details);
        for cut in 0..bytes.len() {
            assert!(parse_details(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = bytes.clone();
        long[3] = 0xFF;
        assert!(parse_details(&long).is_err());
        long = bytes;
        long.extend([0; 4]);
        assert!(parse_details(&long).is_err());
    }
}
