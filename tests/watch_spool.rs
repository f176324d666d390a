//! The spool with the real kernel: what is announced, what is taken, and what is put aside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may panic: that is how a test fails"
)]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use greffier::core::ids::SourceId;
use greffier::shell::watch::{Kept, Oddity, Spool, SpoolError, SpoolEvent, Taken, Watcher};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

struct Site {
    spool: Spool,
    source: SourceId,
    folder: PathBuf,
    root: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("spool/entrance");
        fs::create_dir_all(&folder).unwrap();
        let spool = Spool::open(&root.path().join("spool")).unwrap();
        Self { spool, source: "entrance".parse().unwrap(), folder, root }
    }
    fn watch(&self) -> Watcher {
        let mut watcher = Watcher::new(self.spool.clone()).unwrap();
        watcher.watch_source(&self.source).unwrap();
        watcher
    }
    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }
    fn take(&self, name: &str) -> Result<Taken, SpoolError> {
        self.spool.take(&self.source, OsStr::new(name))
    }
    fn candidate(&self, name: &str) -> SpoolEvent {
        SpoolEvent::Candidate { source: self.source.clone(), name: name.into() }
    }
    fn names(&self) -> Vec<OsString> {
        self.spool.scan(&self.source).unwrap().names
    }
}

async fn next(watcher: &mut Watcher) -> SpoolEvent {
    let event = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
    event.expect("nothing was announced").unwrap()
}

async fn assert_silent(watcher: &mut Watcher) {
    let event = tokio::time::timeout(Duration::from_millis(50), watcher.next()).await;
    assert!(event.is_err(), "announced {event:?}");
}

