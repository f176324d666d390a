//! What may be wrong with an object or a key, and whether an object is what its entry says.

use crate::core::format::trailer::Trailer;
use crate::core::ids::Digest;
use crate::core::state::Recording;

/// What is wrong: the word `what` of `store.damaged`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// An entry has no object.
    ObjectMissing,
    /// The object does not open: header, chunk, tag, trailer or footer.
    ObjectDamaged,
    /// The object opens and is not what its entry says.
    ObjectDiffers,
    /// The medium does not give the bytes.
    ObjectUnreadable,
    /// An object has no entry.
    ObjectUnknown,
    /// A name in the store that is no object's.
    ObjectForeign,
    /// The key of a recording opens in neither copy.
    KeyMissing,
    /// One copy of a key slot was bad, and was written again from the other.
    KeyCopy,
}

impl Harm {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ObjectMissing,
        Self::ObjectDamaged,
        Self::ObjectDiffers,
        Self::ObjectUnreadable,
        Self::ObjectUnknown,
        Self::ObjectForeign,
        Self::KeyMissing,
        Self::KeyCopy,
    ];

    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ObjectMissing => "object-missing",
            Self::ObjectDamaged => "object-damaged",
            Self::ObjectDiffers => "object-differs",
            Self::ObjectUnreadable => "object-unreadable",
            Self::ObjectUnknown => "object-unknown",
            Self::ObjectForeign => "object-foreign",
            Self::KeyMissing => "key-missing",
            Self::KeyCopy => "key-copy",
        }
    }

    /// The harm of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|harm| harm.as_str() == word)
    }

    /// Whether the recording cannot be used until it is put back from a backup.
    pub const fn spoils(self) -> bool {
        !matches!(self, Self::ObjectUnknown | Self::ObjectForeign | Self::KeyCopy)
    }
}

/// What a whole reading of an object gave.
pub struct ObjectFacts<'a> {
    /// Its trailer, which opened under the data key.
    pub trailer: &'a Trailer,
    /// SHA-256 of all chunks in clear.
    pub sha256: Digest,
    /// Length in clear.
    pub bytes: u64,
}

/// In what an object that opens differs from the entry that sealed it; `None` when it is the same.
pub fn differs(entry: &Recording, object: &ObjectFacts<'_>) -> Option<&'static str> {
    let trailer = object.trailer;
    let facts = [
        ("its length is not that of the entry", object.bytes == entry.bytes),
        ("its SHA-256 is not that of the entry", object.sha256 == entry.sha256),
        ("its trailer has another SHA-256 than the entry", trailer.sha256 == entry.sha256),
        ("its trailer has another length than the entry", trailer.bytes == entry.bytes),
        ("its trailer names another source than the entry", trailer.source == entry.source),
        ("its trailer names another kind than the entry", trailer.kind == entry.kind),
        ("its trailer has another interval than the entry", {
            trailer.start == entry.start && trailer.end == entry.end
        }),
    ];
    facts.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{Kind, RecordingId};

    fn entry() -> Recording {
        let at = "2026-05-12T10:00:00Z".parse().unwrap();
        Recording {
            source: "entrance".parse().unwrap(),
            kind: Kind::Footage,
            start: at,
            end: at,
            sealed: at,
            entry: 1,
            bytes: 5,
            sha256: Digest([3; 32]),
            media: "video/mp4".into(),
            class: "short".parse().unwrap(),
            earliest: at,
            latest: at,
            spool: None,
            purging: false,
        }
    }

    fn trailer() -> Trailer {
        let at = "2026-05-12T10:00:00Z".parse().unwrap();
        Trailer {
            v: 1,
            id: RecordingId::from_bytes([1; 16]),
            source: "entrance".parse().unwrap(),
            kind: Kind::Footage,
            start: at,
            end: at,
            sealed: at,
            bytes: 5,
            sha256: Digest([3; 32]),
            media: "video/mp4".into(),
            class: "short".parse().unwrap(),
            earliest: None,
            latest: None,
            name: None,
            subject: None,
        }
    }

    #[test]
    fn inv5_an_object_is_what_its_entry_says_in_every_fact() {
        let of =
            |trailer: &Trailer, sha256, bytes| differs(&entry(), &ObjectFacts { trailer, sha256, bytes });
        let same = Digest([3; 32]);
        assert_eq!(of(&trailer(), same, 5), None);
        let later = "2026-05-12T10:00:01Z".parse().unwrap();
        let others = [
            of(&trailer(), same, 6),
            of(&trailer(), Digest([4; 32]), 5),
            of(&Trailer { sha256: Digest([4; 32]), ..trailer() }, same, 5),
            of(&Trailer { bytes: 4, ..trailer() }, same, 5),
            of(&Trailer { source: "exit".parse().unwrap(), ..trailer() }, same, 5),
            of(&Trailer { kind: Kind::Call, ..trailer() }, same, 5),
            of(&Trailer { start: later, ..trailer() }, same, 5),
            of(&Trailer { end: later, ..trailer() }, same, 5),
        ];
        assert!(others.iter().all(Option::is_some), "{others:?}");
    }

    #[test]
    fn each_word_is_one_harm() {
        for harm in Harm::ALL {
            assert_eq!(Harm::from_word(harm.as_str()), Some(harm));
        }
        assert_eq!(Harm::from_word("object-bored"), None);
        assert!(!Harm::KeyCopy.spoils() && Harm::KeyMissing.spoils());
    }
}
