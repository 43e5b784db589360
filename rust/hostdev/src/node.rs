//! The device node in `/dev`.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use hostos::Deadline;
use nix::errno::Errno;
use nix::sys::stat::{makedev, mknod, Mode, SFlag};

use crate::Error;

/// How long devtmpfs or udev may take to create a node.
const GRACE: Duration = Duration::from_secs(2);
/// How long udev may take to read a new device. Until then it has the device open.
const UDEV: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Waits for the node of this device at `path`. Creates it if no other program does.
pub(crate) fn ensure(path: &Path, major: u32, minor: u32, end: Deadline) -> Result<(), Error> {
    let rdev = makedev(major.into(), minor.into());
    let is_ours = || match fs::metadata(path) {
        Ok(node) => Ok(node.file_type().is_block_device() && node.rdev() == rdev),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path, error)),
    };
    let grace = end.at_most(GRACE);
    while !is_ours()? {
        if grace.passed() {
            return make(path, rdev);
        }
        grace.sleep(POLL);
    }
    Ok(())
}

/// Creates a node in one step. Replaces the old node of another device.
fn make(path: &Path, rdev: u64) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let made = match mknod(&fresh, SFlag::S_IFBLK, mode, rdev) {
        // An earlier process with the same pid was killed between these two steps.
        Err(Errno::EEXIST) => fs::remove_file(&fresh)
            .and_then(|()| mknod(&fresh, SFlag::S_IFBLK, mode, rdev).map_err(io::Error::from)),
        other => other.map_err(io::Error::from),
    };
    made.and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| Error::io("create the device node", path, error))?;
    log::info!("created {}: no other program did", path.display());
    Ok(())
}

/// Waits until udev, if it runs, has read and closed a new device. A slow udev is no error.
pub(crate) fn await_udev(path: &Path, major: u32, minor: u32, end: Deadline) {
    if !Path::new("/run/udev/control").exists() {
        return;
    }
    let record = format!("/run/udev/data/b{major}:{minor}");
    let patience = end.at_most(UDEV);
    while !Path::new(&record).exists() {
        if patience.passed() {
            log::info!("udev has not handled {} yet", path.display());
            return;
        }
        patience.sleep(POLL);
    }
}
