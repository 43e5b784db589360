//! Which device is whose, if one image or snapshot has several.
//!
//! The kernel maps one snapshot as often as it is asked, and shows no difference between the devices.
//! So a label is kept beside each of them, in one file for each device number. It is valid as long as
//! the device is the one that it was written for: the kernel gives each new device a new inode in
//! sysfs, also if the number is used again.
//!
//! A process that is killed between the map and the label leaves a device without one. No label ever
//! gets such a device: another one is made, and this one is removed as left over.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{ImageKey, Krbd, Mapping};
use crate::deadline::Deadline;
use crate::{state_file, Error};

const RETRY: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Label {
    label: String,
    key: ImageKey,
    inode: u64,
}

/// While this lives, no other process of smblock maps, unmaps or labels a device of this host.
pub(super) struct HostLock(#[allow(dead_code, reason = "it is held, not used")] Flock<File>);

impl Krbd {
    /// Waits for its turn among the processes of smblock on this host.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Io`].
    pub(super) fn lock(&self, end: Deadline, limit: Duration) -> Result<HostLock, Error> {
        state_file::create_directory(&self.run)?;
        let path = self.run.join("lock");
        let failed = |error| Error::io("lock", &path, error);
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let mut file = open.map_err(failed)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(HostLock(lock)),
                Err((unlocked, Errno::EWOULDBLOCK)) if !end.passed() => {
                    file = unlocked;
                    end.sleep(RETRY);
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Timeout {
                        action: "lock",
                        object: path.display().to_string(),
                        waited: limit,
                        advice: "another process of smblock maps or unmaps a device of this host; \
                                 `fuser -v` of that file shows which"
                            .to_owned(),
                    })
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        }
    }

    fn label_path(&self, device_number: u32) -> PathBuf {
        self.run.join(format!("rbd{device_number}.json"))
    }

    /// The inode of a device in sysfs; `None` if it is gone.
    fn inode(&self, device_number: u32) -> Option<u64> {
        let path = self.sysfs.join("block").join(format!("rbd{device_number}"));
        fs::metadata(path).ok().map(|file| file.ino())
    }

    /// The label of a device that shows `key`.
    pub(super) fn label_of(
        &self,
        device_number: u32,
        key: &ImageKey,
    ) -> Result<Option<String>, Error> {
        let found: Option<Label> = state_file::read(&self.label_path(device_number))?;
        let found = found
            .filter(|label| label.key == *key && Some(label.inode) == self.inode(device_number));
        Ok(found.map(|label| label.label))
    }

    /// Gives a device its label.
    pub(super) fn set_label(&self, mapping: &Mapping, label: &str) -> Result<(), Error> {
        let number = mapping.device_number;
        let inode = self.inode(number).ok_or_else(|| Error::NoDevice {
            image: mapping.spec(),
            missing: format!("/dev/rbd{number} went away again"),
        })?;
        let label = Label {
            label: label.to_owned(),
            key: mapping.key.clone(),
            inode,
        };
        state_file::write(&self.label_path(number), &label)
    }

    /// Removes the label of a device that is gone.
    pub(super) fn forget_label(&self, device_number: u32) {
        if let Err(e) = state_file::remove(&self.label_path(device_number)) {
            log::warn!("{e}; it means nothing any more");
        }
    }
}
