//! A FUSE mount that is attached nowhere, and how to end one that somebody still holds open.
//!
//! Owns the mount calls. Must never attach the mount to a path (design §7).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::FuseError;

/// A descriptor of the kernel's FUSE device.
pub fn open_device() -> Result<OwnedFd, FuseError> {
    rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| FuseError::Device(error.into()))
}

/// Mounts `device` nowhere: only through the descriptor given back can a file on it be opened.
pub fn mount(device: &OwnedFd) -> Result<OwnedFd, FuseError> {
    let mount = || -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let set = |key: &str, value: &str| rustix::mount::fsconfig_set_string(&context, key, value);
        set("source", "greffier")?;
        set("subtype", "greffier")?;
        set("fd", &device.as_raw_fd().to_string())?;
        set("rootmode", "40000")?;
        set("user_id", "0")?;
        set("group_id", "0")?;
        // Without it the receiver, who is not root, could neither `fstat` nor open again. Nobody else gets here.
        rustix::mount::fsconfig_set_flag(&context, "allow_other")?;
        rustix::mount::fsconfig_set_flag(&context, "ro")?;
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    };
    mount().map_err(FuseError::Mount)
}

/// Opens the file `name` of the mount, read-only.
pub fn open(mount: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(mount, name, flags, Mode::empty())?)
}

/// Ends the connection behind `mount` at once: all requests fail, and the threads that serve it end.
///
/// Closing the mount is not enough while a client holds a descriptor, and a mount without a path cannot be unmounted by
/// force; the kernel's control file system (`fusectl`) can, and needs no path either.
pub fn abort(mount: impl AsFd) -> io::Result<()> {
    // DONT_SYNC: the device number must not be asked of the very threads that may hang.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let device = rustix::fs::statx(mount, "", flags, StatxFlags::empty())?.stx_dev_minor;
    let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let control =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let abort = rustix::fs::openat(&control, format!("{device}/abort"), flags, Mode::empty())?;
    File::from(abort).write_all(b"1")
}
