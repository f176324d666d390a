//! Looking at the machine: clock, bus, polkit, units, FUSE, swap, core dumps. Changes nothing and judges nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Places;
use crate::core::doctor::{BusPolicy, SystemFacts, UnitFacts};
use crate::shell::clock::SystemClock;

/// As `make install` puts them there.
const SHIPPED_BUS_POLICY: &str = include_str!("../../../policy/org.greffier.Archive1.conf");
const SHIPPED_ACTIONS: &str = include_str!("../../../policy/polkit/org.greffier.archive.policy");
const SHIPPED_UNIT: &str = include_str!("../../../systemd/greffierd.service");
const BUS_POLICY: &str = "org.greffier.Archive1.conf";
const UNIT: &str = "greffierd.service";
/// Where the bus looks, the last one wins.
const BUS_FOLDERS: [&str; 2] = ["/etc/dbus-1/system.d", "/usr/share/dbus-1/system.d"];
const ACTIONS: &str = "org.greffier.archive.policy";
/// Where polkit looks; versions before 124 know the last one alone.
const ACTION_FOLDERS: [&str; 4] = [
    "/etc/polkit-1/actions",
    "/run/polkit-1/actions",
    "/usr/local/share/polkit-1/actions",
    "/usr/share/polkit-1/actions",
];
/// Where systemd looks, the first one wins.
const UNIT_FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const POLKIT: [&str; 3] =
    ["/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd"];
/// No file that is looked at here is longer.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// All but the service itself, which is asked by the caller.
pub fn look(places: &Places) -> SystemFacts {
    let clock = SystemClock::new().ok().map(|clock| clock.now());
    let system_bus = places.bus.address.as_deref().is_none_or(|address| address == "system");
    let polkit = (places.bus.polkit.unwrap_or(true), POLKIT.iter().any(|path| Path::new(path).exists()));
    SystemFacts {
        now: clock.map(|now| now.time),
        synchronised: clock.map(|now| now.synchronised),
        system_bus,
        bus_policy: system_bus.then(|| shipped(&BUS_FOLDERS, BUS_POLICY, SHIPPED_BUS_POLICY)),
        polkit: Some(polkit),
        polkit_actions: (polkit == (true, true)).then(|| shipped(&ACTION_FOLDERS, ACTIONS, SHIPPED_ACTIONS)),
        systemd: Path::new("/run/systemd/system").is_dir(),
        unit: unit(&UNIT_FOLDERS.map(PathBuf::from)),
        fuse: Path::new("/dev/fuse").exists(),
        clear_swap: text(Path::new("/proc/swaps")).map_or_else(Vec::new, |swaps| clear_swap(&swaps)),
        core_pattern: text(Path::new("/proc/sys/kernel/core_pattern")).map(|text| text.trim_end().to_owned()),
        service: None,
    }
}

