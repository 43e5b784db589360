//! Which device is whose, if one image or snapshot has several.
//!
//! The kernel maps one snapshot as often as it is asked, and shows no difference between the devices.
//! So a label is kept beside each of them, in one file for each device number. It is valid as long as
//! the device is the one that it was written for: the kernel gives each new device a new inode in
//! sysfs, also if the number is used again.
//!
//! A process that is killed between the map and the label leaves a device without one. No label ever
//! gets such a device: another one is made, and this one is removed as left over.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use hostos::{files, json_file, Deadline, LockFile};
use serde::{Deserialize, Serialize};

use super::{ImageKey, Krbd, Mapping};
use crate::Error;

#[derive(Serialize, Deserialize)]
struct Label {
    label: String,
    key: ImageKey,
    inode: u64,
}

/// While this lives, no other process of smblock maps, unmaps or labels a device of this host.
pub(super) struct HostLock(#[allow(dead_code, reason = "it is held, not used")] LockFile);

impl Krbd {
    /// Waits for its turn among the processes of smblock on this host.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Io`].
    pub(super) fn lock(&self, end: Deadline, limit: Duration) -> Result<HostLock, Error> {
        files::create_directory(&self.run)?;
        let path = self.run.join("lock");
        let lock = LockFile::acquire(&path, end)?;
        lock.map(HostLock).ok_or_else(|| Error::Timeout {
            action: "lock",
            object: path.display().to_string(),
            waited: limit,
            advice: "another process of smblock maps or unmaps a device of this host; \
                     `fuser -v` of that file shows which"
                .to_owned(),
        })
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
        let found: Option<Label> = json_file::read_unless_damaged(&self.label_path(device_number))?;
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
        files::create_directory(&self.run)?;
        Ok(json_file::write(&self.label_path(number), &label)?)
    }

    /// Removes the label of a device that is gone.
    pub(super) fn forget_label(&self, device_number: u32) {
        if let Err(e) = files::remove(&self.label_path(device_number)) {
            log::warn!("{e}; it means nothing any more");
        }
    }
}
