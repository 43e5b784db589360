//! Labels that distinguish several devices of one image or snapshot.
//!
//! The kernel can map one snapshot several times, and shows no difference between the devices. So smblock
//! keeps a label for each of them, in one file for each device number. The file has the inode of the device
//! in sysfs. Each new device has a new inode, also if it has a used number: an old label is then invalid.
//!
//! A process that is killed between the map and the label leaves a device without a label. smblock never
//! uses such a device for a label, but maps another one; the unmap of all devices of the image removes it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use hostos::{files, json_file, Deadline, LockFile};
use serde::{Deserialize, Serialize};

use super::client::Krbd;
use super::mapping::{ImageKey, Mapping};
use crate::Error;

#[derive(Serialize, Deserialize)]
struct Label {
    label: String,
    key: ImageKey,
    inode: u64,
}

/// While this is held, no other process of smblock maps, unmaps or labels a device of this host.
pub(super) struct HostLock(
    #[allow(dead_code, reason = "it is held; no function reads it")] LockFile,
);

impl Krbd {
    /// Waits for the lock that all processes of smblock on this host share.
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
            advice: format!(
                "another process of smblock maps or unmaps a device of this host; `fuser -v {}` shows \
                 the process",
                path.display()
            ),
        })
    }

    fn label_path(&self, device_number: u32) -> PathBuf {
        self.run.join(format!("rbd{device_number}.json"))
    }

    /// Returns the inode of a device in sysfs; `None` if it is gone.
    fn inode(&self, device_number: u32) -> Option<u64> {
        let path = self.sysfs.join("block").join(format!("rbd{device_number}"));
        fs::metadata(path).ok().map(|file| file.ino())
    }

    /// Returns the label of a device with that `key`.
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

    /// Writes the label of a device.
    pub(super) fn set_label(&self, mapping: &Mapping, label: &str) -> Result<(), Error> {
        let number = mapping.device_number;
        let inode = self.inode(number).ok_or_else(|| Error::NoDevice {
            image: mapping.spec(),
            missing: format!("/dev/rbd{number} is gone"),
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
            log::warn!("{e}; the file has no effect");
        }
    }
}
