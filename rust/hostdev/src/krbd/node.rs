//! The device node in `/dev`.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{makedev, mknod, Mode, SFlag};

use super::{Krbd, Mapping};
use crate::deadline::Deadline;
use crate::Error;

/// How long whoever manages `/dev` (devtmpfs does it at once, udev soon) is given to make a node.
const GRACE: Duration = Duration::from_secs(2);
/// How long udev is given to look at a new device: while it does, it has the device open.
const UDEV: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

impl Krbd {
    /// Sees to it that the mapping's node is there and is this device's; makes it where nobody else
    /// does.
    pub(super) fn ensure_node(&self, mapping: &Mapping, end: Deadline) -> Result<(), Error> {
        let path = &mapping.device;
        let rdev = makedev(mapping.major.into(), mapping.minor.into());
        let is_ours = || match fs::metadata(path) {
            Ok(node) => Ok(node.file_type().is_block_device() && node.rdev() == rdev),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("look at", path, error)),
        };
        let grace = Deadline::after(GRACE.min(end.left()));
        while !is_ours()? {
            if grace.passed() {
                return self.make_node(mapping, rdev);
            }
            grace.sleep(POLL);
        }
        Ok(())
    }

    /// Puts a node in place in one step, also over a stale one that a `/dev` without a manager kept.
    fn make_node(&self, mapping: &Mapping, rdev: u64) -> Result<(), Error> {
        let path = &mapping.device;
        let fresh = self.dev.join(format!(
            ".rbd{}.{}",
            mapping.device_number,
            std::process::id()
        ));
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
}

/// Waits until udev, where it runs, has looked at a new device, so that it is not in the way of
/// whoever opens it next. udev that takes long is not an error.
pub(super) fn await_udev(mapping: &Mapping, end: Deadline) {
    if !Path::new("/run/udev/control").exists() {
        return;
    }
    let record = format!("/run/udev/data/b{}:{}", mapping.major, mapping.minor);
    let patience = Deadline::after(UDEV.min(end.left()));
    while !Path::new(&record).exists() {
        if patience.passed() {
            log::info!("udev has not handled {} yet", mapping.device.display());
            return;
        }
        patience.sleep(POLL);
    }
}
