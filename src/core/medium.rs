//! Whether a file system overwrites in place: what destroying a key rests on (design §6, invariant 7).
//!
//! Owns the list of file systems and mount options. Pure: `shell/disk/statedir` asks the kernel, this says what the answer
//! means. What lies below the file system (a drive that remaps, a snapshot of the volume) cannot be seen from here.

/// What the kernel says of the place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediumFacts {
    /// `f_type` of `statfs(2)`, its low 32 bits.
    pub magic: u64,
    /// The options that are in force, one a word or separated by commas.
    pub options: String,
    /// Whether a file of the keys is marked to be written through the journal (`chattr +j`).
    pub journalled_file: bool,
}

/// What becomes of old bytes when they are overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwriting {
    /// They are replaced where they stand.
    InPlace,
    /// They stay until their blocks are used again.
    Elsewhere,
    /// This list does not know the file system.
    Unknown,
}

/// A file system, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// Its name, for people.
    pub name: &'static str,
    /// What it does.
    pub overwriting: Overwriting,
}

use Overwriting::{Elsewhere, InPlace, Unknown};

/// `f_type`, name, what it does without special options.
const KNOWN: [(u64, &str, Overwriting); 22] = [
    (0xEF53, "ext4", InPlace),
    (0x5846_5342, "XFS", InPlace),
    (0x3153_464A, "JFS", InPlace),
    (0x4D44, "FAT", InPlace),
    (0x2011_BAB0, "exFAT", InPlace),
    (0x7366_746E, "NTFS", InPlace),
    (0x0102_1994, "tmpfs", InPlace),
    (0x8584_58F6, "ramfs", InPlace),
    (0x9123_683E, "Btrfs", Elsewhere),
    (0x2FC1_2FC1, "ZFS", Elsewhere),
    (0xF2F5_2010, "F2FS", Elsewhere),
    (0x794C_7630, "overlay", Elsewhere),
    (0xCA45_1A4E, "bcachefs", Elsewhere),
    (0x3434, "NILFS", Elsewhere),
    (0x5265_4973, "ReiserFS", Unknown),
    (0x6969, "NFS", Unknown),
    (0xFF53_4D42, "CIFS", Unknown),
    (0xFE53_4D42, "SMB", Unknown),
    (0x6573_5546, "FUSE", Unknown),
    (0x0102_1997, "9p", Unknown),
    (0x00C3_6400, "Ceph", Unknown),
    (0x0116_1970, "GFS2", Unknown),
];

/// Judges what the kernel said.
pub fn judge_medium(facts: &MediumFacts) -> Medium {
    let known = KNOWN.iter().find(|(magic, ..)| *magic == facts.magic);
    let (name, overwriting) = known.map_or(("unknown", Unknown), |(_, name, does)| (*name, *does));
    let option = |wanted: &str| facts.options.split([',', ' ', '\n']).any(|it| it == wanted);
    match name {
        // Data goes through the journal, where old blocks stay until it comes round again.
        "ext4" if option("data=journal") || facts.journalled_file => {
            Medium { name: "ext4 with data journalling", overwriting: Elsewhere }
        }
        _ => Medium { name, overwriting },
    }
}

impl Medium {
    /// What to say of it; `None` when destroying a key destroys it.
    pub fn sentence(&self) -> Option<String> {
        let name = self.name;
        match self.overwriting {
            InPlace => None,
            Elsewhere => Some(format!(
                "The file system of state_dir ({name}) does not overwrite in place: destroyed keys may survive there until their blocks are used again; greffier-store(5) says what closes that."
            )),
            Unknown => Some(format!(
                "Whether the file system of state_dir ({name}) overwrites in place is not known: destroyed keys may survive there; greffier-store(5) names those that do."
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv7_what_each_file_system_and_option_does_with_old_bytes() {
        for (magic, options, journalled_file, name, does) in [
            (0xEF53, "rw,relatime", false, "ext4", InPlace),
            (0xEF53, "rw\ndata=ordered\n", false, "ext4", InPlace),
            (0xEF53, "rw,data=writeback", false, "ext4", InPlace),
            (0xEF53, "rw,data=journal", false, "ext4 with data journalling", Elsewhere),
            (0xEF53, "rw\ndata=journal\nbarrier", false, "ext4 with data journalling", Elsewhere),
            (0xEF53, "rw,x-data=journalled", false, "ext4", InPlace),
            (0xEF53, "rw,data=ordered", true, "ext4 with data journalling", Elsewhere),
            (0x5846_5342, "rw,attr2,inode64", false, "XFS", InPlace),
            (0x0102_1994, "rw", false, "tmpfs", InPlace),
            (0x9123_683E, "rw,space_cache=v2", false, "Btrfs", Elsewhere),
            // A snapshot would undo it, and checksums need copy-on-write: the option is not trusted.
            (0x9123_683E, "rw,nodatacow", false, "Btrfs", Elsewhere),
            (0x2FC1_2FC1, "rw", false, "ZFS", Elsewhere),
            (0xF2F5_2010, "rw,mode=adaptive", false, "F2FS", Elsewhere),
            (0x794C_7630, "rw,lowerdir=/a,upperdir=/b", false, "overlay", Elsewhere),
            (0xCA45_1A4E, "rw", false, "bcachefs", Elsewhere),
            (0x3434, "rw", false, "NILFS", Elsewhere),
            (0x6969, "rw", false, "NFS", Unknown),
            (0x1234_5678, "rw", false, "unknown", Unknown),
        ] {
            let facts = MediumFacts { magic, options: options.into(), journalled_file };
            let medium = judge_medium(&facts);
            assert_eq!((medium.name, medium.overwriting), (name, does), "{facts:?}");
            assert_eq!(medium.sentence().is_none(), does == InPlace);
            assert!(medium.sentence().is_none_or(|sentence| sentence.contains(name)));
        }
    }

    #[test]
    fn no_magic_number_stands_twice() {
        let all: std::collections::BTreeSet<u64> = KNOWN.iter().map(|(magic, ..)| *magic).collect();
        assert_eq!(all.len(), KNOWN.len());
    }
}
