//! Disks of their own: a tmpfs of a given size, or a file system in an image that is mounted by loop and read raw.
//!
//! Owns what it mounted, and takes it away at the end. Needs root and loop devices.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that an image can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    /// ext4 whose data goes through its journal.
    Ext4Journalled,
    /// ext4 that goes on after an error of its device.
    Ext4NoJournal,
    Xfs,
    Btrfs,
    F2fs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Ext4Journalled | Self::Ext4NoJournal => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::F2fs => "f2fs",
        }
    }

    /// Whether this kernel can mount it. When it cannot, says so where nobody overlooks it.
    pub fn is_known_to_the_kernel(self) -> bool {
        let listed = || {
            let all = fs::read_to_string("/proc/filesystems").unwrap();
            all.lines().any(|line| line.split_whitespace().last() == Some(self.name()))
        };
        // Where it is a module. Without modules there is nothing to load.
        let known = listed() || {
            let _loaded = Command::new("modprobe").arg(self.name()).output();
            listed()
        };
        if !known {
            eprintln!("NOT TESTED: this kernel does not know {}; see docs/threat-model.md", self.name());
        }
        known
    }

    /// Size of the image, and the command that makes the file system.
    fn make(self) -> (u64, &'static [&'static str]) {
        match self {
            Self::Ext4 | Self::Ext4Journalled => {
                (48 << 20, &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard"])
            }
            Self::Ext4NoJournal => (
                96 << 20,
                &["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"],
            ),
            Self::Xfs => (320 << 20, &["mkfs.xfs", "-q", "-K"]),
            Self::Btrfs => (160 << 20, &["mkfs.btrfs", "-q", "-K"]),
            Self::F2fs => (96 << 20, &["mkfs.f2fs", "-q", "-t", "0"]),
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Ext4 => "loop,errors=remount-ro",
            Self::Ext4Journalled => "loop,data=journal",
            Self::Ext4NoJournal => "loop,errors=continue",
            // Else the old blocks are given back to the device, and what remains depends on when.
            Self::Btrfs | Self::F2fs => "loop,nodiscard",
            Self::Xfs => "loop",
        }
    }
}

/// A disk that was mounted for one test.
#[derive(Debug)]
pub struct Disk {
    image: Option<(PathBuf, Kind)>,
    pub at: PathBuf,
    mounted: bool,
}

impl Disk {
    /// So much memory as a file system, at a folder that is made.
    pub fn tmpfs(at: PathBuf, megabytes: u32) -> Self {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={megabytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "greffier-test"]).arg(&at));
        Self { image: None, at, mounted: true }
    }

    /// A new file system in `image` below `dir`, mounted at `disk` there.
    pub fn image(dir: &Path, kind: Kind) -> Self {
        let (file, at) = (dir.join("image"), dir.join("disk"));
        let (bytes, make) = kind.make();
        File::create(&file).unwrap().set_len(bytes).unwrap();
        run(Command::new(make[0]).args(&make[1..]).arg(&file));
        fs::create_dir(&at).unwrap();
        let mut disk = Self { image: Some((file, kind)), at, mounted: false };
        disk.mount();
        disk
    }

    pub fn mount(&mut self) {
        let (file, kind) = self.image.as_ref().expect("it is an image");
        run(Command::new("mount").args(["-t", kind.name(), "-o", kind.options()]).arg(file).arg(&self.at));
        self.mounted = true;
    }

    pub fn unmount(&mut self) {
        run(Command::new("umount").arg(&self.at));
        self.mounted = false;
    }

    /// The name of the loop device, without `/dev/`.
    pub fn device(&self) -> String {
        let (file, _) = self.image.as_ref().expect("it is an image");
        let said = run(Command::new("losetup").arg("-j").arg(file));
        let device = said.split(':').next().unwrap();
        device.strip_prefix("/dev/").unwrap_or_else(|| panic!("no loop device: {said}")).to_owned()
    }

    /// All that the device holds; what was never written to it is left out. Only what was unmounted, or synced, counts.
    pub fn raw(&self) -> Vec<u8> {
        let (file, _) = self.image.as_ref().expect("it is an image");
        let file = File::open(file).unwrap();
        let (mut bytes, mut at) = (Vec::new(), 0);
        while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap();
            let from = bytes.len();
            bytes.resize(from + usize::try_from(end - start).unwrap(), 0);
            file.read_exact_at(&mut bytes[from..], start).unwrap();
            at = end;
        }
        bytes
    }

    /// Free bytes, as anybody is told.
    pub fn free(&self) -> u64 {
        let figures = rustix::fs::statvfs(&self.at).unwrap();
        figures.f_bavail * figures.f_frsize
    }

    /// Leaves about so many bytes.
    pub fn fill_up_to(&self, left: u64) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        while self.free() > left {
            let step = (self.free() - left).clamp(4096, 1 << 20);
            file.write_all(&vec![0xAA; usize::try_from(step).unwrap()]).unwrap();
            file.sync_all().unwrap();
        }
        path
    }

    /// Leaves no space at all, what is kept back for root included.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        for step in [1 << 16, 4096] {
            // Twice: a sync may find that less was taken than was promised.
            for _ in 0..2 {
                while file.write_all(&vec![0xAA; step]).is_ok() {}
                let _full = file.sync_all();
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _gone_with_the_machine = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// How often `bytes` stand in `device`.
pub fn times(device: &[u8], bytes: &[u8]) -> usize {
    memchr::memmem::find_iter(device, bytes).count()
}

/// Runs a command that must succeed; what it prints.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "these tests need root and loop devices: {command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