fn text(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    if meta.len() > MAX_TEXT_BYTES {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// The first file of this name in the folders, compared with the one that we ship.
fn shipped(folders: &[&str], name: &str, ours: &str) -> BusPolicy {
    for folder in folders {
        let path = Path::new(folder).join(name);
        if let Some(found) = text(&path) {
            let path = path.display().to_string();
            return if found == ours { BusPolicy::Same(path) } else { BusPolicy::Differs(path) };
        }
    }
    BusPolicy::Missing
}

fn unit(folders: &[PathBuf]) -> UnitFacts {
    let path = folders.iter().map(|folder| folder.join(UNIT)).find(|path| path.exists());
    let as_shipped = path.as_ref().and_then(|path| text(path)).is_some_and(|found| same_unit(&found));
    let enabled = folders.iter().any(|folder| {
        let wanted = fs::read_dir(folder).into_iter().flatten().flatten();
        wanted
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wants"))
            .any(|path| path.join(UNIT).symlink_metadata().is_ok())
    });
    let drop_ins = folders.iter().flat_map(|folder| {
        let folder = folder.join(format!("{UNIT}.d"));
        let mut found: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        found.sort();
        found
    });
    let drop_ins = drop_ins.filter_map(|path| Some((path.display().to_string(), text(&path)?))).collect();
    UnitFacts { path: path.map(|path| path.display().to_string()), as_shipped, enabled, drop_ins }
}

/// The same, whatever the prefix that it was installed under.
fn same_unit(found: &str) -> bool {
    let mut shipped = SHIPPED_UNIT.lines();
    let same = found.lines().all(|line| match shipped.next() {
        Some(ours) => match ours.split_once("@PREFIX@") {
            Some((before, after)) => line.starts_with(before) && line.ends_with(after),
            None => line == ours,
        },
        None => false,
    });
    same && shipped.next().is_none()
}

/// Swap areas to which memory is written in clear.
fn clear_swap(swaps: &str) -> Vec<String> {
    let areas = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    areas
        .filter(|area| !area.starts_with("/dev/zram") && !swap_is_encrypted(Path::new(area)))
        .map(str::to_owned)
        .collect()
}

fn swap_is_encrypted(area: &Path) -> bool {
    // A device by its own number, a file by that of the file system it lies in.
    fs::metadata(area).is_ok_and(|meta| is_encrypted(if meta.rdev() == 0 { meta.dev() } else { meta.rdev() }))
}

/// Whether this block device is dm-crypt, or lies on one.
pub fn is_encrypted(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    below_is_encrypted(&PathBuf::from(format!("/sys/dev/block/{major}:{minor}")), 0)
}

fn below_is_encrypted(device: &Path, depth: u32) -> bool {
    /// Partitions, volumes and arrays are seldom stacked higher.
    const DEPTH: u32 = 8;
    if text(&device.join("dm/uuid")).is_some_and(|uuid| uuid.starts_with("CRYPT-")) {
        return true;
    }
    let mut below = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten().peekable();
    // Of several, all must be.
    depth < DEPTH && below.peek().is_some() && below.all(|slave| below_is_encrypted(&slave.path(), depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_as_shipped_under_any_prefix_and_drop_ins_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["etc", "lib"].map(|name| dir.path().join(name));
        assert_eq!(unit(&folders), UnitFacts::default());
        let (etc, lib) = (&folders[0], &folders[1]);
        fs::create_dir_all(etc.join("greffierd.service.d")).unwrap();
        fs::create_dir_all(etc.join("multi-user.target.wants")).unwrap();
        fs::create_dir_all(lib).unwrap();
        fs::write(lib.join(UNIT), SHIPPED_UNIT.replace("@PREFIX@", "/opt/x")).unwrap();
        fs::write(etc.join("greffierd.service.d/a.conf"), "UMask=0").unwrap();
        fs::write(etc.join("greffierd.service.d/a.txt"), "not read").unwrap();
        let found = unit(&folders);
        assert!(found.as_shipped && !found.enabled && found.drop_ins.len() == 1, "{found:?}");
        std::os::unix::fs::symlink(lib.join(UNIT), etc.join("multi-user.target.wants").join(UNIT)).unwrap();
        assert!(unit(&folders).enabled);
        for other in [SHIPPED_UNIT.replace("PrivateNetwork=yes\n", ""), SHIPPED_UNIT.to_owned() + "Nice=5\n"]
        {
            fs::write(etc.join(UNIT), other).unwrap();
            let found = unit(&folders);
            assert!(!found.as_shipped && found.path.unwrap().contains("/etc/"), "the first one wins");
        }
    }

    #[test]
    fn compressed_memory_is_no_clear_swap() {
        let swaps =
            "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1 0 100\n/no/such/file file 1 0 -2\n";
        assert_eq!(clear_swap(swaps), ["/no/such/file"]);
        assert_eq!(clear_swap("Filename\n"), Vec::<String>::new());
    }
}