#[tokio::test]
async fn a_closed_file_is_announced_taken_and_removed() {
    let site = Site::new();
    let mut watcher = site.watch();
    let path = site.write("2026-05-12 Durand.wav", b"RIFF");
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(next(&mut watcher).await, site.candidate("2026-05-12 Durand.wav"));

    let taken = site.take("2026-05-12 Durand.wav").unwrap();
    assert!(!path.exists(), "still in the writers' reach");
    let mut content = String::new();
    taken.file().read_to_string(&mut content).unwrap();
    assert_eq!((content.as_str(), taken.original_name()), ("RIFF", OsStr::new("2026-05-12 Durand.wav")));
    assert_eq!((taken.facts().inode, taken.facts().size_bytes), (inode, 4));
    assert!(taken.facts().modified.is_some());
    taken.remove().unwrap();
    assert_eq!(site.names().len(), 0);
    assert_eq!(fs::read_dir(site.folder.join(".taking")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_still_open_for_writing_is_waited_for() {
    let site = Site::new();
    let mut watcher = site.watch();
    let mut writer = File::create(site.folder.join("a.mp4")).unwrap();
    assert_silent(&mut watcher).await;
    writer.write_all(b"half").unwrap();
    assert!(matches!(site.take("a.mp4"), Err(SpoolError::StillWriting)));
    assert_silent(&mut watcher).await;
    writer.write_all(b" and half").unwrap();
    drop(writer);
    assert_eq!(next(&mut watcher).await, site.candidate("a.mp4"));
    assert_eq!(site.take("a.mp4").unwrap().facts().size_bytes, 13);
}

#[tokio::test]
async fn a_file_moved_in_is_announced_and_names_with_a_dot_are_not() {
    let site = Site::new();
    let mut watcher = site.watch();
    fs::write(site.root.path().join("made-elsewhere"), b"x").unwrap();
    site.write(".b.mp4.part", b"y");
    fs::rename(site.root.path().join("made-elsewhere"), site.folder.join("a.mp4")).unwrap();
    assert_eq!(next(&mut watcher).await, site.candidate("a.mp4"));
    fs::rename(site.folder.join(".b.mp4.part"), site.folder.join("b.mp4")).unwrap();
    assert_eq!(next(&mut watcher).await, site.candidate("b.mp4"));
    assert!(matches!(site.take(".taking"), Err(SpoolError::Ignored)));
    assert!(matches!(site.take("../entrance/a.mp4"), Err(SpoolError::Ignored)));
    assert!(matches!(site.take("nothing"), Err(SpoolError::Gone)));
}

#[tokio::test]
async fn a_nameless_file_that_gets_its_name_when_complete_is_announced() {
    let site = Site::new();
    let mut watcher = site.watch();
    let flags = OFlags::TMPFILE | OFlags::WRONLY;
    let mut file = File::from(rustix::fs::open(&site.folder, flags, Mode::RUSR).unwrap());
    file.write_all(b"RIFF").unwrap();
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, nameless, CWD, site.folder.join("a.wav"), AtFlags::SYMLINK_FOLLOW).unwrap();
    drop(file);
    assert_eq!(next(&mut watcher).await, site.candidate("a.wav"));
    assert_eq!(site.take("a.wav").unwrap().facts().size_bytes, 4);
}

#[tokio::test]
async fn what_is_no_plain_file_is_announced_and_put_aside_unopened() {
    let site = Site::new();
    let mut watcher = site.watch();
    let outside = site.root.path().join("outside");
    fs::write(&outside, b"not yours").unwrap();
    let at = |name: &str| site.folder.join(name);
    symlink(&outside, at("link")).unwrap();
    fs::hard_link(&outside, at("hard-link")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::mknodat(CWD, at("device"), FileType::CharacterDevice, Mode::RUSR, 0).unwrap();
    rustix::fs::mknodat(CWD, at("socket"), FileType::Socket, Mode::RUSR, 0).unwrap();
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("directory").join("inside"), b"z").unwrap();
    let all = [
        ("link", Oddity::Link),
        ("hard-link", Oddity::HardLink),
        ("fifo", Oddity::Fifo),
        ("device", Oddity::Device),
        ("socket", Oddity::Socket),
        ("directory", Oddity::Directory),
    ];
    for (name, oddity) in all {
        assert_eq!(next(&mut watcher).await, site.candidate(name));
        assert!(matches!(site.take(name), Err(SpoolError::Odd(found)) if found == oddity), "{name}");
        let refused = site.spool.refuse(&site.source, OsStr::new(name)).unwrap();
        assert_eq!((refused.oddity, oddity.as_str()), (Some(oddity), name));
        fs::symlink_metadata(site.folder.join(".refused").join(&refused.slot).join(name)).unwrap();
    }
    assert_eq!(site.names().len(), 0);
    assert_eq!(fs::read(&outside).unwrap(), b"not yours");
    let mode = fs::metadata(site.folder.join(".refused")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let refused = site.spool.refused(&site.source).unwrap();
    assert_eq!(refused.len(), all.len());
    assert!(refused.iter().all(|entry| entry.since.is_some()));
    for entry in refused {
        site.spool.clear_refused(&site.source, &entry).unwrap();
    }
    assert_eq!(fs::read_dir(site.folder.join(".refused")).unwrap().count(), 0);
    assert_eq!(fs::read(&outside).unwrap(), b"not yours");
}

#[tokio::test]
async fn inv6_a_file_that_somebody_begins_to_change_is_not_removed() {
    let site = Site::new();
    let mut watcher = site.watch();
    let path = site.write("a.wav", b"first");
    assert_eq!(next(&mut watcher).await, site.candidate("a.wav"));
    let reader = File::open(&path).unwrap();
    let taken = site.take("a.wav").unwrap();
    assert!(taken.unchanged().unwrap());
    // Who still has a descriptor can open the file again, whatever its name is now.
    let again = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(nonblocking).open(again).unwrap_err();
    assert!(!taken.unchanged().unwrap());
    assert!(matches!(taken.remove(), Err(Kept::Changed)));
    taken.put_back().unwrap();
    assert_eq!(next(&mut watcher).await, site.candidate("a.wav"));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(site.folder.join(".taking")).unwrap().count(), 0);
    assert!(site.take("a.wav").unwrap().unchanged().unwrap());
}

#[test]
fn inv6_a_second_name_made_while_sealing_keeps_the_file() {
    let site = Site::new();
    site.write("a.wav", b"first");
    let taken = site.take("a.wav").unwrap();
    let inside = fs::read_dir(site.folder.join(".taking")).unwrap().next().unwrap().unwrap().path();
    fs::hard_link(inside.join("a.wav"), site.root.path().join("second-name")).unwrap();
    assert!(matches!(taken.remove(), Err(Kept::Changed)));
}

#[test]
fn inv6_a_crash_leaves_the_file_where_the_next_start_finds_it() {
    let site = Site::new();
    site.write("a.wav", b"first");
    let facts = *site.take("a.wav").unwrap().facts();
    // Dropped without a word, as by a crash. Meanwhile the recorder uses the same name again.
    site.write("a.wav", b"second");
    let left = site.spool.leftovers(&site.source).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].original_name.as_os_str(), left[0].facts), (OsStr::new("a.wav"), facts));
    let second = site.take("a.wav").unwrap();
    let taken = site.spool.resume(&site.source, &left[0]).unwrap();
    assert_eq!(*taken.facts(), facts);
    taken.remove().unwrap();
    second.put_back().unwrap();
    assert_eq!(site.names(), ["a.wav"]);
    assert_eq!(fs::read(site.folder.join("a.wav")).unwrap(), b"second");
    assert_eq!(site.spool.leftovers(&site.source).unwrap().len(), 0);
}

