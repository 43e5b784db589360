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

/// How long whoever manages `/dev` (devtmpfs does it at once, udev soon) is given to make a node.
const GRACE: Duration = Duration::from_secs(2);
/// How long udev is given to look at a new device: while it does, it has the device open.
const UDEV: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Sees to it that the node at `path` is there and is this device's; makes it where nobody else
/// does.
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

/// Puts a node in place in one step, also over a stale one that a `/dev` without a manager kept.
fn make(path: &Path, rdev: u64) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let made = match mknod(&fresh, SFlag::S_IFBLK, mode, rdev) {
        // Left by a process of the same pid that was killed between these two steps.
        Err(Errno::EEXIST) => fs::remove_file(&fresh)
            .and_then(|()| mknod(&fresh, SFlag::S_IFBLK, mode, rdev).map_err(io::Error::from)),
        other => other.map_err(io::Error::from),
    };
    made.and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| Error::io("make the device node", path, error))?;
    log::info!("made {}: nothing else did", path.display());
    Ok(())
}

/// Waits until udev, where it runs, has looked at a new device, so that it is not in the way of
/// whoever opens it next. udev that takes long is not an error.
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