#[test]
fn a_name_in_use_again_is_not_overwritten_by_putting_back() {
    let site = Site::new();
    site.write("a.wav", b"first");
    let taken = site.take("a.wav").unwrap();
    site.write("a.wav", b"second");
    assert_eq!(taken.put_back().unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(site.folder.join("a.wav")).unwrap(), b"second");
    assert_eq!(site.spool.leftovers(&site.source).unwrap().len(), 1);
}

#[test]
fn a_taking_folder_that_a_writer_made_is_not_trusted() {
    for trap in ["link", "directory", "open to all"] {
        let site = Site::new();
        let (elsewhere, taking) = (site.root.path().join("elsewhere"), site.folder.join(".taking"));
        fs::create_dir(&elsewhere).unwrap();
        match trap {
            "link" => symlink(&elsewhere, &taking).unwrap(),
            "directory" => {
                fs::create_dir(&taking).unwrap();
                fs::set_permissions(&taking, PermissionsExt::from_mode(0o700)).unwrap();
                std::os::unix::fs::chown(&taking, Some(60_001), None).unwrap();
            }
            _ => {
                fs::create_dir(&taking).unwrap();
                fs::set_permissions(&taking, PermissionsExt::from_mode(0o777)).unwrap();
            }
        }
        site.write("a.wav", b"first");
        assert!(matches!(site.take("a.wav"), Err(SpoolError::NotOurs(".taking"))), "{trap}");
        assert_eq!(site.names(), ["a.wav"]);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_removed_folder_is_told_and_can_be_watched_again() {
    let site = Site::new();
    let mut watcher = site.watch();
    fs::rename(&site.folder, site.root.path().join("spool/away")).unwrap();
    assert_eq!(next(&mut watcher).await, SpoolEvent::Gone { source: site.source.clone() });
    fs::write(site.root.path().join("spool/away/a.wav"), b"x").unwrap();
    assert_silent(&mut watcher).await;
    fs::create_dir(&site.folder).unwrap();
    watcher.watch_source(&site.source).unwrap();
    site.write("b.wav", b"x");
    assert_eq!(next(&mut watcher).await, site.candidate("b.wav"));
    watcher.unwatch_source(&site.source).unwrap();
    site.write("c.wav", b"x");
    assert_silent(&mut watcher).await;
}

#[tokio::test]
async fn a_real_overflow_asks_for_a_scan_that_finds_everything() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let files = limit.trim().parse::<usize>().unwrap() / 2 + 100;
    assert!(files <= 60_000, "max_queued_events is too large here for this test");
    let site = Site::new();
    let mut watcher = site.watch();
    for number in 0..files {
        site.write(&format!("{number}.wav"), b"");
    }
    while next(&mut watcher).await != SpoolEvent::Rescan {}
    let scan = site.spool.scan(&site.source).unwrap();
    assert_eq!((scan.names.len(), scan.more), (files, false));
}
